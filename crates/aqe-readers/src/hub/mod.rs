//! The embedded hub: one SQLite file, the same engine, the same catalogue.

mod blocks;
mod code;
mod codec;
mod conflicts;
mod doubles;
mod fleet;
mod history;
mod overview;
mod schema;
mod statements;
mod txn;
mod vectors;
mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqe_sync_core::audit::audit;
use aqe_sync_core::meet::Settled;
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, DeadLetter, Environment, Error, ErrorKind, KnownRow, Report, Result, Retry,
    Sink, SinkTxn, StreamId, StreamState, TableSpec, Timestamp, failpoint,
};
use futures::channel::mpsc;
use futures::executor::block_on;
use futures::lock::{Mutex, OwnedMutexGuard};
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _};
use rusqlite::{Connection, OpenFlags, params};

pub use aqe_sync_core::overview::{EnvironmentOverview, Overview, RunOverview, StreamOverview, TableOverview};
use statements::Statements;
use txn::{Failure, Hash, Transaction};

use crate::private::PrivateFolder;
use crate::sqlite::header;
use crate::worker::{Worker, no_thread};

/// How long to wait for another process that writes to the hub.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A hub in one SQLite file.
///
/// ```
/// use aqe_readers::EmbeddedHub;
///
/// let folder = tempfile::tempdir().unwrap();
/// let hub = EmbeddedHub::open(&folder.path().join("hub.db"))?;
/// assert_eq!(hub.overview()?.environments.len(), 0);
/// # Ok::<(), aqe_sync_core::Error>(())
/// ```
pub struct EmbeddedHub {
    worker: Arc<Worker<State>>,
    /// One transaction at a time: there is one connection.
    turn: Arc<Mutex<()>>,
    path: PathBuf,
    name: String,
    identity: String,
    /// A private copy goes away with the hub.
    _scratch: Option<PrivateFolder>,
}

/// What lives on the hub's thread.
struct State {
    connection: Connection,
    transaction: Option<Transaction>,
    name: String,
}

impl EmbeddedHub {
    /// Opens a hub, creating file and folder if there are none.
    ///
    /// # Errors
    /// When the file is something else, was written by a newer version, or
    /// cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_named(path, &path.display().to_string(), None)
    }

    /// Opens a hub if there is one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_existing(path: &Path) -> Result<Option<Self>> {
        if path.exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Opens a private copy, which goes away with the returned hub: what is
    /// written to it shows what would happen, and nothing did.
    ///
    /// # Errors
    /// As [`Self::open`], or when there is no room for a copy.
    pub fn scratch(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |cause: std::io::Error| {
            Error::new(ErrorKind::Io, "no temporary folder for a dry run").advice("set TMPDIR").caused_by(cause)
        };
        let folder = PrivateFolder::new().map_err(failed)?;
        let copy = folder.path().join("hub.db");
        if path.exists() {
            let copied = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|from| {
                from.busy_timeout(BUSY_TIMEOUT)?;
                let mut to = Connection::open(&copy)?;
                rusqlite::backup::Backup::new(&from, &mut to)?.run_to_completion(1_000_000, Duration::ZERO, None)
            });
            copied.map_err(|error| hub_error(&name, "copying", error))?;
        }
        Self::open_named(&copy, &name, Some(folder))
    }

    fn open_named(path: &Path, name: &str, scratch: Option<PrivateFolder>) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| {
                Error::new(ErrorKind::Io, format!("the folder {} cannot be created ({cause})", folder.display()))
                    .during(format!("opening {name}"))
                    .advice("choose another place with --hub sqlite:PATH")
                    .caused_by(cause)
            })?;
        }
        let failed = |error| hub_error(name, "opening", error);
        // SQLite takes a file of less than a page for an empty one, and writes over it.
        let start = header::start(path, header::MAGIC.len() as u64).unwrap_or_default();
        if !start.is_empty() && start != header::MAGIC {
            return Err(failed(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
                None,
            )));
        }
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::open(&mut connection, name)?;
        // Safe with NORMAL: a commit lost to a power cut shows as a sequence
        // that the ledger is ahead of, and is sent again.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; \
                 PRAGMA cache_size = -32768;",
            )
            .map_err(failed)?;
        let identity = connection
            .query_row("SELECT value FROM hub_info WHERE key = 'hub_id'", [], |row| row.get(0))
            .map_err(failed)?;
        let state = State { connection, transaction: None, name: name.to_owned() };
        Ok(Self {
            worker: Arc::new(Worker::spawn("embedded hub", state)?),
            turn: Arc::new(Mutex::new(())),
            path: path.to_owned(),
            name: format!("sqlite:{name}"),
            identity,
            _scratch: scratch,
        })
    }

    /// What the hub holds, for people and monitoring.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn overview(&self) -> Result<Overview> {
        let job = self
            .worker
            .call(|state| overview::read(&state.connection).map_err(|error| hub_error(&state.name, "reading", error)));
        block_on(job)
    }
}

