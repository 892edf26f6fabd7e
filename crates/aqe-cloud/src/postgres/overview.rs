//! What the hub holds, at a glance.

use aqe_sync_core::overview::{EnvironmentOverview, Overview, RunOverview, StreamOverview, TableOverview};
use aqe_sync_core::{Identifier, Result, audit, tables};
use futures::future::try_join_all;
use postgres_types::Type;
use tokio_postgres::{Client, Error, Row};

use super::connections::Connections;
use super::hub::PostgresHub;
use super::schema::Present;
use super::statements::Dialect;
use super::wire::moment;

impl PostgresHub {
    /// What the hub holds, for people and monitoring. Asked for in a few round trips.
    ///
    /// # Errors
    /// When the hub cannot be read.
    pub fn overview(&self) -> Result<Overview> {
        let connections = std::sync::Arc::clone(&self.connections);
        let warnings = self.warnings().to_vec();
        let overview = self.run(async move { connections.overview().await });
        let overview = futures::executor::block_on(overview)?;
        Ok(Overview { warnings, ..overview })
    }
}

impl Connections {
    async fn overview(&self) -> Result<Overview> {
        let present = self.schema.lock().await.present().clone();
        let present = &present;
        self.ask(|link| async move {
            let overview = look(&link, &self.dialect, present).await;
            overview.map_err(|error| link.fault("reading the hub", error))
        })
        .await
    }
}

async fn look(client: &Client, dialect: &Dialect, present: &Present) -> Result<Overview, Error> {
    // A transaction of its own: whole tables are counted here.
    let opening = format!("{}; SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on", dialect.brackets.read);
    let (begun, looked, ended) = futures::join!(
        client.batch_execute(&opening),
        look_at_all(client, dialect, present),
        client.batch_execute(dialect.brackets.commit),
    );
    begun?;
    let overview = looked?;
    ended?;
    Ok(overview)
}

async fn look_at_all(client: &Client, dialect: &Dialect, present: &Present) -> Result<Overview, Error> {
    let count = |table, condition: &'static str| async move {
        // Counting a column, since an index of ruvector breaks counting rows.
        let sql = format!("SELECT count(source_env) FROM {} {condition}", dialect.own(table));
        number(&client.query_typed_one(&sql, &[]).await?, 0)
    };
    let there = tables::all().iter().filter(|table| present.table(table.name().as_str()).is_some());
    let counts = there.map(|table| count_table(client, dialect, table.name()));
    let (environments, counted, conflicts, dead_letters, bytes, runs) = futures::try_join!(
        environments(client, dialect),
        try_join_all(counts),
        count("conflict_log", ""),
        count("dead_letters", "WHERE settled_at IS NULL"),
        size(client, dialect),
        runs(client, dialect),
    )?;
    let mut overview =
        Overview { environments, tables: Vec::new(), conflicts, dead_letters, bytes, runs, warnings: Vec::new() };
    for counted in counted {
        for (environment, source, stream, rows) in &counted.streams {
            let of_environment = overview.environments.iter_mut().filter(|each| each.environment == *environment);
            let of_stream = of_environment.flat_map(|each| &mut each.streams).filter(|each| {
                each.source == *source && each.stream == *stream && each.table == counted.overview.table
            });
            of_stream.for_each(|each| each.rows = *rows);
        }
        if counted.overview.rows + counted.overview.tombstones > 0 {
            overview.tables.push(counted.overview);
        }
    }
    Ok(overview)
}

/// A table with the live rows of each stream.
struct Counted {
    overview: TableOverview,
    streams: Vec<(String, String, String, u64)>,
}

async fn count_table(client: &Client, dialect: &Dialect, name: &Identifier) -> Result<Counted, Error> {
    let sql = format!(
        "SELECT source_env, source, stream, count(source_env) - count(deleted_at), count(deleted_at) FROM {} \
         WHERE source <> $1 GROUP BY 1, 2, 3",
        dialect.table(name)
    );
    // The hub's own audit rows are nobody's memory.
    let rows = client.query_typed(&sql, &[(&audit::SOURCE, Type::TEXT)]).await?;
    let mut overview = TableOverview { table: name.to_string(), rows: 0, tombstones: 0 };
    let mut streams = Vec::with_capacity(rows.len());
    for row in &rows {
        let live = number(row, 3)?;
        overview.rows += live;
        overview.tombstones += number(row, 4)?;
        streams.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, live));
    }
    Ok(Counted { overview, streams })
}

async fn environments(client: &Client, dialect: &Dialect) -> Result<Vec<EnvironmentOverview>, Error> {
    let sql = format!(
        "SELECT source_env, source, stream, table_name, synced_at FROM {} ORDER BY 1, 2, 3",
        dialect.own("sync_state")
    );
    let mut environments: Vec<EnvironmentOverview> = Vec::new();
    for row in client.query_typed(&sql, &[]).await? {
        let environment: String = row.try_get(0)?;
        let stream = StreamOverview {
            source: row.try_get(1)?,
            stream: row.try_get(2)?,
            table: row.try_get(3)?,
            last_synced: moment(&row, 4)?.map(|moment| moment.to_string()),
            rows: 0,
        };
        match environments.last_mut() {
            Some(last) if last.environment == environment => last.streams.push(stream),
            _ => environments.push(EnvironmentOverview { environment, streams: vec![stream] }),
        }
    }
    Ok(environments)
}

async fn size(client: &Client, dialect: &Dialect) -> Result<u64, Error> {
    let sql = "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";
    number(&client.query_typed_one(sql, &[(&dialect.schema.as_str(), Type::TEXT)]).await?, 0)
}

async fn runs(client: &Client, dialect: &Dialect) -> Result<Vec<RunOverview>, Error> {
    let sql = format!(
        "SELECT run_id, source_env, mode, status, started_at, duration_ms, totals::text FROM {} \
         ORDER BY started_at DESC, run_id LIMIT 20",
        dialect.own("sync_history")
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let runs = rows.iter().map(|row| {
        let run = RunOverview {
            run_id: row.try_get(0)?,
            environment: row.try_get(1)?,
            mode: row.try_get(2)?,
            status: row.try_get(3)?,
            started_at: moment(row, 4)?.map(|moment| moment.to_string()).unwrap_or_default(),
            duration_ms: number(row, 5)?,
            ..RunOverview::default()
        };
        Ok(run.with_totals(row.try_get(6)?))
    });
    runs.collect()
}

fn number(row: &Row, index: usize) -> Result<u64, Error> {
    row.try_get::<_, i64>(index).map(i64::unsigned_abs)
}
