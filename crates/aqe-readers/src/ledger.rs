//! The ledger in a SQLite file: entries as packed segments, appended batch by batch.

mod intents;
mod known;
mod segments;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqe_sync_core::ledger::{Intent, LedgerEntry, LedgerStream, SourceState};
use aqe_sync_core::{Environment, Error, ErrorKind, Ledger, Result, SourceName, StreamId, Timestamp, failpoint};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::private::PrivateFolder;
use crate::sqlite::header;
use crate::synced;
pub use known::KnownStream;
use segments::{add_segment, newest, unpack};

/// `aqel` in ASCII.
const APPLICATION_ID: i32 = 0x6171_656c;

/// Raised whenever the format changes. One that is older by more than a table is rebuilt.
const FORMAT: i32 = 2;

/// The format without [`INTENTS`].
const WITHOUT_INTENTS: i32 = 1;

/// So many segments are merged into one when they are next loaded.
const MERGE_AT: usize = 16;

const SCHEMA: &str = "
CREATE TABLE streams (
  id INTEGER PRIMARY KEY, hub TEXT NOT NULL, source_env TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL,
  sequence INTEGER NOT NULL, UNIQUE (hub, source_env, source, stream)
) STRICT;
CREATE TABLE segments (
  stream_id INTEGER NOT NULL REFERENCES streams (id), number INTEGER NOT NULL, checksum INTEGER NOT NULL,
  entries BLOB NOT NULL, PRIMARY KEY (stream_id, number)
) STRICT;
CREATE TABLE sources (
  hub TEXT NOT NULL, source_env TEXT NOT NULL, source TEXT NOT NULL, fingerprint BLOB NOT NULL, streams TEXT NOT NULL,
  PRIMARY KEY (hub, source_env, source)
) STRICT;";

/// What a run asked for, or is about to. Blobs as those of segments.
const INTENTS: &str = "
CREATE TABLE intents (
  stream_id INTEGER NOT NULL REFERENCES streams (id), number INTEGER NOT NULL, run_id TEXT NOT NULL,
  since INTEGER NOT NULL, commits INTEGER NOT NULL, checksum INTEGER NOT NULL, entries BLOB NOT NULL,
  PRIMARY KEY (stream_id, number)
) STRICT;";

/// A ledger in a file, for one hub.
///
/// It is a cache: a file that is damaged or of another format is moved aside and
/// begun anew, and what it knew is asked of the hub.
pub struct LedgerFile {
    store: Mutex<Store>,
    path: PathBuf,
    hub: String,
    name: String,
    _scratch: Option<PrivateFolder>,
}

struct Store {
    connection: Connection,
    /// Whether the whole file was looked through. That waits until an entry is
    /// needed: fingerprints vouch for themselves.
    checked: bool,
}

