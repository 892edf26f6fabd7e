//! A record that cannot be stored, until it is corrected at its source.

use std::path::Path;
use std::process::Output;

use rusqlite::Connection;

use crate::program::{HUB, run, swarm_project, text};

const SOURCE: &str = ".swarm/memory.db";
const BAD: &str = "INSERT INTO patterns (id, name, pattern_type, condition, action) \
                   VALUES ('nul' || char(0), 'n', 'code-pattern', 'c', 'a')";

fn ends_with(code: i32, output: &Output) {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
}

fn edit(root: &Path, file: &str, sql: &str) {
    Connection::open(root.join(file)).and_then(|db| db.execute_batch(sql)).expect("edited");
}

fn count(root: &Path, sql: &str) -> u64 {
    Connection::open(root.join(HUB)).and_then(|db| db.query_row(sql, [], |row| row.get(0))).expect("counted")
}

#[test]
fn a_letter_is_settled_when_its_record_is_corrected_and_open_again_when_it_comes_back() {
    let root = swarm_project();
    let root = root.path();
    edit(root, SOURCE, BAD);
    ends_with(1, &run(root, &[]));
    ends_with(1, &run(root, &["status"]));
    ends_with(1, &run(root, &["--full"]));
    assert_eq!(count(root, "SELECT count(*) FROM dead_letters WHERE settled_at IS NULL"), 1, "met again, kept once");
    edit(root, SOURCE, "UPDATE patterns SET id = 'whole' WHERE name = 'n'");
    ends_with(0, &run(root, &[]));
    ends_with(0, &run(root, &["status"]));
    assert_eq!(count(root, "SELECT count(*) FROM dead_letters WHERE settled_at IS NOT NULL"), 1, "kept");
    edit(root, SOURCE, BAD);
    ends_with(1, &run(root, &[]));
    ends_with(1, &run(root, &["status"]));
    assert_eq!(count(root, "SELECT count(*) FROM dead_letters WHERE settled_at IS NULL"), 1);
}

#[test]
fn a_hub_from_before_letters_were_settled_is_upgraded_with_its_letters() {
    let root = swarm_project();
    let root = root.path();
    std::fs::create_dir(root.join(".aqe-sync")).expect("created");
    edit(root, HUB, include_str!("../../../aqe-readers/src/hub/migrations/0001_bookkeeping.sql"));
    edit(
        root,
        HUB,
        "INSERT INTO hub_info VALUES ('hub_id', 'a');
         INSERT INTO dead_letters VALUES ('l', 'laptop', '.swarm/memory.db', 'memory_entries', 'claude_flow_memory',
           'k', 'r', '{}', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
         PRAGMA application_id = 0x61716568; PRAGMA user_version = 1",
    );
    ends_with(1, &run(root, &["status"]));
    assert_eq!(count(root, "SELECT user_version FROM pragma_user_version"), 7);
    ends_with(0, &run(root, &[]));
    ends_with(0, &run(root, &["status"]));
    assert_eq!(count(root, "SELECT count(*) FROM dead_letters WHERE settled_at IS NOT NULL"), 1);
}
