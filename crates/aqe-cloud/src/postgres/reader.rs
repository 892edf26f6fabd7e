//! Reading the hub: what changed since, and what everybody has of a key.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aqe_sync_core::meet::{Contribution, contributions_from_json};
use aqe_sync_core::{ContentHash, Contributor, Environment, Error, Key, Result, Row, TableSpec, Timestamp};
use postgres_types::{ToSql, Type};
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Row as SqlRow};

use super::batch::{array_of, column_type};
use super::connections::Connections;
use super::failure::Failure;
use super::hub::PostgresHub;
use super::statements::Dialect;
use super::wire::{Array, Wire, columns, json, moment};

/// Per environment, the version of a table up to which somebody has seen it.
///
/// Versions of one environment and table become visible in their order: whoever
/// writes holds the row that they are drawn from until the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionVector(BTreeMap<Environment, i64>);

impl VersionVector {
    /// What was seen of an environment; zero for nothing.
    pub fn of(&self, environment: &Environment) -> i64 {
        self.0.get(environment).copied().unwrap_or(0)
    }

    /// Remembers what was seen of an environment.
    pub fn set(&mut self, environment: Environment, version: i64) {
        self.0.insert(environment, version);
    }

    /// All environments of which something was seen.
    pub fn iter(&self) -> impl Iterator<Item = (&Environment, i64)> {
        self.0.iter().map(|(environment, version)| (environment, *version))
    }
}

/// Keys of one table that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The keys, each once, whoever changed them.
    pub keys: Vec<Key>,
    /// What to ask with the next time.
    pub seen: VersionVector,
}

/// What one environment has of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct HubRow {
    /// Whose it is.
    pub environment: Environment,
    /// The stream whose content it is.
    pub contributor: Contributor,
    /// Its content.
    pub row: Row,
    /// What its streams contribute, when there is more than one.
    pub merged_from: Vec<Contribution>,
    /// Its version within environment and table.
    pub version: i64,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// When it was last written.
    pub synced_at: Timestamp,
}

impl PostgresHub {
    /// Keys of a table that changed since a version vector, in every environment but
    /// `except`; tombstones count as changes. All of it is one snapshot, so nothing
    /// that commits meanwhile is missed the next time.
    ///
    /// ```no_run
    /// use aqe_cloud::postgres::{PostgresHub, VersionVector};
    /// use aqe_sync_core::tables;
    ///
    /// # async fn example(hub: PostgresHub) -> aqe_sync_core::Result<()> {
    /// let table = tables::find("qe_patterns").unwrap();
    /// let changed = hub.changed_since(table, &VersionVector::default(), None).await?;
    /// for row in hub.contributions(table, changed.keys).await? {
    ///     println!("{}: {}", row.environment, row.row.key(table));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the hub cannot be read, or lacks the table.
    pub async fn changed_since(
        &self,
        table: &Arc<TableSpec>,
        since: &VersionVector,
        except: Option<&Environment>,
    ) -> Result<Changed> {
        let (connections, table, since, except) =
            (Arc::clone(&self.connections), Arc::clone(table), since.clone(), except.cloned());
        self.run(async move { connections.changed_since(&table, &since, except.as_ref()).await }).await
    }

    /// What all environments have of these keys, tombstones included, ordered by key
    /// and environment within one call.
    ///
    /// # Errors
    /// As [`Self::changed_since`].
    pub async fn contributions(&self, table: &Arc<TableSpec>, keys: Vec<Key>) -> Result<Vec<HubRow>> {
        let (connections, table) = (Arc::clone(&self.connections), Arc::clone(table));
        self.run(async move { connections.contributions(&table, &keys).await }).await
    }
}

impl Connections {
    async fn changed_since(
        &self,
        table: &Arc<TableSpec>,
        since: &VersionVector,
        except: Option<&Environment>,
    ) -> Result<Changed> {
        let link = self.reader().await?;
        let changed = changed(&link, &self.dialect, table, since, except).await;
        changed.map_err(|failure| failure.into_error(&link, "reading what changed").context("table", table.name()))
    }

    async fn contributions(&self, table: &Arc<TableSpec>, keys: &[Key]) -> Result<Vec<HubRow>> {
        let link = self.reader().await?;
        let rows = rows_of(&link, &self.dialect, table, keys).await;
        rows.map_err(|failure| failure.into_error(&link, "reading contributions").context("table", table.name()))
    }
}

