//! Agents' files, each an environment of a fleet, and a hub in memory between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aqe_readers::{FileNotes, Keeper, LocalSink, PullState, SourceFile, SqliteSource};
use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::fleet::{
    Contribution, FleetHub, FleetSource, Kept, OwnSource, PullRequest, Standing, Trust, VersionVector,
};
use aqe_sync_core::{
    BatchLimits, DynSource, Engine, Environment, Key, KeyHash, Options, ReadRequest, Report, Result, Row, Silent,
    SourceName, TableSpec, Timestamp,
};
use futures::StreamExt as _;
use futures::executor::block_on;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

pub(crate) const V2: &str = "agentic-qe-2.8.2/.agentic-qe/memory.db";
pub(crate) const V2_GOAP_FIRST: &str = "agentic-qe-2.8.2-goapfirst/.agentic-qe/memory.db";
pub(crate) const V3: &str = "agentic-qe-3.3.0/v3/.agentic-qe/memory.db";
pub(crate) const V3_ON_V2: &str = "agentic-qe-3.3.0-on-2.x-db/.agentic-qe/memory.db";
pub(crate) const FLOW_2: &str = "claude-flow-2.7.47/.swarm/memory.db";
pub(crate) const FLOW_3: &str = "claude-flow-3.1.0-alpha.2/.swarm/memory.db";

type Table = BTreeMap<KeyHash, (Key, BTreeMap<Environment, Contribution>)>;

/// By hub table and local key.
type KeptOfFile = BTreeMap<(String, KeyHash), Vec<Kept>>;

/// A hub in memory.
#[derive(Default)]
pub(crate) struct Fleet {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tables: BTreeMap<String, Table>,
    version: i64,
    versions: BTreeMap<String, VersionVector>,
    kept: BTreeMap<(Environment, SourceName), KeptOfFile>,
    excluded: BTreeSet<Environment>,
}

impl Fleet {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What an environment has now, of the tables that its file has.
    fn push(&self, environment: &Environment, rows: &BTreeMap<String, Vec<Row>>) {
        let mut inner = self.inner.lock().expect("sound");
        for (name, rows) in rows {
            let spec = aqe_sync_core::tables::find(name).expect("a table");
            for row in rows {
                inner.put(environment, spec, row.clone(), false);
            }
            let now: BTreeSet<KeyHash> = rows.iter().map(|row| row.key(spec).hash()).collect();
            let table = inner.tables.entry(name.clone()).or_default();
            let gone: Vec<Row> = table
                .iter()
                .filter(|(key, _)| !now.contains(key))
                .filter_map(|(_, (_, of))| of.get(environment).filter(|one| !one.deleted).map(|one| one.row.clone()))
                .collect();
            for row in gone {
                inner.put(environment, spec, row, true);
            }
        }
    }

    /// What an environment contributes to a key.
    pub(crate) fn contribution(&self, environment: &str, table: &str, key: &Key) -> Option<Contribution> {
        let inner = self.inner.lock().expect("sound");
        inner.tables.get(table)?.get(&key.hash())?.1.get(&Environment::new(environment)).cloned()
    }

    pub(crate) fn exclude_now(&self, environment: &str, excluded: bool) {
        let mut inner = self.inner.lock().expect("sound");
        if excluded {
            inner.excluded.insert(environment.into());
        } else {
            inner.excluded.remove(&Environment::new(environment));
        }
    }

    pub(crate) fn kept_entries(&self, file: &AgentFile) -> Vec<Kept> {
        let inner = self.inner.lock().expect("sound");
        let of_file = inner.kept.get(&(file.environment.clone(), file.file().name));
        of_file.into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }
}

