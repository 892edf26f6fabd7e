//! Comparing contents, not counts: what sources hold against what a hub has of them.
//!
//! Neither ledger nor fingerprint is asked: every record is read, converted
//! and hashed anew. Memory holds two hashes per record, never rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;

use crate::coerce::Coercer;
use crate::hash::KeyHash;
use crate::record::Key;
use crate::report::describe;
use crate::schema::{Deletes, Mutability};
use crate::sink::Sink;
use crate::source::{Batch, BatchLimits, DynSource, ReadRequest, StreamSpec};
use crate::transform::apply_all;
use crate::{ContentHash, Error, ErrorKind, Options, Record, Result, SourceName, StreamId, StreamName, Transform};

/// Whether two sides hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that should be in the hub is there, as it should be.
    Match,
    /// Something differs, or could not be compared.
    Differ,
}

/// The comparison of all streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The verdict on all of them.
    pub status: Verdict,
    /// Stream by stream.
    pub streams: Vec<StreamVerification>,
}

impl VerifyReport {
    /// Whether everything that should be in the hub is there, as it should be.
    pub fn matches(&self) -> bool {
        self.status == Verdict::Match
    }
}

/// The comparison of one stream. Lists name at most
/// [`StreamVerification::MAX_KEYS`] keys; the counts count them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamVerification {
    /// Where it was read.
    pub source: SourceName,
    /// Its name there; empty when the source could not even be listed.
    pub stream: StreamName,
    /// The hub table it goes to; empty as above.
    pub table: String,
    /// Keys that the source holds.
    pub local: u64,
    /// Keys that the hub has of this stream.
    pub hub: u64,
    /// Keys that the hub lacks.
    pub missing: Vec<String>,
    /// How many there are.
    pub missing_count: u64,
    /// Keys that the source lacks. Stays empty where the hub is meant to
    /// remember what its source forgets.
    pub extra: Vec<String>,
    /// How many there are.
    pub extra_count: u64,
    /// Keys whose content differs.
    pub different: Vec<String>,
    /// How many there are.
    pub different_count: u64,
    /// Keys of an immutable table whose content differs: the hub keeps what was
    /// written first. No difference.
    pub kept_by_rule: u64,
    /// Records that no hub can store: they are in `dead_letters`. No difference.
    pub unstorable: u64,
    /// Records whose key occurred before; the first one counts. No difference.
    pub repeated: u64,
    /// Why the stream could not be compared to its end; then `extra` is not told.
    pub error: Option<String>,
}

impl StreamVerification {
    /// So many keys are named per list.
    pub const MAX_KEYS: usize = 100;

    fn new(source: SourceName, stream: StreamName, table: &str) -> Self {
        Self {
            source,
            stream,
            table: table.to_owned(),
            local: 0,
            hub: 0,
            missing: Vec::new(),
            missing_count: 0,
            extra: Vec::new(),
            extra_count: 0,
            different: Vec::new(),
            different_count: 0,
            kept_by_rule: 0,
            unstorable: 0,
            repeated: 0,
            error: None,
        }
    }

    fn failed(source: &SourceName, error: &Error) -> Self {
        Self { error: Some(describe(error)), ..Self::new(source.clone(), "".into(), "") }
    }

    /// Whether nothing differs.
    pub fn matches(&self) -> bool {
        self.missing_count + self.extra_count + self.different_count == 0 && self.error.is_none()
    }
}

/// Compares what sources hold with what the hub has of them, as a run with
/// these options would put it there.
///
/// Nothing is written. A source that cannot be read is part of the report.
///
/// # Errors
/// When the hub cannot be read.
pub async fn verify<S: Sink>(sink: &S, sources: &[Box<dyn DynSource>], options: &Options) -> Result<VerifyReport> {
    let states = sink.states(&options.environment).await?;
    let known = |stream: &StreamId| states.iter().any(|state| state.stream == *stream);
    let mut streams = Vec::new();
    for source in sources {
        match source.streams_dyn().await {
            Ok(specs) => streams.extend(verify_source(sink, source.as_ref(), &specs, options, &known).await?),
            Err(error) => streams.push(StreamVerification::failed(source.name(), &error)),
        }
    }
    let matches = streams.iter().all(StreamVerification::matches);
    Ok(VerifyReport { status: if matches { Verdict::Match } else { Verdict::Differ }, streams })
}

async fn verify_source<S: Sink>(
    sink: &S,
    source: &dyn DynSource,
    specs: &[StreamSpec],
    options: &Options,
    known: &impl Fn(&StreamId) -> bool,
) -> Result<Vec<StreamVerification>> {
    let request = ReadRequest { streams: specs.to_vec(), limits: BatchLimits::default() };
    let mut batches = source.read_dyn(request);
    let mut waiting: Vec<StreamSpec> = specs.to_vec();
    let mut current: Option<Comparison> = None;
    let mut done = Vec::new();
    let failure = loop {
        let batch = match batches.next().await {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => break error,
            None if current.is_none() && waiting.is_empty() => return Ok(done),
            None => break cut_off(source),
        };
        if current.as_ref().is_none_or(|comparison| comparison.spec.name != batch.stream) {
            done.extend(current.take().map(|comparison| comparison.close(Some(&cut_off(source)))));
            let Some(position) = waiting.iter().position(|spec| spec.name == batch.stream) else {
                break Error::internal(format!("a batch of stream {}, which was not asked for", batch.stream));
            };
            let spec = waiting.remove(position);
            let stream = StreamId {
                environment: options.environment.clone(),
                source: source.name().clone(),
                stream: spec.name.clone(),
            };
            current = Some(Comparison::begin(sink, stream, spec, options, known).await?);
        }
        let last = batch.last;
        if let Some(comparison) = current.as_mut() {
            comparison.take(batch);
        }
        if last && let Some(mut comparison) = current.take() {
            comparison.find_extra(sink).await?;
            done.push(comparison.close(None));
        }
    };
    let attributed = current.is_some() || !waiting.is_empty();
    done.extend(current.map(|comparison| comparison.close(Some(&failure))));
    if !attributed {
        done.push(StreamVerification::failed(source.name(), &failure));
    }
    for spec in waiting {
        let mut unread = StreamVerification::new(source.name().clone(), spec.name, spec.table.name().as_str());
        unread.error = Some(describe(&failure));
        done.push(unread);
    }
    Ok(done)
}

