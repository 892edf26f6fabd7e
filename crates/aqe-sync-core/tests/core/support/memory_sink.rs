//! A hub in memory, with real transactions, faults on demand, and responses that
//! a test may hold back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use aqe_sync_core::hash::KeyHash;
use aqe_sync_core::meet::{ConflictRecord, Stored};
use aqe_sync_core::{
    Applied, ContentHash, DeadLetter, Delivery, Environment, Error, ErrorKind, KnownRow, Pushed, Report, Result, Sink,
    SinkTxn, StreamId, StreamState, TableSpec,
};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::memory_txn::{MemoryTxn, is_sound};

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    States,
    Prepare,
    Known,
    Keys,
    Begin,
    Apply,
    Resolve,
    Reject,
    Commit,
    Finish,
}

/// Whether a step fails before its effect or after it: a commit that fails
/// after its effect is a lost acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    step: Step,
    when: When,
    /// So many steps of this kind still succeed.
    spare: usize,
}

pub(super) type RowId = (Environment, String, KeyHash);

/// Everything that a commit makes durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    pub(crate) rows: BTreeMap<RowId, (aqe_sync_core::Key, Stored)>,
    pub(crate) states: BTreeMap<StreamId, StreamState>,
    pub(crate) letters: BTreeMap<(StreamId, String), DeadLetter>,
    pub(crate) conflicts: Vec<ConflictRecord>,
}

/// What a test may look at afterwards; not part of the hub's content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Changes that reached `apply`, committed or not.
    pub(crate) applied: usize,
    pub(crate) contested: usize,
    pub(crate) reports: usize,
    /// The streams of all deliveries, with the keys of their changes, as they started.
    pub(crate) pushed: Vec<(StreamId, Vec<String>)>,
    /// How many were on their way at once, at most.
    pub(crate) at_once: usize,
}

/// A response that is held back.
struct Held {
    number: u64,
    stream: StreamId,
    waker: Waker,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) hub: Hub,
    pub(super) journal: Journal,
    prepared: BTreeSet<String>,
    faults: Vec<Fault>,
    looks: bool,
    lanes: usize,
    abreast: usize,
    holding: bool,
    held: Vec<Held>,
    released: BTreeSet<u64>,
    /// With whether each is durable.
    on_way: Vec<(StreamId, Arc<AtomicBool>)>,
    /// Runs that were told of a failure, with the stream.
    failed: BTreeSet<(StreamId, String)>,
    /// Who works on a table, and who waits for it, in the order in which they came.
    turns: BTreeMap<String, Vec<(u64, Waker)>>,
    /// Numbers turns and held responses.
    numbers: u64,
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// Clones share one hub.
#[derive(Clone, Default)]
pub(crate) struct MemorySink(Arc<Mutex<Inner>>);

impl MemorySink {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_lanes(lanes: usize) -> Self {
        let sink = Self::default();
        sink.lock().lanes = lanes;
        sink
    }

    /// Takes so many deliveries of one stream at once, and makes them durable in their order.
    pub(crate) fn with_abreast(lanes: usize, abreast: usize) -> Self {
        let sink = Self::with_lanes(lanes);
        sink.lock().abreast = abreast;
        sink
    }

    /// From now on full runs look whether columns are what the recorded hash says.
    pub(crate) fn look(&self) {
        self.lock().looks = true;
    }

    /// From now on no response arrives before it is let go.
    pub(crate) fn hold(&self) {
        self.lock().holding = true;
    }

    /// The streams whose responses are held back, in the order in which they came.
    pub(crate) fn held(&self) -> Vec<StreamId> {
        self.lock().held.iter().map(|held| held.stream.clone()).collect()
    }

    /// Lets one response arrive.
    pub(crate) fn release(&self, position: usize) {
        let mut inner = self.lock();
        let held = inner.held.remove(position);
        inner.released.insert(held.number);
        held.waker.wake();
    }

    /// A run was told that a delivery failed: it must not give another one.
    pub(super) fn told(&self, stream: &StreamId, run: String) {
        self.lock().failed.insert((stream.clone(), run));
    }

