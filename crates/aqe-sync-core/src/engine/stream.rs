//! One stream: diff, convert, apply, settle, commit, remember.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;

use super::{Run, Sink, millis};
use crate::coerce::Coercer;
use crate::hash::{KeyHash, LocalHash, LocalHasher};
use crate::ledger::{LedgerEntry, LedgerStream};
use crate::meet::{Contested, Effect, Ranking, Settled, settle};
use crate::packed::{PackedHasher, PackedRecords};
use crate::plan::{Diff, Known, check_mass_delete};
use crate::record::{Change, DeadLetter, Key, Operation, Record};
use crate::report::{Mode, StreamReport, describe};
use crate::schema::{Deletes, Mutability};
use crate::sink::{Checkpoint, SinkTxn as _};
use crate::source::{Batch, StreamSpec};
use crate::{ContentHash, Contributor, Error, Result, StreamId, StreamName, Timestamp};

/// A change on its way, with what the ledger will remember of it.
struct Pending {
    change: Change,
    key: KeyHash,
    local: Option<LocalHash>,
}

/// What is converted but not yet in the sink.
#[derive(Default)]
struct Outbox {
    changes: Vec<Pending>,
    letters: Vec<DeadLetter>,
    /// Keys whose source changed without their content changing.
    refreshed: Vec<LedgerEntry>,
    bytes: usize,
}

/// The hub's view of a stream at the beginning of a run.
struct Baseline {
    diff: Diff,
    /// Full runs compare with the hub; a change is still based on what this
    /// writer last saw, where that differs.
    bases: HashMap<KeyHash, ContentHash>,
}

pub(super) struct StreamRun {
    id: StreamId,
    spec: StreamSpec,
    begun: Instant,
    pub(super) report: StreamReport,
    baseline: Baseline,
    converter: Option<(Coercer, LocalHasher)>,
    packed: Option<PackedHasher>,
    outbox: Outbox,
    /// Whether a record came whose key cannot be told: it may be any of the
    /// missing ones.
    nameless: bool,
    overlaps: BTreeMap<Contributor, u64>,
    sink_error: Option<String>,
    sequence: u64,
}

/// What remains of a stream when it is done.
pub(super) struct Closed {
    pub(super) report: StreamReport,
    pub(super) notes: Vec<String>,
    pub(super) sink_error: Option<String>,
}

