//! Several streams of one environment, one row: what the hub stores, from what
//! each of them contributes.
//!
//! The row is always the same function of the contributions, whatever the order
//! in which they arrive, repeat or disappear: contributions are kept beside the
//! row (`merged_from`) and folded anew, the highest priority first. So a second
//! run changes nothing, and when the winner's source deletes its record, the
//! next one takes its place.

use serde::{Deserialize, Serialize};

use crate::conflict::{Conflict, ConflictKind, ConflictPolicy, Resolution, RuleName, Version, decide};
use crate::record::{Change, Key, Operation, Row};
use crate::rowjson::{row_from_json, row_to_json};
use crate::{ContentHash, Contributor, Error, Json, Result, TableSpec};

/// What one stream says about a key that others hold too.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// Which stream.
    pub contributor: Contributor,
    /// Its rank; higher goes first.
    pub priority: i32,
    /// What it says.
    pub row: Row,
}

impl Contribution {
    /// A version that somebody put in force, beside what the streams say: see
    /// [`crate::revert`].
    pub(super) fn pinned(row: Row) -> Self {
        Self { contributor: pin(), priority: i32::MAX, row }
    }

    pub(super) fn is_pin(&self) -> bool {
        self.contributor == pin()
    }
}

/// The stream that stands for a version which somebody put in force.
pub(super) fn pin() -> Contributor {
    Contributor { source: crate::audit::SOURCE.into(), stream: "reverted".into() }
}

/// A row as the sink holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its content.
    pub row: Row,
    /// The stream whose content it is.
    pub contributor: Contributor,
    /// All contributions, when there is more than one stream.
    pub merged_from: Vec<Contribution>,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

/// A change that the sink did not apply by itself, with what is in its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Contested {
    /// The change.
    pub change: Change,
    /// The row as stored, locked until the transaction ends.
    pub existing: Stored,
}

/// How a contested change ended, for the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The key was a tombstone and lives again.
    Inserted,
    /// The row is now what the change says.
    Updated,
    /// The row already says so.
    Unchanged,
    /// The row takes both into account.
    Merged,
    /// The row stays as it was.
    Superseded,
    /// The row is now a tombstone.
    Deleted,
    /// A delete left the row to others.
    Kept,
}

/// Both sides of a conflict and the rule that decided, for `conflict_log`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictRecord {
    /// Which record.
    pub key: Key,
    /// The rule.
    pub rule: RuleName,
    /// The change's side; `None` for a delete.
    pub incoming: Option<Row>,
    /// The stored side.
    pub existing: Row,
    /// Where the stored side came from.
    pub existing_from: Contributor,
}

/// What the sink has to write, and what to count and log.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// Which record.
    pub key: Key,
    /// What to store from now on; `None` leaves all as it is.
    pub write: Option<Stored>,
    /// How it ended.
    pub effect: Effect,
    /// What to log, if two contents really differed.
    pub conflict: Option<ConflictRecord>,
    /// What this stream's next change is based on; `None` when it has no part in the row.
    pub base_from_now: Option<ContentHash>,
}

/// Who writes, and how streams rank.
pub struct Ranking<'a> {
    /// The stream that sends the changes.
    pub writer: Contributor,
    /// The rank of any stream of the environment, as far as it is known.
    pub priority_of: &'a (dyn Fn(&Contributor) -> Option<i32> + Sync),
}

impl Ranking<'_> {
    fn priority(&self, contributor: &Contributor) -> i32 {
        (self.priority_of)(contributor).unwrap_or(0)
    }
}

/// Settles one contested change.
pub fn settle(table: &TableSpec, policy: &dyn ConflictPolicy, ranking: &Ranking<'_>, contested: Contested) -> Settled {
    let Contested { change, existing } = contested;
    let alone = existing.merged_from.is_empty() && existing.contributor == ranking.writer;
    let settle = Settle { table, policy, ranking, key: change.key, existing };
    match (change.operation, alone) {
        (Operation::Upsert(row), true) => settle.diverged(row, change.base),
        (Operation::Upsert(row), false) => settle.meeting(row),
        (Operation::Delete, true) => settle.diverged_delete(),
        (Operation::Delete, false) => settle.withdraw(),
    }
}

