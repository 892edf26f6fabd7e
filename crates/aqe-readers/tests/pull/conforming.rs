//! The fleet, and one's own part of a file, keep what every source has to keep.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aqe_readers::{FileNotes, SqliteSource};
use aqe_sync_core::fleet::{FleetSource, OwnSource, PullRequest, Trust};
use aqe_sync_core::testkit::{Rule, SourceCase, check_source};
use aqe_sync_core::{DynSource, tables};
use futures::executor::block_on;

use crate::world::{AgentFile, Fleet, V3, add_pattern, use_pattern};

/// A fleet whose first environment has patterns, of which the second pulled and used some.
fn fleet() -> (Arc<Fleet>, AgentFile, AgentFile) {
    let (fleet, a, b) = (Fleet::new(), AgentFile::emptied("a", V3), AgentFile::emptied("b", V3));
    for number in 0..7 {
        add_pattern(&a, &format!("p{number}"), 0.9, number, number / 2);
    }
    a.push(&fleet);
    b.pull(&fleet);
    for id in ["p1", "p5"] {
        use_pattern(&b.open(), id, true);
    }
    add_pattern(&b, "mine", 0.5, 2, 1);
    (fleet, a, b)
}

/// Another pattern, and a change of the first one.
fn change(file: &AgentFile, number: &Cell<i64>) {
    number.set(number.get() + 1);
    add_pattern(file, &format!("z{}", number.get()), 0.7, 1, 1);
    file.edit(&format!("UPDATE qe_patterns SET description = 'changed {}' WHERE id = 'p0'", number.get()));
}

/// Each record is as the hub has it when it is read: a pull that meets a push on the way gets
/// some of it, and the rest the next time (ADR 15). So nothing is changed meanwhile here.
#[test]
fn the_fleet_is_a_conforming_source_while_nobody_pushes() {
    let (fleet, ..) = fleet();
    let request = || PullRequest {
        environment: "b".into(),
        tables: vec![Arc::clone(tables::find("qe_patterns").expect("a table"))],
        trust: Trust { only: Some(BTreeSet::from(["a".into()])), ..Trust::default() },
        since: None,
        after: None,
        restore: false,
    };
    let open = || async { FleetSource::open(Arc::clone(&fleet), request()).await.expect("opened") };
    let checked = block_on(check_source(&SourceCase::new(open))).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.of(Rule::Repeatable) > 0 && checked.of(Rule::ResumesWithTheRemainder) > 0);
}

#[test]
fn ones_own_part_is_a_conforming_source() {
    let (_fleet, _, b) = fleet();
    let number = Cell::new(0);
    let open = || {
        let notes = FileNotes::of(b.state(), &b.file()).expect("known");
        let inner: Box<dyn DynSource> = Box::new(SqliteSource::new(b.file()));
        OwnSource::new(inner, Arc::new(notes))
    };
    let case = SourceCase::new(|| async { open() }).changed_by(|| async { change(&b, &number) }).settled_by(|| async {
        let past = SystemTime::now() - Duration::from_secs(60 + number.get().unsigned_abs());
        File::options().append(true).open(b.path()).and_then(|file| file.set_modified(past)).expect("set");
    });
    let checked = block_on(check_source(&case)).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.of(Rule::FingerprintSeesChanges) > 0 && checked.of(Rule::ResumesWithTheRemainder) > 0);
}
