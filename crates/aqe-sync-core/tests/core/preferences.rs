//! Which side each policy takes, and what a merge makes of both: to the value.

use std::sync::{Arc, LazyLock};

use aqe_sync_core::conflict::{Version, decide, weighted_mean};
use aqe_sync_core::{
    ColumnType, Conflict, ConflictKind, ConflictPolicy, Contributor, Json, Key, PolicySpec, Resolution, Role, Row,
    TableSpec, Value,
};

use crate::support::note::{at_second, notes, table};

const DIVERGED: ConflictKind = ConflictKind::Diverged { base: None };

static TABLE: LazyLock<Arc<TableSpec>> =
    LazyLock::new(|| table(notes().column("created_at", ColumnType::Timestamp).role(Role::CreatedAt)));

fn position(column: &str) -> usize {
    TABLE.position(column).expect("a column")
}

fn row_with(fields: &[(&str, Value)], extra: Option<&str>) -> Row {
    let mut values = vec![Value::Null; TABLE.columns().len()];
    values[0] = "1".into();
    for (column, value) in fields {
        values[position(column)] = value.clone();
    }
    Row::new(&TABLE, values, extra.map(Json::from_text))
}

fn row(fields: &[(&str, Value)]) -> Row {
    row_with(fields, None)
}

fn time(column: &'static str, second: i64) -> (&'static str, Value) {
    (column, at_second(second).into())
}

