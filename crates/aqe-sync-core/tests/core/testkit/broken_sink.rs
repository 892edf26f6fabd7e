//! The hub in memory, broken in one way.

use std::sync::Arc;

use aqe_sync_core::digest::{Bucket, DigestRequest};
use aqe_sync_core::meet::{Contested, Settled, Stored};
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, DeadLetter, Environment, Json, KnownRow, Operation, Report, Result, Row,
    Sink, SinkTxn, StreamId, StreamState, TableSpec, Value,
};
use futures::stream::BoxStream;

use crate::support::memory_sink::MemorySink;
use crate::support::memory_txn::MemoryTxn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Forgets the checkpoint of a commit.
    RowsWithoutCheckpoint,
    /// Counts no commits.
    StuckSequence,
    /// Rows are there before the commit.
    WritesAtOnce,
    /// An insert survives a rollback.
    KeepsAnInsert,
    /// A dead letter survives a rollback.
    KeepsALetter,
    /// Counts what is there already as new.
    Recounts,
    /// Counts deletes that find nothing to delete.
    CountsEveryDelete,
    /// Has deletes of its own tombstones decided.
    ContestsTombstones,
    /// Applies one change that needs a decision.
    MissesAConflict,
    /// Shows a conflict without the contributions of others.
    HidesContributions,
    /// Overwrites what another writer has just written.
    LosesAnUpdate,
    /// Leaves the last row out of its sums.
    AddsUpWrongly,
    /// Mangles values, each in its way.
    LosesTheSignOfZero,
    LosesNan,
    LosesNul,
    RoundsLargeInts,
}

#[derive(Clone)]
pub(super) struct BrokenSink {
    pub(super) sink: MemorySink,
    pub(super) flaw: Flaw,
}

pub(super) struct BrokenTxn {
    /// `None` once it is committed.
    txn: Option<MemoryTxn>,
    of: BrokenSink,
    stream: StreamId,
    table: Arc<TableSpec>,
    changes: Vec<Change>,
    letters: Vec<DeadLetter>,
}

impl Sink for BrokenSink {
    type Txn = BrokenTxn;

    fn name(&self) -> &'static str {
        "broken"
    }

    async fn identity(&self) -> Result<String> {
        self.sink.identity().await
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.sink.prepare(table).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.sink.states(environment).await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.sink.known(stream, table)
    }

    async fn digests(&self, wanted: Vec<DigestRequest>) -> Result<Vec<Vec<Bucket>>> {
        let mut answers = self.sink.digests(wanted).await?;
        if self.flaw == Flaw::AddsUpWrongly {
            answers.iter_mut().flatten().for_each(|bucket| bucket.count -= 1);
        }
        Ok(answers)
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<BrokenTxn> {
        let txn = self.sink.begin(stream, table).await?;
        let (of, stream, table) = (self.clone(), stream.clone(), Arc::clone(table));
        Ok(BrokenTxn { txn: Some(txn), of, stream, table, changes: Vec::new(), letters: Vec::new() })
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        self.sink.finish(report).await
    }
}

impl BrokenTxn {
    fn inner(&mut self) -> &mut MemoryTxn {
        self.txn.as_mut().expect("not committed")
    }

    /// Writes rows past any transaction.
    fn write_now(&self, changes: &[Change]) {
        self.of.sink.tamper(|hub| {
            for change in changes {
                let Operation::Upsert(row) = &change.operation else { continue };
                let contributor = self.stream.contributor();
                let stored = Stored { row: row.clone(), contributor, merged_from: Vec::new(), deleted: false };
                let id = (self.stream.environment.clone(), self.table.name().to_string(), change.key.hash());
                hub.rows.insert(id, (change.key.clone(), stored));
            }
        });
    }

