//! Vectors of the rows of a hub in PostgreSQL.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aqe_sync_core::embed::{Candidate, Embedded, Filter, Near, Nearest, Standing, TextHash, VectorHub, WordHits};
use aqe_sync_core::{Environment, Key, Result, Row, TableSpec, Value};
use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{SinkExt as _, TryStreamExt as _};
use postgres_types::{ToSql, Type};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::failure::Failure;
use super::hub::PostgresHub;
use super::link::Link;
use super::near::{self, NEAR, index_name, spelled, vector_type};
use super::schema::VectorKind;
use super::statements::Dialect;
use super::wire::{Raw, read};

/// So many rows are sent at once.
const BATCH: usize = 1_024;

/// The hub's own audit rows are nobody's memory.
const AUDIT: &str = aqe_sync_core::audit::SOURCE;

impl PostgresHub {
    /// Builds the index for a model's vectors, beside whatever else goes on. `false` where there
    /// is one, or the hub's kind of vectors has none that can be relied on.
    ///
    /// # Errors
    /// When this login is not the hub's owner, or the server refuses.
    pub fn index_vectors(&self, model: &str, dimensions: usize) -> Result<bool> {
        let (connections, model) = (Arc::clone(&self.connections), model.to_owned());
        futures::executor::block_on(self.run(async move {
            let dialect = &connections.dialect;
            if dialect.vectors.kind() != VectorKind::Pgvector || !dialect.vectors.has_hnsw() {
                return Ok(false);
            }
            connections.writer.check_owner(&connections.login, "the index of vectors")?;
            let link = connections.reader().await?;
            let failed = |error| link.fault("building the index of vectors", error);
            let there = near::has_index(&link, dialect, &model).await;
            if there.map_err(|failure| failure.into_error(&link, "looking for the index of vectors"))? {
                return Ok(false);
            }
            // One that was not finished is in the way.
            let left = format!("DROP INDEX IF EXISTS {}.{}", dialect.schema.quoted(), index_name(&model));
            link.batch_execute(&left).await.map_err(failed)?;
            link.batch_execute(&near::index_sql(dialect, &model, dimensions)).await.map_err(failed)?;
            Ok(true)
        }))
    }
}

impl VectorHub for PostgresHub {
    async fn embedded(&self, model: &str) -> Result<Standing> {
        let (connections, model) = (Arc::clone(&self.connections), model.to_owned());
        self.run(async move {
            let link = connections.reader().await?;
            let standing = embedded(&link, &connections.dialect, &model).await;
            standing.map_err(|failure| failure.into_error(&link, "reading how far vectors are"))
        })
        .await
    }

    fn may_embed(&self, environment: &Environment) -> bool {
        self.connections.check_writer(environment).is_ok()
    }

