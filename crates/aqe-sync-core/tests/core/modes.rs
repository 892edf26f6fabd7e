//! Full, incremental and append; what may be skipped and what never.

use aqe_sync_core::{DeadLetter, Environment, Json, Mode, Reject, Status};

use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, note, notes, spec};
use crate::support::world::{World, first, texts};

fn source(bodies: &[(&str, &str)]) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), bodies.iter().map(|(id, body)| note(id, *body)).collect())
}

#[test]
fn an_incremental_run_sends_what_changed_and_nothing_else() {
    let world = World::new();
    let report = world.run(&[&source(&[("1", "one"), ("2", "two")])]);
    assert_eq!((report.status, report.totals.inserted), (Status::Ok, 2));

    world.sink.take_journal();
    let report = world.run(&[&source(&[("1", "one"), ("2", "zwei"), ("3", "three")])]);
    let totals = report.totals;
    assert_eq!((totals.read, totals.inserted, totals.updated, totals.unchanged), (3, 1, 1, 1));
    assert_eq!(world.sink.take_journal().applied, 2);
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "zwei"), ("3", "three")]));
}

#[test]
fn re_running_in_any_mode_is_without_effect() {
    let world = World::new();
    let source = source(&[("1", "one"), ("2", "two")]);
    world.run(&[&source]);
    let before = world.content();
    for mode in [Mode::Full, Mode::Append, Mode::Incremental, Mode::Full, Mode::Incremental, Mode::Append] {
        let report = world.run_as(mode, &[&source]);
        assert_eq!((report.status, report.totals.unchanged), (Status::Ok, 2), "{mode:?}");
        assert_eq!(world.content(), before, "{mode:?}");
    }
}

#[test]
fn a_full_run_mends_what_the_ledger_takes_for_granted() {
    let world = World::new();
    let source = source(&[("1", "one"), ("2", "two")]);
    world.run(&[&source]);
    world.sink.tamper(|hub| {
        hub.rows.pop_first();
    });
    assert_eq!(world.run(&[&source]).totals.unchanged, 2);
    assert_eq!(world.run_as(Mode::Full, &[&source]).totals.inserted, 1);
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two")]));
}

#[test]
fn append_inserts_and_leaves_the_rest_to_a_later_run() {
    let world = World::new();
    world.run(&[&source(&[("1", "one"), ("2", "two")]).fingerprint(b"before", true)]);
    let later = source(&[("1", "eins"), ("3", "three")]).fingerprint(b"after", true);
    let report = world.run_as(Mode::Append, &[&later]);
    assert_eq!((report.totals.inserted, report.totals.superseded, report.totals.deleted), (1, 1, 0));
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two"), ("3", "three")]));

    let report = world.run(&[&later]);
    assert_eq!((report.totals.updated, report.totals.deleted), (1, 1));
    assert_eq!(world.bodies(), texts(&[("1", "eins"), ("3", "three")]));
}

#[test]
fn append_leaves_a_key_of_another_source_untouched() {
    let world = World::new();
    world.run(&[&source(&[("1", "one")])]);
    let other = MemorySource::new("b.db", spec(notes()), vec![note("1", "uno"), note("2", "dos")]).priority(9);
    let report = world.run_as(Mode::Append, &[&other]);
    assert_eq!((report.totals.inserted, report.totals.superseded), (1, 1));
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "dos")]));

    world.run(&[&source(&[("1", "one")]), &other]);
    assert_eq!(world.bodies(), texts(&[("1", "uno"), ("2", "dos")]));
}

#[test]
fn an_update_moves_on_even_when_confidence_goes_down() {
    let policy = aqe_sync_core::PolicySpec::HigherConfidence;
    let with = |confidence: f64| {
        let record = note("1", "one").with("confidence", confidence);
        MemorySource::new("a.db", spec(notes().policy(policy.clone())), vec![record])
    };
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        world.run(&[&with(0.9)]);
        let report = world.run_as(mode, &[&with(0.1)]);
        assert_eq!((report.totals.updated, report.totals.conflicts), (1, 0), "{mode:?}");
    }
}

