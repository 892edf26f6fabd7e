//! Ledger and hub: lost, damaged, restored, shared.

use std::fs;

use aqe_readers::{EmbeddedHub, LedgerFile};
use aqe_sync_core::ledger::{Intent, LedgerEntry};
use aqe_sync_core::{
    ContentHash, Engine, Environment, ErrorKind, KeyHash, Ledger as _, LocalHash, Mode, Options, Report, Silent,
    Sink as _, Status, StreamId,
};
use futures::executor::block_on;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::project::{Project, ROOT_DB, V2, assert_says};

fn synced() -> Project {
    let project = Project::with(V2, ROOT_DB);
    assert_eq!(project.sync().status, Status::Ok);
    project
}

/// Changes one row, removes another, and syncs; whatever the ledger is, the hub follows.
fn assert_follows(project: &Project, case: &str) {
    project.edit(
        ROOT_DB,
        "UPDATE patterns SET usage_count = 41 WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8';
         DELETE FROM patterns WHERE id = 'pattern-1795356056256-o3z40f8'",
    );
    let report = project.sync();
    assert_eq!((report.status, report.totals.inserted), (Status::Ok, 0), "{case}: {report:#?}");
    assert_eq!(project.counts()["patterns"], 19, "{case}");
    assert_eq!(project.count("SELECT count(*) FROM patterns WHERE usage_count = 41"), 1, "{case}");
    assert_eq!(project.counts()["memory_entries"], 70, "{case}");
}

/// Whether a ledger was found damaged and kept under another name.
fn is_one_aside(project: &Project) -> bool {
    let folder = project.ledger_path().parent().expect("in a folder").to_owned();
    let mut entries = fs::read_dir(folder).expect("readable").filter_map(Result::ok);
    entries.any(|entry| entry.file_name().to_string_lossy().contains("damaged"))
}

#[test]
fn a_lost_ledger_is_rebuilt_from_the_hub() {
    let project = synced();
    let before = project.dump();
    fs::remove_file(project.ledger_path()).expect("removed");
    assert!(!project.sync().totals.changed_anything());
    assert!(project.dump() == before);
    fs::remove_file(project.ledger_path()).expect("removed");
    assert_follows(&project, "lost");
}

#[test]
fn a_ledger_of_garbage_or_cut_off_is_moved_aside_and_rebuilt() {
    let whole = {
        let project = synced();
        fs::read(project.ledger_path()).expect("a ledger")
    };
    let mut pages = whole.clone();
    pages[4096..8192].fill(0x5a);
    for (case, bytes) in [
        ("garbage", vec![7; 9_000]),
        ("cut off", whole[..whole.len() / 2].to_vec()),
        ("one page", whole[..4096].to_vec()),
        ("nothing", Vec::new()),
        ("a page of garbage", pages),
    ] {
        let project = synced();
        fs::write(project.ledger_path(), bytes).expect("written");
        assert_follows(&project, case);
        assert!(!project.sync().totals.changed_anything(), "{case}: sound from then on");
    }
}

#[test]
fn a_ledger_made_before_intents_were_kept_goes_on_as_it_is() {
    let project = synced();
    let ledger = Connection::open(project.ledger_path()).expect("a ledger");
    let entries = || -> Vec<Vec<u8>> {
        let ledger = Connection::open(project.ledger_path()).expect("a ledger");
        let mut statement = ledger.prepare("SELECT entries FROM segments").expect("a ledger");
        statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("entries")
    };
    let before = entries();
    ledger.execute_batch("DROP TABLE intents; PRAGMA user_version = 1").expect("as it was");
    drop(ledger);
    assert!(!project.sync().totals.changed_anything());
    assert_eq!(entries(), before, "it was not begun anew");
    assert!(!is_one_aside(&project));
    assert_follows(&project, "as before");
}

/// Found by the fuzz target `ledger_file`: the number alone is not believed.
#[test]
fn a_ledger_that_calls_itself_older_than_it_is_is_moved_aside_and_rebuilt() {
    for (case, damage) in [
        ("all tables", "PRAGMA user_version = 1"),
        ("a table too few", "DROP TABLE intents; DROP TABLE sources; PRAGMA user_version = 1"),
    ] {
        let project = synced();
        let ledger = Connection::open(project.ledger_path()).expect("a database");
        ledger.execute_batch(damage).expect(case);
        drop(ledger);
        assert_follows(&project, case);
        assert!(is_one_aside(&project), "{case}");
    }
}

