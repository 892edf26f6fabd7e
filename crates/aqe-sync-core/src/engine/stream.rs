//! One stream: diff, convert, collect what changed and what is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;

use super::baseline::Baseline;
use super::moved::Moved;
use super::{Run, Sink, millis};
use crate::coerce::Coercer;
use crate::hash::{KeyHash, LocalHash, LocalHasher};
use crate::ledger::LedgerEntry;
use crate::packed::{PackedHasher, PackedRecords};
use crate::plan::{Known, check_mass_delete};
use crate::record::{Change, DeadLetter, Key, Operation, Record};
use crate::report::{Mode, StreamReport, describe};
use crate::schema::{Deletes, Mutability};
use crate::source::{Batch, BatchLimits, StreamSpec};
use crate::transform::apply_all;
use crate::{ContentHash, Contributor, Error, Result, StreamId, StreamName};

/// A change on its way, with what the ledger will remember of it.
pub(super) struct Pending {
    pub(super) change: Change,
    pub(super) key: KeyHash,
    pub(super) local: Option<LocalHash>,
    /// See [`super::baseline::Base`].
    pub(super) decided_before: bool,
}

/// What is converted but not yet in the sink.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) changes: Vec<Pending>,
    pub(super) letters: Vec<DeadLetter>,
    /// Keys whose source changed without their content changing.
    pub(super) refreshed: Vec<LedgerEntry>,
    bytes: usize,
}

impl Outbox {
    /// So many ledger entries wait at most: a rebuilt ledger refreshes every key.
    const REFRESHED: usize = 65_536;

    fn is_full(&self, limits: BatchLimits) -> bool {
        self.changes.len() >= limits.rows.max(1)
            || self.bytes >= limits.bytes.max(1)
            || self.refreshed.len() >= Self::REFRESHED
    }
}

pub(super) struct StreamRun {
    pub(super) id: StreamId,
    pub(super) spec: StreamSpec,
    begun: Instant,
    pub(super) report: StreamReport,
    baseline: Baseline,
    converter: Option<(Coercer, LocalHasher)>,
    packed: Option<PackedHasher>,
    pub(super) outbox: Outbox,
    /// Whether a record came whose key cannot be told: it may be any of the
    /// missing ones.
    nameless: bool,
    /// Whether appending left something for a later run to do.
    pub(super) held_back: bool,
    /// Whether another process wrote to this stream meanwhile.
    pub(super) interfered: bool,
    notes: Vec<String>,
    pub(super) overlaps: BTreeMap<Contributor, u64>,
    sink_error: Option<String>,
    pub(super) sequence: u64,
}

/// What remains of a stream when it is done.
pub(super) struct Closed {
    pub(super) report: StreamReport,
    pub(super) notes: Vec<String>,
    pub(super) sink_error: Option<String>,
    pub(super) held_back: bool,
}

impl StreamRun {
    /// Loads what is known of the stream. A failure stops the stream only.
    pub(super) async fn begin<S: Sink>(run: &Run<'_, S>, id: StreamId, spec: StreamSpec, moved: Result<Moved>) -> Self {
        let report = StreamReport::new(id.source.clone(), id.stream.clone(), spec.table.name().as_str());
        let mut this = Self {
            begun: Instant::now(),
            report,
            baseline: Baseline::empty(),
            converter: None,
            packed: None,
            outbox: Outbox::default(),
            nameless: false,
            held_back: false,
            interfered: false,
            notes: Vec::new(),
            overlaps: BTreeMap::new(),
            sink_error: None,
            sequence: run.sequence(&id),
            id,
            spec,
        };
        match moved {
            Ok(moved) => {
                this.report.counters.deleted += moved.deleted;
                this.notes.extend(moved.note);
            }
            Err(error) => {
                this.fail_sink(&error);
                return this;
            }
        }
        match Baseline::load(run, &this.id, &this.spec, this.sequence).await {
            Ok(baseline) => this.baseline = baseline,
            Err(error) => this.fail_sink(&error),
        }
        this
    }

    pub(super) fn name(&self) -> &StreamName {
        &self.id.stream
    }

    fn failed(&self) -> bool {
        self.report.error.is_some()
    }

    pub(super) fn fail_sink(&mut self, error: &Error) {
        self.sink_error.get_or_insert_with(|| describe(error));
        self.report.fail(error);
    }

    /// Handles one batch; sends full transactions on their way.
    pub(super) async fn take<S: Sink>(&mut self, run: &mut Run<'_, S>, batch: Batch) {
        if self.failed() {
            return;
        }
        for record in batch.records {
            self.transformed(run, record);
            if !self.flush_if_full(run).await {
                return;
            }
        }
        if let Some(packed) = batch.packed {
            for position in 0..packed.len() {
                if !self.packed_unchanged(run, &packed, position) {
                    self.transformed(run, packed.record(position));
                    if !self.flush_if_full(run).await {
                        return;
                    }
                }
            }
        }
        // Last, so that a record of the same key is not taken for its repetition.
        for reject in batch.rejects {
            self.report.counters.read += 1;
            match &reject.key {
                Some(key) => self.baseline.diff.keep(key.hash()),
                None => self.nameless = true,
            }
            self.dead(reject.letter);
        }
    }

