//! A source in memory that ends well or badly, as told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqe_sync_core::packed::PackedRecords;
use aqe_sync_core::{
    Batch, BatchStream, Error, ErrorKind, Fingerprint, ReadRequest, Record, Reject, Result, Source, SourceName,
    StreamSpec,
};
use futures::StreamExt as _;
use futures::stream;

/// How a stream ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its mark.
    #[default]
    Whole,
    /// Silently, without its mark: the other streams follow.
    Unmarked,
    /// With an error, after its records.
    Error,
    /// With its mark, and an error after that.
    LateError,
}

#[derive(Clone)]
pub(crate) struct MemoryStream {
    pub(crate) spec: StreamSpec,
    pub(crate) records: Vec<Record>,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) ending: Ending,
    /// Whether records are handed over packed.
    pub(crate) packed: bool,
}

impl MemoryStream {
    fn new(spec: StreamSpec, records: Vec<Record>) -> Self {
        Self { spec, records, rejects: Vec::new(), ending: Ending::Whole, packed: false }
    }
}

#[derive(Clone)]
pub(crate) struct MemorySource {
    pub(crate) name: SourceName,
    pub(crate) priority: i32,
    pub(crate) streams: Vec<MemoryStream>,
    pub(crate) fingerprint: Option<Fingerprint>,
    /// What opening it says instead of its streams.
    pub(crate) unreadable: bool,
    pub(crate) reads: Arc<AtomicUsize>,
    pub(crate) batches: Arc<AtomicUsize>,
}

impl MemorySource {
    pub(crate) fn new(name: &str, spec: StreamSpec, records: Vec<Record>) -> Self {
        Self {
            name: name.into(),
            priority: 0,
            streams: vec![MemoryStream::new(spec, records)],
            fingerprint: None,
            unreadable: false,
            reads: Arc::default(),
            batches: Arc::default(),
        }
    }

    pub(crate) fn and(mut self, spec: StreamSpec, records: Vec<Record>) -> Self {
        self.streams.push(MemoryStream::new(spec, records));
        self
    }

    pub(crate) fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    pub(crate) fn ending(mut self, ending: Ending) -> Self {
        self.streams[0].ending = ending;
        self
    }

    /// Hands records over packed; they all have the schema of the first.
    pub(crate) fn packed(mut self) -> Self {
        self.streams[0].packed = true;
        self
    }

    pub(crate) fn rejects(mut self, rejects: Vec<Reject>) -> Self {
        self.streams[0].rejects = rejects;
        self
    }

    pub(crate) fn fingerprint(mut self, bytes: &[u8], settled: bool) -> Self {
        self.fingerprint = Some(Fingerprint { bytes: bytes.to_vec(), settled });
        self
    }

    pub(crate) fn unreadable(mut self) -> Self {
        self.unreadable = true;
        self
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many batches were taken from it.
    pub(crate) fn taken(&self) -> usize {
        self.batches.load(Ordering::Relaxed)
    }
}

fn pack(records: &[Record]) -> Option<PackedRecords> {
    let mut packed = PackedRecords::new(Arc::clone(records.first()?.schema()));
    for record in records {
        record.values().iter().for_each(|value| packed.push(value));
        packed.end_record();
    }
    Some(packed)
}

fn stream_batches(stream: &MemoryStream, rows: usize) -> Vec<Result<Batch>> {
    let batch = |records: &[Record], rejects: &[Reject]| {
        Ok(Batch {
            stream: stream.spec.name.clone(),
            records: if stream.packed { Vec::new() } else { records.to_vec() },
            packed: if stream.packed { pack(records) } else { None },
            rejects: rejects.to_vec(),
            last: false,
        })
    };
    let mut batches = vec![batch(&[], &stream.rejects)];
    batches.extend(stream.records.chunks(rows.max(1)).map(|chunk| batch(chunk, &[])));
    match stream.ending {
        Ending::Whole | Ending::LateError => {
            batches.iter_mut().rev().take(1).flatten().for_each(|batch| batch.last = true);
        }
        Ending::Unmarked => {}
        Ending::Error => batches.push(Err(Error::new(ErrorKind::Malformed, "the file ends in the middle"))),
    }
    if stream.ending == Ending::LateError {
        batches.push(Err(Error::new(ErrorKind::Io, "the file could not be closed")));
    }
    batches
}

impl Source for MemorySource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn priority(&self) -> i32 {
        self.priority
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        if self.unreadable {
            return Err(Error::new(ErrorKind::Malformed, "this is no database"));
        }
        Ok(self.streams.iter().map(|stream| stream.spec.clone()).collect())
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        Ok(self.fingerprint.clone())
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let wanted = |stream: &&MemoryStream| request.streams.iter().any(|spec| spec.name == stream.spec.name);
        let rows = request.limits.rows;
        let batches: Vec<_> =
            self.streams.iter().filter(wanted).flat_map(|stream| stream_batches(stream, rows)).collect();
        let taken = Arc::clone(&self.batches);
        let count = move |_: &Result<Batch>| {
            taken.fetch_add(1, Ordering::Relaxed);
        };
        stream::iter(batches).inspect(count).boxed()
    }
}
