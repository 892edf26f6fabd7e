//! A stream that goes to another table than before.

use aqe_sync_core::{Mode, Record, Schema, Status, StreamSpec, Value, tables};

use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};
use crate::support::world::World;

/// What nobody had a mapping for.
fn archived(count: usize) -> MemorySource {
    let schema = Schema::new(["file", "part", "record_key", "record"]);
    let record = |n: usize| Record::new(schema.clone(), vec!["a.db".into(), "notes".into(), n.to_string().into()]);
    let table = tables::find("archive_records").expect("in the catalogue").clone();
    MemorySource::new("a.db", StreamSpec::new("notes", table), (0..count).map(record).collect())
}

fn mapped(count: usize) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), (0..count).map(|n| note(&n.to_string(), "text")).collect())
}

/// How many rows live in each of the two tables.
fn living(world: &World) -> (usize, usize) {
    let hub = world.sink.hub();
    let count = |table: &str| hub.rows.iter().filter(|((_, name, _), (_, row))| name == table && !row.deleted).count();
    (count("archive_records"), count("notes"))
}

#[test]
fn what_was_archived_moves_to_its_table_when_there_is_one() {
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        world.run(&[&archived(7)]);
        let report = world.run_as(mode, &[&mapped(8)]);
        assert_eq!((report.status, report.totals.deleted, report.totals.inserted), (Status::Ok, 7, 8), "{mode:?}");
        assert_eq!(report.notes, ["7 records of a.db [notes] moved from archive_records to notes"]);
        assert_eq!(living(&world), (0, 8));
        let report = world.run_as(mode, &[&mapped(8)]);
        assert_eq!((report.totals.deleted, report.totals.unchanged, report.notes.len()), (0, 8, 0), "and only once");
    }
}

#[test]
fn an_archive_that_holds_nothing_more_is_not_worth_a_word() {
    let world = World::new();
    world.run(&[&archived(2)]);
    world.run(&[&archived(0)]);
    let report = world.run(&[&mapped(1)]);
    assert_eq!((report.notes, living(&world)), (Vec::new(), (0, 1)));
}

#[test]
fn what_has_a_table_of_its_own_stays_there() {
    let world = World::new();
    world.run(&[&mapped(3)]);
    let report = world.run(&[&archived(2)]);
    assert_eq!((report.totals.deleted, living(&world)), (0, (2, 3)));
    assert_eq!(report.notes, ["a.db [notes] now goes to archive_records; what it held in notes stays there"]);
}

#[test]
fn what_another_installation_archived_stays_there() {
    let mut world = World::with(|options| options.instance = "devpod".into());
    world.run(&[&archived(2)]);
    world.forget();
    world.options.instance = "laptop".into();
    let report = world.run(&[&mapped(2)]);
    assert_eq!((report.totals.deleted, living(&world)), (0, (2, 2)));
    assert!(report.notes[0].contains("stays there"), "{:?}", report.notes);
}

#[test]
fn a_move_that_meets_a_row_of_somebody_else_leaves_it() {
    let world = World::new();
    world.run(&[&archived(2)]);
    world.sink.tamper(|hub| {
        let (_, row) = hub.rows.values_mut().next().expect("two rows");
        row.merged_from = ["a.db", "b.db"]
            .map(|source| aqe_sync_core::meet::Contribution {
                contributor: aqe_sync_core::Contributor { source: source.into(), stream: "notes".into() },
                priority: 0,
                row: row.row.clone(),
            })
            .into();
    });
    world.run(&[&mapped(1)]);
    assert_eq!(living(&world), (1, 1), "b.db still says so");
    let left = world.sink.hub().rows.into_values().find(|(_, row)| !row.deleted).expect("one is left").1;
    assert_eq!((left.contributor.source.to_string(), left.merged_from.len()), ("b.db".to_owned(), 0));
    assert!(left.row.values.contains(&Value::from("a.db")), "the row itself is as it was");
}

#[test]
fn a_table_that_is_gone_from_its_source_is_told_and_keeps_its_rows() {
    let world = World::new();
    let more = StreamSpec { name: "more".into(), ..spec(notes()) };
    world.run(&[&mapped(1).and(more, vec![note("more", "text")])]);
    let report = world.run(&[&mapped(1)]);
    assert_eq!(report.notes, ["a.db: table more is not there any more; its rows stay in the hub"]);
    assert_eq!(living(&world), (0, 2));
}
