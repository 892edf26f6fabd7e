//! The hub in PostgreSQL as a fleet's hub.

use std::collections::BTreeMap;
use std::sync::Arc;

use aqe_sync_core::fleet::{Contribution, FleetHub, Kept, Standing, VersionVector};
use aqe_sync_core::{Environment, Key, KeyHash, Result, SourceName, TableSpec, Timestamp};
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use postgres_types::{ToSql, Type};
use tokio_postgres::Client;

use super::connections::Connections;
use super::failure::Failure;
use super::hub::PostgresHub;
use super::link::Link;
use super::reader::{HubRow, key_names, rows_of};
use super::statements::Dialect;
use super::wire::{Array, Wire, columns};

/// So many keys or entries are sent at once.
const BATCH: usize = 1_000;

/// The hub's own audit rows are nobody's memory.
const AUDIT: &str = aqe_sync_core::audit::SOURCE;

impl FleetHub for PostgresHub {
    /// The epoch is the hub's identity and the moment at which its server was started.
    /// Batches in the middle of a stream are committed without waiting for the disk: a
    /// server that crashes may forget them and give their versions to others, which
    /// somebody may have seen by then.
    async fn standing(&self) -> Result<Standing> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            let ask = |link: Arc<Link>| {
                let dialect = Arc::clone(&connections.dialect);
                async move {
                    let standing = standing(&link, &dialect).await;
                    standing.map_err(|failure| failure.into_error(&link, "reading how far the fleet is"))
                }
            };
            connections.ask(ask).await
        })
        .await
    }

    fn changed(
        &self,
        table: &Arc<TableSpec>,
        since: &VersionVector,
        own: &Environment,
        after: Option<Timestamp>,
    ) -> BoxStream<'static, Result<Vec<Key>>> {
        let (table, since, own) = (Arc::clone(table), since.clone(), own.clone());
        self.stream(move |connections, mut sender| {
            Box::pin(async move {
                let link = connections.reader().await?;
                let wanted = Changes { table: &table, since: &since, own: &own, after };
                let sent = changed(&link, &connections.dialect, wanted, &mut sender).await;
                sent.map_err(|failure| failure.into_error(&link, "reading what changed").context("table", table.name()))
            })
        })
    }

    async fn contributions(&self, table: &Arc<TableSpec>, keys: Vec<Key>) -> Result<Vec<Vec<Contribution>>> {
        let (connections, table) = (Arc::clone(&self.connections), Arc::clone(table));
        self.run(async move {
            let link = connections.asking().await?;
            let rows = rows_of(&link, &connections.dialect, &table, &keys).await;
            let rows = rows
                .map_err(|failure| failure.into_error(&link, "reading contributions").context("table", table.name()))?;
            Ok(by_key(&table, &keys, rows))
        })
        .await
    }

    async fn keep(&self, environment: &Environment, file: &SourceName, entries: Vec<Kept>, floor: i64) -> Result<()> {
        let (connections, environment, file) = (Arc::clone(&self.connections), environment.clone(), file.clone());
        self.run(async move {
            connections.check_writer(&environment)?;
            let entries = Entries::of(&entries);
            let ask = |link: Arc<Link>| {
                let (dialect, environment, file, entries) = (&connections.dialect, &environment, &file, &entries);
                async move {
                    let kept = entries.keep(&link, dialect, environment, file, floor).await;
                    kept.map_err(|failure| failure.into_error(&link, "keeping what was pulled"))
                }
            };
            connections.ask(ask).await
        })
        .await
    }

    fn kept(&self, environment: &Environment, file: &SourceName) -> BoxStream<'static, Result<Vec<Kept>>> {
        let (environment, file) = (environment.clone(), file.clone());
        self.stream(move |connections, mut sender| {
            Box::pin(async move {
                let link = connections.reader().await?;
                let sent = kept(&link, &connections.dialect, &environment, &file, &mut sender).await;
                sent.map_err(|failure| failure.into_error(&link, "reading what was pulled"))
            })
        })
    }

    async fn exclude(&self, environment: &Environment, excluded: bool) -> Result<bool> {
        let (connections, environment) = (Arc::clone(&self.connections), environment.clone());
        self.run(async move {
            connections.writer.check_owner(&connections.login, "whom the fleet listens to")?;
            let ask = |link: Arc<Link>| {
                let (dialect, environment) = (&connections.dialect, &environment);
                async move {
                    let table = dialect.own("fleet_excluded");
                    let sql = if excluded {
                        format!(
                            "INSERT INTO {table} (source_env, excluded_at, excluded_by) \
                             VALUES ($1, now(), session_user) ON CONFLICT DO NOTHING"
                        )
                    } else {
                        format!("DELETE FROM {table} WHERE source_env = $1")
                    };
                    let changed = link.execute(&sql, &[&environment.as_str()]).await;
                    let changed = changed.map_err(|error| link.fault("changing who belongs to the fleet", error))?;
                    Ok(changed > 0)
                }
            };
            connections.ask(ask).await
        })
        .await
    }
}

