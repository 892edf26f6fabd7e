//! Pulls, the fleet's commands and conflicts, over both hubs.

use std::path::Path;

use aqe_sync_workspace::postgres::{Cluster, Database};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{folder, run, said, sample};

const MEMORY: &str = "v3/.agentic-qe/memory.db";
const PATTERN: &str = "pattern-1-users";

/// Projects of several environments over one hub.
struct Fleet {
    hub: String,
    _folder: TempDir,
    _database: Option<Database>,
}

impl Fleet {
    fn each() -> [Self; 2] {
        let (here, there) = (folder(), folder());
        let database = Cluster::shared().database();
        let local = format!("sqlite:{}", here.path().join("hub.db").display());
        let server = database.url();
        [
            Self { hub: local, _folder: here, _database: None },
            Self { hub: server, _folder: there, _database: Some(database) },
        ]
    }

    fn run(&self, root: &Path, environment: &str, arguments: &[&str]) -> (i32, String, Value) {
        let output = run(root, &[arguments, &["--hub", &self.hub, "--env", environment, "--json"]].concat());
        let code = output.status.code().expect("it ends by itself");
        // Wrong usage has no object.
        (code, said(&output), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    fn ends_well(&self, root: &Path, environment: &str, arguments: &[&str]) -> Value {
        let (code, said, json) = self.run(root, environment, arguments);
        assert_eq!(code, 0, "{arguments:?} at {}: {said}", self.hub);
        json
    }
}

fn edit(root: &Path, sql: &str) {
    Connection::open(root.join(MEMORY)).and_then(|db| db.execute_batch(sql)).expect("edited");
}

fn described(root: &Path) -> String {
    let db = Connection::open(root.join(MEMORY)).expect("opened");
    db.query_row("SELECT description FROM qe_patterns WHERE id = ?1", [PATTERN], |row| row.get(0)).expect("a pattern")
}

fn describe(root: &Path, text: &str, confidence: f64) {
    edit(
        root,
        &format!("UPDATE qe_patterns SET description = '{text}', confidence = {confidence} WHERE id = '{PATTERN}'"),
    );
}

#[test]
fn what_one_learned_is_pulled_by_the_other_and_taken_back_when_it_is_excluded() {
    for fleet in Fleet::each() {
        let (one, two) = (sample(), sample());
        let (one, two) = (one.path(), two.path());
        let before = described(two);
        describe(one, "learned by one", 0.97);
        fleet.ends_well(one, "one", &[]);
        fleet.ends_well(two, "two", &[]);
        let dry = fleet.ends_well(two, "two", &["pull", "--dry-run"]);
        assert_eq!(
            (&dry["dry_run"], &dry["totals"]["inserted"]),
            (&true.into(), &0.into()),
            "audit rows are no memory: {dry}"
        );
        assert!(dry["totals"]["updated"].as_u64() > Some(0), "{dry}");
        assert_eq!(described(two), before);
        fleet.ends_well(two, "two", &["--bidirectional"]);
        assert_eq!(described(two), "learned by one");
        let again = fleet.ends_well(two, "two", &["pull"]);
        assert_eq!(again["totals"]["updated"], 0);
        fleet.ends_well(two, "two", &["verify", "--deep"]);

        let shown = fleet.ends_well(one, "one", &["fleet", "show", PATTERN]);
        let record = &shown["records"][0];
        assert_eq!((&record["winner"], &record["environments"]), (&"one".into(), &2.into()), "{shown}");
        let conflicts = fleet.ends_well(one, "one", &["fleet", "conflicts", "--table", "qe_patterns"]);
        assert_eq!(conflicts["conflicts"][0]["differing"], serde_json::json!(["two"]), "{conflicts}");

        let excluded = fleet.ends_well(two, "two", &["fleet", "exclude", "one"]);
        assert_eq!(excluded["changed"], true);
        fleet.ends_well(two, "two", &["pull"]);
        assert_eq!(described(two), before, "its influence is gone");
        fleet.ends_well(two, "two", &["fleet", "include", "one"]);
        fleet.ends_well(two, "two", &["pull"]);
        assert_eq!(described(two), "learned by one");
    }
}

#[test]
fn a_version_that_lost_is_put_in_force_and_stays() {
    for fleet in Fleet::each() {
        let (here, copy) = (sample(), sample());
        let (here, copy) = (here.path(), copy.path());
        fleet.ends_well(here, "one", &[]);
        describe(copy, "by the copy", 0.9);
        fleet.ends_well(copy, "one", &["--full"]);
        describe(here, "here", 0.5);
        fleet.run(here, "one", &[]);

        let listed = fleet.ends_well(here, "one", &["conflicts", "--table", "qe_patterns", "--from", "one"]);
        let entry = &listed["conflicts"][0];
        assert_eq!((&entry["key"], &entry["rule"]), (&PATTERN.into(), &"higher_confidence".into()), "{listed}");
        let id = entry["id"].as_str().expect("an id");
        let shown = fleet.ends_well(here, "one", &["conflicts", "show", id]);
        assert_eq!(shown["incoming"]["columns"]["description"], "here", "{shown}");
        assert_eq!(shown["existing"]["columns"]["description"], "by the copy");

        let reverted = fleet.ends_well(here, "one", &["conflicts", "revert", id]);
        assert_eq!(
            (&reverted["changed"], &reverted["in_force"]["columns"]["description"]),
            (&true.into(), &"here".into())
        );
        assert_eq!(fleet.ends_well(here, "one", &["conflicts", "revert", id])["changed"], false, "a second time");
        let listed = fleet.ends_well(here, "one", &["conflicts", "--since", "1h"]);
        let (newest, total) = (&listed["conflicts"][0], &listed["total"]);
        assert_eq!((&newest["rule"], &newest["key"]), (&format!("reverted {id}").into(), &PATTERN.into()), "{listed}");
        let all = listed["conflicts"].as_array().expect("a list");
        assert!(all.iter().any(|one| one["id"] == *id && one["reverted_by"] == newest["id"]), "{listed}");
        // And back: now the hub's row is what no file here says.
        let back = newest["id"].as_str().expect("an id");
        fleet.ends_well(here, "one", &["conflicts", "revert", back]);
        for mode in [&["--full"][..], &[], &["verify"], &["verify", "--deep"], &["--full"]] {
            fleet.run(here, "one", mode);
            let shown = fleet.ends_well(here, "two", &["fleet", "show", PATTERN]);
            assert_eq!(
                shown["records"][0]["record"]["columns"]["description"], "by the copy",
                "{mode:?} {}",
                fleet.hub
            );
        }
        assert_eq!(fleet.ends_well(here, "one", &["verify", "--deep"])["status"], "match");
        assert_eq!(
            fleet.ends_well(here, "one", &["conflicts"])["total"].as_u64(),
            total.as_u64().map(|total| total + 1)
        );
        assert_eq!(described(here), "here", "the file is left alone");
    }
}

#[test]
fn what_cannot_be_reverted_is_refused() {
    for fleet in Fleet::each() {
        let project = sample();
        let here = project.path();
        let (code, said, _) = fleet.run(here, "one", &["conflicts"]);
        assert!(code == 2 && said.contains("there is no hub"), "{said}");
        fleet.ends_well(here, "one", &[]);
        for id in ["1", "nonsense", "00000000-0000-0000-0000-000000000000", "'; DROP TABLE x"] {
            let (code, said, _) = fleet.run(here, "one", &["conflicts", "revert", id]);
            assert!(code == 2 && said.contains("has no conflict"), "{said}");
        }
        assert_eq!(fleet.ends_well(here, "one", &["conflicts"])["total"], 0);
        let (code, said, _) = fleet.run(here, "one", &["conflicts", "--table", "nonsense"]);
        assert!(code == 3 && said.contains("there is no hub table"), "{said}");
    }
}
