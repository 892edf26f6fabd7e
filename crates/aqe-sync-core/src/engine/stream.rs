//! One stream: diff, convert, collect what changed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::baseline::Baseline;
use super::jobs::Jobs;
use super::lanes::Place;
use super::moved::Moved;
use super::outbox::{OnWay, Outbox, Pending};
use super::{Run, Sink};
use crate::coerce::Coercer;
use crate::hash::{KeyHash, LocalHash, LocalHasher};
use crate::ledger::LedgerEntry;
use crate::packed::{PackedHasher, PackedRecords};
use crate::plan::Known;
use crate::record::{Change, DeadLetter, Key, Operation, Record};
use crate::report::{Mode, StreamReport, describe};
use crate::schema::{Mutability, Schema};
use crate::source::{Batch, StreamSpec};
use crate::transform::{self, apply_all};
use crate::{ContentHash, Contributor, Error, Result, StreamId};

/// So many records are looked at before what is on its way may take its next step.
const STRIDE: usize = 128;

pub(super) struct StreamRun<'r> {
    pub(super) id: StreamId,
    pub(super) spec: StreamSpec,
    pub(super) begun: Instant,
    pub(super) report: StreamReport,
    pub(super) baseline: Baseline,
    converter: Option<(Coercer, LocalHasher)>,
    packed: Option<PackedHasher>,
    /// Hashes records as they are before transforms in place.
    before: Option<(Arc<Schema>, LocalHasher)>,
    pub(super) outbox: Outbox,
    /// The deliveries before what is in the outbox.
    pub(super) on_way: VecDeque<OnWay>,
    /// Whether one of them failed, also before it is taken notice of.
    pub(super) broken: Arc<AtomicBool>,
    /// Until the last delivery has started.
    pub(super) place: Option<Arc<Place<'r>>>,
    /// Whether a record came whose key cannot be told: it may be any of the
    /// missing ones.
    pub(super) nameless: bool,
    /// Whether appending left something for a later run to do.
    pub(super) held_back: bool,
    pub(super) notes: Vec<String>,
    pub(super) overlaps: BTreeMap<Contributor, u64>,
    pub(super) sink_error: Option<String>,
    /// How many dead letters the sink made durable.
    pub(super) letters: u64,
    pub(super) hub: HubSide,
}

/// How far the hub is with a stream, as far as this run knows.
#[derive(Default)]
pub(super) struct HubSide {
    pub(super) sequence: u64,
    /// Its sequence when the stream began.
    pub(super) since: u64,
    /// How many commits this run has asked for.
    pub(super) commits: u64,
    /// Whether its last checkpoint is one of a stream not read to its end.
    pub(super) open: bool,
    /// Whether another process wrote to this stream meanwhile.
    pub(super) interfered: bool,
}

impl<'r> StreamRun<'r> {
    /// Loads what is known of the stream. A failure stops the stream only.
    /// `foreign` says that another installation wrote what the hub has of it.
    pub(super) async fn begin<S: Sink>(
        run: &'r Run<'r, S>,
        id: StreamId,
        spec: StreamSpec,
        moved: Result<Moved>,
        foreign: bool,
    ) -> Self {
        let report = StreamReport::new(id.source.clone(), id.stream.clone(), spec.table.name().as_str());
        let mut this = Self {
            begun: Instant::now(),
            report,
            baseline: Baseline::empty(),
            converter: None,
            packed: None,
            before: None,
            outbox: Outbox::default(),
            on_way: VecDeque::new(),
            broken: Arc::default(),
            place: Some(Arc::new(run.lanes.stand(spec.table.name()))),
            nameless: false,
            held_back: false,
            notes: Vec::new(),
            overlaps: BTreeMap::new(),
            sink_error: None,
            letters: 0,
            hub: HubSide::default(),
            id,
            spec,
        };
        let mut state = run.states.get(&this.id);
        match &moved {
            Ok(moved) => {
                state = moved.state.as_ref().or(state);
                this.report.counters.deleted += moved.deleted;
                this.notes.extend(moved.note.clone());
            }
            Err(error) => this.fail_sink(error),
        }
        this.hub.sequence = state.map_or(0, |state| state.sequence);
        this.hub.since = this.hub.sequence;
        this.hub.open = state.is_some_and(|state| !state.checkpoint.complete);
        if this.failed() {
            return this;
        }
        match Baseline::load(run, &this.id, &this.spec, state, foreign).await {
            Ok(baseline) => this.baseline = baseline,
            Err(error) => this.fail_sink(&error),
        }
        this
    }

    pub(super) fn failed(&self) -> bool {
        self.report.error.is_some()
    }

    pub(super) fn fail_sink(&mut self, error: &Error) {
        self.sink_error.get_or_insert_with(|| describe(error));
        self.report.fail(error);
    }