    /// `false` when the stream cannot go on.
    async fn flush_if_full<S: Sink>(&mut self, run: &mut Run<'_, S>) -> bool {
        if self.outbox.is_full(run.options.limits) {
            self.flush(run, false).await;
        }
        !self.failed()
    }

    /// Counts a packed record that is as it was, without unpacking it.
    fn packed_unchanged<S: Sink>(&mut self, run: &Run<'_, S>, packed: &PackedRecords, position: usize) -> bool {
        if !run.options.transforms.is_empty() {
            return false;
        }
        let schema = packed.schema();
        let hasher = match &mut self.packed {
            Some(hasher) if hasher.fits(schema) => hasher,
            other => other.insert(PackedHasher::new(&self.spec.table, Arc::clone(schema))),
        };
        let Some((key, local)) = hasher.hashes(packed, position) else { return false };
        let same = self.baseline.diff.same(key, local);
        if same {
            self.report.counters.read += 1;
            self.report.counters.unchanged += 1;
        }
        same
    }

    fn transformed<S: Sink>(&mut self, run: &Run<'_, S>, record: Record) {
        if run.options.transforms.is_empty() {
            return self.record(run, record);
        }
        let original = record.clone();
        let records = match apply_all(&run.options.transforms, &self.spec, record) {
            Ok(records) => records,
            Err(error) => {
                // What the record was read as is kept, not a part of what it became.
                self.report.counters.read += 1;
                self.nameless = true;
                let letter = self.converter(&original).0.dead_letter(&original, describe(&error));
                return self.dead(letter);
            }
        };
        if records.is_empty() {
            self.report.counters.filtered += 1;
        }
        for record in records {
            self.record(run, record);
        }
    }

    fn converter(&mut self, record: &Record) -> &mut (Coercer, LocalHasher) {
        let schema = record.schema();
        let (table, usable) = (&self.spec.table, |(coercer, _): &(Coercer, LocalHasher)| coercer.fits(schema));
        let converter = self.converter.take().filter(usable).unwrap_or_else(|| {
            (Coercer::new(Arc::clone(table), Arc::clone(schema)), LocalHasher::new(table, schema.fields()))
        });
        self.converter.insert(converter)
    }

    fn record<S: Sink>(&mut self, run: &Run<'_, S>, record: Record) {
        self.report.counters.read += 1;
        let (coercer, hasher) = self.converter(&record);
        let key = match coercer.key(&record) {
            Ok(key) => key,
            Err(reason) => {
                let letter = coercer.dead_letter(&record, reason);
                self.nameless = true;
                return self.dead(letter);
            }
        };
        let local = hasher.hash(&record);
        let hash = key.hash();
        match self.baseline.diff.look(hash, local) {
            Known::Same | Known::Repeated { same: true } => self.report.counters.unchanged += 1,
            Known::Repeated { same: false } => {
                let reason = "its key occurs more than once in this source with different content; \
                              the first one was synced, this one is kept here"
                    .to_owned();
                let mut letter = self.converter(&record).0.dead_letter(&record, reason);
                letter.key = key.to_string();
                self.dead(letter);
            }
            Known::New => self.convert(run, record, key, hash, local, None),
            Known::Different { content } => self.convert(run, record, key, hash, local, Some(content)),
        }
    }

    /// Converts a record that may have changed, and queues the change if it did.
    fn convert<S: Sink>(
        &mut self,
        run: &Run<'_, S>,
        record: Record,
        key: Key,
        hash: KeyHash,
        local: LocalHash,
        known: Option<ContentHash>,
    ) {
        let coerced = match self.converter(&record).0.row(record) {
            Ok(coerced) => coerced,
            Err(letter) => return self.dead(letter),
        };
        for aside in coerced.set_aside {
            self.report.counters.set_aside += 1;
            if aside.unexpected {
                let (source, stream) = (&self.id.source, &self.id.stream);
                let warning = format!(
                    "{source}, table {stream}, row {key}: {aside}; the value is kept whole in the hub's extra column, \
                     correct it at its source if it is a mistake"
                );
                self.report.warn(|| warning);
            }
        }
        let content = coerced.row.hash;
        let sound = !self.baseline.is_damaged(hash);
        if known == Some(content) && sound {
            self.report.counters.unchanged += 1;
            self.outbox.refreshed.push(LedgerEntry { key: hash, local: Some(local), content: known });
            return;
        }
        if known.is_some() && sound && self.spec.table.mutability() == Mutability::Immutable {
            self.report.counters.superseded += 1;
            // It never will be taken: the next run need not look again.
            self.outbox.refreshed.push(LedgerEntry { key: hash, local: Some(local), content: known });
            return;
        }
        if known.is_some() && run.options.mode == Mode::Append {
            self.report.counters.superseded += 1;
            self.held_back = true;
            return;
        }
        let base = self.baseline.base(hash, local, known, content);
        let change = Change { key, operation: Operation::Upsert(coerced.row), base: base.content };
        self.queue(Pending { change, key: hash, local: Some(local), decided_before: base.decided_before });
    }

