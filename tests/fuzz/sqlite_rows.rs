//! SQLite's values as a source hands them on: any of its types in any column.

use aqe_readers::SqliteSource;
use aqe_sync_core::Value;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};
use arbitrary::{Arbitrary, Unstructured};
use rusqlite::Connection;

use crate::files::{Lone, assert_converts};
use crate::real_values::{Cell, rows};

/// One table that has a mapping, one that has none. Without types of their own, columns store
/// what they are given.
const SCHEMA: &str = "CREATE TABLE memory_entries (key, partition, value, created_at);
                      CREATE TABLE unheard_of (a, b, c, d);";

fn corpus() -> Corpus {
    let corpus = Corpus::new().with_past_failures("sqlite_rows");
    rows().chunks(3).enumerate().fold(corpus, |corpus, (number, rows)| {
        let mut bytes = Vec::new();
        rows.iter().flatten().for_each(|cell| cell.encode(&mut bytes));
        corpus.with(format!("rows {number}"), bytes)
    })
}

#[test]
fn sqlite_rows() {
    Target::new("sqlite_rows", corpus()).at_least(100).share_past(50).run(|bytes| {
        let mut u = Unstructured::new(bytes);
        let mut cells: Vec<Cell> = std::iter::from_fn(|| Cell::arbitrary(&mut u).ok()).take(400).collect();
        cells.truncate(cells.len() / 4 * 4);
        if cells.is_empty() {
            return Reached::Refused;
        }
        let file = Lone::new("memory.db", &database(&cells));
        let streams = file.read(&SqliteSource::new(file.source())).expect("a sound database");
        assert_eq!(streams.len(), 2);
        streams.iter().for_each(assert_converts);
        let [memories, archived] = streams.as_slice() else { unreachable!("counted above") };
        assert!(memories.rejects.is_empty() && archived.rejects.is_empty());
        assert_eq!((memories.records.len(), archived.records.len()), (cells.len() / 4, cells.len() / 4));
        for (record, row) in memories.records.iter().zip(cells.chunks(4)) {
            for (column, cell) in ["key", "partition", "value", "created_at"].iter().zip(row) {
                assert_same(cell, record.get(column));
            }
        }
        let keys: std::collections::HashSet<_> =
            archived.records.iter().map(|record| format!("{:?}", record.get("record_key"))).collect();
        assert_eq!(keys.len(), archived.records.len(), "two rows share a key");
        Reached::Past
    });
}

fn database(cells: &[Cell]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made.db");
    let mut connection = Connection::open(&path).expect("made");
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY").expect("set");
    let transaction = connection.transaction().expect("begun");
    transaction.execute_batch(SCHEMA).expect("tables");
    for table in ["memory_entries", "unheard_of"] {
        let mut insert = transaction.prepare(&format!("INSERT INTO {table} VALUES (?, ?, ?, ?)")).expect("sound");
        for row in cells.chunks(4) {
            insert.execute(rusqlite::params_from_iter(row)).expect("inserted");
        }
    }
    transaction.commit().expect("committed");
    drop(connection);
    std::fs::read(path).expect("made")
}

fn assert_same(cell: &Cell, value: &Value) {
    let same = match (cell, value) {
        (Cell::Null, Value::Null) => true,
        (Cell::Int(number), Value::Int(read)) => number == read,
        // SQLite has no NaN.
        (Cell::Real(number), Value::Null) => number.is_nan(),
        (Cell::Real(number), Value::Float(read)) => number.to_bits() == read.to_bits(),
        (Cell::Text(text), Value::Text(read)) => text == read.as_bytes(),
        (Cell::Text(text), Value::RawText(read)) => text == read && std::str::from_utf8(text).is_err(),
        (Cell::Blob(bytes), Value::Bytes(read)) => bytes == read,
        _ => false,
    };
    assert!(same, "{cell:?} was read as {value:?}");
}