impl LedgerFile {
    /// Opens a ledger for the hub of that identity, creating the file if there is none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(path: &Path, hub_identity: &str) -> Result<Self> {
        Self::open_with(path, hub_identity, None)
    }

    /// Opens a private copy, which goes away with the returned ledger.
    ///
    /// # Errors
    /// When there is no room for a copy.
    pub fn scratch(path: &Path, hub_identity: &str) -> Result<Self> {
        let failed = |cause: std::io::Error| {
            Error::new(ErrorKind::Io, "no temporary folder for a dry run").advice("set TMPDIR").caused_by(cause)
        };
        let folder = PrivateFolder::new().map_err(failed)?;
        let copy = folder.path().join("ledger.db");
        if path.exists() {
            // A copy that is not whole is noticed and rebuilt, as any ledger.
            std::fs::copy(path, &copy).map_err(failed)?;
            let mut wal = path.as_os_str().to_owned();
            wal.push("-wal");
            if Path::new(&wal).exists() {
                std::fs::copy(&wal, folder.path().join("ledger.db-wal")).map_err(failed)?;
            }
        }
        Self::open_with(&copy, hub_identity, Some(folder))
    }

    /// Looks a ledger over, all pages of it, and changes nothing. Says whether there is one.
    ///
    /// # Errors
    /// When the file is damaged, or is no ledger of this version: then the next sync moves
    /// it aside and rebuilds it. When it cannot be read.
    pub fn examine(path: &Path) -> Result<bool> {
        if !path.exists() {
            return Ok(false);
        }
        let sound = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|connection| {
            connection.busy_timeout(Duration::from_secs(10))?;
            let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
            let format: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if (application, format) != (APPLICATION_ID, FORMAT) || schema(&connection)? != schema_of_this_version()? {
                return Err(not_sound("not a ledger of this version"));
            }
            let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if verdict == "ok" { Ok(()) } else { Err(not_sound(&verdict)) }
        });
        match sound {
            Ok(()) => Ok(true),
            Err(error) if is_damaged(&error) => {
                Err(Error::new(ErrorKind::Malformed, format!("the ledger is damaged ({error})"))
                    .context("file", path.display())
                    .advice("the next sync moves it aside and rebuilds it from the hub: nothing is lost")
                    .caused_by(error))
            }
            Err(error) => Err(ledger_error(&path.display().to_string(), error)),
        }
    }

    fn open_with(path: &Path, hub_identity: &str, scratch: Option<PrivateFolder>) -> Result<Self> {
        let name = path.display().to_string();
        let connection = match connect(path) {
            Ok(connection) => connection,
            Err(error) if is_damaged(&error) => {
                move_aside(path)?;
                connect(path).map_err(|error| ledger_error(&name, error))?
            }
            Err(error) => return Err(ledger_error(&name, error)),
        };
        let store = Mutex::new(Store { connection, checked: false });
        Ok(Self { store, path: path.to_owned(), hub: hub_identity.to_owned(), name, _scratch: scratch })
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A panic inside rolled its transaction back: the connection is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks the file through once; begins it anew if it is damaged anywhere. A
    /// damaged index would hide entries, and their records' deletion.
    fn lock_checked(&self) -> Result<MutexGuard<'_, Store>> {
        let failed = |error| ledger_error(&self.name, error);
        let mut store = self.lock();
        if !store.checked {
            match check(&store.connection) {
                Ok(()) => {}
                Err(error) if is_damaged(&error) => {
                    // Closed before it is moved: closing removes side files by their name.
                    store.connection = Connection::open_in_memory().map_err(failed)?;
                    move_aside(&self.path)?;
                    store.connection = connect(&self.path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
            store.checked = true;
        }
        Ok(store)
    }

    fn write<R>(&self, job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>) -> Result<R> {
        let mut store = self.lock_checked()?;
        let written =
            store.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
                failpoint!("ledger-write-begun");
                let result = job(&transaction)?;
                failpoint!("ledger-written");
                transaction.commit()?;
                failpoint!("ledger-committed");
                Ok(result)
            });
        written.map_err(|error| ledger_error(&self.name, error))
    }

    /// `None` too when what is stored is not sound.
    fn read(&self, connection: &Connection, stream: &StreamId) -> rusqlite::Result<Option<(LedgerStream, usize)>> {
        let key = params![self.hub, stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str()];
        let found: Option<(i64, u64)> = connection
            .prepare_cached(
                "SELECT id, sequence FROM streams WHERE hub = ?1 AND source_env = ?2 AND source = ?3 AND stream = ?4",
            )?
            .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((id, sequence)) = found else { return Ok(None) };
        let mut statement =
            connection.prepare_cached("SELECT checksum, entries FROM segments WHERE stream_id = ?1 ORDER BY number")?;
        let mut rows = statement.query([id])?;
        let mut entries = Vec::new();
        let mut segments = 0;
        while let Some(row) = rows.next()? {
            if !unpack(row.get(0)?, row.get_ref(1)?.as_blob()?, &mut entries) {
                return Ok(None);
            }
            segments += 1;
        }
        Ok(Some((LedgerStream { sequence, entries: newest(entries) }, segments)))
    }
}

