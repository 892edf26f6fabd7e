//! Runs, and records that could not be stored, as people ask for them.

use std::sync::Arc;

use aqe_sync_core::history::{History, Letter, LetterFilter, RunFilter, RunRecord};
use aqe_sync_core::overview::Overview;
use aqe_sync_core::report::Status;
use aqe_sync_core::{Environment, Error, ErrorKind, Json, Result, StreamId, Timestamp};
use postgres_types::Type;
use serde::de::DeserializeOwned;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::bookkeeping::Param;
use super::failure::Failure;
use super::hub::PostgresHub;
use super::statements::Dialect;
use super::wire::{Wire, moment};

impl History for PostgresHub {
    async fn glance(&self) -> Result<Overview> {
        self.look_over().await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRecord>> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            // A hub that was not upgraded yet is looked at as it is.
            let present = connections.schema.lock().await.present().clone();
            let known = |columns: &super::schema::Columns| columns.contains_key("streams");
            let streams = if present.table("sync_history").is_some_and(known) { "streams::text" } else { "NULL::text" };
            let (filter, connections) = (&filter, &connections);
            connections
                .ask(|link| async move {
                    let found = runs(&link, &connections.dialect, filter, streams).await;
                    found.map_err(|failure| failure.into_error(&link, "reading the history"))
                })
                .await
        })
        .await
    }

    async fn letters(&self, filter: LetterFilter) -> Result<(Vec<Letter>, u64)> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            let (filter, connections) = (&filter, &connections);
            connections
                .ask(|link| async move {
                    let found = letters(&link, &connections.dialect, filter).await;
                    found.map_err(|failure| failure.into_error(&link, "reading dead letters"))
                })
                .await
        })
        .await
    }

    async fn drop_letters(&self, environment: &Environment, ids: Vec<String>) -> Result<u64> {
        let connections = Arc::clone(&self.connections);
        let environment = environment.clone();
        self.run(async move {
            connections.check_writer(&environment)?;
            let (environment, ids, connections) = (&environment, &ids, &connections);
            connections
                .ask(|link| async move {
                    let sql = format!(
                        "DELETE FROM {} WHERE source_env = $1 AND id = ANY ($2)",
                        connections.dialect.own("dead_letters")
                    );
                    let parameters: [Param<'_>; 2] = [(&environment.as_str(), Type::TEXT), (ids, Type::TEXT_ARRAY)];
                    let dropped = link.execute_typed(&sql, &parameters).await;
                    dropped.map_err(|error| {
                        let denied = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
                        let error = link.fault("deleting dead letters", error);
                        if denied { error.advice("ask the hub's owner to drop them") } else { error }
                    })
                })
                .await
        })
        .await
    }
}

async fn runs(
    client: &Client,
    dialect: &Dialect,
    filter: &RunFilter,
    streams: &str,
) -> Result<Vec<RunRecord>, Failure> {
    let sql = format!(
        "SELECT run_id, source_env, mode, status, started_at, duration_ms, totals::text, {streams}, errors FROM {} \
         WHERE ($1::text IS NULL OR source_env = $1) AND ($2::timestamptz IS NULL OR started_at >= $2) \
         AND (NOT $3 OR status <> 'ok') ORDER BY started_at DESC, run_id LIMIT $4",
        dialect.own("sync_history")
    );
    let environment = filter.environment.as_ref().map(Environment::as_str);
    let since = filter.since.map_or(Wire::Null, Wire::Timestamp);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let parameters: [Param<'_>; 4] =
        [(&environment, Type::TEXT), (&since, Type::TIMESTAMPTZ), (&filter.not_ok, Type::BOOL), (&limit, Type::INT8)];
    let rows = client.query_typed(&sql, &parameters).await?;
    rows.iter().map(run).collect()
}

fn run(row: &Row) -> Result<RunRecord, Failure> {
    let run_id: String = row.try_get(0)?;
    let name = format!("run {run_id}");
    let status: Status = parsed(&format!("\"{}\"", row.try_get::<_, &str>(3)?), "sync_history", &name)?;
    let streams: Option<&str> = row.try_get(7)?;
    Ok(RunRecord {
        environment: row.try_get(1)?,
        mode: row.try_get(2)?,
        status,
        started_at: at(row, 4, "sync_history", &name)?,
        duration_ms: row.try_get::<_, i64>(5)?.unsigned_abs(),
        totals: parsed(row.try_get(6)?, "sync_history", &name)?,
        streams: streams.map(|streams| parsed(streams, "sync_history", &name)).transpose()?,
        errors: row.try_get(8)?,
        run_id,
    })
}

async fn letters(client: &Client, dialect: &Dialect, filter: &LetterFilter) -> Result<(Vec<Letter>, u64), Failure> {
    let sql = format!(
        "SELECT id, source_env, source, stream, table_name, key, reason, record, first_seen_at, last_seen_at, \
         settled_at, count(*) OVER () FROM {} \
         WHERE ($1::text IS NULL OR pg_catalog.starts_with(id, $1)) AND ($2::text IS NULL OR source_env = $2) \
         AND ($3::text IS NULL OR source = $3) AND ($4::text IS NULL OR table_name = $4) \
         AND ($5 OR settled_at IS NULL) ORDER BY last_seen_at DESC, source, key, id LIMIT $6",
        dialect.own("dead_letters")
    );
    let environment = filter.environment.as_ref().map(Environment::as_str);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let parameters: [Param<'_>; 6] = [
        (&filter.id, Type::TEXT),
        (&environment, Type::TEXT),
        (&filter.source, Type::TEXT),
        (&filter.table, Type::TEXT),
        (&filter.settled, Type::BOOL),
        (&limit, Type::INT8),
    ];
    let rows = client.query_typed(&sql, &parameters).await?;
    let total = rows.first().map_or(Ok(0_i64), |row| row.try_get(11))?;
    let letters = rows.iter().map(letter).collect::<Result<Vec<_>, Failure>>()?;
    Ok((letters, total.unsigned_abs()))
}

fn letter(row: &Row) -> Result<Letter, Failure> {
    let id: String = row.try_get(0)?;
    let name = format!("letter {id}");
    let text = |position: usize| row.try_get::<_, &str>(position);
    Ok(Letter {
        stream: StreamId { environment: text(1)?.into(), source: text(2)?.into(), stream: text(3)?.into() },
        table: row.try_get(4)?,
        key: row.try_get(5)?,
        reason: row.try_get(6)?,
        record: Json::from_text(row.try_get::<_, String>(7)?),
        first_seen: at(row, 8, "dead_letters", &name)?,
        last_seen: at(row, 9, "dead_letters", &name)?,
        settled: moment(row, 10)?,
        id,
    })
}

fn at(row: &Row, position: usize, table: &str, name: &str) -> Result<Timestamp, Failure> {
    moment(row, position)?.ok_or_else(|| foreign("a moment is missing".to_owned(), table, name))
}

fn parsed<T: DeserializeOwned>(json: &str, table: &str, row: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| foreign(error.to_string(), table, row))
}

/// The error of a row that no version of this program wrote.
fn foreign(what: String, table: &str, row: &str) -> Failure {
    Error::new(ErrorKind::Malformed, what)
        .context("table", table)
        .context("row", row)
        .advice("it was written by something else: correct or delete the row")
        .into()
}
