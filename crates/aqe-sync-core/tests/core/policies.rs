//! Policies: total, deterministic, and never outside what they were given.

use aqe_sync_core::conflict::{Version, decide, weighted_mean};
use aqe_sync_core::{
    Conflict, ConflictKind, ConflictPolicy as _, Contributor, Key, PolicySpec, Resolution, Row, Value,
};
use proptest::prelude::*;

use crate::meeting::any_policy;
use crate::support::cases;
use crate::support::note::{at_second, notes, table};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("columns hold no NaN", |number| !number.is_nan()),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
        Just(f64::MAX),
        Just(5e-324),
        0.0..1.0_f64,
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let maybe = |strategy: BoxedStrategy<Value>| proptest::option::of(strategy).prop_map(Value::from_option);
    (
        maybe("[a-c]".prop_map(Value::from).boxed()),
        maybe(number().prop_map(Value::from).boxed()),
        maybe(any::<i64>().prop_map(Value::from).boxed()),
        maybe(number().prop_map(Value::from).boxed()),
        maybe((0..3_i64).prop_map(|second| at_second(second).into()).boxed()),
    )
        .prop_map(|(body, confidence, uses, score, updated)| {
            Row::new(&table(notes()), vec!["1".into(), body, confidence, uses, score, updated, Value::Null], None)
        })
}

trait FromOption {
    fn from_option(value: Option<Value>) -> Value;
}

impl FromOption for Value {
    fn from_option(value: Option<Value>) -> Value {
        value.unwrap_or(Value::Null)
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn every_policy_decides_every_conflict_and_always_the_same_way(
        policy in any_policy(), incoming in row(), existing in row(),
        priorities in (0..2_i32, 0..2_i32), meeting: bool,
    ) {
        let table = table(notes());
        let key = Key::new(vec!["1".into()]);
        let contributor = |name: &str| Contributor { source: name.into(), stream: "notes".into() };
        let (one, other) = (contributor("a"), contributor("b"));
        let base = (!meeting).then_some(existing.hash);
        let conflict = Conflict {
            table: &table,
            key: &key,
            incoming: Version { row: &incoming, contributor: &one, priority: priorities.0 },
            existing: Version { row: &existing, contributor: &other, priority: priorities.1 },
            kind: if meeting { ConflictKind::Meeting } else { ConflictKind::Diverged { base } },
        };
        let decided = decide(&policy, &conflict);
        prop_assert_ne!(&decided, &Resolution::Undecided);
        prop_assert_eq!(&decide(&policy, &conflict), &decided);
        prop_assert_eq!(policy.to_string().parse::<PolicySpec>().expect("its own name"), policy.clone());
        if let Resolution::Merged(_, row) = policy.resolve(&conflict) {
            prop_assert_eq!(&row.values[0], &Value::from("1"), "the key stays");
            let nan = row.values.iter().any(|value| matches!(value, Value::Float(number) if number.is_nan()));
            prop_assert!(!nan, "no column holds NaN: {:?}", row);
        }
        if !meeting && matches!(policy, PolicySpec::WeightedMerge) {
            prop_assert!(!matches!(decided, Resolution::Merged(..)), "one stream's history would count twice");
        }
    }

    #[test]
    fn which_side_arrives_does_not_matter_where_a_measure_decides(incoming in row(), existing in row()) {
        let table = table(notes());
        let key = Key::new(vec!["1".into()]);
        let contributor = Contributor { source: "a".into(), stream: "notes".into() };
        let side = |row| Version { row, contributor: &contributor, priority: 0 };
        let winner = |incoming, existing, policy: &PolicySpec| {
            let conflict = Conflict { table: &table, key: &key, incoming: side(incoming), existing: side(existing), kind: ConflictKind::Meeting };
            match policy.resolve(&conflict) {
                Resolution::Incoming(_) => Some(incoming.hash),
                Resolution::Existing(_) => Some(existing.hash),
                _ => None,
            }
        };
        for policy in [PolicySpec::NewerWins, PolicySpec::HigherConfidence, PolicySpec::SourcePriority] {
            prop_assert_eq!(winner(&incoming, &existing, &policy), winner(&existing, &incoming, &policy), "{}", policy);
        }
    }

    #[test]
    fn a_weighted_mean_lies_between_its_inputs(one in number(), other in number(), a: u32, b: u32) {
        let (a, b) = (f64::from(a), f64::from(b));
        prop_assume!(a + b > 0.0);
        let mean = weighted_mean(one, a, other, b);
        prop_assert!(one.min(other) <= mean && mean <= one.max(other), "{}", mean);
        if b == 0.0 { prop_assert_eq!(mean.to_bits(), one.to_bits()); }
    }
}

#[test]
fn names_that_are_no_policies_are_refused_with_those_that_are() {
    for text in [
        "",
        "newest",
        "first_of()",
        "first_of(newer_wins,)",
        "first_of(newer_wins",
        "first_of(newer)_wins)",
        "first_of(newer_wins))",
        "first_of(newer_wins) hub_wins",
        "first_of(newer_wins), hub_wins",
        "first_of(first_of(newer_wins, hub_wins)",
        "newer_wins, hub_wins",
    ] {
        let error = text.parse::<PolicySpec>().expect_err(text).to_string();
        assert!(error.contains("higher_confidence"), "{error}");
    }
}

#[test]
fn a_policy_among_policies_is_spelled_out() {
    let nested: PolicySpec =
        "first_of( first_of(higher_confidence ,newer_wins) , hub_wins )".parse().expect("a policy");
    assert_eq!(nested.to_string(), "first_of(higher_confidence, newer_wins, hub_wins)");
    let deep = format!("{}hub_wins{}", "first_of(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(deep.parse::<PolicySpec>().expect("a policy").to_string(), "first_of(hub_wins)");
}
