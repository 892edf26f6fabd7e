//! Several sources of one environment hold the same key.

use std::collections::BTreeMap;

use aqe_sync_core::meet::Stored;
use aqe_sync_core::{Mode, PolicySpec, Record, Value};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, at_second, note, notes, spec};
use crate::support::world::{World, texts};

const NAMES: [&str; 3] = ["a.db", "b.db", "c.db"];

fn source(policy: &PolicySpec, number: usize, priority: i32, records: Vec<Record>) -> MemorySource {
    MemorySource::new(NAMES[number], spec(notes().policy(policy.clone())), records).priority(priority)
}

fn counted(uses: i64, score: f64) -> Record {
    note("1", "one").with("uses", uses).with("score", score)
}

#[test]
fn the_higher_priority_wins_whoever_comes_first() {
    let policy = PolicySpec::SourcePriority;
    let low = source(&policy, 0, 1, vec![note("1", "low")]);
    let high = source(&policy, 1, 2, vec![note("1", "high")]);
    for order in [[&low, &high], [&high, &low]] {
        let world = World::new();
        let report = world.run(&order);
        assert_eq!(world.bodies(), texts(&[("1", "high")]));
        assert_eq!(report.totals.conflicts, 1);
        let overlap = |note: &String| note.starts_with("1 records of") && note.ends_with("counted once");
        assert!(report.notes.iter().any(overlap), "{:?}", report.notes);
    }
}

#[test]
fn contributions_are_folded_from_the_highest_priority_down() {
    for policy in [PolicySpec::Immutable, PolicySpec::HubWins] {
        let low = source(&policy, 0, 1, vec![note("1", "low")]);
        let high = source(&policy, 1, 2, vec![note("1", "high")]);
        for order in [[&low, &high], [&high, &low]] {
            let world = World::new();
            world.run(&order);
            assert_eq!(world.bodies(), texts(&[("1", "high")]), "{policy}");
        }
    }
}

#[test]
fn deleting_the_winners_record_brings_the_other_one_back() {
    let policy = PolicySpec::SourcePriority;
    let low = source(&policy, 0, 1, vec![note("1", "low")]);
    let high = source(&policy, 1, 2, vec![note("1", "high")]);
    for mode in [Mode::Incremental, Mode::Full] {
        let world = World::new();
        world.run(&[&low, &high]);
        let report = world.run_as(mode, &[&low, &source(&policy, 1, 2, Vec::new())]);
        assert_eq!(report.totals.deleted, 0, "the row lives on");
        assert_eq!(world.bodies(), texts(&[("1", "low")]));
        assert!(world.stored()["1"].merged_from.is_empty());
        // And when the last one goes, so does the row.
        let report = world.run_as(mode, &[&source(&policy, 0, 1, Vec::new())]);
        assert_eq!((report.totals.deleted, world.bodies().len()), (1, 0));
    }
}

#[test]
fn a_new_rank_takes_effect_when_the_sources_meet_again() {
    let policy = PolicySpec::SourcePriority;
    let world = World::new();
    let with = |priority| source(&policy, 0, priority, vec![note("1", "a")]);
    let other = |body: &str| source(&policy, 1, 2, vec![note("1", body)]);
    world.run(&[&with(1), &other("b")]);
    assert_eq!(world.bodies(), texts(&[("1", "b")]));
    world.run(&[&with(3), &other("b again")]);
    assert_eq!(world.bodies(), texts(&[("1", "a")]));
}

#[test]
fn weighted_merge_adds_up_and_never_twice() {
    let policy = PolicySpec::WeightedMerge;
    let one = source(&policy, 0, 1, vec![counted(10, 0.5)]);
    let two = source(&policy, 1, 2, vec![counted(30, 0.9)]);
    let world = World::new();
    let report = world.run(&[&one, &two]);
    assert_eq!((report.totals.inserted, report.totals.merged), (1, 1));
    let sums = |world: &World| {
        let row = world.stored()["1"].row.clone();
        (row.values[3].clone(), row.values[4].as_f64().expect("a score"))
    };
    assert_eq!(sums(&world), (Value::Int(40), 0.8));
    let before = world.content();
    for mode in [Mode::Full, Mode::Incremental, Mode::Append, Mode::Full] {
        world.run_as(mode, &[&two, &one]);
        assert_eq!(world.content(), before, "{mode:?}");
    }
    // Counting on replaces a contribution, and does not add to it.
    world.run(&[&source(&policy, 0, 1, vec![counted(11, 0.5)])]);
    assert_eq!(sums(&world).0, Value::Int(41));
}

