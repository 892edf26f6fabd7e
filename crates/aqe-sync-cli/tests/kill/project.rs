//! A project of real files, and what a run must leave as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use tempfile::TempDir;

/// Where the program keeps what is its own.
const STATE: &str = ".aqe-sync";
/// The ledger's files. The index of the log is made anew where it is missing.
const LEDGER: [&str; 3] = ["ledger.db", "ledger.db-wal", "ledger.db-shm"];

pub(crate) struct Project {
    folder: TempDir,
    kept: TempDir,
}

/// Where a project's runs keep what is temporary.
pub(crate) fn temporary(root: &Path) -> PathBuf {
    root.with_file_name("temporary")
}

impl Project {
    /// Two databases of the sample project, each with the tables that a run is to find.
    pub(crate) fn new() -> Self {
        let folder = || tempfile::tempdir().expect("a folder");
        let project = Self { folder: folder(), kept: folder() };
        std::fs::create_dir(temporary(&project.root())).expect("created");
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sample-project");
        for (file, tables) in [
            (".swarm/memory.db", &["memory_entries", "patterns"][..]),
            (".agentic-qe/memory.db", &["patterns", "events", "goap_plans", "goap_goals"]),
        ] {
            let path = project.root().join(file);
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("created");
            std::fs::copy(sample.join(file), &path).expect("copied");
            let mut database = Connection::open(&path).expect("a database");
            leave_only(&mut database, tables);
        }
        project.age();
        project
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root().join(STATE).join("ledger.db")
    }

    /// Changes a source.
    pub(crate) fn edit(&self, file: &str, sql: &str) {
        Connection::open(self.root().join(file)).and_then(|db| db.execute_batch(sql)).expect("valid SQL");
        self.age();
    }

    /// A file that was written just now is read again, as it may still change.
    fn age(&self) {
        let then = SystemTime::now() - Duration::from_secs(3_600);
        for path in self.sources() {
            let file = std::fs::File::options().write(true).open(path);
            file.and_then(|file| file.set_modified(then)).expect("aged");
        }
    }

    /// All files that are not the program's own, with their bytes.
    pub(crate) fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.sources().into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
    }

    fn sources(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.root(), &mut files);
        files
    }

    /// Keeps what the program has written beside the sources.
    pub(crate) fn keep(&self, number: usize) {
        copy(&self.root().join(STATE), &self.kept.path().join(number.to_string()));
    }

    /// Goes back to what was kept.
    pub(crate) fn restore(&self, number: usize) {
        let state = self.root().join(STATE);
        if state.exists() {
            std::fs::remove_dir_all(&state).expect("removed");
        }
        copy(&self.kept.path().join(number.to_string()), &state);
    }

    /// Removes the ledger, whose files need not all be there.
    pub(crate) fn remove_ledger(&self) {
        for file in LEDGER {
            let _ = std::fs::remove_file(self.root().join(STATE).join(file));
        }
    }

    /// Keeps the ledger, as a backup does.
    pub(crate) fn keep_ledger(&self, number: usize) {
        copy_ledger(&self.root().join(STATE), &self.kept.path().join(format!("ledger-{number}")));
    }

    /// Gets a ledger back that was kept.
    pub(crate) fn restore_ledger(&self, number: usize) {
        copy_ledger(&self.kept.path().join(format!("ledger-{number}")), &self.root().join(STATE));
    }
}

fn copy_ledger(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for file in LEDGER.iter().filter(|file| from.join(file).exists()) {
        std::fs::copy(from.join(file), to.join(file)).expect("copied");
    }
}

/// Drops all tables but these.
pub(crate) fn leave_only(database: &mut Connection, tables: &[&str]) {
    let mut names = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").expect("a database");
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("names of tables");
    database.execute_batch("PRAGMA foreign_keys = off").expect("set");
    for name in names.iter().filter(|name| !tables.contains(&name.as_str()) && !name.starts_with("sqlite_")) {
        database.execute_batch(&format!("DROP TABLE IF EXISTS \"{name}\"")).expect("dropped");
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true if path.ends_with(STATE) => {}
            true => collect(&path, files),
            false => files.push(path),
        }
    }
    files.sort();
}

/// Copies a folder without folders in it; none is copied as none.
fn copy(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else { return };
    std::fs::create_dir_all(to).expect("created");
    for entry in entries {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