impl EmbeddedHub {
    /// Rows of one stream.
    fn rows(&self, stream: &StreamId, table: &Arc<TableSpec>, hash: Hash) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let (stream, table) = (stream.clone(), Arc::clone(table));
        self.stream("embedded hub keys", move |connection, sending| {
            send_rows(connection, &stream, &table, hash, sending)
        })
    }

    /// What `read` sends, read on a connection and a thread of its own.
    fn stream<T, F>(&self, thread: &str, read: F) -> BoxStream<'static, Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Sending<T>) -> Result<(), Failure> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(2);
        let (path, name) = (self.path.clone(), self.name.clone());
        let spawned = std::thread::Builder::new().name(thread.to_owned()).spawn(move || {
            let mut sending = Sending(sender);
            let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
                .and_then(|connection| connection.busy_timeout(BUSY_TIMEOUT).map(|()| connection));
            if let Err(failure) =
                connection.map_err(Failure::from).and_then(|connection| read(&connection, &mut sending))
            {
                // A receiver that is gone has no use for the error.
                let _ = block_on(sending.0.send(Err(convert(failure, &name, "reading"))));
            }
        });
        match spawned {
            Ok(_) => receiver.boxed(),
            Err(cause) => {
                let error = no_thread(cause).during(format!("reading {}", self.name));
                futures::stream::iter([Err(error)]).boxed()
            }
        }
    }
}

/// The sending end of a stream that is read on a thread of its own.
struct Sending<T>(mpsc::Sender<Result<T>>);

impl<T> Sending<T> {
    /// `false` when nobody wants more.
    fn send(&mut self, item: T) -> bool {
        block_on(self.0.send(Ok(item))).is_ok()
    }
}

impl Sink for EmbeddedHub {
    type Txn = EmbeddedTxn;

    fn name(&self) -> &str {
        &self.name
    }

    async fn identity(&self) -> Result<String> {
        Ok(self.identity.clone())
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        let table = Arc::clone(table);
        self.worker
            .call(move |state| {
                schema::prepare(&state.connection, &table).map_err(|error| {
                    hub_error(&state.name, "preparing a table of", error).context("table", table.name())
                })
            })
            .await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        let environment = environment.clone();
        self.worker
            .call(move |state| {
                states(&state.connection, &environment).map_err(|error| hub_error(&state.name, "reading", error))
            })
            .await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Hash::Recorded)
    }

    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Hash::Recomputed)
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<EmbeddedTxn> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let transaction = Transaction::new(stream.clone(), Arc::clone(table));
        // Made before BEGIN has an answer: who stops waiting for it rolls back, too.
        // One ROLLBACK too many does nothing.
        let begun = EmbeddedTxn { worker: Arc::clone(&self.worker), open: true, _turn: turn };
        self.worker
            .call(move |state| {
                state
                    .connection
                    .execute_batch("BEGIN IMMEDIATE")
                    .map_err(|error| hub_error(&state.name, "writing to", error))?;
                state.transaction = Some(transaction);
                failpoint!("embedded-begun");
                Ok(())
            })
            .await?;
        Ok(begun)
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        let report = report.clone();
        let _turn = self.turn.lock().await;
        self.worker
            .call(move |state| {
                keep_run(&mut state.connection, &report).map_err(|error| hub_error(&state.name, "writing to", error))
            })
            .await
    }
}

/// A transaction on the embedded hub.
pub struct EmbeddedTxn {
    worker: Arc<Worker<State>>,
    open: bool,
    _turn: OwnedMutexGuard<()>,
}

impl EmbeddedTxn {
    async fn with<R, F>(&self, job: F) -> Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&Connection, &mut Transaction) -> Result<R, Failure> + Send + 'static,
    {
        self.worker
            .call(|state| {
                let Some(transaction) = state.transaction.as_mut() else {
                    return Err(Error::internal("the transaction is over"));
                };
                job(&state.connection, transaction).map_err(|failure| {
                    convert(failure, &state.name, "writing to").context("table", transaction.table().name())
                })
            })
            .await
    }
}

