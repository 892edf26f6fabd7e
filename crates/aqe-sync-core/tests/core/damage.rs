//! Rows of the hub whose columns are not what their recorded hash says: somebody's hand, or a disk.

use aqe_sync_core::ledger::LedgerStream;
use aqe_sync_core::{
    Depth, DynSource, Key, Ledger as _, Mode, PolicySpec, RepairReport, Report, Silent, Value, repair,
};
use futures::executor::block_on;

use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};
use crate::support::world::{World, stream_id, texts};

fn source(bodies: &[(&str, &str)]) -> MemorySource {
    let records = bodies.iter().map(|(id, body)| note(id, *body)).collect();
    MemorySource::new("a.db", spec(notes().policy(PolicySpec::HubWins)), records)
}

/// A hub that looks at what is stored.
fn looking() -> World {
    let world = World::new();
    world.sink.look();
    world
}

/// Changes the body of a stored row, and not what is recorded of it.
fn damage(world: &World, key: &str) {
    world.sink.tamper(|hub| {
        let (_, stored) = hub.rows.values_mut().find(|(known, _)| known.to_string() == key).expect("a row");
        stored.row.values[1] = Value::from("damaged");
    });
}

fn repaired(world: &World, source: &MemorySource) -> RepairReport {
    let boxed: Vec<Box<dyn DynSource>> = vec![Box::new(source.clone())];
    let report = block_on(repair(&world.sink, &world.ledger, &Silent, &boxed, &world.options, Depth::Stored));
    report.expect("the hub answers")
}

fn moved(report: &Report) -> [u64; 4] {
    let totals = &report.totals;
    [totals.inserted, totals.updated, totals.unchanged, totals.conflicts]
}

const BODIES: [(&str, &str); 2] = [("1", "one"), ("2", "two")];

#[test]
fn a_full_run_writes_a_damaged_row_anew_and_only_that() {
    let mut world = looking();
    world.run(&[&source(&BODIES)]);
    damage(&world, "1");
    assert_eq!(moved(&world.run(&[&source(&BODIES)])), [0, 0, 2, 0], "an incremental run does not look");
    assert_eq!(moved(&world.run_as(Mode::Full, &[&source(&BODIES)])), [0, 1, 1, 0]);
    assert_eq!(world.bodies(), texts(&BODIES));
    assert_eq!(moved(&world.run_as(Mode::Full, &[&source(&BODIES)])), [0, 0, 2, 0]);

    // Without a ledger the hub is asked, in a full run all the same.
    damage(&world, "2");
    world.forget();
    assert_eq!(moved(&world.run_as(Mode::Full, &[&source(&BODIES)])), [0, 1, 1, 0]);
    assert_eq!(world.bodies(), texts(&BODIES));
}

#[test]
fn a_damaged_row_of_a_stream_that_is_written_once_is_written_anew_too() {
    let frozen = MemorySource::new("a.db", spec(notes().immutable()), vec![note("1", "one")]);
    let world = looking();
    world.run(&[&frozen]);
    damage(&world, "1");
    assert_eq!(moved(&world.run_as(Mode::Full, &[&frozen])), [0, 1, 0, 0]);
    assert_eq!(world.bodies(), texts(&[("1", "one")]));
}

#[test]
fn a_damaged_row_whose_record_changed_meets_the_policy_unless_it_is_to_be_repaired() {
    let now = source(&[("1", "changed"), ("2", "two")]);
    let world = looking();
    world.run(&[&source(&BODIES)]);
    damage(&world, "1");
    assert_eq!(moved(&world.run_as(Mode::Full, &[&now])), [0, 0, 1, 1]);
    assert_eq!(world.bodies(), texts(&[("1", "damaged"), ("2", "two")]), "the hub's version wins here");

    let world = looking();
    world.run(&[&source(&BODIES)]);
    damage(&world, "1");
    let report = repaired(&world, &now);
    assert!(report.matches(), "{report:?}");
    assert_eq!(moved(&report.run.expect("something was to be done")), [0, 1, 1, 0]);
    assert_eq!(world.bodies(), texts(&[("1", "changed"), ("2", "two")]));
}

#[test]
fn a_repair_takes_nothing_by_force_from_another_installation() {
    let mut here = looking();
    here.options.instance = "1111111111111111 laptop:/shop".into();
    let mut there = World { sink: here.sink.clone(), ..World::new() };
    there.options.instance = "2222222222222222 devpod:/shop".into();
    here.run(&[&source(&BODIES)]);
    there.run(&[&source(&[("1", "theirs"), ("2", "two"), ("3", "theirs")])]);
    damage(&here, "1");
    let before = here.bodies();
    let report = repaired(&here, &source(&[("1", "ours"), ("2", "two")]));
    let run = report.run.as_ref().expect("something was to be done");
    assert_eq!((run.totals.conflicts, run.totals.deleted), (1, 0), "{report:?}");
    assert_eq!(here.bodies(), before, "the policy lets the hub's version be");
}

#[test]
fn a_repair_leaves_a_ledger_in_step_as_it_is_and_begins_another_anew() {
    let stream = stream_id("a.db");
    let known = |world: &World| world.ledger.load(&stream).expect("in memory").expect("written");
    let mut world = looking();
    world.run(&[&source(&BODIES)]);
    let before = known(&world);
    assert!(before.entries.iter().all(|entry| entry.local.is_some()));
    damage(&world, "1");
    repaired(&world, &source(&BODIES));
    // What the repair did not touch is known as it was: its source's version too.
    let untouched = |ledger: &LedgerStream| {
        let key = Key::new(vec![Value::from("2")]).hash();
        ledger.entries.iter().find(|entry| entry.key == key).copied().expect("it is known")
    };
    assert_eq!(untouched(&known(&world)), untouched(&before));

    world.forget();
    damage(&world, "1");
    repaired(&world, &source(&BODIES));
    let state = world.sink.hub().states[&stream].sequence;
    assert_eq!((known(&world).sequence, known(&world).entries.len()), (state, 2), "and the hub is not asked again");
}

#[test]
fn a_repair_writes_what_two_installations_have_alike_anew() {
    let mut here = looking();
    here.options.instance = "1111111111111111 laptop:/shop".into();
    let mut there = World { sink: here.sink.clone(), ..World::new() };
    there.options.instance = "2222222222222222 devpod:/shop".into();
    here.run(&[&source(&BODIES)]);
    there.run(&[&source(&BODIES)]);
    damage(&here, "2");
    assert!(repaired(&here, &source(&BODIES)).matches());
    assert_eq!(here.bodies(), texts(&BODIES));
}

#[test]
fn a_repair_begins_a_ledger_anew_that_the_hub_has_overtaken() {
    let stream = stream_id("a.db");
    let known = |world: &World| world.ledger.load(&stream).expect("in memory").expect("written");
    let world = looking();
    world.run(&[&source(&[("1", "one"), ("2", "two"), ("3", "three")])]);
    let old = known(&world);
    world.run(&[&source(&BODIES)]);
    world.ledger.replace(&stream, &old).expect("in memory");
    damage(&world, "1");
    assert!(repaired(&world, &source(&BODIES)).matches());
    let gone = Key::new(vec![Value::from("3")]).hash();
    assert!(known(&world).entries.iter().all(|entry| entry.key != gone), "the old ledger vouches for what is gone");
    assert_eq!(known(&world).sequence, world.sink.hub().states[&stream].sequence);
    assert_eq!(moved(&world.run(&[&source(&BODIES)])), [0, 0, 2, 0]);
}
