//! After a lost acknowledgement the hub knows more than the ledger: what of it is this
//! writer's own is told from what somebody else did meanwhile.

use aqe_sync_core::{Ledger as _, Mode, PolicySpec, Record, Value};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_sink::{Step, When};
use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};
use crate::support::world::{World, edit, stream_id, texts};

fn source(policy: &PolicySpec, bodies: &[(&str, &str)]) -> MemorySource {
    let records = bodies.iter().map(|(id, body)| note(id, *body)).collect();
    MemorySource::new("a.db", spec(notes().policy(policy.clone())), records)
}

/// One row a batch; the acknowledgement of the batch after `spare` others is lost.
fn world_after(policy: &PolicySpec, before: &[(&str, &str)], lost: &[(&str, &str)], spare: usize) -> World {
    let mut world = World::new();
    world.options.limits.rows = 1;
    world.run(&[&source(policy, before)]);
    world.sink.fail(Step::Commit, When::After, spare);
    world.run(&[&source(policy, lost)]);
    let known = world.ledger.load(&stream_id("a.db")).expect("in memory").expect("written");
    assert_ne!(known.sequence, world.sink.hub().states[&stream_id("a.db")].sequence, "it was lost");
    world
}

const POLICIES: [(PolicySpec, &str); 2] = [(PolicySpec::LocalWins, "mine"), (PolicySpec::HubWins, "theirs")];

#[test]
fn what_somebody_else_changed_meanwhile_is_a_conflict_and_both_images_are_kept() {
    for mode in [Mode::Incremental, Mode::Full] {
        for (policy, stored) in POLICIES {
            let world = world_after(&policy, &[("1", "a"), ("2", "b")], &[("1", "A"), ("2", "b")], 0);
            edit(&world, "2", note("2", "theirs"));
            let now = source(&policy, &[("1", "A"), ("2", "mine")]);
            let report = world.run_as(mode, &[&now]);
            assert_eq!((report.totals.conflicts, report.totals.unchanged), (1, 1), "{policy} {mode:?}");
            let log = world.sink.hub().conflicts.remove(0);
            assert_eq!(log.existing.values[1], Value::from("theirs"));
            assert_eq!(log.incoming.expect("an upsert").values[1], Value::from("mine"));
            assert_eq!(world.bodies(), texts(&[("1", "A"), ("2", stored)]));
            // It was decided once.
            let again = world.run(&[&now]);
            assert_eq!((again.totals.conflicts, again.totals.unchanged), (0, 2), "{policy} {mode:?}");
        }
    }
}

#[test]
fn the_writers_own_version_is_none_however_often_the_record_changed_since() {
    for mode in [Mode::Incremental, Mode::Full] {
        for spare in [0, 1] {
            let policy = PolicySpec::HubWins;
            let before = [("1", "a"), ("2", "b")];
            let world = world_after(&policy, &before, &[("1", "A"), ("2", "B"), ("3", "new")], spare);
            // The third version, and one that went back to the first.
            let now = source(&policy, &[("1", "third"), ("2", "b"), ("3", "newer")]);
            let report = world.run_as(mode, &[&now]);
            assert_eq!(report.totals.conflicts, 0, "{mode:?} {spare}: {report:#?}");
            assert_eq!(world.bodies(), texts(&[("1", "third"), ("2", "b"), ("3", "newer")]));
        }
    }
}

#[test]
fn what_was_deleted_when_the_acknowledgement_was_lost_stays_deleted() {
    let policy = PolicySpec::HubWins;
    let world = world_after(&policy, &[("1", "a"), ("2", "b")], &[("1", "a")], 0);
    let report = world.run(&[&source(&policy, &[("1", "a")])]);
    assert_eq!((report.totals.deleted, report.totals.conflicts), (0, 0));
    assert_eq!(world.bodies(), texts(&[("1", "a")]));
    // And what changed in the hub in between is not deleted.
    let world = world_after(&policy, &[("1", "a"), ("2", "b")], &[("1", "A"), ("2", "b")], 0);
    edit(&world, "2", note("2", "theirs"));
    let report = world.run(&[&source(&policy, &[("1", "A")])]);
    assert_eq!((report.totals.deleted, report.totals.conflicts), (0, 1));
    assert_eq!(world.bodies(), texts(&[("1", "A"), ("2", "theirs")]));
}

#[test]
fn a_decision_whose_acknowledgement_was_lost_is_not_taken_twice() {
    let policy = PolicySpec::HubWins;
    let mut world = World::new();
    world.options.limits.rows = 1;
    world.run(&[&source(&policy, &[("1", "a")])]);
    edit(&world, "1", note("1", "theirs"));
    let now = source(&policy, &[("1", "mine")]);
    for (when, conflicts) in [(When::Before, 0), (When::After, 1)] {
        world.sink.fail(Step::Commit, when, 0);
        world.run(&[&now]);
        assert_eq!(world.sink.hub().conflicts.len(), conflicts, "{when:?}");
    }
    assert_eq!(world.run(&[&now]).totals.conflicts, 0);
    assert_eq!((world.sink.hub().conflicts.len(), world.bodies()), (1, texts(&[("1", "theirs")])));
}