    fn dead(&mut self, letter: DeadLetter) {
        self.report.counters.dead_lettered += 1;
        let (source, stream) = (&self.id.source, &self.id.stream);
        let warning = format!(
            "{source}, table {stream}, row {}: {}; the record is kept whole in the hub's dead_letters, \
             correct it at its source and sync again",
            letter.key, letter.reason
        );
        self.report.warn(|| warning);
        self.outbox.bytes += letter.record.as_str().len();
        self.outbox.letters.push(letter);
    }

    fn queue(&mut self, pending: Pending) {
        self.outbox.bytes += pending.change.size();
        self.outbox.changes.push(pending);
    }

    /// Reads no more: deletes what is gone, and sends what is left.
    pub(super) async fn finish<S: Sink>(&mut self, run: &mut Run<'_, S>) {
        if self.failed() {
            return;
        }
        let gone = match self.gone(run) {
            Ok(gone) => gone,
            Err(error) => {
                // What was read is good, whatever stands in the way of the deletes.
                self.flush(run, false).await;
                return self.report.fail(&error);
            }
        };
        if !gone.is_empty()
            && let Err(error) = self.delete(run, gone).await
        {
            return self.fail_sink(&error);
        }
        if !self.failed() {
            self.flush(run, true).await;
        }
    }

    /// The known keys that are to be deleted, with what their deletion is based on.
    fn gone<S: Sink>(&mut self, run: &Run<'_, S>) -> Result<HashMap<KeyHash, Option<ContentHash>>> {
        let missing = self.baseline.diff.missing();
        let deletes = run.options.deletes.get(self.spec.table.name().as_str()).copied().unwrap_or(self.spec.deletes);
        if missing == 0 || deletes == Deletes::Ignore {
            return Ok(HashMap::new());
        }
        if run.options.mode == Mode::Append {
            self.held_back = true;
            return Ok(HashMap::new());
        }
        let doing = format!("reading {}, table {}", self.id.source, self.id.stream);
        if self.nameless {
            self.report.warn(|| {
                format!(
                    "{doing}: {missing} known records were not found, but others could not be told apart; \
                     nothing was deleted, correct those records first"
                )
            });
            return Ok(HashMap::new());
        }
        let gone: HashMap<_, _> = self.baseline.gone().collect();
        check_mass_delete(gone.len(), self.baseline.diff.len(), run.options.allow_mass_delete)
            .map_err(|error| error.during(doing))?;
        Ok(gone)
    }

    /// Queues the deletes: the hub knows the keys of which the ledger has only hashes.
    async fn delete<S: Sink>(
        &mut self,
        run: &mut Run<'_, S>,
        mut gone: HashMap<KeyHash, Option<ContentHash>>,
    ) -> Result<()> {
        let mut known = run.sink.known(&self.id, &self.spec.table);
        while let Some(rows) = known.next().await {
            for row in rows? {
                let key = row.key.hash();
                let Some(base) = gone.remove(&key) else {
                    continue;
                };
                let change = Change { key: row.key, operation: Operation::Delete, base };
                self.queue(Pending { change, key, local: None, decided_before: false });
            }
            if !self.flush_if_full(run).await {
                return Ok(());
            }
        }
        let forgotten = gone.into_keys().map(|key| LedgerEntry { key, local: None, content: None });
        self.outbox.refreshed.extend(forgotten);
        Ok(())
    }

    /// Ends the account.
    pub(super) fn close(mut self, error: Option<&Error>) -> Closed {
        if let Some(error) = error {
            self.report.fail(error);
        }
        if self.failed() {
            // What is still on its way has no outcome: it was not processed.
            let counters = &mut self.report.counters;
            counters.dead_lettered -= self.outbox.letters.len() as u64;
            counters.read = counters.inserted
                + counters.updated
                + counters.unchanged
                + counters.merged
                + counters.superseded
                + counters.dead_lettered;
        }
        self.report.duration_ms = millis(self.begun);
        let (source, stream) = (&self.id.source, &self.id.stream);
        let overlaps = self
            .overlaps
            .iter()
            .map(|(other, count)| format!("{count} records of {source} [{stream}] are also in {other}: counted once"));
        let mut notes = self.notes;
        notes.extend(overlaps);
        Closed { notes, sink_error: self.sink_error, held_back: self.held_back, report: self.report }
    }
}
