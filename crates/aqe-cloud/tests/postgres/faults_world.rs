//! What the tests of faults share: a project, runs of the engine, what the hub holds afterwards.

use std::fmt::Write as _;
use std::sync::Arc;

use aqe_cloud::postgres::PostgresHub;
use aqe_readers::LedgerFile;
use aqe_sync_core::{
    Batch, BatchStream, ColumnType, DynSource, Engine, Options, ReadRequest, Record, Report, Result, Role, Schema,
    Silent, Sink as _, Source, SourceName, Status, StreamSpec, TableSpec, Value,
};
use aqe_sync_workspace::postgres::{Cluster, Database};
use futures::executor::block_on;
use futures::{StreamExt as _, stream};
use tempfile::TempDir;

use crate::sink_world::open;

/// A source in memory.
pub(crate) struct Records {
    name: SourceName,
    streams: Vec<(StreamSpec, Vec<Record>)>,
}

impl Source for Records {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        Ok(self.streams.iter().map(|(spec, _)| spec.clone()).collect())
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let mut batches = Vec::new();
        for (spec, records) in &self.streams {
            if !request.streams.iter().any(|wanted| wanted.name == spec.name) {
                continue;
            }
            let batch = |records: &[Record], last| {
                let stream = spec.name.clone();
                Ok(Batch { stream, records: records.to_vec(), packed: None, rejects: Vec::new(), last })
            };
            batches.extend(records.chunks(request.limits.rows).map(|chunk| batch(chunk, false)));
            batches.push(batch(&[], true));
        }
        stream::iter(batches).boxed()
    }
}

fn table(name: &str) -> Arc<TableSpec> {
    TableSpec::builder(name)
        .key("id", ColumnType::Text)
        .column("body", ColumnType::Text)
        .column("updated_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .build()
        .unwrap()
}

pub(crate) fn records(bodies: impl Iterator<Item = (String, String)>, second: i64) -> Vec<Record> {
    let schema = Schema::new(["id", "body", "updated_at"]);
    bodies
        .map(|(id, body)| Record::new(Arc::clone(&schema), vec![id.into(), body.into(), Value::Int(second)]))
        .collect()
}

pub(crate) fn source(name: &str, streams: Vec<(&str, Vec<Record>)>) -> Box<dyn DynSource> {
    let streams = streams.into_iter().map(|(of, records)| (StreamSpec::new(of, table(of)), records)).collect();
    Box::new(Records { name: name.into(), streams })
}

/// Small tables, a large one, keys that two sources share, and a record that no hub can hold. The
/// second state has changes, new records and deletes.
pub(crate) fn project(state: u32) -> Vec<Box<dyn DynSource>> {
    let of = |range: std::ops::Range<u32>, size: usize| {
        range.map(move |number| {
            let changed = if number % 7 == 0 { state } else { 1 };
            (format!("key {number}"), format!("{number}/{changed} {}", noise(u64::from(number), size)))
        })
    };
    let (from, to) = if state == 1 { (0, 600) } else { (30, 700) };
    let mut unstorable = records(of(from..to, 20), 1_700_000_000);
    unstorable.extend(records([(noise(3, 9_000), "a key too long".to_owned())].into_iter(), 1_700_000_000));
    vec![
        source("a.db", vec![("notes", unstorable), ("pages", records(of(from..to, 6_000), 1_700_000_000))]),
        source("b.db", vec![("notes", records(of(500..650, 30), 1_800_000_000 + i64::from(state)))]),
    ]
}

/// Text that the server cannot compress: it has to fill a disk, and to be too long for a key.
pub(crate) fn noise(seed: u64, size: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric()).take(size).collect()
}

/// A ledger in a folder of its own, and runs with it.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) database: Database,
}

impl World {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self::of(cluster.database())
    }

    pub(crate) fn of(database: Database) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database }
    }

    /// A run as a program of its own makes it; an error where it did not even begin.
    pub(crate) fn try_run(&self, url: &str, state: u32) -> Result<Report> {
        self.run_with(&open(url)?, state)
    }

    pub(crate) fn run_with(&self, hub: &PostgresHub, state: u32) -> Result<Report> {
        let ledger = LedgerFile::open(&self.folder.path().join("ledger.db"), &block_on(hub.identity())?)?;
        let mut options = Options::new("env".into());
        options.limits.rows = 400;
        block_on(Engine::new(hub, &ledger, &Silent, options).run(&project(state)))
    }

    /// A run over a link without faults, which must complete.
    pub(crate) fn complete(&self, state: u32) -> Report {
        let report = self.try_run(&self.database.url(), state).unwrap();
        assert_eq!((report.status, &report.error), (Status::Partial, &None), "{:?}", errors(&report));
        assert_eq!(errors(&report), "");
        report
    }

    /// Everything that must be the same whatever happened on the way.
    pub(crate) fn content(&self) -> String {
        let mut all = String::new();
        for table in ["notes", "pages"] {
            let sql = format!(
                "SELECT md5(string_agg(row, E'\\n' ORDER BY row)), count(row) FROM (SELECT (to_jsonb(t) - 'sync_version' - \
                 'synced_at' || jsonb_build_object('deleted_at', deleted_at IS NOT NULL))::text AS row FROM aqe.{table} t) r"
            );
            let _ = writeln!(all, "{table} {}", self.database.psql(&sql));
        }
        let letters = "SELECT md5(key), md5(record), settled_at IS NULL FROM aqe.dead_letters ORDER BY 1";
        let states = "SELECT source, stream, complete FROM aqe.sync_state WHERE source <> 'aqe-sync' ORDER BY 1, 2";
        for sql in [letters, states] {
            let _ = writeln!(all, "{}", self.database.psql(sql));
        }
        all
    }

    /// Every conflict is logged once. Which image met which depends on the stream that came first.
    pub(crate) fn assert_logged_once(&self) {
        let again = "SELECT count(*) FROM (SELECT FROM aqe.conflict_log GROUP BY key, source, incoming, existing \
             HAVING count(*) > 1) twice";
        assert_eq!(self.database.psql(again), "0", "conflicts are logged twice");
        assert_ne!(self.database.psql("SELECT count(*) FROM aqe.conflict_log"), "0");
    }

    /// Nobody is left in a transaction.
    pub(crate) fn assert_quiet(&self) {
        let busy =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'";
        assert_eq!(self.database.psql(busy), "0");
    }
}

pub(crate) fn errors(report: &Report) -> String {
    let streams = report.streams.iter().filter_map(|stream| stream.error.as_deref());
    report.error.as_deref().into_iter().chain(streams).collect::<Vec<_>>().join("\n")
}

/// What an undisturbed hub holds after the first state, and after both.
pub(crate) fn undisturbed() -> &'static [String; 2] {
    static CONTENT: std::sync::OnceLock<[String; 2]> = std::sync::OnceLock::new();
    CONTENT.get_or_init(|| {
        let cluster = Cluster::start();
        let world = World::new(&cluster);
        [1, 2].map(|state| {
            world.complete(state);
            let content = world.content();
            world.complete(state);
            assert_eq!(world.content(), content, "a second run has no effect");
            content
        })
    })
}
