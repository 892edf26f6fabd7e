//! Several deliveries on their way at once, arriving in any order.

use std::collections::BTreeMap;

use aqe_sync_core::ledger::LedgerEntry;
use aqe_sync_core::{
    ColumnType, Engine, Ledger as _, Mode, Record, Report, Silent, Status, StreamId, StreamSpec, TableSpec,
};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_sink::{MemorySink, Step, When};
use crate::support::memory_source::{Ending, MemorySource};
use crate::support::note::{With as _, note, notes, spec, table};
use crate::support::world::{World, first, stream_id};

fn world(lanes: usize, rows: usize) -> World {
    let mut world = World { sink: MemorySink::with_lanes(lanes), ..World::new() };
    world.options.limits.rows = rows;
    world
}

fn numbered(prefix: &str, count: usize) -> Vec<Record> {
    (0..count).map(|n| note(&format!("{prefix}{n:03}"), "text")).collect()
}

fn source(name: &str, count: usize) -> MemorySource {
    MemorySource::new(name, spec(notes()), numbered(name, count))
}

/// A stream of a table of its own.
fn own_table(name: &str) -> StreamSpec {
    let columns = TableSpec::builder(name).key("id", ColumnType::Text).column("body", ColumnType::Text);
    StreamSpec::new(name, table(columns))
}

fn in_own_table(name: &str, count: usize) -> MemorySource {
    MemorySource::new(name, own_table(name), numbered("", count))
}

fn names(report: &Report) -> Vec<&str> {
    report.streams.iter().map(|stream| stream.source.as_str()).collect()
}

fn of(sources: &[MemorySource]) -> Vec<&MemorySource> {
    sources.iter().collect()
}

#[test]
fn a_run_can_be_moved_between_threads() {
    fn sendable<T: Send>(_: &T) {}
    let world = World::new();
    sendable(&Engine::new(&world.sink, &world.ledger, &Silent, world.options.clone()).run(&[]));
}

#[test]
fn reports_come_in_the_order_of_the_sources_whatever_arrives_first() {
    for last_first in [false, true] {
        let world = world(4, 10);
        let sources: Vec<_> = ["a", "b", "c", "d"].map(|name| in_own_table(name, 3)).into();
        let choose = |held: &[StreamId]| if last_first { held.len() - 1 } else { 0 };
        let report = world.run_choosing(Mode::Incremental, &of(&sources), choose);
        assert_eq!(names(&report), ["a", "b", "c", "d"]);
        assert_eq!((report.status, report.totals.inserted), (Status::Ok, 12));
    }
}

#[test]
fn small_sources_are_all_on_their_way_before_the_first_answer() {
    let world = world(15, 10);
    let sources: Vec<_> = (0..15).map(|n| in_own_table(&format!("s{n:02}"), 2)).collect();
    let mut first = None;
    world.run_choosing(Mode::Incremental, &of(&sources), |held| {
        first.get_or_insert(held.len());
        0
    });
    assert_eq!(first, Some(15));
}

#[test]
fn no_more_deliveries_are_on_their_way_than_there_are_lanes() {
    for lanes in [1, 2, 3] {
        let world = world(lanes, 2);
        let sources: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| in_own_table(name, 7)).into();
        let report = world.run_choosing(Mode::Incremental, &of(&sources), |held| held.len() - 1);
        assert_eq!(report.totals.inserted, 35);
        assert_eq!(world.sink.take_journal().at_once, lanes);
    }
}

#[test]
fn deliveries_into_one_table_start_in_the_order_of_their_streams() {
    let world = world(4, 2);
    let sources: Vec<_> = ["a", "b", "c"].map(|name| source(name, 5)).into();
    world.run_choosing(Mode::Incremental, &of(&sources), |held| held.len() - 1);
    let started: Vec<String> =
        world.sink.take_journal().pushed.into_iter().flat_map(|(_, keys)| keys).collect::<Vec<_>>();
    let read: Vec<String> =
        ["a", "b", "c"].iter().flat_map(|name| (0..5).map(move |n| format!("{name}{n:03}"))).collect();
    assert_eq!(started, read);
}

#[test]
fn a_stream_is_read_no_further_than_one_full_outbox_ahead() {
    let world = world(4, 8);
    let source = source("a", 40);
    let mut read = Vec::new();
    world.run_choosing(Mode::Incremental, &[&source], |_| {
        read.push(source.taken());
        0
    });
    // A quarter of a delivery is read at a time: one batch without records, four on their
    // way, four waiting; four more each time a delivery arrives.
    assert_eq!(read[..3], [9, 13, 17], "{read:?}");
}

#[test]
fn reading_stops_while_much_is_unfinished() {
    let mut world = world(2, 100);
    world.options.limits.bytes = 1;
    let sources: Vec<_> = (0..20).map(|n| in_own_table(&format!("s{n:02}"), 1)).collect();
    let mut begun = Vec::new();
    world.run_choosing(Mode::Incremental, &of(&sources), |_| {
        begun.push(sources.iter().filter(|source| source.taken() > 0).count());
        0
    });
    assert_eq!(begun[..3], [1, 2, 2], "one on its way is more than a byte: {begun:?}");
}

