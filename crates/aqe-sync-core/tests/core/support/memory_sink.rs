//! A hub in memory, with real transactions and faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqe_sync_core::hash::KeyHash;
use aqe_sync_core::meet::{ConflictRecord, Contested, Settled, Stored};
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, ContentHash, DeadLetter, Environment, Error, ErrorKind, KnownRow,
    Operation, Report, Result, Sink, SinkTxn, StreamId, StreamState, TableSpec,
};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

/// Where a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    States,
    Prepare,
    Known,
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

type RowId = (Environment, String, KeyHash);

/// Everything that a commit makes durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    pub(crate) rows: BTreeMap<RowId, (aqe_sync_core::Key, Stored)>,
    pub(crate) states: BTreeMap<StreamId, StreamState>,
    pub(crate) letters: BTreeMap<(StreamId, String), DeadLetter>,
    pub(crate) conflicts: Vec<ConflictRecord>,
    commits: u64,
}

/// What a test may look at afterwards; not part of the hub's content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Changes that reached `apply`, committed or not.
    pub(crate) applied: usize,
    pub(crate) contested: usize,
    pub(crate) reports: usize,
}

#[derive(Default)]
struct Inner {
    hub: Hub,
    journal: Journal,
    prepared: BTreeSet<String>,
    faults: Vec<Fault>,
}

/// Clones share one hub.
#[derive(Clone, Default)]
pub(crate) struct MemorySink(Arc<Mutex<Inner>>);

impl MemorySink {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Runs `effect` between the two moments at which `step` may fail.
    fn step<T>(&self, step: Step, effect: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
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
        let rows = self.step(Step::Known, |inner| {
            let rows = inner.hub.rows.iter().filter(|((environment, name, _), _)| {
                *environment == stream.environment && name == table.name().as_str()
            });
            let known = rows.filter_map(|(_, (key, stored))| {
                contribution(stored, stream).map(|hash| KnownRow { key: key.clone(), hash, sound: true })
            });
            Ok(known.collect::<Vec<_>>())
        });
        match rows {
            Ok(rows) => {
                let batches: Vec<_> = rows.chunks(3).map(|chunk| Ok(chunk.to_vec())).collect();
                stream::iter(batches).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<MemoryTxn> {
        self.step(Step::Begin, |inner| {
            if !inner.prepared.contains(table.name().as_str()) {
                return Err(Error::new(ErrorKind::NotFound, format!("there is no table {}", table.name())));
            }
            Ok(MemoryTxn {
                sink: self.clone(),
                stream: stream.clone(),
                table: Arc::clone(table),
                draft: inner.hub.clone(),
            })
        })
    }

    async fn finish(&self, _: &Report) -> Result<()> {
        self.step(Step::Finish, |inner| {
            inner.journal.reports += 1;
            Ok(())
        })
    }
}

/// Works on a draft; dropping it rolls back.
pub(crate) struct MemoryTxn {
    sink: MemorySink,
    stream: StreamId,
    table: Arc<TableSpec>,
    draft: Hub,
}

impl MemoryTxn {
    fn row_id(&self, key: KeyHash) -> RowId {
        (self.stream.environment.clone(), self.table.name().to_string(), key)
    }

    fn change(draft: &mut Hub, id: RowId, stream: &StreamId, change: Change, applied: &mut Applied) {
        let writer = stream.contributor();
        let existing = draft.rows.get_mut(&id).map(|(_, stored)| stored);
        match (existing, change.operation) {
            (None, Operation::Upsert(row)) => {
                let stored = Stored { row, contributor: writer, merged_from: Vec::new(), deleted: false };
                draft.rows.insert(id, (change.key, stored));
                applied.inserted += 1;
            }
            (None, Operation::Delete) => applied.deleted += 1,
            (Some(stored), operation) => {
                let ours = !stored.deleted && stored.merged_from.is_empty() && stored.contributor == writer;
                let in_step = ours && change.base == Some(stored.row.hash);
                match operation {
                    Operation::Upsert(row) if ours && row.hash == stored.row.hash => applied.unchanged += 1,
                    Operation::Upsert(row) if in_step => {
                        stored.row = row;
                        applied.updated += 1;
                    }
                    Operation::Delete if in_step => {
                        stored.deleted = true;
                        applied.deleted += 1;
                    }
                    operation => {
                        let change = Change { key: change.key, operation, base: change.base };
                        applied.contested.push(Contested { change, existing: stored.clone() });
                    }
                }
            }
        }
    }
}

impl SinkTxn for MemoryTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let sink = self.sink.clone();
        sink.step(Step::Apply, |inner| {
            inner.journal.applied += changes.len();
            let mut applied = Applied::default();
            for change in changes {
                let id = self.row_id(change.key.hash());
                Self::change(&mut self.draft, id, &self.stream, change, &mut applied);
            }
            inner.journal.contested += applied.contested.len();
            Ok(applied)
        })
    }

    async fn resolve(&mut self, settled: Vec<Settled>) -> Result<()> {
        let sink = self.sink.clone();
        sink.step(Step::Resolve, |_| {
            for settled in settled {
                let id = self.row_id(settled.key.hash());
                if let Some(stored) = settled.write {
                    self.draft.rows.insert(id, (settled.key, stored));
                }
                self.draft.conflicts.extend(settled.conflict);
            }
            Ok(())
        })
    }

    async fn reject(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        let sink = self.sink.clone();
        sink.step(Step::Reject, |_| {
            for letter in letters {
                let id = (self.stream.clone(), format!("{} {}", letter.key, letter.record.as_str()));
                self.draft.letters.insert(id, letter);
            }
            Ok(())
        })
    }

    async fn commit(mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let sink = self.sink.clone();
        sink.step(Step::Commit, |inner| {
            if inner.hub.commits != self.draft.commits {
                return Err(Error::new(ErrorKind::Locked, "another transaction committed in between"));
            }
            let sequence = self.draft.states.get(&self.stream).map_or(1, |state| state.sequence + 1);
            let table = self.table.name().to_string();
            let state = StreamState { stream: self.stream.clone(), sequence, table, checkpoint };
            self.draft.states.insert(self.stream.clone(), state);
            self.draft.commits += 1;
            inner.hub = self.draft;
            Ok(Committed { sequence })
        })
    }
}
