//! The hub as a sink.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use aqe_sync_core::digest::{Bucket, DigestRequest, HashRange};
use aqe_sync_core::{
    Change, Checkpoint, Delivery, Environment, Error, ErrorKind, Identifier, KnownRow, Pushed, Report, Result,
    Sink, SinkTxn as _, StreamId, StreamState, TableSpec,
};
use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{SinkExt as _, StreamExt as _};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_postgres::Client;

use super::fault::{Failure, Place};
use super::lane::{Lane, Session};
use super::push::{Push, Sent};
use super::rows::{self, Wanted};
use super::schema::{self, Mode, Setup};
use super::statements::Dialect;
use super::table::Table;
use super::txn::{Opened, PostgresTxn};
use super::vectors::Vectors;

/// A hub in PostgreSQL.
///
/// It brings the runtime that its connections need, so it can be used from any
/// executor, and from none.
pub struct PostgresHub {
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

struct Inner {
    url: String,
    place: Arc<Place>,
    name: String,
    identity: String,
    runtime: Handle,
    dialect: Arc<Dialect>,
    schema: tokio::sync::Mutex<schema::Hub>,
    tables: Mutex<HashMap<String, Arc<Table>>>,
    lanes: Vec<Arc<Lane>>,
    /// Which lane a table's deliveries are on, and how many there are: deliveries of one
    /// table keep their order, and do not wait for one another's locks.
    routes: Mutex<HashMap<String, (usize, usize)>>,
    /// Streams that were synced before, or turned out to hold known keys.
    known: Mutex<HashSet<StreamId>>,
    /// Reads whole streams, while the lanes go on writing.
    reader: tokio::sync::Mutex<Option<Arc<Client>>>,
}

/// So many connections write at most.
const LANES: usize = 2;

/// So many deliveries may be on their way: small ones follow each other on one
/// connection without waiting for answers.
const DELIVERIES: usize = 32;

impl PostgresHub {
    /// Opens.
    pub fn open(url: &str, schema: &Identifier) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres hub")
            .enable_all()
            .build()
            .map_err(|cause| Error::new(ErrorKind::Io, "no thread for the connection to the hub").caused_by(cause))?;
        let handle = runtime.handle().clone();
        let (url, schema) = (url.to_owned(), schema.clone());
        let inner = futures::executor::block_on(async {
            let opening = handle.spawn(Inner::open(url, schema, handle.clone()));
            opening.await.map_err(|_| stopped())?
        })?;
        Ok(Self { inner: Arc::new(inner), runtime: Some(runtime) })
    }
}

impl Drop for PostgresHub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops it may be on a runtime of their own, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

fn stopped() -> Error {
    Error::internal("a task of the hub's connection stopped")
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.map_err(|e| Failure::from(e).into_error(&Place(String::new()), "connecting"))?;
    tokio::spawn(async move { let _ = connection.await; });
    Ok(client)
}

const SETUP: &str = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET temp_buffers = '32MB'; SET client_min_messages = warning; SELECT set_config('default_toast_compression', 'lz4', false) FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)";

impl Inner {
    async fn open(url: String, name: Identifier, runtime: Handle) -> Result<Self> {
        let client = connect(&url).await?;
        let setup = Setup::default();
        let (opened, set) = futures::join!(schema::open(&client, &name, Mode::Create(&setup)), client.batch_execute(SETUP));
        let place = Arc::new(Place(url.clone()));
        set.map_err(|e| Failure::from(e).into_error(&place, "setting up"))?;
        let opened = opened?;
        let lanes = std::iter::once(Lane::of(client)).chain((1..LANES).map(|_| Lane::default())).map(Arc::new).collect();
        Ok(Self {
            name: place.0.clone(),
            place,
            identity: opened.id().to_owned(),
            runtime,
            dialect: Arc::new(Dialect { schema: name, vectors: Vectors::new(opened.flavour().clone()) }),
            schema: tokio::sync::Mutex::new(opened),
            tables: Mutex::default(),
            lanes,
            routes: Mutex::default(),
            known: Mutex::default(),
            reader: tokio::sync::Mutex::default(),
            url,
        })
    }