#[test]
fn intents_outlive_the_process_and_are_believed_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let stream = StreamId { environment: "laptop".into(), source: "a.db".into(), stream: "notes".into() };
    let entry = |number: u64| LedgerEntry {
        key: KeyHash(u128::from(number)),
        local: Some(LocalHash(number)),
        content: ContentHash::from_i64(number.cast_signed()),
    };
    let intent = |run: &str, commits| Intent { run_id: run.to_owned(), since: 7, commits };
    let open = || LedgerFile::open(&path, "a hub").expect("opened");
    open().intend(&stream, &intent("first", 1), &[entry(1)]).expect("written");
    assert_eq!(open().load(&stream).expect("sound").expect("begun").sequence, 7);
    open().append(&stream, 8, &[entry(1)]).expect("written");
    for (commits, entries) in [(1, vec![entry(2)]), (2, vec![entry(3), entry(4)])] {
        open().intend(&stream, &intent("second", commits), &entries).expect("written");
    }
    let intended = open().intended(&stream).expect("sound");
    assert_eq!(intended, [(intent("second", 1), vec![entry(2)]), (intent("second", 2), vec![entry(3), entry(4)])]);
    assert_eq!(open().load(&stream).expect("sound").expect("there").sequence, 8, "what is intended moves nothing on");

    let damage = "UPDATE intents SET entries = substr(entries, 1, 32) WHERE commits = 2";
    Connection::open(&path).and_then(|ledger| ledger.execute_batch(damage)).expect("damaged");
    assert_eq!(open().intended(&stream).expect("readable"), []);
    open().fulfilled(&stream).expect("written");
    let left = Connection::open(&path).expect("a ledger");
    assert_eq!(left.query_row("SELECT count(*) FROM intents", [], |row| row.get(0)), Ok(0));
}

#[test]
fn an_old_copy_of_the_ledger_is_noticed() {
    let project = synced();
    let old = fs::read(project.ledger_path()).expect("a ledger");
    project.edit(ROOT_DB, "UPDATE patterns SET usage_count = 5; INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('n', 'n', 1, 0)");
    project.sync();
    project.edit(ROOT_DB, "DELETE FROM patterns WHERE id = 'n'");
    fs::write(project.ledger_path(), old).expect("restored");
    assert_eq!(project.sync().totals.deleted, 1, "a row that the old ledger never knew");
    assert_follows(&project, "restored");
}

#[test]
fn a_hub_that_is_gone_is_filled_anew_whatever_the_ledger_says() {
    let project = synced();
    let inserted = project.sync_as(Mode::Full).totals.unchanged;
    fs::remove_file(project.hub_path()).expect("removed");
    let report = project.sync();
    assert_eq!(report.totals.inserted, inserted);
}

#[test]
fn another_database_is_refused_as_a_hub_and_stays_as_it_is() {
    let project = Project::with(V2, ROOT_DB);
    project.sync();
    let other = project.hub_path().with_file_name("other.db");
    Connection::open(&other)
        .and_then(|db| db.execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)"))
        .expect("made");
    let before = fs::read(&other).expect("read");
    let Err(error) = EmbeddedHub::open(&other) else { panic!("it was taken") };
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert_says(&error.to_string(), &["other.db", "not a hub of aqe-sync", "--hub sqlite:PATH"]);
    assert!(before == fs::read(&other).expect("read"));
}

#[test]
fn a_small_file_of_somebody_else_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    for content in ["x", "remember the milk", &"long ".repeat(300)] {
        fs::write(&path, content).expect("written");
        let Err(error) = EmbeddedHub::open(&path) else { panic!("{content} was taken for a hub") };
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_says(&error.to_string(), &["notes.txt", "no SQLite database", "restore it"]);
        assert_eq!(fs::read_to_string(&path).expect("still there"), content);
    }
}

#[test]
fn a_hub_of_a_newer_version_is_refused_with_both_versions() {
    let project = synced();
    let hub = Connection::open(project.hub_path()).expect("opened");
    hub.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE)").expect("done");
    drop(hub);
    let before = fs::read(project.hub_path()).expect("read");
    let Err(error) = project.try_sync(|options| options) else { panic!("it was taken") };
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert_says(&error.to_string(), &["hub.db", "schema version 99", "versions up to 7", "newer one"]);
    assert!(before == fs::read(project.hub_path()).expect("read"));
}