impl Ledger for LedgerFile {
    fn load(&self, stream: &StreamId) -> Result<Option<LedgerStream>> {
        let loaded = self.read(&self.lock_checked()?.connection, stream);
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) if is_damaged(&error) => None,
            Err(error) => return Err(ledger_error(&self.name, error)),
        };
        let Some((known, segments)) = loaded else { return Ok(None) };
        if segments >= MERGE_AT {
            self.replace(stream, &known)?;
        }
        Ok(Some(known))
    }

    fn append(&self, stream: &StreamId, sequence: u64, entries: &[LedgerEntry]) -> Result<()> {
        self.write(|transaction| {
            let id = stream_id(transaction, &self.hub, stream, sequence)?;
            add_segment(transaction, id, entries)
        })
    }

    fn replace(&self, stream: &StreamId, known: &LedgerStream) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        self.write(|transaction| {
            let id = stream_id(transaction, &self.hub, stream, known.sequence)?;
            transaction.execute("DELETE FROM segments WHERE stream_id = ?1", [id])?;
            known.entries.chunks(CHUNK).try_for_each(|chunk| add_segment(transaction, id, chunk))
        })
    }

    fn intend(&self, stream: &StreamId, intent: &Intent, entries: &[LedgerEntry]) -> Result<()> {
        self.write(|transaction| intents::add(transaction, &self.hub, stream, intent, entries))
    }

    fn intended(&self, stream: &StreamId) -> Result<Vec<(Intent, Vec<LedgerEntry>)>> {
        match intents::read(&self.lock_checked()?.connection, &self.hub, stream) {
            Ok(intended) => Ok(intended),
            Err(error) if is_damaged(&error) => Ok(Vec::new()),
            Err(error) => Err(ledger_error(&self.name, error)),
        }
    }

    fn fulfilled(&self, stream: &StreamId) -> Result<()> {
        self.write(|transaction| intents::remove(transaction, &self.hub, stream))
    }

    fn source(&self, environment: &Environment, source: &SourceName) -> Result<Option<SourceState>> {
        let store = self.lock();
        let found: rusqlite::Result<Option<(Vec<u8>, String)>> = store
            .connection
            .prepare_cached(
                "SELECT fingerprint, streams FROM sources WHERE hub = ?1 AND source_env = ?2 AND source = ?3",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![self.hub, environment.as_str(), source.as_str()], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            });
        let (fingerprint, streams) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) if is_damaged(&error) => return Ok(None),
            Err(error) => return Err(ledger_error(&self.name, error)),
        };
        Ok(synced::read(environment, source, fingerprint, &streams))
    }

    fn set_source(&self, environment: &Environment, source: &SourceName, state: Option<&SourceState>) -> Result<()> {
        let key = params![self.hub, environment.as_str(), source.as_str()];
        let Some(state) = state else {
            return self.write(|transaction| {
                transaction
                    .execute("DELETE FROM sources WHERE hub = ?1 AND source_env = ?2 AND source = ?3", key)
                    .map(|_| ())
            });
        };
        let streams = synced::written(state);
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO sources (hub, source_env, source, fingerprint, streams) \
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![self.hub, environment.as_str(), source.as_str(), state.fingerprint, streams],
                )
                .map(|_| ())
        })
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite takes a file of an unknown format version for one that must not be written.
    let versions = header::start(path, 20).unwrap_or_default();
    if versions.iter().skip(18).any(|version| !matches!(version, 0..=2)) {
        return Err(not_sound("of an unknown version of SQLite's format"));
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let (application, format): (i32, i32) = (
        connection.query_row("PRAGMA application_id", [], |row| row.get(0))?,
        connection.query_row("PRAGMA user_version", [], |row| row.get(0))?,
    );
    if (application, format) == (APPLICATION_ID, WITHOUT_INTENTS) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(INTENTS)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
    }
    let format: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if (application, format) != (APPLICATION_ID, FORMAT) {
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            return Err(not_sound("not a ledger of this version"));
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute_batch(INTENTS)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        failpoint!("ledger-making");
        transaction.commit()?;
        failpoint!("ledger-made");
    } else if schema(&connection)? != schema_of_this_version()? {
        return Err(not_sound("its tables are not those of a ledger"));
    }
    // A cache may lose its last moments in a power cut: the hub's sequence tells.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    Ok(connection)
}

fn not_sound(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
    rusqlite::Error::SqliteFailure(code, Some(what.to_owned()))
}

/// The tables as they were created.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn schema_of_this_version() -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    connection.execute_batch(INTENTS)?;
    schema(&connection)
}

/// Compares all pages, and indexes with their tables.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(not_sound(&verdict)) }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    // The statements are fixed: where one makes no sense, the file is not what it was made as.
    let of_file = [ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt, ErrorCode::Unknown];
    error.sqlite_error_code().is_some_and(|code| of_file.contains(&code))
        || matches!(
            error,
            rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        )
}

/// Keeps a ledger that cannot be used under another name.
fn move_aside(path: &Path) -> Result<()> {
    let stamp = Timestamp::now().as_micros();
    for suffix in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(suffix);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".damaged-{stamp}{suffix}"));
        match std::fs::rename(&from, &to) {
            Err(cause) if suffix.is_empty() => {
                return Err(Error::new(ErrorKind::Io, "the ledger is damaged and cannot be moved aside")
                    .context("file", path.display())
                    .advice("delete it: the next sync rebuilds it from the hub")
                    .caused_by(cause));
            }
            // Side files need not be there.
            _ => {}
        }
    }
    Ok(())
}

fn ledger_error(name: &str, cause: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Io, format!("the ledger cannot be used ({cause})"))
        .context("file", name)
        .advice("check the permissions of the file and its folder; it may be deleted, the next sync rebuilds it")
        .caused_by(cause)
}

fn stream_id(transaction: &Transaction<'_>, hub: &str, stream: &StreamId, sequence: u64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO streams (hub, source_env, source, stream, sequence) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (hub, source_env, source, stream) DO UPDATE SET sequence = excluded.sequence RETURNING id",
        )?
        .query_row(
            params![hub, stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str(), sequence],
            |row| row.get(0),
        )
}
