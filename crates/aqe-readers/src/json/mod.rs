//! Sources over JSON files.
//!
//! A file is copied while it holds still ([`crate::snapshot`]), its top level
//! is outlined ([`outline`]), its parts are assigned to hub tables ([`plan`]),
//! and each part is then streamed entry by entry ([`walk`], [`mapping`]): the
//! tree of a whole file is never built.

mod archive;
mod daemon;
mod intelligence;
mod mapping;
mod memories;
mod metrics;
mod outline;
mod plan;
mod walk;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aqe_sync_core::{
    BatchStream, Error, ErrorKind, Fingerprint, ReadRequest, Result, Retry, Source, SourceName, StreamSpec, tables,
};

use self::plan::Planned;
use crate::SourceFile;
use crate::emit::{self, Emitter, Stop};
use crate::snapshot::Snapshot;
use crate::stat::{Stat, io_error};

/// Part of every fingerprint: another number makes every file be read again,
/// as it must when files come to be read differently.
const READER_VERSION: u32 = 1;

/// Which tool's JSON it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLayout {
    /// claude-flow 3.x `memory/store.json`.
    Store,
    /// claude-flow 1.x and 2.0 `memory/memory-store.json`.
    MemoryStore,
    /// claude-flow 3.x `daemon-state.json`.
    DaemonState,
    /// claude-flow `metrics/*.json`.
    Metrics,
    /// ruvector `intelligence.json`.
    Intelligence,
    /// A file that nobody has a mapping for: kept in `archive_records`.
    Archive,
}

/// A JSON file as a source.
///
/// What a layout does not know is not dropped: unknown members of an entry go
/// to the hub's `extra`, unknown parts of a file to `archive_records`, one
/// record per member or element. Of entries with the same key the last counts,
/// as in JavaScript; the others become dead letters.
#[derive(Debug)]
pub struct JsonSource {
    file: SourceFile,
    layout: JsonLayout,
    /// What [`Source::streams`] looked at, for the read that follows.
    taken: Mutex<Option<Taken>>,
    notes: Mutex<Vec<String>>,
}

/// A snapshot with the streams it holds.
#[derive(Debug)]
struct Taken {
    snapshot: Snapshot,
    streams: Vec<Planned>,
    notes: Vec<String>,
}

impl JsonSource {
    /// A file with its layout.
    pub fn new(file: SourceFile, layout: JsonLayout) -> Self {
        Self { file, layout, taken: Mutex::new(None), notes: Mutex::new(Vec::new()) }
    }
}

impl Taken {
    fn of(file: &SourceFile, layout: JsonLayout) -> Result<Self> {
        let mut snapshot = Snapshot::of_json(&file.path, &file.name)?;
        let (streams, notes) = plan::plan(file, layout, &mut snapshot).map_err(|error| named(file, error))?;
        Ok(Self { snapshot, streams, notes })
    }

    fn emit(&mut self, file: &SourceFile, request: &ReadRequest, emitter: &mut Emitter) -> Result<(), Stop> {
        for spec in &request.streams {
            let planned = self.streams.iter().find(|planned| planned.spec.name == spec.name);
            let planned = planned.ok_or_else(|| vanished(file, spec))?;
            emitter.start(&spec.name);
            planned.emit(&mut self.snapshot, file, emitter)?;
            emitter.end()?;
        }
        Ok(())
    }
}

fn named(file: &SourceFile, error: Error) -> Error {
    error.during(format!("reading {}", file.name))
}

fn vanished(file: &SourceFile, spec: &StreamSpec) -> Error {
    let message = format!("the part {} is no longer there", spec.name);
    named(file, Error::new(ErrorKind::Changed, message))
        .advice("the file changed meanwhile; what was synced before stays in the hub, the next sync tries again")
        .retry(Retry::Later)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for JsonSource {
    fn name(&self) -> &SourceName {
        &self.file.name
    }

    fn priority(&self) -> i32 {
        self.file.priority
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        *lock(&self.taken) = None;
        let mut taken = Taken::of(&self.file, self.layout)?;
        *lock(&self.notes) = std::mem::take(&mut taken.notes);
        let specs = taken.streams.iter().map(|planned| planned.spec.clone()).collect();
        *lock(&self.taken) = Some(taken);
        Ok(specs)
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        let stat = Stat::at(&self.file.path).map_err(|cause| io_error(&self.file.name, cause))?;
        let catalogue = tables::digest();
        let mut bytes =
            format!("json {READER_VERSION} {catalogue:x} {:?} {} ", self.layout, self.file.scope).into_bytes();
        bytes.extend(stat.bytes());
        Ok(Some(Fingerprint { bytes, settled: stat.settled(SystemTime::now()) }))
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let taken = lock(&self.taken).take();
        let (file, layout) = (self.file.clone(), self.layout);
        emit::stream(&self.file.name, request.limits, move |emitter| {
            let mut taken = match taken {
                Some(taken) => taken,
                None => Taken::of(&file, layout)?,
            };
            taken.emit(&file, &request, emitter).map_err(|stop| match stop {
                Stop::Failed(error) => Stop::Failed(named(&file, error)),
                Stop::Dropped => stop,
            })
        })
    }

    fn notes(&self) -> Vec<String> {
        lock(&self.notes).clone()
    }
}
