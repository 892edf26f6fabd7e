//! Somebody puts the version in force that lost: it lasts, for as long as nothing new is said.

use aqe_sync_core::revert::{ConflictEntry, REVERTED, Reverted, Side, revert};
use aqe_sync_core::rowjson::row_to_json;
use aqe_sync_core::{Json, Mode, PolicySpec, Record, Result, Timestamp, Value};
use futures::executor::block_on;

use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, at_second, note, notes, spec, table};
use crate::support::world::{ENVIRONMENT, World, edit, stream_id, texts};

fn source(policy: &PolicySpec, records: Vec<Record>) -> MemorySource {
    named("a.db", 0, policy, records)
}

fn named(name: &str, priority: i32, policy: &PolicySpec, records: Vec<Record>) -> MemorySource {
    MemorySource::new(name, spec(notes().policy(policy.clone())), records).priority(priority)
}

/// The last entry of the log, as a hub gives it.
fn last(world: &World, writer: &str) -> ConflictEntry {
    let conflicts = world.sink.hub().conflicts;
    let log = conflicts.last().expect("a conflict");
    let image = |row| Json::from_text(row_to_json(&table(notes()), row));
    ConflictEntry {
        id: conflicts.len().to_string(),
        at: Timestamp::now(),
        environment: ENVIRONMENT.into(),
        writer: stream_id(writer).contributor(),
        table: "notes".to_owned(),
        key: log.key.to_string(),
        rule: log.rule.to_string(),
        incoming: log.incoming.as_ref().map(image),
        existing: image(&log.existing),
        existing_from: log.existing_from.clone(),
        reverted_by: None,
    }
}

fn put(world: &World, entry: &ConflictEntry, side: Option<Side>) -> Result<Reverted> {
    block_on(revert(&world.sink, &table(notes()), &ENVIRONMENT.into(), entry, side))
}

/// The other version, and that it is another.
fn turn(world: &World, entry: &ConflictEntry) {
    assert!(put(world, entry, None).expect("the hub answers").changed);
}

/// A hub whose row somebody edited, and a local record that changed as well.
fn diverged(policy: &PolicySpec) -> (World, MemorySource, ConflictEntry) {
    let world = World::new();
    world.run(&[&source(policy, vec![note("1", "old")])]);
    edit(&world, "1", note("1", "hub"));
    let local = source(policy, vec![note("1", "local")]);
    world.run(&[&local]);
    let entry = last(&world, "a.db");
    (world, local, entry)
}

const MODES: [Mode; 5] = [Mode::Incremental, Mode::Full, Mode::Append, Mode::Full, Mode::Incremental];

#[test]
fn the_other_version_is_in_force_through_every_later_run_and_without_a_ledger() {
    for (policy, other) in [(PolicySpec::LocalWins, "hub"), (PolicySpec::HubWins, "local")] {
        let (mut world, local, entry) = diverged(&policy);
        let reverted = put(&world, &entry, None).expect("the hub answers");
        assert!(reverted.changed);
        assert_eq!(reverted.in_force.expect("a row").values[1], Value::from(other));
        for mode in MODES {
            let report = world.run_as(mode, &[&local]);
            assert_eq!(world.bodies(), texts(&[("1", other)]), "{policy} {mode:?}");
            assert_eq!((report.totals.conflicts, report.totals.updated), (0, 0), "{policy} {mode:?}");
        }
        world.forget();
        world.run(&[&local]);
        assert_eq!(world.bodies(), texts(&[("1", other)]), "{policy}");
    }
}

#[test]
fn reverting_is_logged_and_changes_nothing_a_second_time() {
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    turn(&world, &entry);
    let log = last(&world, "a.db");
    assert_eq!(log.rule, format!("{REVERTED} 1"));
    assert!(log.incoming.expect("a row").as_str().contains("hub"));
    assert!(log.existing.as_str().contains("local"));
    let content = world.content();
    let known = ConflictEntry { reverted_by: Some("2".to_owned()), ..entry.clone() };
    assert!(!put(&world, &known, None).expect("the hub answers").changed);
    assert!(!put(&world, &entry, Some(Side::Existing)).expect("the hub answers").changed);
    assert_eq!(world.content(), content);
}

#[test]
fn a_reverting_can_be_reverted() {
    for policy in [PolicySpec::LocalWins, PolicySpec::HubWins] {
        let (world, local, entry) = diverged(&policy);
        let before = world.bodies();
        turn(&world, &entry);
        turn(&world, &last(&world, "a.db"));
        assert_eq!(world.bodies(), before, "{policy}");
        world.run_as(Mode::Full, &[&local]);
        assert_eq!(world.bodies(), before, "{policy}");
    }
}

