//! A conflict arises exactly when the stored row is not the one a change is based on.

use std::collections::BTreeMap;

use aqe_sync_core::meet::Stored;
use aqe_sync_core::{Mode, PolicySpec, Record, Value};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, note, notes, spec};
use crate::support::world::{World, edit, stored};

fn source(policy: &PolicySpec, records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes().policy(policy.clone())), records)
}

#[test]
fn the_policy_decides_and_both_images_are_kept() {
    for mode in [Mode::Incremental, Mode::Full] {
        for (policy, expected) in [(PolicySpec::LocalWins, "local"), (PolicySpec::HubWins, "hub")] {
            let world = World::new();
            world.run(&[&source(&policy, vec![note("1", "old")])]);
            edit(&world, "1", note("1", "hub"));
            let report = world.run_as(mode, &[&source(&policy, vec![note("1", "local")])]);
            assert_eq!(report.totals.conflicts, 1, "{policy} {mode:?}");
            assert_eq!(report.streams[0].rules.get(&policy.to_string()), Some(&1));
            assert_eq!(world.bodies()["1"], Value::from(expected));
            assert!(report.notes.is_empty(), "no other source has the record: {:?}", report.notes);
            let log = world.sink.hub().conflicts.remove(0);
            assert_eq!(log.existing.values[1], Value::from("hub"));
            assert_eq!(log.incoming.expect("an upsert").values[1], Value::from("local"));
        }
    }
}

#[test]
fn what_a_policy_decided_stands_in_every_later_run() {
    let world = World::new();
    let policy = PolicySpec::HubWins;
    world.run(&[&source(&policy, vec![note("1", "old")])]);
    edit(&world, "1", note("1", "hub"));
    let local = source(&policy, vec![note("1", "local")]);
    world.run(&[&local]);
    let rows = world.sink.hub().rows;
    let log = world.sink.hub().conflicts;
    for mode in [Mode::Incremental, Mode::Full, Mode::Append, Mode::Full, Mode::Incremental] {
        let report = world.run_as(mode, &[&local]);
        assert_eq!(world.sink.hub().rows, rows, "{mode:?}");
        assert_eq!((world.sink.hub().conflicts.len(), report.totals.conflicts), (log.len(), 0), "{mode:?}");
    }
    // A later change of the record is based on what the hub holds, and goes through.
    let report = world.run(&[&source(&policy, vec![note("1", "later")])]);
    assert_eq!((report.totals.updated, report.totals.conflicts), (1, 0));
}

#[test]
fn a_row_that_the_writer_never_saw_is_in_its_way_in_every_mode() {
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        let policy = PolicySpec::HubWins;
        world.run(&[&source(&policy, vec![note("1", "one"), note("2", "two")])]);
        world.sink.tamper(|hub| {
            let (id, (key, row)) = hub.rows.first_key_value().map(|(id, row)| (id.clone(), row.clone())).expect("rows");
            let other = stored(note("3", "theirs"));
            let new = aqe_sync_core::Key::new(vec!["3".into()]);
            hub.rows.insert((id.0, id.1, new.hash()), (new, Stored { row: other.row, ..row }));
            drop(key);
        });
        let three = vec![note("1", "one"), note("2", "two"), note("3", "mine")];
        let report = world.run_as(mode, &[&source(&policy, three)]);
        assert_eq!((report.totals.superseded, report.totals.conflicts), (1, 1), "{mode:?}");
        assert_eq!(world.bodies()["3"], Value::from("theirs"));
    }
}

/// What happens to one key between two runs, on either side.
#[derive(Clone, Copy, Debug)]
struct Step {
    local: Option<u8>,
    hub: Option<u8>,
}

fn step() -> impl Strategy<Value = Step> {
    (proptest::option::of(0..4_u8), proptest::option::weighted(0.4, 0..4_u8))
        .prop_map(|(local, hub)| Step { local, hub })
}

fn body(id: usize, version: u8) -> Record {
    note(&id.to_string(), format!("version {version}")).with("confidence", f64::from(version) / 4.0)
}

proptest! {
    #![proptest_config(cases(192))]

    /// Random writers on both sides, modes mixed: a conflict is counted for
    /// exactly the keys whose stored row is neither the base nor the new content.
    #[test]
    fn conflicts_arise_exactly_where_the_stored_row_is_not_the_base(
        rounds in proptest::collection::vec((proptest::collection::vec(step(), 4), any::<bool>()), 1..5),
        keeps_hub in any::<bool>(),
    ) {
        let policy = if keeps_hub { PolicySpec::HubWins } else { PolicySpec::LocalWins };
        let world = World::new();
        let mut local: Vec<u8> = vec![0; 4];
        let records = |local: &[u8]| local.iter().enumerate().map(|(id, version)| body(id, *version)).collect();
        world.run(&[&source(&policy, records(&local))]);
        // Per key: the record last synced and the hub's version it is based on.
        let mut seen: BTreeMap<usize, (u8, u8)> = (0..4).map(|id| (id, (0, 0))).collect();
        let mut hub: Vec<u8> = vec![0; 4];
        for (steps, full) in rounds {
            for (id, step) in steps.iter().enumerate() {
                if let Some(version) = step.local {
                    local[id] = version;
                }
                if let Some(version) = step.hub {
                    hub[id] = version;
                    edit(&world, &id.to_string(), body(id, version));
                }
            }
            let mode = if full { Mode::Full } else { Mode::Incremental };
            let mut expected = 0;
            for id in 0..4 {
                let (synced, base) = seen[&id];
                let mine = local[id];
                if !full && (synced == mine || base == mine) {
                    // Not looked at closer: the ledger says that the hub has it.
                    seen.insert(id, (mine, base));
                    continue;
                }
                let decided_before = full && synced == mine && base == hub[id];
                let conflict = hub[id] != base && hub[id] != mine;
                expected += u64::from(conflict);
                if !(keeps_hub && (conflict || decided_before)) {
                    hub[id] = mine;
                }
                seen.insert(id, (mine, hub[id]));
            }
            let report = world.run_as(mode, &[&source(&policy, records(&local))]);
            prop_assert_eq!(report.totals.conflicts, expected, "{:?} {:?}", mode, report);
            for (id, version) in hub.iter().enumerate() {
                let expected = Value::from(format!("version {version}"));
                prop_assert_eq!(&world.bodies()[&id.to_string()], &expected);
            }
        }
    }
}
