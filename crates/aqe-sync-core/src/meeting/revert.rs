//! What conflicted, and putting the other version in force.
//!
//! A version that was put in force has to last: the next sync, a full one too, still finds
//! the other version in the local file. So it is kept beside the row as if a stream of its
//! own held the key: what the file says stays recorded as the file's own contribution, and
//! counts as unchanged. Once the file's record changes, the table's policy decides between
//! the two as it does where the hub's row is not what a change was based on. Where the file
//! itself comes to say what was put in force, or its record is deleted, nothing is kept
//! beside it any more.

use std::future::Future;
use std::sync::Arc;

use super::meet::{ConflictRecord, Contribution, Effect, Settled, Stored};
use crate::rowjson::{row_from_json, row_to_json};
use crate::sink::{Sink, SinkTxn};
use crate::{
    Change, Checkpoint, ContentHash, Contributor, Environment, Error, ErrorKind, Json, Operation, Result, Row,
    StreamId, TableSpec, Timestamp,
};

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
    /// The entry that says that this one was reverted, if it was: the latest.
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

/// A hub that tells what conflicted.
pub trait ConflictLog: Send + Sync {
    /// Entries of the log, the newest first, and how many there are without the limit.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn conflicts(&self, filter: ConflictFilter) -> impl Future<Output = Result<(Vec<ConflictEntry>, u64)>> + Send;

    /// One entry; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn conflict(&self, id: &str) -> impl Future<Output = Result<Option<ConflictEntry>>> + Send;
}

/// Puts the version of an entry that is not in force in force, in the environment's own
/// row, and logs that. With `side` it is that version, whatever is in force.
///
/// # Errors
/// When the entry is about another environment's row; without `side` when neither version
/// is in force any more. When the hub cannot be written to.
pub async fn revert<H: Sink>(
    hub: &H,
    table: &Arc<TableSpec>,
    environment: &Environment,
    entry: &ConflictEntry,
    side: Option<Side>,
) -> Result<Reverted> {
    check_owner(environment, entry)?;
    let stream = StreamId {
        environment: environment.clone(),
        source: entry.writer.source.clone(),
        stream: entry.writer.stream.clone(),
    };
    let state = hub.states(environment).await?.into_iter().find(|state| state.stream == stream);
    let Some(state) = state else {
        return Err(refused(entry, format!("the hub has no stream {} {}", stream.source, stream.stream))
            .advice("sync the file that the version came from first"));
    };
    hub.prepare(table).await?;
    let mut txn = hub.begin(&stream, table).await?;
    let versions = Versions::of(table, entry)?;
    let Some(stored) = versions.locked(&mut txn).await? else {
        return Err(refused(entry, "the hub does not have the record any more".to_owned())
            .advice("a full sync brings back what a file still has"));
    };
    let Some(settled) = versions.settle(&stored, side)? else {
        return Ok(Reverted { in_force: alive(&stored).cloned(), changed: false });
    };
    let in_force = settled.write.as_ref().and_then(alive).cloned();
    txn.resolve(vec![settled]).await?;
    // Nothing was read: the stream has got as far as it had. What the ledger remembers of
    // it is older now than the hub's sequence, and is compared with the hub the next time.
    let checkpoint: Checkpoint = state.checkpoint;
    txn.commit(checkpoint).await?;
    Ok(Reverted { in_force, changed: true })
}

/// Whether an environment may revert an entry.
///
/// # Errors
/// When the row is another environment's.
pub fn check_owner(environment: &Environment, entry: &ConflictEntry) -> Result<()> {
    if entry.environment == *environment {
        return Ok(());
    }
    Err(refused(entry, format!("it is about a row of {}", entry.environment)).advice(format!(
        "revert it there, or with --env {}: an environment writes to its own rows only",
        entry.environment
    )))
}

fn refused(entry: &ConflictEntry, message: String) -> Error {
    Error::new(ErrorKind::Refused, message)
        .during(format!("reverting conflict {} about {} {}", entry.id, entry.table, entry.key))
}

/// The row, unless it is deleted.
fn alive(stored: &Stored) -> Option<&Row> {
    (!stored.deleted).then_some(&stored.row)
}

fn hash(row: Option<&Row>) -> Option<ContentHash> {
    row.map(|row| row.hash)
}

/// An entry whose images are rows again.
struct Versions<'e> {
    table: &'e TableSpec,
    entry: &'e ConflictEntry,
    incoming: Option<Row>,
    existing: Row,
}

impl<'e> Versions<'e> {
    fn of(table: &'e TableSpec, entry: &'e ConflictEntry) -> Result<Self> {
        let image = |json: &Json| row_from_json(table, json.as_str());
        Ok(Self {
            table,
            entry,
            incoming: entry.incoming.as_ref().map(image).transpose()?,
            existing: image(&entry.existing)?,
        })
    }

