//! Several deliveries of one stream on their way at once: whatever arrives or fails first,
//! the account, the ledger and the checkpoints are those of one after the other.

use aqe_sync_core::{ColumnType, Ledger as _, Mode, Record, Status, StreamId, StreamSpec, TableSpec};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_sink::{MemorySink, Step, When};
use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, note, notes, spec, table};
use crate::support::world::{World, first, stream_id};

fn world(lanes: usize, abreast: usize, rows: usize) -> World {
    let mut world = World { sink: MemorySink::with_abreast(lanes, abreast), ..World::new() };
    world.options.limits.rows = rows;
    world
}

fn records(range: std::ops::Range<usize>, body: &str) -> Vec<Record> {
    range.map(|n| note(&format!("{n:03}"), body)).collect()
}

fn source(name: &str, count: usize) -> MemorySource {
    MemorySource::new(name, spec(notes()), records(0..count, "text"))
}

fn id() -> StreamId {
    stream_id("a")
}

fn is_complete(world: &World) -> bool {
    world.sink.hub().states[&id()].checkpoint.complete
}

/// The sequences of ledger and hub.
fn sequences(world: &World) -> (u64, u64) {
    let known = world.ledger.load(&id()).expect("in memory").map_or(0, |known| known.sequence);
    (known, world.sink.hub().states.get(&id()).map_or(0, |state| state.sequence))
}

const LAST: fn(&[StreamId]) -> usize = |held| held.len() - 1;
const FIRST: fn(&[StreamId]) -> usize = |_| 0;

#[test]
fn as_many_deliveries_of_a_stream_are_on_their_way_as_the_sink_takes_abreast() {
    for (lanes, abreast, wanted) in [(8, 1, 1), (8, 2, 2), (8, 3, 3), (2, 3, 2), (1, 3, 1)] {
        let world = world(lanes, abreast, 2);
        let report = world.run_choosing(Mode::Incremental, &[&source("a", 20)], FIRST);
        assert_eq!((report.status, report.totals.inserted), (Status::Ok, 20));
        assert_eq!(world.sink.take_journal().at_once, wanted, "{lanes} lanes, {abreast} abreast");
    }
}

#[test]
fn a_stream_is_sent_in_its_order_whatever_arrives_first() {
    for choose in [FIRST, LAST] {
        let world = world(8, 3, 2);
        let report = world.run_choosing(Mode::Incremental, &[&source("a", 11)], choose);
        assert_eq!(report.totals.inserted, 11);
        let sent: Vec<String> = world.sink.take_journal().pushed.into_iter().flat_map(|(_, keys)| keys).collect();
        assert!(sent.is_sorted() && sent.len() == 11, "{sent:?}");
        assert!(is_complete(&world));
        let (known, there) = sequences(&world);
        assert_eq!(known, there, "the ledger is in step");
        assert_eq!(world.run(&[&source("a", 11)]).totals.unchanged, 11);
    }
}

#[test]
fn a_failure_is_noticed_while_reading_goes_on() {
    let world = world(2, 2, 2);
    world.run(&[&source("a", 40)]);
    let mut later = source("a", 40);
    later.streams[0].records[..2].clone_from_slice(&records(0..2, "later"));
    world.sink.fail(Step::Commit, When::Before, 0);
    let report = world.run(&[&later]);
    assert_eq!(first(&report).status, Status::Failed);
    assert!(first(&report).counters.read < 10, "the other batches are not looked at: {report:?}");
}

#[test]
fn a_ledger_knows_of_nothing_whose_predecessor_is_not_heard_of() {
    let world = world(8, 3, 2);
    let mut seen = Vec::new();
    world.run_choosing(Mode::Incremental, &[&source("a", 6)], |held| {
        seen.push(sequences(&world));
        LAST(held)
    });
    assert_eq!(seen[..3], [(0, 3), (0, 3), (0, 3)], "all are stored, the last two are told of, the first is not");
    assert_eq!(sequences(&world), (4, 4), "three batches, and that it was read to its end");
}