#[test]
fn what_is_unfinished_is_weighed_by_its_bytes() {
    let begun = |limit: usize, records: usize, text: usize| {
        let mut world = world(2, 1000);
        world.options.limits.bytes = limit;
        let records: Vec<_> = (0..records).map(|n| note(&n.to_string(), "x".repeat(text))).collect();
        let source = |n: usize| MemorySource::new(&format!("s{n:02}"), own_table(&format!("s{n:02}")), records.clone());
        let sources: Vec<_> = (0..20).map(source).collect();
        let mut begun = Vec::new();
        world.run_choosing(Mode::Incremental, &of(&sources), |_| {
            begun.push(sources.iter().filter(|source| source.taken() > 0).count());
            0
        });
        begun[0]
    };
    // Two limits' worth, of records that are large or many.
    assert!((3..=6).contains(&begun(10_000, 1, 5000)), "{}", begun(10_000, 1, 5000));
    assert!((2..=6).contains(&begun(20_000, 100, 0)), "{}", begun(20_000, 100, 0));
}

#[test]
fn a_delivery_that_fails_stops_its_stream_and_no_other() {
    for (step, when) in [(Step::Apply, When::Before), (Step::Commit, When::Before), (Step::Commit, When::After)] {
        let world = world(3, 2);
        let sources: Vec<_> = ["a", "b", "c"].map(|name| in_own_table(name, 6)).into();
        world.sink.fail(step, when, 1);
        let report = world.run_choosing(Mode::Incremental, &of(&sources), |held| held.len() - 1);
        let failed: Vec<_> = report.streams.iter().filter(|stream| stream.status == Status::Failed).collect();
        assert_eq!((report.status, failed.len()), (Status::Failed, 1), "{step:?} {when:?}");
        assert!(report.error.as_ref().is_some_and(|error| error.contains("injected fault")), "{report:?}");
        assert!(failed[0].counters.read < 6 && report.totals.inserted >= 12, "{step:?} {when:?}");

        // The next run finishes the job, once.
        let report = world.run_choosing(Mode::Incremental, &of(&sources), |_| 0);
        assert_eq!((report.status, report.totals.read), (Status::Ok, 18), "{step:?} {when:?}");
        assert_eq!(world.sink.hub().rows.len(), 18, "{step:?} {when:?}");
    }
}

#[test]
fn after_a_failed_delivery_nothing_more_of_its_stream_is_sent() {
    let world = world(2, 2);
    world.sink.fail(Step::Begin, When::Before, 0);
    let report = world.run_choosing(Mode::Incremental, &[&source("a", 40)], |_| 0);
    assert_eq!(first(&report).status, Status::Failed);
    assert_eq!(world.sink.take_journal().pushed.len(), 1);
}

#[test]
fn dead_letters_that_did_not_arrive_are_not_counted() {
    let world = world(2, 2);
    let mut source = source("a", 6);
    // Every key comes again with another content, which no hub can store.
    let again = source.streams[0].records.clone().into_iter().map(|record| record.with("body", "other"));
    source.streams[0].records.extend(again.collect::<Vec<_>>());
    source.streams[0].records.push(note("last", "text"));
    world.sink.fail(Step::Reject, When::Before, 0);
    let report = world.run_choosing(Mode::Incremental, &[&source], |_| 0);
    let counters = first(&report).counters;
    assert_eq!((first(&report).status, counters.inserted, counters.dead_lettered), (Status::Failed, 6, 0));
    assert!(world.sink.hub().letters.is_empty());
}

#[test]
fn the_ledger_is_written_only_after_the_acknowledgement() {
    let world = world(2, 100);
    let sources = [source("a", 3), in_own_table("b", 3)];
    let mut checked = 0;
    let ids = [stream_id("a"), StreamId { stream: "b".into(), ..stream_id("b") }];
    world.run_choosing(Mode::Incremental, &of(&sources), |held| {
        for id in ids.iter().filter(|id| held.contains(id)) {
            assert!(world.sink.hub().states.contains_key(id), "it is durable");
            let known = world.ledger.load(id).expect("in memory");
            assert!(known.is_none_or(|known| known.entries.is_empty()), "but nobody knows");
            checked += 1;
        }
        0
    });
    assert!(checked >= 2);
    let entries = |id| world.ledger.load(id).expect("in memory").map(|known| known.entries.len());
    assert!(ids.iter().all(|id| entries(id) == Some(3)));
}

