//! The contract of the command line, by running the program.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::program::{self, folder, json, said, swarm_project, text};

fn program(root: &Path) -> Command {
    let mut command = program::program(root);
    command.arg("--root").arg(root);
    command
}

fn run(root: &Path, arguments: &[&str]) -> Output {
    program(root).args(arguments).output().expect("the program runs")
}

/// How many records [`swarm_project`] holds.
const RECORDS: u64 = 55;

#[test]
fn help_and_version_are_answers() {
    let root = folder();
    for arguments in [vec!["--help"], vec!["--version"], vec!["sync", "--help"], vec!["-h"]] {
        let output = run(root.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn wrong_usage_ends_with_3_and_says_why_on_standard_error() {
    let root = folder();
    for arguments in [
        vec!["--nonsense"],
        vec!["nonsense"],
        vec!["--bidirectional", "--append"],
        vec!["pull", "--since", "yesterday"],
        vec!["pull", "--tables", "nothing"],
        vec!["--full", "--append"],
        vec!["--full", "status"],
        vec!["--env", ""],
        vec!["--hub", "hub.db"],
        vec!["--hub", "postgres://host/db?nonsense=1"],
        vec!["--sources", "nowhere"],
        vec!["--sources", "a,,b"],
        vec!["--config", "nowhere.toml"],
    ] {
        let output = run(root.path(), &arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let output = program(root.path()).env("GCP_TUNNEL_PORT", "high").output().expect("runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("GCP_TUNNEL_PORT"));
}

#[test]
fn a_server_that_does_not_answer_is_told_plainly() {
    let output = run(folder().path(), &["status", "--hub", "postgres://user:hunter2@127.0.0.1:1/db"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nothing answers at 127.0.0.1 port 1"), "{}", said(&output));
}

#[test]
fn no_output_ever_holds_a_password() {
    let root = folder();
    let url = "postgres://user:hunter2@host/db?sslpassword=hunter2";
    for arguments in [
        vec!["config", "--hub", url],
        vec!["config", "--json", "--hub", url],
        vec!["--hub", url],
        vec!["status", "--json", "--hub", url],
        vec!["verify", "--hub", url],
        vec!["init", "--hub", url],
        vec![url],
        vec!["--hubb", url],
        vec!["--hubb=postgres://user:hunter2@host/db"],
        vec!["--hub", "postgre://user:hunter2@host"],
        vec!["--json=postgres://user:hunter2@host"],
        vec!["config", "--root", url],
        vec!["config", "--config", url],
        vec!["--sources", url],
        vec!["status", "--env", "x", url],
    ] {
        let output = program(root.path()).args(&arguments).env("PGPASSWORD", "hunter2").output().expect("runs");
        let said = said(&output);
        assert!(!said.contains("hunter2"), "{arguments:?}: {said}");
    }
    let output = program(root.path()).arg("config").env("AQE_HUB", url).env("PGPASSWORD", "hunter2").output();
    let said = said(&output.expect("runs"));
    assert!(!said.contains("hunter2") && said.contains("postgres://user:********@host/db"), "{said}");
    assert!(said.contains("variable PGPASSWORD"), "{said}");
}

#[test]
fn config_shows_each_value_and_where_it_comes_from() {
    let root = folder();
    std::fs::write(root.path().join("aqe-sync.toml"), "\n[gcp]\nzone = \"here\"\n").expect("written");
    let mut command = program(root.path());
    command.env("AQE_ENV", "laptop").env("GCP_USER", "").args(["config", "--json", "--hub", "sqlite:x.db"]);
    let configuration = json(&command.output().expect("runs"));
    let setting = |key: &str| {
        let settings = configuration["settings"].as_array().expect("a list");
        let found = settings.iter().find(|setting| setting["key"] == key).expect(key);
        (found["value"].clone(), found["origin"].as_str().expect("text").to_owned())
    };
    assert_eq!(setting("env"), ("laptop".into(), "variable AQE_ENV".into()));
    assert_eq!(setting("hub"), ("sqlite:x.db".into(), "flag --hub".into()));
    assert_eq!(setting("batch.rows"), ("5000".into(), "default".into()));
    assert_eq!(setting("gcp.user"), (Value::Null, "not set".into()));
    let (zone, origin) = setting("gcp.zone");
    assert_eq!(zone, "here");
    assert_eq!(origin, "aqe-sync.toml, line 3");
}

#[test]
fn a_project_without_agent_memory_is_no_fault() {
    let root = folder();
    let output = run(root.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json(&output)["status"], "ok");
    assert_eq!(json(&output)["streams"], Value::Array(Vec::new()));
    let output = run(root.path(), &[]);
    assert!(text(&output.stderr).contains(".agentic-qe/memory.db"));
    assert!(!root.path().join(".aqe-sync").exists());
}

#[test]
fn status_before_the_first_sync_says_how_to_begin() {
    let root = folder();
    let output = run(root.path(), &["status"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("run aqe-sync"));
    assert_eq!(json(&run(root.path(), &["status", "--json"]))["status"], "ok");
    assert!(!root.path().join(".aqe-sync").exists());
}

#[test]
fn verify_without_a_hub_fails_with_an_object() {
    let output = run(folder().path(), &["verify", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(json(&output)["status"], "failed");
}

#[test]
fn init_prepares_once_and_its_file_is_valid_also_uncommented() {
    let root = folder();
    let output = run(root.path(), &["init"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for name in [".aqe-sync/hub.db", ".aqe-sync/.gitignore", "aqe-sync.toml"] {
        assert!(root.path().join(name).exists(), "{name}");
    }
    assert!(text(&run(root.path(), &["init"]).stdout).starts_with("nothing to do"));
    let file = root.path().join("aqe-sync.toml");
    let commented = std::fs::read_to_string(&file).expect("readable");
    let lines =
        commented.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).expect("written");
    let output = run(root.path(), &["config"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(text(&output.stdout).contains("first_of(higher_confidence, newer_wins)"));
}

#[test]
fn a_sync_again_changes_nothing_and_says_so() {
    let root = swarm_project();
    let first = run(root.path(), &["--json", "--env", "laptop"]);
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let report = json(&first);
    assert_eq!(report["environment"], "laptop");
    assert_eq!(report["totals"]["inserted"], RECORDS);
    assert!(report.get("dry_run").is_none());
    let second = json(&run(root.path(), &["sync", "--full", "--json", "--env", "laptop"]));
    assert_eq!((&second["totals"]["read"], &second["totals"]["unchanged"]), (&RECORDS.into(), &RECORDS.into()));
}

#[test]
fn a_dry_run_counts_the_same_and_leaves_no_trace() {
    let root = swarm_project();
    let output = run(root.path(), &["--dry-run", "--json"]);
    let report = json(&output);
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["totals"]["inserted"], RECORDS);
    assert!(!root.path().join(".aqe-sync").exists());
    let said = text(&run(root.path(), &["--dry-run"]).stdout);
    assert!(said.starts_with("dry run: nothing was written\n"), "{said}");
}

#[test]
fn silence_is_silent_and_plain_output_has_no_colours() {
    let root = swarm_project();
    let output = run(root.path(), &["-q"]);
    assert_eq!(said(&output), "");
    let output = run(root.path(), &["sync", "--full", "-v"]);
    let said = said(&output);
    assert!(!said.contains('\u{1b}'), "{said}");
    assert!(text(&output.stderr).contains("45 records read"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let root = swarm_project();
    let mut child =
        program(root.path()).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(!text(&output.stderr).contains("panicked"));
}

#[test]
fn a_project_that_cannot_be_written_to_fails_with_a_whole_report() {
    let root = swarm_project();
    std::fs::write(root.path().join(".aqe-sync"), "a file where the folder should be").expect("written");
    let output = run(root.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(json(&output)["status"], "failed");
    assert!(json(&output)["error"].as_str().expect("said").contains(".aqe-sync"));
}

#[test]
fn what_was_left_out_is_in_the_report_of_programs_too() {
    let root = swarm_project();
    let memory = root.path().join(".swarm/memory.db");
    std::fs::create_dir_all(root.path().join("a/.swarm")).expect("created");
    std::fs::create_dir_all(root.path().join(".claude")).expect("created");
    std::fs::copy(&memory, root.path().join(".claude/memory.db")).expect("copied");
    std::fs::hard_link(&memory, root.path().join("a/.swarm/memory.db")).expect("linked");
    for arguments in [["--json", "--dry-run"].as_slice(), &["--json"], &["--json"]] {
        let report = json(&run(root.path(), arguments));
        let skipped = report["skipped"].as_array().expect("a list");
        let sources: Vec<&str> = skipped.iter().filter_map(|left| left["source"].as_str()).collect();
        assert_eq!(sources, [".claude/memory.db", "a/.swarm/memory.db"], "{report}");
        assert!(skipped.iter().all(|left| left["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    }
    let report = json(&run(root.path(), &["--json", "--full"]));
    assert_eq!(report["totals"]["read"], RECORDS, "each is counted once");
    let project = swarm_project();
    assert_eq!(json(&run(project.path(), &["--json"]))["skipped"], Value::Array(Vec::new()));
}
