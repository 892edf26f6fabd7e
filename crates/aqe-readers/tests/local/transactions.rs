//! Transactions on the embedded hub, without an engine.

use std::sync::Arc;

use aqe_readers::EmbeddedHub;
use aqe_sync_core::{
    Applied, Change, Checkpoint, ColumnType, Operation, Row, Sink as _, SinkTxn as _, StreamId, TableSpec, Timestamp,
};
use futures::FutureExt as _;
use futures::executor::block_on;

use crate::project::Project;

fn stream() -> StreamId {
    StreamId { environment: "test".into(), source: "a.db".into(), stream: "notes".into() }
}

fn notes() -> Arc<TableSpec> {
    let table = TableSpec::builder("notes").key("id", ColumnType::Text).column("body", ColumnType::Text);
    table.build().expect("a table")
}

/// Applies changes and commits.
fn apply(hub: &EmbeddedHub, table: &Arc<TableSpec>, changes: &[Change]) -> Applied {
    let mut txn = block_on(hub.begin(&stream(), table)).expect("begun");
    let applied = block_on(txn.apply(changes.to_vec())).expect("applied");
    let checkpoint =
        Checkpoint { run_id: "run".into(), at: Timestamp::now(), complete: false, instance: "here".into() };
    block_on(txn.commit(checkpoint)).expect("committed");
    applied
}

#[test]
fn a_delete_that_finds_nothing_to_delete_counts_nowhere() {
    let project = Project::empty();
    let hub = EmbeddedHub::open(&project.hub_path()).expect("opened");
    let table = notes();
    block_on(hub.prepare(&table)).expect("prepared");
    let row = |id: &str| Row::new(&table, vec![id.into(), "1".into()], None);
    let gone = row("gone");
    let delete = |id: &str| Change { key: row(id).key(&table), operation: Operation::Delete, base: Some(gone.hash) };
    let insert = Change { key: gone.key(&table), operation: Operation::Upsert(gone.clone()), base: None };
    assert_eq!(apply(&hub, &table, &[insert]), Applied { inserted: 1, ..Applied::default() });
    assert_eq!(apply(&hub, &table, &[delete("gone")]), Applied { deleted: 1, ..Applied::default() });
    assert_eq!(apply(&hub, &table, &[delete("gone"), delete("nobody")]), Applied::default());
}

#[test]
fn a_transaction_that_nobody_waits_for_any_more_is_rolled_back() {
    let project = Project::empty();
    let hub = EmbeddedHub::open(&project.hub_path()).expect("opened");
    let (stream, table) = (stream(), notes());
    block_on(hub.prepare(&table)).expect("prepared");
    {
        let mut begun = Box::pin(hub.begin(&stream, &table));
        // Sends BEGIN; its answer may come or not.
        let _ = begun.as_mut().now_or_never();
    }
    let second = block_on(hub.begin(&stream, &table)).map(drop);
    assert!(second.is_ok(), "{second:?}");
    drop(hub);
    let other = EmbeddedHub::open(&project.hub_path()).expect("opened");
    assert!(block_on(other.begin(&stream, &table)).is_ok(), "nothing holds the write lock");
}