#[test]
fn what_the_file_says_next_meets_what_is_in_force_by_the_tables_policy() {
    let policy = PolicySpec::NewerWins;
    let dated = |body: &str, second| note("1", body).with("updated_at", at_second(second));
    let world = World::new();
    world.run(&[&source(&policy, vec![dated("old", 1)])]);
    edit(&world, "1", dated("hub", 20));
    world.run(&[&source(&policy, vec![dated("local", 30)])]);
    turn(&world, &last(&world, "a.db"));
    assert_eq!(world.bodies(), texts(&[("1", "hub")]));
    let report = world.run(&[&source(&policy, vec![dated("a correction", 15)])]);
    assert_eq!((report.totals.superseded, report.totals.conflicts), (1, 1));
    assert_eq!(world.bodies(), texts(&[("1", "hub")]), "what is in force is newer");
    let news = source(&policy, vec![dated("news", 40)]);
    assert_eq!(world.run(&[&news]).totals.conflicts, 1);
    assert_eq!(world.bodies(), texts(&[("1", "news")]));
    assert!(world.stored()["1"].merged_from.is_empty(), "nothing is kept beside it any more");
    assert_eq!(world.run_as(Mode::Full, &[&news]).totals.conflicts, 0);
}

#[test]
fn a_file_that_comes_to_say_so_itself_needs_nothing_kept_beside_it() {
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    turn(&world, &entry);
    assert_eq!(world.stored()["1"].merged_from.len(), 2);
    world.run(&[&source(&PolicySpec::HubWins, vec![note("1", "hub")])]);
    assert!(world.stored()["1"].merged_from.is_empty());
    assert_eq!(world.bodies(), texts(&[("1", "hub")]));
}

#[test]
fn a_record_that_is_deleted_takes_what_was_in_force_with_it() {
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    turn(&world, &entry);
    let report = world.run(&[&source(&PolicySpec::LocalWins, Vec::new())]);
    assert_eq!((report.totals.deleted, world.bodies().len()), (1, 0));
}

#[test]
fn between_two_streams_the_lower_one_may_be_put_in_force() {
    let policy = PolicySpec::SourcePriority;
    let low = |body: &str| named("b.db", 1, &policy, vec![note("1", body)]);
    let high = named("a.db", 2, &policy, vec![note("1", "high")]);
    let world = World::new();
    world.run(&[&low("low"), &high]);
    assert_eq!(world.bodies(), texts(&[("1", "high")]));
    turn(&world, &last(&world, "a.db"));
    assert_eq!(world.bodies(), texts(&[("1", "low")]));
    for mode in MODES {
        world.run_as(mode, &[&low("low"), &high]);
        assert_eq!(world.bodies(), texts(&[("1", "low")]), "{mode:?}");
    }
    // The higher one is deleted: what is left says the same.
    world.run(&[&low("low"), &named("a.db", 2, &policy, Vec::new())]);
    assert_eq!(world.bodies(), texts(&[("1", "low")]));
    assert!(world.stored()["1"].merged_from.is_empty());
}

#[test]
fn counters_are_never_added_to_what_was_put_in_force() {
    let counted = |uses: i64| note("1", "x").with("uses", uses).with("score", 1.0);
    let policy = PolicySpec::WeightedMerge;
    let world = World::new();
    world.run(&[&source(&policy, vec![counted(1)])]);
    edit(&world, "1", counted(5));
    world.run(&[&source(&policy, vec![counted(2)])]);
    turn(&world, &last(&world, "a.db"));
    let uses = |world: &World| world.stored()["1"].row.values[3].clone();
    assert_eq!(uses(&world), Value::Int(5));
    world.run(&[&source(&policy, vec![counted(3)])]);
    assert_eq!(uses(&world), Value::Int(3));
}

#[test]
fn a_delete_that_was_put_off_is_done() {
    let world = World::new();
    let policy = PolicySpec::LocalWins;
    world.run(&[&source(&policy, vec![note("1", "old"), note("2", "two")])]);
    edit(&world, "1", note("1", "hub"));
    let two = source(&policy, vec![note("2", "two")]);
    world.run(&[&two]);
    assert_eq!(world.bodies().len(), 2, "what it never saw it does not delete");
    let entry = last(&world, "a.db");
    assert_eq!(entry.incoming, None);
    let reverted = put(&world, &entry, None).expect("the hub answers");
    assert_eq!(reverted, Reverted { in_force: None, changed: true });
    for mode in MODES {
        world.run_as(mode, &[&two]);
        assert_eq!(world.bodies(), texts(&[("2", "two")]), "{mode:?}");
    }
    turn(&world, &last(&world, "a.db"));
    assert_eq!(world.bodies(), texts(&[("1", "hub"), ("2", "two")]));
}

#[test]
fn where_neither_version_is_in_force_somebody_has_to_say_which() {
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    world.run(&[&source(&PolicySpec::LocalWins, vec![note("1", "news")])]);
    let content = world.content();
    let error = put(&world, &entry, None).expect_err("neither is in force").to_string();
    assert!(error.contains("neither of its versions is in force any more") && error.contains("news"), "{error}");
    assert_eq!(world.content(), content);
    assert!(put(&world, &entry, Some(Side::Existing)).expect("the hub answers").changed);
    assert_eq!(world.bodies(), texts(&[("1", "hub")]));
}

