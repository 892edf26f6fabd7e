//! What the tests of deliveries side by side share: batches of each way, a gate that keeps
//! one of them from getting on, and what the server says of it meanwhile.

use std::ops::Range;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aqe_cloud::postgres::link::{AddressParts, Link};
use aqe_cloud::postgres::{PostgresHub, PostgresTxn};
use aqe_sync_core::{Change, ColumnType, Committed, ContentHash, Pushed, Result, Sink as _, StreamId, TableSpec};
use aqe_sync_workspace::postgres::{Cluster, Database};
use futures::FutureExt as _;
use futures::executor::block_on;
use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::connection;
use crate::sink_world::{delivery, hash_of, stream, upsert};

/// So many rows have a batch.
pub(crate) const ROWS: u32 = 5;

/// Together more than goes as arrays, however far the server is.
pub(crate) const WIDE: usize = 950_000;

/// Nothing here may take so long.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs a test on a thread of its own: one that hangs fails.
pub(crate) fn within_limit(test: impl FnOnce() + Send + 'static) {
    let (done, over) = channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match over.recv_timeout(LIMIT) {
        Err(RecvTimeoutError::Timeout) => panic!("it hangs"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

pub(crate) fn notes() -> Arc<TableSpec> {
    TableSpec::builder("notes").key("id", ColumnType::Int).column("body", ColumnType::Text).build().unwrap()
}

pub(crate) fn id() -> StreamId {
    stream("env", "a.db", "notes")
}

/// Rows with these keys, all of one body of so many bytes.
pub(crate) fn rows(keys: Range<u32>, letter: &str, size: usize) -> Vec<Change> {
    keys.map(|key| upsert(&notes(), vec![i64::from(key).into(), letter.repeat(size).into()], None)).collect()
}

/// The batch of that number, from 0.
pub(crate) fn batch(number: u32, size: usize) -> Vec<Change> {
    rows(number * ROWS..(number + 1) * ROWS, "x", size)
}

/// The same rows with another body, based on what [`batch`] stored.
pub(crate) fn changed(number: u32, size: usize) -> Vec<Change> {
    let bases: Vec<ContentHash> = batch(number, size).iter().map(hash_of).collect();
    let changed = rows(number * ROWS..(number + 1) * ROWS, "y", size);
    changed.into_iter().zip(bases).map(|(change, base)| Change { base: Some(base), ..change }).collect()
}

/// A hub with the table, over so many connections.
pub(crate) fn open(url: &str, connections: usize) -> PostgresHub {
    let hub = try_open(url, connections).unwrap();
    block_on(hub.prepare(&notes())).unwrap();
    hub
}

pub(crate) fn try_open(url: &str, connections: usize) -> Result<PostgresHub> {
    PostgresHub::builder(AddressParts::parse(url)?.build()?).connections(connections).open()
}

pub(crate) type Started<'h> = BoxFuture<'h, Result<Pushed<PostgresTxn>>>;

/// Gives a delivery, and does not wait for it.
pub(crate) fn start<'h>(hub: &'h PostgresHub, id: &'h StreamId, changes: Vec<Change>) -> Started<'h> {
    let mut pushed = async move { hub.push(id, &notes(), delivery(changes)).await }.boxed();
    match pushed.as_mut().now_or_never() {
        Some(answer) => futures::future::ready(answer).boxed(),
        None => pushed,
    }
}

pub(crate) fn is_waiting(pushed: &mut Started<'_>) -> bool {
    pushed.as_mut().now_or_never().is_none()
}

/// What became of deliveries that needed no decision.
pub(crate) fn all_committed<'h>(pushed: impl IntoIterator<Item = Started<'h>>) -> Vec<Committed> {
    let answers = block_on(futures::future::join_all(pushed));
    answers.into_iter().map(|answer| crate::sink_world::committed(answer.unwrap()).1).collect()
}

/// Somebody else in the middle of a transaction.
pub(crate) struct Gate {
    runtime: Runtime,
    link: Link,
}

impl Gate {
    pub(crate) fn close(database: &Database, sql: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let link = runtime.block_on(connection::open(&format!("{}?application_name=gate", database.url()))).unwrap();
        let gate = Self { runtime, link };
        gate.run("BEGIN");
        gate.run(sql);
        gate
    }

    /// Writes the row of that key for another source, so that whoever writes it has to wait.
    pub(crate) fn of_key(database: &Database, key: u32) -> Self {
        Self::close(
            database,
            &format!(
                "INSERT INTO aqe.notes (source_env, source, stream, content_hash, sync_version, synced_at, id, body) \
                 VALUES ('env', 'other.db', 'notes', 7, 0, now(), {key}, 'theirs')"
            ),
        )
    }

    /// Holds the row of that key.
    pub(crate) fn of_row(database: &Database, key: u32) -> Self {
        Self::close(database, &format!("SELECT FROM aqe.notes WHERE id = {key} FOR UPDATE"))
    }

    pub(crate) fn run(&self, sql: &str) {
        self.runtime.block_on(self.link.batch_execute(sql)).unwrap();
    }

    /// Begins something that has to wait.
    pub(crate) fn begin(self, sql: &'static str) -> tokio::task::JoinHandle<()> {
        let Self { runtime, link } = self;
        let handle = runtime.spawn(async move { link.batch_execute(sql).await.unwrap() });
        // Goes on in the background.
        std::mem::forget(runtime);
        handle
    }

    pub(crate) fn open(&self) {
        self.run("ROLLBACK");
    }
}

/// Waits until the server says so.
pub(crate) fn wait_for(database: &Database, what: &str) {
    let sql = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'aqe-sync' AND ({what})"
    );
    while database.psql(&sql) != "t" {}
}

/// It was copied, and its transaction is open.
pub(crate) const COPIED: &str = "state = 'idle in transaction' AND query LIKE 'COPY \"aqe\".%'";

/// It is copied into the table, and waits for the gate.
pub(crate) const COPIES: &str = "wait_event_type = 'Lock' AND query LIKE 'COPY \"aqe\".%'";

/// It is copied into the staging table, and waits for its turn.
pub(crate) const STAGED: &str = "wait_event = 'ClientRead' AND state = 'active' AND query LIKE 'COPY pg_temp.%'";

/// It merges, and waits for the gate.
pub(crate) const MERGES: &str = "wait_event_type = 'Lock' AND query LIKE 'UPDATE \"aqe\".%'";

/// It is sent as arrays, and waits for the gate.
pub(crate) const ARRAYS: &str = "wait_event_type = 'Lock' AND query LIKE 'WITH s AS MATERIALIZED%'";

/// Ends the connections of which that is true.
pub(crate) fn terminate(database: &Database, what: &str) {
    let ended = database.psql(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'aqe-sync' AND ({what})"
    ));
    assert_eq!(ended, "1", "{what}");
}

/// The versions of the batches' rows: `0:1 1:2` says that those of the first have version 1.
pub(crate) fn versions(database: &Database, environment: &str) -> String {
    database.psql(&format!(
        "SELECT string_agg(DISTINCT id / {ROWS} || ':' || sync_version, ' ') FROM aqe.notes \
         WHERE source_env = '{environment}'"
    ))
}

/// The version of the table, as readers see it.
pub(crate) fn version(database: &Database, environment: &str) -> String {
    database.psql(&format!("SELECT version FROM aqe.sync_versions WHERE source_env = '{environment}'"))
}

/// Nobody is left in a transaction.
pub(crate) fn assert_quiet(database: &Database) {
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%' \
                AND application_name = 'aqe-sync'";
    // What was given up is rolled back in the background.
    while database.psql(busy) != "0" {}
}
