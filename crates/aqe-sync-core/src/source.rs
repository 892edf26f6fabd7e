//! Where records come from.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};

use crate::packed::PackedRecords;
use crate::record::{Record, Reject};
use crate::schema::Deletes;
use crate::{Error, Result, SourceName, StreamName, TableSpec};

/// One logical table that a source offers.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// Its name within the source.
    pub name: StreamName,
    /// The hub table that its records go to.
    pub table: Arc<TableSpec>,
    /// What happens when a record disappears.
    pub deletes: Deletes,
}

impl StreamSpec {
    /// A stream that deletes as its table says.
    pub fn new(name: impl Into<StreamName>, table: Arc<TableSpec>) -> Self {
        let deletes = table.deletes();
        Self { name: name.into(), table, deletes }
    }

    /// Says what happens when a record disappears.
    #[must_use]
    pub fn deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }
}

/// How much a batch may hold; whichever limit is met first ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records.
    pub rows: usize,
    /// Bytes in memory, roughly.
    pub bytes: usize,
}

impl BatchLimits {
    /// For what is read on the way to deliveries of this size: some of it waits on both
    /// sides of the reader, so smaller pieces take less memory.
    pub(crate) fn for_reading(self) -> Self {
        Self { rows: self.rows.div_ceil(4), bytes: self.bytes.div_ceil(4) }
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { rows: 5_000, bytes: 3 << 20 }
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Which streams, in which order.
    pub streams: Vec<StreamSpec>,
    /// How large batches may get.
    pub limits: BatchLimits,
}

/// Consecutive records of one stream.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which stream.
    pub stream: StreamName,
    /// Its records.
    pub records: Vec<Record>,
    /// More of its records, packed; they come after `records`.
    pub packed: Option<PackedRecords>,
    /// What the source itself could not make sense of.
    pub rejects: Vec<Reject>,
    /// Whether the stream ends here. A stream that stops without this mark was
    /// cut off, and nothing counts as deleted.
    pub last: bool,
}

/// The batches of all requested streams, one stream after the other.
pub type BatchStream = BoxStream<'static, Result<Batch>>;

/// What a source looked like at one moment: equal bytes mean nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Opaque; compared, never read.
    pub bytes: Vec<u8>,
    /// Whether the source had been quiet long enough for its clock to tell a
    /// later change from this moment. One that had not is never trusted.
    pub settled: bool,
}

/// Something that records are read from.
///
/// Implementers write plain `async fn`; [`DynSource`] boxes them where needed.
/// Everything that one [`Source::read`] yields is one snapshot.
pub trait Source: Send + Sync {
    /// Its name, unique in the environment: for files the path relative to the root.
    fn name(&self) -> &SourceName;

    /// Its rank where several sources of one environment hold the same key:
    /// the higher one goes first.
    fn priority(&self) -> i32 {
        0
    }

    /// Finds out which streams there are.
    ///
    /// # Errors
    /// When the source cannot be read now; other sources are not concerned.
    fn streams(&self) -> impl Future<Output = Result<Vec<StreamSpec>>> + Send;

    /// Describes the source without reading it; `None` if that is impossible.
    ///
    /// # Errors
    /// When the source is not there or not accessible.
    fn fingerprint(&self) -> impl Future<Output = Result<Option<Fingerprint>>> + Send {
        async { Ok(None) }
    }

    /// Reads streams, in one snapshot.
    fn read(&self, request: ReadRequest) -> BatchStream;

    /// What was left out or is worth knowing, once read: for people.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A source that somebody else looks at, too.
impl<S: Source> Source for Arc<S> {
    fn name(&self) -> &SourceName {
        S::name(self)
    }

    fn priority(&self) -> i32 {
        S::priority(self)
    }

    fn streams(&self) -> impl Future<Output = Result<Vec<StreamSpec>>> + Send {
        S::streams(self)
    }

    fn fingerprint(&self) -> impl Future<Output = Result<Option<Fingerprint>>> + Send {
        S::fingerprint(self)
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        S::read(self, request)
    }

    fn notes(&self) -> Vec<String> {
        S::notes(self)
    }
}

/// [`Source`] behind a pointer. Implemented for every source; not for implementing.
pub trait DynSource: Send + Sync {
    /// See [`Source::name`].
    fn name(&self) -> &SourceName;
    /// See [`Source::priority`].
    fn priority(&self) -> i32;
    /// See [`Source::streams`].
    fn streams_dyn(&self) -> BoxFuture<'_, Result<Vec<StreamSpec>>>;
    /// See [`Source::fingerprint`].
    fn fingerprint_dyn(&self) -> BoxFuture<'_, Result<Option<Fingerprint>>>;
    /// See [`Source::read`].
    fn read_dyn(&self, request: ReadRequest) -> BatchStream;
    /// See [`Source::notes`].
    fn notes_dyn(&self) -> Vec<String>;
}

impl<S: Source> DynSource for S {
    fn name(&self) -> &SourceName {
        Source::name(self)
    }

    fn priority(&self) -> i32 {
        Source::priority(self)
    }

    fn streams_dyn(&self) -> BoxFuture<'_, Result<Vec<StreamSpec>>> {
        Box::pin(self.streams())
    }

    fn fingerprint_dyn(&self) -> BoxFuture<'_, Result<Option<Fingerprint>>> {
        Box::pin(self.fingerprint())
    }

    fn read_dyn(&self, request: ReadRequest) -> BatchStream {
        self.read(request)
    }

    fn notes_dyn(&self) -> Vec<String> {
        self.notes()
    }
}

/// Batches of records that are at hand already: what a small source returns.
///
/// `records` gives the records of one requested stream. Its error ends the
/// stream without the mark that it was whole: what could not be read must never
/// look as if it were gone. So does a panic in it.
pub fn batches<F>(request: ReadRequest, mut records: F) -> BatchStream
where
    F: FnMut(&StreamName) -> Result<Vec<Record>> + Send + 'static,
{
    let all = request.streams.into_iter().flat_map(move |stream| {
        let caught = catch_unwind(AssertUnwindSafe(|| records(&stream.name)));
        let (pending, mut failure) = match caught.unwrap_or_else(|panic| Err(panicked(&stream.name, panic.as_ref()))) {
            Ok(records) => (records, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let mut pending = pending.into_iter().peekable();
        let mut done = false;
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            if let Some(error) = failure.take() {
                done = true;
                return Some(Err(error));
            }
            let mut chunk = Vec::new();
            let mut bytes = 0;
            // At least one record per batch, however small the limits: it must end.
            while chunk.is_empty() || (chunk.len() < request.limits.rows && bytes < request.limits.bytes) {
                let Some(record) = pending.next() else { break };
                bytes += record.size();
                chunk.push(record);
            }
            done = pending.peek().is_none();
            Some(Ok(Batch {
                stream: stream.name.clone(),
                records: chunk,
                packed: None,
                rejects: Vec::new(),
                last: done,
            }))
        })
    });
    stream::iter(all).boxed()
}

fn panicked(stream: &StreamName, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
    Error::internal(format!("the reader panicked: {text}")).during(format!("reading {stream}"))
}
