//! What conflicted, and putting the other version in force.
//!
//! A version that was put in force has to last: the next sync, a full one too, still finds
//! the other version in the local file. So it is kept beside the row as if a stream of its
//! own, [`pin`], held the key: what the file says stays recorded as the file's own
//! contribution, and counts as unchanged. Once the file's record changes, the two meet, and
//! the table's policy decides as it does where the hub's row is not what a change was based
//! on. Where the file says what was put in force, nothing has to be kept beside it.

use std::future::Future;

use super::meet::{ConflictRecord, Contribution, Effect, Settled, Stored, is_pin, pin};
use crate::rowjson::{row_from_json, row_to_json};
use crate::{Contributor, Environment, Error, ErrorKind, Json, Result, Row, TableSpec, Timestamp};

/// Something that conflicted, as a hub's `conflict_log` keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictEntry {
    /// Its number or name in the hub.
    pub id: String,
    /// When it was decided.
    pub at: Timestamp,
    /// Whose row it is.
    pub environment: Environment,
    /// The stream that sent the incoming version.
    pub writer: Contributor,
    /// The hub table.
    pub table: String,
    /// The record's key, for people.
    pub key: String,
    /// The rule that decided; [`REVERTED`] and an id where somebody did.
    pub rule: String,
    /// The version that arrived, as [`crate::rowjson`] writes it; `None` for a delete.
    pub incoming: Option<Json>,
    /// The version that was stored.
    pub existing: Json,
    /// The stream that it came from.
    pub existing_from: Contributor,
    /// The entry that says that this one was reverted, if it was.
    pub reverted_by: Option<String>,
}

/// The rule of entries that say that somebody put the other version in force; the id of the
/// reverted entry follows after a space.
pub const REVERTED: &str = "reverted";

/// Which entries of a conflict log are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflictFilter {
    /// Of this hub table only.
    pub table: Option<String>,
    /// Of this environment only.
    pub environment: Option<Environment>,
    /// Decided at this moment or later.
    pub since: Option<Timestamp>,
    /// So many at most, the newest.
    pub limit: usize,
}

/// One of the two versions of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The version that arrived.
    Incoming,
    /// The version that was stored.
    Existing,
}

/// How a reverting ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Reverted {
    /// What is in force now; `None` when the record is deleted.
    pub in_force: Option<Row>,
    /// Whether that is new: a second time changes nothing.
    pub changed: bool,
}

/// A hub that tells what conflicted, and puts the other version in force.
pub trait ConflictLog: Send + Sync {
    /// Entries of the log, the newest first.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn conflicts(&self, filter: ConflictFilter) -> impl Future<Output = Result<Vec<ConflictEntry>>> + Send;

    /// Puts the version of an entry that is not in force in force, in the environment's own
    /// row, and logs that. With `side` it is that version, whatever is in force.
    ///
    /// # Errors
    /// When there is no such entry, or it is about another environment's row; without
    /// `side` when neither version is in force any more. When the hub cannot be written to.
    fn revert_conflict(
        &self,
        environment: &Environment,
        id: &str,
        side: Option<Side>,
    ) -> impl Future<Output = Result<Reverted>> + Send;
}

/// Whether an environment may revert an entry.
///
/// # Errors
/// When the row is another environment's.
pub fn check_owner(environment: &Environment, entry: &ConflictEntry) -> Result<()> {
    if entry.environment == *environment {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, format!("conflict {} is about a row of {}", entry.id, entry.environment))
        .during("reverting a conflict")
        .advice(format!("revert it there, or with --env {}: an environment writes to its own rows only", entry.environment)))
}

/// An entry that nobody finds.
pub fn no_such_conflict(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the hub has no conflict {id}"))
        .during("reverting a conflict")
        .advice("see aqe-sync conflicts for those that there are")
}

