//! The connections of one hub, and what they share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aqe_sync_core::{Error, Result, StreamId, TableSpec, tables};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::deliver::Last;
use super::lane::{Lane, Session};
use super::link::{Address, Budget, Connector, Link, connect, retry};
use super::order::Orders;
use super::schema;
use super::statements::Dialect;
use super::table::Table;

/// What every connection of ours is set to. Batches are small against the tables that
/// they are merged into: looking up every row by its key is what the planner, who knows
/// nothing of a staging table, has to be told. Vectors and documents are compressed with
/// lz4 where the server can: it takes a fraction of the time of the default.
const SETTINGS: &str = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; \
    SET enable_bitmapscan = off; SET jit = off; \
    SET temp_buffers = '32MB'; SET client_min_messages = warning; \
    SELECT set_config('default_toast_compression', 'lz4', false) FROM pg_catalog.pg_settings \
    WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)";

/// A server whose answers take so long is far away: through a tunnel they take 20 to
/// 80 ms, in one building less than one.
pub(super) const FAR: Duration = Duration::from_millis(15);

/// How a connection is made.
pub(super) struct Dialing {
    pub(super) address: Address,
    pub(super) connector: Arc<dyn Connector>,
}

/// All that the operations of one hub share.
pub(super) struct Connections {
    pub(super) dialing: Dialing,
    pub(super) runtime: Handle,
    pub(super) dialect: Arc<Dialect>,
    pub(super) schema: tokio::sync::Mutex<schema::Hub>,
    pub(super) lanes: Vec<Arc<Lane>>,
    /// Whether round trips take longer than work.
    pub(super) far: bool,
    /// Streams that were synced before, or turned out to hold keys that are there.
    pub(super) known: Mutex<HashSet<StreamId>>,
    /// Which lane a table's deliveries are on: those of several streams keep their
    /// order, and do not wait for one another's locks.
    pub(super) routes: Mutex<HashMap<String, Last>>,
    /// The deliveries of each stream, in theirs.
    pub(super) orders: Orders,
    /// Whose rows this login may write.
    pub(super) writer: schema::Writer,
    /// The login, as the server knows it.
    pub(super) login: String,
    /// Whether new rows can be copied straight into their table.
    pub(super) takes_copies: bool,
    tables: Mutex<HashMap<String, Arc<Table>>>,
    /// Reads whole streams, while the lanes go on writing.
    reader: tokio::sync::Mutex<Option<Arc<Link>>>,
}

impl Dialing {
    /// A connection, ready to work.
    pub(super) async fn dial(&self) -> Result<Link> {
        let link = self.bare().await?;
        Self::set_up(&link).await?;
        Ok(link)
    }

    /// A connection that is not set up yet.
    pub(super) fn bare(&self) -> BoxFuture<'_, Result<Link>> {
        connect(&self.address, self.connector.as_ref()).boxed()
    }

    /// Says what every connection is told; gives how long the answer took, which is
    /// little more than the round trip.
    pub(super) async fn set_up(link: &Link) -> Result<Duration> {
        let begun = Instant::now();
        link.batch_execute(SETTINGS).await.map_err(|error| link.fault("setting up the connection", error))?;
        Ok(begun.elapsed())
    }
}

impl Connections {
    pub(super) fn new(
        dialing: Dialing,
        runtime: Handle,
        dialect: Dialect,
        schema: schema::Hub,
        first: Link,
        far: bool,
        lanes: usize,
    ) -> Self {
        // The others are opened when there is enough to write.
        let others = (1..lanes).map(|_| Lane::default());
        Self {
            dialing,
            runtime,
            dialect: Arc::new(dialect),
            writer: schema.writer().clone(),
            login: schema.login().to_owned(),
            takes_copies: schema.takes_copies(),
            schema: tokio::sync::Mutex::new(schema),
            lanes: std::iter::once(Lane::of(first)).chain(others).map(Arc::new).collect(),
            far,
            known: Mutex::default(),
            routes: Mutex::default(),
            orders: Orders::default(),
            tables: Mutex::default(),
            reader: tokio::sync::Mutex::default(),
        }
    }

