//! Sources over SQLite databases of any tool and version.
//!
//! What a table is follows from its columns, never from the file's path or the
//! table's name alone.

mod fingerprint;
pub(crate) mod header;
pub(crate) mod introspect;
pub(crate) mod layout;
pub(crate) mod mappings;
pub(crate) mod rows;
mod snapshot;

use std::sync::{Arc, Mutex};

use aqe_sync_core::{
    BatchStream, Error, ErrorKind, Fingerprint, ReadRequest, Result, Retry, Source, SourceName, StreamSpec,
};

use crate::emit::{self, Stop};
use crate::json::lock;
use crate::{SourceFile, worker};
use layout::Plan;
use snapshot::Snapshot;

/// A SQLite file as a source.
#[derive(Debug)]
pub struct SqliteSource {
    file: SourceFile,
    shared: Arc<Shared>,
}

/// What is kept between listing the streams and reading them.
#[derive(Debug, Default)]
struct Shared {
    opened: Mutex<Option<Opened>>,
    notes: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Opened {
    snapshot: Snapshot,
    plans: Vec<Plan>,
}

impl SqliteSource {
    /// A database file.
    pub fn new(file: SourceFile) -> Self {
        Self { file, shared: Arc::default() }
    }

    /// The file where it really is: SQLite keeps WAL and journal beside the
    /// target of a symbolic link. Asked at every use, since links may be moved.
    fn resolved(&self) -> SourceFile {
        let mut file = self.file.clone();
        // What cannot be resolved cannot be read either: its reader says why.
        if let Ok(path) = std::fs::canonicalize(&file.path) {
            file.path = path;
        }
        file
    }
}

impl Shared {
    fn put(&self, opened: Opened) {
        *lock(&self.opened) = Some(opened);
    }

    fn take(&self) -> Option<Opened> {
        lock(&self.opened).take()
    }

    fn set_notes(&self, notes: Vec<String>) {
        *lock(&self.notes) = notes;
    }
}

fn open(file: &SourceFile, shared: &Shared) -> Result<Opened> {
    let snapshot = Snapshot::take(file)?;
    let tables = introspect::tables(&snapshot.connection).map_err(|error| sqlite_error(&file.name, error))?;
    let (plans, notes) = layout::plan(file, &tables);
    shared.set_notes(notes);
    Ok(Opened { snapshot, plans })
}

/// Looks something up in a snapshot of a file.
pub(crate) fn in_snapshot<R>(file: &SourceFile, job: impl FnOnce(&rusqlite::Connection) -> Result<R>) -> Result<R> {
    job(&Snapshot::take(file)?.connection)
}

impl Source for SqliteSource {
    fn name(&self) -> &SourceName {
        &self.file.name
    }

    fn priority(&self) -> i32 {
        self.file.priority
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        let (file, shared) = (self.resolved(), Arc::clone(&self.shared));
        worker::run("open database", move || {
            let opened = open(&file, &shared)?;
            let specs = opened.plans.iter().map(|plan| plan.spec.clone()).collect();
            shared.put(opened);
            Ok(specs)
        })
        .await
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        fingerprint::take(&self.resolved()).map(Some)
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let (file, shared) = (self.resolved(), Arc::clone(&self.shared));
        emit::stream(&self.file.name, request.limits, move |emitter| {
            let opened = match shared.take() {
                Some(opened) => opened,
                None => open(&file, &shared)?,
            };
            for spec in &request.streams {
                emitter.start(&spec.name);
                let Some(plan) = opened.plans.iter().find(|plan| plan.spec.name == spec.name) else {
                    return Err(Stop::Failed(gone(&file.name, spec)));
                };
                rows::read(&opened.snapshot.connection, &file, plan, emitter)?;
                opened.snapshot.check()?;
                emitter.end()?;
            }
            Ok(())
        })
    }

    fn notes(&self) -> Vec<String> {
        lock(&self.shared.notes).clone()
    }
}

fn gone(name: &SourceName, spec: &StreamSpec) -> Error {
    Error::new(ErrorKind::NotFound, "the table is not in the file any more")
        .during(format!("reading {name}"))
        .context("table", &spec.name)
        .advice("its rows stay in the hub")
}

/// SQLite's error about a source, as one of ours.
pub(crate) fn sqlite_error(name: &SourceName, cause: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let damaged = matches!(cause.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
    let (kind, message, advice) = if damaged {
        (ErrorKind::Malformed, "the database is damaged", "recover it with sqlite3 and .recover, or restore a backup")
    } else {
        (ErrorKind::Io, "SQLite could not read it", "see the cause; sync again")
    };
    Error::new(kind, format!("{message} ({cause})"))
        .during(format!("reading {name}"))
        .advice(format!("{advice}; what was synced before stays in the hub"))
        .retry(Retry::Later)
        .caused_by(cause)
}
