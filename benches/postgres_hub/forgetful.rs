//! A hub that does not tell what it has: every record is sent again.

use std::sync::Arc;

use aqe_cloud::postgres::{PostgresHub, PostgresTxn};
use aqe_sync_core::{Delivery, Environment, KnownRow, Pushed, Report, Result, Sink, StreamId, StreamState, TableSpec};
use futures::StreamExt as _;
use futures::stream::BoxStream;

/// Wraps a hub.
pub(crate) struct Forgetful(pub(crate) PostgresHub);

impl Sink for Forgetful {
    type Txn = PostgresTxn;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn lanes(&self) -> usize {
        self.0.lanes()
    }

    fn abreast(&self) -> usize {
        self.0.abreast()
    }

    async fn identity(&self) -> Result<String> {
        self.0.identity().await
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.0.prepare(table).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.0.states(environment).await
    }

    fn known(&self, _: &StreamId, _: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        futures::stream::empty().boxed()
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<PostgresTxn> {
        self.0.begin(stream, table).await
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<PostgresTxn>> {
        self.0.push(stream, table, delivery).await
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        self.0.finish(report).await
    }
}
