//! Lost acknowledgements, lost ledgers, sources that break off.

use aqe_sync_core::ledger::LedgerStream;
use aqe_sync_core::{Engine, Event, Ledger as _, Mode, Status};

use crate::support::memory_sink::{Step, When};
use crate::support::memory_source::{Ending, MemorySource};
use crate::support::note::{note, notes, spec};
use crate::support::world::{World, first, stream_id, texts};

fn source(name: &str, bodies: &[(&str, &str)]) -> MemorySource {
    MemorySource::new(name, spec(notes()), bodies.iter().map(|(id, body)| note(id, *body)).collect())
}

#[test]
fn a_lost_acknowledgement_does_not_duplicate_rows() {
    let world = World::new();
    let source = source("a.db", &[("1", "one"), ("2", "two")]);
    world.sink.fail(Step::Commit, When::After, 0);
    let report = world.run(&[&source]);
    assert_eq!((report.status, first(&report).status, report.totals.read), (Status::Failed, Status::Failed, 0));
    assert_eq!(world.bodies().len(), 2, "the rows are there, only nobody knows");

    let before = world.sink.hub().rows;
    world.sink.take_journal();
    let report = world.run(&[&source]);
    assert_eq!((report.status, report.totals.unchanged), (Status::Ok, 2));
    assert_eq!(world.sink.take_journal().applied, 0);
    assert_eq!(world.sink.hub().rows, before);
}

#[test]
fn whatever_step_fails_the_next_run_finishes_the_job() {
    let steps = [Step::Prepare, Step::Keys, Step::Begin, Step::Apply, Step::Resolve, Step::Reject, Step::Commit];
    for step in steps {
        for when in [When::Before, When::After] {
            let mut world = World::new();
            world.options.limits.rows = 2;
            let first = source("a.db", &[("1", "one"), ("2", "two")]);
            world.run(&[&first]);
            let mut second = source("a.db", &[("1", "one"), ("3", "three"), ("4", "four"), ("5", "five")]);
            second.streams[0].records.push(note("3", "again"));
            let other = source("b.db", &[("1", "uno")]);
            world.sink.fail(step, when, 0);
            let broken = world.run(&[&second, &other]);
            assert_eq!(broken.status, Status::Failed, "{step:?} {when:?}");
            world.run(&[&second, &other]);

            let sound = World::new();
            sound.run(&[&first]);
            sound.run(&[&second, &other]);
            assert_eq!(world.sink.hub().rows, sound.sink.hub().rows, "{step:?} {when:?}");
            assert_eq!(world.sink.hub().letters, sound.sink.hub().letters, "{step:?} {when:?}");
        }
    }
}

#[test]
fn a_hub_that_does_not_answer_stops_the_run_before_anything_is_read() {
    use aqe_sync_core::{Engine, Silent};
    let world = World::new();
    world.sink.fail(Step::States, When::Before, 0);
    let engine = Engine::new(&world.sink, &world.ledger, &Silent, world.options.clone());
    let source = source("a.db", &[("1", "one")]);
    let result = futures::executor::block_on(engine.run(&[Box::new(source.clone())]));
    assert!(result.is_err());
    assert_eq!(source.reads(), 0);
}

#[test]
fn a_report_that_cannot_be_kept_fails_the_run() {
    let world = World::new();
    world.sink.fail(Step::Finish, When::Before, 0);
    let report = world.run(&[&source("a.db", &[("1", "one")])]);
    assert_eq!((report.status, report.totals.inserted), (Status::Failed, 1));
    assert!(report.error.is_some());
}

#[test]
fn a_lost_ledger_is_rebuilt_from_the_hub_and_nothing_is_sent_again() {
    let mut world = World::new();
    let source = source("a.db", &[("1", "one"), ("2", "two"), ("3", "three"), ("4", "four")]);
    world.run(&[&source]);
    let before = world.content();
    world.forget();
    world.sink.take_journal();
    let report = world.run(&[&source]);
    assert_eq!((report.status, report.totals.unchanged), (Status::Ok, 4));
    assert_eq!(world.sink.take_journal().applied, 0);
    assert_eq!(world.content(), before);

    // And the rebuilt one is as good as the first: it knows what is gone.
    let mut shorter = source.clone();
    shorter.streams[0].records.truncate(3);
    world.forget();
    assert_eq!(world.run(&[&shorter]).totals.deleted, 1);
}

#[test]
fn a_ledger_out_of_step_with_the_hub_is_not_believed() {
    let world = World::new();
    let source = source("a.db", &[("1", "one"), ("2", "two")]);
    world.run(&[&source]);
    let before = world.content();
    world.ledger.replace(&stream_id("a.db"), &LedgerStream { sequence: 77, entries: Vec::new() }).expect("in memory");
    world.sink.take_journal();
    assert_eq!(world.run(&[&source]).totals.unchanged, 2);
    assert_eq!(world.sink.take_journal().applied, 0);
    assert_eq!(world.content(), before);
    let known = world.ledger.load(&stream_id("a.db")).expect("in memory").expect("rebuilt");
    assert_eq!((known.sequence, known.entries.len()), (1, 2));
}

