//! The end of a stream: delete what is gone, wait for what is on its way, close the account.

use std::collections::HashMap;
use std::future::Future;

use futures::StreamExt as _;

use super::baseline::Baseline;
use super::outbox::Pending;
use super::stream::StreamRun;
use super::{Run, Sink, millis};
use crate::event::Event;
use crate::hash::KeyHash;
use crate::ledger::LedgerEntry;
use crate::plan::check_mass_delete;
use crate::record::{Change, Operation};
use crate::report::{Mode, Status, StreamReport};
use crate::schema::Deletes;
use crate::sink::KnownRow;
use crate::{ContentHash, Error, Result};

/// Known keys that are to be deleted, with what their deletion is based on.
type Gone = HashMap<KeyHash, Option<ContentHash>>;

/// What remains of a stream when it is done.
pub(super) struct Closed {
    pub(super) report: StreamReport,
    pub(super) notes: Vec<String>,
    pub(super) sink_error: Option<String>,
    pub(super) held_back: bool,
    pub(super) sequence: u64,
}

impl Closed {
    /// A stream that was not even begun.
    pub(super) fn of(report: StreamReport) -> Self {
        Self { report, notes: Vec::new(), sink_error: None, held_back: false, sequence: 0 }
    }
}

impl<'r> StreamRun<'r> {
    /// Reads no more: what is left to do needs the source no longer.
    pub(super) fn finish<S: Sink>(mut self, run: &'r Run<'r, S>) -> impl Future<Output = Closed> + Send + 'r {
        let gone = if self.failed() { Ok(Gone::new()) } else { self.gone(run) };
        // Large, and of no use from here on.
        self.baseline = Baseline::empty();
        let waiting = self.outbox.weight();
        if let Some(place) = &self.place {
            place.load(waiting);
        }
        async move {
            self.arrivals(run, run.abreast - 1).await;
            if let Some(place) = &self.place {
                place.unload(waiting);
            }
            if !self.failed() {
                self.send_rest(run, gone).await;
            }
            self.arrivals(run, 0).await;
            self.close(run)
        }
    }

    /// Reads no more, before the end, for a reason: nothing counts as gone.
    pub(super) async fn abandon<S: Sink>(mut self, run: &'r Run<'r, S>, reason: String) -> Closed {
        self.baseline = Baseline::empty();
        self.arrivals(run, 0).await;
        self.report.status = Status::Failed;
        self.report.error.get_or_insert(reason);
        self.close(run)
    }

    async fn send_rest<S: Sink>(&mut self, run: &'r Run<'r, S>, gone: Result<Gone>) {
        let gone = match gone {
            Ok(gone) => gone,
            Err(error) => {
                // What was read is good, whatever stands in the way of the deletes.
                self.send_and_wait(run, false).await;
                return self.report.fail(&error);
            }
        };
        if !gone.is_empty() {
            self.arrivals(run, 0).await;
            if self.failed() {
                return;
            }
            if let Err(error) = self.delete(run, gone).await {
                return self.fail_sink(&error);
            }
        }
        if !self.failed() {
            self.send_and_wait(run, true).await;
        }
    }

    fn gone<S: Sink>(&mut self, run: &Run<'_, S>) -> Result<Gone> {
        let missing = self.baseline.diff.missing();
        let deletes = run.options.deletes.get(self.spec.table.name().as_str()).copied().unwrap_or(self.spec.deletes);
        // What another installation wrote was never here, as far as anybody knows.
        if missing == 0 || deletes == Deletes::Ignore || self.baseline.foreign {
            return Ok(Gone::new());
        }
        if run.options.mode == Mode::Append {
            self.held_back = true;
            return Ok(Gone::new());
        }
        let doing = format!("reading {}, table {}", self.id.source, self.id.stream);
        if self.nameless {
            self.report.warn(|| {
                format!(
                    "{doing}: {missing} known records were not found, but others could not be told apart; \
                     nothing was deleted, correct those records first"
                )
            });
            return Ok(Gone::new());
        }
        let gone: Gone = self.baseline.gone().collect();
        check_mass_delete(gone.len(), self.baseline.diff.len(), run.options.allow_mass_delete)
            .map_err(|error| error.during(doing))?;
        Ok(gone)
    }

    /// Sends the deletes: the hub knows the keys of which the ledger has only hashes.
    async fn delete<S: Sink>(&mut self, run: &'r Run<'r, S>, mut gone: Gone) -> Result<()> {
        let table = self.spec.table.clone();
        let hashes: Vec<ContentHash> = gone.values().copied().flatten().collect();
        let mut found = run.sink.keys_of(&self.id, &table, hashes);
        while let Some(rows) = found.next().await {
            self.delete_rows(run, &mut gone, rows?).await;
            if gone.is_empty() || self.failed() {
                return Ok(());
            }
        }
        // Rows whose content is not what the ledger says: somebody else's doing.
        let mut known = run.sink.known(&self.id, &table);
        while let Some(rows) = known.next().await {
            self.delete_rows(run, &mut gone, rows?).await;
            if self.failed() {
                return Ok(());
            }
        }
        let forgotten = gone.into_keys().map(|key| LedgerEntry { key, local: None, content: None });
        self.outbox.refreshed.extend(forgotten);
        Ok(())
    }

    async fn delete_rows<S: Sink>(&mut self, run: &'r Run<'r, S>, gone: &mut Gone, rows: Vec<KnownRow>) {
        for row in rows {
            let key = row.key.hash();
            let Some(base) = gone.remove(&key) else {
                continue;
            };
            let change = Change { key: row.key, operation: Operation::Delete, base };
            self.outbox.queue(Pending { change, key, local: None, decided_before: false });
        }
        if self.outbox.is_full(run.options.limits) {
            self.send_and_wait(run, false).await;
        }
    }

    /// Ends the account.
    fn close<S: Sink>(mut self, run: &Run<'_, S>) -> Closed {
        if self.failed() {
            self.forget(self.outbox.tally());
        }
        self.fulfil(run);
        let counted = self.report.counters.dead_lettered;
        if counted != self.letters {
            let given = self.letters;
            self.fail_sink(&Error::internal(format!(
                "{counted} records are counted as dead letters, but the sink was given {given}"
            )));
        }
        self.report.duration_ms = millis(self.begun);
        let (source, stream) = (&self.id.source, &self.id.stream);
        let overlaps = self
            .overlaps
            .iter()
            .map(|(other, count)| format!("{count} records of {source} [{stream}] are also in {other}: counted once"));
        self.notes.extend(overlaps.collect::<Vec<_>>());
        run.observer.on_event(&Event::StreamFinished { report: &self.report });
        Closed {
            report: self.report,
            notes: self.notes,
            sink_error: self.sink_error,
            held_back: self.held_back,
            sequence: self.hub.sequence,
        }
    }
}
