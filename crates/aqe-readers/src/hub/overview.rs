//! What the hub holds, at a glance.

use aqe_sync_core::overview::{EnvironmentOverview, Overview, RunOverview, StreamOverview, TableOverview};
use aqe_sync_core::{Quoted, tables};
use rusqlite::{Connection, OptionalExtension as _, Result};

pub(super) fn read(connection: &Connection) -> Result<Overview> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    Ok(Overview {
        environments: environments(connection)?,
        tables: table_overviews(connection)?,
        conflicts: count("SELECT count(*) FROM conflict_log")?,
        dead_letters: count("SELECT count(*) FROM dead_letters WHERE settled_at IS NULL")?,
        bytes: count("PRAGMA page_count")? * count("PRAGMA page_size")?,
        runs: runs(connection)?,
        warnings: Vec::new(),
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
        let (rows, tombstones): (u64, u64) = connection.query_row(&sql, [aqe_sync_core::audit::SOURCE], counts)?;
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
        let run = RunOverview {
            run_id: row.get(0)?,
            environment: row.get(1)?,
            mode: row.get(2)?,
            status: row.get(3)?,
            started_at: row.get(4)?,
            duration_ms: row.get(5)?,
            ..RunOverview::default()
        };
        Ok(run.with_totals(&row.get::<_, String>(6)?))
    })?;
    rows.collect()
}