impl SinkTxn for EmbeddedTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        self.with(move |connection, transaction| transaction.apply(connection, changes)).await
    }

    async fn resolve(&mut self, settled: Vec<Settled>) -> Result<()> {
        self.with(move |connection, transaction| transaction.resolve(connection, settled)).await
    }

    async fn reject(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        self.with(move |connection, transaction| Ok(transaction.reject(connection, &letters)?)).await
    }

    async fn commit(mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let sequence = self
            .with(move |connection, transaction| {
                let sequence = transaction.checkpoint(connection, &checkpoint)?;
                failpoint!("embedded-checkpoint-written");
                connection.execute_batch("COMMIT")?;
                failpoint!("embedded-committed");
                Ok(sequence)
            })
            .await?;
        self.open = false;
        self.worker.post(|state| state.transaction = None);
        Ok(Committed { sequence })
    }
}

impl Drop for EmbeddedTxn {
    fn drop(&mut self) {
        if self.open {
            self.worker.post(|state| {
                state.transaction = None;
                // Fails only when SQLite rolled back by itself already.
                let _ = state.connection.execute_batch("ROLLBACK");
            });
        }
    }
}

fn states(connection: &Connection, environment: &Environment) -> rusqlite::Result<Vec<StreamState>> {
    let mut statement = connection.prepare(
        "SELECT source, stream, sequence, run_id, complete, synced_at, table_name, instance FROM sync_state \
         WHERE source_env = ?1",
    )?;
    let rows = statement.query_map([environment.as_str()], |row| {
        let (source, stream, at): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(5)?);
        let checkpoint = Checkpoint {
            run_id: row.get(3)?,
            at: Timestamp::parse(&at).unwrap_or_else(Timestamp::now),
            complete: row.get(4)?,
            instance: row.get::<_, String>(7)?.as_str().into(),
        };
        let stream = StreamId {
            environment: environment.clone(),
            source: source.as_str().into(),
            stream: stream.as_str().into(),
        };
        Ok(StreamState { stream, sequence: row.get(2)?, table: row.get(6)?, checkpoint })
    })?;
    rows.collect()
}

fn send_rows(
    connection: &Connection,
    stream: &StreamId,
    table: &TableSpec,
    hash: Hash,
    sending: &mut Sending<Vec<KnownRow>>,
) -> Result<(), Failure> {
    const ROWS: usize = 5_000;
    let statements = Statements::new(table);
    let sql = if hash == Hash::Recorded { statements.known } else { statements.stored };
    let mut statement = connection.prepare(&sql)?;
    let writer = stream.contributor();
    let mut rows =
        statement.query(params![stream.environment.as_str(), writer.source.as_str(), writer.stream.as_str()])?;
    let mut batch = Vec::with_capacity(ROWS);
    while let Some(row) = rows.next()? {
        batch.extend(txn::known_row(table, &writer, row, hash)?);
        if batch.len() == ROWS && !sending.send(std::mem::take(&mut batch)) {
            return Ok(());
        }
    }
    sending.send(batch);
    Ok(())
}

fn keep_run(connection: &mut Connection, report: &Report) -> rusqlite::Result<()> {
    let event = audit(report);
    if let Some(event) = &event {
        schema::prepare(connection, event.table)?;
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    history::add(&transaction, report)?;
    if let Some(event) = event {
        txn::write_event(&transaction, &event)?;
    }
    failpoint!("embedded-history-written");
    transaction.commit()?;
    failpoint!("embedded-history-committed");
    Ok(())
}

fn convert(failure: Failure, name: &str, doing: &str) -> Error {
    match failure {
        Failure::Sqlite(error) => hub_error(name, doing, error),
        Failure::Other(error) => error,
    }
}

/// SQLite's error about the hub, as one of ours.
fn hub_error(name: &str, doing: &str, cause: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let (kind, message, advice, retry) = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Locked, "another process is writing to the hub", "sync again when it is done", Retry::Later)
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
            ErrorKind::Malformed,
            "the hub file is damaged or no SQLite database",
            "restore it from a backup, or move it away: the next sync fills a new one from the local sources",
            Retry::Never,
        ),
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::Io, "the disk is full", "make room and sync again; what was committed stays", Retry::Later)
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            ErrorKind::PermissionDenied,
            "the hub file cannot be written",
            "check the permissions of the file and its folder, or choose another with --hub sqlite:PATH",
            Retry::Never,
        ),
        _ => (ErrorKind::Io, "SQLite could not do it", "see the cause", Retry::Later),
    };
    Error::new(kind, format!("{message} ({cause})"))
        .during(format!("{doing} {name}"))
        .advice(advice)
        .retry(retry)
        .caused_by(cause)
}
