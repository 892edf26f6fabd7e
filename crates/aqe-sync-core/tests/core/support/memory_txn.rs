//! A transaction on the hub in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqe_sync_core::hash::KeyHash;
use aqe_sync_core::meet::{Contested, Settled, Stored};
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, DeadLetter, Operation, Result, Row, SinkTxn, StreamId, StreamState,
    TableSpec,
};

use super::memory_sink::{Hub, MemorySink, RowId, Step, Turn, Way};

/// Works on a draft of what it touches; dropping it rolls back.
pub(crate) struct MemoryTxn {
    pub(super) sink: MemorySink,
    pub(super) stream: StreamId,
    pub(super) table: Arc<TableSpec>,
    pub(super) draft: Hub,
    /// The delivery that it is of.
    pub(super) way: Option<Arc<Way>>,
    pub(super) _turn: Turn,
}

impl MemoryTxn {
    fn row_id(&self, key: KeyHash) -> RowId {
        (self.stream.environment.clone(), self.table.name().to_string(), key)
    }

    fn change(&mut self, hub: &Hub, change: Change, applied: &mut Applied) {
        let writer = self.stream.contributor();
        let id = self.row_id(change.key.hash());
        let existing = self.draft.rows.get(&id).or_else(|| hub.rows.get(&id));
        match (existing.map(|(_, stored)| stored.clone()), change.operation) {
            (None, Operation::Upsert(row)) => {
                let stored = Stored { row, contributor: writer, merged_from: Vec::new(), deleted: false };
                self.draft.rows.insert(id, (change.key, stored));
                applied.inserted += 1;
            }
            (None, Operation::Delete) => {}
            (Some(mut stored), operation) => {
                let alone = stored.merged_from.is_empty() && stored.contributor == writer;
                let ours = !stored.deleted && alone;
                let in_step = ours && change.base == Some(stored.row.hash);
                match operation {
                    Operation::Delete if stored.deleted && alone => {}
                    Operation::Upsert(row)
                        if ours && !in_step && row.hash == stored.row.hash && is_sound(&self.table, &stored) =>
                    {
                        applied.unchanged += 1;
                    }
                    Operation::Upsert(row) if in_step || ours && row.hash == stored.row.hash => {
                        stored.row = row;
                        self.draft.rows.insert(id, (change.key, stored));
                        applied.updated += 1;
                    }
                    Operation::Delete if in_step => {
                        stored.deleted = true;
                        self.draft.rows.insert(id, (change.key, stored));
                        applied.deleted += 1;
                    }
                    operation => {
                        let change = Change { key: change.key, operation, base: change.base };
                        applied.contested.push(Contested { change, existing: stored });
                    }
                }
            }
        }
    }

    pub(super) fn commit_now(self, checkpoint: Checkpoint) -> Result<Committed> {
        // The turn ends when this does: never under the lock.
        let Self { sink, stream, table, draft, way, _turn } = self;
        sink.step(Step::Commit, |inner| {
            let sequence = inner.hub.states.get(&stream).map_or(1, |state| state.sequence + 1);
            let state = StreamState { stream: stream.clone(), sequence, table: table.name().to_string(), checkpoint };
            inner.hub.states.insert(stream, state);
            inner.hub.rows.extend(draft.rows);
            inner.hub.letters.extend(draft.letters);
            inner.hub.conflicts.extend(draft.conflicts);
            if let Some(way) = &way {
                way.durable.store(true, Ordering::SeqCst);
            }
            Ok(Committed { sequence })
        })
    }
}

/// Whether the columns are what the recorded hash says.
pub(super) fn is_sound(table: &TableSpec, stored: &Stored) -> bool {
    let Row { values, extra, hash } = stored.row.clone();
    Row::new(table, values, extra).hash == hash
}

impl SinkTxn for MemoryTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let sink = self.sink.clone();
        sink.step(Step::Apply, |inner| {
            inner.journal.applied += changes.len();
            let mut applied = Applied::default();
            for change in changes {
                self.change(&inner.hub, change, &mut applied);
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

    async fn commit(self, checkpoint: Checkpoint) -> Result<Committed> {
        // On its way until the answer is there.
        let (sink, stream, _way) = (self.sink.clone(), self.stream.clone(), self.way.clone());
        let run = checkpoint.run_id.clone();
        let result = self.commit_now(checkpoint);
        sink.respond(&stream).await;
        if result.is_err() {
            sink.told(&stream, run);
        }
        result
    }
}
