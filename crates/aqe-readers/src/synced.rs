//! The streams of a source as they were last synced: one JSON text in a column.

use aqe_sync_core::ledger::{SourceState, SyncedStream};
use aqe_sync_core::{Environment, SourceName, StreamId};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Synced {
    stream: String,
    table: String,
    sequence: u64,
}

/// The text that is kept.
pub(crate) fn written(state: &SourceState) -> String {
    let streams = state.streams.iter().map(|synced| Synced {
        stream: synced.stream.stream.to_string(),
        table: synced.table.clone(),
        sequence: synced.sequence,
    });
    // Text and numbers, which JSON has a form for.
    serde_json::to_string(&streams.collect::<Vec<_>>()).unwrap_or_default()
}

/// What a text says. One that nobody wrote is as if nothing were known: everything is read.
pub(crate) fn read(
    environment: &Environment,
    source: &SourceName,
    fingerprint: Vec<u8>,
    text: &str,
) -> Option<SourceState> {
    let streams = serde_json::from_str::<Vec<Synced>>(text).ok()?;
    let streams = streams.into_iter().map(|synced| SyncedStream {
        stream: StreamId {
            environment: environment.clone(),
            source: source.clone(),
            stream: synced.stream.as_str().into(),
        },
        table: synced.table,
        sequence: synced.sequence,
    });
    Some(SourceState { fingerprint, streams: streams.collect() })
}