    fn changed_rows(
        &self,
        model: &str,
        table: &Arc<TableSpec>,
        environment: &Environment,
        since: i64,
    ) -> BoxStream<'static, Result<Vec<Candidate>>> {
        let (model, table, environment) = (model.to_owned(), Arc::clone(table), environment.clone());
        self.stream(move |connections, mut sender| {
            Box::pin(async move {
                let link = connections.reader().await?;
                let asking = connections.asking().await?;
                let rows = Rows { table: &table, model: &model, environment: &environment, since };
                let sent = rows.send(&link, &asking, &connections.dialect, &mut sender).await;
                sent.map_err(|failure| {
                    failure.into_error(&link, "reading rows to embed").context("table", table.name())
                })
            })
        })
    }

    async fn vectors_of_texts(&self, model: &str, texts: Vec<TextHash>) -> Result<HashMap<TextHash, Vec<f32>>> {
        let (connections, model) = (Arc::clone(&self.connections), model.to_owned());
        self.run(async move {
            let link = connections.asking().await?;
            let found = vectors_of_texts(&link, &connections.dialect, &model, &texts).await;
            found.map_err(|failure| failure.into_error(&link, "reading vectors"))
        })
        .await
    }

    async fn keep_vectors(
        &self,
        model: &str,
        table: &Arc<TableSpec>,
        environment: &Environment,
        rows: Vec<Embedded>,
        reached: Option<i64>,
    ) -> Result<()> {
        let (connections, model) = (Arc::clone(&self.connections), model.to_owned());
        let (table, environment) = (table.name().as_str().to_owned(), environment.clone());
        self.run(async move {
            connections.check_writer(&environment)?;
            let rows = Columns::of(&rows, connections.dialect.vectors.kind());
            let ask = |link: Arc<Link>| {
                let (dialect, rows) = (&connections.dialect, &rows);
                let place = [model.as_str(), table.as_str(), environment.as_str()];
                async move {
                    let kept = rows.keep(&link, dialect, place, reached).await;
                    kept.map_err(|failure| failure.into_error(&link, "keeping vectors"))
                }
            };
            connections.ask(ask).await
        })
        .await
    }

    async fn nearest(&self, query: Nearest) -> Result<Vec<Near>> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            let link = connections.reader().await?;
            let found = near::nearest(&link, &connections.dialect, &query).await;
            found.map_err(|failure| failure.into_error(&link, "searching vectors"))
        })
        .await
    }

    async fn with_words(&self, model: &str, words: Vec<String>, filter: Filter, limit: u64) -> Result<WordHits> {
        let (connections, model) = (Arc::clone(&self.connections), model.to_owned());
        self.run(async move {
            let link = connections.reader().await?;
            let found = near::with_words(&link, &connections.dialect, &model, &words, &filter, limit).await;
            found.map_err(|failure| failure.into_error(&link, "searching words"))
        })
        .await
    }

    async fn vectors_of(&self, model: &str, table: &str, keys: Vec<Key>) -> Result<Vec<Near>> {
        let (connections, model, table) = (Arc::clone(&self.connections), model.to_owned(), table.to_owned());
        self.run(async move {
            let link = connections.reader().await?;
            let found = vectors_of(&link, &connections.dialect, &model, &table, &keys).await;
            found.map_err(|failure| failure.into_error(&link, "reading vectors"))
        })
        .await
    }

    async fn models(&self) -> Result<Vec<(String, u64)>> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            let link = connections.reader().await?;
            let sql = format!(
                "SELECT model, count(*) FROM {} GROUP BY model ORDER BY 2 DESC, model COLLATE \"C\"",
                connections.dialect.own("vectors")
            );
            let read = async {
                let rows = link.query_typed(&sql, &[]).await?;
                let count = |row: &tokio_postgres::Row| u64::try_from(row.try_get::<_, i64>(1)?).map_or(Ok(0), Ok);
                rows.iter().map(|row| Ok((row.try_get(0)?, count(row)?))).collect::<Result<_, tokio_postgres::Error>>()
            };
            match read.await {
                // A hub that an older version made, and none upgraded, has none.
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
                read => read.map_err(|error| link.fault("reading which vectors there are", error)),
            }
        })
        .await
    }

    fn vectors(&self, model: &str, filter: Filter) -> BoxStream<'static, Result<Vec<Near>>> {
        let model = model.to_owned();
        self.stream(move |connections, mut sender| {
            Box::pin(async move {
                let link = connections.reader().await?;
                let sent = vectors(&link, &connections.dialect, &model, &filter, &mut sender).await;
                sent.map_err(|failure| failure.into_error(&link, "reading vectors"))
            })
        })
    }

    async fn known_recall(&self, model: &str) -> Result<Option<f64>> {
        let (connections, key) = (Arc::clone(&self.connections), recall_key(model));
        self.run(async move {
            let link = connections.reader().await?;
            let sql = format!("SELECT value FROM {} WHERE key = $1", connections.dialect.own("hub_info"));
            let rows = link.query_typed(&sql, &[(&key, Type::TEXT)]).await;
            let rows = rows.map_err(|error| link.fault("reading the recall of vectors", error))?;
            Ok(rows.first().and_then(|row| row.try_get::<_, &str>(0).ok()).and_then(|said| said.parse().ok()))
        })
        .await
    }

    async fn remember_recall(&self, model: &str, recall: f64) -> Result<bool> {
        let (connections, key) = (Arc::clone(&self.connections), recall_key(model));
        self.run(async move {
            if connections.writer.check_owner(&connections.login, "the recall of vectors").is_err() {
                return Ok(false);
            }
            let link = connections.reader().await?;
            let sql = format!(
                "INSERT INTO {} (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                connections.dialect.own("hub_info")
            );
            let kept = link.query_typed(&sql, &[(&key, Type::TEXT), (&recall.to_string(), Type::TEXT)]).await;
            kept.map(|_| true).map_err(|error| link.fault("keeping the recall of vectors", error))
        })
        .await
    }
}

