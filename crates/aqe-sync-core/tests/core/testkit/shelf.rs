//! A source over records in memory that others write to, sound or broken in one way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aqe_sync_core::{
    Batch, BatchStream, Fingerprint, ReadRequest, Record, Result, Source, SourceName, StreamName, StreamSpec, batches,
};
use futures::StreamExt as _;
use futures::stream;

use crate::support::note::{note, notes, spec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Repeats its first row in a reading after one that was cut.
    RepeatsAfterACut,
    /// Leaves its last row out of a reading after one that was cut.
    ForgetsAfterACut,
    /// Gives less every time.
    Wears,
    /// The fingerprint is always the same.
    StuckFingerprint,
    /// The fingerprint counts rows, and does not see what is in them.
    CountingFingerprint,
    /// The fingerprint is never settled.
    RestlessFingerprint,
    /// Looks every row up when it is asked for.
    LooksWhileReading,
    /// Ends after a panic as if nothing had happened.
    SwallowsPanics,
    /// Does not catch its panics.
    LetsPanicsThrough,
    /// Readings share one position.
    SharesItsPosition,
    /// Does not mark the end.
    Unmarked,
    /// Ignores the limits.
    Hasty,
}

/// What others write to.
pub(super) type Rows = Arc<Mutex<(u64, Vec<Record>)>>;

pub(super) fn rows(count: usize) -> Rows {
    Arc::new(Mutex::new((0, (0..count).map(|number| note(&number.to_string(), "0")).collect())))
}

/// Changes the first row and the last one.
pub(super) fn change(rows: &Rows) {
    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
    rows.0 += 1;
    let body = rows.0.to_string();
    let last = rows.1.len() - 1;
    for position in [0, last] {
        rows.1[position] = note(&position.to_string(), body.as_str());
    }
}

pub(super) struct Shelf {
    name: SourceName,
    rows: Rows,
    flaw: Flaw,
    panics: bool,
    cut: Arc<AtomicBool>,
    position: Arc<AtomicUsize>,
}

impl Shelf {
    pub(super) fn new(rows: &Rows, flaw: Flaw) -> Self {
        let (cut, position) = (Arc::default(), Arc::default());
        Self { name: "shelf".into(), rows: Arc::clone(rows), flaw, panics: false, cut, position }
    }

    pub(super) fn panicking(mut self) -> Self {
        self.panics = true;
        self
    }

    fn records(&self) -> Vec<Record> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn panicking_batches(&self, request: ReadRequest) -> BatchStream {
        match self.flaw {
            Flaw::LetsPanicsThrough => stream::iter(0..).map(|_| panic!("lost my way")).boxed(),
            Flaw::SwallowsPanics => {
                let first = one(self.records(), false);
                stream::iter([Ok(first)]).boxed()
            }
            _ => batches(request, |_| panic!("lost my way")),
        }
    }
}

/// Notices that a reading is dropped before its end.
struct Guard(Arc<AtomicBool>, bool);

impl Guard {
    fn look(&mut self, batch: &Result<Batch>) {
        self.1 |= batch.as_ref().is_ok_and(|batch| batch.last);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.1 {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

fn one(records: Vec<Record>, last: bool) -> Batch {
    Batch { stream: "notes".into(), records, packed: None, rejects: Vec::new(), last }
}

impl Source for Shelf {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        Ok(vec![spec(notes())])
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match self.flaw {
            Flaw::StuckFingerprint => 7,
            Flaw::CountingFingerprint => rows.1.len() as u64,
            _ => rows.0,
        };
        let settled = self.flaw != Flaw::RestlessFingerprint;
        Ok(Some(Fingerprint { bytes: number.to_le_bytes().to_vec(), settled }))
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        if self.panics {
            return self.panicking_batches(request);
        }
        let mut records = self.records();
        let was_cut = self.cut.swap(false, Ordering::SeqCst);
        match self.flaw {
            Flaw::RepeatsAfterACut if was_cut => records.push(records[0].clone()),
            Flaw::ForgetsAfterACut if was_cut => records.truncate(records.len() - 1),
            Flaw::Wears => records.truncate(records.len() - self.position.fetch_add(1, Ordering::SeqCst)),
            Flaw::LooksWhileReading => {
                let (rows, count) = (Arc::clone(&self.rows), records.len());
                let look = move |at: usize| {
                    let rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                    Ok(one(vec![rows.1[at].clone()], at + 1 == count))
                };
                return stream::iter(0..count).map(look).boxed();
            }
            Flaw::SharesItsPosition => {
                self.position.store(0, Ordering::SeqCst);
                let position = Arc::clone(&self.position);
                let next = move || {
                    let at = position.fetch_add(1, Ordering::SeqCst);
                    (at < records.len()).then(|| Ok(one(vec![records[at].clone()], at + 1 == records.len())))
                };
                return stream::iter(std::iter::from_fn(next)).boxed();
            }
            Flaw::Unmarked => return stream::iter([Ok(one(records, false))]).boxed(),
            Flaw::Hasty => return stream::iter([Ok(one(records, true))]).boxed(),
            _ => {}
        }
        let mut guard = Guard(Arc::clone(&self.cut), false);
        let all = batches(request, move |_: &StreamName| Ok(records.clone()));
        all.inspect(move |batch| guard.look(batch)).boxed()
    }
}
