//! Re-running is free of effect, whatever the mode and the order.

use aqe_sync_core::{Mode, Status};

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB};

/// Sources that overlap in every way: two generations, a migrated store, Q-values twice, bare vectors.
fn everything() -> Project {
    let project = Project::of("agentic-qe-2.8.2");
    project.add(V3, V3_DB);
    project.add("claude-flow-3.0.0-to-3.1.0-migrated/.swarm/memory.db", ".swarm/memory.db");
    project.add("claude-flow-3.0.0-to-3.1.0-migrated/.claude-flow/memory/store.json", ".claude-flow/memory/store.json");
    project.add("ruvector-0.1.100/.ruvector/intelligence.json", ".ruvector/intelligence.json");
    project.add(
        "public-agentic-qe-repo-6fd4bfe8-2026-01-02/.ruvector/intelligence.json",
        "v3/.ruvector/intelligence.json",
    );
    project
}

#[test]
fn modes_in_any_order_leave_the_hub_as_the_first_sync_made_it() {
    use Mode::{Append, Full, Incremental};
    for first in [Full, Incremental, Append] {
        let project = everything();
        project.sync_as(first);
        if first == Append {
            // What others hold too was left to a later run.
            project.sync();
        }
        let reference = project.dump();
        for mode in [Full, Append, Incremental, Incremental, Append, Full, Full, Incremental] {
            let report = project.sync_as(mode);
            assert!(project.dump() == reference, "{mode:?} after {first:?}: {:#?}", report.totals);
        }
        project.settle();
        for mode in [Incremental, Append, Full] {
            project.sync_as(mode);
            assert!(project.dump() == reference, "{mode:?} after the files were touched");
        }
    }
}

#[test]
fn every_first_mode_ends_in_the_same_contents() {
    // Times and versions differ between hubs; contents and what they were merged from do not.
    let contents = |mode: Mode| {
        let project = everything();
        project.sync_as(mode);
        project.sync();
        let rows = |table: String| {
            let sql =
                format!("SELECT content_hash, source, stream, merged_from FROM {table} WHERE source <> 'aqe-sync'");
            let mut rows: Vec<_> = project.rows(&sql).into_iter().map(|row| format!("{row:?}")).collect();
            rows.sort();
            (table, rows)
        };
        project.counts().into_keys().map(rows).collect::<Vec<_>>()
    };
    let full = contents(Mode::Full);
    assert!(full == contents(Mode::Incremental));
    assert!(full == contents(Mode::Append));
}

#[test]
fn settled_files_are_skipped_by_their_fingerprints_and_read_again_when_touched_or_asked() {
    let project = Project::with(V2, ROOT_DB);
    project.settle();
    project.sync();
    let report = project.sync();
    assert!(report.streams.iter().all(|stream| stream.skipped_unchanged), "{report:#?}");
    assert!(!report.streams.is_empty());
    assert!(project.sync_as(Mode::Full).streams.iter().all(|stream| !stream.skipped_unchanged));
    project
        .edit(ROOT_DB, "UPDATE patterns SET usage_count = usage_count + 1 WHERE pattern = 'run-security-scan:default'");
    project.settle();
    let report = project.sync();
    assert_eq!((report.status, report.totals.updated), (Status::Ok, 1), "the same size and time, another counter");
}

#[test]
fn a_wal_that_grows_is_noticed_though_the_file_stays() {
    let project = Project::with(V3, V3_DB);
    let writer = project.open(V3_DB);
    writer
        .execute_batch(
            "PRAGMA wal_autocheckpoint = 0; UPDATE qe_patterns SET usage_count = 7 WHERE id = 'pattern-0-cache'",
        )
        .expect("done");
    project.settle();
    project.sync();
    assert!(project.sync().streams.iter().all(|stream| stream.skipped_unchanged));
    writer.execute_batch("UPDATE qe_patterns SET usage_count = 8 WHERE id = 'pattern-0-cache'").expect("done");
    project.settle();
    assert_eq!(project.sync().totals.updated, 1);
}
