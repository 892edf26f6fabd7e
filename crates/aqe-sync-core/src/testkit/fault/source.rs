//! A source that fails as told.

use futures::StreamExt as _;
use futures::stream;

use super::{Duty, Faults, Faulty, injected};
use crate::{Batch, BatchStream, Fingerprint, PackedRecords, ReadRequest, Result, Source, SourceName, StreamSpec};

/// Where a fault of a source strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStep {
    /// [`Source::streams`].
    Streams,
    /// [`Source::fingerprint`].
    Fingerprint,
    /// One batch of [`Source::read`].
    Batch,
}

/// Any source, with faults. What it is not told to break is as the source made it.
///
/// ```
/// use aqe_sync_core::testkit::{Fault, FaultySource, SourceStep};
/// # use aqe_sync_core::{BatchStream, ReadRequest, Result, Source, SourceName, StreamSpec, batches};
/// # struct Notes(SourceName);
/// # impl Source for Notes {
/// #     fn name(&self) -> &SourceName { &self.0 }
/// #     async fn streams(&self) -> Result<Vec<StreamSpec>> { Ok(Vec::new()) }
/// #     fn read(&self, request: ReadRequest) -> BatchStream { batches(request, |_| Ok(Vec::new())) }
/// # }
/// let source = FaultySource::new(Notes("notes.txt".into()));
/// source.inject(SourceStep::Streams, 0, Fault::Reject);
/// assert!(futures::executor::block_on(source.streams()).is_err());
/// assert_eq!((source.fired(), source.waiting()), (1, 0));
/// ```
pub type FaultySource<S> = Faulty<S, SourceStep>;

impl<S: Source> Source for FaultySource<S> {
    fn name(&self) -> &SourceName {
        self.inner.name()
    }

    fn priority(&self) -> i32 {
        self.inner.priority()
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        self.faults.around(SourceStep::Streams, self.inner.streams()).await
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        self.faults.around(SourceStep::Fingerprint, self.inner.fingerprint()).await
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let reading = Reading { batches: self.inner.read(request), faults: self.faults.clone(), then: Then::GoOn };
        stream::unfold(reading, |mut reading| async { reading.next().await.map(|batch| (batch, reading)) }).boxed()
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }
}

struct Reading {
    batches: BatchStream,
    faults: Faults<SourceStep>,
    then: Then,
}

/// What follows the batch that was given last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Fail,
    End,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Batch>> {
        let then = std::mem::replace(&mut self.then, Then::End);
        match then {
            Then::End => return None,
            Then::Fail => return Some(Err(injected(&SourceStep::Batch))),
            Then::GoOn => {}
        }
        let batch = self.batches.next().await?;
        self.then = Then::GoOn;
        let duty = self.faults.at(SourceStep::Batch);
        match (duty, batch) {
            (Duty::Reject, _) => {
                self.then = Then::End;
                Some(Err(injected(&SourceStep::Batch)))
            }
            (Duty::FailAfter, batch) => {
                self.then = Then::Fail;
                Some(batch)
            }
            (Duty::Cut, batch) => {
                self.then = Then::End;
                Some(batch.map(half))
            }
            (duty, batch) => Some(duty.afterwards(&SourceStep::Batch, batch).await),
        }
    }
}

/// The first half of a batch, without the mark of its end.
fn half(batch: Batch) -> Batch {
    let packed = batch.packed.map(|packed| {
        let mut first = PackedRecords::new(std::sync::Arc::clone(packed.schema()));
        for position in 0..packed.len() / 2 {
            packed.record(position).values().iter().for_each(|value| first.push(value));
            first.end_record();
        }
        first
    });
    let mut records = batch.records;
    records.truncate(records.len() / 2);
    Batch { records, packed, last: false, ..batch }
}
