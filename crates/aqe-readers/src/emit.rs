//! From a blocking reader on its own thread to an asynchronous stream of batches.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use aqe_sync_core::{
    Batch, BatchLimits, BatchStream, Error, PackedRecords, Record, Reject, Result, Schema, SourceName, StreamName,
};
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::{SinkExt as _, StreamExt as _};

use crate::worker::no_thread;

/// Batches that wait for the engine: enough to overlap reading and writing.
const AHEAD: usize = 2;

/// Why a reader stops early.
pub(crate) enum Stop {
    /// Nobody takes the batches any more: no fault.
    Dropped,
    /// Something is wrong with the source.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Collects records into batches, one stream after the other.
pub(crate) struct Emitter {
    sender: mpsc::Sender<Result<Batch>>,
    limits: BatchLimits,
    stream: StreamName,
    records: Vec<Record>,
    packed: Option<PackedRecords>,
    rejects: Vec<Reject>,
    bytes: usize,
    #[cfg(test)]
    told_to_panic: bool,
}

impl Emitter {
    /// Says which stream the next records belong to.
    pub(crate) fn start(&mut self, stream: &StreamName) {
        self.stream = stream.clone();
    }

    /// Takes a record; hands a full batch on, waiting if the engine is behind.
    pub(crate) fn record(&mut self, record: Record) -> Result<(), Stop> {
        self.bytes += record.size();
        self.records.push(record);
        if self.records.len() >= self.limits.rows.max(1) || self.bytes >= self.limits.bytes {
            return self.send(false);
        }
        Ok(())
    }

    /// Takes a record whose values `fill` pushes, one per field of the schema.
    pub(crate) fn pack<F>(&mut self, schema: &Arc<Schema>, fill: F) -> Result<(), Stop>
    where
        F: FnOnce(&mut PackedRecords) -> Result<(), Stop>,
    {
        let packed = self.packed.get_or_insert_with(|| PackedRecords::new(Arc::clone(schema)));
        fill(packed)?;
        packed.end_record();
        if packed.len() >= self.limits.rows.max(1) || packed.size() >= self.limits.bytes {
            return self.send(false);
        }
        Ok(())
    }

    /// Takes what could not be made a record.
    pub(crate) fn reject(&mut self, reject: Reject) -> Result<(), Stop> {
        self.bytes += reject.letter.record.as_str().len();
        self.rejects.push(reject);
        if self.bytes >= self.limits.bytes { self.send(false) } else { Ok(()) }
    }

    /// Hands on what is waiting, so that later rejects come after all earlier
    /// records. Of one batch the engine takes rejects last, a comparison takes
    /// them first: there a record must not pass for the repetition of a reject.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        self.send(false)
    }

    /// Says that the stream was read to its end.
    pub(crate) fn end(&mut self) -> Result<(), Stop> {
        self.send(true)
    }

    fn send(&mut self, last: bool) -> Result<(), Stop> {
        #[cfg(test)]
        assert!(!self.told_to_panic, "told to panic");
        let batch = Batch {
            stream: self.stream.clone(),
            records: std::mem::take(&mut self.records),
            packed: self.packed.take(),
            rejects: std::mem::take(&mut self.rejects),
            last,
        };
        self.bytes = 0;
        block_on(self.sender.send(Ok(batch))).map_err(|_| Stop::Dropped)
    }
}

/// Runs `read` on a thread of its own and streams what it emits.
///
/// A panic in `read` becomes an error of the stream; dropping the stream ends
/// the thread at its next batch.
pub(crate) fn stream<F>(name: &SourceName, limits: BatchLimits, read: F) -> BatchStream
where
    F: FnOnce(&mut Emitter) -> Result<(), Stop> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut emitter = Emitter {
        sender: sender.clone(),
        limits,
        stream: StreamName::new(""),
        records: Vec::new(),
        packed: None,
        rejects: Vec::new(),
        bytes: 0,
        #[cfg(test)]
        told_to_panic: is_told_to_panic(name),
    };
    let mut errors = sender;
    let source = name.clone();
    let spawned = thread::Builder::new().name(format!("read {name}")).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&mut emitter)));
        let error = match outcome {
            Ok(Ok(()) | Err(Stop::Dropped)) => return,
            Ok(Err(Stop::Failed(error))) => error,
            Err(panic) => Error::internal(format!("the reader panicked: {}", panic_text(panic.as_ref())))
                .during(format!("reading {source}")),
        };
        // A receiver that is gone has no use for the error.
        let _ = block_on(errors.send(Err(error)));
    });
    match spawned {
        Ok(_) => receiver.boxed(),
        Err(cause) => {
            let error = no_thread(cause).during(format!("reading {name}"));
            futures::stream::iter([Err(error)]).boxed()
        }
    }
}

/// The message of a panic, as far as it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Sources whose next reading panics at its first batch.
#[cfg(test)]
static PANICS: std::sync::Mutex<Vec<SourceName>> = std::sync::Mutex::new(Vec::new());

/// Makes the next reading of a source panic. One that began before, and whose thread still
/// runs, is not meant.
#[cfg(test)]
pub(crate) fn panic_in_next_reading(name: &SourceName) {
    crate::json::lock(&PANICS).push(name.clone());
}

#[cfg(test)]
fn is_told_to_panic(name: &SourceName) -> bool {
    let mut panics = crate::json::lock(&PANICS);
    let position = panics.iter().position(|told| told == name);
    position.map(|position| panics.remove(position)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_reader_is_an_error_and_not_the_end_of_the_stream() {
        let mut batches = stream(&SourceName::new("a.db"), BatchLimits::default(), |emitter| {
            emitter.start(&"t".into());
            emitter.end()?;
            panic!("lost my way");
        });
        assert!(block_on(batches.next()).is_some_and(|batch| batch.is_ok()));
        let error = block_on(batches.next()).expect("a message").expect_err("an error");
        assert!(error.to_string().contains("lost my way"), "{error}");
        assert!(block_on(batches.next()).is_none());
    }

    #[test]
    fn dropping_the_stream_ends_the_reader() {
        let (done, finished) = std::sync::mpsc::channel();
        let batches = stream(&SourceName::new("a.db"), BatchLimits::default(), move |emitter| {
            let outcome = loop {
                if let Err(stop) = emitter.end() {
                    break stop;
                }
            };
            let _ = done.send(matches!(outcome, Stop::Dropped));
            Err(outcome)
        });
        drop(batches);
        assert_eq!(finished.recv(), Ok(true));
    }
}