#[test]
fn a_source_that_looks_the_same_is_not_read() {
    let world = World::new();
    let source = source(&[("1", "one")]).fingerprint(b"same", true);
    world.run(&[&source]);
    let report = world.run(&[&source]);
    assert!(first(&report).skipped_unchanged);
    assert_eq!((source.reads(), report.totals.read), (1, 0));
    assert_eq!(first(&report).table, "notes");

    world.run_as(Mode::Full, &[&source]);
    assert_eq!(source.reads(), 2, "a full run reads whatever the fingerprint says");
}

#[test]
fn a_fingerprint_that_had_not_settled_is_never_trusted() {
    let world = World::new();
    let source = source(&[("1", "one")]).fingerprint(b"same", false);
    world.run(&[&source]);
    world.run(&[&source]);
    assert_eq!(source.reads(), 2);
}

#[test]
fn a_fingerprint_is_not_remembered_of_a_run_that_failed() {
    use crate::support::memory_source::Ending;
    let world = World::new();
    let torn = source(&[("1", "one")]).fingerprint(b"same", true).ending(Ending::Error);
    world.run(&[&torn]);
    let whole = source(&[("1", "one")]).fingerprint(b"same", true);
    let report = world.run(&[&whole]);
    assert_eq!((whole.reads(), report.totals.inserted), (1, 1));
}

#[test]
fn a_hub_that_was_replaced_gets_everything_again() {
    let mut world = World::new();
    let source = source(&[("1", "one"), ("2", "two")]).fingerprint(b"same", true);
    world.run(&[&source]);
    world.sink = crate::support::memory_sink::MemorySink::default();
    let report = world.run(&[&source]);
    assert_eq!(report.totals.inserted, 2);
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two")]));
}

#[test]
fn a_hub_that_was_replaced_gets_everything_even_if_the_first_attempt_breaks_off() {
    use crate::support::memory_sink::{MemorySink, Step, When};
    let mut world = World::with(|options| options.limits.rows = 1);
    let source = source(&[("1", "one"), ("2", "two"), ("3", "three")]);
    world.run(&[&source]);
    world.sink = MemorySink::default();
    world.sink.fail(Step::Commit, When::Before, 1);
    world.run(&[&source]);
    assert_eq!(world.bodies().len(), 1);
    world.run(&[&source]);
    assert_eq!(world.bodies().len(), 3);
}

#[test]
fn environments_do_not_see_each_other() {
    let mut world = World::new();
    world.run(&[&source(&[("1", "one")])]);
    world.options.environment = Environment::new("ci");
    world.forget();
    let report = world.run(&[&source(&[("1", "uno")])]);
    assert_eq!((report.totals.inserted, report.totals.conflicts), (1, 0));
    assert_eq!(world.sink.hub().rows.len(), 2);
}

#[test]
fn the_last_commit_says_that_the_stream_was_read_to_its_end() {
    let mut world = World::new();
    let complete = |world: &World| world.sink.hub().states.values().all(|state| state.checkpoint.complete);
    for rows in [1, 2, 5] {
        world.options.limits.rows = rows;
        world.run(&[&source(&[("1", "one"), ("2", "two")])]);
        assert!(complete(&world), "{rows}");
        world = World::new();
    }
    world.options.limits.rows = 1;
    let torn = source(&[("1", "one"), ("2", "two")]).ending(crate::support::memory_source::Ending::Unmarked);
    world.run(&[&torn]);
    assert!(!complete(&world));
    world.run(&[&source(&[("1", "one"), ("2", "two")])]);
    assert!(complete(&world));
}

#[test]
fn a_newer_version_stores_by_itself_what_an_older_one_could_not() {
    let mut world = World::new();
    let letter = DeadLetter {
        key: "2".to_owned(),
        reason: "this version does not understand it".to_owned(),
        record: Json::from_text(r#"{"id":"2"}"#),
    };
    let before = source(&[("1", "one")]).fingerprint(b"same", true);
    let report = world.run(&[&before.rejects(vec![Reject { key: None, letter }])]);
    assert_eq!((report.totals.inserted, report.totals.dead_lettered), (1, 1));
    let now = source(&[("1", "one"), ("2", "two")]).fingerprint(b"same", true);
    let report = world.run(&[&now]);
    assert!(first(&report).skipped_unchanged, "the same version");
    world.options.version.push_str("-next");
    let report = world.run(&[&now]);
    assert_eq!((report.totals.inserted, report.totals.unchanged), (1, 1));
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two")]));
    assert!(first(&world.run(&[&now])).skipped_unchanged, "once");
}
