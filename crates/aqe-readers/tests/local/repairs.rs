//! What differs in the hub: found, put right, and nothing else touched.

use aqe_sync_core::Mode;
use aqe_sync_core::verify::Depth;
use rusqlite::types::Value;

use crate::project::{Project, ROOT_DB};

/// Patterns `a` to `e`, and an event stream that remembers.
fn synced() -> Project {
    let project = Project::empty();
    project.edit(
        ROOT_DB,
        "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, usage_count INTEGER);
         INSERT INTO patterns VALUES ('a', 'x', 1), ('b', 'y', 1), ('c', 'z', 1), ('d', 'u', 1), ('e', 'v', 1);
         CREATE TABLE sona_patterns (id TEXT PRIMARY KEY, type TEXT);
         INSERT INTO sona_patterns VALUES ('s', 'x')",
    );
    project.sync();
    project
}

/// What the hub holds, and which write put it there.
fn patterns(project: &Project) -> Vec<Vec<Value>> {
    project.rows("SELECT id, pattern, usage_count, sync_version, deleted_at IS NOT NULL FROM patterns ORDER BY id")
}

#[test]
fn a_row_that_is_gone_from_the_hub_is_sent_again_alone() {
    let project = synced();
    let before = project.dump();
    project.edit_hub("DELETE FROM patterns WHERE id = 'b'");
    let report = project.repair(Depth::Recorded);
    assert!(report.matches() && !report.before.matches(), "{report:#?}");
    let run = report.run.expect("something was written");
    assert_eq!((run.totals.inserted, run.totals.updated, run.totals.deleted), (1, 0, 0));
    assert_eq!(run.streams.len(), 1, "only the stream that differs was read");
    let other = |rows: &std::collections::BTreeMap<String, Vec<Vec<Value>>>| {
        let mut rows = rows.clone();
        rows.get_mut("patterns").expect("there").retain(|row| !row.contains(&Value::Text("b".to_owned())));
        rows
    };
    assert_eq!(other(&project.dump()), other(&before), "versions and times of all other rows stay");
    assert_eq!(patterns(&project)[1][1], Value::Text("y".to_owned()));
    assert!(!project.sync_as(Mode::Full).totals.changed_anything());
}

#[test]
fn a_row_that_somebody_added_becomes_a_tombstone() {
    let project = synced();
    let columns = "source_env, source, stream, content_hash, sync_version, synced_at, pattern";
    for hash in ["content_hash", "content_hash + 1"] {
        let values = columns.replace("content_hash", hash);
        project.edit_hub(&format!(
            "INSERT INTO patterns (id, {columns}) SELECT 'extra', {values} FROM patterns WHERE id = 'a'"
        ));
        let before = patterns(&project);
        let found = project.compare(Depth::Recorded);
        assert_eq!(found.streams.iter().map(|stream| stream.extra_count).sum::<u64>(), 1, "{hash}");
        for depth in [Depth::Recorded, Depth::Stored] {
            project.edit_hub("UPDATE patterns SET deleted_at = NULL WHERE id = 'extra'");
            let report = project.repair(depth);
            assert!(report.matches(), "{hash} {depth:?}: {report:#?}");
            assert_eq!(report.run.expect("written").totals.deleted, 1);
        }
        assert_eq!(patterns(&project)[..5], before[..5]);
        project.edit_hub("DELETE FROM patterns WHERE id = 'extra'");
    }
}

#[test]
fn an_edited_row_is_found_and_repaired_by_a_deep_look_only() {
    let project = synced();
    let before = patterns(&project);
    project.edit_hub("UPDATE patterns SET pattern = 'edited' WHERE id = 'c'");
    assert!(project.compare(Depth::Recorded).matches(), "its recorded hash is that of its source");
    assert!(project.repair(Depth::Recorded).run.is_none());
    let found = project.compare(Depth::Stored);
    let different: Vec<&String> = found.streams.iter().flat_map(|stream| &stream.different).collect();
    assert_eq!(different, ["c"]);
    let report = project.repair(Depth::Stored);
    assert!(report.matches(), "{report:#?}");
    assert_eq!(report.run.expect("written").totals.updated, 1);
    assert_eq!(report.after.streams.iter().map(|stream| stream.repaired).sum::<u64>(), 1);
    let after = patterns(&project);
    assert_eq!(after[2][1], Value::Text("z".to_owned()));
    for untouched in [0, 1, 3, 4] {
        assert_eq!(after[untouched], before[untouched]);
    }
    assert_eq!(project.rows("SELECT * FROM conflict_log"), Vec::<Vec<Value>>::new());
}

