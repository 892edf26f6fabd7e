//! A source that pulls write to gives its own parts only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqe_sync_core::fleet::{Absorbed, AbsorbedStore, OwnSource, Shown, Written};
use aqe_sync_core::{
    Batch, BatchLimits, Error, ErrorKind, Key, KeyHash, PackedRecords, ReadRequest, Record, Result, Row, Source,
    TableSpec, Value,
};
use futures::StreamExt as _;
use futures::executor::block_on;

use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec, table};

/// What pulls wrote, in memory.
#[derive(Default)]
struct Pulled {
    rows: HashMap<KeyHash, Absorbed>,
    withheld: Vec<Row>,
    concerns: Option<&'static str>,
    fails: bool,
    asked: AtomicUsize,
}

impl AbsorbedStore for Pulled {
    fn concerns(&self, table: &TableSpec) -> Result<bool> {
        Ok(self.concerns == Some(table.name().as_str()))
    }

    fn find(&self, _: &TableSpec, key: KeyHash) -> Result<Option<Absorbed>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.fails {
            return Err(Error::new(ErrorKind::Io, "the notes cannot be read"));
        }
        Ok(self.rows.get(&key).cloned())
    }

    fn withheld(&self, _: &TableSpec) -> Result<Vec<Row>> {
        Ok(self.withheld.clone())
    }
}

fn row(id: &str, body: &str) -> Row {
    let mut values = vec![Value::Null; 7];
    (values[0], values[1]) = (id.into(), body.into());
    Row::new(&table(notes()), values, None)
}

/// A pull wrote `theirs` over this, of which that much is own.
fn absorbed(id: &str, own: Option<&str>) -> (KeyHash, Absorbed) {
    let table = table(notes());
    let written = Written::of(&table, &row(id, "theirs"));
    let own = own.map(|body| row(id, body));
    (Key::new(vec![id.into()]).hash(), Absorbed { own, shown: Shown::Written(Box::new(written)) })
}

fn store(rows: &[(&str, Option<&str>)]) -> Pulled {
    let rows = rows.iter().map(|(id, own)| absorbed(id, *own)).collect();
    Pulled { rows, concerns: Some("notes"), ..Pulled::default() }
}

fn source(bodies: &[(&str, &str)]) -> MemorySource {
    let records: Vec<Record> = bodies.iter().map(|(id, body)| note(id, *body)).collect();
    MemorySource::new("a.db", spec(notes()), records).fingerprint(b"as it is", true).priority(7)
}

fn read(source: &OwnSource) -> Result<Vec<Batch>> {
    let limits = BatchLimits { rows: 2, ..BatchLimits::default() };
    let streams = block_on(source.streams()).expect("readable");
    block_on(source.read(ReadRequest { streams, limits }).collect::<Vec<_>>()).into_iter().collect()
}

/// Key and body of all records, in their order.
fn records(batches: &[Batch]) -> Vec<(String, String)> {
    let text = |record: &Record, field| match record.get(field) {
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let all = batches.iter().flat_map(|batch| {
        assert!(batch.packed.is_none(), "what was looked at is unpacked");
        batch.records.iter()
    });
    all.map(|record| (text(record, "id"), text(record, "body"))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(id, body)| ((*id).to_owned(), (*body).to_owned())).collect()
}

const BODIES: [(&str, &str); 5] =
    [("1", "never pulled"), ("2", "theirs"), ("3", "theirs"), ("4", "edited"), ("5", "theirs")];

#[test]
fn others_rows_are_left_out_and_counted_and_own_parts_given() {
    for packed in [false, true] {
        let inner = if packed { source(&BODIES).packed() } else { source(&BODIES) };
        let store = store(&[("2", None), ("3", Some("mine")), ("4", None), ("5", None)]);
        let own = OwnSource::new(Box::new(inner), Arc::new(store));
        assert_eq!(own.notes(), [""; 0]);
        for _ in 0..2 {
            let batches = read(&own).expect("readable");
            assert_eq!(records(&batches), pairs(&[("1", "never pulled"), ("3", "mine"), ("4", "edited")]), "{packed}");
            assert_eq!(batches.iter().filter(|batch| batch.last).count(), 1);
            assert_eq!(own.notes(), ["a.db: 2 records came from other environments and stay theirs"]);
        }
    }
}

#[test]
fn own_parts_that_the_file_does_not_show_come_at_the_end_once() {
    let store = Pulled { withheld: vec![row("9", "kept"), row("8", "kept too")], ..store(&[]) };
    let own = OwnSource::new(Box::new(source(&BODIES[..3])), Arc::new(store));
    let batches = read(&own).expect("readable");
    assert_eq!(records(&batches)[3..], pairs(&[("9", "kept"), ("8", "kept too")]));
    let (last, before) = batches.split_last().expect("some");
    assert!(last.last && records(before).len() == 2, "in the last batch, not before");
}

#[test]
fn a_stream_that_nothing_was_written_into_passes_as_it_is() {
    let store = Arc::new(Pulled { concerns: Some("elsewhere"), ..store(&[("2", None)]) });
    let own = OwnSource::new(Box::new(source(&BODIES).packed()), Arc::clone(&store) as _);
    let batches = read(&own).expect("readable");
    let passed: usize = batches.iter().filter_map(|batch| batch.packed.as_ref()).map(PackedRecords::len).sum();
    assert_eq!((passed, store.asked.load(Ordering::Relaxed)), (5, 0));
    assert_eq!(own.notes(), [""; 0]);
}

#[test]
fn streams_are_told_apart_and_counted_together() {
    let other = aqe_sync_core::StreamSpec::new("others", table(notes()));
    let inner = source(&BODIES[..3]).and(other, vec![note("2", "theirs"), note("7", "new")]);
    let own = OwnSource::new(Box::new(inner), Arc::new(store(&[("2", None)])));
    let batches = read(&own).expect("readable");
    assert_eq!(
        records(&batches),
        pairs(&[("1", "never pulled"), ("3", "theirs"), ("7", "new")]),
        "both streams go to the same table"
    );
    assert_eq!(own.notes(), ["a.db: 2 records came from other environments and stay theirs"]);
}

#[test]
fn what_has_no_key_or_cannot_be_converted_is_for_the_engine_to_say() {
    let mut nameless = note("", "x");
    assert!(nameless.set("id", Value::Null));
    let odd = note("2", Value::Bytes(vec![0xff]));
    let inner = MemorySource::new("a.db", spec(notes()), vec![nameless, odd]);
    let own = OwnSource::new(Box::new(inner), Arc::new(store(&[("2", Some("mine"))])));
    let read = read(&own).expect("readable");
    assert_eq!(records(&read).len(), 2);
    assert_eq!(read.iter().flat_map(|batch| &batch.records).next().map(|record| record.get("id")), Some(&Value::Null));
}

#[test]
fn a_store_that_cannot_be_read_ends_the_stream() {
    let store = Pulled { fails: true, ..store(&[]) };
    let error = read(&OwnSource::new(Box::new(source(&BODIES)), Arc::new(store))).expect_err("it fails");
    assert_eq!(error.message(), "the notes cannot be read");
}

#[test]
fn all_else_is_the_sources() {
    let own = OwnSource::new(Box::new(source(&BODIES)), Arc::new(store(&[])));
    assert_eq!((own.name().as_str(), own.priority()), ("a.db", 7));
    assert_eq!(block_on(own.streams()).expect("readable")[0].name.as_str(), "notes");
    let fingerprint = block_on(own.fingerprint()).expect("readable").expect("there is one");
    assert_eq!(fingerprint.bytes, b"as it is");
}
