//! What a ledger tells without its hub.

use std::path::Path;
use std::time::Duration;

use aqe_sync_core::{Environment, Result, StreamId};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::segments::{newest, unpack};
use super::{LedgerFile, ledger_error};
use crate::synced;

/// A stream as it was last synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownStream {
    /// Which.
    pub stream: StreamId,
    /// The hub table it goes to.
    pub table: String,
    /// How many records of it the hub has, as far as this installation knows.
    pub rows: u64,
}

impl LedgerFile {
    /// The streams that were last synced with whichever hub was synced with last; nothing where
    /// there is no ledger.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_known(path: &Path) -> Result<Vec<KnownStream>> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let known = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|connection| {
            connection.busy_timeout(Duration::from_secs(10))?;
            // Each sync writes its sources anew.
            let sql = "SELECT hub FROM sources ORDER BY rowid DESC LIMIT 1";
            let hub: Option<String> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
            hub.map_or(Ok(Vec::new()), |hub| streams(&connection, &hub))
        });
        known.map_err(|error| ledger_error(&path.display().to_string(), error))
    }
}

fn streams(connection: &Connection, hub: &str) -> rusqlite::Result<Vec<KnownStream>> {
    let mut statement =
        connection.prepare("SELECT source_env, source, streams FROM sources WHERE hub = ?1 ORDER BY 1, 2")?;
    let mut rows = statement.query([hub])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        let (environment, source, text): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (environment, source) = (Environment::from(environment.as_str()), source.as_str().into());
        let state = synced::read(&environment, &source, Vec::new(), &text);
        for synced in state.into_iter().flat_map(|state| state.streams) {
            let rows = count(connection, hub, &synced.stream)?;
            known.push(KnownStream { stream: synced.stream, table: synced.table, rows });
        }
    }
    Ok(known)
}

fn count(connection: &Connection, hub: &str, stream: &StreamId) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(
        "SELECT g.checksum, g.entries FROM segments AS g JOIN streams AS s ON s.id = g.stream_id \
         WHERE s.hub = ?1 AND s.source_env = ?2 AND s.source = ?3 AND s.stream = ?4 ORDER BY g.number",
    )?;
    let mut rows =
        statement.query([hub, stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str()])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        // A segment that is not sound counts as far as it can be read: this is for people.
        unpack(row.get(0)?, row.get_ref(1)?.as_blob()?, &mut entries);
    }
    Ok(newest(entries).len() as u64)
}
