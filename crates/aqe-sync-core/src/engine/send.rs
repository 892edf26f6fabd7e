//! One delivery: push it, settle what is contested, give back what to remember.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::lanes::Place;
use super::outbox::Outbox;
use super::tally::Tally;
use super::{Run, Sink};
use crate::failpoint;
use crate::hash::KeyHash;
use crate::ledger::{Intent, LedgerEntry};
use crate::meet::{Contested, Effect, Ranking, Settled, settle};
use crate::record::{Change, DeadLetter, Operation};
use crate::report::{Counters, Mode};
use crate::rowjson::row_to_json;
use crate::sink::{Applied, Delivery, Pushed, SinkTxn as _};
use crate::{Contributor, Error, ErrorKind, Json, Result, Retry, StreamId, TableSpec};

/// A delivery that knows all that sending it needs; the stream is read on meanwhile.
pub(super) struct Shipment<'r, S> {
    pub(super) run: &'r Run<'r, S>,
    pub(super) id: StreamId,
    pub(super) table: Arc<TableSpec>,
    pub(super) place: Arc<Place<'r>>,
    pub(super) outbox: Outbox,
    /// Whether the stream was read to its end.
    pub(super) complete: bool,
    /// What is written down before it is sent.
    pub(super) intent: Intent,
    /// Whether a delivery of the stream failed.
    pub(super) broken: Arc<AtomicBool>,
}

/// What a delivery did. All of it is durable.
#[derive(Default)]
pub(super) struct Sent {
    /// What the ledger has to remember.
    pub(super) entries: Vec<LedgerEntry>,
    pub(super) counters: Counters,
    /// How many dead letters the sink took.
    pub(super) letters: u64,
    /// How many conflicts each rule decided.
    pub(super) rules: BTreeMap<String, u64>,
    /// How many records other streams have as well.
    pub(super) overlaps: BTreeMap<Contributor, u64>,
    /// Whether appending left something for a later run to do.
    pub(super) held_back: bool,
    pub(super) sequence: u64,
    /// Keys of records that the sink could not store, with the reasons.
    pub(super) refused: Vec<(String, String)>,
}

impl<S: Sink> Shipment<'_, S> {
    /// Waits for a lane and sends.
    pub(super) async fn send(self) -> Result<Sent> {
        let Self { run, id, table, place, outbox, complete, intent, broken } = self;
        let waiting = outbox.weight();
        let mut sent = Sent::default();
        let Outbox { changes, letters, refreshed, .. } = outbox;
        sent.entries = refreshed;
        let refreshed = sent.entries.len();
        let mut decided = HashSet::new();
        let mut ours = Vec::with_capacity(changes.len());
        for pending in changes {
            let content = match &pending.change.operation {
                Operation::Upsert(row) => Some(row.hash),
                Operation::Delete => None,
            };
            sent.entries.push(LedgerEntry { key: pending.key, local: pending.local, content });
            if pending.decided_before {
                decided.insert(pending.key);
            }
            ours.push(pending.change);
        }
        let lane = place.lane(waiting).await;
        // The last delivery of a stream was its only holder: the next one may start now.
        drop(place);
        // The sink knows of what it was given only: who waited here meanwhile is to follow
        // nothing that failed, least of all with the checkpoint that says that all is there.
        if broken.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "the batch before this one was not written").retry(Retry::Exhausted));
        }
        let delivery = Delivery { changes: ours, letters, checkpoint: run.checkpoint(complete) };
        let terms = Terms { run, id: &id, table: &table, decided: &decided, refreshed, intent: &intent };
        let pushed = sent.push(terms, delivery).await;
        if pushed.is_err() {
            // Before the lane is free for the next one.
            broken.store(true, Ordering::Relaxed);
        }
        drop(lane);
        pushed.map(|()| sent)
    }
}

/// What a delivery is sent on.
struct Terms<'s, 'r, S> {
    run: &'s Run<'r, S>,
    id: &'s StreamId,
    table: &'s Arc<TableSpec>,
    /// See [`super::baseline::Base`].
    decided: &'s HashSet<KeyHash>,
    /// So many entries, the first ones, are none of the sink's concern.
    refreshed: usize,
    intent: &'s Intent,
}

