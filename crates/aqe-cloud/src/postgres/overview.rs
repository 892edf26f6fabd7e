//! What the hub holds, at a glance.

use std::collections::HashMap;
use std::sync::Arc;

use aqe_sync_core::overview::{
    EnvironmentOverview, ModelOverview, Overview, RunOverview, StreamOverview, TableOverview,
};
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
        futures::executor::block_on(self.look_over())
    }

    pub(super) async fn look_over(&self) -> Result<Overview> {
        let connections = Arc::clone(&self.connections);
        let warnings = self.warnings().to_vec();
        let overview = self.run(async move { connections.overview().await }).await?;
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
    let (environments, counted, conflicts, dead_letters, sizes, runs, embedded) = futures::try_join!(
        environments(client, dialect),
        try_join_all(counts),
        count("conflict_log", ""),
        count("dead_letters", "WHERE settled_at IS NULL"),
        sizes(client, dialect),
        runs(client, dialect),
        embedded(client, dialect, present),
    )?;
    let bytes = sizes.values().sum();
    let models = models(&embedded);
    let first = models.first().map(|model| model.model.as_str());
    let vectors_of = |table: &str| -> u64 {
        let of_table = |one: &&Embedded| Some(one.model.as_str()) == first && one.table == table;
        embedded.iter().filter(of_table).map(|one| one.vectors).sum()
    };
    let mut overview = Overview { environments, conflicts, dead_letters, bytes, runs, ..Overview::default() };
    for mut counted in counted {
        let name = counted.overview.table.as_str();
        counted.overview.bytes = sizes.get(name).copied().unwrap_or(0);
        let has_text = tables::find(name).is_some_and(|table| !table.text_columns().is_empty());
        counted.overview.vectors = has_text.then(|| vectors_of(name));
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
    overview.models = models;
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
    let mut overview = TableOverview { table: name.to_string(), rows: 0, tombstones: 0, bytes: 0, vectors: None };
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

/// Bytes of each table, with indexes and what is kept apart from its rows.
async fn sizes(client: &Client, dialect: &Dialect) -> Result<HashMap<String, u64>, Error> {
    let sql = "SELECT c.relname::text, pg_catalog.pg_total_relation_size(c.oid) FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'";
    let rows = client.query_typed(sql, &[(&dialect.schema.as_str(), Type::TEXT)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, number(row, 1)?))).collect()
}

/// Vectors of one table and model.
struct Embedded {
    model: String,
    table: String,
    vectors: u64,
    recall: Option<f64>,
}

async fn embedded(client: &Client, dialect: &Dialect, present: &Present) -> Result<Vec<Embedded>, Error> {
    if present.table("vectors").is_none() {
        return Ok(Vec::new());
    }
    // Counting a column, since an index of ruvector breaks counting rows.
    let sql = format!(
        "SELECT v.model, v.table_name, count(v.source_env), \
         (SELECT i.value FROM {} i WHERE i.key = 'vector_recall ' || v.model) FROM {} v GROUP BY 1, 2",
        dialect.own("hub_info"),
        dialect.own("vectors")
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let embedded = rows.iter().map(|row| {
        let recall: Option<&str> = row.try_get(3)?;
        let recall = recall.and_then(|recall| recall.parse().ok());
        Ok(Embedded { model: row.try_get(0)?, table: row.try_get(1)?, vectors: number(row, 2)?, recall })
    });
    embedded.collect()
}

/// Models by how many vectors there are of them.
fn models(embedded: &[Embedded]) -> Vec<ModelOverview> {
    let mut models: Vec<ModelOverview> = Vec::new();
    for one in embedded {
        match models.iter_mut().find(|model| model.model == one.model) {
            Some(model) => model.vectors += one.vectors,
            None => {
                models.push(ModelOverview { model: one.model.clone(), vectors: one.vectors, recall: one.recall });
            }
        }
    }
    models.sort_by(|a, b| b.vectors.cmp(&a.vectors).then_with(|| a.model.cmp(&b.model)));
    models
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