impl Inner {
    fn put(&mut self, environment: &Environment, spec: &TableSpec, row: Row, deleted: bool) {
        let key = row.key(spec);
        let table = self.tables.entry(spec.name().to_string()).or_default();
        let (_, of) = table.entry(key.hash()).or_insert_with(|| (key, BTreeMap::new()));
        if of.get(environment).is_some_and(|known| known.row == row && known.deleted == deleted) {
            return;
        }
        self.version += 1;
        let version = self.version;
        of.insert(environment.clone(), Contribution { environment: environment.clone(), version, deleted, row });
        self.versions.entry(spec.name().to_string()).or_default().set(environment.clone(), version);
    }
}

impl FleetHub for Fleet {
    async fn standing(&self) -> Result<Standing> {
        let inner = self.inner.lock().expect("sound");
        Ok(Standing { epoch: "1".to_owned(), versions: inner.versions.clone(), excluded: inner.excluded.clone() })
    }

    fn changed(
        &self,
        table: &Arc<TableSpec>,
        since: &VersionVector,
        own: &Environment,
        _: Option<Timestamp>,
    ) -> BoxStream<'static, Result<Vec<Key>>> {
        let inner = self.inner.lock().expect("sound");
        let of = inner.tables.get(table.name().as_str());
        let news = |of: &BTreeMap<Environment, Contribution>| {
            let others = of.keys().any(|environment| environment != own);
            others && of.values().any(|one| one.version > since.of(&one.environment))
        };
        let keys = of.into_iter().flat_map(BTreeMap::values).filter(|(_, of)| news(of)).map(|(key, _)| key.clone());
        stream::iter([Ok(keys.collect())]).boxed()
    }

    async fn contributions(&self, table: &Arc<TableSpec>, keys: Vec<Key>) -> Result<Vec<Vec<Contribution>>> {
        let inner = self.inner.lock().expect("sound");
        let of = inner.tables.get(table.name().as_str());
        let of = |key: &Key| of.and_then(|of| of.get(&key.hash())).map(|(_, of)| of.values().cloned().collect());
        Ok(keys.iter().map(|key| of(key).unwrap_or_default()).collect())
    }

    async fn keep(&self, environment: &Environment, file: &SourceName, entries: Vec<Kept>, floor: i64) -> Result<()> {
        let mut inner = self.inner.lock().expect("sound");
        let kept = inner.kept.entry((environment.clone(), file.clone())).or_default();
        for entry in entries {
            let of_key = kept.entry((entry.table.clone(), entry.local)).or_default();
            of_key.retain(|old| old.generation != entry.generation);
            of_key.push(entry);
            let newest = of_key.iter().map(|one| one.generation).filter(|generation| *generation <= floor).max();
            of_key.retain(|old| newest.is_none_or(|newest| old.generation >= newest));
        }
        Ok(())
    }

    fn kept(&self, environment: &Environment, file: &SourceName) -> BoxStream<'static, Result<Vec<Kept>>> {
        let inner = self.inner.lock().expect("sound");
        let of_file = inner.kept.get(&(environment.clone(), file.clone()));
        let kept = of_file.into_iter().flat_map(BTreeMap::values).flatten().cloned().collect();
        stream::iter([Ok(kept)]).boxed()
    }

    async fn exclude(&self, environment: &Environment, excluded: bool) -> Result<bool> {
        self.exclude_now(environment.as_str(), excluded);
        Ok(true)
    }
}

type BeforeCommit = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// Takes what is kept to the hub, and does something else then.
struct ToFleet {
    fleet: Arc<Fleet>,
    environment: Environment,
    file: SourceName,
    then: Option<BeforeCommit>,
}

impl Keeper for ToFleet {
    fn keep(&self, entries: Vec<Kept>, floor: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.fleet.keep(&self.environment, &self.file, entries, floor).await?;
            self.then.as_ref().map_or(Ok(()), |then| then())
        })
    }
}

/// One environment with one file of an agent's.
pub(crate) struct AgentFile {
    folder: TempDir,
    pub(crate) environment: Environment,
}

impl AgentFile {
    /// A copy of a fixture.
    pub(crate) fn of(environment: &str, fixture: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = Self { folder, environment: environment.into() };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
        fs::create_dir_all(file.path().parent().expect("in a folder")).expect("created");
        fs::write(file.path(), fs::read(fixtures.join(fixture)).expect("a fixture")).expect("written");
        file
    }