    /// Waits until the test lets the response go.
    pub(super) async fn respond(&self, stream: &StreamId) {
        if !self.lock().holding {
            return;
        }
        let number = self.lock().number();
        poll_fn(|context| {
            let mut inner = self.lock();
            if inner.released.contains(&number) {
                return Poll::Ready(());
            }
            if inner.held.iter().all(|held| held.number != number) {
                inner.held.push(Held { number, stream: stream.clone(), waker: context.waker().clone() });
            }
            Poll::Pending
        })
        .await;
    }

    /// One transaction per table, first come, first served.
    async fn turn(&self, table: &str) -> Turn {
        let number = self.lock().number();
        let turn = Turn { sink: self.clone(), table: table.to_owned(), number };
        poll_fn(|context| {
            let mut inner = self.lock();
            let turns = inner.turns.entry(table.to_owned()).or_default();
            match turns.iter().position(|(other, _)| *other == number) {
                Some(0) => return Poll::Ready(()),
                Some(position) => turns[position].1.clone_from(context.waker()),
                None if turns.is_empty() => {
                    turns.push((number, context.waker().clone()));
                    return Poll::Ready(());
                }
                None => turns.push((number, context.waker().clone())),
            }
            Poll::Pending
        })
        .await;
        turn
    }

    /// As the default of [`Sink::push`].
    async fn transact(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        delivery: Delivery,
        before: Option<Arc<AtomicBool>>,
        way: Arc<Way>,
    ) -> Result<Pushed<MemoryTxn>> {
        let Delivery { changes, letters, checkpoint } = delivery;
        // Who has the turn comes after all that happens to those before it.
        let mut txn = self.begin(stream, table).await?;
        if before.is_some_and(|before| !before.load(Ordering::SeqCst)) {
            return Err(Error::new(ErrorKind::Io, "what came before was not stored"));
        }
        txn.way = Some(way);
        let applied = if changes.is_empty() { Applied::default() } else { txn.apply(changes).await? };
        if !applied.contested.is_empty() {
            return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
        }
        if !letters.is_empty() {
            txn.reject(letters).await?;
        }
        let committed = txn.commit_now(checkpoint)?;
        Ok(Pushed::Committed(applied, committed))
    }

    /// Lets a step fail once, after `spare` more of its kind.
    pub(crate) fn fail(&self, step: Step, when: When, spare: usize) {
        self.lock().faults.push(Fault { step, when, spare });
    }