    async fn client(&self, session: &mut Session) -> Result<Arc<Client>> {
        match session.client() {
            Some(client) => Ok(client),
            None => {
                let client = connect(&self.url).await?;
                client.batch_execute(SETUP).await.map_err(|e| Failure::from(e).into_error(&self.place, "setting up"))?;
                Ok(session.set_client(client))
            }
        }
    }

    async fn reader(&self) -> Result<Arc<Client>> {
        let mut reader = self.reader.lock().await;
        match reader.as_ref().filter(|client| !client.is_closed()) {
            Some(client) => Ok(Arc::clone(client)),
            None => Ok(Arc::clone(reader.insert(Arc::new(connect(&self.url).await?)))),
        }
    }

    fn table(&self, spec: &Arc<TableSpec>) -> Arc<Table> {
        let mut tables = lock(&self.tables);
        if let Some(table) = tables.get(spec.name().as_str()).filter(|table| table.spec.digest() == spec.digest()) {
            return Arc::clone(table);
        }
        let table = Arc::new(Table::new(&self.dialect, spec));
        tables.insert(spec.name().to_string(), Arc::clone(&table));
        table
    }

    async fn begin(&self, lane: usize, stream: &StreamId, table: &Arc<Table>) -> Result<PostgresTxn> {
        let mut session = self.lanes[lane].own_turn().await;
        let client = self.client(&mut session).await?;
        let (dialect, place) = (Arc::clone(&self.dialect), Arc::clone(&self.place));
        let opened = Opened { client, dialect, place, runtime: self.runtime.clone(), session };
        PostgresTxn::begin(opened, stream.clone(), Arc::clone(table)).await
    }

    async fn deliver(self: Arc<Self>, stream: StreamId, table: Arc<Table>, delivery: Delivery) -> Result<Pushed<PostgresTxn>> {
        let size = delivery.changes.iter().map(Change::size).sum();
        let route = self.route(&table, size);
        let lane = &self.lanes[route.lane];
        loop {
            let new = !lock(&self.known).contains(&stream) && delivery.changes.iter().all(|c| c.base.is_none() && !matches!(c.operation, aqe_sync_core::Operation::Delete));
            let push = Push { dialect: &self.dialect, stream: &stream, table: &table, delivery: &delivery, size, new };
            let client = self.client(&mut *lane.turn().await).await?;
            match push.send(lane, &client).await {
                Ok(Sent::Committed(applied, committed)) => return Ok(Pushed::Committed(applied, committed)),
                Ok(Sent::NotNew) => {
                    lock(&self.known).insert(stream.clone());
                }
                Ok(Sent::Undecided) => break,
                Err(failure) if failure.is_of_data() => break,
                Err(failure) => return Err(failure.into_error(&self.place, "writing to").context("table", table.spec.name())),
            }
        }
        let mut txn = self.begin(route.lane, &stream, &table).await?;
        let Delivery { changes, letters, checkpoint } = delivery;
        let applied = txn.apply(changes).await?;
        if !applied.contested.is_empty() || !applied.refused.is_empty() {
            return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
        }
        txn.reject(letters).await?;
        let committed = txn.commit(checkpoint).await?;
        Ok(Pushed::Committed(applied, committed))
    }

