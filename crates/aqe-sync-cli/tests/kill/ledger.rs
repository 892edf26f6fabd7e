//! What a ledger knows, as text.

use std::path::Path;

use aqe_readers::LedgerFile;
use aqe_sync_core::{Ledger as _, StreamId};
use rusqlite::{Connection, OptionalExtension as _};

/// All entries of all streams, and what is remembered of sources, ordered.
pub(crate) fn dump(path: &Path) -> Vec<String> {
    let known = Connection::open(path).expect("a ledger");
    let hub: Option<String> =
        known.query_row("SELECT DISTINCT hub FROM streams", [], |row| row.get(0)).optional().expect("one hub at most");
    let hub = hub.unwrap_or_default();
    let ledger = LedgerFile::open(path, &hub).expect("a ledger");
    let mut lines = Vec::new();
    for [environment, source, stream] in rows(&known, "SELECT source_env, source, stream FROM streams") {
        let id = StreamId {
            environment: environment.as_str().into(),
            source: source.as_str().into(),
            stream: stream.as_str().into(),
        };
        let known = ledger.load(&id).expect("sound").expect("it is there");
        lines.extend(known.entries.iter().map(|entry| format!("{source} {stream} {entry:?}")));
    }
    for [environment, source, _] in rows(&known, "SELECT source_env, source, source FROM sources") {
        let state = ledger.source(&environment.as_str().into(), &source.as_str().into()).expect("sound");
        let state = state.expect("it is there");
        let streams: Vec<_> = state.streams.iter().map(|synced| (&synced.stream, &synced.table)).collect();
        lines.push(format!("{source} was seen as {:?} with {streams:?}", state.fingerprint));
    }
    lines.sort();
    lines
}

fn rows(connection: &Connection, sql: &str) -> Vec<[String; 3]> {
    let mut statement = connection.prepare(sql).expect("sound");
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).expect("sound");
    rows.collect::<Result<_, _>>().expect("sound")
}
