//! What lies beside a real SQLite database: its log or its journal, with bytes that went wrong.

use std::collections::BTreeSet;
use std::fs;

use aqe_readers::SqliteSource;
use aqe_sync_core::Value;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};
use rusqlite::Connection;

use crate::files::{Lone, Stream, assert_converts};

/// A database and the file beside it, as a process leaves them that is ended.
struct Left {
    database: Vec<u8>,
    beside: Vec<u8>,
    /// The ids that are there after each commit.
    states: Vec<BTreeSet<String>>,
}

const TABLE: &str = "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, confidence REAL, created_at INTEGER);";

/// So many rows are there before anything goes wrong.
const ROWS: usize = 40;

fn rows(from: usize, to: usize) -> String {
    format!(
        "WITH n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {to})
         INSERT INTO patterns SELECT 'p' || i, hex(zeroblob(100)) || i, 0.5, 1768136468 FROM n;"
    )
}

/// Runs one piece of SQL after the other, and takes both files while the last is still open.
fn left(suffix: &str, first: &str, steps: &[&str]) -> Left {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory.db");
    let connection = Connection::open(&path).expect("made");
    connection.execute_batch(&format!("PRAGMA page_size = 512; {first} {TABLE} {}", rows(0, ROWS))).expect("filled");
    let ids = || {
        let mut statement = connection.prepare("SELECT id FROM patterns").expect("sound");
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("ids")
    };
    let mut states = vec![BTreeSet::new(), ids()];
    for step in steps {
        connection.execute_batch(step).expect("valid SQL");
        states.push(ids());
    }
    let read = |name: &str| fs::read(folder.path().join(name)).expect("there");
    Left { database: read("memory.db"), beside: read(&format!("memory.db{suffix}")), states }
}

fn ids(streams: &[Stream]) -> BTreeSet<String> {
    let records = streams.iter().filter(|stream| stream.spec.name.as_str() == "patterns").flat_map(|it| &it.records);
    // A journal restores what it holds, also an id that is no text any more.
    records
        .map(|record| match record.get("id") {
            Value::Text(id) => id.clone(),
            other => format!("{other:?}"),
        })
        .collect()
}

/// Whatever is in the log, what is read was committed at one moment: a frame counts only with all before it.
#[test]
fn sqlite_wal() {
    let wal = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;";
    let more = rows(ROWS, 60);
    let mut left = left(
        "-wal",
        wal,
        &[
            "PRAGMA wal_checkpoint(TRUNCATE)",
            &more,
            "UPDATE patterns SET pattern = id",
            "DELETE FROM patterns WHERE rowid % 7 = 0",
        ],
    );
    // The empty database was never a state of the file.
    left.states.remove(0);
    let corpus = Corpus::new()
        .with_past_failures("sqlite_wal")
        .with("a real log", left.beside.clone())
        .with("nothing", "")
        .words([&left.beside[..32], &left.beside[32..56], b"\x37\x7f\x06\x82", b"\0\0\x02\0", b"\0\0\0\0"]);
    let whole = left.states.last().expect("states").clone();
    let file = Lone::new("memory.db", &left.database).beside("-wal", &left.beside);
    let streams = file.read(&SqliteSource::new(file.source())).expect("a real log");
    assert_eq!(ids(&streams), whole, "all that was committed is read");
    Target::new("sqlite_wal", corpus).threads(24).at_least(60).run(move |bytes| {
        let file = Lone::new("memory.db", &left.database).beside("-wal", bytes);
        let Ok(streams) = file.read(&SqliteSource::new(file.source())) else { return Reached::Refused };
        streams.iter().for_each(assert_converts);
        let found = ids(&streams);
        assert!(left.states.contains(&found), "never so: {found:?}");
        Reached::Past
    });
}

/// A journal that is damaged cannot be told from none, nor what it should have restored; but rows that
/// were in the file before and after are never taken for deleted.
#[test]
fn sqlite_journal() {
    let spilling = "PRAGMA cache_size = 2; BEGIN; UPDATE patterns SET pattern = pattern || pattern";
    let left = left("-journal", "PRAGMA journal_mode = DELETE;", &[spilling]);
    let all = left.states[1].clone();
    assert_eq!(left.states.last(), Some(&all));
    let corpus = Corpus::new()
        .with_past_failures("sqlite_journal")
        .with("a real journal", left.beside.clone())
        .words([&left.beside[..28], b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", b"\xff\xff\xff\xff", b"\0\0\x02\0"]);
    Target::new("sqlite_journal", corpus).threads(24).at_least(60).share_past(1).run(move |bytes| {
        let file = Lone::new("memory.db", &left.database).beside("-journal", bytes);
        let Ok(streams) = file.read(&SqliteSource::new(file.source())) else { return Reached::Refused };
        streams.iter().for_each(assert_converts);
        let found = ids(&streams);
        assert!(!found.is_empty(), "all rows are taken for deleted");
        if found == all { Reached::Past } else { Reached::Refused }
    });
}
