//! A stream whose records now go to another table: what it left in the old one.
//!
//! Tables that nobody has a mapping for are archived until one exists. Then
//! their rows are sent to the new table, and must not live on in the archive.
//! The other way round, nothing moves: a file whose shape is suddenly unknown is
//! no reason to touch what it held before.

use std::sync::Arc;

use futures::StreamExt as _;

use super::{Run, Sink};
use crate::ledger::LedgerStream;
use crate::meet::{Ranking, settle};
use crate::record::{Change, Operation};
use crate::sink::{Checkpoint, SinkTxn as _, StreamState};
use crate::source::StreamSpec;
use crate::{Contributor, KnownRow, Result, StreamId, TableSpec, Timestamp, tables};

/// Where records wait for a mapping.
const ARCHIVE: &str = "archive_records";

/// What moving left behind.
#[derive(Default)]
pub(super) struct Moved {
    /// Rows that became tombstones in the old table.
    pub(super) deleted: u64,
    /// What to tell about it.
    pub(super) note: Option<String>,
}

impl<S: Sink> Run<'_, S> {
    /// Tombstones what a stream has in a table that it no longer goes to.
    ///
    /// Until the first commit into the new table the sink remembers the old one,
    /// so that a run that breaks off here is finished by the next.
    pub(super) async fn move_out(&mut self, id: &StreamId, spec: &StreamSpec) -> Result<Moved> {
        let Some(state) = self.states.get(id).filter(|state| state.table != spec.table.name().as_str()) else {
            return Ok(Moved::default());
        };
        let (old, new) = (state.table.clone(), spec.table.name());
        let place = format!("{} [{}]", id.source, id.stream);
        let mut moved = Moved::default();
        match tables::find(&old).filter(|_| old == ARCHIVE) {
            Some(archive) => {
                self.prepare(archive).await?;
                let mut known = self.sink.known(id, archive);
                while let Some(rows) = known.next().await {
                    moved.deleted += self.withdraw(id, archive, rows?).await?;
                }
                let count = moved.deleted;
                moved.note = (count > 0).then(|| format!("{count} records of {place} moved from {old} to {new}"));
            }
            None => moved.note = Some(format!("{place} now goes to {new}; what it held in {old} stays there")),
        }
        let known = LedgerStream { sequence: self.sequence(id), entries: Vec::new() };
        self.ledger.replace(id, &known)?;
        Ok(moved)
    }

    async fn withdraw(&mut self, id: &StreamId, table: &Arc<TableSpec>, rows: Vec<KnownRow>) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        let count = rows.len() as u64;
        let changes =
            rows.into_iter().map(|row| Change { key: row.key, operation: Operation::Delete, base: Some(row.hash) });
        let mut txn = self.sink.begin(id, table).await?;
        let applied = txn.apply(changes.collect()).await?;
        let priority_of = |contributor: &Contributor| self.priority_of(contributor);
        let ranking = Ranking { writer: id.contributor(), priority_of: &priority_of };
        let contested = applied.contested.into_iter();
        let settled: Vec<_> =
            contested.map(|contested| settle(table, self.policy(table), &ranking, contested)).collect();
        if !settled.is_empty() {
            txn.resolve(settled).await?;
        }
        let checkpoint = Checkpoint {
            run_id: self.id.clone(),
            at: Timestamp::now(),
            complete: false,
            instance: self.options.instance.clone(),
        };
        let committed = txn.commit(checkpoint.clone()).await?;
        let table = table.name().to_string();
        let state = StreamState { stream: id.clone(), sequence: committed.sequence, table, checkpoint };
        self.states.insert(id.clone(), state);
        Ok(count)
    }
}
