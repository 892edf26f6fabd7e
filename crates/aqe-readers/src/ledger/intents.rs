//! What was about to be sent, written down before.

use aqe_sync_core::StreamId;
use aqe_sync_core::ledger::{Intent, LedgerEntry};
use rusqlite::{Connection, Transaction, params};

use super::segments::{pack, unpack};

const OF_STREAM: &str = "(SELECT id FROM streams WHERE hub = ?1 AND source_env = ?2 AND source = ?3 AND stream = ?4)";

pub(super) fn add(
    transaction: &Transaction<'_>,
    hub: &str,
    stream: &StreamId,
    intent: &Intent,
    entries: &[LedgerEntry],
) -> rusqlite::Result<()> {
    let (environment, source, name) = (stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str());
    transaction
        .prepare_cached(
            "INSERT INTO streams (hub, source_env, source, stream, sequence) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (hub, source_env, source, stream) DO NOTHING",
        )?
        .execute(params![hub, environment, source, name, intent.since])?;
    let others = format!("DELETE FROM intents WHERE stream_id = {OF_STREAM} AND run_id <> ?5");
    transaction.prepare_cached(&others)?.execute(params![hub, environment, source, name, intent.run_id])?;
    let (checksum, blob) = pack(entries);
    let insert = format!(
        "INSERT INTO intents (stream_id, number, run_id, since, commits, checksum, entries) SELECT s.id, \
         (SELECT coalesce(max(number), 0) + 1 FROM intents WHERE stream_id = s.id), ?5, ?6, ?7, ?8, ?9 \
         FROM streams s WHERE s.id = {OF_STREAM}"
    );
    let Intent { run_id, since, commits } = intent;
    transaction
        .prepare_cached(&insert)?
        .execute(params![hub, environment, source, name, run_id, since, commits, checksum, blob])
        .map(|_| ())
}

/// All of it, or nothing if any of it is not sound.
pub(super) fn read(
    connection: &Connection,
    hub: &str,
    stream: &StreamId,
) -> rusqlite::Result<Vec<(Intent, Vec<LedgerEntry>)>> {
    let select = format!(
        "SELECT run_id, since, commits, checksum, entries FROM intents WHERE stream_id = {OF_STREAM} ORDER BY number"
    );
    let mut statement = connection.prepare_cached(&select)?;
    let key = params![hub, stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str()];
    let mut rows = statement.query(key)?;
    let mut intended = Vec::new();
    while let Some(row) = rows.next()? {
        let mut entries = Vec::new();
        if !unpack(row.get(3)?, row.get_ref(4)?.as_blob()?, &mut entries) {
            return Ok(Vec::new());
        }
        intended.push((Intent { run_id: row.get(0)?, since: row.get(1)?, commits: row.get(2)? }, entries));
    }
    Ok(intended)
}

pub(super) fn remove(transaction: &Transaction<'_>, hub: &str, stream: &StreamId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(&format!("DELETE FROM intents WHERE stream_id = {OF_STREAM}"))?
        .execute(params![hub, stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str()])
        .map(|_| ())
}
