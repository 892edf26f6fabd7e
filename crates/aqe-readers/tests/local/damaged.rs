//! Files that are no whole database: a plain error, and nothing in their place.

use std::fs;

use aqe_sync_core::Status;

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB, assert_says, failure, stream};

/// A project that was synced when all was well, where only 3.x' file can still change.
fn pair() -> Project {
    let project = Project::with(V2, ROOT_DB);
    project.add(V3, V3_DB);
    assert_eq!(project.sync().status, Status::Ok);
    project.edit(V3_DB, "UPDATE qe_patterns SET usage_count = 78 WHERE id = 'pattern-0-cache'; PRAGMA wal_checkpoint");
    project
}

/// Syncs what was made of the root's file: an error that names it, the other
/// source synced, nothing of it deleted.
fn assert_refused(project: &Project, case: &str, says: &[&str]) {
    let hub = |project: &Project| {
        let tables = ["memory_entries", "patterns", "events", "learning_experiences"];
        tables.map(|table| project.rows(&format!("SELECT * FROM {table} WHERE source = '{ROOT_DB}'")))
    };
    let before = hub(project);
    let report = project.sync();
    let message = failure(&report, ROOT_DB);
    assert_says(message, &["reading .agentic-qe/memory.db", "stays in the hub"]);
    assert_says(message, says);
    assert_eq!((report.totals.deleted, report.totals.dead_lettered), (0, 0), "{case}");
    assert_eq!(stream(&report, V3_DB, "qe_patterns").status, Status::Ok, "{case}");
    assert_eq!(project.count("SELECT usage_count FROM qe_patterns WHERE id = 'pattern-0-cache'"), 78, "{case}");
    assert!(hub(project) == before, "{case}");
}

#[test]
fn a_file_cut_off_at_any_size_is_refused() {
    let project = pair();
    let whole = project.read(ROOT_DB);
    for size in [1, 99, 100, 4095, 4096, 100_000, whole.len() - 4096, whole.len() - 1] {
        project.write(ROOT_DB, &whole[..size]);
        assert_refused(&project, &format!("{size} bytes"), &["half-written, or is damaged"]);
    }
    project.write(ROOT_DB, &whole);
    let report = project.sync();
    assert_eq!((report.status, report.totals.changed_anything()), (Status::Ok, false), "whole again");
}

#[test]
fn an_empty_file_is_not_taken_for_an_empty_database() {
    let project = pair();
    project.write(ROOT_DB, b"");
    assert_refused(&project, "empty", &["the file is empty (0 bytes)", "next sync tries again"]);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let project = pair();
    project.write(ROOT_DB, &b"not a database at all, ".repeat(400));
    assert_refused(&project, "garbage", &["not a SQLite database"]);
}

#[test]
fn an_encrypted_file_is_said_to_be_encrypted() {
    let project = pair();
    project.write(ROOT_DB, &[b"RFE1".as_slice(), &[7; 4096]].concat());
    let report = project.sync();
    let parts = ["reading .agentic-qe/memory.db", "encrypted by claude-flow", "CLAUDE_FLOW_ENCRYPT_AT_REST", "exclude"];
    assert_says(failure(&report, ROOT_DB), &parts);
    assert_eq!((report.status, report.totals.deleted), (Status::Partial, 0));
}

#[test]
fn garbage_inside_pages_is_refused_or_changes_nothing() {
    let project = pair();
    let whole = project.read(ROOT_DB);
    let pages = whole.len() / 4096;
    for page in (1..pages).step_by(9) {
        let mut bytes = whole.clone();
        // The page's header and cell pointers.
        bytes[page * 4096..page * 4096 + 64].copy_from_slice(&[0xa5; 64]);
        project.write(ROOT_DB, &bytes);
        let before = project.dump();
        let report = project.sync();
        let failed = report.streams.iter().any(|s| s.source.as_str() == ROOT_DB && s.status == Status::Failed);
        if failed {
            assert_says(failure(&report, ROOT_DB), &["reading .agentic-qe/memory.db", "damaged"]);
        } else {
            // An overflow page or a free one: a row may read differently, none goes away.
            assert_eq!(report.totals.deleted, 0, "page {page}");
        }
        assert_eq!(project.dump()["events"].len(), before["events"].len(), "page {page}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_file_is_said_to_be_one() {
    let project = pair();
    fs::remove_file(project.path(ROOT_DB)).expect("removed");
    fs::create_dir(project.path(ROOT_DB)).expect("created");
    let report = project.sync();
    let message = failure(&report, ROOT_DB);
    assert_says(
        message,
        &["reading .agentic-qe/memory.db", "directory where a file should be", "move the directory away"],
    );
    assert_eq!(report.totals.deleted, 0);
}

#[cfg(unix)]
#[test]
fn a_file_without_read_permission_is_said_to_lack_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = pair();
    let path = project.path(ROOT_DB);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("set");
    if fs::File::open(&path).is_ok() {
        // Nobody can lock root out.
        return;
    }
    let report = project.sync();
    assert_says(failure(&report, ROOT_DB), &["no permission to read it", "grant read permission"]);
    assert_eq!(report.totals.deleted, 0);
}

#[test]
fn rows_that_break_their_own_constraints_are_no_damage() {
    let project = Project::empty();
    project.edit(
        ROOT_DB,
        "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, confidence REAL CHECK (confidence <= 1));
         PRAGMA ignore_check_constraints = 1; INSERT INTO patterns VALUES ('p', 'x', 1.5);
         CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT); INSERT INTO notes VALUES ('n', NULL);
         PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL)'
         WHERE name = 'notes'",
    );
    let report = project.sync();
    assert_eq!((report.status, report.totals.inserted), (Status::Ok, 2), "{report:#?}");
}
