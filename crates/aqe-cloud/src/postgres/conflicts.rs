//! What conflicted, as the hub in PostgreSQL keeps it.

use std::sync::Arc;

use aqe_sync_core::revert::{ConflictEntry, ConflictFilter, ConflictLog, REVERTED};
use aqe_sync_core::{Contributor, Error, ErrorKind, Result};
use postgres_types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::bookkeeping::Param;
use super::failure::Failure;
use super::hub::PostgresHub;
use super::link::Link;
use super::statements::Dialect;
use super::wire::{Wire, json, moment};

impl ConflictLog for PostgresHub {
    async fn conflicts(&self, filter: ConflictFilter) -> Result<(Vec<ConflictEntry>, u64)> {
        self.conflicts_of(filter, None).await
    }

    async fn conflict(&self, id: &str) -> Result<Option<ConflictEntry>> {
        let Ok(id) = Uuid::parse_str(id) else { return Ok(None) };
        let filter = ConflictFilter { limit: 1, ..ConflictFilter::default() };
        Ok(self.conflicts_of(filter, Some(id)).await?.0.pop())
    }
}

impl PostgresHub {
    async fn conflicts_of(&self, filter: ConflictFilter, id: Option<Uuid>) -> Result<(Vec<ConflictEntry>, u64)> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            let filter = &filter;
            let ask = |link: Arc<Link>| {
                let dialect = Arc::clone(&connections.dialect);
                async move {
                    let found = conflicts(&link, &dialect, filter, id).await;
                    found.map_err(|failure| failure.into_error(&link, "reading conflicts"))
                }
            };
            connections.ask(ask).await
        })
        .await
    }
}

/// Of one transaction, the order of entries is that of their keys.
async fn conflicts(
    client: &Client,
    dialect: &Dialect,
    filter: &ConflictFilter,
    id: Option<Uuid>,
) -> Result<(Vec<ConflictEntry>, u64), Failure> {
    let log = dialect.own("conflict_log");
    let sql = format!(
        "SELECT c.id::text, c.logged_at, c.source_env, c.source, c.stream, c.table_name, c.key, c.rule, c.incoming, \
         c.existing, c.existing_source, c.existing_stream, (SELECT r.id::text FROM {log} r \
         WHERE r.rule = $1 || ' ' || c.id ORDER BY r.logged_at DESC, r.id LIMIT 1), count(*) OVER () FROM {log} c \
         WHERE ($2::text IS NULL OR c.table_name = $2) AND ($3::text IS NULL OR c.source_env = $3) \
         AND ($4::timestamptz IS NULL OR c.logged_at >= $4) AND ($5::text IS NULL OR c.id = $5::uuid) \
         ORDER BY c.logged_at DESC, c.table_name, c.key, c.id LIMIT $6"
    );
    let environment = filter.environment.as_ref().map(aqe_sync_core::Environment::as_str);
    let since = filter.since.map_or(Wire::Null, Wire::Timestamp);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let id = id.map(|id| id.to_string());
    let parameters: [Param<'_>; 6] = [
        (&REVERTED, Type::TEXT),
        (&filter.table, Type::TEXT),
        (&environment, Type::TEXT),
        (&since, Type::TIMESTAMPTZ),
        (&id, Type::TEXT),
        (&limit, Type::INT8),
    ];
    let rows = client.query_typed(&sql, &parameters).await?;
    let total = rows.first().map_or(Ok(0_i64), |row| row.try_get(13))?;
    let entries = rows.iter().map(entry).collect::<Result<Vec<_>, Failure>>()?;
    Ok((entries, u64::try_from(total).unwrap_or(0)))
}

fn entry(row: &Row) -> Result<ConflictEntry, Failure> {
    let text = |position: usize| row.try_get::<_, String>(position);
    let contributor = |source: usize, stream: usize| -> Result<_, Failure> {
        Ok(Contributor { source: text(source)?.as_str().into(), stream: text(stream)?.as_str().into() })
    };
    let (id, at, existing) = (text(0)?, moment(row, 1)?, json(row, 9)?);
    let (Some(at), Some(existing)) = (at, existing) else {
        // Infinity, for one.
        return Err(Error::new(ErrorKind::Malformed, format!("entry {id} has no moment that could be read"))
            .context("table", "conflict_log")
            .advice("it was written by something else: correct or delete the row")
            .into());
    };
    Ok(ConflictEntry {
        id,
        at,
        environment: text(2)?.as_str().into(),
        writer: contributor(3, 4)?,
        table: text(5)?,
        key: text(6)?,
        rule: text(7)?,
        incoming: json(row, 8)?,
        existing,
        existing_from: contributor(10, 11)?,
        reverted_by: row.try_get(12)?,
    })
}
