//! The hub as a sink.

use std::sync::Arc;

use aqe_sync_core::digest::{Bucket, DigestRequest, HashRange};
use aqe_sync_core::{
    ContentHash, Delivery, Environment, Error, ErrorKind, Identifier, KnownRow, Pushed, Report, Result, Sink, StreamId,
    StreamState, TableSpec,
};
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::runtime::{Builder, Runtime};

use super::connections::{Connections, Dialing, FAR};
use super::failure::Failure;
use super::link::{Address, Budget, Connector, Direct, Link, retry};
use super::rows::{self, Wanted};
use super::schema::{self, Mode, Setup};
use super::statements::{Brackets, Dialect};
use super::txn::PostgresTxn;
use super::vectors::Vectors;

/// The schema of a hub when nothing else is said.
pub const DEFAULT_SCHEMA: &str = "aqe";

/// So many deliveries may be on their way: small ones follow each other on one
/// connection without waiting for answers.
const DELIVERIES: usize = 32;

/// How to open a hub.
pub struct HubBuilder {
    address: Address,
    connector: Arc<dyn Connector>,
    schema: Identifier,
    setup: Setup,
    opening: Opening,
    connections: usize,
    far: Option<bool>,
}

/// The SQL that makes a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedScript {
    /// The statements.
    pub sql: String,
    /// What a person should know about them.
    pub notes: Vec<String>,
}

/// What opening a hub may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Inspect,
    Existing,
    Create,
    Restore,
    DryRun,
}

impl HubBuilder {
    /// Reaches the server in another way than by its address.
    #[must_use]
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = connector;
        self
    }

    /// The hub's schema; `aqe` unless said otherwise.
    #[must_use]
    pub fn schema(mut self, schema: Identifier) -> Self {
        self.schema = schema;
        self
    }

    /// What a hub that is not there yet is to be like.
    #[must_use]
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// How many connections write at most; two unless said otherwise. Small runs use one.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Makes nothing and upgrades nothing: for looking at a hub.
    #[must_use]
    pub fn inspect(mut self) -> Self {
        self.opening = Opening::Inspect;
        self
    }

    /// Says whether the server is so far away that round trips take longer than work. Where
    /// nobody says, the first answer tells: 15 ms is far.
    #[must_use]
    pub fn far(mut self, far: bool) -> Self {
        self.far = Some(far);
        self
    }

    /// Takes a hub that is there, and makes none.
    #[must_use]
    pub fn existing(mut self) -> Self {
        self.opening = Opening::Existing;
        self
    }

    /// Also takes a hub that lost columns, as when its vector extension was dropped:
    /// [`PostgresHub::prepare_all`] makes them anew, and the next sync fills them.
    #[must_use]
    pub fn restore(mut self) -> Self {
        self.opening = Opening::Restore;
        self
    }

    /// Writes to one transaction that is never committed: what a run does shows, and
    /// nothing of it stays. There has to be a hub.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.opening = Opening::DryRun;
        self
    }

    /// Opens it. Blocks; not to be called from a thread of an asynchronous runtime.
    ///
    /// # Errors
    /// When the server cannot be reached, or what is there cannot be used; says why.
    pub fn open(self) -> Result<PostgresHub> {
        self.try_open()?
    }

    /// Opens it if it is there: `None` when the server has no hub in this schema. Blocks
    /// as [`Self::open`] does, and makes none.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_if_there(self) -> Result<Option<PostgresHub>> {
        let makes = matches!(self.opening, Opening::Create | Opening::Restore);
        let opening = if makes { Opening::Existing } else { self.opening };
        Self { opening, ..self }.try_open().map(Result::ok)
    }

    /// The inner error says that there is no hub.
    fn try_open(self) -> Result<Result<PostgresHub>> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("postgres hub").enable_all().build().map_err(
                |cause| Error::new(ErrorKind::Io, "no thread for the connection to the hub").caused_by(cause),
            )?;
        let handle = runtime.handle().clone();
        // Held from here on: dropping a runtime blocks, dropping this does not.
        let runtime = Background(Some(runtime));
        let opening = handle.clone().spawn(self.connect(handle));
        let opened = futures::executor::block_on(opening).map_err(|_| stopped())??;
        Ok(opened.map(|(opened, connections)| PostgresHub { opened, connections, _runtime: runtime }))
    }

    /// How the server is reached, and which schema is the hub's.
    pub(super) fn into_parts(self) -> (Dialing, Identifier) {
        (Dialing { address: self.address, connector: self.connector }, self.schema)
    }

    /// The SQL that makes a hub with these tables, as `psql` takes it. Changes nothing:
    /// the server is only asked which vectors it has, and need not even be there.
    ///
    /// # Errors
    /// When there is no thread for the connection.
    pub fn script(self, tables: &[Arc<TableSpec>]) -> Result<PlannedScript> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::new(ErrorKind::Io, "no thread for the connection to the hub").caused_by(cause))?;
        let dialing = Dialing { address: self.address, connector: self.connector };
        let planned = runtime.block_on(async {
            let link = dialing.bare().await?;
            schema::planned_flavour(&link, &self.schema, &self.setup).await
        });
        let mut notes = Vec::new();
        let flavour = planned.unwrap_or_else(|error| {
            notes.push(format!("{error}; the SQL is for a server without a vector extension"));
            schema::Flavour::expected(self.setup.vectors.unwrap_or(schema::VectorKind::None))
        });
        Ok(PlannedScript { sql: schema::script(&self.schema, &flavour, &self.setup, tables), notes })
    }

    async fn connect(self, runtime: tokio::runtime::Handle) -> Result<Result<(Opened, Arc<Connections>)>> {
        let dialing = Dialing { address: self.address, connector: self.connector };
        let dry = self.opening == Opening::DryRun;
        // A server that is about to be there is worth a moment.
        let budget = Budget { attempts: 3, time: std::time::Duration::from_secs(3) };
        let link = retry(budget, || dialing.bare()).await?;
        let brackets = if dry { Brackets::DRY_RUN } else { Brackets::TRANSACTION };
        let mode = match self.opening {
            Opening::Inspect | Opening::DryRun => Mode::Inspect,
            Opening::Existing => Mode::Existing,
            Opening::Create => Mode::Create(&self.setup),
            Opening::Restore => Mode::Restore(&self.setup),
        };
        let (settled, opened) = futures::join!(Dialing::set_up(&link), schema::open(&link, &self.schema, mode));
        let distance = settled?;
        let far = self.far.unwrap_or(distance >= FAR);
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Err(error)),
            Err(error) => return Err(error),
        };
        if dry {
            let begun = link.batch_execute(Brackets::TRANSACTION.begin).await;
            begun.map_err(|error| link.fault("beginning a dry run", error))?;
        }
        let dialect = Dialect { schema: self.schema, vectors: Vectors::new(opened.flavour().clone()), brackets };
        let (identity, warnings) = (opened.id().to_owned(), opened.warnings().to_vec());
        let found = Opened { name: dialing.address.shown(), identity, warnings };
        let lanes = if dry { 1 } else { self.connections };
        let connections = Arc::new(Connections::new(dialing, runtime, dialect, opened, link, far, lanes));
        Ok(Ok((found, connections)))
    }
}

