//! What the tests of the sink share: hubs, rows, deliveries, what is found afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use aqe_cloud::postgres::link::AddressParts;
use aqe_cloud::postgres::{PostgresHub, PostgresTxn};
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, ContentHash, Delivery, KnownRow, Operation, Pushed, Result, Row, Sink,
    StreamId, TableSpec, Timestamp, Value,
};
use futures::executor::block_on;
use futures::{StreamExt as _, TryStreamExt as _};

/// More than goes as parameters of one statement.
pub(crate) const LARGE: usize = 2 << 20;

pub(crate) fn open(url: &str) -> Result<PostgresHub> {
    PostgresHub::builder(AddressParts::parse(url)?.build()?).open()
}

pub(crate) fn hub(url: &str) -> PostgresHub {
    open(url).unwrap()
}

pub(crate) fn stream(environment: &str, source: &str, stream: &str) -> StreamId {
    StreamId { environment: environment.into(), source: source.into(), stream: stream.into() }
}

pub(crate) fn checkpoint(run: &str) -> Checkpoint {
    Checkpoint { run_id: run.into(), at: Timestamp::now(), complete: false, instance: "here".into() }
}

pub(crate) fn delivery(changes: Vec<Change>) -> Delivery {
    Delivery { changes, letters: Vec::new(), checkpoint: checkpoint("run") }
}

pub(crate) fn upsert(table: &TableSpec, values: Vec<Value>, base: Option<ContentHash>) -> Change {
    let row = Row::new(table, values, None);
    Change { key: row.key(table), operation: Operation::Upsert(row), base }
}

pub(crate) fn deletion(table: &TableSpec, values: Vec<Value>, base: Option<ContentHash>) -> Change {
    Change { operation: Operation::Delete, ..upsert(table, values, base) }
}

pub(crate) fn hash_of(change: &Change) -> ContentHash {
    match &change.operation {
        Operation::Upsert(row) => row.hash,
        Operation::Delete => panic!("a delete has no content"),
    }
}

pub(crate) fn push(
    hub: &PostgresHub,
    stream: &StreamId,
    table: &Arc<TableSpec>,
    changes: Vec<Change>,
) -> Pushed<PostgresTxn> {
    block_on(hub.push(stream, table, delivery(changes))).unwrap()
}

/// What a delivery did that needed no decision.
pub(crate) fn committed(pushed: Pushed<PostgresTxn>) -> (Applied, Committed) {
    match pushed {
        Pushed::Committed(applied, committed) => (applied, committed),
        Pushed::Contested { applied, .. } => panic!("something was contested: {applied:?}"),
    }
}

/// The transaction of a delivery that needs decisions.
pub(crate) fn undecided(pushed: Pushed<PostgresTxn>) -> (PostgresTxn, Applied) {
    match pushed {
        Pushed::Contested { txn, applied, .. } => (txn, applied),
        Pushed::Committed(applied, _) => panic!("nothing was contested: {applied:?}"),
    }
}

pub(crate) fn counts(applied: &Applied) -> [u64; 6] {
    let open = [applied.contested.len() as u64, applied.refused.len() as u64];
    [applied.inserted, applied.updated, applied.unchanged, applied.deleted, open[0], open[1]]
}

/// All rows of a stream with hashes made anew from the stored columns.
pub(crate) fn recomputed(hub: &PostgresHub, stream: &StreamId, table: &Arc<TableSpec>) -> Vec<KnownRow> {
    let rows = hub
        .recomputed(stream, table)
        .map(|rows| rows.map(|rows| futures::stream::iter(rows).map(Ok::<_, aqe_sync_core::Error>)));
    block_on(rows.try_flatten().try_collect()).unwrap()
}

/// The hashes by key, where every row is what its recorded hash says.
pub(crate) fn sound(hub: &PostgresHub, stream: &StreamId, table: &Arc<TableSpec>) -> BTreeMap<String, ContentHash> {
    let rows = recomputed(hub, stream, table);
    for row in &rows {
        assert!(row.sound, "{} came back as something else", row.key);
    }
    rows.into_iter().map(|row| (row.key.to_string(), row.hash)).collect()
}