/// One statement is one snapshot: what the versions say is what the rows are.
async fn changed(
    client: &Client,
    dialect: &Dialect,
    table: &TableSpec,
    since: &VersionVector,
    except: Option<&Environment>,
) -> Result<Changed, Failure> {
    let keys = names(table, table.key_columns().len(), "t.");
    let sql = format!(
        "SELECT v.source_env, v.version, t.source_env IS NOT NULL, {keys} \
         FROM (SELECT source_env, version, coalesce((SELECT max(s.version) FROM unnest($2, $3) AS s(env, version) \
         WHERE s.env = v.source_env), 0) AS since FROM {} v WHERE table_name = $1 AND source_env IS DISTINCT FROM $4) v \
         LEFT JOIN {} t ON t.source_env = v.source_env AND t.sync_version > v.since AND t.sync_version <= v.version",
        dialect.own("sync_versions"),
        dialect.table(table.name()),
    );
    let (mut environments, mut versions) = (Array::new(Type::TEXT.oid()), Array::new(Type::INT8.oid()));
    for (environment, version) in since.iter() {
        environments.push(Wire::Text(environment.as_str()));
        versions.push(Wire::Int(version));
    }
    let except = except.map(Environment::as_str);
    let types = [Type::TEXT, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT];
    let parameters: [&(dyn ToSql + Sync); 4] = [&table.name().as_str(), &environments, &versions, &except];
    let statement = client.prepare_typed(&sql, &types).await?;
    let mut seen = since.clone();
    let mut found: BTreeMap<u128, Key> = BTreeMap::new();
    for row in client.query(&statement, &parameters).await? {
        seen.set(row.try_get::<_, &str>(0)?.into(), row.try_get(1)?);
        if row.try_get(2)? {
            let key = Key::new(columns(&row, table.key_columns(), 3, dialect.vectors.kind())?.0);
            found.insert(key.hash().0, key);
        }
    }
    Ok(Changed { keys: found.into_values().collect(), seen })
}

async fn rows_of(client: &Client, dialect: &Dialect, table: &TableSpec, keys: &[Key]) -> Result<Vec<HubRow>, Failure> {
    let columns = table.key_columns();
    let types: Vec<Type> = columns.iter().map(|column| column_type(column.kind, &dialect.vectors)).collect();
    let mut arrays: Vec<Array> = types.iter().map(|kind| Array::new(kind.oid())).collect();
    for key in keys {
        for ((array, column), value) in arrays.iter_mut().zip(columns).zip(key.values()) {
            array.push(Wire::column(value, column.kind, dialect.vectors.kind())?);
        }
    }
    let (mut wanted, mut aliases, mut join) = (String::new(), String::new(), String::from("true"));
    for (position, column) in columns.iter().enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        let _ = write!(wanted, "{comma}${}", position + 1);
        let _ = write!(aliases, "{comma}c{position}");
        let _ = write!(join, " AND t.{} = k.c{position}", column.name.quoted());
    }
    let sql = format!(
        "SELECT t.source_env, t.source, t.stream, t.content_hash, t.sync_version, t.deleted_at IS NOT NULL, \
         t.synced_at, t.merged_from, t.extra, {} FROM unnest({wanted}) WITH ORDINALITY AS k({aliases}, position) \
         CROSS JOIN (SELECT source_env FROM {} WHERE table_name = ${}) e \
         JOIN {} t ON t.source_env = e.source_env AND {join} ORDER BY k.position, t.source_env",
        names(table, table.columns().len(), "t."),
        dialect.own("sync_versions"),
        columns.len() + 1,
        dialect.table(table.name()),
    );
    let mut parameter_types: Vec<Type> = types.iter().map(|kind| array_of(kind, &dialect.vectors)).collect();
    parameter_types.push(Type::TEXT);
    let name = table.name().as_str();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
    parameters.push(&name);
    // Prepared, since the driver may have to ask what type an extension's columns have.
    let statement = client.prepare_typed(&sql, &parameter_types).await?;
    let rows = client.query(&statement, &parameters).await?;
    rows.iter().map(|row| hub_row(dialect, table, row)).collect()
}

fn hub_row(dialect: &Dialect, table: &TableSpec, row: &SqlRow) -> Result<HubRow, Failure> {
    const OWN: usize = 9;
    let (values, _) = columns(row, table.columns(), OWN, dialect.vectors.kind())?;
    let mut content = Row::new(table, values, json(row, 8)?);
    content.hash = ContentHash::from_i64(row.try_get(3)?).unwrap_or(content.hash);
    let Some(synced_at) = moment(row, 6)? else {
        return Err(Error::internal("a row does not say when it was written").into());
    };
    let merged_from = match json(row, 7)? {
        Some(json) => contributions_from_json(table, json.as_str())?,
        None => Vec::new(),
    };
    let (source, stream): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    Ok(HubRow {
        environment: row.try_get::<_, &str>(0)?.into(),
        contributor: Contributor { source: source.into(), stream: stream.into() },
        row: content,
        merged_from,
        version: row.try_get(4)?,
        deleted: row.try_get(5)?,
        synced_at,
    })
}

fn names(table: &TableSpec, count: usize, prefix: &str) -> String {
    let names = table.columns()[..count].iter().map(|column| format!("{prefix}{}", column.name.quoted()));
    names.collect::<Vec<_>>().join(", ")
}