#[test]
fn a_source_is_remembered_only_when_all_its_streams_ended_well() {
    for fails in [false, true] {
        let world = world(2, 100);
        let source = in_own_table("a", 2).and(own_table("b"), numbered("", 2)).fingerprint(b"one", true);
        if fails {
            world.sink.fail(Step::Commit, When::Before, 1);
        }
        world.run_choosing(Mode::Incremental, &[&source], |_| {
            let known = world.ledger.source(&"laptop".into(), &"a".into()).expect("in memory");
            assert_eq!(known, None, "not before all have arrived");
            0
        });
        let known = world.ledger.source(&"laptop".into(), &"a".into()).expect("in memory");
        assert_eq!(known.is_none(), fails);
    }
}

#[test]
fn a_source_that_breaks_off_keeps_what_was_on_its_way() {
    let world = world(2, 2);
    let torn = source("a", 7).ending(Ending::Error);
    let report = world.run_choosing(Mode::Incremental, &[&torn, &in_own_table("b", 2)], |held| held.len() - 1);
    assert_eq!((report.status, first(&report).status), (Status::Partial, Status::Failed));
    assert_eq!((first(&report).counters.inserted, report.totals.inserted), (6, 8), "what was not sent is not counted");
    assert_eq!(world.sink.hub().rows.len(), 8);
}

#[test]
fn deleting_asks_the_hub_for_the_keys_it_needs_and_no_more() {
    let world = world(2, 100);
    world.run(&[&source("a", 30)]);
    // Everything known of the stream would be more than is needed.
    world.sink.fail(Step::Known, When::Before, 0);
    assert_eq!(world.run(&[&source("a", 28)]).totals.deleted, 2);
    world.sink.heal();

    // A row that somebody edited is not found by its hash; it is not deleted either.
    world.sink.tamper(|hub| {
        let (_, stored) = hub.rows.values_mut().find(|(key, _)| key.to_string().contains("a027")).expect("there");
        stored.row.hash = aqe_sync_core::ContentHash::from_i64(7).expect("not zero");
    });
    let report = world.run(&[&source("a", 27)]);
    assert_eq!((report.status, report.totals.deleted, report.totals.conflicts), (Status::Ok, 0, 1));
    assert!(!world.stored().values().any(|stored| stored.deleted && stored.row.hash.to_i64() == 7));
}

/// Everything that must not depend on the order in which deliveries arrive.
fn outcome(world: &World, mut report: Report) -> impl PartialEq + std::fmt::Debug + use<> {
    report.run_id.clear();
    report.duration_ms = 0;
    report.started_at = aqe_sync_core::Timestamp::from_micros(0).expect("in range");
    report.streams.iter_mut().for_each(|stream| stream.duration_ms = 0);
    let mut hub = world.sink.hub();
    hub.conflicts.sort_by_cached_key(|log| format!("{log:?}"));
    let known = |id: &StreamId| world.ledger.load(id).expect("in memory").map(|known| (known.sequence, known.entries));
    let ledger: BTreeMap<StreamId, Option<(u64, Vec<LedgerEntry>)>> =
        hub.states.keys().map(|id| (id.clone(), known(id))).collect();
    let states: Vec<_> = hub.states.into_values().map(|state| (state.sequence, state.checkpoint.complete)).collect();
    (report, hub.rows, hub.letters, hub.conflicts, states, ledger)
}

/// Per source and stream, which key has which content.
type Contents = Vec<Vec<Vec<(u8, u8)>>>;

fn contents() -> impl Strategy<Value = Contents> {
    let records = prop::collection::vec((0_u8..8, 0_u8..3), 0..9);
    prop::collection::vec(prop::collection::vec(records, 1..4), 1..5)
}

fn sources(contents: &Contents) -> Vec<MemorySource> {
    let record = |(key, body): &(u8, u8)| note(&key.to_string(), ["x", "y", "z"][usize::from(*body)]);
    let build = |(number, streams): (usize, &Vec<Vec<(u8, u8)>>)| {
        let mut streams = streams.iter().enumerate().map(|(position, records)| {
            let mut spec = if (number + position).is_multiple_of(2) { spec(notes()) } else { own_table("tasks") };
            spec.name = format!("stream{position}").as_str().into();
            (spec, records.iter().map(record).collect::<Vec<_>>())
        });
        let (spec, records) = streams.next().expect("at least one");
        let source = MemorySource::new(&format!("s{number}"), spec, records);
        streams.fold(source, |source, (spec, records)| source.and(spec, records))
    };
    contents.iter().enumerate().map(build).collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_order_of_arrival_changes_nothing(
        before in contents(),
        after in contents(),
        lanes in 2_usize..6,
        rows in 1_usize..5,
        full in any::<bool>(),
        choices in prop::collection::vec(0_usize..6, 1..40),
    ) {
        let (one, many) = (world(1, rows), world(lanes, rows));
        let mut choices = choices.iter().copied().cycle();
        let mode = if full { Mode::Full } else { Mode::Incremental };
        for contents in [before, after] {
            let sources = sources(&contents);
            let expected = one.run_as(mode, &of(&sources));
            let report = many.run_choosing(mode, &of(&sources), |_| choices.next().unwrap_or(0));
            prop_assert_eq!(outcome(&many, report), outcome(&one, expected));
        }
    }
}
