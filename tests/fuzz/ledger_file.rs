//! The ledger: a cache whose file may be anything.

use std::fs;
use std::sync::Arc;

use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::ledger::{LedgerEntry, LedgerStream};
use aqe_sync_core::{
    ContentHash, Engine, Environment, KeyHash, Ledger as _, LocalHash, Options, Silent, Sink as _, StreamId,
};
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target, fixtures};
use futures::executor::block_on;

/// A real ledger, and what it knows.
struct Known {
    bytes: Vec<u8>,
    hub: String,
    environment: Environment,
    streams: Vec<(StreamId, LedgerStream)>,
}

/// Syncs a real project and keeps the ledger.
fn known() -> Known {
    let folder = tempfile::tempdir().expect("a folder");
    let from = fixtures().into_iter().find(|path| path.ends_with("agentic-qe-2.8.2/.agentic-qe/memory.db"));
    let root = folder.path().join("project");
    fs::create_dir_all(root.join(".agentic-qe")).expect("made");
    fs::copy(from.expect("a fixture"), root.join(".agentic-qe/memory.db")).expect("copied");
    let sources: Vec<_> = discover(&root).expect("found").found.into_iter().map(|found| found.source).collect();
    let hub = EmbeddedHub::open(&folder.path().join("hub.db")).expect("a hub");
    let identity = block_on(hub.identity()).expect("known");
    let path = folder.path().join("ledger.db");
    let environment = Environment::new("fuzz");
    let ledger = LedgerFile::open(&path, &identity).expect("a ledger");
    block_on(Engine::new(&hub, &ledger, &Silent, Options::new(environment.clone())).run(&sources)).expect("synced");
    let mut streams = Vec::new();
    for source in &sources {
        for spec in block_on(source.streams_dyn()).expect("streams") {
            let stream =
                StreamId { environment: environment.clone(), source: source.name().clone(), stream: spec.name.clone() };
            if let Some(known) = ledger.load(&stream).expect("sound").filter(|known| !known.entries.is_empty()) {
                streams.push((stream, known));
            }
        }
    }
    assert!(streams.len() > 2, "{} streams are known", streams.len());
    drop(ledger);
    Known { bytes: fs::read(path).expect("there"), hub: identity, environment, streams }
}

#[test]
fn ledger_file() {
    let known = Arc::new(known());
    let corpus = Corpus::new()
        .with_past_failures("ledger_file")
        .with("a real ledger", known.bytes.clone())
        .with_any("nothing", "")
        .words(["aqel", "SQLite format 3\0", "STRICT", "segments", "streams", "\x02\x02", "CREATE TABLE ", "[]", "{"]);
    Target::new("ledger_file", corpus).at_least(60).share_past(1).run(move |bytes| check(&known, bytes));
}

/// Whatever the file is: it opens, it tells the truth or nothing, and it takes what is new.
fn check(known: &Known, bytes: &[u8]) -> Reached {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    fs::write(&path, bytes).expect("written");
    let ledger = LedgerFile::open(&path, &known.hub).unwrap_or_else(|error| panic!("{error}"));
    let mut remembered = 0;
    for (stream, before) in &known.streams {
        ledger.source(&known.environment, &stream.source).unwrap_or_else(|error| panic!("{error}"));
        ledger.intended(stream).unwrap_or_else(|error| panic!("{error}"));
        let Some(now) = ledger.load(stream).unwrap_or_else(|error| panic!("{error}")) else { continue };
        // Of another sequence it is not believed: the hub is asked.
        if now.sequence == before.sequence {
            assert_eq!(now.entries, before.entries, "{stream} is not what was synced");
        }
        remembered += 1;
    }
    let (stream, before) = &known.streams[0];
    if ledger.load(stream).unwrap_or_else(|error| panic!("{error}")).is_none() {
        // As the engine does with what it was told by the hub.
        ledger.replace(stream, before).unwrap_or_else(|error| panic!("{error}"));
    }
    let fresh = LedgerEntry { key: KeyHash(7), local: Some(LocalHash(8)), content: ContentHash::from_i64(9) };
    ledger.append(stream, 1 << 40, &[fresh]).unwrap_or_else(|error| panic!("{error}"));
    drop(ledger);
    let ledger = LedgerFile::open(&path, &known.hub).unwrap_or_else(|error| panic!("{error}"));
    let now = ledger.load(stream).unwrap_or_else(|error| panic!("{error}"));
    let now = now.expect("what was just appended");
    assert!(now.sequence == 1 << 40 && now.entries.contains(&fresh), "what was just appended is gone");
    if remembered == known.streams.len() { Reached::Past } else { Reached::Refused }
}