fn recall_key(model: &str) -> String {
    format!("vector_recall {model}")
}

async fn embedded(client: &Client, dialect: &Dialect, model: &str) -> Result<Standing, Failure> {
    let sql =
        format!("SELECT table_name, source_env, reached FROM {} WHERE model = $1", dialect.own("vector_progress"));
    let mut standing = Standing::default();
    for row in client.query_typed(&sql, &[(&model, Type::TEXT)]).await? {
        let environment: &str = row.try_get(1)?;
        standing.reached.entry(row.try_get(0)?).or_default().set(environment.into(), row.try_get(2)?);
    }
    Ok(standing)
}

/// Rows of one table and environment that changed.
struct Rows<'a> {
    table: &'a TableSpec,
    model: &'a str,
    environment: &'a Environment,
    since: i64,
}

impl Rows<'_> {
    /// Only keys and text travel: the other columns are null in what is sent.
    async fn send(
        &self,
        client: &Client,
        asking: &Client,
        dialect: &Dialect,
        sender: &mut mpsc::Sender<Result<Vec<Candidate>>>,
    ) -> Result<(), Failure> {
        let table = self.table;
        let wanted =
            |position: &usize| *position < table.key_columns().len() || table.text_columns().contains(position);
        let positions: Vec<usize> = (0..table.columns().len()).filter(wanted).collect();
        let names: Vec<String> =
            positions.iter().map(|position| table.columns()[*position].name.quoted().to_string()).collect();
        let sql = format!(
            "SELECT sync_version, deleted_at IS NOT NULL, {} FROM {} \
             WHERE source_env = $1 AND sync_version > $2 AND source <> '{AUDIT}' ORDER BY sync_version",
            names.join(", "),
            dialect.table(table.name())
        );
        let statement = client.prepare_typed(&sql, &[Type::TEXT, Type::INT8]).await?;
        let environment = self.environment.as_str();
        let parameters: [&(dyn ToSql + Sync); 2] = [&environment, &self.since];
        let mut rows = std::pin::pin!(client.query_raw(&statement, parameters).await?);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(row) = rows.try_next().await? {
            batch.push(candidate(table, &positions, &row)?);
            if batch.len() == BATCH {
                self.mark_known(asking, dialect, &mut batch).await?;
                if sender.send(Ok(std::mem::take(&mut batch))).await.is_err() {
                    return Ok(());
                }
            }
        }
        self.mark_known(asking, dialect, &mut batch).await?;
        // Nobody to send to is no failure.
        let _ = sender.send(Ok(batch)).await;
        Ok(())
    }

    async fn mark_known(&self, client: &Client, dialect: &Dialect, batch: &mut [Candidate]) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT key_hash, text_hash FROM {} WHERE source_env = $1 AND model = $2 AND table_name = $3 \
             AND key_hash = ANY ($4)",
            dialect.own("vectors")
        );
        let hashes: Vec<Vec<u8>> = batch.iter().map(|row| row.key.hash().0.to_be_bytes().to_vec()).collect();
        let (environment, table) = (self.environment.as_str(), self.table.name().as_str());
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&environment, Type::TEXT), (&self.model, Type::TEXT), (&table, Type::TEXT), (&hashes, Type::BYTEA_ARRAY)];
        let mut known: HashMap<Vec<u8>, TextHash> = HashMap::new();
        for row in client.query_typed(&sql, &parameters).await? {
            if let Some(text) = text_hash(row.try_get(1)?) {
                known.insert(row.try_get(0)?, text);
            }
        }
        for (row, hash) in batch.iter_mut().zip(hashes) {
            row.known = known.get(&hash).copied();
        }
        Ok(())
    }
}

