//! A transaction that stays open: what needs decisions goes this way.

use aqe_sync_core::meet::{Contested, Settled, Stored, contributions_from_json};
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, ContentHash, Contributor, DeadLetter, Error, Operation, Result, Row,
    SinkTxn, StreamId, Timestamp, failpoint,
};
use std::sync::Arc;

use futures::future::BoxFuture;
use postgres_types::{ToSql, Type};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio_postgres::Row as SqlRow;

use super::batch::{SMALL, Staged, arrays, copy_staged};
use super::bookkeeping::{close, write_conflicts};
use super::failure::Failure;
use super::lane::Session;
use super::link::Link;
use super::order::Order;
use super::push::{counted, fill};
use super::statements::Dialect;
use super::table::{Parameters, Table};
use super::wire::{columns, json};

/// A transaction on a PostgreSQL hub.
pub struct PostgresTxn {
    link: Arc<Link>,
    dialect: Arc<Dialect>,
    stream: StreamId,
    table: Arc<Table>,
    now: Timestamp,
    letters: Vec<DeadLetter>,
    applied: bool,
    order: Option<Arc<Order>>,
    runtime: Handle,
    /// `None` once the transaction is over.
    session: Option<OwnedMutexGuard<Session>>,
}

/// What a transaction works on.
pub(super) struct Opened {
    pub(super) link: Arc<Link>,
    pub(super) dialect: Arc<Dialect>,
    pub(super) runtime: Handle,
    pub(super) session: OwnedMutexGuard<Session>,
}

impl PostgresTxn {
    /// Begins.
    pub(super) async fn begin(opened: Opened, stream: StreamId, table: Arc<Table>) -> Result<Self> {
        let Opened { link, dialect, runtime, session } = opened;
        // Made before BEGIN has an answer: who stops waiting for it rolls back, too.
        let txn = Self {
            link,
            dialect,
            stream,
            table,
            now: Timestamp::now(),
            letters: Vec::new(),
            applied: false,
            order: None,
            runtime,
            session: Some(session),
        };
        let begun = txn.link.batch_execute(&txn.table.begin).await;
        begun.map_err(|error| txn.error(error.into()))?;
        failpoint!("postgres-txn-begun");
        Ok(txn)
    }

    /// Tells whoever follows when it is durable, or that it is not going to be.
    pub(super) fn keep(&mut self, order: Arc<Order>) {
        self.order = Some(order);
    }

    fn error(&self, failure: Failure) -> Error {
        failure.into_error(&self.link, "writing").context("table", self.table.spec.name())
    }

    /// Fills the staging table, which is empty before.
    async fn stage(&self, rows: &[Staged<'_>], size: usize) -> Result<(), Failure> {
        let (sql, spec, vectors) = (&self.table.sql, &self.table.spec, &self.dialect.vectors);
        if self.applied {
            self.link.batch_execute(&sql.clear).await?;
        }
        if size <= SMALL {
            let arrays = arrays(rows, spec, vectors)?;
            fill(&self.link, &sql.stage_arrays, &arrays).await?;
            failpoint!("postgres-txn-filled");
            return Ok(());
        }
        failpoint!("postgres-txn-copy-before");
        let mut copying = Box::pin(self.link.copy_in(&sql.stage_copy).await?);
        copy_staged(&mut copying, rows, spec, vectors).await?;
        copying.as_mut().finish().await?;
        failpoint!("postgres-txn-copied");
        Ok(())
    }

    async fn execute(&self, sql: &str, wanted: bool) -> Result<u64, tokio_postgres::Error> {
        if !wanted {
            return Ok(0);
        }
        let parameters = Parameters::new(&self.stream, &self.table, self.now);
        self.link.execute_typed(sql, &parameters.list()).await
    }

    /// Merges changes; those that the server refuses as data are found one by one.
    fn merge(&mut self, changes: Vec<Change>) -> BoxFuture<'_, Result<Applied, Failure>> {
        Box::pin(async move {
            self.link.batch_execute("SAVEPOINT batch").await?;
            let failure = match self.try_merge(&changes).await {
                Ok((mut applied, contested)) => {
                    applied.contested = self.images(changes, contested)?;
                    return Ok(applied);
                }
                Err(failure) if failure.is_of_data() => failure,
                Err(failure) => return Err(failure),
            };
            self.link.batch_execute("ROLLBACK TO SAVEPOINT batch").await?;
            failpoint!("postgres-txn-undone");
            let mut changes = changes;
            if changes.len() == 1 {
                let refused = changes.into_iter().map(|change| (change, failure.reason())).collect();
                return Ok(Applied { refused, ..Applied::default() });
            }
            let second = changes.split_off(changes.len() / 2);
            let mut applied = self.merge(changes).await?;
            let rest = self.merge(second).await?;
            applied.inserted += rest.inserted;
            applied.updated += rest.updated;
            applied.unchanged += rest.unchanged;
            applied.deleted += rest.deleted;
            applied.contested.extend(rest.contested);
            applied.refused.extend(rest.refused);
            Ok(applied)
        })
    }