    fn applied(&self, mut applied: Applied) -> Applied {
        match self.of.flaw {
            Flaw::Recounts => applied.inserted += std::mem::take(&mut applied.unchanged),
            Flaw::CountsEveryDelete => {
                let deletes = self.changes.iter().filter(|change| matches!(change.operation, Operation::Delete));
                let contested = applied.contested.iter().map(|one| &one.change.operation);
                let contested = contested.filter(|operation| matches!(operation, Operation::Delete)).count();
                applied.deleted = (deletes.count() - contested) as u64;
            }
            Flaw::ContestsTombstones => {
                let hub = self.of.sink.hub();
                for change in self.changes.iter().filter(|change| matches!(change.operation, Operation::Delete)) {
                    let id = (self.stream.environment.clone(), self.table.name().to_string(), change.key.hash());
                    let stored = hub.rows.get(&id).map(|(_, stored)| stored).filter(|stored| stored.deleted);
                    let contested =
                        stored.map(|existing| Contested { change: change.clone(), existing: existing.clone() });
                    applied.contested.extend(contested);
                }
            }
            Flaw::HidesContributions => {
                applied.contested.iter_mut().for_each(|one| one.existing.merged_from.clear());
            }
            Flaw::MissesAConflict => {
                let alive = applied.contested.iter().position(|one| !one.existing.deleted);
                if let Some(position) = alive.filter(|_| applied.contested.len() > 5) {
                    applied.contested.remove(position);
                    applied.updated += 1;
                }
            }
            Flaw::LosesAnUpdate => {
                let contended = |key: String| key == "contended";
                if let Some(at) = applied.contested.iter().position(|one| contended(one.change.key.to_string())) {
                    let lost = applied.contested.remove(at);
                    self.write_now(&[lost.change]);
                    applied.updated += 1;
                }
            }
            _ => {}
        }
        applied
    }
}

fn mangled(flaw: Flaw, value: Value) -> Value {
    match value {
        Value::Float(number) if flaw == Flaw::LosesTheSignOfZero && number == 0.0 => Value::Float(0.0),
        #[expect(clippy::cast_possible_truncation, reason = "that is the flaw")]
        Value::Int(number) if flaw == Flaw::RoundsLargeInts => Value::Int(number as f64 as i64),
        other => other,
    }
}

/// The hash stays what it was: nobody would notice by it.
fn mangled_row(flaw: Flaw, row: Row) -> Row {
    let keys = 2.min(row.values.len());
    let mut values = row.values;
    let rest = values.split_off(keys);
    values.extend(rest.into_iter().map(|value| mangled(flaw, value)));
    let extra = row.extra.map(|extra| match flaw {
        Flaw::LosesNan => Json::from_text(extra.as_str().replace("\"NaN\"", "null")),
        // U+0000 alone, as base64 keeps it.
        Flaw::LosesNul => Json::from_text(extra.as_str().replace("\"AA==\"", "\"\"")),
        _ => extra,
    });
    Row { values, extra, hash: row.hash }
}

impl SinkTxn for BrokenTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let flaw = self.of.flaw;
        let changes: Vec<Change> = changes
            .into_iter()
            .map(|change| match change.operation {
                Operation::Upsert(row) => Change { operation: Operation::Upsert(mangled_row(flaw, row)), ..change },
                Operation::Delete => change,
            })
            .collect();
        self.changes.clone_from(&changes);
        let applied = self.inner().apply(changes.clone()).await?;
        if flaw == Flaw::WritesAtOnce {
            self.write_now(&changes);
        }
        Ok(self.applied(applied))
    }

    async fn resolve(&mut self, settled: Vec<Settled>) -> Result<()> {
        self.inner().resolve(settled).await
    }

    async fn reject(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        self.letters.clone_from(&letters);
        self.inner().reject(letters).await
    }

    async fn commit(mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let committed = self.txn.take().expect("not committed").commit(checkpoint).await?;
        let (stream, flaw) = (self.stream.clone(), self.of.flaw);
        self.of.sink.tamper(|hub| match flaw {
            Flaw::RowsWithoutCheckpoint => drop(hub.states.remove(&stream)),
            Flaw::StuckSequence => hub.states.get_mut(&stream).expect("committed").sequence = 1,
            _ => {}
        });
        Ok(if flaw == Flaw::StuckSequence { Committed { sequence: 1 } } else { committed })
    }
}

impl Drop for BrokenTxn {
    fn drop(&mut self) {
        if self.txn.is_none() {
            return;
        }
        match self.of.flaw {
            Flaw::KeepsAnInsert => self.write_now(&self.changes[..self.changes.len().min(1)]),
            Flaw::KeepsALetter => {
                let letters = std::mem::take(&mut self.letters);
                let stream = self.stream.clone();
                self.of.sink.tamper(|hub| {
                    hub.letters
                        .extend(letters.into_iter().map(|letter| ((stream.clone(), letter.key.clone()), letter)));
                });
            }
            _ => {}
        }
    }
}
