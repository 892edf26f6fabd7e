//! One delivery, in one transaction on the agent's file: each record is looked up, decided
//! and written by itself.

use std::collections::HashSet;

use aqe_sync_core::fleet::{Absorbed, Kept, Pulled, Shown, Step, Written};
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{
    Applied, Change, Environment, Error, ErrorKind, Key, KeyHash, Operation, Result, Retry, Row, TableSpec,
};
use rusqlite::Connection;

use super::format::Formats;
use super::layout::{LocalRow, Place};
use super::state::{Entry, Numbers, Pending, PullState};
use super::write::{Refusal, Writer};
use crate::{SourceFile, sqlite};

/// All that writing a delivery needs.
pub(super) struct Delivery<'a> {
    pub(super) connection: &'a Connection,
    pub(super) file: &'a SourceFile,
    pub(super) environment: &'a Environment,
    pub(super) state: &'a PullState,
    pub(super) formats: &'a mut Formats,
    /// See [`super::work::Work::redact`].
    pub(super) redact: Option<&'a Redact>,
    /// The places for the table of this delivery.
    pub(super) places: Vec<&'a Place>,
    pub(super) numbers: &'a Numbers,
    /// See [`super::work::Work::later`].
    pub(super) later: &'a HashSet<(String, KeyHash)>,
    pub(super) pending: Vec<Pending>,
    /// Rows that were taken out.
    pub(super) retracted: u64,
}

/// What became of a record.
enum Outcome {
    Unchanged,
    Inserted,
    Updated,
    Retracted,
}