    /// Takes back the faults that have not struck.
    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
    }

    pub(crate) fn hub(&self) -> Hub {
        self.lock().hub.clone()
    }

    pub(crate) fn take_journal(&self) -> Journal {
        std::mem::take(&mut self.lock().journal)
    }

    /// Lets somebody else edit what is stored, behind the engine's back.
    pub(crate) fn tamper(&self, edit: impl FnOnce(&mut Hub)) {
        edit(&mut self.lock().hub);
    }

    fn rows(
        &self,
        step: Step,
        stream: &StreamId,
        table: &TableSpec,
        wanted: impl Fn(ContentHash) -> bool,
        looks: bool,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let rows = self.step(step, |inner| {
            let rows = inner.hub.rows.iter().filter(|((environment, name, _), _)| {
                *environment == stream.environment && name == table.name().as_str()
            });
            let known = rows.filter_map(|(_, (key, stored))| {
                let sound = !looks || is_sound(table, stored);
                contribution(stored, stream).map(|hash| KnownRow { key: key.clone(), hash, sound })
            });
            Ok(known.filter(|row| wanted(row.hash)).collect::<Vec<_>>())
        });
        match rows {
            Ok(rows) => {
                let batches: Vec<_> = rows.chunks(3).map(|chunk| Ok(chunk.to_vec())).collect();
                stream::iter(batches).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    /// Runs `effect` between the two moments at which `step` may fail.
    pub(super) fn step<T>(&self, step: Step, effect: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let mut inner = self.lock();
        let struck = inner.faults.iter_mut().position(|fault| {
            let now = fault.step == step && fault.spare == 0;
            if fault.step == step && !now {
                fault.spare -= 1;
            }
            now
        });
        let when = struck.map(|position| inner.faults.remove(position).when);
        let failure = || Err(Error::new(ErrorKind::Io, format!("injected fault at {step:?}")));
        if when == Some(When::Before) {
            return failure();
        }
        let result = effect(&mut inner)?;
        if when == Some(When::After) { failure() } else { Ok(result) }
    }
}

/// A table, taken until it is dropped.
pub(super) struct Turn {
    sink: MemorySink,
    table: String,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.sink.lock();
        let turns = inner.turns.entry(self.table.clone()).or_default();
        turns.retain(|(number, _)| *number != self.number);
        turns.first().into_iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// A delivery that somebody waits for, until it is dropped.
pub(super) struct Way {
    sink: MemorySink,
    pub(super) durable: Arc<AtomicBool>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.sink.lock().on_way.retain(|(_, other)| !Arc::ptr_eq(other, &self.durable));
    }
}

/// What a stream contributes to a live row.
pub(crate) fn contribution(stored: &Stored, stream: &StreamId) -> Option<ContentHash> {
    let contributor = stream.contributor();
    if stored.deleted {
        return None;
    }
    if stored.merged_from.is_empty() {
        return (stored.contributor == contributor).then_some(stored.row.hash);
    }
    stored.merged_from.iter().find(|other| other.contributor == contributor).map(|other| other.row.hash)
}

impl Sink for MemorySink {
    type Txn = MemoryTxn;

    fn name(&self) -> &'static str {
        "memory"
    }

    async fn identity(&self) -> Result<String> {
        Ok("memory".to_owned())
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.step(Step::Prepare, |inner| {
            inner.prepared.insert(table.name().to_string());
            Ok(())
        })
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.step(Step::States, |inner| {
            let states = inner.hub.states.values();
            Ok(states.filter(|state| state.stream.environment == *environment).cloned().collect())
        })
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(Step::Known, stream, table, |_| true, false)
    }

    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let looks = self.lock().looks;
        self.rows(Step::Known, stream, table, |_| true, looks)
    }

    fn keys_of(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        hashes: Vec<ContentHash>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(Step::Keys, stream, table, |hash| hashes.contains(&hash), false)
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<MemoryTxn> {
        let turn = self.turn(table.name().as_str()).await;
        self.step(Step::Begin, |inner| {
            if !inner.prepared.contains(table.name().as_str()) {
                return Err(Error::new(ErrorKind::NotFound, format!("there is no table {}", table.name())));
            }
            Ok(())
        })?;
        Ok(MemoryTxn {
            sink: self.clone(),
            stream: stream.clone(),
            table: Arc::clone(table),
            draft: Hub::default(),
            way: None,
            _turn: turn,
        })
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<MemoryTxn>> {
        let own = Arc::<AtomicBool>::default();
        let run = delivery.checkpoint.run_id.clone();
        let before = {
            let mut inner = self.lock();
            let failed = inner.failed.contains(&(stream.clone(), run.clone()));
            assert!(!failed, "a delivery of {stream} after one that failed");
            let of_stream = inner.on_way.iter().filter(|(other, _)| other == stream);
            let before: Vec<_> = of_stream.map(|(_, durable)| Arc::clone(durable)).collect();
            assert!(before.len() < inner.abreast.max(1), "too many deliveries of {stream} at once");
            inner.on_way.push((stream.clone(), Arc::clone(&own)));
            inner.journal.at_once = inner.journal.at_once.max(inner.on_way.len());
            let keys = delivery.changes.iter().map(|change| change.key.to_string()).collect();
            inner.journal.pushed.push((stream.clone(), keys));
            before.into_iter().next_back()
        };
        let way = Arc::new(Way { sink: self.clone(), durable: own });
        let result = self.transact(stream, table, delivery, before, Arc::clone(&way)).await;
        self.respond(stream).await;
        if result.is_err() {
            self.told(stream, run);
        }
        result
    }

    fn lanes(&self) -> usize {
        self.lock().lanes.max(1)
    }

    fn abreast(&self) -> usize {
        self.lock().abreast.max(1)
    }

    async fn finish(&self, _: &Report) -> Result<()> {
        self.step(Step::Finish, |inner| {
            inner.journal.reports += 1;
            Ok(())
        })
    }
}
