//! What is converted but not yet in the sink, and how it gets there: the deliveries of
//! a stream in their order, as many at once as the sink takes abreast.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::join_all;

use super::jobs::{Job, Jobs};
use super::send::{Sent, Shipment};
use super::stream::StreamRun;
use super::tally::Tally;
use super::{Run, Sink};
use crate::Result;
use crate::failpoint;
use crate::hash::{KeyHash, LocalHash};
use crate::ledger::{Intent, LedgerEntry};
use crate::record::{Change, DeadLetter};
use crate::source::BatchLimits;

/// A change, with what the ledger will remember of it.
pub(super) struct Pending {
    pub(super) change: Change,
    pub(super) key: KeyHash,
    pub(super) local: Option<LocalHash>,
    /// See [`super::baseline::Base`].
    pub(super) decided_before: bool,
}

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) changes: Vec<Pending>,
    pub(super) letters: Vec<DeadLetter>,
    /// Keys whose source changed without their content changing.
    pub(super) refreshed: Vec<LedgerEntry>,
    bytes: usize,
}

/// A delivery that was sent and not heard of again.
pub(super) struct OnWay {
    /// What it carries.
    tally: Tally,
    job: Job<Result<Sent>>,
}

impl Outbox {
    /// So many ledger entries wait at most: a rebuilt ledger refreshes every key.
    const REFRESHED: usize = 65_536;

    pub(super) fn is_full(&self, limits: BatchLimits) -> bool {
        self.changes.len() >= limits.rows.max(1)
            || self.bytes >= limits.bytes.max(1)
            || self.refreshed.len() >= Self::REFRESHED
    }

    pub(super) fn queue(&mut self, pending: Pending) {
        self.bytes += pending.change.size();
        self.changes.push(pending);
    }

    pub(super) fn reject(&mut self, letter: DeadLetter) {
        self.bytes += letter.record.as_str().len();
        self.letters.push(letter);
    }

    /// What there is to send.
    pub(super) fn tally(&self) -> Tally {
        Tally::of(self.changes.iter().map(|pending| &pending.change), self.letters.len())
    }

    /// Bytes in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        self.bytes + self.changes.len() * size_of::<Pending>() + self.refreshed.len() * size_of::<LedgerEntry>()
    }
}

impl<'r> StreamRun<'r> {
    /// Sends the outbox on its way, as soon as the sink takes another delivery of the stream.
    pub(super) async fn send<S: Sink>(&mut self, run: &'r Run<'r, S>, jobs: &Jobs<'r>) {
        self.arrivals(run, run.abreast - 1).await;
        if self.failed() {
            return;
        }
        let tally = self.outbox.tally();
        if let Some(shipment) = self.pack(run, false) {
            self.on_way.push_back(OnWay { tally, job: jobs.start(shipment.send()).await });
        }
        self.look_for_arrivals(run);
    }

    /// Sends the outbox and waits until it has arrived, and all before it. The sink has
    /// to take another delivery of the stream: wait for [`Self::arrivals`] first.
    pub(super) async fn send_and_wait<S: Sink>(&mut self, run: &'r Run<'r, S>, complete: bool) {
        if self.failed() {
            return self.arrivals(run, 0).await;
        }
        let tally = self.outbox.tally();
        let Some(shipment) = self.pack(run, complete) else {
            return self.arrivals(run, 0).await;
        };
        let before = std::mem::take(&mut self.on_way);
        let before = join_all(before.into_iter().map(|OnWay { tally, job }| job.result().map(move |it| (tally, it))));
        let (before, last) = futures::join!(before, shipment.send());
        for (tally, result) in before {
            self.arrived(run, tally, result);
        }
        self.arrived(run, tally, last);
    }

