//! A whole transaction at once: everything is sent before anything is answered.
//!
//! The last statement before the checkpoint fails on purpose when a change found
//! another row in its way; then all of it is undone, and the batch is sent again in a
//! transaction that stays open until somebody has decided.

use std::fmt::Write as _;
use std::pin::pin;
use std::task::Poll;

use aqe_sync_core::{Applied, Committed, Delivery, Operation, StreamId, failpoint};
use futures::poll;
use postgres_types::Type;
use tokio::sync::MutexGuard;
use tokio_postgres::{Error, error::SqlState};
use xxhash_rust::xxh3::xxh3_64;

use super::batch::{Common, Copying, Staged, arrays, copy_new, copy_staged};
use super::bookkeeping::{Param, close, names};
use super::failure::Failure;
use super::lane::Session;
use super::link::Link;
use super::order::{Beside, Needs, Order};
use super::statements::Dialect;
use super::table::{Parameters, Table};
use super::wire::Array;

/// How a delivery went.
pub(super) enum Sent {
    /// It is durable.
    Committed(Applied, Committed),
    /// Nothing of it remains: something is to be decided.
    Undecided,
    /// Nothing of it remains: some of its keys are there already.
    NotNew,
    /// Nothing of it remains: what it was to follow did not get through.
    OutOfTurn,
}

/// Which way a delivery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As parameters of one statement.
    Arrays,
    /// Copied into the table: none of its keys is expected to be there.
    Directly,
    /// Copied into a staging table and merged from there.
    Staged,
}

impl Way {
    pub(super) fn needs(self, order: &Order) -> Needs {
        match self {
            Self::Arrays if order.in_line_behind().is_some() => Needs::Underway,
            Self::Arrays => Needs::Durable,
            Self::Directly => Needs::Version,
            Self::Staged => Needs::Underway,
        }
    }
}

/// One delivery with what it needs.
pub(super) struct Push<'a> {
    pub(super) dialect: &'a Dialect,
    pub(super) stream: &'a StreamId,
    pub(super) table: &'a Table,
    pub(super) delivery: &'a Delivery,
    pub(super) way: Way,
    pub(super) beside: Beside,
    pub(super) order: &'a Order,
}

/// What a batch consists of.
struct Kinds {
    based: bool,
    deletes: bool,
    upserts: u64,
}

/// What so many upserts did, of which none needs a decision any more.
pub(super) fn counted(upserts: u64, inserted: u64, updated: u64, deleted: u64) -> Applied {
    let unchanged = upserts.saturating_sub(inserted + updated);
    Applied { inserted, updated, unchanged, deleted, ..Applied::default() }
}

