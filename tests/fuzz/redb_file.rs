//! ruvector's vector stores.

use aqe_readers::RedbSource;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target, fixtures};

use crate::files::{Lone, assert_converts};

#[test]
fn redb_file() {
    let mut corpus = Corpus::new().with_past_failures("redb_file");
    for path in fixtures().iter().filter(|path| path.ends_with("ruvector-patterns.db")) {
        corpus = corpus.with(path.display().to_string(), std::fs::read(path).expect("a fixture"));
    }
    let mut made = Vec::new();
    for (name, rows) in [("empty", 0), ("one", 1), ("some", 200)] {
        made.push((name, database(rows)));
    }
    let corpus = made.into_iter().fold(corpus, |corpus, (name, bytes)| corpus.with(name, bytes));
    Target::new("redb_file", corpus.words(["redb\x1a\x0a", "vectors", "config"])).at_least(40).share_past(2).run(
        |bytes| {
            let file = Lone::new("vectors.db", bytes);
            let Ok(streams) = file.read(&RedbSource::new(file.source())) else { return Reached::Refused };
            streams.iter().for_each(assert_converts);
            Reached::Past
        },
    );
}

/// A database as ruvector makes them, with so many vectors of four dimensions.
fn database(rows: u8) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made.db");
    let vectors: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("vectors");
    let database = redb::Database::create(&path).expect("made");
    let writing = database.begin_write().expect("begun");
    {
        let mut table = writing.open_table(vectors).expect("a table");
        for row in 0..rows {
            let vector = [[4].as_slice(), &[row; 16]].concat();
            table.insert(format!("pattern-{row}").as_str(), vector.as_slice()).expect("inserted");
        }
    }
    writing.commit().expect("committed");
    drop(database);
    std::fs::read(path).expect("made")
}