    /// Takes the outbox as a delivery; `None` when there is nothing that the sink has
    /// to know. `complete` says that the stream was read to its end.
    fn pack<S: Sink>(&mut self, run: &'r Run<'r, S>, complete: bool) -> Option<Shipment<'r, S>> {
        let outbox = std::mem::take(&mut self.outbox);
        let open = self.hub.open || !self.on_way.is_empty();
        if outbox.changes.is_empty() && outbox.letters.is_empty() && !(complete && open) {
            self.remember(run, &outbox.refreshed);
            return None;
        }
        // The last delivery gives the place up when it starts.
        let place = if complete { self.place.take() } else { self.place.clone() };
        let place = place.unwrap_or_else(|| Arc::new(run.lanes.stand(self.spec.table.name())));
        place.load(outbox.weight());
        let (id, table) = (self.id.clone(), Arc::clone(&self.spec.table));
        self.hub.commits += 1;
        let intent = self.intent(run, self.hub.commits);
        Some(Shipment { run, id, table, place, outbox, complete, intent, broken: Arc::clone(&self.broken) })
    }

    fn intent<S: Sink>(&self, run: &Run<'_, S>, commits: u64) -> Intent {
        Intent { run_id: run.id.clone(), since: self.hub.since, commits }
    }

    /// Ends what was intended, once nothing is on its way any more.
    pub(super) fn fulfil<S: Sink>(&mut self, run: &Run<'_, S>) {
        let done = if self.hub.interfered {
            // Commits were repeated, or others came between. The ledger stays out of step,
            // but goes on telling what this run did.
            let intent = self.intent(run, self.hub.sequence.saturating_sub(self.hub.since));
            run.ledger.intend(&self.id, &intent, &[])
        } else if self.hub.commits > 0 && !self.failed() {
            run.ledger.fulfilled(&self.id)
        } else {
            Ok(())
        };
        if let Err(error) = done {
            self.fail_sink(&error);
        }
        failpoint!("engine-intent-ended");
    }

    /// Waits until at most so many deliveries are on their way.
    pub(super) async fn arrivals<S: Sink>(&mut self, run: &Run<'_, S>, remaining: usize) {
        while self.on_way.len() > remaining
            && let Some(OnWay { tally, job }) = self.on_way.pop_front()
        {
            let result = job.result().await;
            self.arrived(run, tally, result);
        }
    }

    /// Takes notice of deliveries that have arrived, in their order.
    pub(super) fn look_for_arrivals<S: Sink>(&mut self, run: &Run<'_, S>) {
        while let Some(OnWay { tally, job }) = self.on_way.pop_front() {
            match job.try_result() {
                Ok(result) => self.arrived(run, tally, result),
                Err(job) => return self.on_way.push_front(OnWay { tally, job }),
            }
        }
    }

    fn arrived<S: Sink>(&mut self, run: &Run<'_, S>, tally: Tally, result: Result<Sent>) {
        let sent = match result {
            Ok(sent) => sent,
            Err(error) => {
                self.forget(tally);
                let error = error.context("table", self.spec.table.name());
                return self.fail_sink(&error);
            }
        };
        self.report.counters.add(&sent.counters);
        self.letters += sent.letters;
        for (rule, count) in sent.rules {
            *self.report.rules.entry(rule).or_default() += count;
        }
        for (other, count) in sent.overlaps {
            *self.overlaps.entry(other).or_default() += count;
        }
        for (key, reason) in &sent.refused {
            self.warn_dead(key, reason);
        }
        self.held_back |= sent.held_back;
        // After the last delivery, which closes it, nobody asks.
        self.hub.open = true;
        // What another process committed in between is not in this ledger: it has
        // to stay out of step, so that the next run asks the hub.
        if sent.sequence > self.hub.sequence + 1 {
            self.hub.interfered = true;
            self.held_back = true;
        }
        self.hub.sequence = sent.sequence;
        // All of it is durable; a ledger that misses it is out of step, even if
        // nothing but the checkpoint is new.
        self.append(run, &sent.entries);
    }

    /// Takes out of the account what has no outcome: it was not processed.
    pub(super) fn forget(&mut self, tally: Tally) {
        self.report.counters.read -= tally.upserts + tally.letters;
        self.report.counters.dead_lettered -= tally.letters;
    }

    /// What only the ledger has to know.
    fn remember<S: Sink>(&mut self, run: &Run<'_, S>, entries: &[LedgerEntry]) {
        if !entries.is_empty() {
            self.append(run, entries);
        }
    }

    fn append<S: Sink>(&mut self, run: &Run<'_, S>, entries: &[LedgerEntry]) {
        if self.hub.interfered {
            return;
        }
        if let Err(error) = run.ledger.append(&self.id, self.hub.sequence, entries) {
            self.fail_sink(&error);
        }
        failpoint!("engine-ledger-appended");
    }
}
