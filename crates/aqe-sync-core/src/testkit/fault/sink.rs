//! A sink that fails as told.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::{Duty, Fault, Faults, injected};
use crate::digest::{Bucket, DigestRequest, HashRange};
use crate::meet::Settled;
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
#[derive(Debug)]
pub struct FaultySink<S> {
    sink: S,
    faults: Faults<SinkStep>,
}

impl<S> FaultySink<S> {
    /// Wraps a sink; no fault is planned.
    pub fn new(sink: S) -> Self {
        Self { sink, faults: Faults::default() }
    }

    /// Lets a step go wrong once, after `spare` more of its kind went well.
    pub fn inject(&self, step: SinkStep, spare: usize, fault: Fault) {
        self.faults.plan(step, spare, fault);
    }

    /// How many faults have struck. Assert it: a fault that never struck tested nothing.
    pub fn fired(&self) -> usize {
        self.faults.fired()
    }

    /// How many faults have not struck yet.
    pub fn waiting(&self) -> usize {
        self.faults.waiting()
    }

    /// The sink itself.
    pub fn inner(&self) -> &S {
        &self.sink
    }

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
        self.sink.name()
    }

    async fn identity(&self) -> Result<String> {
        self.faults.around(SinkStep::Identity, self.sink.identity()).await
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.faults.around(SinkStep::Prepare, self.sink.prepare(table)).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.faults.around(SinkStep::States, self.sink.states(environment)).await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.sink.known(stream, table))
    }

    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.sink.recomputed(stream, table))
    }

    fn keys_of(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        hashes: Vec<ContentHash>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.sink.keys_of(stream, table, hashes))
    }

    async fn digests(&self, wanted: Vec<DigestRequest>) -> Result<Vec<Vec<Bucket>>> {
        self.faults.around(SinkStep::Known, self.sink.digests(wanted)).await
    }

    fn known_in(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        ranges: Vec<HashRange>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(|| self.sink.known_in(stream, table, ranges))
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<Self::Txn> {
        let txn = self.faults.around(SinkStep::Begin, self.sink.begin(stream, table)).await?;
        Ok(FaultyTxn { txn, faults: self.faults.clone() })
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<Self::Txn>> {
        match self.faults.at(SinkStep::Push) {
            Duty::Reject => Err(injected(&SinkStep::Push)),
            Duty::Cut => {
                let mut txn = self.sink.begin(stream, table).await?;
                txn.apply(half(delivery.changes)).await?;
                drop(txn);
                Err(injected(&SinkStep::Push))
            }
            duty => {
                let steps = [SinkStep::Begin, SinkStep::Apply, SinkStep::Reject, SinkStep::Commit];
                let pushed = if self.faults.waits_at(&steps) {
                    self.step_by_step(stream, table, delivery).await
                } else {
                    self.sink.push(stream, table, delivery).await.map(|pushed| self.wrapped(pushed))
                };
                duty.afterwards(&SinkStep::Push, pushed).await
            }
        }
    }

    fn lanes(&self) -> usize {
        self.sink.lanes()
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        self.faults.around(SinkStep::Finish, self.sink.finish(report)).await
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

    /// As the default of [`Sink::push`].
    async fn step_by_step(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        delivery: Delivery,
    ) -> Result<Pushed<FaultyTxn<S::Txn>>> {
        let Delivery { changes, letters, checkpoint } = delivery;
        let mut txn = self.begin(stream, table).await?;
        let applied = if changes.is_empty() { Applied::default() } else { txn.apply(changes).await? };
        if !applied.contested.is_empty() || !applied.refused.is_empty() {
            return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
        }
        if !letters.is_empty() {
            txn.reject(letters).await?;
        }
        let committed = txn.commit(checkpoint).await?;
        Ok(Pushed::Committed(applied, committed))
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
