//! The command over a hub in PostgreSQL.

use std::process::{Command, Output};

use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors;

use crate::program::{json, run, said, sample};

struct Project {
    folder: tempfile::TempDir,
    database: Database,
}

impl Project {
    /// The sample project, with an empty database for its hub.
    fn new() -> Self {
        Self { folder: sample(), database: Cluster::shared().database() }
    }

    fn run_at(&self, url: &str, arguments: &[&str]) -> Output {
        run(self.folder.path(), &[arguments, &["--hub", url]].concat())
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run_at(&self.database.url(), arguments);
        (output.status.code().expect("it ends by itself"), said(&output))
    }

    fn ends_well(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    }

    fn schemas(&self) -> String {
        self.database.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'aqe'").trim().to_owned()
    }
}

#[test]
fn a_project_is_synced_once_and_matches() {
    let project = Project::new();
    assert!(project.ends_well(&["status"]).contains("there is no hub"));
    assert!(project.ends_well(&[]).contains("814 records read, 814 new"));
    assert!(project.ends_well(&[]).contains("nothing changed"));
    let made = project.ends_well(&["init"]);
    assert!(
        made.contains("created aqe-sync.toml") && !made.contains("postgres://"),
        "the sync made all tables: {made}"
    );
    assert!(project.ends_well(&["init"]).contains("nothing to do"));
    assert!(project.ends_well(&["--full"]).contains("814 records read, 814 unchanged"));
    assert!(project.ends_well(&["verify"]).contains("814 records compared"));
    assert!(project.ends_well(&["verify", "--deep"]).contains("814 records compared"));
    assert!(project.ends_well(&["status"]).contains("814 records"));
}

#[test]
fn an_edited_row_is_found_by_a_deep_look_and_mended() {
    let project = Project::new();
    project.ends_well(&[]);
    let edited = project.database.psql(
        "UPDATE aqe.qe_patterns SET name = 'edited' WHERE id = (SELECT min(id) FROM aqe.qe_patterns) RETURNING id",
    );
    let edited = edited.lines().next().expect("a row").to_owned();
    project.ends_well(&["verify"]);
    let (code, said) = project.run(&["verify", "--deep"]);
    assert!(code == 1 && said.contains(&edited), "{said}");
    project.ends_well(&["verify", "--deep", "--repair"]);
    project.ends_well(&["verify", "--deep"]);
    let left = project.database.psql("SELECT count(id) FROM aqe.qe_patterns WHERE name = 'edited'");
    assert_eq!(left.trim(), "0");
}

#[test]
fn rows_that_are_missing_or_too_many_are_named_and_mended() {
    let project = Project::new();
    project.ends_well(&[]);
    project.database.psql("DELETE FROM aqe.qe_patterns WHERE id = (SELECT min(id) FROM aqe.qe_patterns)");
    project.database.psql(
        "INSERT INTO aqe.qe_patterns (source_env, id, source, stream, content_hash, sync_version, synced_at) \
         SELECT source_env, 'one too many', source, stream, 42, 1, now() FROM aqe.qe_patterns LIMIT 1",
    );
    let (code, said) = project.run(&["verify"]);
    assert!(code == 1 && said.contains("one too many") && said.contains("1 missing"), "{said}");
    project.ends_well(&["verify", "--repair"]);
    project.ends_well(&["verify"]);
}

#[test]
fn a_dry_run_writes_nothing_with_a_hub_and_without() {
    let project = Project::new();
    assert!(project.ends_well(&["--dry-run"]).contains("814"));
    assert_eq!(project.schemas(), "0");
    project.ends_well(&["init"]);
    let rows = "SELECT (SELECT count(source_env) FROM aqe.events), (SELECT count(run_id) FROM aqe.sync_history)";
    let before = project.database.psql(rows);
    assert!(project.ends_well(&["--dry-run"]).contains("814"));
    assert_eq!(project.database.psql(rows), before);
    assert!(project.ends_well(&[]).contains("814 new"));
}

