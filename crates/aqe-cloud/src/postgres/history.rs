//! What the hub remembers of streams and runs.

use aqe_sync_core::audit::{AuditRow, audit};
use aqe_sync_core::history::stream_records;
use aqe_sync_core::{Checkpoint, Environment, Report, Result, StreamId, StreamState, Timestamp, failpoint};
use postgres_types::Type;
use tokio_postgres::{Client, Error, Row};

use super::batch::column_type;
use super::bookkeeping::{Param, storable};
use super::connections::{Connections, lock};
use super::statements::Dialect;
use super::table::Parameters;
use super::wire::{Wire, moment};

impl Connections {
    /// The state of an environment's streams.
    pub(super) async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        let states = self
            .ask(|link| async move {
                let states = read_states(&link, &self.dialect, environment).await;
                states.map_err(|error| link.fault("reading the state of the hub", error))
            })
            .await?;
        lock(&self.known).extend(states.iter().map(|state| state.stream.clone()));
        Ok(states)
    }

    /// Keeps the account of a run, and its event if it changed something: again is once.
    pub(super) async fn keep(&self, report: &Report) -> Result<()> {
        if self.is_dry_run() {
            return Ok(());
        }
        self.check_writer(&report.environment)?;
        let event = audit(report);
        if let Some(event) = &event {
            self.prepare(event.table).await?;
        }
        let event = event.as_ref();
        failpoint!("postgres-history-before");
        let kept = self.ask(|link| async move {
            let kept = write_report(&link, self, report, event).await;
            kept.map_err(|error| link.fault("keeping the account of the run", error))
        });
        kept.await?;
        failpoint!("postgres-history-kept");
        Ok(())
    }
}

async fn read_states(client: &Client, dialect: &Dialect, environment: &Environment) -> Result<Vec<StreamState>, Error> {
    let sql = format!(
        "SELECT source, stream, table_name, sequence, run_id, complete, synced_at, instance FROM {} \
         WHERE source_env = $1",
        dialect.own("sync_state")
    );
    let rows = client.query_typed(&sql, &[(&environment.as_str(), Type::TEXT)]).await?;
    rows.iter().map(|row| state(environment, row)).collect()
}

fn state(environment: &Environment, row: &Row) -> Result<StreamState, Error> {
    let text = |index| row.try_get::<_, &str>(index);
    let stream = StreamId { environment: environment.clone(), source: text(0)?.into(), stream: text(1)?.into() };
    let sequence: i64 = row.try_get(3)?;
    let at = moment(row, 6)?.unwrap_or_else(Timestamp::now);
    let checkpoint =
        Checkpoint { run_id: text(4)?.to_owned(), at, complete: row.try_get(5)?, instance: text(7)?.into() };
    Ok(StreamState { stream, sequence: sequence.unsigned_abs(), table: text(2)?.to_owned(), checkpoint })
}

async fn write_report(
    client: &Client,
    connections: &Connections,
    report: &Report,
    event: Option<&AuditRow>,
) -> Result<(), Error> {
    let brackets = &connections.dialect.brackets;
    let (begun, history, event, committed) = futures::join!(
        client.batch_execute(brackets.begin),
        write_history(client, &connections.dialect, report),
        write_event(client, connections, event),
        client.batch_execute(brackets.commit),
    );
    begun.and(history).and(event).and(committed)
}

async fn write_history(client: &Client, dialect: &Dialect, report: &Report) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO {} (run_id, source_env, mode, status, started_at, duration_ms, totals, errors, streams) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source_env, run_id) DO NOTHING",
        dialect.own("sync_history")
    );
    let errors = report.errors().map(|errors| storable(&errors));
    let totals = serde_json::json!(report.totals).to_string();
    let streams = storable_json(report);
    let parameters: [Param<'_>; 9] = [
        (&report.run_id, Type::TEXT),
        (&report.environment.as_str(), Type::TEXT),
        (&report.mode.as_str(), Type::TEXT),
        (&report.status.as_str(), Type::TEXT),
        (&Wire::Timestamp(report.started_at), Type::TIMESTAMPTZ),
        (&report.duration_ms.cast_signed(), Type::INT8),
        (&Wire::Json(&totals), Type::JSONB),
        (&errors, Type::TEXT),
        (&Wire::Json(&streams), Type::JSONB),
    ];
    client.execute_typed(&sql, &parameters).await.map(drop)
}

/// The account of each stream. Names come from files: no U+0000, which JSONB cannot keep.
fn storable_json(report: &Report) -> String {
    let mut streams = stream_records(report);
    for stream in &mut streams {
        (stream.source, stream.stream) = (storable(&stream.source), storable(&stream.stream));
    }
    serde_json::json!(streams).to_string()
}

async fn write_event(client: &Client, connections: &Connections, event: Option<&AuditRow>) -> Result<(), Error> {
    let Some(AuditRow { stream, table, row }) = event else { return Ok(()) };
    let dialect = &connections.dialect;
    let target = connections.table(table);
    let common = Parameters::new(stream, &target, Timestamp::now());
    let common = common.list();
    let hash = Wire::Int(row.hash.to_i64());
    let mut parameters: Vec<Param<'_>> = common.to_vec();
    parameters.push((&hash, Type::INT8));
    let filled = || table.columns().iter().zip(&row.values).filter(|(_, value)| !value.is_null());
    // Written by this program: every value is of its column's type.
    let values: Vec<Wire<'_>> =
        filled().filter_map(|(column, value)| Wire::column(value, column.kind, dialect.vectors.kind()).ok()).collect();
    for ((column, _), value) in filled().zip(&values) {
        parameters.push((value, column_type(column.kind, &dialect.vectors)));
    }
    let names: Vec<String> = filled().map(|(column, _)| column.name.quoted().to_string()).collect();
    let places: Vec<String> = (0..names.len()).map(|position| format!("${}", position + 7)).collect();
    let sql = format!(
        "INSERT INTO {} (source_env, source, stream, content_hash, sync_version, synced_at, {}) \
         SELECT $1, $2, $3, $6, (SELECT version FROM {} WHERE source_env = $1 AND table_name = $5), $4, {} \
         ON CONFLICT DO NOTHING",
        dialect.table(table.name()),
        names.join(", "),
        dialect.own("sync_versions"),
        places.join(", "),
    );
    let (bumped, written) =
        futures::join!(client.execute_typed(&target.sql.bump, &common), client.execute_typed(&sql, &parameters));
    bumped.and(written).map(drop)
}