    /// The row as it is stored, locked: what a sink contests. One of three changes is none
    /// of what is stored.
    async fn locked<T: SinkTxn>(&self, txn: &mut T) -> Result<Option<Stored>> {
        let key = self.existing.key(self.table);
        let versions = [Some(&self.existing), self.incoming.as_ref(), None];
        for version in versions {
            let operation = version.map_or(Operation::Delete, |row| Operation::Upsert(row.clone()));
            let mut applied = txn.apply(vec![Change { key: key.clone(), base: None, operation }]).await?;
            if let Some(contested) = applied.contested.pop() {
                return Ok(Some(contested.existing));
            }
            if applied.inserted > 0 {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// What has to be written; `None` when there is nothing to do.
    fn settle(&self, now: &Stored, side: Option<Side>) -> Result<Option<Settled>> {
        let Self { table, entry, incoming, existing } = self;
        let in_force = alive(now);
        let side = match side {
            Some(side) => side,
            // Whoever wants to undo a reverting names that entry.
            None if entry.reverted_by.is_some() => return Ok(None),
            None if hash(in_force) == hash(incoming.as_ref()) => Side::Existing,
            None if hash(in_force) == Some(existing.hash) => Side::Incoming,
            None => return Err(self.changed_since(in_force)),
        };
        let (chosen, from) = match side {
            Side::Incoming => (incoming.clone(), &entry.writer),
            Side::Existing => (Some(existing.clone()), &entry.existing_from),
        };
        if hash(in_force) == hash(chosen.as_ref()) {
            return Ok(None);
        }
        let write = match &chosen {
            Some(row) => self.put(row.clone(), from, self.streams(side, now)),
            None => self.delete(now)?,
        };
        let log = ConflictRecord {
            key: existing.key(table),
            rule: format!("{REVERTED} {}", entry.id).into(),
            incoming: chosen,
            existing: now.row.clone(),
            existing_from: now.contributor.clone(),
        };
        let key = log.key.clone();
        Ok(Some(Settled { key, write: Some(write), effect: Effect::Updated, conflict: Some(log), base_from_now: None }))
    }

    /// What each stream of the environment says of the key.
    fn streams(&self, side: Side, now: &Stored) -> Vec<Contribution> {
        if now.deleted {
            return Vec::new();
        }
        if !now.merged_from.is_empty() {
            return now.merged_from.iter().filter(|one| !one.is_pin()).cloned().collect();
        }
        // Where a stream's version lost against the row that it had sent itself, the row is
        // not what its file says.
        let lost = side == Side::Incoming && now.contributor == self.entry.writer;
        let row = self.incoming.as_ref().filter(|_| lost).unwrap_or(&now.row).clone();
        vec![Contribution { contributor: now.contributor.clone(), priority: 0, row }]
    }

    /// The row, with what the streams say beside it, and the row itself unless the only
    /// stream says so, or all that is undone is what somebody else had put in force.
    fn put(&self, row: Row, from: &Contributor, mut streams: Vec<Contribution>) -> Stored {
        let says_so = streams.iter().find(|one| one.row.hash == row.hash).map(|one| one.contributor.clone());
        let contributor = says_so.clone().or_else(|| streams.first().map(|one| one.contributor.clone()));
        let undone = self.entry.rule.starts_with(REVERTED);
        match (says_so.is_some(), streams.len()) {
            (true, 1) => streams.clear(),
            (true, _) if undone => {}
            (false, 0) => {}
            _ => streams.push(Contribution::pinned(row.clone())),
        }
        Stored { row, contributor: contributor.unwrap_or_else(|| from.clone()), merged_from: streams, deleted: false }
    }

    /// A delete was put off, since the row had changed: now it is done.
    fn delete(&self, now: &Stored) -> Result<Stored> {
        let others = now.merged_from.iter().filter(|one| !one.is_pin());
        if let Some(other) = others.map(|one| &one.contributor).find(|one| **one != self.entry.writer) {
            return Err(refused(self.entry, format!("{} has the record, too", other.source))
                .advice("delete it there, and sync"));
        }
        Ok(Stored { deleted: true, merged_from: Vec::new(), ..now.clone() })
    }

    fn changed_since(&self, in_force: Option<&Row>) -> Error {
        let now = in_force
            .map_or_else(|| "it is deleted".to_owned(), |row| format!("it is {}", row_to_json(self.table, row)));
        refused(self.entry, format!("neither of its versions is in force any more: {now}"))
            .advice("say which version to put in force all the same, the incoming or the existing one")
    }
}
