//! Credentials in the memories stay on this machine, unless somebody says otherwise.

use std::path::{Path, PathBuf};
use std::process::Output;

use aqe_sync_workspace::postgres::{Cluster, Database};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{contents, folder, json as object, run, said, sample};

const MEMORY: &str = "v3/.agentic-qe/memory.db";
const STORE: &str = ".claude-flow/memory/store.json";
const PATTERN: &str = "pattern-1-users";

/// Made up, and found by the rules for passwords in SQLite and in JSON.
const IN_SQLITE: &str = "Zq7Xw9Kp4sqlite";
const IN_JSON: &str = "Zq7Xw9Kp4json";

/// A hub, and all that it holds as text.
struct Hub {
    url: String,
    file: Option<PathBuf>,
    database: Option<Database>,
    _folder: TempDir,
}

impl Hub {
    fn each() -> [Self; 2] {
        let (here, there) = (folder(), folder());
        let (file, database) = (here.path().join("hub.db"), Cluster::shared().database());
        [
            Self { url: format!("sqlite:{}", file.display()), file: Some(file), database: None, _folder: here },
            Self { url: database.url(), file: None, database: Some(database), _folder: there },
        ]
    }

    fn holds(&self, text: &str) -> bool {
        let Some(database) = &self.database else {
            let file = self.file.as_ref().expect("one or the other");
            let log = file.with_file_name("hub.db-wal");
            let bytes = [std::fs::read(file).expect("readable"), std::fs::read(log).unwrap_or_default()].concat();
            return bytes.windows(text.len()).any(|window| window == text.as_bytes());
        };
        contents(database).contains(text)
    }

    fn run(&self, root: &Path, environment: &str, arguments: &[&str]) -> Output {
        run(root, &[arguments, &["--hub", &self.url, "--env", environment, "--json"]].concat())
    }

    fn ends_well(&self, root: &Path, environment: &str, arguments: &[&str]) -> Value {
        let output = self.run(root, environment, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?} at {}: {}", self.url, said(&output));
        assert!(!said(&output).contains("Zq7Xw9Kp4"), "{arguments:?}: {}", said(&output));
        object(&output)
    }
}

fn edit(root: &Path, sql: &str) {
    Connection::open(root.join(MEMORY)).and_then(|db| db.execute_batch(sql)).expect("edited");
}

fn described(root: &Path) -> String {
    let db = Connection::open(root.join(MEMORY)).expect("opened");
    db.query_row("SELECT description FROM qe_patterns WHERE id = ?1", [PATTERN], |row| row.get(0)).expect("a pattern")
}

/// The sample project, with a credential in a database and one in a JSON file.
fn planted() -> TempDir {
    let project = sample();
    let text = format!("log in with password={IN_SQLITE} first");
    edit(project.path(), &format!("UPDATE qe_patterns SET description = '{text}' WHERE id = '{PATTERN}'"));
    let store = project.path().join(STORE);
    let mut memory: Value = serde_json::from_slice(&std::fs::read(&store).expect("readable")).expect("JSON");
    let entry = memory["entries"].as_object_mut().and_then(|all| all.values_mut().next()).expect("an entry");
    entry["value"] = json!({ "task": "deploy", "password": IN_JSON });
    std::fs::write(&store, memory.to_string()).expect("written");
    project
}

#[test]
fn no_credential_leaves_and_nothing_is_sent_or_different_for_it() {
    for hub in Hub::each() {
        let project = planted();
        let root = project.path();
        let dry = hub.ends_well(root, "one", &["--dry-run"]);
        assert_eq!(dry["redacted"], 2, "{dry}");
        let report = hub.ends_well(root, "one", &[]);
        assert_eq!((&report["redacted"], &report["totals"]["dead_lettered"]), (&2.into(), &0.into()), "{report}");
        assert!(report["notes"].to_string().contains("2 credentials were found"), "{report}");
        assert!(!hub.holds("Zq7Xw9Kp4"), "{}", hub.url);
        assert!(hub.holds("log in with password=[redacted:password] first"), "{}", hub.url);
        for arguments in [&[][..], &["--full"]] {
            let again = hub.ends_well(root, "one", arguments);
            assert_eq!((&again["totals"]["inserted"], &again["totals"]["updated"]), (&0.into(), &0.into()), "{again}");
        }
        for arguments in [&["verify"][..], &["verify", "--deep"]] {
            assert_eq!(hub.ends_well(root, "one", arguments)["status"], "match");
        }
        assert!(described(root).contains(IN_SQLITE), "the file keeps it");
    }
}