#[test]
fn what_init_prints_makes_the_hub_that_init_makes() {
    let (made, printed) = (Project::new(), Project::new());
    made.ends_well(&["init"]);
    assert!(made.ends_well(&["init"]).contains("nothing to do"));
    let output = printed.run_at(&printed.database.url(), &["init", "--print"]);
    assert_eq!(printed.schemas(), "0", "printing changes nothing");
    printed.database.psql(&String::from_utf8_lossy(&output.stdout));
    let columns = "SELECT string_agg(format('%s.%s %s', table_name, column_name, udt_name), ',' ORDER BY table_name, \
                   ordinal_position) FROM information_schema.columns WHERE table_schema = 'aqe'";
    assert_eq!(made.database.psql(columns), printed.database.psql(columns));
    assert!(printed.ends_well(&[]).contains("814 new"));
}

#[test]
fn environments_do_not_touch_each_other() {
    let project = Project::new();
    project.ends_well(&["--env", "one"]);
    let of_one =
        "SELECT count(id), bit_xor(content_hash), max(sync_version) FROM aqe.qe_patterns WHERE source_env = 'one'";
    let before = project.database.psql(of_one);
    assert!(project.ends_well(&["--env", "two"]).contains("814 new"));
    assert_eq!(project.database.psql(of_one), before);
}

#[test]
fn two_checkouts_under_one_name_are_told() {
    let (project, mut other) = (Project::new(), Project::new());
    other.database = Cluster::shared().database();
    let url = project.database.url();
    project.ends_well(&[]);
    let output = other.run_at(&url, &[]);
    assert!(said(&output).contains("takes over"), "{}", said(&output));
    // Something changed in the first one: now both have written.
    let database = rusqlite::Connection::open(project.folder.path().join("v3/.agentic-qe/memory.db")).expect("opened");
    database.execute("UPDATE qe_patterns SET description = 'changed'", []).expect("written");
    drop(database);
    let other_database =
        rusqlite::Connection::open(other.folder.path().join("v3/.agentic-qe/memory.db")).expect("opened");
    other_database.execute("UPDATE qe_patterns SET description = 'elsewhere'", []).expect("written");
    drop(other_database);
    other.run_at(&url, &[]);
    let (code, said) = project.run(&[]);
    assert!(code == 1 && said.contains("AQE_ENV"), "{code}: {said}");
}

#[test]
fn no_failure_shows_the_password() {
    let project = Project::new();
    let good = project.database.url();
    let (_, place) = good.split_once('@').expect("an address");
    for (url, code) in [
        (format!("postgres://postgres:hunter2@{place}_missing"), 2),
        ("postgres://postgres:hunter2@127.0.0.1:1/x".to_owned(), 2),
        (format!("postgres://postgres:hunter2@{place}?nonsense=hunter2"), 3),
    ] {
        for command in ["sync", "status", "verify", "doctor", "init"] {
            let output = project.run_at(&url, &[command]);
            let said = said(&output);
            assert!(!said.contains("hunter2"), "{command}: {said}");
            assert!(output.status.code() == Some(code) || command == "doctor", "{command} {url}: {said}");
            assert!(!output.status.success(), "{command}: {said}");
        }
    }
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let project = Project::new();
    project.ends_well(&["init"]);
    let said = project.ends_well(&["doctor"]);
    assert!(said.contains("all is well"), "{said}");
    let output = project.run_at("postgres://postgres@127.0.0.1:1/x", &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["status"], "critical");
    let checks = answer["checks"].as_array().expect("a list");
    assert!(checks.iter().any(|check| check["name"] == "connection" && check["advice"].is_string()), "{answer}");
}

#[test]
fn the_file_says_what_a_new_hub_is_like() {
    let project = Project::new();
    let settings = "[postgres]\nschema = \"other \\\"schema\"\nvectors = \"none\"\nconnections = 1\n";
    std::fs::write(project.folder.path().join("aqe-sync.toml"), settings).expect("written");
    assert!(project.ends_well(&[]).contains("814 new"));
    assert!(project.ends_well(&["verify", "--deep"]).contains("814 records compared"));
    assert_eq!(project.schemas(), "0");
    let kept = "SELECT value FROM \"other \"\"schema\".hub_info WHERE key = 'vector_flavour'";
    assert_eq!(project.database.psql(kept).trim(), "none");
    std::fs::write(project.folder.path().join("aqe-sync.toml"), "[postgres]\nvectors = \"most\"\n").expect("written");
    let (code, said) = project.run(&[]);
    assert!(code == 3 && said.contains("pgvector"), "{said}");
}