#[test]
fn other_environments_rows_and_rows_that_are_gone_are_left_alone() {
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    let foreign = ConflictEntry { environment: "ci".into(), ..entry.clone() };
    let content = world.content();
    let error = put(&world, &foreign, None).expect_err("not its own").to_string();
    assert!(error.contains("it is about a row of ci"), "{error}");
    assert_eq!(world.content(), content);
    world.sink.tamper(|hub| hub.rows.clear());
    let error = put(&world, &entry, None).expect_err("nothing to put in force").to_string();
    assert!(error.contains("does not have the record any more"), "{error}");
    assert!(world.stored().is_empty(), "the attempt left nothing behind");
}

/// Who says what of the record beside its row, by source and body; what is put in force has no source.
fn said(world: &World) -> Vec<(String, Value)> {
    let kept = &world.stored()["1"].merged_from;
    let mut said: Vec<(String, Value)> = kept
        .iter()
        .map(|one| {
            let source = one.contributor.source.as_str();
            let source = if source == aqe_sync_core::audit::SOURCE { "" } else { source }.to_owned();
            (source, one.row.values[1].clone())
        })
        .collect();
    said.sort_by(|a, b| a.0.cmp(&b.0));
    said
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(source, body)| ((*source).to_owned(), Value::from(*body))).collect()
}

#[test]
fn what_a_stream_says_itself_is_put_in_force_as_its_own() {
    let (world, _, entry) = diverged(&PolicySpec::HubWins);
    turn(&world, &entry);
    assert_eq!(said(&world), []);
    assert_eq!(world.stored()["1"].contributor, stream_id("a.db").contributor());
}

#[test]
fn what_another_stream_sent_stays_beside_what_is_put_in_force() {
    let (world, _, entry) = diverged(&PolicySpec::HubWins);
    let other = stream_id("c.db").contributor();
    world.sink.tamper(|hub| hub.rows.values_mut().for_each(|(_, stored)| stored.contributor = other.clone()));
    turn(&world, &entry);
    assert_eq!(said(&world), pairs(&[("", "local"), ("c.db", "hub")]));
    assert_eq!(world.stored()["1"].contributor, other);
}

#[test]
fn what_a_file_says_by_now_stays_beside_what_is_put_in_force() {
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    world.run(&[&source(&PolicySpec::LocalWins, vec![note("1", "news")])]);
    assert!(put(&world, &entry, Some(Side::Existing)).expect("the hub answers").changed);
    assert_eq!(said(&world), pairs(&[("", "hub"), ("a.db", "news")]));
}

#[test]
fn undoing_leaves_what_the_streams_say_and_nothing_else() {
    let policy = PolicySpec::SourcePriority;
    let world = World::new();
    let low = named("b.db", 1, &policy, vec![note("1", "low")]);
    world.run(&[&low, &named("a.db", 2, &policy, vec![note("1", "high")])]);
    turn(&world, &last(&world, "a.db"));
    assert_eq!(said(&world), pairs(&[("", "low"), ("a.db", "high"), ("b.db", "low")]));
    turn(&world, &last(&world, "a.db"));
    assert_eq!(said(&world), pairs(&[("a.db", "high"), ("b.db", "low")]));
    assert_eq!(world.bodies(), texts(&[("1", "high")]));
}

#[test]
fn what_comes_back_from_a_delete_has_nothing_beside_it() {
    let world = World::new();
    let policy = PolicySpec::LocalWins;
    world.run(&[&source(&policy, vec![note("1", "old"), note("2", "two")])]);
    edit(&world, "1", note("1", "hub"));
    world.run(&[&source(&policy, vec![note("2", "two")])]);
    turn(&world, &last(&world, "a.db"));
    assert!(world.stored()["1"].deleted);
    turn(&world, &last(&world, "a.db"));
    assert_eq!((said(&world), world.stored()["1"].deleted), (Vec::new(), false));
}

#[test]
fn a_delete_is_done_where_only_its_own_stream_has_the_record() {
    // Beside what somebody put in force.
    let (world, _, entry) = diverged(&PolicySpec::LocalWins);
    turn(&world, &entry);
    let gone = ConflictEntry { incoming: None, ..entry };
    assert_eq!(put(&world, &gone, Some(Side::Incoming)).expect("the hub answers").in_force, None);
    assert!(world.stored()["1"].deleted && said(&world).is_empty());

    let policy = PolicySpec::SourcePriority;
    let world = World::new();
    let low = named("b.db", 1, &policy, vec![note("1", "low")]);
    world.run(&[&low, &named("a.db", 2, &policy, vec![note("1", "high")])]);
    let gone = ConflictEntry { incoming: None, ..last(&world, "a.db") };
    let content = world.content();
    let error = put(&world, &gone, Some(Side::Incoming)).expect_err("b.db has it").to_string();
    assert!(error.contains("b.db has the record, too"), "{error}");
    assert_eq!(world.content(), content);
}
