//! A local source without what came from others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;

use super::absorbed::AbsorbedStore;
use crate::coerce::Coercer;
use crate::source::{Batch, BatchStream, DynSource, Fingerprint, ReadRequest, Source, StreamSpec};
use crate::{Error, ErrorKind, Record, Result, SourceName, StreamName, TableSpec};

/// Reads a source that pulls write to, and gives this environment's own part of its rows:
/// see [`super::Absorbed::own`]. Rows that are others' altogether are left out.
pub struct OwnSource {
    inner: Box<dyn DynSource>,
    store: Arc<dyn AbsorbedStore>,
    left_out: Arc<Mutex<HashMap<StreamName, u64>>>,
}

impl OwnSource {
    /// Wraps a source; the store knows what was written to it.
    pub fn new(inner: Box<dyn DynSource>, store: Arc<dyn AbsorbedStore>) -> Self {
        Self { inner, store, left_out: Arc::default() }
    }
}

impl Source for OwnSource {
    fn name(&self) -> &SourceName {
        self.inner.name()
    }

    fn priority(&self) -> i32 {
        self.inner.priority()
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        self.inner.streams_dyn().await
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        self.inner.fingerprint_dyn().await
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut own = Own {
            specs: request.streams.clone(),
            store: Arc::clone(&self.store),
            left_out: Arc::clone(&self.left_out),
            current: None,
        };
        self.inner.read_dyn(request).map(move |batch| own.batch(batch?)).boxed()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.inner.notes_dyn();
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let total: u64 = left_out.values().sum();
        if total > 0 {
            notes.push(format!("{}: {total} records came from other environments and stay theirs", self.inner.name()));
        }
        notes
    }
}

/// What is needed to tell the own parts of a read.
struct Own {
    specs: Vec<StreamSpec>,
    store: Arc<dyn AbsorbedStore>,
    left_out: Arc<Mutex<HashMap<StreamName, u64>>>,
    current: Option<Current>,
}

/// The stream under way.
struct Current {
    stream: StreamName,
    table: Arc<TableSpec>,
    /// Whether anything was ever written into it.
    concerned: bool,
    coercer: Option<Coercer>,
}

impl Own {
    fn batch(&mut self, mut batch: Batch) -> Result<Batch> {
        let current = match self.current.take().filter(|current| current.stream == batch.stream) {
            Some(current) => current,
            None => self.begin(&batch.stream)?,
        };
        let current = self.current.insert(current);
        if !current.concerned {
            return Ok(batch);
        }
        let mut records = Vec::with_capacity(batch.records.len());
        let mut left_out = 0;
        let packed = batch.packed.take();
        let unpacked = packed.iter().flat_map(|packed| (0..packed.len()).map(|position| packed.record(position)));
        for record in batch.records.into_iter().chain(unpacked) {
            match current.own(self.store.as_ref(), record)? {
                Some(record) => records.push(record),
                None => left_out += 1,
            }
        }
        if batch.last {
            let withheld = self.store.withheld(&current.table)?;
            records.extend(withheld.into_iter().map(|row| Record::of_row(&current.table, row)));
        }
        batch.records = records;
        if left_out > 0 {
            let mut counts = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry(batch.stream.clone()).or_default() += left_out;
        }
        Ok(batch)
    }

    fn begin(&self, stream: &StreamName) -> Result<Current> {
        let spec = self.specs.iter().find(|spec| spec.name == *stream).ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("a batch of stream {stream}, which was not asked for"))
        })?;
        let table = Arc::clone(&spec.table);
        let concerned = self.store.concerns(&table)?;
        Ok(Current { stream: stream.clone(), table, concerned, coercer: None })
    }
}

impl Current {
    /// The own part of a record; `None` when it is others' altogether.
    fn own(&mut self, store: &dyn AbsorbedStore, record: Record) -> Result<Option<Record>> {
        let schema = record.schema();
        let coercer = match self.coercer.take().filter(|coercer| coercer.fits(schema)) {
            Some(coercer) => coercer,
            None => Coercer::new(Arc::clone(&self.table), Arc::clone(schema)),
        };
        let coercer = self.coercer.insert(coercer);
        // What has no key, or cannot be converted, the engine says.
        let Ok(key) = coercer.key(&record) else { return Ok(Some(record)) };
        let Some(absorbed) = store.find(&self.table, key.hash())? else { return Ok(Some(record)) };
        let Ok(local) = coercer.row(record.clone()) else { return Ok(Some(record)) };
        Ok(absorbed.own(&self.table, &local.row).map(|row| Record::of_row(&self.table, row)))
    }
}
