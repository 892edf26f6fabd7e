//! What the embedded hub remembers of runs, and of records that it could not take.

use aqe_sync_core::history::{History, Letter, LetterFilter, RunFilter, RunRecord, stream_records};
use aqe_sync_core::overview::Overview;
use aqe_sync_core::report::Status;
use aqe_sync_core::{Environment, Error, ErrorKind, Json, Report, Result, StreamId, Timestamp};
use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde::de::DeserializeOwned;

use super::EmbeddedHub;
use super::txn::Failure;

const LETTER: &str = "id, source_env, source, stream, table_name, key, reason, record, first_seen_at, last_seen_at, \
                      settled_at";

impl History for EmbeddedHub {
    async fn glance(&self) -> Result<Overview> {
        self.look(|connection| Ok(super::overview::read(connection)?)).await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRecord>> {
        self.look(move |connection| runs(connection, &filter)).await
    }

    async fn letters(&self, filter: LetterFilter) -> Result<(Vec<Letter>, u64)> {
        self.look(move |connection| letters(connection, &filter)).await
    }

    async fn drop_letters(&self, environment: &Environment, ids: Vec<String>) -> Result<u64> {
        let environment = environment.clone();
        let _turn = self.turn.lock().await;
        self.worker
            .call(move |state| {
                drop_letters(&mut state.connection, &environment, &ids)
                    .map_err(|error| super::hub_error(&state.name, "deleting dead letters from", error))
            })
            .await
    }
}

fn drop_letters(connection: &mut Connection, environment: &Environment, ids: &[String]) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut dropped = 0;
    for id in ids {
        let sql = "DELETE FROM dead_letters WHERE id = ?1 AND source_env = ?2";
        dropped += transaction.prepare_cached(sql)?.execute([id, environment.as_str()])? as u64;
    }
    transaction.commit()?;
    Ok(dropped)
}

/// Adds a run to the history.
pub(super) fn add(connection: &Connection, report: &Report) -> rusqlite::Result<()> {
    let sql = "INSERT INTO sync_history (run_id, source_env, mode, status, started_at, duration_ms, totals, errors, \
               streams) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = params![
        report.run_id,
        report.environment.as_str(),
        report.mode.as_str(),
        report.status.as_str(),
        report.started_at.to_string(),
        report.duration_ms,
        serde_json::json!(report.totals).to_string(),
        report.errors(),
        serde_json::json!(stream_records(report)).to_string(),
    ];
    connection.execute(sql, values).map(drop)
}

fn runs(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunRecord>, Failure> {
    let sql = "SELECT run_id, source_env, mode, status, started_at, duration_ms, totals, streams, errors \
               FROM sync_history WHERE (?1 IS NULL OR source_env = ?1) AND (?2 IS NULL OR started_at >= ?2) \
               AND (NOT ?3 OR status <> 'ok') ORDER BY started_at DESC, run_id LIMIT ?4";
    let environment = filter.environment.as_ref().map(Environment::as_str);
    let since = filter.since.map(|since| since.to_string());
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params![environment, since, filter.not_ok, limit])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(run(row)?);
    }
    Ok(runs)
}

fn run(row: &Row<'_>) -> Result<RunRecord, Failure> {
    let run_id: String = row.get(0)?;
    let started_at: String = row.get(4)?;
    let streams: Option<String> = row.get(7)?;
    let row_name = format!("run {run_id}");
    let status: Status = parsed(&format!("\"{}\"", row.get::<_, String>(3)?), "sync_history", &row_name)?;
    Ok(RunRecord {
        environment: row.get(1)?,
        mode: row.get(2)?,
        status,
        started_at: moment(&started_at, "sync_history", &row_name)?,
        duration_ms: row.get(5)?,
        totals: parsed(&row.get::<_, String>(6)?, "sync_history", &row_name)?,
        streams: streams.map(|streams| parsed(&streams, "sync_history", &row_name)).transpose()?,
        errors: row.get(8)?,
        run_id,
    })
}

fn letters(connection: &Connection, filter: &LetterFilter) -> Result<(Vec<Letter>, u64), Failure> {
    let wanted = "(?1 IS NULL OR substr(id, 1, length(?1)) = ?1) AND (?2 IS NULL OR source_env = ?2) \
                  AND (?3 IS NULL OR source = ?3) AND (?4 IS NULL OR table_name = ?4) \
                  AND (?5 OR settled_at IS NULL)";
    let environment = filter.environment.as_ref().map(Environment::as_str);
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    let count = format!("SELECT count(*) FROM dead_letters WHERE {wanted}");
    let values = params![filter.id, environment, filter.source, filter.table, filter.settled];
    let total = connection.query_row(&count, values, |row| row.get(0))?;
    let sql = format!(
        "SELECT {LETTER} FROM dead_letters WHERE {wanted} ORDER BY last_seen_at DESC, source, key, id LIMIT ?6"
    );
    let mut statement = connection.prepare(&sql)?;
    let values = params![filter.id, environment, filter.source, filter.table, filter.settled, limit];
    let mut rows = statement.query(values)?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next()? {
        letters.push(letter(row)?);
    }
    Ok((letters, total))
}

fn letter(row: &Row<'_>) -> Result<Letter, Failure> {
    let text = |position: usize| row.get::<_, String>(position);
    let id = text(0)?;
    let name = format!("letter {id}");
    let moment = |written: String| moment(&written, "dead_letters", &name);
    Ok(Letter {
        stream: StreamId {
            environment: text(1)?.as_str().into(),
            source: text(2)?.as_str().into(),
            stream: text(3)?.as_str().into(),
        },
        table: text(4)?,
        key: text(5)?,
        reason: text(6)?,
        record: Json::from_text(text(7)?),
        first_seen: moment(text(8)?)?,
        last_seen: moment(text(9)?)?,
        settled: row.get::<_, Option<String>>(10)?.map(moment).transpose()?,
        id,
    })
}

fn parsed<T: DeserializeOwned>(json: &str, table: &str, row: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| foreign(format!("{error}"), table, row))
}

fn moment(text: &str, table: &str, row: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse(text).ok_or_else(|| foreign(format!("{text:?} is no moment"), table, row))
}

/// The error of a row that no version of this program wrote.
fn foreign(what: String, table: &str, row: &str) -> Failure {
    Error::new(ErrorKind::Malformed, what)
        .context("table", table)
        .context("row", row)
        .advice("it was written by something else: correct or delete the row")
        .into()
}
