//! Policies, transforms and merges, sound and broken.

use std::sync::atomic::{AtomicUsize, Ordering};

use aqe_sync_core::testkit::{Rule, check_merge, check_policy, check_policy_on, check_transform};
use aqe_sync_core::{
    Conflict, Error, ErrorKind, PolicySpec, Record, Resolution, Result, Row, StreamSpec, Transform, Value, tables,
};

use super::{assert_breaks, assert_checked};
use crate::support::note::{note, notes, spec};

const NAMES: [&str; 8] = [
    "newer_wins",
    "local_wins",
    "hub_wins",
    "higher_confidence",
    "weighted_merge",
    "immutable",
    "source_priority",
    "complement",
];

#[test]
fn every_built_in_policy_passes_on_every_table_of_the_catalogue() {
    let combined = [
        "first_of(higher_confidence, newer_wins)",
        "first_of(complement, weighted_merge)",
        "first_of(source_priority, complement, newer_wins, hub_wins)",
    ];
    for name in NAMES.into_iter().chain(combined) {
        let policy: PolicySpec = name.parse().expect(name);
        let checked = check_policy(&policy).unwrap_or_else(|violation| panic!("{name}: {violation}"));
        assert_checked(&checked, &[Rule::Deterministic, Rule::Total]);
        let checked = check_policy_on(&policy, tables::all()).unwrap_or_else(|violation| panic!("{name}: {violation}"));
        assert_checked(&checked, &[Rule::Deterministic, Rule::Total]);
    }
    let merging = check_policy(&PolicySpec::WeightedMerge).unwrap();
    assert!(merging.of(Rule::MergedRowIsSound) > 100);
}

#[test]
fn every_flaw_of_a_policy_is_named_by_its_rule() {
    let asked = AtomicUsize::new(0);
    let random = |_: &Conflict<'_>| match asked.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Resolution::Incoming("dice".into()),
        _ => Resolution::Existing("dice".into()),
    };
    assert_breaks(check_policy(&random), Rule::Deterministic, "random");
    let panics = |conflict: &Conflict<'_>| {
        let confidence = conflict.incoming.row.values[2].as_f64().expect("always sure");
        if confidence > 0.5 { Resolution::Incoming("sure".into()) } else { Resolution::Undecided }
    };
    assert_breaks(check_policy(&panics), Rule::Total, "panics where there is no value");
    let merged = |change: fn(&mut Row)| {
        move |conflict: &Conflict<'_>| {
            let mut row = conflict.incoming.row.clone();
            change(&mut row);
            let rehashed = Row::new(conflict.table, row.values, row.extra);
            Resolution::Merged("merged".into(), rehashed)
        }
    };
    let other_key = merged(|row| row.values[0] = Value::from("another"));
    assert_breaks(check_policy(&other_key), Rule::MergedRowIsSound, "another key");
    let wrong_type = merged(|row| row.values[3] = Value::Float(0.5));
    assert_breaks(check_policy(&wrong_type), Rule::MergedRowIsSound, "a fraction of a count");
    let nan = merged(|row| row.values[2] = Value::Float(f64::NAN));
    assert_breaks(check_policy(&nan), Rule::MergedRowIsSound, "NaN");
    let stale = |conflict: &Conflict<'_>| {
        let mut row = conflict.incoming.row.clone();
        row.values[1] = Value::from("merged");
        Resolution::Merged("merged".into(), row)
    };
    assert_breaks(check_policy(&stale), Rule::MergedRowIsSound, "the hash of another content");
    assert_breaks(check_policy_on(&PolicySpec::LocalWins, &[]), Rule::HasSomethingToCheck, "no table");
}

struct Tags(fn(&mut Record, usize) -> Result<()>, AtomicUsize);

impl Transform for Tags {
    fn apply(&self, _: &StreamSpec, mut record: Record, out: &mut Vec<Record>) -> Result<()> {
        (self.0)(&mut record, self.1.fetch_add(1, Ordering::Relaxed))?;
        out.push(record);
        Ok(())
    }
}

struct Clears;

impl Transform for Clears {
    fn apply(&self, _: &StreamSpec, record: Record, out: &mut Vec<Record>) -> Result<()> {
        out.clear();
        out.push(record);
        Ok(())
    }
}

struct Swallows;

impl Transform for Swallows {
    fn apply(&self, _: &StreamSpec, _: Record, _: &mut Vec<Record>) -> Result<()> {
        Ok(())
    }
}

fn records() -> Vec<Record> {
    vec![note("1", "one"), note("2", "two")]
}

fn tags(change: fn(&mut Record, usize) -> Result<()>) -> Tags {
    Tags(change, AtomicUsize::new(0))
}

#[test]
fn a_sound_transform_passes_and_may_refuse_records() {
    let tag = tags(|record, _| {
        if record.get("body").as_text().is_some_and(|body| body.contains('\0')) {
            return Err(Error::new(ErrorKind::Invalid, "no U+0000, please"));
        }
        record.extra.push(("tag".to_owned(), "seen".into()));
        Ok(())
    });
    let checked = check_transform(&tag, &spec(notes()), &records()).unwrap();
    assert_checked(&checked, &[Rule::Total, Rule::Deterministic, Rule::AddsToItsOutputOnly]);
}

#[test]
fn every_flaw_of_a_transform_is_named_by_its_rule() {
    let stream = spec(notes());
    let counts = tags(|record, count| {
        record.extra.push(("count".to_owned(), Value::from(count.to_string())));
        Ok(())
    });
    assert_breaks(check_transform(&counts, &stream, &records()), Rule::Deterministic, "counts its records");
    let panics = tags(|record, _| {
        assert!(record.get("body").as_text().is_some(), "a body is text");
        Ok(())
    });
    assert_breaks(check_transform(&panics, &stream, &records()), Rule::Total, "panics at what is not text");
    assert_breaks(check_transform(&Clears, &stream, &records()), Rule::AddsToItsOutputOnly, "clears its output");
    assert_breaks(check_transform(&Swallows, &stream, &records()), Rule::HasSomethingToCheck, "puts nothing out");
    assert_breaks(check_transform(&Clears, &stream, &[]), Rule::HasSomethingToCheck, "no records");
}

#[test]
fn a_sound_merge_passes_and_every_flaw_is_named() {
    let union = |parts: &[Vec<u8>]| {
        let mut all = parts.concat();
        all.sort_unstable();
        all.dedup();
        all
    };
    let samples = [vec![1], vec![2, 3], vec![3, 4], vec![], vec![9]];
    let checked = check_merge(union, &samples).unwrap();
    assert_checked(&checked, &[Rule::Commutative, Rule::Associative, Rule::Idempotent]);

    let first = |parts: &[i64]| parts[0];
    assert_breaks(check_merge(first, &[1, 2, 3]), Rule::Commutative, "the first");
    let sum = |parts: &[i64]| parts.iter().sum();
    assert_breaks(check_merge(sum, &[1, 2, 3]), Rule::Idempotent, "a sum");
    let mean = |parts: &[i64]| parts.iter().sum::<i64>() / i64::try_from(parts.len()).expect("few");
    assert_breaks(check_merge(mean, &[10, 20, 70]), Rule::Associative, "a mean");
    assert_breaks(check_merge(first, &[1, 2]), Rule::HasSomethingToCheck, "two samples");
    assert_breaks(check_merge(first, &[1, 1, 1, 1]), Rule::HasSomethingToCheck, "one sample, four times");
}