type Sender<T> = mpsc::Sender<Result<Vec<T>>>;

impl PostgresHub {
    /// What a job sends while it runs, then its error.
    pub(super) fn stream<T, F>(&self, job: F) -> BoxStream<'static, Result<Vec<T>>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Connections>, Sender<T>) -> BoxFuture<'static, Result<()>> + Send + 'static,
    {
        let (mut sender, receiver) = mpsc::channel(2);
        let job = job(Arc::clone(&self.connections), sender.clone());
        self.connections.runtime.spawn(async move {
            if let Err(error) = job.await {
                // Whoever asked may have gone: then nobody needs the error.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver.boxed()
    }
}

async fn standing(client: &Client, dialect: &Dialect) -> Result<Standing, Failure> {
    // All in one answer, and without asking for types first.
    let sql = format!(
        "SELECT 0::bigint, table_name, source_env, version FROM {versions} \
         UNION ALL SELECT 1, '', source_env, 0 FROM {excluded} \
         UNION ALL SELECT 2, (SELECT value FROM {info} WHERE key = 'hub_id'), pg_postmaster_start_time()::text, 0",
        versions = dialect.own("sync_versions"),
        excluded = dialect.own("fleet_excluded"),
        info = dialect.own("hub_info"),
    );
    let mut standing = Standing::default();
    for row in client.query_typed(&sql, &[]).await? {
        let (kind, table, environment): (i64, Option<&str>, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        match kind {
            0 => {
                let versions = standing.versions.entry(table.unwrap_or_default().to_owned()).or_default();
                versions.set(environment.into(), row.try_get(3)?);
            }
            1 => {
                standing.excluded.insert(environment.into());
            }
            _ => standing.epoch = format!("{} {environment}", table.unwrap_or_default()),
        }
    }
    Ok(standing)
}

struct Changes<'a> {
    table: &'a TableSpec,
    since: &'a VersionVector,
    own: &'a Environment,
    after: Option<Timestamp>,
}

async fn changed(
    client: &Client,
    dialect: &Dialect,
    wanted: Changes<'_>,
    sender: &mut Sender<Key>,
) -> Result<(), Failure> {
    let Changes { table, since, own, after } = wanted;
    let (name, versions) = (dialect.table(table.name()), dialect.own("sync_versions"));
    let same: Vec<String> = table.key_columns().iter().map(|key| format!("o.{0} = t.{0}", key.name.quoted())).collect();
    let sql = format!(
        "SELECT DISTINCT {keys} FROM (SELECT source_env, coalesce((SELECT max(s.version) \
         FROM unnest($2, $3) AS s(env, version) WHERE s.env = v.source_env), 0) AS since \
         FROM {versions} v WHERE table_name = $1) v \
         JOIN {name} t ON t.source_env = v.source_env AND t.sync_version > v.since \
         WHERE t.source <> '{AUDIT}' AND ($5::timestamptz IS NULL OR t.synced_at > $5) AND (t.source_env <> $4 OR EXISTS (\
         SELECT FROM {versions} e JOIN {name} o ON o.source_env = e.source_env AND {same} \
         WHERE e.table_name = $1 AND e.source_env <> $4))",
        keys = key_names(table, "t."),
        same = same.join(" AND "),
    );
    let (mut environments, mut seen) = (Array::new(Type::TEXT.oid()), Array::new(Type::INT8.oid()));
    for (environment, version) in since.iter() {
        environments.push(Wire::Text(environment.as_str()));
        seen.push(Wire::Int(version));
    }
    let after = after.map(Wire::Timestamp);
    let types = [Type::TEXT, Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::TEXT, Type::TIMESTAMPTZ];
    let parameters: [&(dyn ToSql + Sync); 5] = [&table.name().as_str(), &environments, &seen, &own.as_str(), &after];
    let statement = client.prepare_typed(&sql, &types).await?;
    let mut rows = std::pin::pin!(client.query_raw(&statement, parameters).await?);
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.try_next().await? {
        batch.push(Key::new(columns(&row, table.key_columns(), 0, dialect.vectors.kind())?.0));
        if batch.len() == BATCH && sender.send(Ok(std::mem::take(&mut batch))).await.is_err() {
            return Ok(());
        }
    }
    // Nobody to send to is no failure.
    let _ = sender.send(Ok(batch)).await;
    Ok(())
}

/// Rows come in the order of the keys, those of one key together.
fn by_key(table: &TableSpec, keys: &[Key], rows: Vec<HubRow>) -> Vec<Vec<Contribution>> {
    let mut by_key: BTreeMap<u128, Vec<Contribution>> = BTreeMap::new();
    for row in rows {
        let contribution =
            Contribution { environment: row.environment, version: row.version, deleted: row.deleted, row: row.row };
        by_key.entry(contribution.row.key(table).hash().0).or_default().push(contribution);
    }
    keys.iter().map(|key| by_key.remove(&key.hash().0).unwrap_or_default()).collect()
}

/// Entries as the columns of one statement.
struct Entries {
    tables: Vec<String>,
    locals: Vec<Vec<u8>>,
    generations: Vec<i64>,
    keys: Vec<String>,
    texts: Vec<Option<String>>,
}

impl Entries {
    fn of(entries: &[Kept]) -> Self {
        Self {
            tables: entries.iter().map(|entry| entry.table.clone()).collect(),
            locals: entries.iter().map(|entry| entry.local.0.to_be_bytes().to_vec()).collect(),
            generations: entries.iter().map(|entry| entry.generation).collect(),
            keys: entries.iter().map(|entry| entry.key.to_json()).collect(),
            texts: entries.iter().map(|entry| entry.entry.clone()).collect(),
        }
    }

    /// One statement: it forgets only what was there before it.
    async fn keep(
        &self,
        client: &Client,
        dialect: &Dialect,
        environment: &Environment,
        file: &SourceName,
        floor: i64,
    ) -> Result<(), Failure> {
        let table = dialect.own("fleet_kept");
        let sql = format!(
            "WITH new AS (SELECT * FROM unnest($3, $4, $5, $6, $7) AS n(table_name, local_key, generation, key, entry)), \
             written AS (INSERT INTO {table} (source_env, source, table_name, local_key, generation, key, entry) \
             SELECT $1, $2, table_name, local_key, generation, key, entry FROM new \
             ON CONFLICT (source_env, source, table_name, local_key, generation) \
             DO UPDATE SET key = excluded.key, entry = excluded.entry) \
             DELETE FROM {table} k USING new WHERE k.source_env = $1 AND k.source = $2 \
             AND k.table_name = new.table_name AND k.local_key = new.local_key AND k.generation < (\
             SELECT max(later.generation) FROM {table} later WHERE later.source_env = $1 AND later.source = $2 \
             AND later.table_name = k.table_name AND later.local_key = k.local_key AND later.generation <= $8)"
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (&environment.as_str(), Type::TEXT),
            (&file.as_str(), Type::TEXT),
            (&self.tables, Type::TEXT_ARRAY),
            (&self.locals, Type::BYTEA_ARRAY),
            (&self.generations, Type::INT8_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.texts, Type::TEXT_ARRAY),
            (&floor, Type::INT8),
        ];
        client.query_typed(&sql, &parameters).await?;
        Ok(())
    }
}

async fn kept(
    client: &Client,
    dialect: &Dialect,
    environment: &Environment,
    file: &SourceName,
    sender: &mut Sender<Kept>,
) -> Result<(), Failure> {
    let sql = format!(
        "SELECT table_name, local_key, generation, key, entry FROM {} WHERE source_env = $1 AND source = $2",
        dialect.own("fleet_kept")
    );
    let statement = client.prepare_typed(&sql, &[Type::TEXT, Type::TEXT]).await?;
    let parameters = [environment.as_str(), file.as_str()];
    let mut rows = std::pin::pin!(client.query_raw(&statement, parameters).await?);
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.try_next().await? {
        let local: &[u8] = row.try_get(1)?;
        let (Ok(local), Some(key)) = (local.try_into(), Key::from_json(row.try_get(3)?)) else { continue };
        let local = KeyHash(u128::from_be_bytes(local));
        let (table, generation, entry) = (row.try_get(0)?, row.try_get(2)?, row.try_get(4)?);
        batch.push(Kept { table, key, local, generation, entry });
        if batch.len() == BATCH && sender.send(Ok(std::mem::take(&mut batch))).await.is_err() {
            return Ok(());
        }
    }
    let _ = sender.send(Ok(batch)).await;
    Ok(())
}