#[test]
fn the_ledger_is_in_step_after_a_run_however_its_batches_fall() {
    for rows in 1..=5 {
        let mut world = World::new();
        world.options.limits.rows = rows;
        let source = source("a.db", &[("1", "one"), ("2", "two"), ("3", "three"), ("4", "four")]);
        world.run(&[&source]);
        let known = world.ledger.load(&stream_id("a.db")).expect("in memory").expect("written");
        let state = &world.sink.hub().states[&stream_id("a.db")];
        assert_eq!(known.sequence, state.sequence, "{rows} rows a batch");
        // So the next run asks the ledger only.
        world.sink.fail(Step::Known, When::Before, 0);
        assert_eq!(world.run(&[&source]).totals.unchanged, 4, "{rows} rows a batch");
    }
}

#[test]
fn an_error_in_the_middle_of_a_source_deletes_nothing_and_the_others_go_on() {
    let world = World::new();
    let whole = source("a.db", &[("1", "one"), ("2", "two"), ("3", "three")]);
    world.run(&[&whole]);
    let torn = source("a.db", &[("1", "one")]).ending(Ending::Error);
    let report = world.run(&[&torn, &source("b.db", &[("9", "nine")])]);
    assert_eq!((report.status, report.totals.deleted, report.totals.inserted), (Status::Partial, 0, 1));
    assert_eq!(first(&report).status, Status::Failed);
    assert!(first(&report).error.as_ref().expect("said").contains("ends in the middle"));
    assert_eq!(world.bodies().len(), 4);
    assert_eq!(world.run(&[&whole]).totals.unchanged, 3);
}

#[test]
fn a_stream_without_its_last_mark_deletes_nothing() {
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        world.run(&[&source("a.db", &[("1", "one"), ("2", "two")])]);
        let cut = source("a.db", &[("1", "one")]).ending(Ending::Unmarked);
        let report = world.run_as(mode, &[&cut]);
        assert_eq!((report.status, report.totals.deleted), (Status::Partial, 0), "{mode:?}");
        assert_eq!(world.bodies().len(), 2);
    }
}

#[test]
fn a_stream_cut_off_by_the_next_one_does_not_harm_it() {
    let world = World::new();
    let mut second = spec(notes());
    second.name = "more".into();
    let source = source("a.db", &[("1", "one")]).ending(Ending::Unmarked).and(second, vec![note("2", "two")]);
    let report = world.run(&[&source]);
    let statuses: Vec<Status> = report.streams.iter().map(|stream| stream.status).collect();
    assert_eq!(statuses, [Status::Failed, Status::Ok]);
    assert_eq!(world.bodies(), texts(&[("2", "two")]));
}

#[test]
fn a_source_that_cannot_be_opened_is_its_own_error() {
    let world = World::new();
    world.run(&[&source("a.db", &[("1", "one")])]);
    let report = world.run(&[&source("a.db", &[]).unreadable(), &source("b.db", &[("2", "two")])]);
    assert_eq!((report.status, report.totals.deleted), (Status::Partial, 0));
    assert!(first(&report).error.as_ref().expect("said").contains("this is no database"));
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two")]));
}

#[test]
fn a_table_that_could_not_be_prepared_is_prepared_for_the_next_source() {
    let world = World::new();
    world.sink.fail(Step::Prepare, When::Before, 0);
    let report = world.run(&[&source("a.db", &[("1", "one")]), &source("b.db", &[("2", "two")])]);
    assert_eq!(report.totals.inserted, 1, "{report:?}");
    assert_eq!(world.bodies(), texts(&[("2", "two")]));
}

#[test]
fn an_error_after_the_last_stream_is_part_of_the_report() {
    let world = World::new();
    let late = source("a.db", &[("1", "one")]).ending(Ending::LateError);
    let report = world.run(&[&late]);
    assert_eq!((report.status, report.totals.inserted), (Status::Partial, 1));
    assert!(report.streams.iter().any(|stream| stream.error.is_some()), "{report:#?}");
}

#[test]
fn a_ledger_that_another_process_overtook_stays_out_of_step() {
    let mut world = World::new();
    world.options.limits.rows = 1;
    let mine = source("a.db", &[("1", "one"), ("2", "two")]);
    world.run(&[&mine]);
    // Another process of the same environment commits between two of our batches.
    let overtake = |event: &Event<'_>| {
        if matches!(event, Event::StreamStarted { .. }) {
            world.sink.tamper(|hub| hub.states.get_mut(&stream_id("a.db")).expect("synced").sequence += 1);
        }
    };
    let changed = source("a.db", &[("1", "eins"), ("2", "zwei")]);
    let engine = Engine::new(&world.sink, &world.ledger, &overtake, world.options.clone());
    futures::executor::block_on(engine.run(&[Box::new(changed.clone())])).expect("the hub answers");
    let known = world.ledger.load(&stream_id("a.db")).expect("in memory").expect("written");
    assert_ne!(known.sequence, world.sink.hub().states[&stream_id("a.db")].sequence);
    assert_eq!(world.run(&[&changed]).totals.unchanged, 2);
}
