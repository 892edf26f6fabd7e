//! The embedded hub as a fleet's hub.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use aqe_sync_core::fleet::{Contribution, FleetHub, Kept, Standing, VersionVector};
use aqe_sync_core::{ContentHash, Environment, Json, Key, KeyHash, Result, Row, SourceName, TableSpec, Timestamp};
use futures::stream::BoxStream;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::codec::{Param, read};
use super::txn::Failure;
use super::{EmbeddedHub, Sending, convert};

/// So many keys or entries are sent at once.
const BATCH: usize = 1_000;

/// The hub's own audit rows are nobody's memory.
pub(super) const AUDIT: &str = aqe_sync_core::audit::SOURCE;

impl FleetHub for EmbeddedHub {
    async fn standing(&self) -> Result<Standing> {
        let epoch = self.identity.clone();
        self.look(move |connection| Ok(standing(connection, epoch)?)).await
    }

    fn changed(
        &self,
        table: &Arc<TableSpec>,
        since: &VersionVector,
        own: &Environment,
        after: Option<Timestamp>,
    ) -> BoxStream<'static, Result<Vec<Key>>> {
        let (table, since, own) = (Arc::clone(table), since.clone(), own.clone());
        self.stream("embedded hub changes", move |connection, sending| {
            changed(connection, &table, &since, &own, after, sending)
        })
    }

    async fn contributions(&self, table: &Arc<TableSpec>, keys: Vec<Key>) -> Result<Vec<Vec<Contribution>>> {
        let table = Arc::clone(table);
        self.look(move |connection| contributions(connection, &table, &keys)).await
    }

    async fn keep(&self, environment: &Environment, file: &SourceName, entries: Vec<Kept>, floor: i64) -> Result<()> {
        let (environment, file) = (environment.clone(), file.clone());
        let _turn = self.turn.lock().await;
        self.worker
            .call(move |state| {
                keep(&mut state.connection, &environment, &file, &entries, floor)
                    .map_err(|error| super::hub_error(&state.name, "writing to", error))
            })
            .await
    }

    fn kept(&self, environment: &Environment, file: &SourceName) -> BoxStream<'static, Result<Vec<Kept>>> {
        let (environment, file) = (environment.clone(), file.clone());
        self.stream("embedded hub entries", move |connection, sending| kept(connection, &environment, &file, sending))
    }

    async fn exclude(&self, environment: &Environment, excluded: bool) -> Result<bool> {
        let environment = environment.clone();
        let _turn = self.turn.lock().await;
        self.worker
            .call(move |state| {
                let (name, now) = (environment.as_str(), Timestamp::now().to_string());
                let changed = if excluded {
                    let sql =
                        "INSERT INTO fleet_excluded (source_env, excluded_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                    state.connection.execute(sql, [name, &now])
                } else {
                    state.connection.execute("DELETE FROM fleet_excluded WHERE source_env = ?1", [name])
                };
                changed.map(|rows| rows > 0).map_err(|error| super::hub_error(&state.name, "writing to", error))
            })
            .await
    }
}

impl EmbeddedHub {
    /// Reads on the hub's own thread.
    pub(super) async fn look<R, F>(&self, job: F) -> Result<R>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> Result<R, Failure> + Send + 'static,
    {
        self.worker
            .call(move |state| job(&state.connection).map_err(|failure| convert(failure, &state.name, "reading")))
            .await
    }
}

fn standing(connection: &Connection, epoch: String) -> rusqlite::Result<Standing> {
    // A pull begins here. It looks most rows up once: a large cache only serves merging into tables.
    connection.execute_batch("PRAGMA cache_size = -4096")?;
    let mut standing = Standing { epoch, ..Standing::default() };
    let mut statement = connection.prepare_cached("SELECT table_name, source_env, version FROM sync_versions")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, environment): (String, String) = (row.get(0)?, row.get(1)?);
        standing.versions.entry(table).or_default().set(environment.as_str().into(), row.get(2)?);
    }
    let mut statement = connection.prepare_cached("SELECT source_env FROM fleet_excluded")?;
    let excluded = statement.query_map([], |row| Ok(row.get::<_, String>(0)?.as_str().into()))?;
    standing.excluded = excluded.collect::<rusqlite::Result<BTreeSet<Environment>>>()?;
    Ok(standing)
}