fn cut_off(source: &dyn DynSource) -> Error {
    Error::new(ErrorKind::Internal, "the source stopped before the end of a stream")
        .during(format!("reading {}", source.name()))
}

/// What the hub has of one key, until the source turns out to have it too.
struct HubSide {
    content: ContentHash,
    sound: bool,
    found: bool,
}

struct Comparison {
    id: StreamId,
    spec: StreamSpec,
    transforms: Vec<Arc<dyn Transform>>,
    hub: HashMap<KeyHash, HubSide>,
    /// Keys of the source that the hub lacks: they may repeat.
    absent: HashSet<KeyHash>,
    coercer: Option<Coercer>,
    result: StreamVerification,
    /// Whether a record came whose key cannot be told.
    nameless: bool,
}

impl Comparison {
    async fn begin<S: Sink>(
        sink: &S,
        id: StreamId,
        mut spec: StreamSpec,
        options: &Options,
        known: &impl Fn(&StreamId) -> bool,
    ) -> Result<Self> {
        if let Some(deletes) = options.deletes.get(spec.table.name().as_str()) {
            spec.deletes = *deletes;
        }
        let result = StreamVerification::new(id.source.clone(), id.stream.clone(), spec.table.name().as_str());
        let mut hub = HashMap::new();
        if known(&id) {
            let mut batches = sink.recomputed(&id, &spec.table);
            while let Some(rows) = batches.next().await {
                let rows = rows?;
                hub.extend(
                    rows.iter()
                        .map(|row| (row.key.hash(), HubSide { content: row.hash, sound: row.sound, found: false })),
                );
            }
        }
        let transforms = options.transforms.clone();
        Ok(Self { id, spec, transforms, hub, absent: HashSet::new(), coercer: None, result, nameless: false })
    }

    fn take(&mut self, batch: Batch) {
        for record in batch.records {
            self.transformed(record);
        }
        if let Some(packed) = batch.packed {
            for position in 0..packed.len() {
                self.transformed(packed.record(position));
            }
        }
        // Last, as the engine does it: a record of the same key counts first.
        for reject in batch.rejects {
            self.unstorable(reject.key.as_ref());
        }
    }

    /// A record that is there, though the hub can have it as a dead letter only.
    fn unstorable(&mut self, key: Option<&Key>) {
        self.result.unstorable += 1;
        match key.map(Key::hash) {
            Some(key) => self.hub.get_mut(&key).into_iter().for_each(|side| side.found = true),
            None => self.nameless = true,
        }
    }

    fn transformed(&mut self, record: Record) {
        match apply_all(&self.transforms, &self.spec, record) {
            Ok(records) => records.into_iter().for_each(|record| self.record(record)),
            Err(_) => self.unstorable(None),
        }
    }

    fn record(&mut self, record: Record) {
        let schema = record.schema();
        let coercer = match self.coercer.take() {
            Some(coercer) if coercer.fits(schema) => coercer,
            _ => Coercer::new(self.spec.table.clone(), schema.clone()),
        };
        let converted = coercer.row(record);
        self.coercer = Some(coercer);
        let Ok(converted) = converted else { return self.unstorable(None) };
        let key = converted.row.key(&self.spec.table);
        self.compare(&key, converted.row.hash);
    }

    fn compare(&mut self, key: &Key, content: ContentHash) {
        let hash = key.hash();
        let result = &mut self.result;
        let Some(side) = self.hub.get_mut(&hash) else {
            if !self.absent.insert(hash) {
                result.repeated += 1;
                return;
            }
            result.local += 1;
            result.missing_count += 1;
            return name(&mut result.missing, key);
        };
        if std::mem::replace(&mut side.found, true) {
            result.repeated += 1;
            return;
        }
        result.local += 1;
        if side.content == content && side.sound {
            return;
        }
        if side.sound && self.spec.table.mutability() == Mutability::Immutable {
            result.kept_by_rule += 1;
        } else {
            result.different_count += 1;
            name(&mut result.different, key);
        }
    }

    /// Names what only the hub has, now that the source was read to its end.
    async fn find_extra<S: Sink>(&mut self, sink: &S) -> Result<()> {
        let remembers = self.spec.deletes == Deletes::Ignore;
        let extra = self.hub.values().filter(|side| !side.found).count() as u64;
        // A nameless record may be any of them.
        if remembers || self.nameless || extra == 0 {
            return Ok(());
        }
        self.result.extra_count = extra;
        let mut batches = sink.known(&self.id, &self.spec.table);
        while let Some(rows) = batches.next().await {
            for row in rows? {
                if self.hub.get(&row.key.hash()).is_some_and(|side| !side.found) {
                    name(&mut self.result.extra, &row.key);
                }
            }
            if self.result.extra.len() == StreamVerification::MAX_KEYS {
                break;
            }
        }
        Ok(())
    }

    fn close(mut self, error: Option<&Error>) -> StreamVerification {
        self.result.hub = self.hub.len() as u64;
        self.result.error = error.map(describe);
        self.result
    }
}

fn name(list: &mut Vec<String>, key: &Key) {
    if list.len() < StreamVerification::MAX_KEYS {
        list.push(key.to_string());
    }
}