    /// Handles one batch; sends full outboxes on their way.
    pub(super) async fn take<S: Sink>(&mut self, run: &'r Run<'r, S>, jobs: &Jobs<'r>, batch: Batch) {
        self.look_for_arrivals(run);
        if self.failed() {
            return;
        }
        for (position, record) in batch.records.into_iter().enumerate() {
            self.transformed(run, record);
            if !self.send_if_full(run, jobs, position).await {
                return;
            }
        }
        if let Some(packed) = batch.packed {
            for position in 0..packed.len() {
                if !self.packed_unchanged(run, &packed, position) {
                    self.transformed(run, packed.record(position));
                    if !self.send_if_full(run, jobs, position).await {
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
            self.dead(run, reject.letter);
        }
    }

    /// `false` when the stream cannot go on.
    async fn send_if_full<S: Sink>(&mut self, run: &'r Run<'r, S>, jobs: &Jobs<'r>, position: usize) -> bool {
        if self.outbox.is_full(run.options.limits) {
            self.send(run, jobs).await;
        } else if position % STRIDE == STRIDE - 1 {
            jobs.give_way().await;
        }
        !self.failed()
    }

    /// Counts a packed record that is as it was, without unpacking it.
    fn packed_unchanged<S: Sink>(&mut self, run: &Run<'_, S>, packed: &PackedRecords, position: usize) -> bool {
        let Some(transforms) = run.in_place else { return false };
        let schema = packed.schema();
        let hasher = match &mut self.packed {
            Some(hasher) if hasher.fits(schema) => hasher,
            other => other.insert(PackedHasher::transformed(&self.spec.table, Arc::clone(schema), transforms)),
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
            return self.record(run, record, None);
        }
        // What comes out of transforms in place is the same whenever what goes in is.
        let before = run.in_place.map(|transforms| self.hash_before(&record, transforms));
        let original = record.clone();
        let records = match apply_all(&run.options.transforms, &self.spec, record) {
            Ok(records) => records,
            Err(error) => {
                // What the record was read as is kept, not a part of what it became.
                self.report.counters.read += 1;
                self.nameless = true;
                let letter = self.converter(&original).0.dead_letter(&original, describe(&error));
                return self.dead(run, letter);
            }
        };
        if records.is_empty() {
            self.report.counters.filtered += 1;
        }
        for record in records {
            self.record(run, record, before);
        }
    }

    /// The hash of a record before transforms in place.
    fn hash_before(&mut self, record: &Record, transforms: u64) -> LocalHash {
        let (table, schema) = (&self.spec.table, record.schema());
        let known = self.before.take().filter(|(known, _)| Arc::ptr_eq(known, schema) || known == schema);
        let made = || (Arc::clone(schema), LocalHasher::transformed(table, schema.fields(), transforms));
        self.before.insert(known.unwrap_or_else(made)).1.hash(record)
    }

    fn converter(&mut self, record: &Record) -> &mut (Coercer, LocalHasher) {
        let schema = record.schema();
        let (table, usable) = (&self.spec.table, |(coercer, _): &(Coercer, LocalHasher)| coercer.fits(schema));
        let converter = self.converter.take().filter(usable).unwrap_or_else(|| {
            (Coercer::new(Arc::clone(table), Arc::clone(schema)), LocalHasher::new(table, schema.fields()))
        });
        self.converter.insert(converter)
    }

    /// `before` is the hash of what it was before transforms in place.
    fn record<S: Sink>(&mut self, run: &Run<'_, S>, record: Record, before: Option<LocalHash>) {
        self.report.counters.read += 1;
        let (coercer, hasher) = self.converter(&record);
        let key = match coercer.key(&record) {
            Ok(key) => key,
            Err(reason) => {
                let letter = coercer.dead_letter(&record, reason);
                self.nameless = true;
                return self.dead(run, letter);
            }
        };
        let local = before.unwrap_or_else(|| hasher.hash(&record));
        let hash = key.hash();
        match self.baseline.diff.look(hash, local) {
            Known::Same | Known::Repeated { same: true } => self.report.counters.unchanged += 1,
            Known::Repeated { same: false } => {
                let reason = "its key occurs more than once in this source with different content; \
                              the first one was synced, this one is kept here"
                    .to_owned();
                let mut letter = self.converter(&record).0.dead_letter(&record, reason);
                letter.key = key.to_string();
                self.dead(run, letter);
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
            Err(letter) => return self.dead(run, letter),
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
        let foreign = self.baseline.foreign;
        if known.is_some() && sound && !foreign && self.spec.table.mutability() == Mutability::Immutable {
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
        self.outbox.queue(Pending { change, key: hash, local: Some(local), decided_before: base.decided_before });
    }

    fn dead<S: Sink>(&mut self, run: &Run<'_, S>, letter: DeadLetter) {
        let letter = transform::letter(&run.options.transforms, letter);
        self.report.counters.dead_lettered += 1;
        self.warn_dead(&letter.key, &letter.reason);
        self.outbox.reject(letter);
    }

    pub(super) fn warn_dead(&mut self, key: &str, reason: &str) {
        let (source, stream) = (&self.id.source, &self.id.stream);
        let warning = format!(
            "{source}, table {stream}, row {key}: {reason}; the record is kept whole in the hub's dead_letters, \
             correct it at its source and sync again"
        );
        self.report.warn(|| warning);
    }
}
