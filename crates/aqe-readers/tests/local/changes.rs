//! What changes in a source changes in the hub, and nothing else.

use aqe_sync_core::{Counters, Mode, Report, Status};
use rusqlite::types::Value;

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB, V3_RUVECTOR, assert_says, stream, text};

const PATTERN: &str = "7289a38d-302a-41da-90c5-d1326f1027b8";

fn synced(file: &str, at: &str) -> Project {
    let project = Project::with(file, at);
    assert_eq!(project.sync().status, Status::Ok);
    project
}

/// What a run changed, all streams together.
fn changed(report: &Report) -> Counters {
    assert_eq!(report.status, Status::Ok, "{report:#?}");
    Counters { read: 0, unchanged: 0, ..report.totals }
}

#[test]
fn an_insert_an_update_and_a_delete_are_exactly_that() {
    let project = synced(V2, ROOT_DB);
    let before = project.dump();
    project.edit(
        ROOT_DB,
        "INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('new', 'fresh', 0.5, 1795356056256);
         UPDATE patterns SET confidence = 0.75 WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8';
         DELETE FROM memory_entries WHERE key = 'k22' AND partition = 'aqe/test'",
    );
    let report = project.sync();
    assert_eq!(changed(&report), Counters { inserted: 1, updated: 1, deleted: 1, ..Counters::default() });
    assert_eq!(project.text("SELECT pattern FROM patterns WHERE id = 'new'"), "fresh");
    assert_eq!(project.value(&format!("SELECT confidence FROM patterns WHERE id = '{PATTERN}'")), Value::Real(0.75));
    let gone = "SELECT count(*) FROM memory_entries WHERE deleted_at IS NOT NULL";
    assert_eq!(project.count(gone), 1);
    let after = project.dump();
    let differing = |table: &str| after[table].iter().filter(|row| !before[table].contains(row)).count();
    assert_eq!((differing("patterns"), differing("memory_entries"), differing("events")), (2, 1, 0));
}

#[test]
fn a_row_that_comes_back_lives_again() {
    let project = synced(V2, ROOT_DB);
    project.edit(
        ROOT_DB,
        "CREATE TABLE aside AS SELECT * FROM patterns WHERE pattern = 'run-security-scan:default';
         DELETE FROM patterns WHERE pattern = 'run-security-scan:default'",
    );
    project.sync();
    assert_eq!(project.counts()["patterns"], 19);
    project.edit(ROOT_DB, "INSERT INTO patterns SELECT * FROM aside");
    let report = project.sync();
    assert_eq!(stream(&report, ROOT_DB, "patterns").counters.inserted, 1);
    assert_eq!(project.counts()["patterns"], 20);
}

#[test]
fn a_table_that_is_emptied_trips_the_brake_until_it_is_allowed() {
    let project = Project::of("agentic-qe-3.3.0-live");
    project.sync();
    project.edit(V3_DB, "DELETE FROM kv_store");
    let report = project.sync();
    assert_eq!((report.status, report.totals.deleted), (Status::Partial, 0));
    let message = stream(&report, V3_DB, "kv_store").error.as_deref().expect("said");
    assert_says(message, &[V3_DB, "kv_store", "123", "--allow-mass-delete"]);
    assert_eq!(project.counts()["memory_entries"], 123);
    assert_eq!(project.sync().status, Status::Partial, "said again until somebody decides");
    let report = project.sync_with(|mut options| {
        options.allow_mass_delete = true;
        options
    });
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 123));
}

#[test]
fn the_rows_of_a_table_that_is_dropped_stay() {
    let project = Project::of("agentic-qe-3.3.0-live");
    project.sync();
    project.edit(V3_DB, "DROP TABLE kv_store");
    let report = project.sync();
    assert_eq!(report.totals.deleted, 0);
    assert_eq!(project.counts()["memory_entries"], 123);
    assert!(report.notes.iter().any(|note| note.contains("kv_store is not there any more")), "{:?}", report.notes);
}

#[test]
fn actions_that_a_new_database_gives_new_ids_are_the_same_actions() {
    let project = synced(V3, V3_DB);
    let ids = "SELECT sync_version, id FROM goap_actions ORDER BY id";
    let before = project.rows(ids);
    project.edit(V3_DB, "UPDATE goap_actions SET id = 'action-1799999999999-' || lower(hex(randomblob(4)))");
    let report = project.sync();
    let actions = stream(&report, V3_DB, "goap_actions").counters;
    assert_eq!((actions.inserted, actions.deleted, actions.updated), (0, 0, 60), "only local_id is another");
    assert_eq!(project.rows("SELECT id FROM goap_actions ORDER BY id").len(), before.len());
    assert_eq!(project.count("SELECT count(*) FROM goap_actions WHERE local_id LIKE 'action-1799999999999-%'"), 60);
}

