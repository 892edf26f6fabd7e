//! Databases that somebody is writing to, or was writing to when it died.

use std::fs;

use aqe_sync_core::Status;
use rusqlite::Connection;

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB, assert_says, failure, stream, tree};

/// Two sources, synced once.
fn synced_pair() -> Project {
    let project = Project::with(V2, ROOT_DB);
    project.add(V3, V3_DB);
    project.sync();
    project
}

#[test]
fn a_file_locked_for_writing_is_said_to_be_locked_and_the_others_go_on() {
    let project = synced_pair();
    let before = project.dump();
    project.edit(V3_DB, "UPDATE qe_patterns SET usage_count = 77 WHERE id = 'pattern-0-cache'; PRAGMA wal_checkpoint");
    let writer = project.open(ROOT_DB);
    writer.execute_batch("BEGIN EXCLUSIVE; DELETE FROM memory_entries").expect("locked");
    let report = project.sync();
    let parts = ["reading .agentic-qe/memory.db", "locked for writing", "sync again", "stays in the hub"];
    assert_says(failure(&report, ROOT_DB), &parts);
    assert_eq!(stream(&report, V3_DB, "qe_patterns").counters.updated, 1);
    assert_eq!(project.dump()["memory_entries"], before["memory_entries"]);
    writer.execute_batch("ROLLBACK").expect("unlocked");
    let report = project.sync();
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 0));
}

#[test]
fn what_a_writer_has_not_committed_is_not_read() {
    let project = synced_pair();
    let before = project.dump();
    let writer = project.open(ROOT_DB);
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM memory_entries").expect("reserved");
    let report = project.sync();
    assert_eq!((report.status, report.totals.changed_anything()), (Status::Ok, false), "{report:#?}");
    assert_eq!(project.dump(), before);
    writer.execute_batch("COMMIT").expect("committed");
    assert_eq!(project.sync().totals.deleted, 70);
}

#[test]
fn committed_frames_of_a_wal_count_and_uncommitted_ones_do_not() {
    let project = synced_pair();
    let writer = project.open(V3_DB);
    writer
        .execute_batch("PRAGMA wal_autocheckpoint = 0; DELETE FROM kv_store WHERE key = 'aqe_version'")
        .expect("done");
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; DELETE FROM qe_patterns; DELETE FROM kv_store").expect("open");
    let report = project.sync();
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 1), "{report:#?}");
    assert_eq!(project.counts()["qe_patterns"], 40);
}

/// A database and its journal as a crash in the middle of a transaction leaves them.
fn crashed(project: &Project, at: &str) {
    let scratch = tempfile::tempdir().expect("a folder");
    let db = scratch.path().join("memory.db");
    fs::write(&db, project.read(at)).expect("written");
    let writer = Connection::open(&db).expect("opened");
    writer
        .execute_batch(
            "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE events SET payload = payload || ' ';
            UPDATE memory_entries SET value = '0', owner = 'nobody'; DELETE FROM patterns",
        )
        .expect("open transaction");
    let (main, journal) =
        (fs::read(&db).expect("read"), fs::read(scratch.path().join("memory.db-journal")).expect("there"));
    assert_ne!(main, project.read(at), "pages were spilled");
    assert_eq!(journal[..4], [0xd9, 0xd5, 0x05, 0xf9], "the journal is hot");
    project.write(at, &main);
    project.write(&format!("{at}-journal"), &journal);
}

#[test]
fn a_transaction_that_a_crash_left_half_done_is_undone_in_a_copy() {
    let project = synced_pair();
    let before = project.dump();
    crashed(&project, ROOT_DB);
    let report = project.sync();
    assert_eq!((report.status, report.totals.changed_anything()), (Status::Ok, false), "{report:#?}");
    assert_eq!(project.dump(), before);
    assert!(project.path(&format!("{ROOT_DB}-journal")).exists(), "the producer rolls back by itself");
}

#[test]
fn a_wal_beside_a_file_of_the_other_kind_leaves_no_trace_either() {
    let project = Project::of("agentic-qe-3.3.0-live");
    // sql.js writes the header of a rollback journal over the file and leaves the WAL.
    let mut main = project.read(V3_DB);
    main[18..20].copy_from_slice(&[1, 1]);
    project.write(V3_DB, &main);
    fs::remove_file(project.path(&format!("{V3_DB}-shm"))).expect("removed");
    let before = tree(&project.root());
    let report = project.sync();
    assert!(before == tree(&project.root()), "no file appears beside the source");
    assert_eq!(report.status, Status::Ok, "{report:#?}");
}