fn put(
    conflict: (&Row, &Row),
    ranks: (i32, i32),
    kind: ConflictKind,
    ask: impl Fn(&Conflict<'_>) -> Resolution,
) -> Resolution {
    let contributor = Contributor { source: "a.db".into(), stream: "notes".into() };
    let side = |row, priority| Version { row, contributor: &contributor, priority };
    let key = Key::new(vec!["1".into()]);
    let (incoming, existing) = (side(conflict.0, ranks.0), side(conflict.1, ranks.1));
    ask(&Conflict { table: &TABLE, key: &key, incoming, existing, kind })
}

fn meet(policy: &PolicySpec, incoming: &Row, existing: &Row) -> Resolution {
    put((incoming, existing), (0, 0), ConflictKind::Meeting, |conflict| policy.resolve(conflict))
}

/// Whichever side `winner` is on, it is taken by the policy's own name.
fn prefers(policy: &PolicySpec, winner: &Row, loser: &Row) {
    let rule = policy.to_string();
    assert_eq!(meet(policy, winner, loser), Resolution::Incoming(rule.clone().into()), "{policy}, arriving");
    assert_eq!(meet(policy, loser, winner), Resolution::Existing(rule.into()), "{policy}, stored");
}

fn leaves_open(policy: &PolicySpec, one: &Row, other: &Row) {
    assert_eq!(meet(policy, one, other), Resolution::Undecided, "{policy}");
    assert_eq!(meet(policy, other, one), Resolution::Undecided, "{policy}, the other way round");
}

fn merged(policy: &PolicySpec, incoming: &Row, existing: &Row) -> Row {
    match meet(policy, incoming, existing) {
        Resolution::Merged(rule, row) => {
            assert_eq!(rule, policy.to_string());
            row
        }
        other => panic!("{policy}: {other:?}"),
    }
}

#[test]
fn the_later_update_wins_and_failing_that_the_later_creation() {
    let policy = PolicySpec::NewerWins;
    let at = |updated, created| row(&[time("updated_at", updated), time("created_at", created)]);
    prefers(&policy, &at(-2, 1), &at(-3, 9));
    prefers(&policy, &at(2, 5), &at(2, 4));
    leaves_open(&policy, &at(2, 4), &at(2, 4));
    // Time that is known beats none.
    prefers(&policy, &row(&[time("updated_at", 1)]), &row(&[time("created_at", 9)]));
    prefers(&policy, &row(&[time("created_at", 1)]), &row(&[]));
    leaves_open(&policy, &row(&[]), &row(&[("body", "no time".into())]));
}

#[test]
fn the_higher_confidence_wins() {
    let policy = PolicySpec::HigherConfidence;
    let sure = |confidence: f64| row(&[("confidence", confidence.into())]);
    prefers(&policy, &sure(0.6), &sure(0.5));
    prefers(&policy, &sure(-1.0), &row(&[]));
    leaves_open(&policy, &sure(0.5), &sure(0.5));
}

#[test]
fn the_higher_rank_wins_and_equal_ranks_decide_nothing() {
    let policy = PolicySpec::SourcePriority;
    let (one, other) = (row(&[("body", "one".into())]), row(&[("body", "other".into())]));
    let ranked = |ranks| put((&one, &other), ranks, ConflictKind::Meeting, |conflict| policy.resolve(conflict));
    assert_eq!(ranked((2, 1)), Resolution::Incoming("source_priority".into()));
    assert_eq!(ranked((1, 2)), Resolution::Existing("source_priority".into()));
    assert_eq!(ranked((1, 1)), Resolution::Undecided);
}

#[test]
fn some_policies_look_at_neither_side() {
    let (one, other) = (row(&[("body", "one".into())]), row(&[("body", "other".into())]));
    assert_eq!(meet(&PolicySpec::LocalWins, &one, &other), Resolution::Incoming("local_wins".into()));
    for policy in [PolicySpec::HubWins, PolicySpec::Immutable] {
        assert_eq!(meet(&policy, &one, &other), Resolution::Existing(policy.to_string().into()));
    }
}

#[test]
fn the_first_of_several_that_decides_gives_its_name() {
    let policy = PolicySpec::FirstOf(vec![PolicySpec::HigherConfidence, PolicySpec::NewerWins, PolicySpec::HubWins]);
    let named = |incoming: &Row, existing: &Row| meet(&policy, incoming, existing);
    let (early, late) = (row(&[time("updated_at", 1)]), row(&[time("updated_at", 2)]));
    let sure = row(&[time("updated_at", 1), ("confidence", 0.1.into())]);
    assert_eq!(named(&sure, &late), Resolution::Incoming("higher_confidence".into()));
    assert_eq!(named(&late, &early), Resolution::Incoming("newer_wins".into()));
    assert_eq!(named(&early, &early), Resolution::Existing("hub_wins".into()));
    leaves_open(&PolicySpec::FirstOf(vec![PolicySpec::NewerWins]), &early, &early);
}

#[test]
fn what_a_policy_leaves_open_goes_to_the_change_when_its_own_row_diverged() {
    let (one, other) = (row(&[("body", "one".into())]), row(&[("body", "other".into())]));
    for pair in [(&one, &other), (&other, &one)] {
        let decided = put(pair, (0, 9), DIVERGED, |conflict| decide(&PolicySpec::NewerWins, conflict));
        assert_eq!(decided, Resolution::Incoming("local_wins".into()));
        let decided = put(pair, (0, 0), DIVERGED, |conflict| decide(&PolicySpec::HubWins, conflict));
        assert_eq!(decided, Resolution::Existing("hub_wins".into()));
    }
}

#[test]
fn of_two_streams_that_meet_the_higher_rank_goes_first_and_then_the_smaller_hash() {
    let (one, other) = (row(&[("body", "one".into())]), row(&[("body", "other".into())]));
    let (small, large) = if one.hash < other.hash { (one, other) } else { (other, one) };
    let decided =
        |pair, ranks| put(pair, ranks, ConflictKind::Meeting, |conflict| decide(&PolicySpec::NewerWins, conflict));
    assert_eq!(decided((&large, &small), (2, 1)), Resolution::Incoming("source_priority".into()));
    assert_eq!(decided((&small, &large), (1, 2)), Resolution::Existing("source_priority".into()));
    assert_eq!(decided((&small, &large), (1, 1)), Resolution::Incoming("content_hash".into()));
    assert_eq!(decided((&large, &small), (1, 1)), Resolution::Existing("content_hash".into()));
    assert_eq!(decided((&small, &small), (1, 1)), Resolution::Existing("content_hash".into()));
}

#[test]
fn sides_that_contradict_each_other_nowhere_become_their_union() {
    let policy = PolicySpec::Complement;
    let body = row_with(&[("body", "one".into())], Some("{\"a\":1, \"b\":2}"));
    let uses = row_with(&[("uses", 3.into())], Some("{\"b\":2,\"a\":1}"));
    let both = [("body", "one".into()), ("uses", 3.into())];
    let union = row_with(&both, Some("{\"a\":1,\"b\":2}"));
    for (incoming, existing) in [(&body, &uses), (&uses, &body)] {
        assert_eq!(merged(&policy, incoming, existing).hash, union.hash);
    }
    // What only one side has besides its columns is kept.
    for (incoming, existing) in [(&body, &row(&[])), (&row(&[]), &body)] {
        assert_eq!(merged(&policy, incoming, existing), body);
    }
    leaves_open(&policy, &row(&both), &row(&[("body", "two".into())]));
    leaves_open(&policy, &body, &row_with(&[], Some("{\"a\":2}")));
}

fn counted(uses: impl Into<Value>, score: impl Into<Value>) -> Row {
    row(&[("uses", uses.into()), ("score", score.into())])
}

#[test]
fn a_weighted_merge_takes_each_column_by_its_role() {
    let policy = PolicySpec::WeightedMerge;
    let side = |body: &str, confidence: f64, uses: i64, score: f64, updated, created| {
        row(&[
            ("body", body.into()),
            ("confidence", confidence.into()),
            ("uses", uses.into()),
            ("score", score.into()),
            time("updated_at", updated),
            time("created_at", created),
        ])
    };
    let (sure, unsure) = (side("sure", 0.9, 1, 0.25, 1, 5), side("unsure", 0.8, 3, 0.75, 2, 4));
    let expected = side("sure", 0.9, 4, 0.625, 2, 4);
    assert_eq!(merged(&policy, &sure, &unsure), expected);
    assert_eq!(merged(&policy, &unsure, &sure), expected);
    let (sure, unsure) = (side("sure", 0.9, 3, 0.75, 2, 4), side("unsure", 0.8, 1, 0.25, 1, 5));
    assert_eq!(merged(&policy, &sure, &unsure), expected);
    assert_eq!(merged(&policy, &unsure, &sure), expected);
    // One stream's history would count twice.
    let diverged = put((&sure, &unsure), (0, 0), DIVERGED, |conflict| policy.resolve(conflict));
    assert_eq!(diverged, Resolution::Undecided);
}

#[test]
fn a_weighted_merge_fills_what_one_side_lacks() {
    let full = row(&[("uses", 3.into()), ("score", 0.5.into()), time("updated_at", 2), time("created_at", 1)]);
    // The other one wins, with nothing in these columns.
    let bare = row(&[("body", "bare".into()), ("confidence", 1.0.into())]);
    let mut values = full.values.clone();
    values[position("body")] = "bare".into();
    values[position("confidence")] = 1.0.into();
    let expected = Row::new(&TABLE, values, None);
    assert_eq!(merged(&PolicySpec::WeightedMerge, &full, &bare), expected);
    assert_eq!(merged(&PolicySpec::WeightedMerge, &bare, &full), expected);
}

#[test]
fn counters_stop_at_the_largest_number_instead_of_turning_negative() {
    let (one, other) = (counted(i64::MAX, 1.0), counted(1, 1.0));
    assert_eq!(merged(&PolicySpec::WeightedMerge, &one, &other).values[position("uses")], Value::Int(i64::MAX));
}

#[test]
fn a_rate_that_stands_for_no_event_does_not_count() {
    let score = |winner: Row, other: Row| {
        let with = |row: Row, confidence: f64| {
            let mut values = row.values;
            values[position("confidence")] = confidence.into();
            Row::new(&TABLE, values, None)
        };
        let row = merged(&PolicySpec::WeightedMerge, &with(winner, 0.9), &with(other, 0.1));
        row.values[position("score")].clone()
    };
    assert_eq!(score(counted(0, 0.25), counted(2, 0.75)), Value::Float(0.75));
    assert_eq!(score(counted(2, 0.25), counted(0, 0.75)), Value::Float(0.25));
    // Nothing to weigh with: the winner's.
    assert_eq!(score(counted(0, 0.25), counted(Value::Null, 0.75)), Value::Float(0.25));
    // Counts below nothing are no counts; together they are none.
    assert_eq!(score(counted(-2, 0.25), counted(2, 0.75)), Value::Float(0.25));
}

#[test]
fn a_mean_is_weighted_also_where_the_sum_would_overflow() {
    let mean = |one: f64, a: f64, other: f64, b: f64| weighted_mean(one, a, other, b).to_bits();
    assert_eq!(mean(1.0, 1.0, 3.0, 3.0), 2.5_f64.to_bits());
    assert_eq!(mean(f64::MAX, 1.0, f64::MAX / 2.0, 3.0), (f64::MAX * 0.625).to_bits());
    assert_eq!(mean(f64::MAX / 2.0, 1.0, f64::MAX, 3.0), (f64::MAX * 0.875).to_bits());
    assert_eq!(mean(1.0, 1.0, f64::INFINITY, 0.0), 1.0_f64.to_bits());
    assert_eq!(mean(f64::INFINITY, 0.0, 1.0, 1.0), 1.0_f64.to_bits());
    assert_eq!(mean(f64::INFINITY, 1.0, 1.0, 1.0), f64::INFINITY.to_bits());
    assert_eq!(mean(f64::INFINITY, 1.0, f64::NEG_INFINITY, 9.0), f64::INFINITY.to_bits());
}
