//! Contents compared, not counts.

use aqe_sync_core::{
    DeadLetter, Deletes, DynSource, Json, Key, Record, Reject, StreamVerification, Value, VerifyReport, verify,
};
use futures::executor::block_on;

use crate::support::memory_sink::{Step, When};
use crate::support::memory_source::{Ending, MemorySource};
use crate::support::note::{With as _, note, notes, spec};
use crate::support::world::World;

fn source(records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), records)
}

fn check(world: &World, sources: &[&MemorySource]) -> VerifyReport {
    let boxed: Vec<Box<dyn DynSource>> = sources.iter().map(|source| Box::new((*source).clone()) as _).collect();
    block_on(verify(&world.sink, &boxed, &world.options)).expect("the hub answers")
}

fn check_one(world: &World, source: &MemorySource) -> StreamVerification {
    check(world, &[source]).streams.remove(0)
}

#[test]
fn what_was_synced_matches_and_nothing_is_written_to_find_that_out() {
    let world = World::new();
    let source = source(vec![note("1", "one"), note("2", "two").with("uses", "many")]);
    world.run(&[&source]);
    let before = world.content();
    let report = check(&world, &[&source]);
    assert!(report.matches(), "{report:?}");
    assert_eq!((report.streams[0].local, report.streams[0].hub), (2, 2));
    assert_eq!(world.content(), before);
}

#[test]
fn missing_extra_and_different_keys_are_named() {
    let world = World::new();
    world.run(&[&source(vec![note("1", "one"), note("2", "two"), note("3", "three")])]);
    let now = source(vec![note("1", "one"), note("2", "zwei"), note("4", "four"), note("4", "again")]);
    let report = check(&world, &[&now]);
    assert!(!report.matches());
    let stream = &report.streams[0];
    assert_eq!(
        (&stream.missing, &stream.extra, &stream.different),
        (&vec!["4".to_owned()], &vec!["3".to_owned()], &vec!["2".to_owned()])
    );
    assert_eq!((stream.local, stream.hub, stream.repeated), (3, 3, 1));
    // Equal counts alone would have said that all is well.
    assert_eq!(stream.local, stream.hub);
}

#[test]
fn a_hub_that_never_saw_the_source_lacks_everything() {
    let records: Vec<Record> = (0..250).map(|n| note(&n.to_string(), "text")).collect();
    let stream = check_one(&World::new(), &source(records));
    assert_eq!((stream.hub, stream.missing_count, stream.missing.len()), (0, 250, StreamVerification::MAX_KEYS));
}

#[test]
fn what_the_hub_remembers_on_purpose_is_no_difference() {
    let keeping = |records| MemorySource::new("a.db", spec(notes().deletes(Deletes::Ignore)), records);
    let world = World::new();
    world.run(&[&keeping(vec![note("1", "one"), note("2", "two")])]);
    let stream = check_one(&world, &keeping(vec![note("1", "one")]));
    assert!(stream.matches(), "{stream:?}");
    assert_eq!((stream.local, stream.hub), (1, 2));

    let frozen = |body: &str| MemorySource::new("a.db", spec(notes().immutable()), vec![note("1", body)]);
    let world = World::new();
    world.run(&[&frozen("one")]);
    let stream = check_one(&world, &frozen("changed"));
    assert!(stream.matches());
    assert_eq!(stream.kept_by_rule, 1);
}

#[test]
fn records_that_cannot_be_stored_are_counted_and_no_difference() {
    let letter = DeadLetter { key: "2".into(), reason: "torn".into(), record: Json::from_text("{}") };
    let reject = Reject { key: Some(Key::new(vec!["2".into()])), letter };
    let world = World::new();
    world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
    let torn = source(vec![note("1", "one")]).rejects(vec![reject]);
    let stream = check_one(&world, &torn);
    assert!(stream.matches(), "{stream:?}");
    assert_eq!(stream.unstorable, 1);

    let nameless = source(vec![note("1", "one"), note("", "two").with("id", Value::Null)]);
    assert!(check_one(&world, &nameless).matches(), "it may be record 2");
}

#[test]
fn each_source_is_compared_with_its_own_contribution() {
    let world = World::new();
    let one = source(vec![note("1", "one")]);
    let other = MemorySource::new("b.db", spec(notes()), vec![note("1", "uno")]).priority(3);
    world.run(&[&one, &other]);
    assert!(check(&world, &[&one, &other]).matches());
}

#[test]
fn a_source_that_cannot_be_read_is_a_difference_with_its_reason() {
    let world = World::new();
    let whole = source(vec![note("1", "one"), note("2", "two")]);
    world.run(&[&whole]);
    for torn in [
        source(vec![note("1", "one")]).ending(Ending::Error),
        source(vec![note("1", "one")]).ending(Ending::Unmarked),
        source(Vec::new()).unreadable(),
    ] {
        let stream = check_one(&world, &torn);
        assert!(!stream.matches() && stream.error.is_some(), "{stream:?}");
        assert_eq!(stream.extra_count, 0, "what was not read is not missing");
    }
    world.sink.fail(Step::Known, When::Before, 0);
    let boxed: Vec<Box<dyn DynSource>> = vec![Box::new(whole)];
    assert!(block_on(verify(&world.sink, &boxed, &world.options)).is_err());
}

#[test]
fn the_report_is_json_of_the_documented_shape() {
    let world = World::new();
    let report = check(&world, &[&source(vec![note("1", "one")])]);
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["status"], "differ");
    let stream = &json["streams"][0];
    assert_eq!(stream["source"], "a.db");
    assert_eq!(stream["missing"], serde_json::json!(["1"]));
    for member in ["stream", "table", "local", "hub", "extra", "different", "missing_count", "error"] {
        assert!(stream.get(member).is_some(), "{member}");
    }
}
