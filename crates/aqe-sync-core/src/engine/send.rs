//! One transaction: apply, settle, commit, remember.

use std::collections::{HashMap, HashSet};

use super::stream::{Outbox, StreamRun};
use super::{Run, Sink};
use crate::hash::KeyHash;
use crate::ledger::LedgerEntry;
use crate::meet::{Contested, Effect, Ranking, Settled, settle};
use crate::record::Operation;
use crate::report::{Counters, Mode};
use crate::sink::{Checkpoint, SinkTxn as _, StreamState};
use crate::{Contributor, Result, Timestamp};

impl StreamRun {
    /// Sends what is waiting. `complete` says that the stream was read to its end.
    pub(super) async fn flush<S: Sink>(&mut self, run: &mut Run<'_, S>, complete: bool) {
        let outbox = std::mem::take(&mut self.outbox);
        let letters = outbox.letters.len() as u64;
        let before = self.sequence;
        let entries = match self.send(run, outbox, complete).await {
            Ok(entries) => entries,
            Err(error) => {
                self.report.counters.dead_lettered -= letters;
                let error = error.context("table", self.spec.table.name());
                return self.fail_sink(&error);
            }
        };
        // What another process committed in between is not in this ledger: it has
        // to stay out of step, so that the next run asks the hub.
        if self.sequence > before + 1 {
            self.interfered = true;
            self.held_back = true;
        }
        if self.interfered {
            return;
        }
        // From here on all of it is durable; a ledger that misses it is out of step,
        // even if nothing but the checkpoint is new.
        if (!entries.is_empty() || self.sequence != before)
            && let Err(error) = run.ledger.append(&self.id, self.sequence, &entries)
        {
            self.fail_sink(&error);
        }
    }

    /// Writes one transaction and gives back what the ledger has to remember.
    async fn send<S: Sink>(
        &mut self,
        run: &mut Run<'_, S>,
        outbox: Outbox,
        complete: bool,
    ) -> Result<Vec<LedgerEntry>> {
        let Outbox { changes, letters, refreshed: mut entries, .. } = outbox;
        let open = run.states.get(&self.id).is_some_and(|state| !state.checkpoint.complete);
        if changes.is_empty() && letters.is_empty() && !(complete && open) {
            return Ok(entries);
        }
        let mut decided = HashSet::new();
        for pending in &changes {
            let content = match &pending.change.operation {
                Operation::Upsert(row) => Some(row.hash),
                Operation::Delete => None,
            };
            entries.push(LedgerEntry { key: pending.key, local: pending.local, content });
            if pending.decided_before {
                decided.insert(pending.key);
            }
        }
        let mut counters = self.report.counters;
        let mut txn = run.sink.begin(&self.id, &self.spec.table).await?;
        let mut contested = Vec::new();
        if !changes.is_empty() {
            let applied = txn.apply(changes.into_iter().map(|pending| pending.change).collect()).await?;
            counters.inserted += applied.inserted;
            counters.updated += applied.updated;
            counters.unchanged += applied.unchanged;
            counters.deleted += applied.deleted;
            contested = applied.contested;
        }
        let settled = self.settle(run, contested, &decided, &mut entries, &mut counters);
        let rules: Vec<String> =
            settled.iter().filter_map(|settled| settled.conflict.as_ref()).map(|log| log.rule.to_string()).collect();
        if !settled.is_empty() {
            txn.resolve(settled).await?;
        }
        if !letters.is_empty() {
            txn.reject(letters).await?;
        }
        let checkpoint = Checkpoint {
            run_id: run.id.clone(),
            at: Timestamp::now(),
            complete,
            instance: run.options.instance.clone(),
        };
        let committed = txn.commit(checkpoint.clone()).await?;
        self.report.counters = counters;
        for rule in rules {
            *self.report.rules.entry(rule).or_default() += 1;
        }
        self.sequence = committed.sequence;
        let table = self.spec.table.name().to_string();
        let state = StreamState { stream: self.id.clone(), sequence: self.sequence, table, checkpoint };
        run.states.insert(self.id.clone(), state);
        Ok(entries)
    }

    fn settle<S: Sink>(
        &mut self,
        run: &Run<'_, S>,
        contested: Vec<Contested>,
        decided: &HashSet<KeyHash>,
        entries: &mut [LedgerEntry],
        counters: &mut Counters,
    ) -> Vec<Settled> {
        if contested.is_empty() {
            return Vec::new();
        }
        let writer = self.id.contributor();
        let priority_of = |contributor: &Contributor| run.priority_of(contributor);
        let ranking = Ranking { writer: writer.clone(), priority_of: &priority_of };
        let policy = run.policy(&self.spec.table);
        let position: HashMap<KeyHash, usize> = entries.iter().map(|entry| entry.key).zip(0..).collect();
        let mut all = Vec::with_capacity(contested.len());
        for contested in contested {
            let key = contested.change.key.hash();
            if matches!(contested.change.operation, Operation::Upsert(_)) && contested.existing.contributor != writer {
                *self.overlaps.entry(contested.existing.contributor.clone()).or_default() += 1;
            }
            let mut settled = if run.options.mode == Mode::Append && !contested.existing.deleted {
                self.held_back = true;
                untouched(contested)
            } else {
                settle(&self.spec.table, policy, &ranking, contested)
            };
            if settled.effect == Effect::Superseded && decided.contains(&key) {
                // Both images are in the log since the first time.
                settled.conflict = None;
            }
            count(&settled, counters);
            if let Some(position) = position.get(&key) {
                entries[*position].content = settled.base_from_now;
            }
            all.push(settled);
        }
        all
    }
}

/// Appending leaves every key that exists as it is, for a later run to settle.
fn untouched(contested: Contested) -> Settled {
    Settled { key: contested.change.key, write: None, effect: Effect::Superseded, conflict: None, base_from_now: None }
}

fn count(settled: &Settled, counters: &mut Counters) {
    match settled.effect {
        Effect::Inserted => counters.inserted += 1,
        Effect::Updated => counters.updated += 1,
        Effect::Unchanged => counters.unchanged += 1,
        Effect::Merged => counters.merged += 1,
        Effect::Superseded => counters.superseded += 1,
        Effect::Deleted => counters.deleted += 1,
        Effect::Kept => {}
    }
    counters.conflicts += u64::from(settled.conflict.is_some());
}