/// What a hub has to write to put a version of an entry in force, from the row as it is
/// stored now, locked; `None` when there is nothing to do.
///
/// # Errors
/// See [`ConflictLog::revert_conflict`].
pub fn revert(
    table: &TableSpec,
    entry: &ConflictEntry,
    now: Option<&Stored>,
    side: Option<Side>,
) -> Result<Option<Settled>> {
    let image = |json: &Json| row_from_json(table, json.as_str());
    let (incoming, existing) = (entry.incoming.as_ref().map(image).transpose()?, image(&entry.existing)?);
    let in_force = now.filter(|now| !now.deleted).map(|now| &now.row);
    let hash = |row: Option<&Row>| row.map(|row| row.hash);
    let side = match side {
        Some(side) => side,
        // Whoever wants to undo a reverting names that entry.
        None if entry.reverted_by.is_some() => return Ok(None),
        None if hash(in_force) == hash(incoming.as_ref()) => Side::Existing,
        None if hash(in_force) == Some(existing.hash) => Side::Incoming,
        None => return Err(changed_since(table, entry, in_force)),
    };
    let (chosen, from) = match side {
        Side::Incoming => (incoming, &entry.writer),
        Side::Existing => (Some(existing.clone()), &entry.existing_from),
    };
    if hash(in_force) == hash(chosen.as_ref()) {
        return Ok(None);
    }
    let streams = streams(entry, side, now, chosen.as_ref());
    let write = match &chosen {
        Some(row) => put(row.clone(), from, streams),
        None => delete(entry, now, &streams)?,
    };
    let log = ConflictRecord {
        key: existing.key(table),
        rule: format!("{REVERTED} {}", entry.id).into(),
        incoming: chosen,
        existing: now.map_or(existing, |now| now.row.clone()),
        existing_from: now.map_or_else(|| entry.existing_from.clone(), |now| now.contributor.clone()),
    };
    let key = log.key.clone();
    Ok(Some(Settled { key, write: Some(write), effect: Effect::Updated, conflict: Some(log), base_from_now: None }))
}

/// What each stream of the environment says of the key.
fn streams(entry: &ConflictEntry, side: Side, now: Option<&Stored>, chosen: Option<&Row>) -> Vec<Contribution> {
    let Some(now) = now.filter(|now| !now.deleted) else { return Vec::new() };
    if now.merged_from.is_empty() {
        // Where a stream's version lost against the row that it had sent itself, the row is
        // not what its file says.
        let lost = side == Side::Incoming && now.contributor == entry.writer;
        let row = chosen.filter(|_| lost).unwrap_or(&now.row).clone();
        return vec![Contribution { contributor: now.contributor.clone(), priority: 0, row }];
    }
    now.merged_from.iter().filter(|one| !is_pin(&one.contributor)).cloned().collect()
}

/// The row, with what the streams say beside it, and the row itself where none of them says so.
fn put(row: Row, from: &Contributor, mut streams: Vec<Contribution>) -> Stored {
    let says_so = streams.iter().find(|one| one.row.hash == row.hash).map(|one| one.contributor.clone());
    let contributor = says_so.clone().or_else(|| streams.first().map(|one| one.contributor.clone()));
    if says_so.is_none() {
        streams.push(Contribution { contributor: pin(), priority: i32::MAX, row: row.clone() });
    } else if streams.len() == 1 {
        streams.clear();
    }
    Stored { row, contributor: contributor.unwrap_or_else(|| from.clone()), merged_from: streams, deleted: false }
}

/// A delete was put off, since the row had changed: now it is done.
fn delete(entry: &ConflictEntry, now: Option<&Stored>, streams: &[Contribution]) -> Result<Stored> {
    let Some(now) = now else { return Err(no_such_conflict(&entry.id)) };
    if let Some(other) = streams.iter().find(|one| one.contributor != entry.writer) {
        let message = format!("{} has the record, too", other.contributor.source);
        return Err(Error::new(ErrorKind::Refused, message)
            .during(format!("reverting conflict {}", entry.id))
            .advice("delete it there, and sync"));
    }
    Ok(Stored { deleted: true, merged_from: Vec::new(), ..now.clone() })
}

fn changed_since(table: &TableSpec, entry: &ConflictEntry, in_force: Option<&Row>) -> Error {
    let now = in_force.map_or_else(|| "it is deleted".to_owned(), |row| format!("it is {}", row_to_json(table, row)));
    Error::new(ErrorKind::Refused, format!("neither version of conflict {} is in force any more: {now}", entry.id))
        .during(format!("reverting a conflict about {} {}", entry.table, entry.key))
        .advice("say which version to put in force all the same, the incoming or the existing one")
}
