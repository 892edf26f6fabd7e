//! What the hub holds, at a glance.

use aqe_sync_core::{Quoted, tables};
use rusqlite::{Connection, OptionalExtension as _, Result};
use serde::Serialize;

/// The hub at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Who has written to it.
    pub environments: Vec<EnvironmentOverview>,
    /// Tables that hold anything.
    pub tables: Vec<TableOverview>,
    /// Entries of `conflict_log`.
    pub conflicts: u64,
    /// Entries of `dead_letters` that are not settled: their records are still at their sources.
    pub dead_letters: u64,
    /// Size of the file.
    pub bytes: u64,
    /// The last runs, the latest first, at most twenty.
    pub runs: Vec<RunOverview>,
}

/// One writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnvironmentOverview {
    /// Its name.
    pub environment: String,
    /// Its streams that ever committed anything.
    pub streams: Vec<StreamOverview>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamOverview {
    /// Where it is read.
    pub source: String,
    /// Its name there.
    pub stream: String,
    /// The hub table it goes to.
    pub table: String,
    /// When it last changed anything, ISO 8601.
    pub last_synced: Option<String>,
    /// Live rows whose content is from it.
    pub rows: u64,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableOverview {
    /// Its name.
    pub table: String,
    /// Live rows.
    pub rows: u64,
    /// Rows that are gone from their sources.
    pub tombstones: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunOverview {
    /// Its id.
    pub run_id: String,
    /// Who ran.
    pub environment: String,
    /// `full`, `incremental` or `append`.
    pub mode: String,
    /// `ok`, `partial` or `failed`.
    pub status: String,
    /// ISO 8601.
    pub started_at: String,
    /// How long it took.
    pub duration_ms: u64,
    /// Records read.
    pub read: u64,
    /// Rows that it changed in the hub.
    pub changed: u64,
    /// Records that could not be stored.
    pub dead_lettered: u64,
    /// Versions that met another.
    pub conflicts: u64,
}

pub(super) fn read(connection: &Connection) -> Result<Overview> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    Ok(Overview {
        environments: environments(connection)?,
        tables: table_overviews(connection)?,
        conflicts: count("SELECT count(*) FROM conflict_log")?,
        dead_letters: count("SELECT count(*) FROM dead_letters WHERE settled_at IS NULL")?,
        bytes: count("PRAGMA page_count")? * count("PRAGMA page_size")?,
        runs: runs(connection)?,
    })
}

fn exists(connection: &Connection, table: &str) -> Result<bool> {
    let found: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

fn table_overviews(connection: &Connection) -> Result<Vec<TableOverview>> {
    let mut found = Vec::new();
    for table in tables::all() {
        let name = table.name().as_str();
        if !exists(connection, name)? {
            continue;
        }
        // The hub's own audit rows are nobody's memory.
        let sql =
            format!("SELECT count(*) - count(deleted_at), count(deleted_at) FROM {} WHERE source <> ?1", Quoted(name));
        let counts = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (rows, tombstones): (u64, u64) = connection.query_row(&sql, [super::AUDIT_SOURCE], counts)?;
        if rows + tombstones > 0 {
            found.push(TableOverview { table: name.to_owned(), rows, tombstones });
        }
    }
    Ok(found)
}

fn environments(connection: &Connection) -> Result<Vec<EnvironmentOverview>> {
    let mut statement = connection.prepare(
        "SELECT source_env, source, stream, table_name, synced_at FROM sync_state ORDER BY source_env, source, stream",
    )?;
    let rows = statement.query_map([], |row| {
        let stream = StreamOverview {
            source: row.get(1)?,
            stream: row.get(2)?,
            table: row.get(3)?,
            last_synced: row.get(4)?,
            rows: 0,
        };
        Ok((row.get::<_, String>(0)?, stream))
    })?;
    let mut environments: Vec<EnvironmentOverview> = Vec::new();
    for row in rows {
        let (environment, mut stream) = row?;
        if exists(connection, &stream.table)? {
            let sql = format!(
                "SELECT count(*) FROM {} WHERE source_env = ?1 AND source = ?2 AND stream = ?3 AND deleted_at IS NULL",
                Quoted(&stream.table)
            );
            let key = [&environment, &stream.source, &stream.stream];
            stream.rows = connection.query_row(&sql, key, |row| row.get(0))?;
        }
        match environments.last_mut() {
            Some(last) if last.environment == environment => last.streams.push(stream),
            _ => environments.push(EnvironmentOverview { environment, streams: vec![stream] }),
        }
    }
    Ok(environments)
}

fn runs(connection: &Connection) -> Result<Vec<RunOverview>> {
    let mut statement = connection.prepare(
        "SELECT run_id, source_env, mode, status, started_at, duration_ms, totals FROM sync_history \
         ORDER BY started_at DESC, run_id LIMIT 20",
    )?;
    let rows = statement.query_map([], |row| {
        let totals: String = row.get(6)?;
        let totals: serde_json::Value = serde_json::from_str(&totals).unwrap_or_default();
        let total = |name: &str| totals.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        Ok(RunOverview {
            run_id: row.get(0)?,
            environment: row.get(1)?,
            mode: row.get(2)?,
            status: row.get(3)?,
            started_at: row.get(4)?,
            duration_ms: row.get(5)?,
            read: total("read"),
            changed: total("inserted") + total("updated") + total("merged") + total("deleted"),
            dead_lettered: total("dead_lettered"),
            conflicts: total("conflicts"),
        })
    })?;
    rows.collect()
}