    fn route(self: &Arc<Self>, table: &Table, size: usize) -> Route {
        let name = table.spec.name().to_string();
        let mut routes = lock(&self.routes);
        let lane = match routes.get(&name) {
            Some((lane, _)) => *lane,
            None => {
                let least = (0..self.lanes.len()).min_by_key(|lane| self.lanes[*lane].load());
                // Small deliveries share the first connection: another would have to be opened.
                if size <= super::batch::SMALL { 0 } else { least.unwrap_or(0) }
            }
        };
        routes.entry(name.clone()).or_insert((lane, 0)).1 += 1;
        self.lanes[lane].add_load(size);
        Route { inner: Arc::clone(self), table: name, lane, size }
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>, Failure> {
        let client = self.client(&mut *self.lanes[0].turn().await).await?;
        let sql = format!(
            "SELECT source, stream, sequence, run_id, complete, synced_at, table_name, instance FROM {} WHERE source_env = $1",
            self.dialect.own("sync_state")
        );
        let rows = client.query_typed(&sql, &[(&environment.as_str(), postgres_types::Type::TEXT)]).await?;
        let states = rows.iter().map(|row| {
            let text = |index| row.try_get::<_, &str>(index);
            let at = super::wire::read(row.try_get(5)?, aqe_sync_core::ColumnType::Timestamp, self.dialect.vectors.kind());
            let at = match at { Some(aqe_sync_core::Value::Timestamp(at)) => at, _ => aqe_sync_core::Timestamp::now() };
            let stream = StreamId { environment: environment.clone(), source: text(0)?.into(), stream: text(1)?.into() };
            let checkpoint = Checkpoint { run_id: text(3)?.to_owned(), at, complete: row.try_get(4)?, instance: text(7)?.into() };
            let sequence: i64 = row.try_get(2)?;
            Ok(StreamState { stream, sequence: sequence.unsigned_abs(), table: text(6)?.to_owned(), checkpoint })
        });
        let states = states.collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
        lock(&self.known).extend(states.iter().map(|state| state.stream.clone()));
        Ok(states)
    }
}

/// A delivery's place on a lane.
struct Route {
    inner: Arc<Inner>,
    table: String,
    lane: usize,
    size: usize,
}

impl Drop for Route {
    fn drop(&mut self) {
        self.inner.lanes[self.lane].remove_load(self.size);
        let mut routes = lock(&self.inner.routes);
        if let Some((_, count)) = routes.get_mut(&self.table) {
            *count -= 1;
            if *count == 0 {
                routes.remove(&self.table);
            }
        }
    }
}

/// Every operation leaves the maps whole, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PostgresHub {
    /// Runs on the hub's own runtime: whoever asks may be on any other, or busy.
    async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.inner.runtime.spawn(job).await.map_err(|_| stopped())?
    }

    fn rows(&self, stream: &StreamId, table: &Arc<TableSpec>, wanted: Wanted) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let (mut sender, receiver) = mpsc::channel(2);
        let (inner, stream, table) = (Arc::clone(&self.inner), stream.clone(), Arc::clone(table));
        self.inner.runtime.spawn(async move {
            let outcome = async {
                let client = inner.reader().await?;
                let each = |rows| {
                    let mut sender = sender.clone();
                    async move { sender.send(Ok(rows)).await.is_ok() }
                };
                let read = rows::known(&client, &inner.dialect, &stream, &table, &wanted, each).await;
                read.map_err(|failure| failure.into_error(&inner.place, "reading"))
            };
            if let Err(error) = outcome.await {
                // A receiver that is gone has no use for the error.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver.boxed()
    }
}

impl Sink for PostgresHub {
    type Txn = PostgresTxn;

    fn name(&self) -> &str {
        &self.inner.name
    }

    fn lanes(&self) -> usize {
        DELIVERIES
    }

    async fn identity(&self) -> Result<String> {
        Ok(self.inner.identity.clone())
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        let (inner, table) = (Arc::clone(&self.inner), Arc::clone(table));
        self.run(async move {
            let mut schema = inner.schema.lock().await;
            let client = inner.client(&mut *inner.lanes[0].turn().await).await?;
            schema.prepare(&client, &[table]).await
        })
        .await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        let (inner, environment) = (Arc::clone(&self.inner), environment.clone());
        self.run(async move {
            inner.states(&environment).await.map_err(|failure| failure.into_error(&inner.place, "reading"))
        })
        .await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::All)
    }

    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::Recomputed)
    }

    async fn digests(&self, wanted: Vec<DigestRequest>) -> Result<Vec<Vec<Bucket>>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move {
            let client = inner.client(&mut *inner.lanes[0].turn().await).await?;
            let digests = rows::digests(&client, &inner.dialect, &wanted).await;
            digests.map_err(|failure| failure.into_error(&inner.place, "reading"))
        })
        .await
    }

    fn known_in(&self, stream: &StreamId, table: &Arc<TableSpec>, ranges: Vec<HashRange>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::In(ranges))
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<PostgresTxn> {
        let (inner, stream) = (Arc::clone(&self.inner), stream.clone());
        let table = inner.table(table);
        self.run(async move { inner.begin(0, &stream, &table).await }).await
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<PostgresTxn>> {
        let (inner, stream) = (Arc::clone(&self.inner), stream.clone());
        let table = inner.table(table);
        self.run(inner.deliver(stream, table, delivery)).await
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        let _ = report;
        Ok(())
    }
}