struct Settle<'a> {
    table: &'a TableSpec,
    policy: &'a dyn ConflictPolicy,
    ranking: &'a Ranking<'a>,
    key: Key,
    existing: Stored,
}

impl Settle<'_> {
    /// The writer's own row is not the one it last saw.
    fn diverged(self, incoming: Row, base: Option<ContentHash>) -> Settled {
        let hash = incoming.hash;
        if self.existing.deleted {
            return self.replace(incoming, Effect::Inserted, None);
        }
        if hash == self.existing.row.hash {
            return self.leave(Effect::Unchanged, None, Some(hash));
        }
        let priority = self.ranking.priority(&self.ranking.writer);
        let version = |row| Version { row, contributor: &self.ranking.writer, priority };
        let conflict = Conflict {
            table: self.table,
            key: &self.key,
            incoming: version(&incoming),
            existing: version(&self.existing.row),
            kind: ConflictKind::Diverged { base },
        };
        let resolution = decide(self.policy, &conflict);
        let log = |rule| Some(self.log(rule, Some(incoming.clone())));
        match resolution {
            Resolution::Existing(rule) => {
                let (log, base) = (log(rule), self.existing.row.hash);
                self.leave(Effect::Superseded, log, Some(base))
            }
            // The stored row has taken it into account already.
            Resolution::Merged(rule, row) if row.hash == self.existing.row.hash => {
                let log = log(rule);
                self.leave(Effect::Superseded, log, Some(row.hash))
            }
            Resolution::Merged(rule, row) => {
                let log = log(rule);
                self.replace(row, Effect::Merged, log)
            }
            Resolution::Incoming(rule) => {
                let log = log(rule);
                self.replace(incoming, Effect::Updated, log)
            }
            // `decide` leaves nothing open.
            Resolution::Undecided => self.replace(incoming, Effect::Updated, None),
        }
    }

    /// The writer's record is gone, but the row changed since it last saw it:
    /// what it never saw it does not delete.
    fn diverged_delete(self) -> Settled {
        if self.existing.deleted {
            return self.leave(Effect::Kept, None, None);
        }
        let log = Some(self.log("hub_changed_since".into(), None));
        self.leave(Effect::Kept, log, None)
    }

    /// Several streams hold the key.
    fn meeting(self, incoming: Row) -> Settled {
        let mut contributions = self.contributions();
        let seen = contributions.iter().find(|one| one.contributor == self.ranking.writer).map(|one| one.row.hash);
        let pairs = contributions.iter().zip(&self.existing.merged_from);
        let ranks_stand = pairs.into_iter().all(|(now, before)| now.priority == before.priority);
        let base = Some(incoming.hash);
        let mine = Contribution {
            contributor: self.ranking.writer.clone(),
            priority: self.ranking.priority(&self.ranking.writer),
            row: incoming,
        };
        match contributions.iter_mut().find(|other| other.contributor == mine.contributor) {
            // By hash: the sink may have spelled JSON anew.
            Some(known) if known.row.hash == mine.row.hash && ranks_stand => {
                return self.leave(Effect::Unchanged, None, base);
            }
            Some(known) => *known = mine.clone(),
            None => contributions.push(mine.clone()),
        }
        if contributions.len() == 1 {
            return self.replace(mine.row, Effect::Inserted, None);
        }
        let (stored, rule) = match contributions.iter().position(Contribution::is_pin) {
            Some(position) => {
                let pinned = contributions.remove(position);
                self.against_pinned(pinned, contributions, &mine, seen)
            }
            None => self.fold(contributions),
        };
        // With other contributions the row is no tombstone.
        let differs = self.existing.row.hash != mine.row.hash;
        let effect = if stored.row.hash == mine.row.hash {
            if differs { Effect::Updated } else { Effect::Unchanged }
        } else if stored.merged_from.iter().any(|other| other.row.hash == stored.row.hash) {
            Effect::Superseded
        } else {
            Effect::Merged
        };
        let conflict = differs.then(|| self.log(rule, Some(mine.row)));
        Settled { key: self.key, write: Some(stored), effect, conflict, base_from_now: base }
    }

    /// A stream's record changed after somebody put a version in force that it did not
    /// have: as if the hub's row had been changed behind its back.
    fn against_pinned(
        &self,
        mut pinned: Contribution,
        others: Vec<Contribution>,
        mine: &Contribution,
        seen: Option<ContentHash>,
    ) -> (Stored, RuleName) {
        let conflict = Conflict {
            table: self.table,
            key: &self.key,
            incoming: version(mine),
            existing: Version { priority: mine.priority, ..version(&pinned) },
            kind: ConflictKind::Diverged { base: seen },
        };
        let rule = match decide(self.policy, &conflict) {
            Resolution::Incoming(_) | Resolution::Undecided => return self.fold(others),
            Resolution::Existing(rule) => rule,
            Resolution::Merged(rule, row) => {
                pinned.row = row;
                rule
            }
        };
        (self.keep_pinned(pinned, others), rule)
    }

    /// What was put in force stays, unless the streams come to the same by themselves.
    fn keep_pinned(&self, pinned: Contribution, others: Vec<Contribution>) -> Stored {
        let (folded, _) = self.fold(others.clone());
        if folded.row.hash == pinned.row.hash {
            return folded;
        }
        let (row, contributor) = (pinned.row.clone(), folded.contributor);
        let merged_from = others.into_iter().chain([pinned]).collect();
        Stored { row, contributor, merged_from, deleted: false }
    }

    /// The writer's record is gone; others may still hold the key.
    fn withdraw(self) -> Settled {
        let mut contributions = self.contributions();
        let before = contributions.len();
        contributions.retain(|other| other.contributor != self.ranking.writer);
        if contributions.len() == before {
            return self.leave(Effect::Kept, None, None);
        }
        let pinned = contributions.iter().position(Contribution::is_pin).map(|position| contributions.remove(position));
        if contributions.is_empty() {
            let stored = Stored { deleted: true, merged_from: Vec::new(), ..self.existing };
            return Settled {
                key: self.key,
                write: Some(stored),
                effect: Effect::Deleted,
                conflict: None,
                base_from_now: None,
            };
        }
        let stored = match pinned {
            Some(pinned) => self.keep_pinned(pinned, contributions),
            None => self.fold(contributions).0,
        };
        Settled { key: self.key, write: Some(stored), effect: Effect::Kept, conflict: None, base_from_now: None }
    }

    fn contributions(&self) -> Vec<Contribution> {
        if self.existing.deleted {
            return Vec::new();
        }
        if !self.existing.merged_from.is_empty() {
            let mut contributions = self.existing.merged_from.clone();
            for contribution in &mut contributions {
                // Ranks may have been configured anew since.
                let rank = (self.ranking.priority_of)(&contribution.contributor);
                contribution.priority = rank.unwrap_or(contribution.priority);
            }
            return contributions;
        }
        vec![Contribution {
            contributor: self.existing.contributor.clone(),
            priority: self.ranking.priority(&self.existing.contributor),
            row: self.existing.row.clone(),
        }]
    }

    /// Folds contributions into one row, the highest rank first, then by name.
    fn fold(&self, mut contributions: Vec<Contribution>) -> (Stored, RuleName) {
        contributions.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.contributor.cmp(&b.contributor)));
        let mut result = contributions[0].clone();
        let mut decided_by = RuleName::from("only_one");
        for (position, next) in contributions.iter().enumerate().skip(1) {
            // The same memory reachable twice counts once, whatever came in between.
            let again = contributions[..position].iter().any(|earlier| earlier.row.hash == next.row.hash);
            if again || next.row.hash == result.row.hash {
                continue;
            }
            let conflict = Conflict {
                table: self.table,
                key: &self.key,
                incoming: version(next),
                existing: version(&result),
                kind: ConflictKind::Meeting,
            };
            match decide(self.policy, &conflict) {
                Resolution::Incoming(rule) => {
                    result = next.clone();
                    decided_by = rule;
                }
                Resolution::Merged(rule, row) => {
                    result.row = row;
                    decided_by = rule;
                }
                Resolution::Existing(rule) => decided_by = rule,
                Resolution::Undecided => {}
            }
        }
        let merged_from = if contributions.len() > 1 { contributions } else { Vec::new() };
        let stored = Stored { row: result.row, contributor: result.contributor, merged_from, deleted: false };
        (stored, decided_by)
    }

    fn log(&self, rule: RuleName, incoming: Option<Row>) -> ConflictRecord {
        ConflictRecord {
            key: self.key.clone(),
            rule,
            incoming,
            existing: self.existing.row.clone(),
            existing_from: self.existing.contributor.clone(),
        }
    }

    fn leave(self, effect: Effect, conflict: Option<ConflictRecord>, base_from_now: Option<ContentHash>) -> Settled {
        Settled { key: self.key, write: None, effect, conflict, base_from_now }
    }

    /// The row becomes the writer's alone.
    fn replace(self, row: Row, effect: Effect, conflict: Option<ConflictRecord>) -> Settled {
        let base_from_now = Some(row.hash);
        let stored = Stored { row, contributor: self.ranking.writer.clone(), merged_from: Vec::new(), deleted: false };
        Settled { key: self.key, write: Some(stored), effect, conflict, base_from_now }
    }
}