    /// The same without any records that a pull could bring.
    pub(crate) fn emptied(environment: &str, fixture: &str) -> Self {
        let file = Self::of(environment, fixture);
        let connection = file.open();
        connection.execute_batch("PRAGMA foreign_keys = OFF").expect("set");
        for table in file.local_tables() {
            connection.execute_batch(&format!("DELETE FROM \"{table}\"")).expect("emptied");
        }
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("project/.agentic-qe/memory.db")
    }

    pub(crate) fn state_path(&self) -> PathBuf {
        self.folder.path().join("state/pull.db")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.folder.path().join("state/backups")
    }

    pub(crate) fn file(&self) -> SourceFile {
        SourceFile::new(&self.folder.path().join("project"), self.path())
    }

    pub(crate) fn open(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("opened");
        connection.busy_timeout(std::time::Duration::from_secs(20)).expect("set");
        connection
    }

    pub(crate) fn edit(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let connection = self.open();
        let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let columns = statement.column_count();
        let rows = statement.query_map(params_from_iter([] as [i64; 0]), |row| {
            (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()
        });
        rows.and_then(Iterator::collect).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        match self.query(sql).remove(0).remove(0) {
            Value::Integer(number) => number,
            other => panic!("{sql} gives {other:?}"),
        }
    }

    pub(crate) fn state(&self) -> Arc<PullState> {
        PullState::open(&self.state_path()).expect("opened")
    }

    /// The tables that pulls write to, and those joined to them.
    pub(crate) fn local_tables(&self) -> Vec<String> {
        let sink = self.sink(&self.state(), None).expect("opened");
        let mut tables: Vec<String> = sink.tables().iter().flat_map(|table| table.local.clone()).collect();
        let named = "SELECT name FROM sqlite_schema WHERE name IN ('qe_pattern_embeddings', 'pattern_embeddings')";
        tables.extend(self.query(named).into_iter().map(|mut row| match row.remove(0) {
            Value::Text(name) => name,
            other => panic!("{other:?}"),
        }));
        tables
    }

    pub(crate) fn sink(&self, state: &Arc<PullState>, keeper: Option<Arc<dyn Keeper>>) -> Result<LocalSink> {
        LocalSink::open(self.file(), Arc::clone(state), self.environment.clone(), keeper, self.backups())
    }

    pub(crate) fn pull(&self, fleet: &Arc<Fleet>) -> Report {
        let report = self.try_pull(fleet, None).unwrap_or_else(|error| panic!("{error}"));
        report.totals.balance().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.error, None);
        report
    }

    /// Pulls; `then` happens between what the hub keeps and the commit of the file.
    pub(crate) fn try_pull(&self, fleet: &Arc<Fleet>, then: Option<BeforeCommit>) -> Result<Report> {
        self.pull_with(fleet, &self.state(), then)
    }

    pub(crate) fn pull_with(
        &self,
        fleet: &Arc<Fleet>,
        state: &Arc<PullState>,
        then: Option<BeforeCommit>,
    ) -> Result<Report> {
        let (file, environment) = (self.file(), self.environment.clone());
        let keeper = ToFleet { fleet: Arc::clone(fleet), environment, file: file.name.clone(), then };
        let sink = self.sink(state, Some(Arc::new(keeper)))?;
        let tables = sink.tables().iter().map(|table| Arc::clone(&table.table)).collect();
        let restore = sink.restored().is_some();
        let request = PullRequest {
            restore,
            environment: self.environment.clone(),
            tables,
            trust: Trust { min_environments: 1, ..Trust::default() },
            since: None,
            after: None,
        };
        let source = block_on(FleetSource::open(Arc::clone(fleet), request))?.only_where(sink.places());
        let ledger = FileNotes::of(Arc::clone(state), &file)?;
        let sources: [Box<dyn DynSource>; 1] = [Box::new(source)];
        block_on(Engine::new(&sink, &ledger, &Silent, Options::new(self.environment.clone())).run(&sources))
    }