#[test]
fn switching_it_off_sends_what_was_kept_back_and_on_again_takes_it_away() {
    for hub in Hub::each() {
        let project = planted();
        let root = project.path();
        hub.ends_well(root, "one", &[]);
        std::fs::write(root.join("aqe-sync.toml"), "[redact]\nenabled = false\n").expect("written");
        let sent = hub.run(root, "one", &[]);
        assert_eq!(
            (object(&sent)["totals"]["updated"].as_u64(), object(&sent)["redacted"].as_u64()),
            (Some(2), Some(0))
        );
        assert!(hub.holds(IN_SQLITE) && hub.holds(IN_JSON), "{}", hub.url);
        assert_eq!(hub.ends_well(root, "one", &["verify", "--deep"])["status"], "match");
        std::fs::write(root.join("aqe-sync.toml"), "").expect("written");
        assert_eq!(hub.ends_well(root, "one", &[])["totals"]["updated"], 2);
        assert_eq!(hub.ends_well(root, "one", &["verify", "--deep"])["status"], "match");
    }
}

#[test]
fn a_table_or_a_kind_can_be_excepted() {
    for (exception, left) in [("allow_tables = [\"qe_patterns\"]", 1), ("allow = [\"password\"]", 0)] {
        let (hub, project) = (&Hub::each()[0], planted());
        std::fs::write(project.path().join("aqe-sync.toml"), format!("[redact]\n{exception}\n")).expect("written");
        let report = object(&hub.run(project.path(), "one", &[]));
        assert_eq!(report["redacted"], left, "{exception}: {report}");
        assert!(hub.holds(IN_SQLITE), "{exception}");
        assert_eq!(hub.holds(IN_JSON), left == 0, "{exception}");
    }
}

#[test]
fn a_pull_takes_no_marker_for_what_the_file_has_and_its_notes_hold_no_credential() {
    for hub in Hub::each() {
        let (project, other) = (planted(), sample());
        let (one, two) = (project.path(), other.path());
        hub.ends_well(one, "one", &[]);
        // The other takes the text as the hub has it, changes something else, and wins.
        edit(two, &format!("UPDATE qe_patterns SET confidence = 0.1 WHERE id = '{PATTERN}'"));
        edit(one, &format!("UPDATE qe_patterns SET confidence = 0.9 WHERE id = '{PATTERN}'"));
        hub.ends_well(one, "one", &[]);
        hub.ends_well(two, "two", &["--bidirectional"]);
        assert_eq!(described(two), "log in with password=[redacted:password] first");
        edit(two, &format!("UPDATE qe_patterns SET confidence = 0.97, name = 'renamed' WHERE id = '{PATTERN}'"));
        hub.ends_well(two, "two", &[]);
        for _ in 0..2 {
            hub.ends_well(one, "one", &["--bidirectional"]);
            assert_eq!(described(one), format!("log in with password={IN_SQLITE} first"), "{}", hub.url);
        }
        let name: String = Connection::open(one.join(MEMORY))
            .and_then(|db| db.query_row("SELECT name FROM qe_patterns WHERE id = ?1", [PATTERN], |row| row.get(0)))
            .expect("a pattern");
        assert_eq!(name, "renamed", "what the other changed arrives");
        let again = hub.ends_well(one, "one", &["--bidirectional"]);
        let (sent, pulled) = (&again["totals"], &again["pull"]["totals"]);
        assert_eq!((&sent["updated"], &pulled["updated"]), (&0.into(), &0.into()), "{again}");
        assert!(!hub.holds("Zq7Xw9Kp4"), "{}", hub.url);
        assert_eq!(hub.ends_well(one, "one", &["verify", "--deep"])["status"], "match");
    }
}
