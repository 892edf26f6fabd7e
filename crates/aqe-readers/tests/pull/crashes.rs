//! The protocol over two files, cut at every step; files and notes that come back from
//! elsewhere.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aqe_readers::PullState;
use aqe_sync_core::{Error, ErrorKind, Row, Status, Value};

use crate::world::{AgentFile, Fleet, V2, V3, add_pattern, use_pattern, uses};

/// Copies the notes as they are now, WAL included.
fn copy_state(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let path = |path: &Path| format!("{}{suffix}", path.display());
        if Path::new(&path(from)).exists() {
            fs::copy(path(from), path(to)).expect("copied");
        }
    }
}

fn restore_state(file: &AgentFile, copy: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", file.state_path().display()));
    }
    copy_state(copy, &file.state_path());
}

fn pair() -> (Arc<Fleet>, AgentFile, AgentFile) {
    let (fleet, a, b) = (Fleet::new(), AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    add_pattern(&a, "p", 0.9, 3, 2);
    a.push(&fleet);
    b.pull(&fleet);
    use_pattern(&b.open(), "p", true);
    use_pattern(&a.open(), "p", true);
    add_pattern(&a, "q", 0.9, 7, 7);
    a.push(&fleet);
    (fleet, a, b)
}

/// However the pull before ended: all comes to the same in the end.
fn comes_right(fleet: &Arc<Fleet>, a: &AgentFile, b: &AgentFile) {
    b.pull(fleet);
    assert_eq!((uses(b, "p"), uses(b, "q")), (Some((5, 4)), Some((7, 7))));
    b.push(fleet);
    a.pull(fleet);
    assert_eq!((uses(a, "p"), uses(a, "q")), (Some((5, 4)), Some((7, 7))));
    use_pattern(&b.open(), "q", true);
    b.push(fleet);
    a.pull(fleet);
    assert_eq!(uses(a, "q"), Some((8, 8)));
}

#[test]
fn a_pull_that_ends_before_the_file_commits_leaves_the_file_as_it_was() {
    let (fleet, a, b) = pair();
    let stop = || Err(Error::new(ErrorKind::Io, "the hub went away"));
    let report = b.try_pull(&fleet, Some(Box::new(stop))).expect("a report");
    assert_ne!(report.status, Status::Ok);
    assert_eq!((uses(&b, "p"), uses(&b, "q")), (Some((4, 3)), None));
    b.push(&fleet);
    comes_right(&fleet, &a, &b);
}

#[test]
fn a_pull_that_ends_right_after_the_file_commits_is_done() {
    let (fleet, a, b) = pair();
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("pull.db");
    let (from, to) = (b.state_path(), copy.clone());
    b.try_pull(
        &fleet,
        Some(Box::new(move || {
            copy_state(&from, &to);
            Ok(())
        })),
    )
    .expect("pulled");
    // The notes are as they were before the file committed: pending.
    restore_state(&b, &copy);
    assert_eq!((uses(&b, "p"), uses(&b, "q")), (Some((5, 4)), Some((7, 7))));
    b.push(&fleet);
    comes_right(&fleet, &a, &b);
}

#[test]
fn entries_of_a_pull_that_did_not_commit_do_not_hold_after_a_later_one() {
    let (fleet, a, b) = pair();
    let stop = || Err(Error::new(ErrorKind::Io, "the hub went away"));
    b.try_pull(&fleet, Some(Box::new(stop))).expect("a report");
    // Meanwhile the agent makes the record that was not written, itself, and nobody else has it.
    add_pattern(&b, "q", 0.1, 9, 9);
    a.edit("DELETE FROM qe_patterns WHERE id = 'q'");
    add_pattern(&a, "r", 0.9, 1, 1);
    a.push(&fleet);
    b.pull(&fleet);
    assert_eq!((uses(&b, "q"), uses(&b, "r")), (Some((9, 9)), Some((1, 1))));
    let (own, shown) = (b.own(), b.shown());
    let q = |rows: &[Row]| rows.iter().find(|row| row.values[0] == Value::from("q")).cloned();
    assert_eq!(q(&own["qe_patterns"]), q(&shown["qe_patterns"]), "all of it is its own");
}

#[test]
fn lost_notes_are_rebuilt_from_the_hub() {
    let (fleet, a, b) = pair();
    b.pull(&fleet);
    fs::remove_dir_all(b.state_path().parent().expect("a folder")).expect("removed");
    let error = b.try_pull(&fleet, None).expect_err("refused").to_string();
    assert!(error.contains("the notes on what it wrote are lost") && error.contains("restore"), "{error}");
    b.state().rebuild(&b.file().name, &fleet.kept_entries(&b)).expect("rebuilt");
    b.push(&fleet);
    comes_right(&fleet, &a, &b);
}

#[test]
fn records_with_ids_of_the_files_own_are_told_again_after_a_rebuild() {
    let fleet = Fleet::new();
    let (a, b) = (AgentFile::of("a", V2), AgentFile::emptied("b", V2));
    a.push(&fleet);
    b.pull(&fleet);
    let count = "SELECT count(*) FROM learning_experiences";
    let experiences = b.number(count);
    fs::remove_dir_all(b.state_path().parent().expect("a folder")).expect("removed");
    b.state().rebuild(&b.file().name, &fleet.kept_entries(&b)).expect("rebuilt");
    assert!(b.own().values().all(Vec::is_empty));
    let again = b.pull(&fleet).totals;
    assert_eq!((again.inserted, b.number(count)), (0, experiences));
}

#[test]
fn a_file_that_was_restored_finds_the_entries_that_belong_to_it() {
    let (fleet, a, b) = pair();
    let old = fs::read(b.path()).expect("read");
    b.pull(&fleet);
    assert_eq!(uses(&b, "p"), Some((5, 4)));
    fs::write(b.path(), old).expect("restored");
    let sink = b.sink(&b.state(), None).expect("opened");
    let keys: Vec<_> = sink.restored().expect("noticed").keys.iter().map(|(_, key)| key.to_string()).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(sink.notes().iter().any(|note| note.contains("restored from a backup")), "{:?}", sink.notes());
    drop(sink);
    b.push(&fleet);
    comes_right(&fleet, &a, &b);
}

#[test]
fn what_a_restored_file_lacks_was_not_deleted() {
    let (fleet, a, b) = pair();
    let old = fs::read(b.path()).expect("read");
    add_pattern(&b, "s", 0.5, 1, 1);
    add_pattern(&a, "s", 0.9, 1, 1);
    b.push(&fleet);
    a.push(&fleet);
    b.pull(&fleet);
    assert_eq!(uses(&b, "s"), Some((2, 2)));
    fs::write(b.path(), old).expect("restored");
    b.pull(&fleet);
    assert_eq!(uses(&b, "s"), Some((2, 2)), "what the other one has, and what was sent from here");
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let (fleet, _, b) = pair();
    let (file, state) = (fs::read(b.path()).expect("read"), fs::read(b.state_path()).expect("read"));
    let backups = fs::read_dir(b.backups()).expect("listed").count();
    let scratch = PullState::scratch(&b.state_path()).expect("opened");
    let report = b.pull_with(&fleet, &scratch, None).expect("pulled");
    assert_eq!((report.totals.inserted, report.totals.updated), (1, 1));
    assert_eq!((fs::read(b.path()).expect("read"), fs::read(b.state_path()).expect("read")), (file, state));
    assert_eq!(fs::read_dir(b.backups()).expect("listed").count(), backups);
}

#[test]
fn the_file_is_backed_up_before_the_first_write_of_a_run_and_not_without_one() {
    let (fleet, a, b) = (Fleet::new(), AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    add_pattern(&b, "mine", 0.5, 1, 1);
    let count = || fs::read_dir(b.backups()).map_or(0, Iterator::count);
    b.pull(&fleet);
    assert_eq!(count(), 0);
    for number in 0..7 {
        add_pattern(&a, &format!("p{number}"), 0.9, 1, 1);
        a.push(&fleet);
        b.pull(&fleet);
        b.pull(&fleet);
        assert_eq!(count(), (number + 1).min(5));
    }
    let newest = fs::read_dir(b.backups()).expect("listed").map(|entry| entry.expect("listed").path()).max();
    let backup = rusqlite::Connection::open(newest.expect("one")).expect("opened");
    let patterns = |sql: &str| backup.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("read");
    assert_eq!(patterns("SELECT count(*) FROM qe_patterns"), 7, "all but the last");
}

#[test]
fn without_room_for_a_backup_nothing_is_written() {
    let (fleet, _, b) = pair();
    fs::remove_dir_all(b.backups()).expect("removed");
    fs::write(b.backups(), "in the way").expect("written");
    let report = b.try_pull(&fleet, None).expect("a report");
    assert_ne!(report.status, Status::Ok);
    assert!(report.streams.iter().any(|stream| stream.error.as_deref().is_some_and(|error| error.contains("backup"))));
    assert_eq!(uses(&b, "q"), None);
}
