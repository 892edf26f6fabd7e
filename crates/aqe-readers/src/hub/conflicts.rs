//! What conflicted, as the embedded hub keeps it.

use aqe_sync_core::revert::{ConflictEntry, ConflictFilter, ConflictLog, REVERTED};
use aqe_sync_core::{Contributor, Error, ErrorKind, Json, Result, Timestamp};
use rusqlite::{Connection, params};

use super::EmbeddedHub;
use super::txn::Failure;

const COLUMNS: &str = "c.id, c.logged_at, c.source_env, c.source, c.stream, c.table_name, c.key, c.rule, c.incoming, \
                       c.existing, c.existing_source, c.existing_stream, \
                       (SELECT max(r.id) FROM conflict_log AS r WHERE r.rule = ?1 || ' ' || c.id)";

impl ConflictLog for EmbeddedHub {
    async fn conflicts(&self, filter: ConflictFilter) -> Result<(Vec<ConflictEntry>, u64)> {
        self.look(move |connection| conflicts(connection, &filter)).await
    }

    async fn conflict(&self, id: &str) -> Result<Option<ConflictEntry>> {
        let Ok(id) = id.parse::<i64>() else { return Ok(None) };
        self.look(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM conflict_log AS c WHERE c.id = ?2"))?;
            let mut rows = statement.query(params![REVERTED, id])?;
            rows.next()?.map(entry).transpose()
        })
        .await
    }
}

fn conflicts(connection: &Connection, filter: &ConflictFilter) -> Result<(Vec<ConflictEntry>, u64), Failure> {
    let wanted = "(?2 IS NULL OR c.table_name = ?2) AND (?3 IS NULL OR c.source_env = ?3) \
                  AND (?4 IS NULL OR c.logged_at >= ?4)";
    let environment = filter.environment.as_ref().map(aqe_sync_core::Environment::as_str);
    let since = filter.since.map(|since| since.to_string());
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    // A parameter that a statement does not name cannot be given to it.
    let count = format!("SELECT count(*) FROM conflict_log AS c WHERE ?1 IS NOT NULL AND {wanted}");
    let total = connection.query_row(&count, params![REVERTED, filter.table, environment, since], |row| row.get(0))?;
    let sql = format!("SELECT {COLUMNS} FROM conflict_log AS c WHERE {wanted} ORDER BY c.id DESC LIMIT ?5");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params![REVERTED, filter.table, environment, since, limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok((entries, total))
}

fn entry(row: &rusqlite::Row<'_>) -> Result<ConflictEntry, Failure> {
    let text = |position: usize| row.get::<_, String>(position);
    let contributor = |source: usize, stream: usize| -> rusqlite::Result<_> {
        Ok(Contributor { source: text(source)?.as_str().into(), stream: text(stream)?.as_str().into() })
    };
    let (id, at): (i64, String) = (row.get(0)?, row.get(1)?);
    let at = Timestamp::parse(&at).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, format!("{at:?} is no moment"))
            .context("table", "conflict_log")
            .context("row", id)
            .advice("it was written by something else: correct or delete the row")
    })?;
    Ok(ConflictEntry {
        id: id.to_string(),
        at,
        environment: text(2)?.as_str().into(),
        writer: contributor(3, 4)?,
        table: text(5)?,
        key: text(6)?,
        rule: text(7)?,
        incoming: row.get::<_, Option<String>>(8)?.map(Json::from_text),
        existing: Json::from_text(text(9)?),
        existing_from: contributor(10, 11)?,
        reverted_by: row.get::<_, Option<i64>>(12)?.map(|id| id.to_string()),
    })
}