#[test]
fn whichever_of_several_fails_none_behind_it_is_stored_and_all_before_it_counts() {
    for (step, when) in [(Step::Begin, When::Before), (Step::Apply, When::Before), (Step::Commit, When::Before)] {
        for fails in 0..6_usize {
            for choose in [FIRST, LAST] {
                for lanes in [1, 2, 3, 8] {
                    let world = world(lanes, 3, 2);
                    world.sink.fail(step, when, fails);
                    let told = format!("{step:?} {fails}, {lanes} lanes");
                    let report = world.run_choosing(Mode::Incremental, &[&source("a", 12)], choose);
                    let counters = first(&report).counters;
                    let stored = 2 * fails as u64;
                    assert_eq!((first(&report).status, counters.inserted), (Status::Failed, stored), "{told}");
                    assert_eq!(world.sink.hub().rows.len() as u64, stored, "{told}");
                    assert_eq!(counters.read, stored, "{told}");
                    assert!(first(&report).error.as_ref().expect("said").contains("injected fault"), "{report:?}");
                    let (known, there) = sequences(&world);
                    assert_eq!((known, there), (fails as u64, fails as u64), "{told}");
                    assert!(fails == 0 || !is_complete(&world), "{told}");

                    let report = world.run_choosing(Mode::Incremental, &[&source("a", 12)], choose);
                    assert_eq!((report.totals.inserted, report.totals.unchanged), (12 - stored, stored), "{told}");
                    assert!(is_complete(&world), "{told}");
                }
            }
        }
    }
}

#[test]
fn a_lost_acknowledgement_in_the_middle_leaves_the_ledger_out_of_step_and_nothing_twice() {
    for lost in 0..5 {
        let world = world(8, 2, 2);
        world.sink.fail(Step::Commit, When::After, lost);
        let report = world.run_choosing(Mode::Incremental, &[&source("a", 10)], LAST);
        assert_eq!(first(&report).status, Status::Failed);
        let (known, there) = sequences(&world);
        assert_eq!(known, lost as u64, "{lost}: what came before");
        assert!(there > known, "{lost}");
        let before = world.sink.hub().rows;
        let report = world.run_choosing(Mode::Incremental, &[&source("a", 10)], FIRST);
        assert_eq!((report.status, report.totals.read, world.sink.hub().rows.len()), (Status::Ok, 10, 10));
        assert_eq!(report.totals.unchanged, before.len() as u64, "{lost}: what was stored is found");
        let (known, there) = sequences(&world);
        assert_eq!(known, there, "{lost}");
        assert!(is_complete(&world));
    }
}

#[test]
fn a_delivery_that_waited_for_a_lane_is_not_given_after_its_predecessor_failed() {
    // Another source has the other lanes, so that the second delivery is still waiting for
    // one when the first fails.
    let world = world(3, 2, 2);
    let columns = TableSpec::builder("tasks").key("id", ColumnType::Text).column("body", ColumnType::Text);
    let other = MemorySource::new("0", StreamSpec::new("tasks", table(columns)), records(0..2, "text"));
    world.sink.fail(Step::Commit, When::Before, 2);
    let report = world.run_choosing(Mode::Incremental, &[&other, &source("a", 3)], LAST);
    assert_eq!((report.streams[1].status, report.totals.inserted), (Status::Failed, 2));
    let of_stream = world.sink.take_journal().pushed.into_iter().filter(|(stream, _)| *stream == id()).count();
    assert_eq!((of_stream, world.sink.hub().states.get(&id())), (1, None));
}

#[test]
fn letters_count_only_where_their_delivery_arrived() {
    for (fails, arrived) in [(0, 0), (1, 1), (2, 2)] {
        for choose in [FIRST, LAST] {
            let world = world(8, 2, 1);
            let mut source = source("a", 1);
            // The key comes again and again with another content, which no hub can store.
            source.streams[0].records = (0..4)
                .flat_map(|n| {
                    let record = note(&format!("{n}"), "text");
                    [record.clone(), record.with("body", "other")]
                })
                .collect();
            world.sink.fail(Step::Reject, When::Before, fails);
            let report = world.run_choosing(Mode::Incremental, &[&source], choose);
            let counters = first(&report).counters;
            assert_eq!(world.sink.hub().letters.len() as u64, counters.dead_lettered, "{fails}");
            assert_eq!(counters.dead_lettered, arrived, "{fails}");
            assert_eq!(counters.inserted, world.sink.hub().rows.len() as u64, "{fails}");
        }
    }
}

