//! SQLite files whose bytes went wrong.

use std::path::Path;

use aqe_readers::SqliteSource;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target, fixtures};
use rusqlite::{Connection, OpenFlags};

use crate::files::{Lone, Stream, assert_converts};

fn corpus() -> Corpus {
    let mut corpus = Corpus::new().with_past_failures("sqlite_file");
    for path in fixtures().iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "db")) {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).expect("a fixture");
        if !bytes.starts_with(b"SQLite") {
            continue;
        }
        corpus = if name.contains("-torn") { corpus.with_any(name, bytes) } else { corpus.with(name, bytes) };
    }
    corpus.with("small", small()).words([
        "SQLite format 3\0",
        "CREATE TABLE ",
        "INTEGER PRIMARY KEY",
        "WITHOUT ROWID",
        " AS (1) STORED",
        "\"",
        "sqlite_",
        "UNIQUE",
        "CHECK (",
        "memory_entries",
        "patterns",
        "\x0d\0\0\0\0",
        "\x05\0\0\0\0",
        "RFE1",
    ])
}

/// A few pages: where everything matters, mutations hit what matters.
pub(crate) fn small() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.db");
    let connection = Connection::open(&path).expect("made");
    connection
        .execute_batch(
            "PRAGMA page_size = 512;
             CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, confidence REAL, created_at INTEGER);
             INSERT INTO patterns VALUES ('a', 'b', 0.5, 1768136468), ('c', zeroblob(700), -1, '2026-01-11');
             CREATE TABLE odd (a INTEGER PRIMARY KEY, b AS (a + 1), c UNIQUE);
             INSERT INTO odd (c) VALUES (1), ('x'), (NULL);",
        )
        .expect("filled");
    drop(connection);
    std::fs::read(path).expect("made")
}

#[test]
fn sqlite_file() {
    // A file that looks half-written is looked at again after pauses: many wait at the same time.
    Target::new("sqlite_file", corpus()).threads(24).at_least(60).share_past(5).run(|bytes| {
        let file = Lone::new("memory.db", bytes);
        match file.read(&SqliteSource::new(file.source())) {
            Ok(streams) => {
                assert!(bytes.starts_with(b"SQLite format 3\0"), "something else is read as a database");
                for stream in &streams {
                    assert_converts(stream);
                    assert_all_rows_came(file.path(), stream);
                }
                Reached::Past
            }
            Err(_) => Reached::Refused,
        }
    });
}

/// Cut off anywhere, a database is no database: what is missing must not look deleted.
#[test]
fn a_sqlite_file_cut_off() {
    let whole = fixtures().into_iter().find(|path| path.ends_with("agentic-qe-2.8.2/.agentic-qe/memory.db"));
    let whole = std::fs::read(whole.expect("a fixture")).expect("readable");
    let corpus = Corpus::new().with("a length", 1_u32.to_le_bytes());
    Target::new("a_sqlite_file_cut_off", corpus).threads(24).at_least(40).share_past(100).run(move |bytes| {
        let digest = usize::try_from(xxhash_rust::xxh3::xxh3_64(bytes) & 0xffff_ffff).unwrap_or_default();
        let file = Lone::new("memory.db", &whole[..digest % whole.len()]);
        assert!(
            file.read(&SqliteSource::new(file.source())).is_err(),
            "{} bytes are read as a whole",
            digest % whole.len()
        );
        Reached::Past
    });
}

/// As many records as SQLite itself finds rows.
fn assert_all_rows_came(path: &Path, stream: &Stream) {
    // Embeddings are read with what they belong to.
    let joined = ["patterns", "qe_patterns", "pattern_embeddings", "qe_pattern_embeddings"];
    if joined.contains(&stream.spec.name.as_str()) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.db");
    std::fs::copy(path, &copy).expect("copied");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = format!("SELECT * FROM \"{}\" NOT INDEXED", stream.spec.name.as_str().replace('"', "\"\""));
    let counted = Connection::open_with_flags(&copy, flags).and_then(|connection| {
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while rows.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    });
    assert_eq!(counted.ok(), Some(stream.records.len() + stream.rejects.len()), "{}", stream.spec.name);
}
