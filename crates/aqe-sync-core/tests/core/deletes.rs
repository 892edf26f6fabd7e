//! What is gone from its source: tombstones, and when there are none.

use aqe_sync_core::meet::Contribution;
use aqe_sync_core::{Deletes, Mode, Record, Status, Value};

use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};
use crate::support::world::{World, first, texts};

fn numbered(count: usize) -> Vec<Record> {
    (0..count).map(|n| note(&format!("{n:04}"), "text")).collect()
}

fn source(records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), records)
}

#[test]
fn a_record_that_is_gone_becomes_a_tombstone_and_lives_again_when_it_returns() {
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        let both = source(vec![note("1", "one"), note("2", "two")]);
        world.run(&[&both]);
        let report = world.run_as(mode, &[&source(vec![note("1", "one")])]);
        assert_eq!((report.status, report.totals.deleted, report.totals.read), (Status::Ok, 1, 1));
        let stored = world.stored();
        assert!(stored["2"].deleted && !stored["1"].deleted);
        assert_eq!(stored["2"].row.values[1], Value::from("two"), "a tombstone keeps what it was");

        let before = world.content();
        assert_eq!(world.run_as(mode, &[&source(vec![note("1", "one")])]).totals.deleted, 0);
        assert_eq!(world.content(), before);

        let report = world.run_as(mode, &[&both]);
        assert_eq!((report.totals.inserted, report.totals.unchanged), (1, 1), "{mode:?}");
        assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "two")]));
        assert_eq!(report.totals.conflicts, 0);
    }
}

#[test]
fn most_of_a_stream_goes_only_when_that_is_allowed() {
    for mode in [Mode::Incremental, Mode::Full] {
        let mut world = World::new();
        world.run(&[&source(numbered(210))]);
        let mut rest = numbered(105);
        rest.push(note("new", "new"));
        let rest = source(rest.split_off(1));
        let report = world.run_as(mode, &[&rest]);
        assert_eq!((report.totals.deleted, report.totals.inserted), (0, 1), "what was read is good all the same");
        let error = first(&report).error.clone().expect("said");
        assert!(error.contains("--allow-mass-delete") && error.contains("a.db"), "{error}");
        assert_eq!(world.bodies().len(), 211);

        world.options.allow_mass_delete = true;
        let report = world.run_as(mode, &[&rest]);
        assert_eq!((report.status, report.totals.deleted), (Status::Ok, 106));
    }
}

#[test]
fn half_of_a_stream_or_a_hundred_rows_may_go() {
    for (before, after) in [(100, 0), (300, 150), (300, 200)] {
        let world = World::new();
        world.run(&[&source(numbered(before))]);
        let report = world.run(&[&source(numbered(after))]);
        assert_eq!(usize::try_from(report.totals.deleted).expect("small"), before - after);
    }
}

#[test]
fn append_only_tables_keep_what_their_source_forgot() {
    let keeping = |records| MemorySource::new("a.db", spec(notes().deletes(Deletes::Ignore)), records);
    for mode in [Mode::Incremental, Mode::Full, Mode::Append] {
        let world = World::new();
        world.run(&[&keeping(numbered(300))]);
        let report = world.run_as(mode, &[&keeping(numbered(1))]);
        assert_eq!((report.status, report.totals.deleted), (Status::Ok, 0));
        assert_eq!(world.bodies().len(), 300);
    }
}

#[test]
fn the_options_overrule_what_a_stream_says_about_deletes() {
    let mut world = World::new();
    world.run(&[&source(numbered(3))]);
    world.options.deletes.insert("notes".to_owned(), Deletes::Ignore);
    assert_eq!(world.run(&[&source(numbered(1))]).totals.deleted, 0);
    world.options.deletes.insert("notes".to_owned(), Deletes::Tombstone);
    assert_eq!(world.run(&[&source(numbered(1))]).totals.deleted, 2);
}

#[test]
fn an_empty_source_is_a_decision_only_up_to_the_brake() {
    let world = World::new();
    world.run(&[&source(numbered(101))]);
    let report = world.run(&[&source(Vec::new())]);
    assert_eq!((report.totals.deleted, first(&report).status), (0, Status::Failed));
}

#[test]
fn what_somebody_else_changed_meanwhile_is_not_deleted() {
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
        let other = World::new();
        other.run(&[&source(vec![note("2", "zwei")])]);
        let edited = other.stored()["2"].clone();
        world.sink.tamper(|hub| {
            hub.rows
                .values_mut()
                .filter(|(key, _)| key.to_string() == "2")
                .for_each(|(_, stored)| *stored = edited.clone());
        });
        let report = world.run_as(mode, &[&source(vec![note("1", "one")])]);
        assert_eq!((report.totals.deleted, report.totals.conflicts), (0, 1), "{mode:?}");
        assert_eq!(world.bodies(), texts(&[("1", "one"), ("2", "zwei")]));
    }
}

#[test]
fn a_row_goes_with_the_last_of_its_contributions() {
    let world = World::new();
    world.run(&[&source(vec![note("1", "one"), note("2", "two")])]);
    world.sink.tamper(|hub| {
        for (_, stored) in hub.rows.values_mut() {
            let (contributor, row) = (stored.contributor.clone(), stored.row.clone());
            stored.merged_from = vec![Contribution { contributor, priority: 0, row }];
        }
    });
    let report = world.run(&[&source(vec![note("1", "one")])]);
    assert_eq!((report.totals.deleted, report.totals.conflicts), (1, 0));
    assert_eq!(world.bodies(), texts(&[("1", "one")]));
}