    async fn try_merge(&mut self, changes: &[Change]) -> Result<(Applied, Vec<SqlRow>), Failure> {
        let size = changes.iter().map(Change::size).sum();
        self.stage(&Staged::changes(changes), size).await?;
        self.applied = true;
        let sql = &self.table.sql;
        let upserts = changes.iter().filter(|change| change.operation != Operation::Delete).count();
        let parameters = Parameters::new(&self.stream, &self.table, self.now);
        let parameters = parameters.list();
        let stream: Vec<&(dyn ToSql + Sync)> = parameters[..3].iter().map(|(value, _)| *value).collect();
        // Prepared, since the driver may have to ask what type an extension's columns have:
        // once the rows are coming it cannot.
        let find = self.link.prepare_typed(&sql.contested, &[Type::TEXT, Type::TEXT, Type::TEXT]).await?;
        let (bumped, updated, deleted, inserted, contested) = futures::join!(
            self.execute(&sql.bump, true),
            self.execute(&sql.update, changes.iter().any(|change| change.base.is_some())),
            self.execute(&sql.tombstone, upserts < changes.len()),
            self.execute(&sql.insert, upserts > 0),
            self.link.query(&find, &stream),
        );
        bumped?;
        failpoint!("postgres-txn-merged");
        let (updated, deleted, inserted, contested) = (updated?, deleted?, inserted?, contested?);
        let open = contested.iter().filter(|row| is_upsert(changes, row)).count();
        Ok((counted((upserts as u64).saturating_sub(open as u64), inserted, updated, deleted), contested))
    }

    fn images(&self, changes: Vec<Change>, rows: Vec<SqlRow>) -> Result<Vec<Contested>, Failure> {
        let mut changes: Vec<Option<Change>> = changes.into_iter().map(Some).collect();
        let mut contested = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(change) = position(&row).and_then(|position| changes.get_mut(position)?.take()) else {
                return Err(Error::internal("the hub contested a change that was not sent").into());
            };
            contested.push(self.image(change, &row)?);
        }
        Ok(contested)
    }

    /// A row in the way of a change. What cannot be read, since somebody else wrote
    /// it, counts as absent: the row is about to be decided on and written anew.
    fn image(&self, change: Change, row: &SqlRow) -> Result<Contested, Failure> {
        let table = &self.table.spec;
        let (source, stream): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
        let deleted = row.try_get(3)?;
        let hash = ContentHash::from_i64(row.try_get(4)?);
        let merged_from = json(row, 5)?.and_then(|json| contributions_from_json(table, json.as_str()).ok());
        let (values, _) = columns(row, table.columns(), 7, self.dialect.vectors.kind())?;
        let mut content = Row::new(table, values, json(row, 6)?);
        let edited = hash != Some(content.hash);
        // What was stored counts, not what this version would make of it.
        content.hash = hash.unwrap_or(content.hash);
        let mut merged_from = merged_from.unwrap_or_default();
        if edited {
            // As if the writer came for the first time, so that the row is made anew.
            let writer = self.stream.contributor();
            merged_from.retain(|other| other.contributor != writer);
        }
        let existing = Stored {
            row: content,
            contributor: Contributor { source: source.into(), stream: stream.into() },
            merged_from,
            deleted,
        };
        Ok(Contested { change, existing })
    }

    async fn settle(&self, settled: &[Settled]) -> Result<(), Failure> {
        let conflicts: Vec<_> = settled.iter().filter_map(|settled| settled.conflict.as_ref()).collect();
        let (spec, sql) = (&self.table.spec, &self.table.sql);
        write_conflicts(&self.link, &self.dialect, &self.stream, spec, &conflicts, self.now).await?;
        failpoint!("postgres-txn-conflicts-written");
        let decisions = Staged::decisions(settled, spec)?;
        if decisions.is_empty() {
            return Ok(());
        }
        let size = settled.iter().filter_map(|settled| settled.write.as_ref()).map(|stored| stored.row.size()).sum();
        self.stage(&decisions, size).await?;
        // Settled without having applied anything: the version is still to be drawn.
        let (written, tombstones) =
            futures::join!(self.execute(&sql.settle, true), self.execute(&sql.settle_tombstones, true));
        written?;
        tombstones?;
        failpoint!("postgres-txn-settled");
        Ok(())
    }
}

fn position(row: &SqlRow) -> Option<usize> {
    usize::try_from(row.try_get::<_, i64>(0).ok()?).ok()
}

fn is_upsert(changes: &[Change], row: &SqlRow) -> bool {
    position(row).and_then(|position| changes.get(position)).is_some_and(|change| change.operation != Operation::Delete)
}

impl SinkTxn for PostgresTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        match self.merge(changes).await {
            Ok(applied) => Ok(applied),
            Err(failure) => Err(self.error(failure)),
        }
    }

    async fn resolve(&mut self, settled: Vec<Settled>) -> Result<()> {
        self.settle(&settled).await.map_err(|failure| self.error(failure))
    }

    async fn reject(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        self.letters.extend(letters);
        Ok(())
    }

    async fn commit(mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let closed = close(&self.link, &self.dialect, &self.stream, &self.table.spec, &self.letters, &checkpoint).await;
        match closed {
            Ok(sequence) => {
                failpoint!("postgres-txn-committed");
                self.session = None;
                if let Some(order) = &self.order {
                    order.durable();
                }
                Ok(Committed { sequence })
            }
            Err(error) => Err(self.error(error.into())),
        }
    }
}

impl Drop for PostgresTxn {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let (link, rollback) = (Arc::clone(&self.link), self.dialect.brackets.rollback);
        self.runtime.spawn(async move {
            // Without a connection there is no transaction either.
            let _ = link.batch_execute(rollback).await;
            drop(session);
        });
    }
}