#[test]
fn the_hubs_history_says_what_the_report_says() {
    let project = Project::new();
    for arguments in [&["--json"][..], &["--json", "--full"]] {
        let report = json(&project.run_at(&project.database.url(), arguments));
        let run = report["run_id"].as_str().expect("an id");
        let kept = project.database.psql(&format!("SELECT totals FROM aqe.sync_history WHERE run_id = '{run}'"));
        let kept: serde_json::Value = serde_json::from_str(kept.trim()).expect("one row");
        assert_eq!(kept, report["totals"]);
        assert_eq!(kept["read"], 814);
    }
}

/// Runs one of PostgreSQL's programs, which has to end well.
fn with_program(cluster: &Cluster, name: &str, arguments: &[&str]) {
    let output = Command::new(cluster.binaries().program(name)).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{name} {arguments:?}: {}", said(&output));
}

#[test]
fn a_hub_that_was_restored_from_a_dump_is_filled_up_by_the_next_sync_and_by_nobody_twice() {
    let Some(cluster) = vectors::ruvector() else { return };
    let project = Project { folder: sample(), database: cluster.database() };
    project.ends_well(&[]);
    let backup = project.folder.path().join("backup.dump");
    let backup = backup.to_str().expect("text");
    with_program(
        cluster,
        "pg_dump",
        &["--format=custom", "--enable-row-security", "--file", backup, &project.database.url()],
    );
    // Learned after the backup.
    let source = project.folder.path().join(".swarm/memory.db");
    let db = rusqlite::Connection::open(source).expect("opened");
    db.execute_batch("DELETE FROM metadata; INSERT INTO metadata (key, value) VALUES ('after', 'the backup')")
        .expect("changed");
    assert!(project.ends_well(&[]).contains("1 new"));
    project.ends_well(&["verify", "--deep"]);

    // The hub is lost, and another one takes its place under the same name.
    project.database.psql("DROP SCHEMA aqe CASCADE; DROP EXTENSION ruvector CASCADE");
    with_program(
        cluster,
        "pg_restore",
        &["--exit-on-error", "--no-owner", "--dbname", &project.database.url(), backup],
    );
    assert_eq!(project.run(&["verify"]).0, 1, "the backup is older");
    assert!(project.ends_well(&[]).contains("1 new"));
    assert!(project.ends_well(&["verify", "--deep"]).contains("records compared"));
    assert!(project.ends_well(&[]).contains("nothing changed"));
    project.ends_well(&["doctor"]);
    let dimensions =
        "SELECT count(*) || ' ' || min(ruvector_dims(embedding)) FROM aqe.qe_patterns WHERE embedding IS NOT NULL";
    assert!(project.database.psql(dimensions).trim().ends_with(" 384"), "vectors came back as vectors");
}

#[test]
fn whoever_only_asks_may_ask_a_standby() {
    let primary = Cluster::builder().setting("wal_level", "replica").start();
    let project = Project { folder: sample(), database: primary.database() };
    project.ends_well(&[]);
    let standby = primary.standby();
    let url = standby.server().url(project.database.name());
    for arguments in
        [&["status"][..], &["report", "--json"], &["verify", "--deep"], &["history"], &["fleet", "conflicts"]]
    {
        let output = project.run_at(&url, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    }
    let nothing = project.run_at(&url, &["search", "flaky tests"]);
    assert!(nothing.status.code() == Some(1) && said(&nothing).contains("nothing was found"), "{}", said(&nothing));
    let refused = project.run_at(&url, &["--full"]);
    assert!(refused.status.code() == Some(2) && said(&refused).contains("standby"), "{}", said(&refused));
}