impl Push<'_> {
    /// Sends it; `session` is given back as soon as everything is on its way.
    pub(super) async fn send(&self, session: MutexGuard<'_, Session>, link: &Link) -> Result<Sent, Failure> {
        failpoint!("postgres-send-before");
        if self.delivery.changes.is_empty() {
            let opening = self.opening_in_line();
            let sending = async {
                let (begun, closed) = futures::join!(link.batch_execute(&opening), self.close(link));
                if is_undecided(&begun) {
                    return Ok(Sent::OutOfTurn);
                }
                begun?;
                Ok(Sent::Committed(Applied::default(), Committed { sequence: closed? }))
            };
            return self.whole(session, link, sending).await;
        }
        match self.way {
            Way::Arrays => {
                let arrays = arrays(&Staged::changes(&self.delivery.changes), &self.table.spec, &self.dialect.vectors)?;
                self.whole(session, link, self.merge_arrays(link, &arrays)).await
            }
            Way::Directly => self.copy_directly(link, session).await,
            Way::Staged => self.copy_and_merge(link, session).await,
        }
    }

    /// Without a staging table: to make one takes longer than to merge a small batch.
    async fn merge_arrays(&self, link: &Link, arrays: &[(Array, Type)]) -> Result<Sent, Failure> {
        let Kinds { based, deletes, upserts } = self.kinds();
        let sql = self.table.sql.merge_arrays(based, deletes);
        let common = Parameters::new(self.stream, self.table, self.delivery.checkpoint.at);
        let common = common.list();
        let mut parameters: Vec<Param<'_>> = common.to_vec();
        parameters.extend(arrays.iter().map(|(array, kind)| (array as _, kind.clone())));
        let opening = self.opening_in_line();
        let (begun, bumped, merged, closed) = futures::join!(
            link.batch_execute(&opening),
            link.execute_typed(&self.table.sql.bump, &common),
            link.query_typed_one(&sql, &parameters),
            self.close(link),
        );
        if is_undecided(&begun) {
            return Ok(Sent::OutOfTurn);
        }
        begun?;
        bumped?;
        if is_undecided(&merged) {
            return Ok(Sent::Undecided);
        }
        let row = merged?;
        let count = |index| row.try_get::<_, i64>(index).map(i64::unsigned_abs);
        let (updated, deleted, inserted) = (count(0)?, count(1)?, count(2)?);
        let applied = counted(upserts, inserted, updated, deleted);
        Ok(Sent::Committed(applied, Committed { sequence: closed? }))
    }

    /// From the staging table.
    async fn merge_staged(&self, link: &Link) -> Result<Sent, Failure> {
        let sql = &self.table.sql;
        let Kinds { based, deletes, upserts } = self.kinds();
        let parameters = Parameters::new(self.stream, self.table, self.delivery.checkpoint.at);
        let parameters = parameters.list();
        let run = |sql, wanted: bool| {
            let parameters = parameters.as_slice();
            async move { if wanted { link.execute_typed(sql, parameters).await } else { Ok(0) } }
        };
        let (bumped, updated, deleted, inserted, guarded, closed) = futures::join!(
            run(&sql.bump, true),
            run(&sql.update, based),
            run(&sql.tombstone, deletes),
            run(&sql.insert, upserts > 0),
            link.query_typed(&sql.guard, &parameters[..3]),
            self.close(link),
        );
        bumped?;
        let (updated, deleted, inserted) = (updated?, deleted?, inserted?);
        if is_undecided(&guarded) {
            return Ok(Sent::Undecided);
        }
        guarded?;
        let sequence = closed?;
        let applied = counted(upserts, inserted, updated, deleted);
        Ok(Sent::Committed(applied, Committed { sequence }))
    }

    fn kinds(&self) -> Kinds {
        let changes = &self.delivery.changes;
        let upserts = changes.iter().filter(|change| change.operation != Operation::Delete).count();
        let based = changes.iter().any(|change| change.base.is_some());
        Kinds { based, deletes: upserts < changes.len(), upserts: upserts as u64 }
    }

    async fn copy_and_merge(&self, link: &Link, mut session: MutexGuard<'_, Session>) -> Result<Sent, Failure> {
        let statement = session.copy(link, &self.table.sql.stage_copy).await?;
        let opening = self.bulk_opening(&self.table.begin);
        failpoint!("postgres-stage-before");
        let (begun, copying) = futures::join!(link.batch_execute(&opening), link.copy_in(&statement));
        let started = begun.and(copying);
        let fed = match started {
            Ok(copying) => {
                failpoint!("postgres-stage-begun");
                let mut copying = Box::pin(copying);
                let staged = Staged::changes(&self.delivery.changes);
                let fed = copy_staged(&mut copying, &staged, &self.table.spec, &self.dialect.vectors).await;
                fed.map(|()| copying)
            }
            Err(error) => Err(error.into()),
        };
        let mut copying = self.undone_if_failed(link, fed).await?;
        failpoint!("postgres-stage-fed");
        if !self.order.is_next().await {
            drop(copying);
            return self.give_way(link).await;
        }
        let sending = async {
            let (copied, merged) = futures::join!(copying.as_mut().finish(), self.merge_staged(link));
            copied?;
            merged
        };
        self.whole(session, link, sending).await
    }

    async fn copy_directly(&self, link: &Link, mut session: MutexGuard<'_, Session>) -> Result<Sent, Failure> {
        let statement = session.copy(link, &self.table.sql.direct_copy).await?;
        let opening = self.bulk_opening(self.dialect.brackets.begin);
        failpoint!("postgres-copy-before");
        let parameters = Parameters::new(self.stream, self.table, self.delivery.checkpoint.at);
        let parameters = parameters.list();
        let drawn = async {
            match self.beside {
                // Who comes first draws a version now, and whoever travels beside draws
                // when it is next: versions become visible in their order.
                Beside::Another(Some(before)) => Ok(before + 1),
                _ => link.query_typed_one(&self.table.sql.bump, &parameters).await.and_then(|row| row.try_get(0)),
            }
        };
        let (begun, drawn, copying) = futures::join!(link.batch_execute(&opening), drawn, link.copy_in(&statement));
        let started = begun.and(drawn).and_then(|version| Ok((version, copying?)));
        let fed = match started {
            Ok((version, copying)) => {
                failpoint!("postgres-copy-begun");
                self.order.underway(Some(version));
                let mut copying = Box::pin(copying);
                let common = Common { stream: self.stream, version, now: self.delivery.checkpoint.at };
                let changes = &self.delivery.changes;
                let fed = copy_new(&mut copying, changes, &self.table.spec, &self.dialect.vectors, &common).await;
                fed.map(|()| (version, copying))
            }
            Err(error) => Err(error.into()),
        };
        let (version, copying) = self.undone_if_failed(link, fed).await?;
        failpoint!("postgres-copy-fed");
        match self.beside {
            Beside::Nothing => self.whole(session, link, self.end_copy(link, copying)).await,
            Beside::Another(_) => self.end_copy_in_turn(link, session, copying, version).await,
        }
    }

    async fn end_copy(&self, link: &Link, mut copying: Copying) -> Result<Sent, Failure> {
        let (copied, closed) = futures::join!(copying.as_mut().finish(), self.close(link));
        self.copied(copied, closed)
    }

    /// Draws the version that the rows were given, once everything before them is durable.
    async fn end_copy_in_turn(
        &self,
        link: &Link,
        session: MutexGuard<'_, Session>,
        mut copying: Copying,
        version: i64,
    ) -> Result<Sent, Failure> {
        let (copied, is_next) = futures::join!(copying.as_mut().finish(), self.order.is_next());
        failpoint!("postgres-copy-ended");
        if copied.is_err() || !is_next {
            let gave_way = self.give_way(link).await;
            return copied.map_or_else(|error| self.copied(Err(error), Ok(0)), |_| gave_way);
        }
        let parameters = Parameters::new(self.stream, self.table, self.delivery.checkpoint.at);
        let mut parameters: Vec<Param<'_>> = parameters.list().to_vec();
        parameters.push((&version, Type::INT8));
        let sending = async {
            let (drawn, closed) =
                futures::join!(link.query_typed_one(&self.table.sql.bump_to, &parameters), self.close(link));
            if is_undecided(&drawn) {
                return Ok(Sent::OutOfTurn);
            }
            drawn?;
            self.copied(copied, closed)
        };
        self.whole(session, link, sending).await
    }

    fn copied(&self, copied: Result<u64, Error>, closed: Result<u64, Error>) -> Result<Sent, Failure> {
        match copied {
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => return Ok(Sent::NotNew),
            copied => copied?,
        };
        let inserted = self.delivery.changes.len() as u64;
        Ok(Sent::Committed(Applied { inserted, ..Applied::default() }, Committed { sequence: closed? }))
    }

    async fn give_way(&self, link: &Link) -> Result<Sent, Failure> {
        link.batch_execute(self.dialect.brackets.rollback).await?;
        Ok(Sent::OutOfTurn)
    }

    async fn close(&self, link: &Link) -> Result<u64, Error> {
        let Delivery { letters, checkpoint, .. } = self.delivery;
        close(link, self.dialect, self.stream, &self.table.spec, letters, checkpoint).await
    }

    /// Begins a transaction that may be sent before the one before it is answered: it
    /// fails with a division by zero unless that was committed on the same connection.
    /// A setting that is made in a transaction is undone with it, so it tells.
    fn opening_in_line(&self) -> String {
        let mut opening = self.bulk_opening(self.dialect.brackets.begin);
        let (environment, source, from) = names(self.stream);
        // A setting's name has to be an identifier.
        let stream = xxh3_64([environment, source, from].join("\u{1f}").as_bytes());
        let setting = format!("aqe_sync.stream_{stream:016x}");
        if let (Some(before), Beside::Another(_)) = (self.order.in_line_behind(), self.beside) {
            let is_there = format!("pg_catalog.current_setting('{setting}', true) = '{before}'");
            let _ = write!(opening, "; SELECT 1 / CASE WHEN {is_there} THEN 1 ELSE 0 END");
        }
        let number = self.order.number();
        let _ = write!(opening, "; SELECT pg_catalog.set_config('{setting}', '{number}', false)");
        opening
    }

    /// In the middle of a stream nobody has to wait for the disk: the commit that ends
    /// the stream makes all before it durable. A server that crashes in between is behind
    /// the ledger's sequence, and is asked for all that it has.
    fn bulk_opening(&self, begin: &str) -> String {
        if self.delivery.checkpoint.complete {
            begin.to_owned()
        } else {
            format!("{begin}; SET LOCAL synchronous_commit = off")
        }
    }

    /// Ends a transaction that broke off before its end was sent. A `COPY` that was
    /// dropped unfinished counts as failed.
    async fn undone_if_failed<T>(&self, link: &Link, outcome: Result<T, Failure>) -> Result<T, Failure> {
        if outcome.is_err() {
            // Without a connection there is no transaction either.
            let _ = link.batch_execute(self.dialect.brackets.rollback).await;
        }
        outcome
    }

    /// Everything is on its way after the first poll: then others may use the connection.
    async fn whole(
        &self,
        session: MutexGuard<'_, Session>,
        link: &Link,
        sending: impl Future<Output = Result<Sent, Failure>>,
    ) -> Result<Sent, Failure> {
        let mut sending = pin!(sending);
        if let Poll::Ready(result) = poll!(sending.as_mut()) {
            return result;
        }
        if self.dialect.brackets.undoes_itself {
            drop(session);
            let sent = sending.await;
            failpoint!("postgres-answered");
            return sent;
        }
        let sent = sending.await;
        if !matches!(sent, Ok(Sent::Committed(..))) {
            link.batch_execute(self.dialect.brackets.rollback).await?;
        }
        sent
    }
}

/// Fills the staging table from arrays.
pub(super) async fn fill(link: &Link, sql: &str, arrays: &[(Array, Type)]) -> Result<u64, Error> {
    let parameters: Vec<Param<'_>> = arrays.iter().map(|(array, kind)| (array as _, kind.clone())).collect();
    link.execute_typed(sql, &parameters).await
}

fn is_undecided<T>(guarded: &Result<T, Error>) -> bool {
    guarded.as_ref().is_err_and(|error| error.code() == Some(&SqlState::DIVISION_BY_ZERO))
}