    /// The connection of a lane, opened anew if it was lost.
    pub(super) async fn link(&self, session: &mut Session) -> Result<Arc<Link>> {
        match session.link() {
            Some(link) => Ok(link),
            None if self.is_dry_run() && session.was_open() => {
                Err(Error::internal("the connection to the hub was lost in a dry run").advice("run it again"))
            }
            None => Ok(session.replace(self.dialing.dial().await?)),
        }
    }

    /// The connection that questions are asked on.
    pub(super) async fn asking(&self) -> Result<Arc<Link>> {
        self.link(&mut *self.lanes[0].turn().await).await
    }

    /// A connection that may be busy for long.
    pub(super) async fn reader(&self) -> Result<Arc<Link>> {
        let mut reader = self.reader.lock().await;
        match reader.as_ref().filter(|link| !link.is_closed()) {
            Some(link) => Ok(Arc::clone(link)),
            None => Ok(Arc::clone(reader.insert(Arc::new(self.dialing.bare().await?)))),
        }
    }

    /// A table's SQL, made once.
    pub(super) fn table(&self, spec: &Arc<TableSpec>) -> Arc<Table> {
        let mut tables = lock(&self.tables);
        if let Some(table) = tables.get(spec.name().as_str()).filter(|table| table.spec.digest() == spec.digest()) {
            return Arc::clone(table);
        }
        let table = Arc::new(Table::new(&self.dialect, spec));
        tables.insert(spec.name().to_string(), Arc::clone(&table));
        table
    }

    /// Makes sure that a table is there; costs nothing when it is.
    pub(super) async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.prepare_all(std::slice::from_ref(table)).await?;
        if tables::find(table.name().as_str()).is_some() {
            // For people: init says why there are none, and a sync goes on.
            let _ = self.prepare_views().await;
        }
        Ok(())
    }

    /// Makes sure that the fleet's views are there; costs nothing when they are.
    pub(super) async fn prepare_views(&self) -> Result<()> {
        let mut schema = self.schema.lock().await;
        let link = self.asking().await?;
        let prepared = schema.prepare_views(&link).await;
        prepared.map_err(|error| error.context("hub", self.dialing.address.shown()))
    }

    /// Makes sure that tables are there; says whether anything was missing.
    pub(super) async fn prepare_all(&self, tables: &[Arc<TableSpec>]) -> Result<bool> {
        // What was made before the connection broke is found there.
        let prepared = retry(self.budget(), || async {
            let mut schema = self.schema.lock().await;
            let link = self.asking().await?;
            let columns = |hub: &schema::Hub| {
                let present = hub.present();
                present.tables().filter_map(|name| present.table(name)).map(BTreeMap::len).sum::<usize>()
            };
            let before = columns(&schema);
            schema.prepare(&link, tables).await?;
            Ok(columns(&schema) != before)
        });
        prepared.await.map_err(|error| error.context("hub", self.dialing.address.shown()))
    }

    /// Whether nothing is ever committed.
    pub(super) fn is_dry_run(&self) -> bool {
        !self.dialect.brackets.undoes_itself
    }

    /// How often something may be tried: a dry run is one transaction, which does not
    /// outlive its connection.
    pub(super) fn budget(&self) -> Budget {
        if self.is_dry_run() { Budget { attempts: 1, ..Budget::default() } } else { Budget::default() }
    }

    /// How many deliveries of one stream may be on their way at once: one per connection.
    pub(super) fn abreast(&self) -> usize {
        if self.is_dry_run() { 1 } else { self.lanes.len() }
    }

    /// Asks something that may be asked twice.
    pub(super) async fn ask<T, F>(&self, question: impl Fn(Arc<Link>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        // Held to the end: what is asked may be several statements that belong together.
        let attempt = || async {
            let mut session = self.lanes[0].turn().await;
            let link = self.link(&mut session).await?;
            question(link).await
        };
        retry(self.budget(), attempt).await
    }
}

/// Every operation leaves what it locks whole, so a panic elsewhere does no harm.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