/// A hub in PostgreSQL.
///
/// It brings the runtime that its connections need, so it can be used from any
/// executor, and from none.
///
/// ```no_run
/// use aqe_cloud::postgres::{PostgresHub, link::AddressParts};
/// use aqe_sync_core::{Engine, MemoryLedger, Options, Silent};
///
/// # async fn example(sources: Vec<Box<dyn aqe_sync_core::DynSource>>) -> aqe_sync_core::Result<()> {
/// let address = AddressParts::parse("postgres://agent@db.example/memory?sslmode=verify-full")?.build()?;
/// let hub = PostgresHub::builder(address).open()?;
/// let report = Engine::new(&hub, &MemoryLedger::new(), &Silent, Options::new("laptop".into())).run(&sources).await?;
/// println!("{} records", report.totals.read);
/// # Ok(())
/// # }
/// ```
pub struct PostgresHub {
    opened: Opened,
    pub(super) connections: Arc<Connections>,
    _runtime: Background,
}

/// What was found on opening a hub.
struct Opened {
    name: String,
    identity: String,
    warnings: Vec<String>,
}

/// The hub's runtime. Whoever drops the hub may be on a runtime of their own, where
/// waiting is not allowed.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn stopped() -> Error {
    Error::internal("a task of the hub's connection stopped")
}

impl PostgresHub {
    /// Prepares to open the hub at an address.
    ///
    /// # Panics
    /// Never: the default schema is a usable name.
    pub fn builder(address: Address) -> HubBuilder {
        HubBuilder {
            address,
            connector: Arc::new(Direct),
            schema: Identifier::new(DEFAULT_SCHEMA).expect("a constant that is a usable name"),
            setup: Setup::default(),
            opening: Opening::Create,
            connections: 2,
            far: None,
        }
    }

    /// What a person should know about the hub, as found on opening it.
    pub fn warnings(&self) -> &[String] {
        &self.opened.warnings
    }

