//! The program on whole projects: what it says, counts and refuses.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use crate::program::{HUB, copy_of, json, program, run, said, sample, text};

/// How many records the sample project holds.
const RECORDS: u64 = 814;

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_sample_arrives_whole_and_a_second_run_reads_nothing() {
    let root = sample();
    let output = run(root.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = json(&output);
    assert_eq!((&report["totals"]["read"], &report["totals"]["inserted"]), (&RECORDS.into(), &RECORDS.into()));
    let second = json(&run(root.path(), &["--json"]));
    let streams = second["streams"].as_array().expect("a list");
    assert!(!streams.is_empty() && streams.iter().all(|stream| stream["skipped_unchanged"] == true), "{second}");
    let full = json(&run(root.path(), &["--full", "--json"]));
    assert_eq!((&full["mode"], &full["totals"]["unchanged"]), (&"full".into(), &RECORDS.into()));
}

#[test]
fn the_report_has_the_shape_that_was_promised() {
    let root = sample();
    let report = json(&run(root.path(), &["--json"]));
    let counters = ["read", "inserted", "updated", "unchanged", "merged", "superseded", "deleted", "dead_lettered"];
    let all = counters.iter().chain(&["conflicts"]);
    for key in ["run_id", "environment", "mode", "hub", "status", "started_at"] {
        assert!(report[key].is_string(), "{key}");
    }
    assert!(report["duration_ms"].is_u64() && report["skipped"].is_array() && report["notes"].is_array());
    assert!(all.clone().all(|key| report["totals"][key].is_u64()));
    for stream in report["streams"].as_array().expect("a list") {
        assert!(["source", "stream", "table", "status"].iter().all(|key| stream[key].is_string()), "{stream}");
        assert!(all.clone().chain(&["duration_ms"]).all(|key| stream[key].is_u64()), "{stream}");
        assert!(stream["skipped_unchanged"].is_boolean() && stream.get("error") == Some(&Value::Null), "{stream}");
    }
}

#[test]
fn a_plan_names_the_rules_where_two_sources_meet_and_creates_nothing() {
    let root = copy_of("tests/fixtures/claude-flow-3.0.0-to-3.1.0-migrated");
    let before = files(root.path());
    let output = run(root.path(), &["--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("decided by"), "{}", said(&output));
    let report = json(&run(root.path(), &["--dry-run", "--json"]));
    let rules = report["streams"].as_array().expect("a list").iter().filter_map(|stream| stream["rules"].as_object());
    let decided: u64 = rules.flat_map(|rules| rules.values()).filter_map(Value::as_u64).sum();
    assert_eq!(decided, 12, "{report}");
    assert_eq!(files(root.path()), before);
}

#[test]
fn verify_names_what_differs_until_a_full_sync_puts_it_right() {
    let root = sample();
    run(root.path(), &["-q"]);
    let matching = run(root.path(), &["verify", "--json"]);
    assert_eq!((matching.status.code(), &json(&matching)["status"]), (Some(0), &"match".into()));
    let hub = Connection::open(root.path().join(HUB)).expect("opened");
    let key = |order: &str| -> String {
        let sql = format!("SELECT id FROM patterns WHERE deleted_at IS NULL ORDER BY id {order} LIMIT 1");
        hub.query_row(&sql, [], |row| row.get(0)).expect("a row")
    };
    let (edited, deleted) = (key("ASC"), key("DESC"));
    hub.execute("UPDATE patterns SET pattern = 'edited' WHERE id = ?1", [&edited]).expect("edited");
    hub.execute("DELETE FROM patterns WHERE id = ?1", [&deleted]).expect("deleted");
    let output = run(root.path(), &["verify", "--json"]);
    assert_eq!((output.status.code(), &json(&output)["status"]), (Some(1), &"differ".into()));
    assert!(!said(&output).contains(&edited) && said(&output).contains(&deleted), "{}", said(&output));
    let output = run(root.path(), &["verify", "--deep", "--json"]);
    assert_eq!((output.status.code(), &json(&output)["status"]), (Some(1), &"differ".into()));
    assert!(said(&output).contains(&edited) && said(&output).contains(&deleted), "{}", said(&output));
    assert_eq!(run(root.path(), &["--full"]).status.code(), Some(0));
    assert_eq!(run(root.path(), &["verify", "--deep"]).status.code(), Some(0));
}

#[test]
fn a_repair_sends_what_differs_and_tells_both_comparisons() {
    let root = sample();
    run(root.path(), &["-q"]);
    let hub = Connection::open(root.path().join(HUB)).expect("opened");
    let versions = || -> Vec<(String, i64)> {
        let mut statement = hub.prepare("SELECT id, sync_version FROM patterns ORDER BY id").expect("prepared");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("read");
        rows.collect::<Result<_, _>>().expect("read")
    };
    let before = versions();
    let (edited, deleted) = (&before[0].0, &before[1].0);
    hub.execute("UPDATE patterns SET pattern = 'edited' WHERE id = ?1", [edited]).expect("edited");
    hub.execute("DELETE FROM patterns WHERE id = ?1", [deleted]).expect("deleted");

    let output = run(root.path(), &["verify", "--repair", "--json"]);
    let report = json(&output);
    assert_eq!((output.status.code(), &report["status"]), (Some(0), &"match".into()), "{}", said(&output));
    assert_eq!((&report["before"]["status"], &report["run"]["totals"]["inserted"]), (&"differ".into(), &1.into()));
    let repaired: u64 =
        report["streams"].as_array().expect("a list").iter().filter_map(|s| s["repaired"].as_u64()).sum();
    assert_eq!(repaired, 1);

    let output = run(root.path(), &["verify", "--deep", "--repair"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let expected =
        format!("1 difference repaired; the hub now holds what the sources hold: {RECORDS} records compared");
    assert!(said(&output).contains(&expected) && said(&output).contains(edited), "{}", said(&output));
    let after = versions();
    assert_eq!(after[2..], before[2..], "rows that were the same were not written");
    assert!(after[..2] != before[..2]);

    let output = run(root.path(), &["verify", "--deep", "--repair", "--json"]);
    assert_eq!((output.status.code(), &json(&output)["run"]), (Some(0), &Value::Null));
    assert_eq!(json(&run(root.path(), &["--json"]))["totals"]["updated"], 0);
}

#[test]
fn a_repair_that_would_delete_most_of_a_stream_says_how_to_allow_it() {
    let root = sample();
    run(root.path(), &["-q"]);
    let hub = Connection::open(root.path().join(HUB)).expect("opened");
    let columns = "source_env, source, stream, sync_version, synced_at";
    let sql = format!(
        "INSERT INTO patterns (id, content_hash, {columns}) WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < 900) SELECT 'x' || i, content_hash + i, {columns} FROM n, (SELECT * FROM patterns LIMIT 1)"
    );
    hub.execute(&sql, []).expect("added");
    let output = run(root.path(), &["verify", "--repair"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--allow-mass-delete"), "{}", said(&output));
    let output = run(root.path(), &["verify", "--repair", "--allow-mass-delete"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_broken_source_is_named_and_the_others_arrive() {
    let root = sample();
    let broken = ".swarm/memory.db";
    std::fs::write(root.path().join(broken), "this is no database\n".repeat(500)).expect("written");
    let output = run(root.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report = json(&output);
    let failed: Vec<&Value> =
        report["streams"].as_array().expect("a list").iter().filter(|stream| stream["status"] == "failed").collect();
    assert!(!failed.is_empty() && failed.iter().all(|stream| stream["source"] == broken), "{report}");
    assert_eq!(report["totals"]["inserted"], RECORDS - 55);
    assert!(text(&output.stderr).contains(broken));
}

#[test]
fn another_database_is_refused_as_a_hub_and_stays_as_it_is() {
    let root = sample();
    let other = root.path().join("other.db");
    Connection::open(&other).and_then(|db| db.execute_batch("CREATE TABLE mine (x)")).expect("made");
    let before = std::fs::read(&other).expect("read");
    for command in ["sync", "status", "verify", "init"] {
        let output = run(root.path(), &[command, "--hub", "sqlite:other.db"]);
        assert_eq!(output.status.code(), Some(2), "{command}: {}", said(&output));
        assert!(std::fs::read(&other).expect("read") == before, "{command}");
    }
}

#[test]
fn no_command_repeats_a_secret_of_the_environment() {
    let root = sample();
    for command in ["sync", "status", "verify", "config", "init"] {
        for format in [["-v"].as_slice(), &["--json"]] {
            for hub in ["postgres://u:hunter2@h/d", "sqlite:hub.db"] {
                let mut program = program(root.path());
                program
                    .env("AQE_ENV", "laptop")
                    .env("AQE_HUB", hub)
                    .env("PGPASSWORD", "hunter2")
                    .arg(command)
                    .args(format);
                let output = program.output().expect("runs");
                assert!(!said(&output).contains("hunter2"), "{command} {format:?}");
            }
        }
    }
}

#[test]
fn the_project_is_found_from_a_folder_below_and_sources_can_be_chosen() {
    let root = sample();
    let below = root.path().join(".swarm");
    let output = program(&below).env("AQE_ENV", "laptop").args(["--json", "--sources", ".swarm"]).output();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(json(&output)["totals"]["inserted"], 55);
    assert!(root.path().join(HUB).exists());
    assert_eq!(json(&run(root.path(), &["--append", "--json"]))["totals"]["inserted"], RECORDS - 55);
}