#[test]
fn the_same_memory_reachable_three_times_counts_once() {
    let policy = PolicySpec::WeightedMerge;
    let copies = |order: [usize; 3]| {
        let world = World::new();
        let records = [counted(10, 0.5), counted(30, 0.9), counted(10, 0.5)];
        for number in order {
            world.run(&[&source(&policy, number, 0, vec![records[number].clone()])]);
        }
        world.stored()["1"].row.values[3].clone()
    };
    assert_eq!(copies([0, 1, 2]), Value::Int(40));
    assert_eq!(copies([2, 1, 0]), Value::Int(40));
}

#[test]
fn bare_vectors_and_full_records_complement_each_other() {
    let policy = PolicySpec::FirstOf(vec![PolicySpec::Complement, PolicySpec::SourcePriority]);
    let bare = note("1", Value::Null).with("details", Value::from("{\"a\":1, \"b\":2}"));
    let full = note("1", "one").with("details", Value::from("{\"b\": 2.0, \"a\": 1}"));
    let world = World::new();
    let report = world.run(&[&source(&policy, 0, 2, vec![bare]), &source(&policy, 1, 1, vec![full])]);
    assert_eq!(world.bodies(), texts(&[("1", "one")]), "JSON is compared by what it means: {report:?}");
}

/// What one source says of the key, if anything.
#[derive(Clone, Debug)]
struct Said {
    body: u8,
    confidence: Option<u8>,
    updated: Option<u8>,
    uses: Option<u8>,
}

fn said() -> impl Strategy<Value = Said> {
    let some = || proptest::option::of(0..3_u8);
    (0..3_u8, some(), some(), some()).prop_map(|(body, confidence, updated, uses)| Said {
        body,
        confidence,
        updated,
        uses,
    })
}

impl Said {
    fn record(&self, key: usize) -> Record {
        let body = (self.body > 0).then(|| format!("body {}", self.body));
        note(&key.to_string(), body)
            .with("confidence", self.confidence.map(|n| f64::from(n) / 2.0))
            .with("updated_at", self.updated.map(|n| at_second(i64::from(n))))
            .with("uses", self.uses.map(i64::from))
            .with("score", self.uses.map(|n| f64::from(n) * 0.3))
    }
}

pub(crate) fn any_policy() -> impl Strategy<Value = PolicySpec> {
    prop_oneof![
        Just(PolicySpec::NewerWins),
        Just(PolicySpec::LocalWins),
        Just(PolicySpec::HubWins),
        Just(PolicySpec::HigherConfidence),
        Just(PolicySpec::WeightedMerge),
        Just(PolicySpec::Immutable),
        Just(PolicySpec::SourcePriority),
        Just(PolicySpec::Complement),
        Just(PolicySpec::FirstOf(vec![PolicySpec::Complement, PolicySpec::HigherConfidence])),
        Just(PolicySpec::default()),
    ]
}

/// The living rows; contributions in a fixed order.
fn living(world: &World) -> BTreeMap<String, Stored> {
    world.stored().into_iter().filter(|(_, stored)| !stored.deleted).collect()
}

type Contents = [[Option<Said>; 2]; 3];

fn sources(policy: &PolicySpec, priorities: [i32; 3], contents: &Contents) -> Vec<MemorySource> {
    let of = |number: usize| {
        let records = contents[number].iter().enumerate();
        let records = records.filter_map(|(key, said)| said.as_ref().map(|said| said.record(key))).collect();
        source(policy, number, priorities[number], records)
    };
    (0..3).map(of).collect()
}

proptest! {
    #![proptest_config(cases(96))]

    /// Random upserts and deletes from three sources, in random order and
    /// modes, end as the final contributions do, applied once in any order.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        policy in any_policy(),
        priorities in proptest::array::uniform3(0..3_i32),
        steps in proptest::collection::vec((0..3_usize, 0..2_usize, proptest::option::weighted(0.7, said()), any::<bool>()), 1..10),
        order in Just([0_usize, 1, 2]).prop_shuffle(),
    ) {
        let mut contents: Contents = Default::default();
        let ranked = || World::with(|options| {
            options.priorities = NAMES.iter().map(|name| (*name).into()).zip(priorities).collect();
        });
        let world = ranked();
        for (number, key, said, full) in steps {
            contents[number][key] = said;
            let mode = if full { Mode::Full } else { Mode::Incremental };
            world.run_as(mode, &[&sources(&policy, priorities, &contents)[number]]);
        }
        let fresh = ranked();
        let all = sources(&policy, priorities, &contents);
        for number in order {
            fresh.run(&[&all[number]]);
        }
        prop_assert_eq!(living(&world), living(&fresh));
        // And running all of it again changes nothing.
        let before = world.sink.hub().rows;
        for mode in [Mode::Incremental, Mode::Full, Mode::Append] {
            let report = world.run_as(mode, &all.iter().collect::<Vec<_>>());
            prop_assert_eq!(report.totals.conflicts, 0);
            prop_assert_eq!(&world.sink.hub().rows, &before);
        }
    }
}