const MEASURE: &str =
    "SELECT source, cost, deleted_at FROM goap_actions WHERE id = 'measure-coverage|qe-coverage-specialist'";

/// v3 and root hold the same actions, the root's with a higher cost.
fn two_generations() -> Project {
    let project = Project::empty();
    project.add(V3, ROOT_DB);
    project.edit(ROOT_DB, "UPDATE goap_actions SET cost = 99; PRAGMA wal_checkpoint(TRUNCATE)");
    project
}

#[test]
fn of_one_action_in_two_generations_the_third_wins_whichever_came_first() {
    let root_first = two_generations();
    root_first.sync();
    assert_eq!(root_first.rows(MEASURE), [[text(ROOT_DB), Value::Real(99.0), Value::Null]]);
    root_first.add(V3, V3_DB);
    root_first.sync();
    let together = two_generations();
    together.add(V3, V3_DB);
    together.sync();
    for project in [root_first, together] {
        assert_eq!(project.rows(MEASURE), [[text(V3_DB), Value::Real(2.0), Value::Null]]);
        assert_eq!(project.counts()["goap_actions"], 60);
        assert!(!project.sync().totals.changed_anything());
    }
}

#[test]
fn when_the_third_generation_drops_an_action_the_roots_takes_its_place_though_its_file_is_skipped() {
    let project = two_generations();
    project.add(V3, V3_DB);
    project.settle();
    project.sync();
    project.edit(V3_DB, "DELETE FROM goap_actions WHERE name = 'measure-coverage'; PRAGMA wal_checkpoint(TRUNCATE)");
    let report = project.sync();
    assert!(stream(&report, ROOT_DB, "goap_actions").skipped_unchanged);
    assert_eq!(project.rows(MEASURE), [[text(ROOT_DB), Value::Real(99.0), Value::Null]]);
    assert_eq!(report.totals.deleted, 0, "somebody still holds it");
    project.edit(ROOT_DB, "DELETE FROM goap_actions WHERE name = 'measure-coverage'; PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(project.sync().totals.deleted, 1);
    assert!(matches!(project.rows(MEASURE)[0][2], Value::Text(_)), "nobody does");
}

#[test]
fn q_values_of_two_files_are_merged_by_visits_and_never_added_up_twice() {
    let project = Project::of_shared_row();
    let q = "SELECT q_value, visits FROM qlearning_patterns WHERE state = 's' AND deleted_at IS NULL";
    for mode in [aqe_sync_core::Mode::Incremental, aqe_sync_core::Mode::Full, aqe_sync_core::Mode::Incremental] {
        project.sync_as(mode);
        assert_eq!(project.rows(q), [[Value::Real(0.6875), Value::Integer(40)]], "{mode:?}");
    }
    project.write_q_value(V3_RUVECTOR, 0.75, 31);
    project.sync();
    assert_eq!(project.rows(q)[0][1], Value::Integer(41));
}

#[test]
fn bare_vectors_complement_the_pattern_of_their_id() {
    let project = Project::of("agentic-qe-2.8.2");
    project.sync();
    let id = project.text("SELECT id FROM patterns WHERE embedding IS NOT NULL ORDER BY id LIMIT 1");
    assert_eq!(project.count("SELECT count(*) FROM patterns"), 40);
    project.edit(
        ROOT_DB,
        &format!(
            "INSERT INTO patterns (id, pattern, confidence, usage_count, created_at) VALUES ('{id}', 'met', 0.5, 3, 0)"
        ),
    );
    let report = project.sync();
    assert_eq!(report.status, Status::Ok, "{report:#?}");
    let row = "SELECT pattern, confidence, usage_count, length(embedding) FROM patterns WHERE id = ";
    let expected = [text("met"), Value::Real(0.5), Value::Integer(3), Value::Integer(1536)];
    assert_eq!(project.rows(&format!("{row}'{id}'")), [expected]);
    assert_eq!(project.count("SELECT count(*) FROM patterns"), 40);
    assert!(!project.sync_as(aqe_sync_core::Mode::Full).totals.changed_anything());
}

#[test]
fn memories_that_were_migrated_are_counted_once_and_a_note_says_so() {
    let project = Project::of("claude-flow-3.0.0-to-3.1.0-migrated");
    let report = project.sync();
    let keys = "SELECT count(*) FROM claude_flow_memory WHERE source = '.swarm/memory.db'";
    let store = stream(&report, ".claude-flow/memory/store.json", "entries").counters;
    assert_eq!(project.count(keys), 12);
    assert_eq!(project.counts()["claude_flow_memory"], 12 + i64::try_from(store.read).expect("few") - 12);
    let says = |note: &String| note.contains("12 records") && note.contains("counted once");
    assert!(report.notes.iter().any(says), "{:?}", report.notes);
    assert!(!project.sync().totals.changed_anything());
}

#[test]
fn records_whose_table_gets_a_mapping_move_there_and_leave_the_archive() {
    let project = Project::empty();
    project.edit(
        ROOT_DB,
        "CREATE TABLE qe_trajectories (id TEXT PRIMARY KEY, agent TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
         INSERT INTO qe_trajectories SELECT 't' || i, 'tester' FROM n",
    );
    assert_eq!(project.sync().totals.inserted, 150);
    project.edit(ROOT_DB, "ALTER TABLE qe_trajectories ADD COLUMN task TEXT DEFAULT 'cover'");
    let report = project.sync();
    assert_eq!((report.status, report.totals.inserted, report.totals.deleted), (Status::Ok, 150, 150));
    assert!(report.notes.iter().any(|note| note.contains("moved from archive_records to qe_trajectories")));
    let living = "SELECT count(*) FROM archive_records WHERE deleted_at IS NULL";
    assert_eq!(project.rows(living), [[Value::Integer(0)]]);
    assert_eq!(project.counts()["qe_trajectories"], 150);
    let again = project.sync_as(Mode::Full);
    assert_eq!((again.totals.unchanged, again.totals.deleted), (150, 0));
}

#[cfg(unix)]
#[test]
fn what_the_wal_of_a_links_target_holds_is_read_and_its_changes_are_noticed() {
    let project = Project::empty();
    let producer = project.open("elsewhere/real.db");
    producer
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, usage_count INTEGER);
             PRAGMA wal_checkpoint(TRUNCATE);
             INSERT INTO patterns VALUES ('a', 'x', 1)",
        )
        .expect("written");
    std::fs::create_dir(project.path(".agentic-qe")).expect("created");
    std::os::unix::fs::symlink(project.path("elsewhere/real.db"), project.path(ROOT_DB)).expect("linked");
    project.settle();
    assert_eq!(stream(&project.sync(), ROOT_DB, "patterns").counters.inserted, 1);
    assert!(stream(&project.sync(), ROOT_DB, "patterns").skipped_unchanged);
    producer.execute_batch("INSERT INTO patterns VALUES ('b', 'y', 1)").expect("written");
    assert_eq!(stream(&project.sync(), ROOT_DB, "patterns").counters.inserted, 1);
    assert_eq!(project.count("SELECT count(*) FROM patterns"), 2);
}

#[test]
fn memories_whose_file_takes_another_shape_stay_and_nothing_is_deleted() {
    const STORE: &str = ".claude-flow/memory/store.json";
    let project = Project::of("public-UE5-3DGS");
    project.sync();
    let before = project.read(STORE);
    project.write(STORE, br#"{"entries": [{"key": "a", "value": "b"}], "version": "3.0.0"}"#);
    let report = project.sync();
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 0), "{report:#?}");
    assert_eq!(project.counts()["claude_flow_memory"], 8);
    project.write(STORE, &before);
    let report = project.sync();
    assert_eq!((report.status, stream(&report, STORE, "entries").counters.unchanged), (Status::Ok, 8), "{report:#?}");
    assert_eq!(project.count("SELECT count(*) FROM claude_flow_memory WHERE deleted_at IS NULL"), 8);
}

#[test]
fn a_source_that_is_gone_keeps_its_rows_and_is_named() {
    let project = Project::of("public-UE5-3DGS");
    project.sync();
    std::fs::remove_file(project.path(".claude-flow/memory/store.json")).expect("there");
    let report = project.sync();
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 0));
    let says = |note: &String| note.contains("store.json") && note.contains("is not there now");
    assert!(report.notes.iter().any(says), "{:?}", report.notes);
}
