//! Records that are odd: inconvertible, repeated, with fields nobody knows, transformed.

use aqe_sync_core::{
    DeadLetter, Deletes, Error, ErrorKind, Json, Key, Record, Reject, Result, Schema, Status, StreamSpec, Transform,
    Value,
};

use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, note, notes, spec};
use crate::support::world::{World, first, shared, texts};

fn source(records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), records)
}

fn letter(key: &str) -> DeadLetter {
    DeadLetter { key: key.to_owned(), reason: "torn".to_owned(), record: Json::from_text(r#"{"raw":"…"}"#) }
}

#[test]
fn a_record_without_a_usable_key_is_a_dead_letter_with_all_it_holds() {
    let world = World::new();
    let broken = note("x", "kept").with("id", Value::RawText(vec![0xff]));
    let report = world.run(&[&source(vec![note("1", "one"), broken])]);
    assert_eq!((report.status, report.totals.dead_lettered, report.totals.inserted), (Status::Partial, 1, 1));
    let letters = world.sink.hub().letters;
    let letter = letters.values().next().expect("kept");
    assert!(letter.record.as_str().contains("kept") && letter.record.as_str().contains("/w=="), "{letter:?}");
    assert!(letter.reason.contains("key column id"), "{letter:?}");
    assert!(first(&report).warnings[0].contains("a.db, table notes"));
}

#[test]
fn dead_letters_are_kept_once_however_often_they_are_read() {
    let world = World::new();
    let broken = source(vec![note("x", "kept").with("id", Value::Null)]);
    for _ in 0..3 {
        assert_eq!(world.run(&[&broken]).totals.dead_lettered, 1);
    }
    assert_eq!(world.sink.hub().letters.len(), 1);
}

#[test]
fn a_record_that_cannot_be_converted_never_counts_as_deleted() {
    let world = World::new();
    world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
    // It may be record 2, who knows.
    let nameless = source(vec![note("1", "one"), note("?", "two").with("id", Value::Null)]);
    let report = world.run(&[&nameless]);
    assert_eq!((report.totals.deleted, report.totals.dead_lettered), (0, 1));
    assert!(first(&report).warnings.iter().any(|warning| warning.contains("nothing was deleted")));
    let torn = Reject { key: None, letter: letter("page 7") };
    assert_eq!(world.run(&[&source(vec![note("1", "one")]).rejects(vec![torn])]).totals.deleted, 0);
    // It is record 2, its reader says.
    let named = Reject { key: Some(Key::new(vec!["2".into()])), letter: letter("2") };
    let report = world.run(&[&source(vec![note("1", "one")]).rejects(vec![named])]);
    assert_eq!((report.totals.deleted, report.totals.dead_lettered), (0, 1));
    assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two")]));
    // It is another one: then 2 is really gone.
    let other = Reject { key: Some(Key::new(vec!["3".into()])), letter: letter("3") };
    assert_eq!(world.run(&[&source(vec![note("1", "one")]).rejects(vec![other])]).totals.deleted, 1);
}

#[test]
fn fields_without_a_column_are_kept_in_extra() {
    let world = World::new();
    let schema = Schema::new(["id", "body", "mood"]);
    let record = Record::new(schema, vec!["1".into(), "one".into(), "sunny".into()])
        .with_extra(vec![("depth".to_owned(), Value::Int(3))]);
    world.run(&[&source(vec![record])]);
    let extra = world.stored()["1"].row.extra.clone().expect("an extra");
    assert_eq!(extra.as_str(), r#"{"mood":"sunny","depth":3}"#);
}

#[test]
fn a_value_that_its_column_cannot_hold_is_counted_and_kept() {
    let world = World::new();
    let report = world.run(&[&source(vec![note("1", "one").with("uses", "many")])]);
    assert_eq!((report.status, report.totals.set_aside, report.totals.inserted), (Status::Partial, 1, 1));
    let row = world.stored()["1"].row.clone();
    assert_eq!((row.values[3].clone(), row.extra.expect("kept").as_str()), (Value::Null, r#"{"uses":"many"}"#));
}

#[test]
fn of_a_key_that_repeats_the_first_one_counts_and_the_others_are_kept() {
    let world = World::new();
    let twice = source(vec![note("1", "first"), note("1", "first"), note("1", "second")]);
    for _ in 0..2 {
        let report = world.run(&[&twice]);
        assert_eq!((report.totals.dead_lettered, report.totals.read), (1, 3));
        assert_eq!(world.bodies(), texts(&[("1", "first")]));
    }
    let letters = world.sink.hub().letters;
    assert_eq!(letters.len(), 1);
    assert!(letters.values().all(|letter| letter.record.as_str().contains("second")));
}

struct Named(&'static str);

impl Transform for Named {
    fn apply(&self, _: &StreamSpec, record: Record, out: &mut Vec<Record>) -> Result<()> {
        let id = record.get("id").as_text().unwrap_or_default().to_owned();
        match self.0 {
            "drop" if id == "1" => {}
            "multiply" => {
                out.push(record.clone().with("id", format!("{id}-copy")));
                out.push(record);
            }
            "fail" if id == "1" => return Err(Error::new(ErrorKind::Invalid, "not this one")),
            _ => out.push(record),
        }
        Ok(())
    }
}

#[test]
fn transforms_drop_multiply_and_fail_and_the_account_adds_up() {
    let run = |names: &[&'static str]| {
        let world = World::with(|options| options.transforms = names.iter().map(|name| shared(Named(name))).collect());
        let report = world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
        let keys: Vec<String> = world.bodies().into_keys().collect();
        (report.totals, keys, world)
    };
    let (totals, keys, _) = run(&["drop"]);
    assert_eq!((totals.read, totals.filtered, totals.inserted, keys), (1, 1, 1, vec!["2".to_owned()]));
    let (totals, keys, _) = run(&["multiply", "drop"]);
    assert_eq!((totals.read, totals.filtered, keys.len()), (3, 0, 3));
    let (totals, keys, world) = run(&["multiply", "fail"]);
    assert_eq!((totals.read, totals.dead_lettered, keys.len()), (3, 1, 2));
    let letters = world.sink.hub().letters;
    assert!(letters.values().all(|letter| letter.reason.contains("not this one")));
}

#[test]
fn a_transform_that_fails_deletes_nothing() {
    let mut world = World::new();
    world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
    world.options.transforms = vec![shared(Named("fail"))];
    let report = world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
    assert_eq!((report.totals.deleted, report.totals.dead_lettered, report.totals.unchanged), (0, 1, 1));
}

#[test]
fn what_was_written_once_stays_in_immutable_tables() {
    let frozen = |body: &str| MemorySource::new("a.db", spec(notes().immutable()), vec![note("1", body)]);
    assert_eq!(spec(notes().immutable()).deletes, Deletes::Ignore);
    let world = World::new();
    world.run(&[&frozen("one")]);
    let before = world.content();
    let report = world.run(&[&frozen("changed")]);
    assert_eq!((report.totals.superseded, report.totals.conflicts), (1, 0));
    assert_eq!(world.run(&[&frozen("changed")]).totals.unchanged, 1, "it is not looked at again");
    assert_eq!(world.run_as(aqe_sync_core::Mode::Full, &[&frozen("changed")]).totals.superseded, 1);
    assert_eq!(world.content(), before);
}

#[test]
fn a_record_bigger_than_any_limit_still_goes_through() {
    let mut world = World::new();
    world.options.limits.bytes = 0;
    world.options.limits.rows = 0;
    world.run(&[&source(vec![note("1", "x".repeat(1000)), note("2", "two")])]);
    assert_eq!(world.bodies().len(), 2);

    let request = aqe_sync_core::ReadRequest { streams: vec![spec(notes())], limits: world.options.limits };
    let batches = aqe_sync_core::batches(request, |_| Ok(vec![note("1", "one"), note("2", "two")]));
    let batches: Vec<_> = futures::executor::block_on_stream(batches).take(3).collect();
    assert_eq!(batches.len(), 2);
}