impl StreamRun {
    /// Loads what is known of the stream. A failure stops the stream only.
    pub(super) async fn begin<S: Sink>(run: &Run<'_, S>, id: StreamId, spec: StreamSpec) -> Self {
        let report = StreamReport::new(id.source.clone(), id.stream.clone(), spec.table.name().as_str());
        let mut this = Self {
            begun: Instant::now(),
            report,
            baseline: Baseline { diff: Diff::new(Vec::new()), bases: HashMap::new() },
            converter: None,
            packed: None,
            outbox: Outbox::default(),
            nameless: false,
            overlaps: BTreeMap::new(),
            sink_error: None,
            sequence: run.sequence(&id),
            id,
            spec,
        };
        match this.baseline(run).await {
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

    fn fail_sink(&mut self, error: &Error) {
        self.sink_error.get_or_insert_with(|| describe(error));
        self.report.fail(error);
    }

    async fn baseline<S: Sink>(&self, run: &Run<'_, S>) -> Result<Baseline> {
        let ledger = run.ledger.load(&self.id)?.filter(|known| known.sequence == self.sequence);
        if let (Some(known), true) = (&ledger, run.options.mode != Mode::Full) {
            return Ok(Baseline { diff: Diff::new(known.entries.clone()), bases: HashMap::new() });
        }
        let mut entries = Vec::new();
        if self.sequence > 0 {
            let mut known = run.sink.known(&self.id, &self.spec.table);
            while let Some(rows) = known.next().await {
                entries.extend(rows?.iter().map(|row| LedgerEntry {
                    key: row.key.hash(),
                    local: None,
                    content: Some(row.hash),
                }));
            }
        }
        entries.sort_by_key(|entry| entry.key);
        let Some(ledger) = ledger else {
            let rebuilt = LedgerStream { sequence: self.sequence, entries };
            if self.sequence > 0 {
                run.ledger.replace(&self.id, &rebuilt)?;
            }
            return Ok(Baseline { diff: Diff::new(rebuilt.entries), bases: HashMap::new() });
        };
        let diff = Diff::new(entries);
        let differing = ledger.entries.iter().filter_map(|entry| {
            let base = entry.content?;
            (diff.content(entry.key) != Some(base)).then_some((entry.key, base))
        });
        Ok(Baseline { bases: differing.collect(), diff })
    }

    /// Handles one batch; sends full transactions on their way.
    pub(super) async fn take<S: Sink>(&mut self, run: &mut Run<'_, S>, batch: Batch) {
        if self.failed() {
            return;
        }
        for reject in batch.rejects {
            self.report.counters.read += 1;
            match &reject.key {
                Some(key) => self.baseline.diff.keep(key.hash()),
                None => self.nameless = true,
            }
            self.dead(reject.letter);
        }
        for record in batch.records {
            self.transformed(run, record);
            if !self.flush_if_full(run).await {
                return;
            }
        }
        let Some(packed) = batch.packed else { return };
        for position in 0..packed.len() {
            if !self.packed_unchanged(run, &packed, position) {
                self.transformed(run, packed.record(position));
                if !self.flush_if_full(run).await {
                    return;
                }
            }
        }
    }

    /// `false` when the stream cannot go on.
    async fn flush_if_full<S: Sink>(&mut self, run: &mut Run<'_, S>) -> bool {
        let limits = run.options.limits;
        if self.outbox.changes.len() >= limits.rows.max(1) || self.outbox.bytes >= limits.bytes {
            self.flush(run).await;
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
        let mut records = vec![record];
        for transform in &run.options.transforms {
            let mut out = Vec::new();
            for record in records {
                let kept = record.clone();
                if let Err(error) = transform.apply(&self.spec, record, &mut out) {
                    self.report.counters.read += 1;
                    self.nameless = true;
                    let letter = self.converter(&kept).0.dead_letter(&kept, describe(&error));
                    self.dead(letter);
                    return;
                }
            }
            records = out;
        }
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
        if known == Some(content) {
            self.report.counters.unchanged += 1;
            self.outbox.refreshed.push(LedgerEntry { key: hash, local: Some(local), content: known });
            return;
        }
        let frozen = run.options.mode == Mode::Append || self.spec.table.mutability() == Mutability::Immutable;
        if known.is_some() && frozen {
            self.report.counters.superseded += 1;
            if run.options.mode != Mode::Append {
                // It never will be taken: the next run need not look again.
                self.outbox.refreshed.push(LedgerEntry { key: hash, local: Some(local), content: known });
            }
            return;
        }
        let base = self.baseline.bases.get(&hash).copied().or(known);
        let change = Change { key, operation: Operation::Upsert(coerced.row), base };
        self.outbox.bytes += change.size();
        self.outbox.changes.push(Pending { change, key: hash, local: Some(local) });
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

    /// Reads no more: deletes what is gone, and sends what is left.
    pub(super) async fn finish<S: Sink>(&mut self, run: &mut Run<'_, S>) {
        if self.failed() {
            return;
        }
        if let Err(error) = self.deletes(run).await {
            // What was read is good, whatever stands in the way of the deletes.
            self.flush(run).await;
            self.report.fail(&error);
            return;
        }
        self.flush(run).await;
    }

    async fn deletes<S: Sink>(&mut self, run: &mut Run<'_, S>) -> Result<()> {
        let missing = self.baseline.diff.missing();
        let deletes = run.options.deletes.get(self.spec.table.name().as_str()).copied().unwrap_or(self.spec.deletes);
        if missing == 0 || run.options.mode == Mode::Append || deletes == Deletes::Ignore {
            return Ok(());
        }
        let doing = || format!("reading {}, table {}", self.id.source, self.id.stream);
        if self.nameless {
            let (doing, missing) = (doing(), missing);
            self.report.warn(|| {
                format!(
                    "{doing}: {missing} known records were not found, but others could not be told apart; \
                     nothing was deleted, correct those records first"
                )
            });
            return Ok(());
        }
        check_mass_delete(missing, self.baseline.diff.len(), run.options.allow_mass_delete)
            .map_err(|error| error.during(doing()))?;
        let mut gone: HashMap<KeyHash, Option<ContentHash>> =
            self.baseline.diff.missing_entries().map(|entry| (entry.key, entry.content)).collect();
        let mut known = run.sink.known(&self.id, &self.spec.table);
        while let Some(rows) = known.next().await {
            for row in rows? {
                let hash = row.key.hash();
                let Some(base) = gone.remove(&hash) else { continue };
                let base = self.baseline.bases.get(&hash).copied().or(base);
                let change = Change { key: row.key, operation: Operation::Delete, base };
                self.outbox.bytes += change.size();
                self.outbox.changes.push(Pending { change, key: hash, local: None });
            }
            if self.outbox.changes.len() >= run.options.limits.rows.max(1) {
                self.flush(run).await;
                if self.failed() {
                    return Ok(());
                }
            }
        }
        let forgotten = gone.into_keys().map(|key| LedgerEntry { key, local: None, content: None });
        self.outbox.refreshed.extend(forgotten);
        Ok(())
    }

    async fn flush<S: Sink>(&mut self, run: &mut Run<'_, S>) {
        let outbox = std::mem::take(&mut self.outbox);
        let letters = outbox.letters.len() as u64;
        if let Err(error) = self.try_flush(run, outbox).await {
            self.report.counters.dead_lettered -= letters;
            let error = error.context("table", self.spec.table.name());
            self.fail_sink(&error);
        }
    }

    async fn try_flush<S: Sink>(&mut self, run: &mut Run<'_, S>, outbox: Outbox) -> Result<()> {
        let Outbox { changes, letters, refreshed: mut entries, .. } = outbox;
        if changes.is_empty() && letters.is_empty() {
            if !entries.is_empty() {
                run.ledger.append(&self.id, self.sequence, &entries)?;
            }
            return Ok(());
        }
        let dead = letters.len() as u64;
        let pending_entries = changes.iter().map(|pending| LedgerEntry {
            key: pending.key,
            local: pending.local,
            content: match &pending.change.operation {
                Operation::Upsert(row) => Some(row.hash),
                Operation::Delete => None,
            },
        });
        entries.extend(pending_entries);
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
        let settled = self.settle(run, contested, &mut entries, &mut counters);
        let rules: Vec<String> =
            settled.iter().filter_map(|settled| settled.conflict.as_ref()).map(|log| log.rule.to_string()).collect();
        if !settled.is_empty() {
            txn.resolve(settled).await?;
        }
        if dead > 0 {
            txn.reject(letters).await?;
        }
        let checkpoint = Checkpoint { run_id: run.run_id.clone(), at: Timestamp::now(), complete: false };
        let committed = txn.commit(checkpoint.clone()).await?;
        self.report.counters = counters;
        for rule in rules {
            *self.report.rules.entry(rule).or_default() += 1;
        }
        self.sequence = committed.sequence;
        let state = crate::sink::StreamState { stream: self.id.clone(), sequence: self.sequence, checkpoint };
        run.states.insert(self.id.clone(), state);
        run.ledger.append(&self.id, self.sequence, &entries)
    }

    fn settle<S: Sink>(
        &mut self,
        run: &Run<'_, S>,
        contested: Vec<Contested>,
        entries: &mut [LedgerEntry],
        counters: &mut crate::report::Counters,
    ) -> Vec<Settled> {
        let writer = self.id.contributor();
        let priority_of = |contributor: &Contributor| run.priority_of(contributor);
        let ranking = Ranking { writer: writer.clone(), priority_of: &priority_of };
        let policy = run.policy(&self.spec.table);
        let position: HashMap<KeyHash, usize> = if contested.is_empty() {
            HashMap::new()
        } else {
            entries.iter().map(|entry| entry.key).zip(0..).collect()
        };
        let mut all = Vec::with_capacity(contested.len());
        for contested in contested {
            let met = contested.existing.contributor.clone();
            let upsert = matches!(contested.change.operation, Operation::Upsert(_));
            let settled = settle(&self.spec.table, policy, &ranking, contested);
            if upsert && met != writer {
                *self.overlaps.entry(met).or_default() += 1;
            }
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
            if let Some(position) = position.get(&settled.key.hash()) {
                entries[*position].content = settled.base_from_now;
            }
            all.push(settled);
        }
        all
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
        let notes = self
            .overlaps
            .iter()
            .map(|(other, count)| format!("{count} records of {source} [{stream}] are also in {other}: counted once"));
        Closed { notes: notes.collect(), sink_error: self.sink_error, report: self.report }
    }
}
