//! Reading the hub: what changed since, and what everybody has of a key.

use std::fmt::Write as _;

use aqe_sync_core::meet::{Contribution, contributions_from_json};
use aqe_sync_core::{ContentHash, Contributor, Environment, Error, Key, Result, Row, TableSpec, Timestamp};
use postgres_types::{ToSql, Type};
use tokio_postgres::{Client, Row as SqlRow};

use super::batch::{array_of, column_type};
use super::failure::Failure;
use super::statements::Dialect;
use super::wire::{Array, Wire, columns, json, moment};

/// What one environment has of a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HubRow {
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

/// What all environments have of these keys, tombstones included, audit rows left out, ordered by key and
/// environment.
pub(super) async fn rows_of(
    client: &Client,
    dialect: &Dialect,
    table: &TableSpec,
    keys: &[Key],
) -> Result<Vec<HubRow>, Failure> {
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
        let _ = write!(join, " AND x.{} = k.c{position}", column.name.quoted());
    }
    // Fenced off by OFFSET, so that one row is looked up by its key per key and environment:
    // else the planner takes all rows of an environment first.
    let sql = format!(
        "SELECT t.source_env, t.source, t.stream, t.content_hash, t.sync_version, t.deleted_at IS NOT NULL, \
         t.synced_at, t.merged_from, t.extra, {} FROM unnest({wanted}) WITH ORDINALITY AS k({aliases}, position) \
         CROSS JOIN (SELECT source_env FROM {} WHERE table_name = ${}) e \
         CROSS JOIN LATERAL (SELECT * FROM {} x WHERE x.source_env = e.source_env AND {join} OFFSET 0) t \
         WHERE t.source <> '{}' ORDER BY k.position, t.source_env",
        names(table, table.columns().len(), "t."),
        dialect.own("sync_versions"),
        columns.len() + 1,
        dialect.table(table.name()),
        aqe_sync_core::audit::SOURCE,
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

/// Key columns, each with `prefix`.
pub(super) fn key_names(table: &TableSpec, prefix: &str) -> String {
    names(table, table.key_columns().len(), prefix)
}

fn names(table: &TableSpec, count: usize, prefix: &str) -> String {
    let names = table.columns()[..count].iter().map(|column| format!("{prefix}{}", column.name.quoted()));
    names.collect::<Vec<_>>().join(", ")
}
