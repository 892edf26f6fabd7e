//! What the hub holds, at a glance.

use std::collections::{BTreeMap, HashMap};

use aqe_sync_core::overview::{
    EnvironmentOverview, ModelOverview, Overview, RunOverview, StreamOverview, TableOverview,
};
use aqe_sync_core::{Quoted, tables};
use rusqlite::{Connection, OptionalExtension as _, Result};

pub(super) fn read(connection: &Connection) -> Result<Overview> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    let models = models(connection)?;
    Ok(Overview {
        environments: environments(connection)?,
        tables: table_overviews(connection, models.first())?,
        conflicts: count("SELECT count(*) FROM conflict_log")?,
        dead_letters: count("SELECT count(*) FROM dead_letters WHERE settled_at IS NULL")?,
        bytes: count("PRAGMA page_count")? * count("PRAGMA page_size")?,
        runs: runs(connection)?,
        models,
        warnings: Vec::new(),
    })
}

fn exists(connection: &Connection, table: &str) -> Result<bool> {
    let found: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

/// Bytes of each table with its indexes. Every page of the file is looked at.
fn sizes(connection: &Connection) -> Result<HashMap<String, u64>> {
    let sql = "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat AS d JOIN sqlite_schema AS s ON s.name = d.name \
               WHERE d.aggregate = TRUE GROUP BY 1";
    let mut statement = connection.prepare(sql)?;
    let sizes = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    sizes.collect()
}

/// Models by how many vectors there are of them.
fn models(connection: &Connection) -> Result<Vec<ModelOverview>> {
    let sql = "SELECT model, sum(vectors), (SELECT value FROM hub_info WHERE key = 'vector_recall ' || model) \
               FROM vector_places GROUP BY 1 HAVING sum(vectors) > 0 ORDER BY 2 DESC, 1";
    let mut statement = connection.prepare(sql)?;
    let models = statement.query_map([], |row| {
        let recall: Option<String> = row.get(2)?;
        let recall = recall.and_then(|recall| recall.parse().ok());
        Ok(ModelOverview { model: row.get(0)?, vectors: row.get(1)?, recall })
    })?;
    models.collect()
}

fn vectors_of(connection: &Connection, model: Option<&ModelOverview>) -> Result<BTreeMap<String, u64>> {
    let sql = "SELECT table_name, sum(vectors) FROM vector_places WHERE model = ?1 GROUP BY 1";
    let mut statement = connection.prepare(sql)?;
    let counts = statement.query_map([model.map(|model| &model.model)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    counts.collect()
}

fn table_overviews(connection: &Connection, model: Option<&ModelOverview>) -> Result<Vec<TableOverview>> {
    let mut found = Vec::new();
    let (sizes, vectors) = (sizes(connection)?, vectors_of(connection, model)?);
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
            let of_table = |counts: Option<&u64>| counts.copied().unwrap_or(0);
            let embedded = (!table.text_columns().is_empty()).then(|| of_table(vectors.get(name)));
            let bytes = of_table(sizes.get(name));
            found.push(TableOverview { table: name.to_owned(), rows, tombstones, bytes, vectors: embedded });
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
