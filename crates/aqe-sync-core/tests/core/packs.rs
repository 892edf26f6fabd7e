//! Records that arrive packed are synced as if they had not been.

use std::sync::Arc;

use aqe_sync_core::packed::{PackedHasher, PackedRecords};
use aqe_sync_core::{Mode, Record, Result, Schema, Status, StreamSpec, Transform, Value};

use crate::support::memory_sink::{Step, When};
use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, note, notes, spec, table};
use crate::support::world::{World, first, shared, texts};

fn packed(records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), records).packed()
}

#[test]
fn packed_records_are_diffed_as_plain_ones_are() {
    let steps = || {
        let nameless = note("", "nameless").with("id", Value::Null);
        [
            vec![note("1", "one"), note("2", "two"), note("3", "three")],
            vec![note("1", "one"), note("2", "two"), note("3", "three")],
            vec![note("1", "one"), note("2", "zwei"), note("4", "four"), note("1", "one"), note("1", "again")],
            vec![note("1", "one"), nameless],
            vec![note("1", "one")],
        ]
    };
    for mode in [Mode::Incremental, Mode::Full, Mode::Append] {
        let (world, plain) = (World::new(), World::new());
        for (records, same) in steps().into_iter().zip(steps()) {
            let report = world.run_as(mode, &[&packed(records)]);
            let expected = plain.run_as(mode, &[&MemorySource::new("a.db", spec(notes()), same)]);
            assert_eq!(report.totals, expected.totals, "{mode:?}");
            assert_eq!(world.content(), plain.content(), "{mode:?}");
        }
    }
}

#[test]
fn packed_records_that_are_as_they_were_are_read_and_unchanged() {
    let world = World::new();
    let source = packed(vec![note("1", "one"), note("2", "two")]);
    assert_eq!(world.run(&[&source]).totals.inserted, 2);
    let report = world.run(&[&source]);
    assert_eq!((report.totals.read, report.totals.unchanged), (2, 2));
}

/// Says something else of every record.
struct Louder;

impl Transform for Louder {
    fn apply(&self, _: &StreamSpec, record: Record, out: &mut Vec<Record>) -> Result<()> {
        let body = record.get("body").as_text().unwrap_or_default().to_uppercase();
        out.push(record.with("body", body));
        Ok(())
    }
}

#[test]
fn packed_records_pass_through_transforms_also_when_they_are_as_they_were() {
    let mut world = World::new();
    let source = packed(vec![note("1", "one")]);
    world.run(&[&source]);
    world.options.transforms = vec![shared(Louder)];
    assert_eq!(world.run(&[&source]).totals.updated, 1);
    assert_eq!(world.bodies(), texts(&[("1", "ONE")]));
}

#[test]
fn a_pack_is_sent_in_parts_and_given_up_when_one_fails() {
    let world = World::with(|options| options.limits.rows = 2);
    let mut source = packed((0..5).map(|id| note(&id.to_string(), "text")).collect());
    world.run(&[&source]);
    let sizes: Vec<usize> = world.sink.take_journal().pushed.into_iter().map(|(_, keys)| keys.len()).collect();
    assert_eq!(sizes, [2, 2, 1]);

    source.streams[0].records = (0..5).map(|id| note(&id.to_string(), "later")).collect();
    world.sink.fail(Step::Commit, When::Before, 1);
    let report = world.run(&[&source]);
    assert_eq!((first(&report).status, report.totals.updated), (Status::Failed, 2));
    assert_eq!(world.sink.take_journal().pushed.len(), 2, "nothing is sent after it");
}

#[test]
fn packs_of_one_stream_may_differ_in_the_order_of_their_fields() {
    let (one, other) = (Schema::new(["id", "body"]), Schema::new(["body", "id"]));
    let record = |schema: &Arc<Schema>, first: &str, second: &str| {
        Record::new(Arc::clone(schema), vec![first.into(), second.into()])
    };
    // A pack for each record.
    let world = World::with(|options| options.limits.rows = 1);
    world.run(&[&packed(vec![record(&one, "1", "x")])]);
    // In the first order the second of these would be record 1, as it was.
    let report = world.run(&[&packed(vec![record(&one, "2", "y"), record(&other, "1", "x")])]);
    assert_eq!((report.totals.inserted, report.totals.deleted, report.totals.unchanged), (2, 1, 0));
    assert_eq!(world.bodies(), texts(&[("2", "y"), ("x", "1")]));
}

#[test]
fn a_hasher_is_used_again_for_equal_schemas_only() {
    let schema = || Schema::new(["id", "body"]);
    let made = schema();
    let hasher = PackedHasher::new(&table(notes()), Arc::clone(&made));
    assert!(hasher.fits(&made) && hasher.fits(&schema()));
    assert!(!hasher.fits(&Schema::new(["body", "id"])));
}

#[test]
fn a_key_that_needs_converting_has_no_hash_before_that() {
    let schema = Schema::new(["id", "body"]);
    let mut pack = PackedRecords::new(Arc::clone(&schema));
    assert!(pack.is_empty());
    for id in [Value::from("7"), Value::Int(7)] {
        pack.push(&id);
        pack.push_text(b"text");
        pack.end_record();
    }
    pack.push(&"8".into());
    pack.push_bytes(&[0xff]);
    pack.end_record();
    pack.push(&"9".into());
    pack.push_text(&[0xff]);
    pack.end_record();
    assert_eq!((pack.len(), pack.is_empty()), (4, false));
    // One tag and four bytes of length before each text and each bytes, nine bytes for the integer.
    assert_eq!(pack.size(), (6 + 9) + (9 + 9) + (6 + 6) + (6 + 6));
    assert_eq!((pack.record(0).get("body"), pack.record(1).get("id")), (&"text".into(), &Value::Int(7)));
    assert_eq!(pack.record(2).get("body"), &Value::Bytes(vec![0xff]));
    assert_eq!(pack.record(3).get("body"), &Value::RawText(vec![0xff]));
    assert_eq!(pack.schema(), &schema);

    let mut hasher = PackedHasher::new(&table(notes()), Arc::clone(&schema));
    assert!(hasher.hashes(&pack, 0).is_some());
    assert_eq!(hasher.hashes(&pack, 1), None);
    assert_eq!(PackedHasher::new(&table(notes()), Schema::new(["body"])).hashes(&pack, 0), None, "no key at all");
}