    /// What this environment's own part of the file is, by hub table.
    pub(crate) fn own(&self) -> BTreeMap<String, Vec<Row>> {
        self.read(true)
    }

    /// What the file shows.
    pub(crate) fn shown(&self) -> BTreeMap<String, Vec<Row>> {
        self.read(false)
    }

    fn read(&self, own: bool) -> BTreeMap<String, Vec<Row>> {
        let source = SqliteSource::new(self.file());
        let source: Box<dyn DynSource> = if own {
            let notes = FileNotes::of(self.state(), &self.file()).expect("known");
            Box::new(OwnSource::new(Box::new(source), Arc::new(notes)))
        } else {
            Box::new(source)
        };
        let mut streams = block_on(source.streams_dyn()).expect("listed");
        streams.retain(|stream| stream.table.name().as_str() != "archive_records");
        let mut all: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        let specs = streams.clone();
        let mut batches = source.read_dyn(ReadRequest { streams, limits: BatchLimits::default() });
        while let Some(batch) = block_on(batches.next()) {
            let batch = batch.expect("read");
            let spec = specs.iter().find(|spec| spec.name == batch.stream).expect("asked for");
            let rows = all.entry(spec.table.name().to_string()).or_default();
            let packed = batch.packed.iter().flat_map(|packed| (0..packed.len()).map(|at| packed.record(at)));
            for record in batch.records.into_iter().chain(packed) {
                let coercer = Coercer::new(Arc::clone(&spec.table), Arc::clone(record.schema()));
                rows.push(coercer.row(record).expect("a row").row);
            }
        }
        all
    }

    pub(crate) fn push(&self, fleet: &Fleet) {
        fleet.push(&self.environment, &self.own());
    }

    /// The schema as SQLite has it.
    pub(crate) fn schema(&self) -> Vec<Vec<Value>> {
        self.query("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
    }

    /// What SQLite and the tools find of the file.
    pub(crate) fn is_sound(&self) {
        assert_eq!(self.query("PRAGMA integrity_check"), [[Value::Text("ok".to_owned())]]);
        assert_eq!(self.query("PRAGMA foreign_key_check"), Vec::<Vec<Value>>::new());
    }
}

/// A pattern of 3.x.
pub(crate) fn add_pattern(file: &AgentFile, id: &str, confidence: f64, uses: i64, successes: i64) {
    let rate = if uses == 0 { 0.0 } else { successes as f64 / uses as f64 };
    file.edit(&format!(
        "INSERT INTO qe_patterns (id, pattern_type, qe_domain, domain, name, description, confidence, usage_count, \
         success_rate, successful_uses) VALUES ('{id}', 'test-template', 'test-generation', 'test-generation', \
         'name of {id}', 'by {}', {confidence}, {uses}, {rate}, {successes})",
        file.environment
    ));
}

/// As the tool itself counts.
pub(crate) fn use_pattern(connection: &Connection, id: &str, success: bool) {
    let success = i64::from(success);
    let changed = connection
        .execute(
            "UPDATE qe_patterns SET usage_count = usage_count + 1, successful_uses = successful_uses + ?2, \
             success_rate = CAST(successful_uses + ?2 AS REAL) / (usage_count + 1), updated_at = datetime('now') \
             WHERE id = ?1",
            (id, success),
        )
        .expect("counted");
    assert_eq!(changed, 1);
}

/// Uses and successes of a pattern, as the file shows them.
pub(crate) fn uses(file: &AgentFile, id: &str) -> Option<(i64, i64)> {
    let sql = format!("SELECT usage_count, successful_uses FROM qe_patterns WHERE id = '{id}'");
    file.query(&sql).pop().map(|row| match row.as_slice() {
        [Value::Integer(uses), Value::Integer(successes)] => (*uses, *successes),
        other => panic!("{other:?}"),
    })
}
