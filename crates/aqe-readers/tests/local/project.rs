//! A project made of fixtures, synced into a hub beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::verify::{Depth, RepairReport, VerifyReport, repair, verify, verify_deep};
use aqe_sync_core::{
    DynSource, Engine, Environment, Mode, Options, Report, Result, Silent, Sink as _, Status, StreamReport, tables,
};
use futures::executor::block_on;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use tempfile::TempDir;

pub(crate) const V2: &str = "agentic-qe-2.8.2/.agentic-qe/memory.db";
pub(crate) const V3: &str = "agentic-qe-3.3.0/v3/.agentic-qe/memory.db";
pub(crate) const ROOT_DB: &str = ".agentic-qe/memory.db";
pub(crate) const V3_DB: &str = "v3/.agentic-qe/memory.db";
pub(crate) const ROOT_RUVECTOR: &str = ".ruvector/intelligence.json";
pub(crate) const V3_RUVECTOR: &str = "v3/.ruvector/intelligence.json";

/// What a file is, apart from its name: bytes and time, or that it is a folder.
type Entry = Option<(Vec<u8>, SystemTime)>;

/// A project folder, with hub and ledger outside of it.
pub(crate) struct Project {
    folder: TempDir,
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

impl Project {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("project")).expect("created");
        Self { folder }
    }

    /// A copy of a whole fixture.
    pub(crate) fn of(fixture: &str) -> Self {
        let project = Self::empty();
        copy_all(&fixtures().join(fixture), &project.root());
        project
    }

    /// The 3.x fixture with its SQLite file in the place where ordinary users have it.
    pub(crate) fn with(file: &str, at: &str) -> Self {
        let project = Self::empty();
        project.add(file, at);
        project
    }

    /// Two files that know the value of one action in one state: a row that both share.
    pub(crate) fn of_shared_row() -> Self {
        let project = Self::empty();
        project.write_q_value(ROOT_RUVECTOR, 0.5, 10);
        project.write_q_value(V3_RUVECTOR, 0.75, 30);
        project
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    pub(crate) fn hub_path(&self) -> PathBuf {
        self.folder.path().join("state/hub.db")
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.folder.path().join("state/ledger.db")
    }

    /// Copies one file of the fixtures.
    pub(crate) fn add(&self, fixture: &str, at: &str) {
        let bytes = fs::read(fixtures().join(fixture)).expect("a fixture");
        self.write(at, &bytes);
    }

    pub(crate) fn write(&self, at: &str, bytes: &[u8]) {
        let path = self.path(at);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("created");
        fs::write(&path, bytes).expect("written");
    }

    /// Writes a file of ruvector's with one value, of the action `a` in the state `s`.
    pub(crate) fn write_q_value(&self, at: &str, q: f64, visits: u64) {
        let value = format!(r#"{{"state":"s","action":"a","q_value":{q},"visits":{visits},"last_update":1795356056}}"#);
        self.write(at, format!(r#"{{"patterns":{{"s|a":{value}}}}}"#).as_bytes());
    }

    pub(crate) fn read(&self, at: &str) -> Vec<u8> {
        fs::read(self.path(at)).expect("read")
    }

    /// Opens (or creates) a database of the project, as its producer would.
    pub(crate) fn open(&self, at: &str) -> Connection {
        let path = self.path(at);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("created");
        Connection::open(path).expect("opened")
    }

    /// Runs SQL on a database of the project.
    pub(crate) fn edit(&self, at: &str, sql: &str) {
        self.open(at).execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Makes every file old enough for its fingerprint to be trusted.
    pub(crate) fn settle(&self) {
        let past = SystemTime::now() - Duration::from_secs(60);
        for (path, entry) in tree(&self.root()) {
            if entry.is_some() {
                let file = fs::OpenOptions::new().append(true).open(path).expect("opened");
                file.set_modified(past).expect("set");
            }
        }
    }

    pub(crate) fn sync(&self) -> Report {
        self.sync_as(Mode::Incremental)
    }

    pub(crate) fn sync_as(&self, mode: Mode) -> Report {
        self.sync_with(|options| options.mode(mode))
    }

    /// Syncs once; whatever happens, sources stay as they are and accounts balance.
    pub(crate) fn sync_with(&self, with: impl FnOnce(Options) -> Options) -> Report {
        let before = tree(&self.root());
        let report = self.try_sync(with).unwrap_or_else(|error| panic!("{error}"));
        assert!(before == tree(&self.root()), "a sync must leave no trace in the project");
        for stream in &report.streams {
            stream.counters.balance().unwrap_or_else(|error| panic!("{}: {error}", stream.stream));
        }
        report.totals.balance().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.error, None);
        report
    }

    pub(crate) fn try_sync(&self, with: impl FnOnce(Options) -> Options) -> Result<Report> {
        let found = discover(&self.root())?.found;
        let sources: Vec<_> = found.into_iter().map(|found| found.source).collect();
        let hub = EmbeddedHub::open(&self.hub_path())?;
        let ledger = LedgerFile::open(&self.ledger_path(), &block_on(hub.identity())?)?;
        let options = with(Options::new(Environment::new("test")));
        block_on(Engine::new(&hub, &ledger, &Silent, options).run(&sources))
    }

    /// Compares sources and hub, by what is stored; by what is recorded it must match
    /// whenever it does so.
    pub(crate) fn verify(&self) -> VerifyReport {
        let deep = self.compare(Depth::Stored);
        assert!(!deep.matches() || self.compare(Depth::Recorded).matches());
        deep
    }

    /// Compares sources and hub.
    pub(crate) fn compare(&self, depth: Depth) -> VerifyReport {
        let hub = EmbeddedHub::open(&self.hub_path()).expect("opened");
        let (sources, options) = (self.sources(), Options::new(Environment::new("test")));
        let report = match depth {
            Depth::Recorded => block_on(verify(&hub, &sources, &options)),
            Depth::Stored => block_on(verify_deep(&hub, &sources, &options)),
        };
        report.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Compares, and puts right what differs.
    pub(crate) fn repair(&self, depth: Depth) -> RepairReport {
        let hub = EmbeddedHub::open(&self.hub_path()).expect("opened");
        let identity = block_on(hub.identity()).expect("known");
        let ledger = LedgerFile::open(&self.ledger_path(), &identity).expect("opened");
        let options = Options::new(Environment::new("test"));
        block_on(repair(&hub, &ledger, &Silent, &self.sources(), &options, depth))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn sources(&self) -> Vec<Box<dyn DynSource>> {
        let found = discover(&self.root()).expect("listed").found;
        found.into_iter().map(|found| found.source).collect()
    }

    /// Runs SQL on the hub, as somebody who means well would.
    pub(crate) fn edit_hub(&self, sql: &str) {
        let hub = Connection::open(self.hub_path()).expect("a hub");
        hub.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The hub, as any SQLite client sees it.
    pub(crate) fn hub(&self) -> Connection {
        Connection::open_with_flags(self.hub_path(), OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a hub")
    }

    /// All rows of a query on the hub.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        query(&self.hub(), sql)
    }

    /// The one value of the one row that a query on the hub gives.
    pub(crate) fn value(&self, sql: &str) -> Value {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "rows of {sql}");
        rows.remove(0).remove(0)
    }

    pub(crate) fn text(&self, sql: &str) -> String {
        match self.value(sql) {
            Value::Text(text) => text,
            other => panic!("{sql} gives {other:?}"),
        }
    }

    pub(crate) fn count(&self, sql: &str) -> i64 {
        match self.value(sql) {
            Value::Integer(count) => count,
            other => panic!("{sql} gives {other:?}"),
        }
    }

    /// Live rows per hub table, the audit rows aside; tables without any are left out.
    pub(crate) fn counts(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for table in self.tables() {
            let sql = format!("SELECT count(*) FROM {table} WHERE deleted_at IS NULL AND source <> 'aqe-sync'");
            let count = self.count(&sql);
            if count > 0 {
                counts.insert(table, count);
            }
        }
        counts
    }

    /// All that the hub holds of the catalogue, versions and times included, but for the audit rows.
    pub(crate) fn dump(&self) -> BTreeMap<String, Vec<Vec<Value>>> {
        let rows = |table: &String| {
            let sql = format!("SELECT * FROM {table} WHERE source <> 'aqe-sync'");
            let mut rows = self.rows(&sql);
            rows.sort_by_cached_key(|row| format!("{row:?}"));
            rows
        };
        self.tables().into_iter().map(|table| (table.clone(), rows(&table))).collect()
    }

    fn tables(&self) -> Vec<String> {
        let exists = |name: &str| {
            let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            self.hub().query_row(sql, [name], |row| row.get::<_, i64>(0)).expect("read") == 1
        };
        let names = tables::all().iter().map(|table| table.name().to_string());
        names.filter(|name| exists(name)).collect()
    }
}

/// A text as a hub's row holds it.
pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// Every row of a query.
pub(crate) fn query(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let rows = statement.query_map(params_from_iter([] as [i64; 0]), |row| {
        (0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()
    });
    rows.and_then(Iterator::collect).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The account of one stream.
pub(crate) fn stream<'r>(report: &'r Report, source: &str, stream: &str) -> &'r StreamReport {
    let fits = |known: &&StreamReport| known.source.as_str() == source && known.stream.as_str() == stream;
    let found = report.streams.iter().find(fits);
    found.unwrap_or_else(|| panic!("no stream {stream} of {source} in {report:#?}"))
}

/// The message of a source that failed, with all its streams.
pub(crate) fn failure<'r>(report: &'r Report, source: &str) -> &'r str {
    assert_eq!(report.status, Status::Partial);
    let of_source: Vec<_> = report.streams.iter().filter(|stream| stream.source.as_str() == source).collect();
    assert!(!of_source.is_empty() && of_source.iter().all(|stream| stream.status == Status::Failed), "{of_source:?}");
    of_source[0].error.as_deref().expect("a failure has a message")
}

pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
}

/// Everything below a folder.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(tree(&path));
            found.insert(path, None);
        } else if let Ok(bytes) = fs::read(&path) {
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
            found.insert(path, Some((bytes, modified)));
        } else {
            found.insert(path, None);
        }
    }
    found
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            // Not `fs::copy`, which would copy a lack of permissions too.
            fs::write(target, fs::read(entry.path()).expect("read")).expect("written");
        }
    }
}
