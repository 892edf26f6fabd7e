//! A delivery's way into the file, on the thread that has it open.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqe_sync_core::fleet::Kept;
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{
    Applied, Change, Checkpoint, DeadLetter, Environment, Error, KeyHash, Result, StreamId, TableSpec, failpoint,
};
use rusqlite::Connection;

use super::format::Formats;
use super::layout::Place;
use super::notes::Beside;
use super::state::{Numbers, Pending, PullState};
use super::txn::{Delivery, file_error};
use super::{backup, notes, number};
use crate::SourceFile;

/// What lives on the sink's thread.
pub(super) struct Work {
    pub(super) connection: Connection,
    pub(super) file: SourceFile,
    pub(super) environment: Environment,
    pub(super) state: Arc<PullState>,
    pub(super) places: Vec<Place>,
    pub(super) formats: Formats,
    /// What the file has and the hub may have a marker for.
    pub(super) redact: Option<Arc<Redact>>,
    pub(super) backups: PathBuf,
    pub(super) backed_up: bool,
    /// Keys that were written after the file was copied that it was restored from.
    pub(super) later: HashSet<(String, KeyHash)>,
    pub(super) retracted: Arc<AtomicU64>,
    pub(super) open: Option<Open>,
}

/// A delivery under way.
pub(super) struct Open {
    pub(super) stream: StreamId,
    pub(super) hub: Arc<TableSpec>,
    /// Set by the transaction on the file.
    pub(super) numbers: Option<Numbers>,
    pub(super) pending: Vec<Pending>,
    pub(super) wrote: bool,
    pub(super) letters: Vec<DeadLetter>,
    /// The keys of what was written, where there are letters from before.
    pub(super) written: Vec<String>,
}

impl Work {
    /// Applies changes; the first that change anything do so once a backup is made.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let again = if self.backed_up { None } else { Some(changes.clone()) };
        let (applied, retracted) = self.attempt(changes)?;
        let wrote = self.open.as_ref().is_some_and(|open| open.wrote);
        let Some(changes) = again.filter(|_| wrote) else {
            self.retracted.fetch_add(retracted, Ordering::Relaxed);
            return Ok(applied);
        };
        self.roll_back();
        self.back_up()?;
        let (applied, retracted) = self.attempt(changes)?;
        self.retracted.fetch_add(retracted, Ordering::Relaxed);
        Ok(applied)
    }

    fn attempt(&mut self, changes: Vec<Change>) -> Result<(Applied, u64)> {
        let numbers = self.begin()?;
        let Some(open) = self.open.as_mut() else { return Err(over()) };
        let mut delivery = Delivery {
            connection: &self.connection,
            file: &self.file,
            environment: &self.environment,
            state: &self.state,
            formats: &mut self.formats,
            redact: self.redact.as_deref(),
            places: self.places.iter().filter(|place| place.hub.name() == open.hub.name()).collect(),
            numbers: &numbers,
            later: &self.later,
            pending: std::mem::take(&mut open.pending),
            retracted: 0,
        };
        let applied = delivery.apply(&open.hub, changes)?;
        let retracted = delivery.retracted;
        open.pending = delivery.pending;
        open.wrote |= applied.inserted + applied.updated > 0 || !open.pending.is_empty();
        failpoint!("pull-applied");
        Ok((applied, retracted))
    }

    /// Starts the transaction on the file, unless it is open.
    fn begin(&mut self) -> Result<Numbers> {
        let Some(open) = self.open.as_mut() else { return Err(over()) };
        if let Some(numbers) = &open.numbers {
            return Ok(numbers.clone());
        }
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| file_error(&self.file, error))?;
        failpoint!("pull-begun");
        let marked = number::read(&self.connection, &self.file.name)?;
        let numbers = number::check(&self.state, &self.file.name, marked)?;
        open.numbers = Some(numbers.clone());
        Ok(numbers)
    }

    pub(super) fn roll_back(&mut self) {
        // Fails only when SQLite rolled back by itself already.
        let _ = self.connection.execute_batch("ROLLBACK");
        if let Some(open) = self.open.as_mut() {
            (open.numbers, open.wrote) = (None, false);
            open.pending.clear();
        }
    }

    fn back_up(&mut self) -> Result<()> {
        let name = &self.file.name;
        let marked = number::read(&self.connection, name)?;
        let current = number::check(&self.state, name, marked)?.current;
        let path = backup::take(&self.connection, &self.backups, name)?;
        failpoint!("pull-backed-up");
        let left = backup::prune(&self.backups, name);
        self.state.backed_up(name, &path, current, &left)?;
        self.backed_up = true;
        Ok(())
    }

    /// Makes the entries of the delivery durable, for when the file carries their number.
    pub(super) fn prepare(&mut self) -> Result<Option<(Vec<Kept>, i64)>> {
        let Some(open) = self.open.as_mut() else { return Err(over()) };
        let Some(numbers) = open.numbers.as_ref().filter(|_| open.wrote && !self.state.scratch) else {
            return Ok(None);
        };
        let name = &self.file.name;
        let mut pending = std::mem::take(&mut open.pending);
        if notes::has_letters(&self.state, name, open.hub.name().as_str())? {
            open.written = pending.iter().map(|one| one.kept.key.to_string()).collect();
        }
        // Entries beyond what the file carries would hold by mistake once it is further.
        let dropped = self.state.dropped(name, numbers.current)?;
        let known: HashSet<_> = pending.iter().map(|one| (one.kept.table.clone(), one.kept.local)).collect();
        pending.extend(
            dropped.into_iter().filter(|one| !known.contains(&(one.kept.table.clone(), one.kept.local))).map(
                |mut one| {
                    one.kept.generation = numbers.next;
                    one
                },
            ),
        );
        self.state.prepare(name, &pending)?;
        failpoint!("pull-prepared");
        let floor = self.state.floor(name, numbers.current)?;
        Ok(Some((pending.into_iter().map(|one| one.kept).collect(), floor)))
    }

    pub(super) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<u64> {
        let Some(open) = self.open.take() else { return Err(over()) };
        let name = &self.file.name;
        let beside = Beside {
            file: name,
            stream: &open.stream,
            table: open.hub.name().as_str(),
            checkpoint,
            letters: &open.letters,
            written: &open.written,
        };
        let end = |sql: &str| self.connection.execute_batch(sql).map_err(|error| file_error(&self.file, error));
        match open.numbers {
            Some(numbers) if open.wrote && !self.state.scratch => {
                let numbered = number::write(&self.connection, numbers.next);
                numbered.map_err(|error| file_error(&self.file, error)).and_then(|()| end("COMMIT")).inspect_err(
                    |_| {
                        let _ = end("ROLLBACK");
                    },
                )?;
                failpoint!("pull-committed");
                let mut sequence = 0;
                self.state.settle(name, numbers.next, |transaction| {
                    sequence = notes::checkpoint(transaction, &beside)?;
                    Ok(())
                })?;
                failpoint!("pull-settled");
                Ok(sequence)
            }
            begun => {
                if begun.is_some() {
                    end("ROLLBACK")?;
                }
                self.state.write(|transaction| notes::checkpoint(transaction, &beside))
            }
        }
    }
}

pub(super) fn over() -> Error {
    Error::internal("the transaction is over")
}