fn candidate(table: &TableSpec, positions: &[usize], row: &tokio_postgres::Row) -> Result<Candidate, Failure> {
    const OWN: usize = 2;
    let mut values = vec![Value::Null; table.columns().len()];
    for (index, position) in positions.iter().enumerate() {
        let raw: Raw<'_> = row.try_get(OWN + index)?;
        // None of them is a vector.
        values[*position] = read(raw, table.columns()[*position].kind, VectorKind::None).unwrap_or(Value::Null);
    }
    let content = Row::new(table, values, None);
    let (version, deleted): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Candidate { key: content.key(table), version, row: (!deleted).then_some(content), known: None })
}

fn text_hash(bytes: &[u8]) -> Option<TextHash> {
    bytes.try_into().ok().map(|bytes| TextHash(u128::from_be_bytes(bytes)))
}

async fn vectors_of_texts(
    client: &Client,
    dialect: &Dialect,
    model: &str,
    texts: &[TextHash],
) -> Result<HashMap<TextHash, Vec<f32>>, Failure> {
    let sql = format!(
        "SELECT DISTINCT ON (text_hash) text_hash, vector FROM {} WHERE text_hash = ANY ($1) AND model = $2",
        dialect.own("vectors")
    );
    let hashes: Vec<Vec<u8>> = texts.iter().map(|text| text.0.to_be_bytes().to_vec()).collect();
    let statement = client.prepare_typed(&sql, &[Type::BYTEA_ARRAY, Type::TEXT]).await?;
    let mut found = HashMap::new();
    for row in client.query(&statement, &[&hashes, &model]).await? {
        let vector = read(row.try_get(1)?, aqe_sync_core::ColumnType::Vector(0), dialect.vectors.kind());
        if let (Some(text), Some(Value::Vector(vector))) = (text_hash(row.try_get(0)?), vector) {
            found.insert(text, vector);
        }
    }
    Ok(found)
}

async fn vectors_of(
    client: &Client,
    dialect: &Dialect,
    model: &str,
    table: &str,
    keys: &[Key],
) -> Result<Vec<Near>, Failure> {
    // The primary key begins with the environment: one look per key and environment.
    let sql = format!(
        "SELECT {NEAR} FROM {} WHERE source_env IN (SELECT source_env FROM {} WHERE model = $1 AND table_name = $2) \
         AND model = $1 AND table_name = $2 AND key_hash = ANY ($3)",
        dialect.own("vectors"),
        dialect.own("vector_progress"),
    );
    let hashes: Vec<Vec<u8>> = keys.iter().map(|key| key.hash().0.to_be_bytes().to_vec()).collect();
    let statement = client.prepare_typed(&sql, &[Type::TEXT, Type::TEXT, Type::BYTEA_ARRAY]).await?;
    let mut found = Vec::new();
    for row in client.query(&statement, &[&model, &table, &hashes]).await? {
        found.extend(near::near(&row, dialect.vectors.kind())?);
    }
    Ok(found)
}