#[test]
fn two_handles_that_write_at_once_both_succeed() {
    let project = Project::with(V2, ROOT_DB);
    fs::create_dir_all(project.hub_path().parent().expect("a folder")).expect("created");
    std::thread::scope(|scope| {
        let writers = ["one", "two"].map(|name| {
            let project = &project;
            scope.spawn(move || {
                let hub = EmbeddedHub::open(&project.hub_path()).expect("opened");
                let ledger = project.hub_path().with_file_name(format!("{name}.db"));
                let ledger = LedgerFile::open(&ledger, &block_on(hub.identity()).expect("known")).expect("opened");
                let found = aqe_readers::discover(&project.root()).expect("found").found;
                let sources: Vec<_> = found.into_iter().map(|found| found.source).collect();
                let options = Options::new(Environment::new(name));
                block_on(Engine::new(&hub, &ledger, &Silent, options).run(&sources)).expect("a report")
            })
        });
        for writer in writers {
            let report = writer.join().expect("no panic");
            assert_eq!((report.status, report.error.as_deref()), (Status::Ok, None), "{report:#?}");
        }
    });
    let rows = project.rows("SELECT source_env, count(*) FROM memory_entries GROUP BY 1 ORDER BY 1");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row[1] == rusqlite::types::Value::Integer(70)), "{rows:?}");
}

#[test]
fn bytes_flipped_anywhere_in_the_ledger_never_make_a_wrong_result() {
    let create = "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, usage_count INTEGER);";
    let rows = "INSERT INTO patterns VALUES ('a', 'x', 1), ('b', 'x', 1), ('c', 'x', 1);";
    let project = Project::empty();
    project.edit(ROOT_DB, &format!("{create}{rows}"));
    project.sync();
    project.edit(ROOT_DB, "INSERT INTO patterns VALUES ('d', 'y', 1); DELETE FROM patterns WHERE id = 'c'");
    project.sync();
    project.edit(ROOT_DB, "DELETE FROM patterns WHERE id IN ('b', 'd'); UPDATE patterns SET usage_count = 2");
    let (hub, ledger) = (fs::read(project.hub_path()).expect("read"), fs::read(project.ledger_path()).expect("read"));
    // The header, and a sample of the rest.
    let used = (100..ledger.len()).filter(|position| ledger[*position] != 0).step_by(11);
    for position in (0..100).step_by(2).chain([19, 47]).chain(used) {
        let mut flipped = ledger.clone();
        flipped[position] ^= if position % 2 == 0 { 0x80 } else { 0x01 };
        fs::write(project.hub_path(), &hub).expect("restored");
        fs::write(project.ledger_path(), flipped).expect("written");
        let report = project.try_sync(|options| options).unwrap_or_else(|error| panic!("byte {position}: {error}"));
        assert_eq!(report.error, None, "byte {position}");
        let live = project.rows("SELECT id || usage_count FROM patterns WHERE deleted_at IS NULL ORDER BY id");
        assert_eq!(live, [["a2".to_owned().into()]], "byte {position}");
    }
}

#[test]
fn rows_of_the_hub_that_cannot_be_read_differ_and_a_full_run_mends_them() {
    let project = Project::empty();
    project.edit(
        ROOT_DB,
        "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, usage_count INTEGER, created_at INTEGER);
         INSERT INTO patterns VALUES ('a', 'x', 1, 1795356056256), ('b', 'y', 1, NULL);
         CREATE TABLE sona_patterns (id TEXT PRIMARY KEY, type TEXT);
         INSERT INTO sona_patterns VALUES ('s', 'x')",
    );
    for damage in [
        "merged_from = 'oops'",
        "merged_from = '[{}]'",
        "merged_from = CAST(x'ff' AS TEXT)",
        "created_at = 'yesterday'",
        "embedding = x'010203'",
        "extra = CAST(x'ff' AS TEXT)",
        "merged_from = 'oops', created_at = 'yesterday'",
    ] {
        project.sync();
        assert!(project.verify().matches(), "{damage}");
        let before = project.rows("SELECT id, pattern, created_at, embedding, extra, merged_from FROM patterns");
        project.edit_hub(&format!("UPDATE patterns SET {damage}"));
        let report = project.verify();
        assert!(!report.matches(), "{damage}");
        let of = |name: &str| report.streams.iter().find(|stream| stream.stream.as_str() == name).expect("compared");
        assert_eq!((of("patterns").different_count, of("patterns").error.as_deref()), (2, None), "{damage}");
        assert!(of("sona_patterns").matches() && of("sona_patterns").hub == 1, "{damage}");
        let report = project.sync_as(Mode::Full);
        assert_eq!((report.status, report.totals.updated), (Status::Ok, 2), "{damage}: {report:#?}");
        assert!(project.verify().matches(), "{damage}");
        let after = project.rows("SELECT id, pattern, created_at, embedding, extra, merged_from FROM patterns");
        assert_eq!(after, before, "{damage}");
        assert!(!project.sync_as(Mode::Full).totals.changed_anything(), "{damage}");
    }
}