#[test]
fn a_contested_delivery_is_settled_before_its_successor_is_stored() {
    for fails in [None, Some(Step::Resolve), Some(Step::Commit)] {
        let world = world(8, 2, 2);
        // What another source holds contests the first delivery.
        let mut held = source("0", 2);
        held.streams[0].records = records(0..2, "theirs");
        world.run(&[&held]);
        if let Some(step) = fails {
            world.sink.fail(step, When::Before, 0);
        }
        let report = world.run_choosing(Mode::Incremental, &[&source("a", 6)], LAST);
        let counters = first(&report).counters;
        if fails.is_none() {
            assert_eq!((first(&report).status, counters.read, counters.inserted), (Status::Ok, 6, 4));
            assert!(is_complete(&world));
        } else {
            assert_eq!((first(&report).status, counters.read), (Status::Failed, 0), "{fails:?}");
            assert_eq!(sequences(&world), (0, 0), "{fails:?}: nothing of the stream is stored");
        }
    }
}

#[test]
fn deletes_are_sent_when_everything_before_them_is_stored() {
    for choose in [FIRST, LAST] {
        let world = world(8, 3, 2);
        world.run(&[&source("a", 12)]);
        let mut second = source("a", 12);
        second.streams[0].records = records(4..12, "changed");
        let report = world.run_choosing(Mode::Incremental, &[&second], choose);
        assert_eq!((report.totals.updated, report.totals.deleted), (8, 4));
        assert!(is_complete(&world));
        let (known, there) = sequences(&world);
        assert_eq!(known, there);
    }
}

#[test]
fn an_open_checkpoint_is_closed_by_the_next_run_even_if_nothing_is_new() {
    let world = world(8, 2, 2);
    world.sink.fail(Step::Commit, When::Before, 2);
    // Exactly two batches, then only the checkpoint is left to be told.
    world.run_choosing(Mode::Incremental, &[&source("a", 4)], FIRST);
    assert!(!is_complete(&world));
    let report = world.run_choosing(Mode::Incremental, &[&source("a", 4)], FIRST);
    assert_eq!((report.status, report.totals.unchanged), (Status::Ok, 4));
    assert!(is_complete(&world));
}

proptest! {
    #![proptest_config(cases(192))]

    /// Faults anywhere, answers in any order: what is counted is what is stored, and the
    /// runs that follow bring the hub and the ledger to where one after the other does.
    #[test]
    fn faults_and_orders_change_nothing_that_lasts(
        abreast in 1_usize..4,
        lanes in 1_usize..5,
        rows in 1_usize..4,
        counts in prop::collection::vec(0_usize..14, 1..4),
        faults in prop::collection::vec((0_usize..4, any::<bool>(), 0_usize..8), 0..4),
        choices in prop::collection::vec(0_usize..6, 1..30),
    ) {
        let (one, many) = (world(1, 1, rows), world(lanes, abreast, rows));
        let mut choices = choices.iter().copied().cycle();
        for (step, after, spare) in faults {
            let step = [Step::Begin, Step::Apply, Step::Resolve, Step::Commit][step];
            many.sink.fail(step, if after { When::After } else { When::Before }, spare);
        }
        for (round, count) in counts.iter().enumerate() {
            let bodies = records(0..*count, ["x", "y", "z"][round % 3]);
            let sources = ["a", "b"].map(|name| MemorySource::new(name, spec(notes()), bodies.clone()));
            let report = many.run_choosing(Mode::Incremental, &[&sources[0], &sources[1]], |_| choices.next().unwrap_or(0));
            if report.status != Status::Failed {
                for stream in &report.streams {
                    prop_assert_eq!(stream.counters.read, *count as u64);
                }
            }
            for state in many.sink.hub().states.values() {
                let known = many.ledger.load(&state.stream).expect("in memory").map_or(0, |known| known.sequence);
                prop_assert!(known <= state.sequence, "no ledger is ahead of the hub");
            }
        }
        many.sink.heal();
        let bodies = records(0..10, "last");
        let sources = ["a", "b"].map(|name| MemorySource::new(name, spec(notes()), bodies.clone()));
        let report = many.run_choosing(Mode::Incremental, &[&sources[0], &sources[1]], |_| choices.next().unwrap_or(0));
        prop_assert_eq!(report.status, Status::Ok);
        one.run(&[&sources[0], &sources[1]]);
        let living = |world: &World| world.bodies();
        prop_assert_eq!(living(&many), living(&one));
        let again = many.run(&[&sources[0], &sources[1]]);
        prop_assert_eq!((again.status, again.totals.unchanged), (Status::Ok, 20));
        for state in many.sink.hub().states.values() {
            prop_assert!(state.checkpoint.complete);
        }
    }
}
