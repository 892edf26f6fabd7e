//! What pulls wrote, in a file of our own: entries by generation, so that the number that
//! the agent's file carries says which of them hold.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aqe_sync_core::fleet::Kept;
use aqe_sync_core::{Error, ErrorKind, Key, KeyHash, Result, Retry, SourceName, Timestamp, Value};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};
use xxhash_rust::xxh3::xxh3_128;

use crate::json::lock;

/// `aqep` in ASCII.
const APPLICATION_ID: i32 = 0x6171_6570;

/// Raised whenever the format changes.
const FORMAT: i32 = 1;

const SCHEMA: &str = "
CREATE TABLE info (id TEXT NOT NULL) STRICT;
CREATE TABLE files (file TEXT PRIMARY KEY, generation INTEGER NOT NULL) STRICT;
CREATE TABLE entries (
  file TEXT NOT NULL, hub_table TEXT NOT NULL, local BLOB NOT NULL, generation INTEGER NOT NULL, hub BLOB NOT NULL,
  hub_key TEXT NOT NULL, local_key TEXT, shown TEXT, entry TEXT, PRIMARY KEY (file, hub_table, local, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_by_hub_key ON entries (file, hub_table, hub);
CREATE INDEX entries_by_generation ON entries (file, generation);
CREATE TABLE streams (
  file TEXT NOT NULL, source_env TEXT NOT NULL, source TEXT NOT NULL, stream TEXT NOT NULL, sequence INTEGER NOT NULL,
  hub_table TEXT NOT NULL, run_id TEXT NOT NULL, complete INTEGER NOT NULL, synced_at TEXT NOT NULL,
  instance TEXT NOT NULL, PRIMARY KEY (file, source_env, source, stream)
) STRICT;
CREATE TABLE sources (
  file TEXT NOT NULL, source_env TEXT NOT NULL, source TEXT NOT NULL, fingerprint BLOB NOT NULL, streams TEXT NOT NULL,
  PRIMARY KEY (file, source_env, source)
) STRICT;
CREATE TABLE letters (
  id TEXT PRIMARY KEY, file TEXT NOT NULL, hub_table TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL,
  record TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE backups (file TEXT NOT NULL, path TEXT NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY (file, path)) STRICT;";

/// What pulls wrote into the files of a project, and what of it was this environment's own.
///
/// Not a cache: with it a row's counters can be told apart into own and others'. The hub
/// keeps a copy, from which [`Self::rebuild`] makes it anew.
pub struct PullState {
    pub(super) connection: Mutex<Connection>,
    name: String,
    pub(super) scratch: bool,
}

/// An entry as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) local: KeyHash,
    /// The key as the file gives it, where that was known.
    pub(super) local_key: Option<Key>,
    pub(super) json: Option<String>,
}

/// Which entries of a file hold, and the number of the next delivery.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// The number that the file carries.
    pub(super) current: i64,
    /// Above everything that was ever given out.
    pub(super) next: i64,
    /// The number that was committed last, as far as is known here.
    pub(super) committed: i64,
}

/// What one delivery makes durable here.
pub(super) struct Pending {
    pub(super) kept: Kept,
    pub(super) local_key: Option<Key>,
}

impl PullState {
    /// Opens the file, creating it if there is none.
    ///
    /// # Errors
    /// When the file is something else, or cannot be written.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let name = path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| {
                Error::new(ErrorKind::Io, format!("the folder {} cannot be created ({cause})", folder.display()))
                    .during(format!("opening {name}"))
                    .caused_by(cause)
            })?;
        }
        let opened = Connection::open(path).and_then(|connection| connect(connection, false));
        Self::of(opened, name, false)
    }

    /// Opens the file if there is one, and else a state that is empty and goes away.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look(path: &Path) -> Result<Arc<Self>> {
        if path.exists() { Self::open(path) } else { Self::scratch(path) }
    }

    /// What the file holds, in memory: what is written to it is gone with it, for dry runs.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn scratch(path: &Path) -> Result<Arc<Self>> {
        let name = path.display().to_string();
        let opened = Connection::open_in_memory().and_then(|mut memory| {
            if path.exists() {
                let from = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                from.busy_timeout(Duration::from_secs(10))?;
                rusqlite::backup::Backup::new(&from, &mut memory)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
            }
            connect(memory, true)
        });
        Self::of(opened, name, true)
    }

    fn of(opened: rusqlite::Result<Connection>, name: String, scratch: bool) -> Result<Arc<Self>> {
        let connection = opened.map_err(|error| state_error(&name, error))?;
        Ok(Arc::new(Self { connection: Mutex::new(connection), name, scratch }))
    }

    /// Makes the notes on a file anew from what the hub kept: see
    /// [`aqe_sync_core::fleet::FleetHub::kept`]. What was here is replaced.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn rebuild(&self, file: &SourceName, entries: &[Kept]) -> Result<()> {
        self.write(|transaction| {
            for table in ["entries", "sources", "files"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE file = ?1"), [file.as_str()])?;
            }
            for kept in entries {
                add(transaction, file, kept, None)?;
            }
            let highest = entries.iter().map(|kept| kept.generation).max().unwrap_or(0);
            set_generation(transaction, file, highest)
        })
    }

    /// A number that tells this state from any other.
    pub(super) fn id(&self) -> Result<String> {
        self.read(|connection| connection.query_row("SELECT id FROM info", [], |row| row.get(0)))
    }

    /// Whether pulls wrote to the file before, as far as is known.
    pub(super) fn knows(&self, file: &SourceName) -> Result<bool> {
        self.read(|connection| {
            connection.prepare_cached("SELECT 1 FROM files WHERE file = ?1")?.exists([file.as_str()])
        })
    }

    /// Which entries hold for a file that carries `marked`, 24 bits of a number.
    /// `None` when the file is further than this state.
    pub(super) fn numbers(&self, file: &SourceName, marked: Option<i64>) -> Result<Option<Numbers>> {
        let (committed, highest) = self.read(|connection| {
            let committed: Option<i64> = connection
                .prepare_cached("SELECT generation FROM files WHERE file = ?1")?
                .query_row([file.as_str()], |row| row.get(0))
                .optional()?;
            let highest: Option<i64> = connection
                .prepare_cached("SELECT max(generation) FROM entries WHERE file = ?1")?
                .query_row([file.as_str()], |row| row.get(0))?;
            let committed = committed.unwrap_or(0);
            Ok((committed, committed.max(highest.unwrap_or(0))))
        })?;
        let behind = marked.map(|marked| (highest - marked).rem_euclid(WRAP));
        let current = behind.map_or(0, |behind| highest - behind);
        let ahead = current < 0 || behind.is_some_and(|behind| behind > WRAP / 2);
        Ok((!ahead).then_some(Numbers { current, next: highest + 1, committed }))
    }

    /// Of the keys that have entries beyond `current`: which, and what holds for them.
    pub(super) fn dropped(&self, file: &SourceName, current: i64) -> Result<Vec<Pending>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT l.hub_table, l.local, l.hub_key, l.local_key, \
                 (SELECT h.entry FROM entries AS h WHERE h.file = l.file AND h.hub_table = l.hub_table \
                  AND h.local = l.local AND h.generation <= ?2 ORDER BY h.generation DESC LIMIT 1) \
                 FROM entries AS l WHERE l.file = ?1 AND l.generation > ?2 GROUP BY l.hub_table, l.local",
            )?;
            let found = statement.query_map(params![file.as_str(), current], |row| {
                let (hub_key, local_key): (String, Option<String>) = (row.get(2)?, row.get(3)?);
                let key = key_from_json(&hub_key);
                let local = KeyHash(u128::from_le_bytes(row.get(1)?));
                let kept = Kept { table: row.get(0)?, key, local, generation: current, entry: row.get(4)? };
                Ok(Pending { kept, local_key: local_key.as_deref().map(key_from_json) })
            })?;
            found.collect()
        })
    }

    /// The entry that holds for a hub key.
    pub(super) fn by_hub_key(&self, file: &SourceName, table: &str, key: &Key, current: i64) -> Result<Option<Entry>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                // The index that begins with the generation must not seem to save sorting one row.
                "SELECT local, local_key, entry FROM entries INDEXED BY entries_by_hub_key \
                 WHERE file = ?1 AND hub_table = ?2 AND hub = ?3 \
                 AND generation <= ?4 ORDER BY generation DESC, entry IS NULL LIMIT 1",
            )?;
            let hub = key.hash().0.to_le_bytes();
            let found = statement.query_row(params![file.as_str(), table, hub, current], |row| {
                let local_key: Option<String> = row.get(1)?;
                Ok(Entry {
                    local: KeyHash(u128::from_le_bytes(row.get(0)?)),
                    local_key: local_key.as_deref().map(key_from_json),
                    json: row.get(2)?,
                })
            });
            found.optional()
        })
    }

    /// The earliest number that a backup of the file carries; `current` where there is none.
    pub(super) fn floor(&self, file: &SourceName, current: i64) -> Result<i64> {
        let oldest: Option<i64> = self.read(|connection| {
            connection
                .prepare_cached("SELECT min(generation) FROM backups WHERE file = ?1")?
                .query_row([file.as_str()], |row| row.get(0))
        })?;
        Ok(oldest.map_or(current, |oldest| oldest.min(current)))
    }

    /// Remembers a backup, and forgets those that are not among `left`, and what no file that
    /// can still come back has use for.
    pub(super) fn backed_up(&self, file: &SourceName, path: &Path, generation: i64, left: &[PathBuf]) -> Result<()> {
        let left: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
        let left = serde_json::to_string(&left).unwrap_or_default();
        self.write(|transaction| {
            let path = path.display().to_string();
            transaction.execute(
                "INSERT OR REPLACE INTO backups VALUES (?1, ?2, ?3)",
                params![file.as_str(), path, generation],
            )?;
            let sql = "DELETE FROM backups WHERE file = ?1 AND path NOT IN (SELECT value FROM json_each(?2))";
            transaction.execute(sql, params![file.as_str(), left])?;
            // What a later entry has taken the place of before any file that can still come back.
            let floor = "(SELECT min(generation) FROM backups WHERE file = ?1)";
            transaction
                .execute(
                    &format!(
                        "DELETE FROM entries AS old WHERE file = ?1 AND generation < {floor} \
                         AND EXISTS (SELECT 1 FROM entries AS new \
                         WHERE new.file = old.file AND new.hub_table = old.hub_table AND new.local = old.local \
                         AND new.generation > old.generation AND new.generation <= {floor})"
                    ),
                    [file.as_str()],
                )
                .map(drop)
        })
    }

    /// The hashes of local rows of a table whose keys were not known: after a rebuild.
    pub(super) fn unnamed(&self, file: &SourceName, table: &str) -> Result<HashSet<KeyHash>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT local FROM entries WHERE file = ?1 AND hub_table = ?2 AND local_key IS NULL",
            )?;
            let found = statement.query_map([file.as_str(), table], |row| row.get(0))?;
            found.map(|local| local.map(|local| KeyHash(u128::from_le_bytes(local)))).collect()
        })
    }

    /// Says what the keys of such rows are.
    pub(super) fn name(&self, file: &SourceName, table: &str, keys: &[Key]) -> Result<()> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE entries SET local_key = ?4 WHERE file = ?1 AND hub_table = ?2 AND local = ?3",
            )?;
            for key in keys {
                statement.execute(params![file.as_str(), table, key.hash().0.to_le_bytes(), key_to_json(key)])?;
            }
            Ok(())
        })
    }

    /// Forgets how far pulls saw their hubs, so that the next one looks at everything.
    pub(super) fn forget_sources(&self, file: &SourceName) -> Result<()> {
        self.write(|transaction| transaction.execute("DELETE FROM sources WHERE file = ?1", [file.as_str()]).map(drop))
    }

    /// Makes entries durable that hold once the file carries their number.
    pub(super) fn prepare(&self, file: &SourceName, pending: &[Pending]) -> Result<()> {
        self.write(|transaction| {
            // Known from now on, so that a file with a number is not taken for a stranger's.
            transaction.execute(
                "INSERT INTO files (file, generation) VALUES (?1, 0) ON CONFLICT DO NOTHING",
                [file.as_str()],
            )?;
            pending.iter().try_for_each(|pending| add(transaction, file, &pending.kept, pending.local_key.as_ref()))
        })
    }

    /// Notes the number that the file carries now.
    pub(super) fn settle(
        &self,
        file: &SourceName,
        generation: i64,
        also: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        self.write(|transaction| {
            set_generation(transaction, file, generation)?;
            also(transaction)
        })
    }

    pub(super) fn read<R>(&self, job: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R> {
        job(&self.lock()).map_err(|error| state_error(&self.name, error))
    }

    pub(super) fn write<R>(&self, job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>) -> Result<R> {
        let mut connection = self.lock();
        let written = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
            let result = job(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        written.map_err(|error| state_error(&self.name, error))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        lock(&self.connection)
    }
}

/// Numbers in files have 24 bits.
pub(super) const WRAP: i64 = 1 << 24;

fn connect(connection: Connection, scratch: bool) -> rusqlite::Result<Connection> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(32);
    if !scratch {
        // What it says has to be on disk before the agent's file says otherwise.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
    }
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    match (pragma("application_id")?, pragma("user_version")?) {
        (APPLICATION_ID, FORMAT) => {}
        (0, 0) => {
            let seed = format!("{} {} {:p}", Timestamp::now(), std::process::id(), &raw const connection);
            let id = format!("{:032x}", xxh3_128(seed.as_bytes()));
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA} INSERT INTO info VALUES ('{id}'); \
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT"
            ))?;
        }
        _ => {
            let other = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
            let text = "it is no state of pulls of this version".to_owned();
            return Err(rusqlite::Error::SqliteFailure(other, Some(text)));
        }
    }
    Ok(connection)
}