fn version(contribution: &Contribution) -> Version<'_> {
    Version { row: &contribution.row, contributor: &contribution.contributor, priority: contribution.priority }
}

/// One contribution as the `merged_from` column keeps it.
#[derive(Serialize, Deserialize)]
struct ContributionJson {
    source: String,
    stream: String,
    priority: i32,
    hash: String,
    row: Box<serde_json::value::RawValue>,
}

/// Writes the `merged_from` column: a JSON array; `None` for a single stream.
///
/// # Errors
/// Never in practice: rows are always writable as JSON.
pub fn contributions_to_json(table: &TableSpec, contributions: &[Contribution]) -> Result<Option<Json>> {
    if contributions.is_empty() {
        return Ok(None);
    }
    let list = contributions.iter().map(|contribution| {
        let row = serde_json::value::RawValue::from_string(row_to_json(table, &contribution.row))?;
        Ok(ContributionJson {
            source: contribution.contributor.source.to_string(),
            stream: contribution.contributor.stream.to_string(),
            priority: contribution.priority,
            hash: contribution.row.hash.to_string(),
            row,
        })
    });
    let list = list.collect::<Result<Vec<_>, serde_json::Error>>();
    let text = list.and_then(|list| serde_json::to_string(&list));
    text.map(|text| Some(Json::from_text(text)))
        .map_err(|error| Error::internal("a row could not be written as JSON").caused_by(error))
}

/// Reads what [`contributions_to_json`] wrote.
///
/// # Errors
/// When the column was changed by somebody else.
pub fn contributions_from_json(table: &TableSpec, text: &str) -> Result<Vec<Contribution>> {
    let list: Vec<ContributionJson> = serde_json::from_str(text).map_err(|error| {
        Error::new(crate::ErrorKind::Malformed, "the column merged_from does not hold what aqe-sync wrote there")
            .context("table", table.name())
            .advice("run a full sync to write the row anew")
            .caused_by(error)
    })?;
    let list = list.into_iter().map(|contribution| {
        Ok(Contribution {
            contributor: Contributor {
                source: contribution.source.as_str().into(),
                stream: contribution.stream.as_str().into(),
            },
            priority: contribution.priority,
            row: row_from_json(table, contribution.row.get())?,
        })
    });
    list.collect()
}

/// The hash that each contributor's content has in a `merged_from` column.
///
/// # Errors
/// When the column was changed by somebody else.
pub fn contribution_hash(table: &TableSpec, text: &str, contributor: &Contributor) -> Result<Option<ContentHash>> {
    let contributions = contributions_from_json(table, text)?;
    Ok(contributions.into_iter().find(|other| other.contributor == *contributor).map(|other| other.row.hash))
}