#[test]
fn merged_rows_of_the_hub_that_cannot_be_read_are_merged_anew_by_a_full_run() {
    let project = Project::of_shared_row();
    project.sync();
    let rows = "SELECT source, q_value, visits, last_update, content_hash, merged_from FROM qlearning_patterns";
    let before = project.rows(rows);
    for damage in
        ["merged_from = 'oops'", "last_update = 'yesterday'", "merged_from = 'oops', last_update = 'yesterday'"]
    {
        project.edit_hub(&format!("UPDATE qlearning_patterns SET {damage}"));
        assert!(!project.verify().matches(), "{damage}");
        assert_eq!(project.sync_as(Mode::Full).status, Status::Ok);
        assert!(project.verify().matches(), "{damage}: {:#?}", project.verify());
        assert_eq!(project.rows(rows), before, "{damage}");
    }
}

#[test]
fn an_entry_that_a_later_one_replaces_does_not_hide_what_differs() {
    let project = Project::empty();
    let store =
        r#"{"entries":{"a":{"key":"a","namespace":"n","value":"old"},"a":{"key":"a","namespace":"n","value":"new"}}}"#;
    project.write(".claude-flow/memory/store.json", store.as_bytes());
    project.sync();
    assert!(project.verify().matches(), "{:#?}", project.verify());
    project.edit_hub("UPDATE claude_flow_memory SET value = 'edited'");
    let report = project.verify();
    let counts: Vec<_> = report.streams.iter().map(|stream| (stream.different_count, stream.unstorable)).collect();
    assert!(counts.contains(&(1, 1)), "{report:#?}");
}

/// Syncs as another installation: its own ledger, the same hub.
fn sync_from(project: &Project, instance: &str) -> Report {
    let shared = project.ledger_path();
    let own = shared.with_file_name(format!("{instance}.db"));
    if own.exists() {
        fs::copy(&own, &shared).expect("copied");
    } else {
        let _ = fs::remove_file(&shared);
    }
    let report = project.sync_with(|options| Options { instance: instance.into(), ..options });
    fs::copy(&shared, &own).expect("copied");
    report
}

#[test]
fn two_installations_under_one_name_are_told_so_and_delete_nothing_of_each_other() {
    let project = Project::empty();
    let create = "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, usage_count INTEGER);";
    project.edit(ROOT_DB, &format!("{create} INSERT INTO patterns VALUES ('a', 'x', 1), ('b', 'x', 1)"));
    assert_eq!(sync_from(&project, "here").status, Status::Ok);

    // The other machine's checkout: one record is not there, one is new.
    project.edit(ROOT_DB, "DELETE FROM patterns WHERE id = 'a'; INSERT INTO patterns VALUES ('c', 'x', 1)");
    let report = sync_from(&project, "there");
    assert_eq!((report.status, report.totals.deleted, report.totals.inserted), (Status::Ok, 0, 1), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("there takes over")), "{:?}", report.notes);

    project.edit(ROOT_DB, "DELETE FROM patterns; INSERT INTO patterns VALUES ('b', 'x', 1)");
    let report = sync_from(&project, "here");
    assert_eq!((report.status, report.totals.deleted, report.totals.unchanged), (Status::Partial, 0, 1), "{report:#?}");
    let warnings: Vec<_> = report.streams.iter().flat_map(|stream| &stream.warnings).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_says(warnings[0], &["environment test", "this one is here", "there wrote", "--env or AQE_ENV"]);
    let live = project.rows("SELECT id FROM patterns WHERE deleted_at IS NULL ORDER BY id");
    assert_eq!(live.len(), 3, "{live:?}");

    // In step again: the rest is as ever.
    project.edit(ROOT_DB, "DELETE FROM patterns");
    let report = sync_from(&project, "here");
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 1), "{report:#?}");
}

#[test]
fn the_hubs_history_says_what_the_report_says() {
    let project = Project::with(V2, ROOT_DB);
    for mode in [Mode::Incremental, Mode::Full, Mode::Append] {
        let report = project.sync_as(mode);
        let kept = |sql: &str| project.rows(&format!("{sql} = '{}'", report.run_id));
        let [row] = &kept("SELECT mode, status, totals, errors FROM sync_history WHERE run_id")[..] else {
            panic!("one row per run")
        };
        let totals = serde_json::json!(report.totals);
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(row[..2], [text(report.mode.as_str()), text(report.status.as_str())]);
        assert_eq!((&row[2], &row[3]), (&text(&totals.to_string()), &Value::Null));
        let events = kept("SELECT payload -> 'totals' FROM events WHERE payload ->> 'run_id'");
        assert_eq!(events.len(), usize::from(report.totals.changed_anything()), "{mode:?}");
        assert!(events.iter().all(|event| event[0] == text(&totals.to_string())), "{events:?}");
    }
}