impl Sent {
    async fn push<S: Sink>(&mut self, terms: Terms<'_, '_, S>, delivery: Delivery) -> Result<()> {
        let Terms { run, id, table, decided, refreshed, intent } = terms;
        run.ledger.intend(id, intent, &self.entries[refreshed..])?;
        failpoint!("engine-push-before");
        let given = Tally::of(&delivery.changes, delivery.letters.len());
        self.letters = given.letters;
        let committed = match run.sink.push(id, table, delivery).await? {
            Pushed::Committed(applied, committed) => {
                given.check_settled(&applied).and_then(|()| given.check(&applied, std::iter::empty()))?;
                self.count_applied(&applied);
                committed
            }
            Pushed::Contested { mut txn, applied, mut letters, checkpoint } => {
                failpoint!("engine-contested");
                // Before the commit: what does not add up is rolled back.
                let sent = self.entries.iter().skip(refreshed);
                given.check(&applied, sent.map(|entry| (entry.key, entry.content.is_some())))?;
                given.check_letters(letters.len())?;
                self.count_applied(&applied);
                let keys = |change: &Change| change.key.hash();
                let mut corrected: HashSet<KeyHash> = applied.refused.iter().map(|(change, _)| keys(change)).collect();
                corrected.extend(applied.contested.iter().map(|contested| keys(&contested.change)));
                letters.extend(self.refuse(table, applied.refused));
                let settled = self.settle(run, id, table, applied.contested, decided);
                // What was decided may be neither side's content.
                let entries = self.entries[refreshed..].iter().filter(|entry| corrected.contains(&entry.key));
                run.ledger.intend(id, intent, &entries.copied().collect::<Vec<_>>())?;
                if !settled.is_empty() {
                    txn.resolve(settled).await?;
                    failpoint!("engine-resolved");
                }
                self.letters = letters.len() as u64;
                if !letters.is_empty() {
                    txn.reject(letters).await?;
                    failpoint!("engine-rejected");
                }
                txn.commit(checkpoint).await?
            }
        };
        failpoint!("engine-acknowledged");
        self.sequence = committed.sequence;
        Ok(())
    }

    /// Makes dead letters of what the sink cannot store. The ledger goes on knowing
    /// what the hub has, so that the next run tries again.
    fn refuse(&mut self, table: &TableSpec, refused: Vec<(Change, String)>) -> Vec<DeadLetter> {
        let mut letters = Vec::with_capacity(refused.len());
        for (change, reason) in refused {
            let key = change.key.hash();
            for entry in self.entries.iter_mut().filter(|entry| entry.key == key) {
                *entry = LedgerEntry { key, local: None, content: change.base };
            }
            if let Operation::Upsert(row) = &change.operation {
                let record = Json::from_text(row_to_json(table, row));
                letters.push(DeadLetter { key: change.key.to_string(), reason, record });
            }
        }
        self.counters.dead_lettered += letters.len() as u64;
        self.refused.extend(letters.iter().map(|letter| (letter.key.clone(), letter.reason.clone())));
        letters
    }

    fn settle<S: Sink>(
        &mut self,
        run: &Run<'_, S>,
        id: &StreamId,
        table: &TableSpec,
        contested: Vec<Contested>,
        decided: &HashSet<KeyHash>,
    ) -> Vec<Settled> {
        let writer = id.contributor();
        let priority_of = |contributor: &Contributor| run.priority_of(contributor);
        let ranking = Ranking { writer: writer.clone(), priority_of: &priority_of };
        let policy = run.policy(table);
        let position: HashMap<KeyHash, usize> = self.entries.iter().map(|entry| entry.key).zip(0..).collect();
        let mut all = Vec::with_capacity(contested.len());
        for contested in contested {
            let key = contested.change.key.hash();
            if matches!(contested.change.operation, Operation::Upsert(_)) && contested.existing.contributor != writer {
                *self.overlaps.entry(contested.existing.contributor.clone()).or_default() += 1;
            }
            let mut settled = if run.options.mode == Mode::Append && !contested.existing.deleted {
                self.held_back = true;
                untouched(contested.change)
            } else {
                settle(table, policy, &ranking, contested)
            };
            if settled.effect == Effect::Superseded && decided.contains(&key) {
                // Both images are in the log since the first time.
                settled.conflict = None;
            }
            self.count(&settled);
            if let Some(position) = position.get(&key) {
                self.entries[*position].content = settled.base_from_now;
            }
            all.push(settled);
        }
        all
    }

    fn count_applied(&mut self, applied: &Applied) {
        self.counters.inserted += applied.inserted;
        self.counters.updated += applied.updated;
        self.counters.unchanged += applied.unchanged;
        self.counters.deleted += applied.deleted;
    }

    fn count(&mut self, settled: &Settled) {
        let counters = &mut self.counters;
        match settled.effect {
            Effect::Inserted => counters.inserted += 1,
            Effect::Updated => counters.updated += 1,
            Effect::Unchanged => counters.unchanged += 1,
            Effect::Merged => counters.merged += 1,
            Effect::Superseded => counters.superseded += 1,
            Effect::Deleted => counters.deleted += 1,
            Effect::Kept => {}
        }
        if let Some(log) = &settled.conflict {
            counters.conflicts += 1;
            *self.rules.entry(log.rule.to_string()).or_default() += 1;
        }
    }
}

/// Appending leaves every key that exists as it is, for a later run to settle.
fn untouched(change: Change) -> Settled {
    Settled { key: change.key, write: None, effect: Effect::Superseded, conflict: None, base_from_now: None }
}
