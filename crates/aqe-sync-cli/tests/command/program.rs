//! The program, the projects it runs on, and what it says.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use aqe_sync_workspace::postgres::Database;
use serde_json::Value;
use tempfile::TempDir;

/// Where the program keeps a hub that nobody chose.
pub(crate) const HUB: &str = ".aqe-sync/hub.db";

/// What would steer the program if the tests' own environment had it.
const VARIABLES: [&str; 17] = [
    "AQE_ENV",
    "AQE_HUB",
    "AQE_ALERTS_WEBHOOK",
    "AQE_ALERTS_HEARTBEAT",
    "GCP_PROJECT",
    "GCP_ZONE",
    "GCP_INSTANCE",
    "GCP_DATABASE",
    "GCP_USER",
    "GCP_TUNNEL_PORT",
    "PGPASSWORD",
    "PGPASSFILE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GCE_METADATA_HOST",
    "CLOUDSDK_CONFIG",
    "NO_COLOR",
];

/// The program in a folder, with none of its variables set.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqe-sync"));
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command
}

/// Runs the program on a project, in the environment `laptop`.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Output {
    let mut command = program(root);
    command.env("AQE_ENV", "laptop").arg("--root").arg(root).args(arguments);
    command.output().expect("the program runs")
}

/// All it said, the result first.
pub(crate) fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// All rows of a hub in PostgreSQL, as text.
pub(crate) fn contents(database: &Database) -> String {
    let tables = "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM \
                  information_schema.tables WHERE table_schema = 'aqe' AND table_type = 'BASE TABLE'";
    let all = database.psql(tables);
    assert!(all.lines().count() > 10, "{all}");
    all.lines().map(|table| database.psql(&format!("SELECT row_to_json(t) FROM {table} t"))).collect()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A copy of the sample project.
pub(crate) fn sample() -> TempDir {
    copy_of("examples/sample-project")
}

/// A copy of a project of this repository.
pub(crate) fn copy_of(path: &str) -> TempDir {
    let root = folder();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path), root.path());
    root
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
            // A file that was written just now is read again: it may still change.
            let then = SystemTime::now() - Duration::from_secs(3_600);
            std::fs::File::options().write(true).open(target).and_then(|file| file.set_modified(then)).expect("aged");
        }
    }
}

/// A project with one real file of the sample, of claude-flow's `.swarm` folder.
pub(crate) fn swarm_project() -> TempDir {
    let root = folder();
    let memory = include_bytes!("../../../../examples/sample-project/.swarm/memory.db");
    std::fs::create_dir(root.path().join(".swarm")).expect("created");
    std::fs::write(root.path().join(".swarm/memory.db"), memory).expect("written");
    root
}