fn add(transaction: &Transaction<'_>, file: &SourceName, kept: &Kept, local_key: Option<&Key>) -> rusqlite::Result<()> {
    let shown = kept.entry.as_deref().and_then(|entry| {
        let entry: serde_json::Value = serde_json::from_str(entry).ok()?;
        entry.get("shown")?.as_str().map(str::to_owned)
    });
    transaction
        .prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            file.as_str(),
            kept.table,
            kept.local.0.to_le_bytes(),
            kept.generation,
            kept.key.hash().0.to_le_bytes(),
            key_to_json(&kept.key),
            local_key.map(key_to_json),
            shown,
            kept.entry,
        ])
        .map(drop)
}

fn set_generation(transaction: &Transaction<'_>, file: &SourceName, generation: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO files (file, generation) VALUES (?1, ?2) ON CONFLICT (file) DO UPDATE SET generation = ?2";
    transaction.prepare_cached(sql)?.execute(params![file.as_str(), generation]).map(drop)
}

/// A JSON array of texts and integers.
pub(super) fn key_to_json(key: &Key) -> String {
    let parts = key.values().iter().map(|value| match value {
        Value::Int(number) => serde_json::Value::from(*number),
        Value::Text(text) => serde_json::Value::from(text.as_str()),
        other => serde_json::Value::from(other.to_string()),
    });
    serde_json::Value::Array(parts.collect()).to_string()
}

fn key_from_json(text: &str) -> Key {
    let parts: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    let values = parts.into_iter().map(|part| match part {
        serde_json::Value::Number(number) => number.as_i64().map_or(Value::Null, Value::Int),
        serde_json::Value::String(text) => Value::Text(text),
        _ => Value::Null,
    });
    Key::new(values.collect())
}

fn state_error(name: &str, cause: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let (kind, message, advice, retry) = match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Locked, "another process is writing to it", "pull again when it is done", Retry::Later)
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
            ErrorKind::Malformed,
            "the notes on what was pulled are damaged",
            "move the file away: the next pull makes it anew from what the hub kept",
            Retry::Never,
        ),
        Some(ErrorCode::DiskFull) => (ErrorKind::Io, "the disk is full", "make room and pull again", Retry::Later),
        _ => (ErrorKind::Io, "SQLite could not do it", "see the cause", Retry::Later),
    };
    Error::new(kind, format!("{message} ({cause})"))
        .during(format!("keeping notes in {name}"))
        .advice(advice)
        .retry(retry)
        .caused_by(cause)
}
