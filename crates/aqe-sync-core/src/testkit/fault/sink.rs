//! A sink that fails as told.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::{Duty, Faults, Faulty, injected};
use crate::digest::{Bucket, DigestRequest, HashRange};
use crate::meet::Settled;
use crate::sink::step_by_step;
use crate::{
    Applied, Change, Checkpoint, Committed, ContentHash, DeadLetter, Delivery, Environment, KnownRow, Pushed, Report,
    Result, Sink, SinkTxn, StreamId, StreamState, TableSpec,
};

/// Where a fault of a sink strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkStep {
    /// [`Sink::identity`].
    Identity,
    /// [`Sink::prepare`].
    Prepare,
    /// [`Sink::states`].
    States,
    /// [`Sink::known`], [`Sink::recomputed`], [`Sink::keys_of`], [`Sink::known_in`] and
    /// [`Sink::digests`].
    Known,
    /// [`Sink::push`] as a whole.
    Push,
    /// [`Sink::begin`].
    Begin,
    /// [`SinkTxn::apply`].
    Apply,
    /// [`SinkTxn::resolve`].
    Resolve,
    /// [`SinkTxn::reject`].
    Reject,
    /// [`SinkTxn::commit`].
    Commit,
    /// [`Sink::finish`].
    Finish,
}

/// Any sink, with faults. What it is not told to break is as the sink made it.
///
/// A delivery goes through the sink's own [`Sink::push`], unless a fault waits at one
/// of the steps of a transaction: then it takes these steps.
pub type FaultySink<S> = Faulty<S, SinkStep>;

impl<S> FaultySink<S> {
    /// Rows of the sink, unless a fault is in their way.
    fn rows(
        &self,
        rows: impl FnOnce() -> BoxStream<'static, Result<Vec<KnownRow>>>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        match self.faults.at(SinkStep::Known) {
            Duty::None => rows(),
            Duty::Reject => stream::iter([Err(injected(&SinkStep::Known))]).boxed(),
            Duty::Cut => {
                let half = |mut rows: Vec<KnownRow>| {
                    rows.truncate(rows.len() / 2);
                    rows
                };
                let first = rows().take(1).map(move |rows| rows.map(half));
                first.chain(stream::iter([Err(injected(&SinkStep::Known))])).boxed()
            }
            duty => {
                let last = async move { duty.afterwards(&SinkStep::Known, Ok(Vec::new())).await };
                rows().chain(stream::once(last)).boxed()
            }
        }
    }
}

impl<S: Sink> Sink for FaultySink<S> {
    type Txn = FaultyTxn<S::Txn>;

    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn identity(&self) -> Result<String> {
        self.faults.around(SinkStep::Identity, self.inner.identity()).await
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.faults.around(SinkStep::Prepare, self.inner.prepare(table)).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.faults.around(SinkStep::States, self.inner.states(environment)).await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.inner.known(stream, table))
    }

    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.inner.recomputed(stream, table))
    }

    fn keys_of(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        hashes: Vec<ContentHash>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.inner.keys_of(stream, table, hashes))
    }

    async fn digests(&self, wanted: Vec<DigestRequest>) -> Result<Vec<Vec<Bucket>>> {
        self.faults.around(SinkStep::Known, self.inner.digests(wanted)).await
    }

    fn known_in(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        ranges: Vec<HashRange>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.inner.known_in(stream, table, ranges))
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<Self::Txn> {
        let txn = self.faults.around(SinkStep::Begin, self.inner.begin(stream, table)).await?;
        Ok(FaultyTxn { txn, faults: self.faults.clone() })
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<Self::Txn>> {
        match self.faults.at(SinkStep::Push) {
            Duty::Reject => Err(injected(&SinkStep::Push)),
            Duty::Cut => {
                let mut txn = self.inner.begin(stream, table).await?;
                txn.apply(half(delivery.changes)).await?;
                drop(txn);
                Err(injected(&SinkStep::Push))
            }
            duty => {
                let steps = [SinkStep::Begin, SinkStep::Apply, SinkStep::Reject, SinkStep::Commit];
                let pushed = if self.faults.waits_at(&steps) {
                    step_by_step(self, stream, table, delivery).await
                } else {
                    self.inner.push(stream, table, delivery).await.map(|pushed| self.wrapped(pushed))
                };
                duty.afterwards(&SinkStep::Push, pushed).await
            }
        }
    }

    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        self.faults.around(SinkStep::Finish, self.inner.finish(report)).await
    }
}

impl<S: Sink> FaultySink<S> {
    fn wrapped(&self, pushed: Pushed<S::Txn>) -> Pushed<FaultyTxn<S::Txn>> {
        match pushed {
            Pushed::Committed(applied, committed) => Pushed::Committed(applied, committed),
            Pushed::Contested { txn, applied, letters, checkpoint } => {
                let txn = FaultyTxn { txn, faults: self.faults.clone() };
                Pushed::Contested { txn, applied, letters, checkpoint }
            }
        }
    }
}

/// A transaction of a [`FaultySink`].
#[derive(Debug)]
pub struct FaultyTxn<T> {
    txn: T,
    faults: Faults<SinkStep>,
}

impl<T: SinkTxn> SinkTxn for FaultyTxn<T> {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let duty = self.faults.at(SinkStep::Apply);
        let changes = match duty {
            Duty::Reject => return Err(injected(&SinkStep::Apply)),
            Duty::Cut => half(changes),
            _ => changes,
        };
        let applied = self.txn.apply(changes).await;
        duty.afterwards(&SinkStep::Apply, applied).await
    }

    async fn resolve(&mut self, mut settled: Vec<Settled>) -> Result<()> {
        let duty = self.faults.at(SinkStep::Resolve);
        match duty {
            Duty::Reject => return Err(injected(&SinkStep::Resolve)),
            Duty::Cut => settled.truncate(settled.len() / 2),
            _ => {}
        }
        let resolved = self.txn.resolve(settled).await;
        duty.afterwards(&SinkStep::Resolve, resolved).await
    }

    async fn reject(&mut self, mut letters: Vec<DeadLetter>) -> Result<()> {
        let duty = self.faults.at(SinkStep::Reject);
        match duty {
            Duty::Reject => return Err(injected(&SinkStep::Reject)),
            Duty::Cut => letters.truncate(letters.len() / 2),
            _ => {}
        }
        let rejected = self.txn.reject(letters).await;
        duty.afterwards(&SinkStep::Reject, rejected).await
    }

    async fn commit(self, checkpoint: Checkpoint) -> Result<Committed> {
        self.faults.around(SinkStep::Commit, self.txn.commit(checkpoint)).await
    }
}

fn half(mut changes: Vec<Change>) -> Vec<Change> {
    changes.truncate(changes.len() / 2);
    changes
}