#[test]
fn an_old_ledger_knows_of_no_intent_that_explains_the_hub_and_everything_is_the_writers_own() {
    let policy = PolicySpec::HubWins;
    let world = World::new();
    world.run(&[&source(&policy, &[("1", "a")])]);
    let old = world.ledger.load(&stream_id("a.db")).expect("in memory").expect("written");
    world.run(&[&source(&policy, &[("1", "b")])]);
    world.ledger.replace(&stream_id("a.db"), &old).expect("in memory");
    let report = world.run(&[&source(&policy, &[("1", "c")])]);
    assert_eq!((report.totals.conflicts, report.totals.updated), (0, 1));
    assert_eq!(world.bodies(), texts(&[("1", "c")]));
}

#[test]
fn whether_the_hub_changed_beside_an_unchanged_record_is_looked_at_in_full_runs_only() {
    for (mode, conflicts, stored) in [(Mode::Incremental, 0, "theirs"), (Mode::Full, 1, "b")] {
        let policy = PolicySpec::LocalWins;
        let world = world_after(&policy, &[("1", "a"), ("2", "b")], &[("1", "A"), ("2", "b")], 0);
        edit(&world, "2", note("2", "theirs"));
        let report = world.run_as(mode, &[&source(&policy, &[("1", "A"), ("2", "b")])]);
        assert_eq!(report.totals.conflicts, conflicts, "{mode:?}: {report:#?}");
        assert_eq!(world.bodies(), texts(&[("1", "A"), ("2", stored)]), "{mode:?}");
    }
}

#[test]
fn a_ledger_of_a_hub_that_was_emptied_vouches_for_nothing_even_when_the_commits_come_to_its_number() {
    let policy = PolicySpec::HubWins;
    let mut world = World::new();
    let all = [("1", "a"), ("2", "b")];
    world.run(&[&source(&policy, &all)]);
    let known = world.ledger.load(&stream_id("a.db")).expect("in memory").expect("written");
    // Somebody emptied it, and the next load stops after as many commits as the ledger knew of.
    world.sink.tamper(|hub| {
        hub.rows.clear();
        hub.states.clear();
    });
    world.options.limits.rows = 1;
    let spare = usize::try_from(known.sequence).expect("few");
    world.sink.fail(Step::Commit, When::Before, spare);
    world.run(&[&source(&policy, &all)]);
    assert_eq!(world.sink.hub().states[&stream_id("a.db")].sequence, known.sequence, "the same number");
    assert_eq!(world.bodies().len(), 1);
    world.sink.heal();
    world.run(&[&source(&policy, &all)]);
    assert_eq!(world.bodies(), texts(&all));
}

fn bodies(versions: &[Option<u8>]) -> Vec<Record> {
    let there = versions.iter().enumerate().filter_map(|(id, version)| Some((id, (*version)?)));
    there.map(|(id, version)| note(&id.to_string(), format!("version {version}"))).collect()
}

fn versions() -> impl Strategy<Value = Vec<Option<u8>>> {
    proptest::collection::vec(proptest::option::weighted(0.8, 0..3_u8), 4)
}

proptest! {
    #![proptest_config(cases(192))]

    /// Without another hand there is no conflict, and the hub ends as the source is.
    #[test]
    fn one_writer_never_meets_itself(
        rounds in proptest::collection::vec((versions(), proptest::option::of(0..4_usize), any::<bool>(), any::<bool>()), 1..8),
        last in versions(),
        rows in 1..4_usize,
    ) {
        let mut world = World::new();
        world.options.limits.rows = rows;
        let source = |versions: &[Option<u8>]| {
            MemorySource::new("a.db", spec(notes().policy(PolicySpec::HubWins)), bodies(versions))
        };
        for (versions, lost, after, full) in rounds {
            if let Some(spare) = lost {
                world.sink.fail(Step::Commit, if after { When::After } else { When::Before }, spare);
            }
            let mode = if full { Mode::Full } else { Mode::Incremental };
            prop_assert_eq!(world.run_as(mode, &[&source(&versions)]).totals.conflicts, 0);
        }
        world.sink.heal();
        prop_assert_eq!(world.run(&[&source(&last)]).totals.conflicts, 0);
        let fresh = World::new();
        fresh.run(&[&source(&last)]);
        prop_assert_eq!(world.bodies(), fresh.bodies());
        prop_assert!(world.sink.hub().conflicts.is_empty());
    }
}