impl<'a> Delivery<'a> {
    /// Applies all changes; what the file does not take is refused, each by itself.
    pub(super) fn apply(&mut self, hub: &TableSpec, changes: Vec<Change>) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut waiting = changes;
        loop {
            let before = applied.inserted;
            let mut refused = Vec::new();
            for change in waiting {
                if let Some(reason) = self.change(hub, &change, &mut applied)? {
                    refused.push((change, reason));
                }
            }
            // A record may refer to one that came after it.
            if refused.is_empty() || applied.inserted == before {
                applied.refused = refused;
                return Ok(applied);
            }
            waiting = refused.into_iter().map(|(change, _)| change).collect();
        }
    }

    /// Applies one; says why the file does not take it.
    fn change(&mut self, hub: &TableSpec, change: &Change, applied: &mut Applied) -> Result<Option<String>> {
        let Operation::Upsert(row) = &change.operation else { return Ok(None) };
        match self.one(hub, &change.key, &Pulled::of(self.environment, hub, row)?) {
            Ok(Outcome::Unchanged) => applied.unchanged += 1,
            Ok(Outcome::Inserted) => applied.inserted += 1,
            Ok(Outcome::Updated) => applied.updated += 1,
            Ok(Outcome::Retracted) => {
                // For the account it is a change of the file's row, as any other.
                applied.updated += 1;
                self.retracted += 1;
            }
            Err(Failure::Refused(reason)) => return Ok(Some(reason)),
            Err(Failure::Fatal(error)) => return Err(error),
        }
        Ok(None)
    }

    fn one(&mut self, hub: &TableSpec, key: &Key, pulled: &Pulled) -> Result<Outcome, Failure> {
        let entry = self.state.by_hub_key(&self.file.name, hub.name().as_str(), key, self.numbers.current)?;
        let found = self.find(key, entry.as_ref())?;
        let remembered = entry.as_ref().and_then(|entry| entry.json.as_deref());
        let mut remembered = remembered.map(|json| Absorbed::from_json(hub, json)).transpose()?;
        if let (None, Some((_, local))) = (&remembered, &found)
            && self.later.contains(&(hub.name().to_string(), key.hash()))
        {
            // Older than the notes go back, or than the first pull of the key: what of the row
            // is whose nobody can tell. Others' events must not become one's own.
            let shown = Shown::Written(Box::new(Written::of(hub, &local.row)));
            remembered = Some(Absorbed { own: pulled.restored.clone(), shown });
        }
        let row = found.as_ref().map(|(_, local)| &local.row);
        match Absorbed::step(hub, self.environment, remembered.as_ref(), row, pulled) {
            Step::Leave => Ok(Outcome::Unchanged),
            Step::Write { record, own } => {
                // What the file shows already needs no other entry, unless this environment
                // went on: then the file gets a new number, so that an older one can be told.
                let settled = remembered.as_ref().is_none_or(|absorbed| {
                    let hash = |own: &Option<Row>| own.as_ref().map(|own| own.hash);
                    matches!(absorbed.shown, Shown::Written(_)) && hash(&absorbed.own) == hash(&own)
                });
                self.show(key, found, &record.row, own, entry.as_ref(), settled)
            }
            Step::Clear(remember) => {
                let outcome = match &found {
                    Some((place, local)) => {
                        let place = *place;
                        self.saved(|this| this.writer(place).delete(local))?;
                        Outcome::Retracted
                    }
                    None => Outcome::Unchanged,
                };
                if remember != remembered {
                    let local_key = found.as_ref().map(|(_, local)| local.key.clone());
                    let known = entry.map(|Entry { local, local_key, .. }| (local, local_key));
                    let (local, local_key) = known.unwrap_or_else(|| {
                        let own = local_key.unwrap_or_else(|| key.clone());
                        (own.hash(), Some(own))
                    });
                    self.remember(hub, key, local, local_key, remember.as_ref());
                }
                Ok(outcome)
            }
        }
    }

    /// The local row of a hub key, and the table that it is in.
    fn find(&self, key: &Key, entry: Option<&Entry>) -> Result<Option<(&'a Place, LocalRow)>, Failure> {
        let mut found = None;
        for place in self.places.iter().filter(|place| place.takes(key)) {
            let local_key = entry.and_then(|entry| entry.local_key.as_ref()).filter(|_| place.makes_keys());
            let row = place.find(self.connection, self.file, local_key.unwrap_or(key));
            let Some(row) = row.map_err(|error| self.fatal(error))? else { continue };
            match &found {
                None => found = Some((*place, row)),
                Some((other, _)) => {
                    return Err(Failure::Refused(format!(
                        "the file has it twice, in {} and in {}: take it out of one of them",
                        other.table(),
                        place.table()
                    )));
                }
            }
        }
        Ok(found)
    }

    /// Makes the file show a record, and remembers what it shows then.
    fn show(
        &mut self,
        key: &Key,
        found: Option<(&'a Place, LocalRow)>,
        target: &Row,
        own: Option<Row>,
        entry: Option<&Entry>,
        settled: bool,
    ) -> Result<Outcome, Failure> {
        let (place, back, outcome) = if let Some((place, local)) = found {
            let changed = self.saved(|this| {
                if !this.writer(place).update(&local, target)? {
                    return Ok(None);
                }
                place.again(this.connection, this.file, &local)?.ok_or_else(lost_row).map(Some)
            })?;
            match changed {
                None if settled => return Ok(Outcome::Unchanged),
                None => (place, local, Outcome::Unchanged),
                Some(back) => (place, back, Outcome::Updated),
            }
        } else {
            let places = self.places.iter().copied().filter(|place| place.takes(key));
            let fitting = places.filter_map(|place| Some((place.fit(target)?, place)));
            let Some((_, place)) = fitting.max_by_key(|(fit, _)| *fit) else {
                return Err(Failure::Refused("the file has no table that takes it".to_owned()));
            };
            let back = self.saved(|this| {
                this.writer(place).insert(target)?;
                let back = if place.makes_keys() {
                    place.inserted(this.connection, this.file)?
                } else {
                    place.find(this.connection, this.file, key)?
                };
                back.ok_or_else(lost_row)
            })?;
            (place, back, Outcome::Inserted)
        };
        let hub = &place.hub;
        let shown = Absorbed { own, shown: Shown::Written(Box::new(Written::of(hub, &back.row))) };
        let local = back.key.hash();
        if let Some(entry) = entry.filter(|entry| entry.local != local) {
            self.remember(hub, key, entry.local, entry.local_key.clone(), None);
        }
        self.remember(hub, key, local, Some(back.key), Some(&shown));
        Ok(outcome)
    }

    fn remember(
        &mut self,
        hub: &TableSpec,
        key: &Key,
        local: KeyHash,
        local_key: Option<Key>,
        entry: Option<&Absorbed>,
    ) {
        let kept = Kept {
            table: hub.name().to_string(),
            key: key.clone(),
            local,
            generation: self.numbers.next,
            entry: entry.map(|entry| entry.to_json(hub)),
        };
        self.pending.push(Pending { kept, local_key });
    }

    fn writer(&mut self, place: &'a Place) -> Writer<'_> {
        Writer { connection: self.connection, place, formats: self.formats, redact: self.redact }
    }

    /// Undoes what `job` did when the file does not take it.
    fn saved<R>(&mut self, job: impl FnOnce(&mut Self) -> Result<R, Refusal>) -> Result<R, Failure> {
        let run = |connection: &Connection, sql: &str| connection.execute_batch(sql);
        run(self.connection, "SAVEPOINT pulled").map_err(|error| self.fatal(error))?;
        let result = job(self);
        if self.connection.is_autocommit() {
            let error = Error::new(ErrorKind::Refused, "a trigger of the file rolled the whole transaction back");
            return Err(Failure::Fatal(
                error
                    .during(format!("pulling into {}", self.file.name))
                    .advice("nothing of this batch was written; leave the table out with [pull] tables"),
            ));
        }
        let end = if result.is_ok() { "RELEASE pulled" } else { "ROLLBACK TO pulled; RELEASE pulled" };
        let ended = run(self.connection, end);
        match result {
            Ok(result) => ended.map(|()| result).map_err(|error| self.fatal(error)),
            Err(Refusal::Row(reason)) => ended.map_err(|error| self.fatal(error)).and(Err(Failure::Refused(reason))),
            Err(Refusal::Sqlite(error)) if concerns_one_row(&error) => {
                Err(Failure::Refused(format!("the file does not take it: {error}")))
            }
            Err(Refusal::Sqlite(error)) => Err(self.fatal(error)),
        }
    }

    fn fatal(&self, error: rusqlite::Error) -> Failure {
        Failure::Fatal(file_error(self.file, error))
    }
}

/// Why a record was not written.
enum Failure {
    Refused(String),
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

fn lost_row() -> Refusal {
    Refusal::Row(
        "the file gave back another record, or none, after it was written: a trigger changed it, or its key has no \
         place there"
            .to_owned(),
    )
}

/// Whether another row may well be written.
fn concerns_one_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown)
    )
}

/// SQLite's error about an agent's file that is written to, as one of ours.
pub(super) fn file_error(file: &SourceFile, cause: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let (kind, message, advice, retry) = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Locked, "another program has it locked", "pull again when it is done", Retry::Later)
        }
        Some(ErrorCode::DiskFull) => (ErrorKind::Io, "the disk is full", "make room and pull again", Retry::Later),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            ErrorKind::PermissionDenied,
            "the file cannot be written",
            "grant write permission on the file and its folder to the user that runs aqe-sync",
            Retry::Never,
        ),
        _ => return sqlite::sqlite_error(&file.name, cause),
    };
    Error::new(kind, format!("{message} ({cause})"))
        .during(format!("pulling into {}", file.name))
        .advice(format!("{advice}; what was written before stays"))
        .retry(retry)
        .caused_by(cause)
}
