//! What environments together know: whatever arrives in whatever order, how often and in
//! whatever parts, it is the same, and it is what happened.

use std::collections::BTreeMap;

use aqe_sync_core::fleet::{Contribution, FleetRecord, Trust, counts_only, identity, is_counts_only, merge};
use aqe_sync_core::{ColumnType, Environment, Json, Role, Row, TableSpec, Timestamp, Value};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::fleet_simulation::{BODY, CONFIDENCE, RATE, SUCCESSES, UPDATED, USES, table};
use crate::support::cases;

const ENVIRONMENTS: [&str; 5] = ["Zeta", "ci", "ci2", "laptop", "müller"];
const CREATED: usize = 6;

fn at(micros: i64) -> Value {
    Value::Timestamp(Timestamp::from_micros(micros).expect("a moment"))
}

fn contribution(environment: &str, values: Vec<Value>) -> Contribution {
    Contribution { environment: environment.into(), version: 1, deleted: false, row: Row::new(&table(), values, None) }
}

/// Body, confidence, uses, successes, rate; made and changed at the same moment.
fn said(environment: &str, body: &str, confidence: f64, counts: (i64, i64, f64), moment: i64) -> Contribution {
    let (uses, successes, rate) = counts;
    let counts = [uses.into(), successes.into(), rate.into()];
    let content: [Value; 3] = ["k".into(), body.into(), confidence.into()];
    contribution(environment, [content.as_slice(), &counts, &[at(moment), at(moment)]].concat())
}

fn double() -> impl Strategy<Value = f64> {
    let odd = [0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-280, -1e280, f64::MAX, 5e-324];
    prop_oneof![select(odd.to_vec()), 0.0..1.0, -1e6..1e6]
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0_i64..50, 1 => select(vec![i64::MAX, i64::MIN, -1, (1 << 53) + 1]), 1 => any::<i64>()]
}

fn or_null<T: Into<Value> + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Value> {
    prop::option::weighted(0.8, value).prop_map(|value| value.map_or(Value::Null, Into::into))
}

fn moment() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), (-3_i64..3).prop_map(at)]
}

