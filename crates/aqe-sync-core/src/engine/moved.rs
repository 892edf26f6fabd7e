//! A stream whose records now go to another table: what it left in the old one.
//!
//! Tables that nobody has a mapping for are archived until one exists. Then
//! their rows are sent to the new table, and must not live on in the archive.
//! The other way round, nothing moves: a file whose shape is suddenly unknown is
//! no reason to touch what it held before.

use std::sync::Arc;

use futures::StreamExt as _;

use super::source::Reader;
use super::tally::Tally;
use super::{Run, Sink};
use crate::failpoint;
use crate::ledger::LedgerStream;
use crate::meet::{Ranking, settle};
use crate::record::{Change, Operation};
use crate::sink::{Delivery, Pushed, SinkTxn as _, StreamState};
use crate::source::StreamSpec;
use crate::{Contributor, KnownRow, Result, StreamId, TableSpec, tables};

/// Where records wait for a mapping.
const ARCHIVE: &str = "archive_records";

/// What moving left behind.
#[derive(Default)]
pub(super) struct Moved {
    /// Rows that became tombstones in the old table.
    pub(super) deleted: u64,
    /// What to tell about it.
    pub(super) note: Option<String>,
    /// The stream's state from then on, if that is another.
    pub(super) state: Option<StreamState>,
}

impl<S: Sink> Reader<'_, S> {
    /// Tombstones what a stream has in a table that it no longer goes to.
    ///
    /// Until the first commit into the new table the sink remembers the old one,
    /// so that a run that breaks off here is finished by the next.
    pub(super) async fn move_out(&mut self, id: &StreamId, spec: &StreamSpec, foreign: bool) -> Result<Moved> {
        let run = self.run;
        let elsewhere = |state: &&StreamState| state.table != spec.table.name().as_str();
        let Some(state) = run.states.get(id).filter(elsewhere) else {
            return Ok(Moved::default());
        };
        let (old, new) = (&state.table, spec.table.name());
        let place = format!("{} [{}]", id.source, id.stream);
        let mut moved = Moved::default();
        match tables::find(old).filter(|_| old == ARCHIVE && !foreign) {
            Some(archive) => {
                self.prepare(archive).await?;
                let turn = run.lanes.stand(archive.name());
                let _lane = turn.lane(0).await;
                let mut known = run.sink.known(id, archive);
                while let Some(rows) = known.next().await {
                    let rows = rows?;
                    if !rows.is_empty() {
                        moved.deleted += rows.len() as u64;
                        moved.state = Some(run.withdraw(id, archive, rows).await?);
                        failpoint!("engine-withdrawn");
                    }
                }
                let count = moved.deleted;
                moved.note = (count > 0).then(|| format!("{count} records of {place} moved from {old} to {new}"));
            }
            None => moved.note = Some(format!("{place} now goes to {new}; what it held in {old} stays there")),
        }
        let sequence = moved.state.as_ref().unwrap_or(state).sequence;
        run.ledger.replace(id, &LedgerStream { sequence, entries: Vec::new() })?;
        failpoint!("engine-moved-out");
        Ok(moved)
    }
}

impl<S: Sink> Run<'_, S> {
    async fn withdraw(&self, id: &StreamId, table: &Arc<TableSpec>, rows: Vec<KnownRow>) -> Result<StreamState> {
        let changes =
            rows.into_iter().map(|row| Change { key: row.key, operation: Operation::Delete, base: Some(row.hash) });
        let checkpoint = self.checkpoint(false);
        let changes: Vec<Change> = changes.collect();
        let given = Tally::of(&changes, 0);
        let keys: Vec<_> = changes.iter().map(|change| (change.key.hash(), false)).collect();
        let delivery = Delivery { changes, letters: Vec::new(), checkpoint: checkpoint.clone() };
        let committed = match self.sink.push(id, table, delivery).await? {
            Pushed::Committed(applied, committed) => {
                given.check_settled(&applied).and_then(|()| given.check(&applied, std::iter::empty()))?;
                committed
            }
            Pushed::Contested { mut txn, applied, checkpoint, .. } => {
                given.check(&applied, keys.into_iter())?;
                let priority_of = |contributor: &Contributor| self.priority_of(contributor);
                let ranking = Ranking { writer: id.contributor(), priority_of: &priority_of };
                let contested = applied.contested.into_iter();
                let settled = contested.map(|contested| settle(table, self.policy(table), &ranking, contested));
                txn.resolve(settled.collect()).await?;
                txn.commit(checkpoint).await?
            }
        };
        let table = table.name().to_string();
        Ok(StreamState { stream: id.clone(), sequence: committed.sequence, table, checkpoint })
    }
}