fn changed(
    connection: &Connection,
    table: &TableSpec,
    since: &VersionVector,
    own: &Environment,
    after: Option<Timestamp>,
    sending: &mut Sending<Vec<Key>>,
) -> Result<(), Failure> {
    if !exists(connection, table)? {
        return Ok(());
    }
    let environments: Vec<String> = connection
        .prepare("SELECT source_env FROM sync_versions WHERE table_name = ?1")?
        .query_map([table.name().as_str()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let (name, keys) = (table.name().quoted(), key_columns(table, "t."));
    let same: Vec<String> = table.key_columns().iter().map(|key| format!("o.{0} = t.{0}", key.name.quoted())).collect();
    let since_json = serde_json::to_string(
        &environments.iter().map(|name| (name, since.of(&name.as_str().into()))).collect::<Vec<_>>(),
    );
    let since_json = since_json.unwrap_or_default();
    let sql = format!(
        "SELECT DISTINCT {keys} FROM json_each(?1) AS e JOIN {name} AS t ON t.source_env = e.value ->> 0 \
         WHERE t.sync_version > (e.value ->> 1) AND t.source <> '{AUDIT}' AND (?3 IS NULL OR t.synced_at > ?3) \
         AND (t.source_env <> ?2 OR EXISTS (SELECT 1 FROM {name} AS o, json_each(?1) AS f \
         WHERE o.source_env = f.value ->> 0 AND o.source_env <> ?2 AND {}))",
        same.join(" AND ")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params![since_json, own.as_str(), after.map(|after| after.to_string())])?;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.next()? {
        batch.push(key(table, row, 0)?);
        if batch.len() == BATCH && !sending.send(std::mem::take(&mut batch)) {
            return Ok(());
        }
    }
    sending.send(batch);
    Ok(())
}

fn contributions(connection: &Connection, table: &TableSpec, keys: &[Key]) -> Result<Vec<Vec<Contribution>>, Failure> {
    if !exists(connection, table)? {
        return Ok(vec![Vec::new(); keys.len()]);
    }
    let all: Vec<String> = table.columns().iter().map(|column| format!("t.{}", column.name.quoted())).collect();
    // In that order: one row by its key per environment. SQLite would else read the whole table.
    let mut sql = format!(
        "SELECT t.source_env, t.sync_version, t.deleted_at IS NOT NULL, t.content_hash, t.extra, {} \
         FROM sync_versions AS v CROSS JOIN {} AS t ON t.source_env = v.source_env WHERE v.table_name = ?1 AND t.source <> '{AUDIT}'",
        all.join(", "),
        table.name().quoted()
    );
    for (position, column) in table.key_columns().iter().enumerate() {
        let _ = write!(sql, " AND t.{} = ?{}", column.name.quoted(), position + 2);
    }
    sql.push_str(" ORDER BY t.source_env");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut all = Vec::with_capacity(keys.len());
    for key in keys {
        statement.raw_bind_parameter(1, table.name().as_str())?;
        for (position, value) in key.values().iter().enumerate() {
            statement.raw_bind_parameter(position + 2, Param(value))?;
        }
        let mut of_key = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            of_key.push(contribution(table, row)?);
        }
        all.push(of_key);
    }
    Ok(all)
}

pub(super) fn contribution(table: &TableSpec, row: &rusqlite::Row<'_>) -> rusqlite::Result<Contribution> {
    const OWN: usize = 5;
    let values = table.columns().iter().enumerate();
    let values = values.map(|(position, column)| read(row, OWN + position, column.kind)).collect::<Result<_, _>>()?;
    let extra: Option<String> = row.get(4)?;
    let mut content = Row::new(table, values, extra.map(Json::from_text));
    content.hash = ContentHash::from_i64(row.get(3)?).unwrap_or(content.hash);
    let environment: String = row.get(0)?;
    Ok(Contribution {
        environment: environment.as_str().into(),
        version: row.get(1)?,
        deleted: row.get(2)?,
        row: content,
    })
}

fn keep(
    connection: &mut Connection,
    environment: &Environment,
    file: &SourceName,
    entries: &[Kept],
    floor: i64,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO fleet_kept (source_env, source, table_name, local_key, generation, key, entry) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        // Only what a later entry up to the floor has taken the place of.
        let mut forget = transaction.prepare_cached(
            "DELETE FROM fleet_kept WHERE source_env = ?1 AND source = ?2 AND table_name = ?3 AND local_key = ?4 \
             AND generation < (SELECT max(generation) FROM fleet_kept WHERE source_env = ?1 AND source = ?2 \
             AND table_name = ?3 AND local_key = ?4 AND generation <= ?5)",
        )?;
        for entry in entries {
            let local = entry.local.0.to_be_bytes();
            let (environment, file, table) = (environment.as_str(), file.as_str(), entry.table.as_str());
            insert.execute(params![
                environment,
                file,
                table,
                local,
                entry.generation,
                entry.key.to_json(),
                entry.entry.as_deref()
            ])?;
            forget.execute(params![environment, file, table, local, floor])?;
        }
    }
    transaction.commit()
}

fn kept(
    connection: &Connection,
    environment: &Environment,
    file: &SourceName,
    sending: &mut Sending<Vec<Kept>>,
) -> Result<(), Failure> {
    let mut statement = connection.prepare(
        "SELECT table_name, local_key, generation, key, entry FROM fleet_kept WHERE source_env = ?1 AND source = ?2",
    )?;
    let mut rows = statement.query([environment.as_str(), file.as_str()])?;
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.next()? {
        let (local, key): ([u8; 16], String) = (row.get(1)?, row.get(3)?);
        let Some(key) = Key::from_json(&key) else { continue };
        let local = KeyHash(u128::from_be_bytes(local));
        batch.push(Kept { table: row.get(0)?, key, local, generation: row.get(2)?, entry: row.get(4)? });
        if batch.len() == BATCH && !sending.send(std::mem::take(&mut batch)) {
            return Ok(());
        }
    }
    sending.send(batch);
    Ok(())
}

/// A table that nobody has sent anything to need not be there.
pub(super) fn exists(connection: &Connection, table: &TableSpec) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let found: Option<i64> = connection.query_row(sql, [table.name().as_str()], |row| row.get(0)).optional()?;
    Ok(found.is_some())
}

fn key_columns(table: &TableSpec, prefix: &str) -> String {
    let names = table.key_columns().iter().map(|column| format!("{prefix}{}", column.name.quoted()));
    names.collect::<Vec<_>>().join(", ")
}

fn key(table: &TableSpec, row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Key> {
    let columns = table.key_columns().iter().enumerate();
    columns.map(|(index, column)| read(row, first + index, column.kind)).collect::<Result<_, _>>().map(Key::new)
}
