//! The embedded hub's own file: truth, so that one that is not sound is refused in plain words.

use std::fs;
use std::sync::Arc;

use aqe_readers::{EmbeddedHub, SqliteSource};
use aqe_sync_core::{DynSource, Engine, Environment, Error, MemoryLedger, Mode, Options, Report, Silent, Sink as _};
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};
use futures::StreamExt as _;
use futures::executor::block_on;

use crate::files::{Lone, assert_is_useful};
use crate::sqlite_file::small;

const ENVIRONMENT: &str = "fuzz";

fn sync(hub: &EmbeddedHub, from: &Lone, mode: Mode) -> Result<Report, Error> {
    let sources: Vec<Box<dyn DynSource>> = vec![Box::new(SqliteSource::new(from.source()))];
    let (ledger, options) = (MemoryLedger::new(), Options::new(ENVIRONMENT.into()).mode(mode));
    block_on(Engine::new(hub, &ledger, &Silent, options).run(&sources))
}

/// A hub that was filled from a small database.
fn filled(from: &Lone) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hub.db");
    let hub = EmbeddedHub::open(&path).expect("a hub");
    let report = sync(&hub, from, Mode::Incremental).expect("synced");
    assert!(report.totals.inserted > 3, "{:?}", report.totals);
    drop(hub);
    fs::read(path).expect("there")
}

#[test]
fn hub_file() {
    let from = Arc::new(Lone::new("memory.db", &small()));
    let corpus = Corpus::new()
        .with_past_failures("hub_file")
        .with("a real hub", filled(&from))
        .with_any("nothing", "")
        .with_any("a database of somebody else", small())
        .words([
            "aqeh",
            "SQLite format 3\0",
            "sync_state",
            "hub_info",
            "patterns",
            "content_hash",
            "CREATE TABLE ",
            "{",
        ]);
    Target::new("hub_file", corpus).at_least(60).share_past(1).run(move |bytes| check(&from, bytes));
}

/// Whatever the file is: it is a hub that can be asked and written to, or what is wrong with it is said.
fn check(from: &Lone, bytes: &[u8]) -> Reached {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hub.db");
    fs::write(&path, bytes).expect("written");
    match opened(from, &path) {
        Ok(()) => {
            assert!(bytes.is_empty() || bytes.starts_with(b"SQLite format 3\0"), "something else is taken for a hub");
            Reached::Past
        }
        Err(error) => {
            assert_is_useful(&error);
            Reached::Refused
        }
    }
}

/// All that a run, a comparison and a look at the hub ask of it.
fn opened(from: &Lone, path: &std::path::Path) -> Result<(), Error> {
    let hub = EmbeddedHub::open(path)?;
    hub.overview()?;
    for state in block_on(hub.states(&Environment::new(ENVIRONMENT)))? {
        let Some(table) = aqe_sync_core::tables::find(&state.table) else { continue };
        for mut rows in [hub.known(&state.stream, table), hub.recomputed(&state.stream, table)] {
            while let Some(rows) = block_on(rows.next()) {
                rows?;
            }
        }
    }
    for mode in [Mode::Incremental, Mode::Full] {
        let report = sync(&hub, from, mode)?;
        for stream in &report.streams {
            stream.counters.balance()?;
        }
    }
    Ok(())
}
