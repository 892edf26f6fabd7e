//! Every source and the embedded hub, against the conformance kit: all fixtures, found as a
//! project finds them, and changed as their tools change them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aqe_sync_core::testkit::{Checked, Rule, SinkCase, SourceCase, check_sink, check_source};
use aqe_sync_core::{
    BatchLimits, BatchStream, DynSource, Fingerprint, ReadRequest, Result, Source, SourceName, StreamSpec,
};
use futures::StreamExt as _;
use futures::executor::block_on;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::{EmbeddedHub, discover, emit};

/// A source of any kind.
struct Any(Box<dyn DynSource>);

impl Source for Any {
    fn name(&self) -> &SourceName {
        self.0.name()
    }

    fn priority(&self) -> i32 {
        self.0.priority()
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        self.0.streams_dyn().await
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        self.0.fingerprint_dyn().await
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        self.0.read_dyn(request)
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).expect("read")).expect("written");
        }
    }
}

/// The file, and what SQLite has beside it.
fn parts(path: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    let part = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    ["", "-wal", "-shm"].into_iter().map(part).filter(|path| path.exists())
}

/// Makes the file look as if nobody had written to it for a minute and more.
fn settle(path: &Path, number: u64) {
    let past = SystemTime::now() - Duration::from_secs(60 + number);
    for part in parts(path) {
        fs::OpenOptions::new().append(true).open(part).expect("opened").set_modified(past).expect("set");
    }
}

/// Changes what is read first and what is read last, whatever the file is.
fn change(path: &Path, number: u64) {
    let bytes = fs::read(path).expect("read");
    if bytes.starts_with(b"SQLite format 3\0") {
        let sql = ["aaa_testkit", "zzz_testkit"].map(|table| {
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, number INTEGER);
                 INSERT OR REPLACE INTO {table} VALUES ('first', {number}), ('last', {number});"
            )
        });
        let database = Connection::open(path).expect("opened");
        database.execute_batch(&format!("BEGIN; {} COMMIT", sql.join("\n"))).expect("changed");
    } else if bytes.starts_with(b"redb") {
        let database = redb::Database::open(path).expect("opened");
        let writing = database.begin_write().expect("begun");
        for name in ["aaa_testkit", "zzz_testkit"] {
            let mut table = writing.open_table(redb::TableDefinition::<&str, &str>::new(name)).expect("a table");
            table.insert("first", number.to_string().as_str()).expect("inserted");
            table.insert("last", number.to_string().as_str()).expect("inserted");
        }
        writing.commit().expect("committed");
    } else {
        let mut document: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        match &mut document {
            serde_json::Value::Object(members) => {
                for name in ["aaa_testkit", "zzz_testkit"] {
                    members.insert(name.to_owned(), serde_json::json!({ "number": number }));
                }
            }
            serde_json::Value::Array(elements) => elements.push(serde_json::json!({ "number": number })),
            other => panic!("{}: {other}", path.display()),
        }
        fs::write(path, document.to_string()).expect("written");
    }
}

/// How many records a source has; `None` when it cannot be read.
fn count(source: &Any) -> Option<usize> {
    let streams = block_on(source.streams()).ok()?;
    let mut batches = source.read(ReadRequest { streams, limits: BatchLimits::default() });
    let mut count = 0;
    while let Some(batch) = block_on(batches.next()) {
        let batch = batch.ok()?;
        count += batch.records.len() + batch.rejects.len() + batch.packed.map_or(0, |packed| packed.len());
    }
    Some(count)
}

fn find(root: &Path, name: &SourceName) -> Any {
    let found = discover(root).expect("listed").found.into_iter().find(|found| found.file.name == *name);
    Any(found.expect("still there").source)
}

fn check(root: &Path, name: &SourceName) -> Checked {
    let (root, path) = (&root, &root.join(name.as_str()));
    let number = &Cell::new(0);
    let next = || {
        number.set(number.get() + 1);
        number.get()
    };
    let case = SourceCase::new(|| async { find(root, name) })
        .changed_by(|| async move { change(path, next()) })
        .settled_by(|| async move { settle(path, next()) })
        .panicking(|| async {
            let source = find(root, name);
            emit::panic_in_next_reading(name);
            source
        });
    block_on(check_source(&case)).unwrap_or_else(|violation| panic!("{}, {name}: {violation}", root.display()))
}

/// All sources of the fixtures whose names begin so.
fn every_source_passes(prefixes: &[&str], at_least: usize) {
    let mut checked = 0;
    for entry in fs::read_dir(fixtures()).expect("listed") {
        let entry = entry.expect("listed");
        let fixture = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().is_dir() || !prefixes.iter().any(|prefix| fixture.starts_with(prefix)) {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        // A project of its own name, so that its sources are told from those of other tests.
        let root = folder.path().join("project");
        copy_all(&entry.path(), &root.join(format!("packages/{fixture}")));
        for found in discover(&root).expect("listed").found {
            let name = found.file.name.clone();
            // Torn files have tests of their own.
            if count(&Any(found.source)).is_none_or(|count| count < 2) {
                continue;
            }
            let rules = check(&root, &name);
            for rule in [
                Rule::Repeatable,
                Rule::OneSnapshot,
                Rule::ResumesWithTheRemainder,
                Rule::EarlyDropIsSafe,
                Rule::PanicIsAnError,
                Rule::FingerprintSeesChanges,
            ] {
                assert!(rules.of(rule) > 0, "{rule} was not checked for {fixture}, {name}");
            }
            checked += 1;
        }
    }
    assert!(checked >= at_least, "only {checked} sources were checked");
}

#[test]
fn every_source_of_agentic_qe_passes() {
    every_source_passes(&["agentic-qe"], 5);
}

#[test]
fn every_source_of_claude_flow_passes() {
    every_source_passes(&["claude-flow"], 10);
}

#[test]
fn every_source_of_ruvector_and_of_public_projects_passes() {
    every_source_passes(&["ruvector", "public"], 15);
}

/// All rows of all tables, as text.
fn census(path: &Path) -> String {
    let hub = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a hub");
    let mut names = hub.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1").expect("prepared");
    let names = names.query_map([], |row| row.get::<_, String>(0)).expect("asked");
    let mut all = String::new();
    for name in names {
        let name = name.expect("text");
        let quoted = aqe_sync_core::Quoted(&name).to_string();
        let mut rows = hub.prepare(&format!("SELECT * FROM {quoted}")).expect("prepared");
        let columns = rows.column_count();
        let mut rows = rows.query([]).expect("asked");
        while let Some(row) = rows.next().expect("read") {
            let values: Vec<Value> = (0..columns).map(|column| row.get(column).expect("a value")).collect();
            writeln!(all, "{name} {values:?}").expect("in memory");
        }
    }
    all
}

#[test]
fn the_embedded_hub_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hub.db");
    let case = SinkCase::new(|| async { EmbeddedHub::open(&path).expect("opened") }).census(|| async { census(&path) });
    let checked = block_on(check_sink(&case)).unwrap();
    for rule in Rule::OF_SINKS {
        assert!(checked.of(rule) > 0, "{rule} was not checked");
    }
}