    /// Makes sure that tables are there with all their columns, in one round trip. Says
    /// whether anything was missing.
    ///
    /// # Errors
    /// As [`Sink::prepare`].
    pub async fn prepare_all(&self, tables: &[Arc<TableSpec>]) -> Result<bool> {
        let (connections, tables) = (Arc::clone(&self.connections), tables.to_vec());
        self.run(async move { connections.prepare_all(&tables).await }).await
    }

    /// Runs on the hub's own runtime: whoever asks may be on any other, or busy.
    pub(super) fn run<T, F>(&self, job: F) -> BoxFuture<'static, Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let job = self.connections.runtime.spawn(job);
        async move { job.await.map_err(|_| stopped())? }.boxed()
    }

    fn rows(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        wanted: Wanted,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let (mut sender, receiver) = mpsc::channel(2);
        let (connections, stream, table) = (Arc::clone(&self.connections), stream.clone(), Arc::clone(table));
        self.connections.runtime.spawn(async move {
            let outcome = connections.read_rows(&stream, &table, &wanted, &sender).await;
            if let Err(error) = outcome {
                // A receiver that is gone has no use for the error.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver.boxed()
    }
}

impl Connections {
    async fn read_rows(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        wanted: &Wanted,
        sender: &mpsc::Sender<Result<Vec<KnownRow>>>,
    ) -> Result<()> {
        let each = |rows| {
            let mut sender = sender.clone();
            async move { sender.send(Ok(rows)).await.is_ok() }
        };
        let failed =
            |link: &Link, failure: Failure| failure.into_error(link, "reading the hub").context("table", table.name());
        if !self.is_dry_run() {
            let link = self.reader().await?;
            let read = rows::known(&link, &self.dialect, stream, table, wanted, each).await;
            return read.map_err(|failure| failed(&link, failure));
        }
        // There is one connection, which has to be free for whatever is done with the rows.
        let link = self.asking().await?;
        let mut all = Vec::new();
        let collect = |rows| {
            all.push(rows);
            std::future::ready(true)
        };
        let read = rows::known(&link, &self.dialect, stream, table, wanted, collect).await;
        read.map_err(|failure| failed(&link, failure))?;
        for rows in all {
            if !each(rows).await {
                break;
            }
        }
        Ok(())
    }
}

impl Sink for PostgresHub {
    type Txn = PostgresTxn;

    fn name(&self) -> &str {
        &self.opened.name
    }

    fn lanes(&self) -> usize {
        if self.connections.is_dry_run() { 1 } else { DELIVERIES }
    }

    fn abreast(&self) -> usize {
        self.connections.abreast()
    }

    async fn identity(&self) -> Result<String> {
        Ok(self.opened.identity.clone())
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        let (connections, table) = (Arc::clone(&self.connections), Arc::clone(table));
        self.run(async move { connections.prepare(&table).await }).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        let (connections, environment) = (Arc::clone(&self.connections), environment.clone());
        self.run(async move { connections.states(&environment).await }).await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::All)
    }

    fn recomputed(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::Recomputed)
    }

    fn keys_of(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        hashes: Vec<ContentHash>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::Of(hashes))
    }

    async fn digests(&self, wanted: Vec<DigestRequest>) -> Result<Vec<Vec<Bucket>>> {
        let connections = Arc::clone(&self.connections);
        self.run(async move {
            let (dialect, wanted) = (&connections.dialect, &wanted);
            connections
                .ask(|link| async move {
                    let digests = rows::digests(&link, dialect, wanted).await;
                    digests.map_err(|failure| failure.into_error(&link, "comparing with the hub"))
                })
                .await
        })
        .await
    }

    fn known_in(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        ranges: Vec<HashRange>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.rows(stream, table, Wanted::In(ranges))
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<PostgresTxn> {
        let (connections, stream) = (Arc::clone(&self.connections), stream.clone());
        let table = connections.table(table);
        self.run(async move { connections.begin(0, &stream, &table).await }).await
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<PostgresTxn>> {
        let (connections, stream) = (Arc::clone(&self.connections), stream.clone());
        let table = connections.table(table);
        // Chosen before anything is waited for: deliveries keep the order they are given in.
        let route = connections.route(&stream, &table, &delivery.changes);
        let unheard = route.order.unheard();
        let pushed = self.run(connections.deliver(stream, table, delivery, route)).await;
        drop(unheard);
        pushed
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        let (connections, report) = (Arc::clone(&self.connections), report.clone());
        self.run(async move { connections.keep(&report).await }).await
    }
}