async fn vectors(
    client: &Client,
    dialect: &Dialect,
    model: &str,
    filter: &Filter,
    sender: &mut mpsc::Sender<Result<Vec<Near>>>,
) -> Result<(), Failure> {
    let sql = format!("SELECT {NEAR} FROM {} WHERE model = $1", dialect.own("vectors"));
    let statement = client.prepare_typed(&sql, &[Type::TEXT]).await?;
    let mut rows = std::pin::pin!(client.query_raw(&statement, [model]).await?);
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(row) = rows.try_next().await? {
        let near = near::near(&row, dialect.vectors.kind())?;
        batch.extend(near.filter(|near| filter.takes(&near.place.table, &near.place.environment)));
        if batch.len() >= BATCH && sender.send(Ok(std::mem::take(&mut batch))).await.is_err() {
            return Ok(());
        }
    }
    let _ = sender.send(Ok(batch)).await;
    Ok(())
}

/// What is kept, as the columns of one statement.
#[derive(Default)]
struct Columns {
    gone: Vec<Vec<u8>>,
    hashes: Vec<Vec<u8>>,
    keys: Vec<String>,
    texts: Vec<Vec<u8>>,
    /// Of each row, one a line: no word has a line break.
    words: Vec<String>,
    vectors: Vec<String>,
}

impl Columns {
    fn of(rows: &[Embedded], kind: VectorKind) -> Self {
        let mut columns = Self::default();
        let mut rows_by_key: BTreeMap<u128, &Embedded> = BTreeMap::new();
        for row in rows {
            rows_by_key.insert(row.key.hash().0, row);
        }
        for (hash, row) in rows_by_key {
            let hash = hash.to_be_bytes().to_vec();
            let Some((text, vector)) = &row.content else {
                columns.gone.push(hash);
                continue;
            };
            columns.hashes.push(hash);
            columns.keys.push(row.key.to_json());
            columns.texts.push(text.0.to_be_bytes().to_vec());
            columns.words.push(row.words.join("\n"));
            columns.vectors.push(spelled(vector, kind));
        }
        columns
    }

    /// One statement, and so one transaction.
    async fn keep(
        &self,
        client: &Client,
        dialect: &Dialect,
        [model, table, environment]: [&str; 3],
        reached: Option<i64>,
    ) -> Result<(), Failure> {
        let sql = format!(
            "WITH gone AS (DELETE FROM {vectors} WHERE source_env = $1 AND model = $2 AND table_name = $3 \
             AND key_hash = ANY ($4)), \
             kept AS (INSERT INTO {vectors} (source_env, model, table_name, key_hash, key, text_hash, words, vector) \
             SELECT $1, $2, $3, n.key_hash, n.key, n.text_hash, pg_catalog.string_to_array(n.words, E'\\n'), \
             n.vector::{vector_type} FROM unnest($5, $6, $7, $8, $9) AS n(key_hash, key, text_hash, words, vector) \
             ON CONFLICT (source_env, model, table_name, key_hash) DO UPDATE SET key = excluded.key, \
             text_hash = excluded.text_hash, words = excluded.words, vector = excluded.vector) \
             INSERT INTO {progress} AS p (source_env, model, table_name, reached) VALUES ($1, $2, $3, $10) \
             ON CONFLICT (source_env, model, table_name) DO UPDATE SET reached = greatest(p.reached, excluded.reached)",
            vectors = dialect.own("vectors"),
            progress = dialect.own("vector_progress"),
            vector_type = vector_type(dialect),
        );
        let reached = reached.unwrap_or(0);
        let parameters: [(&(dyn ToSql + Sync), Type); 10] = [
            (&environment, Type::TEXT),
            (&model, Type::TEXT),
            (&table, Type::TEXT),
            (&self.gone, Type::BYTEA_ARRAY),
            (&self.hashes, Type::BYTEA_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.texts, Type::BYTEA_ARRAY),
            (&self.words, Type::TEXT_ARRAY),
            (&self.vectors, Type::TEXT_ARRAY),
            (&reached, Type::INT8),
        ];
        client.query_typed(&sql, &parameters).await?;
        Ok(())
    }
}
