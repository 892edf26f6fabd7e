//! Two installations under one environment name.

use aqe_sync_core::{Ledger as _, Mode, PolicySpec, Record, Status};

use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};
use crate::support::world::{World, first, stream_id, texts};

const HERE: &str = "1111111111111111 laptop:/shop";
const THERE: &str = "2222222222222222 devpod:/shop";

/// An installation that writes to the hub of `world`, with a ledger of its own.
fn installation(world: &World, name: &str) -> World {
    let mut other = World { sink: world.sink.clone(), ..World::new() };
    other.options.instance = name.into();
    other
}

fn source(bodies: &[(&str, &str)]) -> MemorySource {
    let records: Vec<Record> = bodies.iter().map(|(id, body)| note(id, *body)).collect();
    MemorySource::new("a.db", spec(notes().policy(PolicySpec::HubWins)), records)
}

#[test]
fn two_installations_that_write_in_turn_are_told_so_and_delete_nothing_of_each_other() {
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        let (here, there) = (installation(&world, HERE), installation(&world, THERE));
        here.run(&[&source(&[("1", "here"), ("2", "here"), ("3", "same")])]);
        there.run(&[&source(&[("1", "there"), ("3", "same"), ("4", "there")])]);

        let report = here.run_as(mode, &[&source(&[("1", "here"), ("3", "same")])]);
        assert_eq!((report.status, report.totals.deleted), (Status::Partial, 0), "{mode:?} {report:#?}");
        let warnings = &first(&report).warnings;
        assert_eq!(warnings.len(), 1);
        for part in [HERE, THERE, "--env or AQE_ENV", "environment laptop"] {
            assert!(warnings[0].contains(part), "{part}: {warnings:?}");
        }
        assert_eq!(here.bodies(), texts(&[("1", "here"), ("2", "here"), ("3", "same"), ("4", "there")]));

        // What only the hub has is not ours from now on either.
        let known = here.ledger.load(&stream_id("a.db")).expect("in memory").expect("written");
        assert_eq!(known.entries.len(), 2);
        let report = here.run_as(mode, &[&source(&[("1", "here")])]);
        assert_eq!((report.status, report.totals.deleted), (Status::Ok, 1), "{mode:?}");
        assert_eq!(here.bodies(), texts(&[("1", "here"), ("2", "here"), ("4", "there")]));
    }
}

#[test]
fn what_differs_is_contested_and_both_sides_are_logged() {
    for (policy, stored) in
        [(PolicySpec::HubWins, "first"), (PolicySpec::LocalWins, "here"), (PolicySpec::Immutable, "first")]
    {
        let world = World::new();
        let (here, there) = (installation(&world, HERE), installation(&world, THERE));
        let of = |body: &str| {
            MemorySource::new("a.db", spec(notes().policy(policy.clone())), vec![note("1", body), note("2", "same")])
        };
        here.run(&[&of("first")]);
        there.run(&[&of("there")]);
        let logged = world.sink.hub().conflicts.len();
        let report = here.run(&[&of("here")]);
        assert_eq!((report.totals.conflicts, report.totals.unchanged), (1, 1), "{policy}");
        let log = world.sink.hub().conflicts.remove(logged);
        assert!(log.incoming.is_some_and(|row| row.values[1] == "here".into()), "{policy}");
        assert_eq!(here.bodies()["1"], stored.into(), "{policy}");
    }
}

#[test]
fn what_differs_in_an_immutable_table_is_logged_too() {
    let world = World::new();
    let (here, there) = (installation(&world, HERE), installation(&world, THERE));
    let of = |body: &str| MemorySource::new("a.db", spec(notes().immutable()), vec![note("1", body)]);
    here.run(&[&of("first")]);
    let report = there.run(&[&of("there")]);
    assert_eq!((report.totals.superseded, report.totals.conflicts), (1, 1), "{report:#?}");
    assert_eq!(there.bodies(), texts(&[("1", "first")]));
}

#[test]
fn an_installation_without_a_ledger_takes_over_and_says_so_once() {
    let world = World::new();
    let (here, there) = (installation(&world, HERE), installation(&world, THERE));
    here.run(&[
        &source(&[("1", "one"), ("2", "two")]),
        &MemorySource { name: "b.db".into(), ..source(&[("9", "nine")]) },
    ]);
    let now = [&source(&[("1", "one")]), &MemorySource { name: "b.db".into(), ..source(&[]) }];
    let report = there.run(&now);
    assert_eq!((report.status, report.totals.deleted, report.totals.unchanged), (Status::Ok, 0, 1), "{report:#?}");
    let notes: Vec<_> = report.notes.iter().filter(|note| note.contains(HERE)).collect();
    assert_eq!(notes.len(), 1, "{:?}", report.notes);
    assert!(notes[0].contains(THERE) && notes[0].contains("takes over"), "{notes:?}");
    assert_eq!(world.bodies().len(), 3);

    let report = there.run(&now);
    assert!(!report.notes.iter().any(|note| note.contains(HERE)), "the ledger is in step: {:?}", report.notes);
    assert_eq!(report.totals.deleted, 0);
}

#[test]
fn a_lost_ledger_of_the_same_installation_deletes_what_is_gone() {
    let world = World::new();
    let mut here = installation(&world, HERE);
    here.run(&[&source(&[("1", "one"), ("2", "two")])]);
    here.forget();
    let report = here.run(&[&source(&[("1", "one")])]);
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 1));
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn a_ledger_in_step_proves_that_nobody_else_wrote() {
    let world = World::new();
    let here = installation(&world, HERE);
    here.run(&[&source(&[("1", "one"), ("2", "two")])]);
    // The same checkout, under another host name: nothing was written in between.
    let moved = World { options: installation(&world, THERE).options, ..here };
    let report = moved.run(&[&source(&[("1", "one")])]);
    assert_eq!((report.status, report.totals.deleted), (Status::Ok, 1), "{report:#?}");
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn whoever_gives_no_name_is_not_told_apart() {
    for (first_name, second_name) in [("", THERE), (HERE, "")] {
        let world = World::new();
        installation(&world, first_name).run(&[&source(&[("1", "one"), ("2", "two")])]);
        let report = installation(&world, second_name).run(&[&source(&[("1", "one")])]);
        assert_eq!((report.status, report.totals.deleted), (Status::Ok, 1));
        assert!(report.notes.is_empty(), "{:?}", report.notes);
    }
}