#[test]
fn a_row_with_another_hash_is_forced_whatever_the_tables_policy_says() {
    for (depth, edit) in [
        (Depth::Recorded, "content_hash = content_hash + 1"),
        (Depth::Stored, "content_hash = content_hash + 1"),
        (Depth::Stored, "content_hash = content_hash + 1, pattern = 'edited', confidence = 0.99"),
    ] {
        let project = synced();
        project.edit_hub(&format!("UPDATE patterns SET {edit} WHERE id = 'd'"));
        let report = project.repair(depth);
        assert!(report.matches(), "{edit}: {report:#?}");
        let run = report.run.expect("written");
        assert_eq!((run.totals.updated, run.totals.conflicts), (1, 0), "{edit}");
        assert!(project.compare(Depth::Stored).matches(), "{edit}");
    }
}

#[test]
fn the_ledger_is_kept_in_step_or_begun_anew() {
    for lost in [false, true] {
        let project = synced();
        project.edit_hub("DELETE FROM patterns WHERE id = 'b'; UPDATE patterns SET content_hash = 1 WHERE id = 'c'");
        if lost {
            std::fs::remove_file(project.ledger_path()).expect("removed");
        }
        assert!(project.repair(Depth::Recorded).matches(), "lost {lost}");
        let before = project.dump();
        assert!(!project.sync().totals.changed_anything(), "lost {lost}");
        project.edit(ROOT_DB, "DELETE FROM patterns WHERE id = 'b'; UPDATE patterns SET pattern = 'n' WHERE id = 'c'");
        let totals = project.sync().totals;
        assert_eq!((totals.deleted, totals.updated, totals.conflicts), (1, 1, 0), "lost {lost}");
        assert_ne!(project.dump(), before);
    }
}

#[test]
fn an_old_copy_of_the_ledger_vouches_for_nothing_after_a_repair() {
    let project = synced();
    let old = std::fs::read(project.ledger_path()).expect("a ledger");
    project.edit(ROOT_DB, "DELETE FROM patterns WHERE id = 'b'");
    project.sync();
    std::fs::write(project.ledger_path(), old).expect("restored");
    project.edit_hub("DELETE FROM patterns WHERE id = 'c'");
    assert!(project.repair(Depth::Recorded).matches());
    project.edit(ROOT_DB, "INSERT INTO patterns VALUES ('b', 'y', 1)");
    assert_eq!(project.sync().totals.inserted, 1, "the old copy knew the very same record");
}

#[test]
fn a_shared_row_is_merged_anew_from_what_each_source_has() {
    let project = Project::of_shared_row();
    project.sync();
    let rows = "SELECT source, q_value, visits, last_update, content_hash, merged_from FROM qlearning_patterns";
    let before = project.rows(rows);
    for (depth, edit) in [
        (Depth::Recorded, "DELETE FROM qlearning_patterns"),
        (Depth::Recorded, "UPDATE qlearning_patterns SET merged_from = 'oops'"),
        (Depth::Stored, "UPDATE qlearning_patterns SET last_update = 'yesterday'"),
        (Depth::Stored, "UPDATE qlearning_patterns SET visits = 7"),
    ] {
        project.edit_hub(edit);
        let report = project.repair(depth);
        assert!(report.matches() && report.run.is_some(), "{edit}: {report:#?}");
        assert_eq!(project.rows(rows), before, "{edit}");
    }
}

#[test]
fn most_of_a_stream_is_deleted_only_when_that_is_allowed() {
    let project = synced();
    let columns = "source_env, source, stream, content_hash, sync_version, synced_at";
    project.edit_hub(&format!(
        "INSERT INTO patterns (id, {columns}) WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
         SELECT 'x' || i, {} FROM n, patterns WHERE id = 'a'",
        columns.replace("content_hash", "content_hash + i"),
    ));
    let report = project.repair(Depth::Recorded);
    assert!(!report.matches());
    let run = report.run.expect("tried");
    let errors: Vec<&String> = run.streams.iter().filter_map(|stream| stream.error.as_ref()).collect();
    assert!(errors.len() == 1 && errors[0].contains("--allow-mass-delete"), "{errors:?}");
    assert_eq!(project.count("SELECT count(*) FROM patterns WHERE deleted_at IS NULL"), 155);
}