fn any_contribution() -> impl Strategy<Value = Contribution> {
    let columns = (
        or_null(select(vec!["a", "b"])),
        or_null(double()),
        or_null(number()),
        or_null(number()),
        or_null(double()),
        moment(),
        moment(),
    );
    let about = (select(ENVIRONMENTS.to_vec()), 0_i64..4, prop::bool::weighted(0.15), 0..8_u8);
    (columns, about).prop_map(|(columns, (environment, version, deleted, kind))| {
        let (body, confidence, uses, successes, rate, created, updated) = columns;
        let values = vec!["k".into(), body, confidence, uses, successes, rate, created, updated];
        let row = match kind {
            0 => counts_only(&table(), values),
            1 => Row::new(&table(), values, Some(Json::from_text(r#"{"more":1}"#))),
            _ => Row::new(&table(), values, None),
        };
        Contribution { environment: environment.into(), version, deleted, row }
    })
}

fn any_contributions() -> impl Strategy<Value = Vec<Contribution>> {
    prop::collection::vec(any_contribution(), 0..12)
}

/// To be compared: doubles by their bits.
type Compared = Option<(aqe_sync_core::ContentHash, Environment, Vec<Environment>, usize)>;

fn compared(record: Option<FleetRecord>) -> Compared {
    record.map(|record| (record.row.hash, record.winner, record.environments, record.agreeing))
}

fn merged(contributions: &[Contribution]) -> Compared {
    compared(merge(&table(), contributions))
}

type Known = BTreeMap<Environment, Contribution>;

/// Two maps from environment to contribution become one: the higher version counts.
fn join(one: &Known, other: &Known) -> Known {
    let mut joined = one.clone();
    for (environment, theirs) in other {
        let age = |one: &Contribution| (one.version, one.deleted, one.row.hash);
        let newer = joined.get(environment).is_none_or(|ours| age(theirs) > age(ours));
        if newer {
            joined.insert(environment.clone(), theirs.clone());
        }
    }
    joined
}

fn known(contributions: &[Contribution]) -> Known {
    contributions
        .iter()
        .fold(Known::new(), |known, one| join(&known, &Known::from([(one.environment.clone(), one.clone())])))
}

fn merged_map(known: &Known) -> Compared {
    merged(&known.values().cloned().collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
enum Event {
    Success,
    Failure,
    Use,
    Edit { confidence: u8, moment: i64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Success),
        2 => Just(Event::Failure),
        2 => Just(Event::Use),
        1 => (0..4_u8, 0..5_i64).prop_map(|(confidence, moment)| Event::Edit { confidence, moment }),
    ]
}

/// What an environment that saw these events has: a success, a failure and a use are uses.
fn of_events(environment: &str, events: &[Event]) -> Contribution {
    let (mut uses, mut successes, mut confidence, mut moment) = (0_i64, 0_i64, 0, 0);
    for event in events {
        match event {
            Event::Success => (uses, successes) = (uses + 1, successes + 1),
            Event::Failure | Event::Use => uses += 1,
            Event::Edit { confidence: sure, moment: when } => (confidence, moment) = (*sure, *when),
        }
    }
    let rate = if uses > 0 { successes as f64 / uses as f64 } else { 0.0 };
    said(environment, environment, f64::from(confidence), (uses, successes, rate), moment)
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn neither_order_nor_repetition_counts((all, shuffled) in any_contributions().prop_flat_map(|all| {
        (Just(all.clone()), Just(all).prop_shuffle())
    }), again in prop::collection::vec(any::<Index>(), 0..4)) {
        let once = merged(&all);
        prop_assert_eq!(&merged(&shuffled), &once);
        let mut repeated = shuffled;
        if !all.is_empty() {
            repeated.extend(again.iter().map(|one| one.get(&all).clone()));
        }
        prop_assert_eq!(&merged(&repeated), &once);
    }

    #[test]
    fn parts_may_be_joined_in_any_grouping(one in any_contributions(), two in any_contributions(), three in any_contributions()) {
        let (a, b, c) = (known(&one), known(&two), known(&three));
        let left = merged_map(&join(&join(&a, &b), &c));
        prop_assert_eq!(&merged_map(&join(&a, &join(&b, &c))), &left);
        prop_assert_eq!(&merged_map(&join(&join(&c, &a), &b)), &left);
        prop_assert_eq!(&merged(&[one, two, three].concat()), &left);
    }

    #[test]
    fn a_tombstone_is_as_if_its_environment_had_nothing(all in any_contributions()) {
        let live: Vec<Contribution> = known(&all).into_values().filter(|one| !one.deleted).collect();
        prop_assert_eq!(merged(&all), merged(&live));
    }

    #[test]
    fn a_rate_is_never_outside_of_what_was_contributed(all in any_contributions()) {
        let Some(record) = merge(&table(), &all) else { return Ok(()) };
        let live = known(&all).into_values().filter(|one| !one.deleted);
        let rates: Vec<f64> = live.filter_map(|one| one.row.values[RATE].as_f64()).collect();
        let Value::Float(rate) = record.row.values[RATE] else { return Ok(()) };
        let inside = rates.iter().any(|one| *one <= rate) && rates.iter().any(|one| *one >= rate);
        prop_assert!(inside || rate.is_nan() && rates.iter().any(|one| one.is_nan()), "{} of {:?}", rate, rates);
    }

    #[test]
    fn counters_and_rates_are_what_happened(
        histories in prop::collection::btree_map(select(ENVIRONMENTS.to_vec()), prop::collection::vec(event(), 0..60), 1..=5)
    ) {
        let all: Vec<Contribution> = histories.iter().map(|(name, events)| of_events(name, events)).collect();
        let record = merge(&table(), &all).expect("a record");
        let happened = |wanted: fn(&Event) -> bool| histories.values().flatten().filter(|event| wanted(event)).count();
        let successes = happened(|event| matches!(event, Event::Success));
        let uses = happened(|event| !matches!(event, Event::Edit { .. }));
        prop_assert_eq!(&record.row.values[USES], &Value::Int(uses.try_into().expect("few")));
        prop_assert_eq!(&record.row.values[SUCCESSES], &Value::Int(successes.try_into().expect("few")));
        let wanted = if uses > 0 { successes as f64 / uses as f64 } else { 0.0 };
        let Value::Float(rate) = record.row.values[RATE] else { panic!("no rate") };
        prop_assert!((rate - wanted).abs() <= histories.len() as f64 * f64::EPSILON * wanted, "{} for {}", rate, wanted);
        // The most confident, then the latest, then the first by name.
        let winner = all.iter().fold(&all[0], |best, one| {
            let of = |one: &Contribution| (one.row.values[CONFIDENCE].as_f64(), match &one.row.values[UPDATED] {
                Value::Timestamp(moment) => moment.as_micros(),
                _ => i64::MIN,
            });
            if of(one) > of(best) { one } else { best }
        });
        prop_assert_eq!(&record.winner, &winner.environment);
        prop_assert_eq!(&record.row.values[BODY], &winner.row.values[BODY]);
        prop_assert_eq!(record.environments.len(), histories.len());
    }
}

#[test]
fn counters_stop_at_the_ends_of_their_range() {
    let sum = |one: i64, two: i64| {
        let all = [said("a", "x", 1.0, (one, 0, 0.0), 0), said("b", "x", 1.0, (two, 0, 0.0), 0)];
        merge(&table(), &all).expect("a record").row.values[USES].clone()
    };
    assert_eq!(sum(i64::MAX, 1), Value::Int(i64::MAX));
    assert_eq!(sum(i64::MIN, -1), Value::Int(i64::MIN));
    assert_eq!(sum(i64::MAX, i64::MIN), Value::Int(-1));
}

#[test]
fn what_stands_for_no_use_has_no_weight() {
    let rate = |parts: &[(i64, f64)]| {
        let all = parts.iter().zip(ENVIRONMENTS);
        let all = all.map(|((uses, rate), name)| said(name, "x", 1.0, (*uses, 0, *rate), 0));
        merge(&table(), &all.collect::<Vec<_>>()).expect("a record").row.values[RATE].clone()
    };
    assert_eq!(rate(&[(1, 0.25), (0, 1.0), (-5, 1.0), (9, f64::NAN), (9, f64::INFINITY)]), Value::Float(0.25));
    assert_eq!(rate(&[(1, 0.25), (3, 0.75)]), Value::Float(0.625));
    assert_eq!(rate(&[(0, 0.25), (0, 0.75)]), Value::Float(0.25), "the winner's where nothing was used");
}

#[test]
fn the_earliest_making_and_the_latest_change_stand() {
    let mut late = said("a", "x", 1.0, (0, 0, 0.0), 9);
    late.row.values[CREATED] = Value::Null;
    let record = merge(&table(), &[late, said("b", "x", 0.5, (0, 0, 0.0), 4)]).expect("a record");
    assert_eq!(record.row.values[CREATED..=UPDATED], [at(4), at(9)]);
    assert_eq!(record.winner.as_str(), "a");
}

#[test]
fn who_only_counts_is_counted_and_never_wins() {
    let counting = |environment: &str, uses: i64| {
        let mut one = said(environment, "said once", 1.0, (uses, uses, 1.0), 99);
        one.row = counts_only(&table(), one.row.values);
        one
    };
    let only = counting("a", 2);
    assert!(is_counts_only(&only.row) && only.row.values[BODY].is_null() && only.row.values[CREATED].is_null());
    assert_eq!(merged(std::slice::from_ref(&only)), None, "nobody says what it is");
    let record = merge(&table(), &[only, said("b", "text", 0.1, (2, 0, 0.0), 1)]).expect("a record");
    assert_eq!((record.winner.as_str(), record.agreeing, record.environments.len()), ("b", 1, 2));
    assert_eq!(record.row.values[USES..=RATE], [Value::Int(4), Value::Int(2), Value::Float(0.5)]);
    assert!(!is_counts_only(&record.row));
}

#[test]
fn negative_zero_is_no_less_sure_than_zero() {
    let (sure, later) = (said("a", "x", 0.0, (1, 1, 1.0), 1), said("b", "y", -0.0, (1, 1, 1.0), 2));
    assert_eq!(merge(&table(), &[sure, later]).expect("a record").winner.as_str(), "b");
}

#[test]
fn a_hub_may_spell_the_mark_of_who_only_counts_anew() {
    let mut row = counts_only(&table(), said("a", "x", 1.0, (1, 1, 1.0), 1).row.values);
    row.extra = Some(Json::from_text(r#"{ "aqe_sync" : "counts" }"#));
    assert!(is_counts_only(&row));
    row.extra = Some(Json::from_text(r#"{"aqe_sync":"counts","more":1}"#));
    assert!(!is_counts_only(&row));
}

#[test]
fn environments_agree_that_say_the_same_however_sure_and_however_often_used() {
    let all =
        [said("a", "x", 0.9, (1, 1, 1.0), 1), said("b", "x", 0.1, (7, 0, 0.0), 5), said("c", "y", 0.5, (1, 1, 1.0), 1)];
    assert_eq!(merge(&table(), &all).expect("a record").agreeing, 2);
}

#[test]
fn in_tables_that_never_change_the_earliest_record_wins() {
    let events = TableSpec::builder("log").key("id", ColumnType::Text).column("made", ColumnType::Timestamp);
    let events = events.role(Role::CreatedAt).immutable().build().expect("a table");
    let one = |environment: &str, made: Value| Contribution {
        environment: environment.into(),
        version: 1,
        deleted: false,
        row: Row::new(&events, vec!["k".into(), made], None),
    };
    let winner = |all: &[Contribution]| merge(&events, all).expect("a record").winner.to_string();
    assert_eq!(winner(&[one("a", at(5)), one("b", at(3)), one("c", Value::Null)]), "b");
    assert_eq!(winner(&[one("b", at(3)), one("a", at(3))]), "a");
    assert_eq!(winner(&[one("b", Value::Null), one("a", Value::Null)]), "a");
}

fn trusted(trust: &Trust, all: &[Contribution]) -> Vec<String> {
    let others = trust.others(&table(), &"me".into(), all.to_vec());
    others.iter().map(|one| one.environment.to_string()).collect()
}

#[test]
fn nobody_gets_their_own_part_from_others_nor_what_was_deleted() {
    let mut deleted = said("b", "x", 0.5, (1, 1, 1.0), 1);
    deleted.deleted = true;
    let all = [said("a", "x", 0.5, (1, 1, 1.0), 1), deleted, said("me", "x", 0.5, (1, 1, 1.0), 1)];
    assert_eq!(trusted(&Trust::default(), &all), ["a"]);
}

#[test]
fn who_is_not_trusted_has_no_influence() {
    let all = ["a", "b", "c"].map(|name| said(name, "x", 0.5, (1, 1, 1.0), 1));
    let names = |names: &[&str]| names.iter().map(|name| Environment::from(*name)).collect();
    let excluded = Trust { excluded: names(&["a"]), ..Trust::default() };
    assert_eq!(trusted(&excluded, &all), ["b", "c"]);
    let only = Trust { only: Some(names(&["a", "c"])), excluded: names(&["a"]), ..Trust::default() };
    assert_eq!(trusted(&only, &all), ["c"]);
}

#[test]
fn a_record_that_the_fleet_is_not_sure_of_does_not_pass() {
    let all = [said("a", "x", 0.4, (1, 1, 1.0), 1), said("me", "x", 0.3, (1, 1, 1.0), 1)];
    let sure = |min_confidence| Trust { min_confidence: Some(min_confidence), ..Trust::default() };
    assert_eq!(trusted(&sure(0.4), &all), ["a"]);
    assert!(trusted(&sure(0.5), &all).is_empty());
    let excluded = Trust { excluded: ["b".into()].into(), ..sure(0.5) };
    let with_b = [all.as_slice(), &[said("b", "x", 0.9, (1, 1, 1.0), 1)]].concat();
    assert!(trusted(&excluded, &with_b).is_empty(), "an excluded one is sure for nobody");
    let mut silent = said("a", "x", 0.0, (1, 1, 1.0), 1);
    silent.row.values[CONFIDENCE] = Value::Null;
    assert_eq!(trusted(&sure(0.5), &[silent]), ["a"], "where nobody says how sure they are");
}

#[test]
fn a_record_has_to_be_in_enough_environments_ones_own_included() {
    let two = [said("a", "x", 0.5, (1, 1, 1.0), 1), said("me", "x", 0.5, (1, 1, 1.0), 1)];
    let least = |min_environments| Trust { min_environments, ..Trust::default() };
    assert_eq!(trusted(&least(2), &two), ["a"]);
    assert!(trusted(&least(3), &two).is_empty());
    assert!(trusted(&least(2), &two[..1]).is_empty());
}

#[test]
fn records_are_about_the_same_whatever_their_case_and_punctuation() {
    let spec = TableSpec::builder("p").key("id", ColumnType::Text);
    let spec = spec.columns(ColumnType::Text, &["domain", "pattern_type"]);
    let spec = spec.column("pattern", ColumnType::Text).role(Role::SearchText);
    let spec = spec.column("name", ColumnType::Text).role(Role::SearchText).build().expect("a table");
    let about = |domain: &str, kind: &str, pattern: &str, name: Value| {
        let values = vec!["id".into(), domain.into(), kind.into(), pattern.into(), name];
        identity(&spec, &Row::new(&spec, values, None))
    };
    let one = about("Testing", "unit", "Mock the clock!", Value::Null);
    assert!(one.is_some());
    assert_eq!(about("testing", "Unit", "  mock, the   CLOCK", Value::Null), one);
    assert_ne!(about("coverage", "unit", "Mock the clock!", Value::Null), one);
    assert_ne!(about("Testing", "e2e", "Mock the clock!", Value::Null), one);
    assert_ne!(about("Testing", "unit", "Mock the clocks", Value::Null), one);
    assert_ne!(about("", "b", "x", Value::Null), about("b", "", "x", Value::Null));
    assert_eq!(about("Testing", "unit", " …!", Value::Null), None, "there is no text");
    assert_eq!(identity(&table(), &said("a", "?", 1.0, (0, 0, 0.0), 0).row), None);
}
