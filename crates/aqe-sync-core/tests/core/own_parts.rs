//! What of a local row is one's own, and what a pull does about it: case by case, where the
//! simulation only says that something is wrong.

use aqe_sync_core::fleet::{
    Absorbed, Contribution, Pulled, Shown, Step, VersionVector, Written, counts_only, is_counts_only,
};
use aqe_sync_core::{Environment, Row, Timestamp, Value};

use crate::fleet_simulation::{BODY, CONFIDENCE, RATE, SUCCESSES, UPDATED, USES, table};

const CREATED: usize = 6;

fn at(second: i64) -> Value {
    Value::Timestamp(Timestamp::from_micros(second * 1_000_000).expect("a moment"))
}

/// Made at second 1, changed at the given one.
fn row(body: &str, confidence: f64, (uses, successes, rate): (i64, i64, f64), updated: i64) -> Row {
    let head: [Value; 3] = ["k".into(), body.into(), confidence.into()];
    let counts = [uses.into(), successes.into(), rate.into()];
    Row::new(&table(), [head.as_slice(), &counts, &[at(1), at(updated)]].concat(), None)
}

fn with(row: &Row, position: usize, value: impl Into<Value>) -> Row {
    let mut values = row.values.clone();
    values[position] = value.into();
    Row::new(&table(), values, row.extra.clone())
}

/// After a pull that wrote this row, of which so much was own.
fn after(written: &Row, own: Option<&Row>) -> Absorbed {
    Absorbed { own: own.cloned(), shown: Shown::Written(Box::new(Written::of(&table(), written))) }
}

fn counts(row: &Row) -> (Value, Value, Value) {
    (row.values[USES].clone(), row.values[SUCCESSES].clone(), row.values[RATE].clone())
}

fn counted(uses: i64, successes: i64, rate: f64) -> (Value, Value, Value) {
    (uses.into(), successes.into(), rate.into())
}

/// The fleet's record: six uses, three of them successes; and this environment's part.
fn shared() -> (Row, Row) {
    (row("theirs", 0.9, (6, 3, 0.5), 20), row("mine", 0.4, (3, 2, 2.0 / 3.0), 10))
}

#[test]
fn what_nobody_touched_is_own_as_far_as_it_was() {
    let (written, own) = shared();
    assert_eq!(after(&written, Some(&own)).own(&table(), &written), Some(own.clone()));
    assert_eq!(after(&written, None).own(&table(), &written), None);
    let silent = with(&own, USES, Value::Null);
    assert_eq!(after(&written, Some(&silent)).own(&table(), &written), Some(silent));
}

#[test]
fn what_was_counted_since_is_added_to_the_own_part_and_nothing_else() {
    let (written, own) = shared();
    let local = row("theirs", 0.9, (8, 4, 0.5), 30);
    let now = after(&written, Some(&own)).own(&table(), &local).expect("a part");
    assert_eq!(counts(&now), counted(5, 3, 0.6));
    assert_eq!((&now.values[BODY], &now.values[CONFIDENCE]), (&"mine".into(), &0.4.into()));
    assert_eq!((&now.values[CREATED], &now.values[UPDATED]), (&at(1), &at(30)));
}

#[test]
fn who_only_used_what_others_wrote_contributes_counts_only() {
    let (written, _) = shared();
    let local = row("theirs", 0.9, (8, 4, 0.5), 30);
    let now = after(&written, None).own(&table(), &local).expect("a part");
    assert!(is_counts_only(&now));
    assert_eq!(counts(&now), counted(2, 1, 0.5));
    assert_eq!((&now.values[BODY], &now.values[CREATED], &now.values[UPDATED]), (&Value::Null, &Value::Null, &at(30)));
}

#[test]
fn a_moment_alone_makes_nothing_own_and_moves_in_what_is() {
    let (written, own) = shared();
    let local = with(&written, UPDATED, at(30));
    assert_eq!(after(&written, None).own(&table(), &local), None);
    let now = after(&written, Some(&own)).own(&table(), &local);
    assert_eq!(now, Some(with(&own, UPDATED, at(30))));
    // When it was made is the record's, not the use's.
    let undated = with(&written, CREATED, Value::Null);
    assert_eq!(after(&undated, Some(&own)).own(&table(), &written), Some(own));
}

#[test]
fn content_is_own_once_it_is_edited_whichever_of_it() {
    let (written, own) = shared();
    for (position, value) in [(BODY, Value::from("edited")), (CONFIDENCE, Value::from(0.3)), (BODY, Value::Null)] {
        for own in [Some(&own), None] {
            let local = with(&row("theirs", 0.9, (7, 4, 4.0 / 7.0), 30), position, value.clone());
            let now = after(&written, own).own(&table(), &local).expect("a part");
            assert!(!is_counts_only(&now));
            assert_eq!(now.values[position], value);
            let (uses, successes) = if own.is_some() { (4, 3) } else { (1, 1) };
            assert_eq!(counts(&now), counted(uses, successes, successes as f64 / uses as f64));
        }
    }
}

#[test]
fn a_record_that_was_made_anew_is_own_altogether() {
    let (written, own) = shared();
    let anew = with(&row("theirs", 0.9, (1, 1, 1.0), 30), CREATED, at(25));
    assert_eq!(after(&written, Some(&own)).own(&table(), &anew), Some(anew.clone()));
    let undated = with(&anew, CREATED, Value::Null);
    let now = after(&written, Some(&own)).own(&table(), &undated).expect("a part");
    assert_eq!(now.values[USES], Value::Int(3), "nobody says that it is another one");
}

#[test]
fn a_counter_that_went_back_has_not_grown() {
    let (written, own) = shared();
    let local = with(&written, USES, 2);
    assert_eq!(after(&written, Some(&own)).own(&table(), &local).expect("a part").values[USES], Value::Int(3));
}

#[test]
fn counters_without_a_value_and_at_the_ends_of_their_range() {
    let (written, own) = shared();
    let uses = |written: &Row, own: Option<&Row>, local: Value| {
        let local = with(&with(written, USES, local), BODY, "edited");
        after(written, own).own(&table(), &local).expect("a part").values[USES].clone()
    };
    let none = with(&written, USES, Value::Null);
    assert_eq!(uses(&written, Some(&own), Value::Null), Value::Int(3));
    assert_eq!(uses(&none, None, Value::Null), Value::Null);
    assert_eq!(uses(&none, None, Value::Int(-4)), Value::Int(-4), "what the tool says where nothing was written");
    assert_eq!(uses(&none, Some(&own), Value::Int(2)), Value::Int(5));
    assert_eq!(uses(&with(&written, USES, i64::MIN), Some(&own), Value::Int(i64::MAX)), Value::Int(i64::MAX));
}

#[test]
fn a_row_that_comes_up_where_nothing_was_shown_is_added_to_what_was_kept() {
    let (local, own) = shared();
    for shown in [Shown::Withheld, Shown::Declined] {
        let kept = Absorbed { own: Some(own.clone()), shown: shown.clone() };
        let now = kept.own(&table(), &local).expect("a part");
        assert_eq!((counts(&now), &now.values[BODY]), (counted(9, 5, 5.0 / 9.0), &"theirs".into()));
        let nothing = Absorbed { own: None, shown };
        assert_eq!(nothing.own(&table(), &local), Some(local.clone()));
    }
}

/// The own rate, of rates with their uses: as written, own of it, and now.
fn rate(then: (f64, i64), own: (f64, i64), now: (f64, i64)) -> Value {
    let (written, before) = shared();
    let set = |row: &Row, (rate, uses): (f64, i64)| with(&with(row, USES, uses), RATE, rate);
    let absorbed = after(&set(&written, then), Some(&set(&before, own)));
    absorbed.own(&table(), &with(&set(&written, now), UPDATED, at(30))).expect("a part").values[RATE].clone()
}

#[test]
fn rates_are_the_own_sum_over_the_own_uses() {
    // 1 of 3 then, 2 of 3 own, 5 of 9 now: 6 of 9 own, and to the last bit.
    assert_eq!(rate((1.0 / 3.0, 3), (2.0 / 3.0, 3), (5.0 / 9.0, 9)), Value::Float(6.0 / 9.0));
    assert_eq!(rate((0.5, 4), (1.0, 2), (4.0 / 6.0, 6)), Value::Float(1.0));
    assert_eq!(rate((1.0, 5), (1.0, 2), (5.0 / 7.0, 7)), Value::Float(0.5), "failures count as well");
    // Sums that are no whole numbers stay what they are.
    let Value::Float(quality) = rate((0.25, 4), (0.3, 3), (0.4, 6)) else { panic!("a rate") };
    assert!((quality - 2.3 / 5.0).abs() < 1e-15, "{quality}");
    // Nothing was counted: what was own stands, whatever the sums say.
    assert_eq!(rate((0.1, 3), (0.7, 3), (0.1, 3)), Value::Float(0.7));
    assert_eq!(rate((0.1, 3), (0.5, 4), (0.9, 3)), Value::Float(4.4 / 4.0), "a rate that was corrected");
}

#[test]
fn rates_that_stand_for_nothing_of_ones_own() {
    assert_eq!(rate((0.5, 4), (0.8, 0), (0.9, 4)), Value::Float(0.8), "for others' uses only");
    assert_eq!(rate((0.5, 0), (0.8, 0), (0.9, 4)), Value::Float(0.9), "nothing was written before");
    assert_eq!(rate((0.5, 0), (1.0, 2), (0.5, 4)), Value::Float(4.0 / 6.0), "what was own counts on");
    assert_eq!(rate((0.5, 4), (0.8, 0), (0.6, 5)), Value::Float(1.0), "the fifth use was a success");
    assert_eq!(rate((0.5, 0), (0.5, 0), (0.9, 0)), Value::Float(0.9));
    assert_eq!(rate((0.5, -4), (0.5, -1), (0.9, 2)), Value::Float(0.9), "negative counts stand for nothing");
    let (written, _) = shared();
    let local = with(&with(&written, RATE, 0.7), BODY, "edited");
    let now = after(&written, None).own(&table(), &local).expect("a part");
    assert_eq!(counts(&now), counted(0, 0, 0.7), "without weight");
}

#[test]
fn rates_out_of_range_are_what_the_tool_says() {
    for odd in [f64::INFINITY, 1e300, 1e-300] {
        assert_eq!(rate((0.5, 4), (0.5, 2), (odd, 6)), Value::Float(odd));
    }
    let (written, own) = shared();
    let local = with(&with(&written, RATE, Value::Null), USES, 7);
    assert_eq!(after(&written, Some(&own)).own(&table(), &local).expect("a part").values[RATE], Value::Null);
}

fn me() -> Environment {
    "me".into()
}

fn of(environment: &str, row: &Row) -> Contribution {
    Contribution { environment: environment.into(), version: 1, deleted: false, row: row.clone() }
}

fn pulled(others: &[Contribution]) -> Pulled {
    Pulled { others: others.to_vec(), declined: false, restored: None }
}

fn step(remembered: Option<&Absorbed>, local: Option<&Row>, pulled: &Pulled) -> Step {
    Absorbed::step(&table(), &me(), remembered, local, pulled)
}

/// The record that is to be written, and the own part.
fn to_write(step: Step) -> (Row, Option<Row>) {
    match step {
        Step::Write { record, own } => (record.row, own),
        other => panic!("nothing is to be written: {other:?}"),
    }
}

const DECLINED: Absorbed = Absorbed { own: None, shown: Shown::Declined };

#[test]
fn what_nobody_else_has_is_left_alone() {
    let (_, own) = shared();
    assert_eq!(step(None, Some(&own), &pulled(&[])), Step::Leave);
    assert_eq!(step(None, None, &pulled(&[])), Step::Leave);
    let only_counts = counts_only(&table(), own.values.clone());
    assert_eq!(step(None, None, &pulled(&[of("ci", &only_counts)])), Step::Leave);
}

#[test]
fn what_others_have_is_shown_with_what_is_own() {
    let theirs = row("theirs", 0.9, (3, 1, 1.0 / 3.0), 20);
    let (_, own) = shared();
    let (record, part) = to_write(step(None, None, &pulled(&[of("ci", &theirs)])));
    assert_eq!((record.values, part), (theirs.values.clone(), None));
    // What the hub has of this environment is not another's.
    let (record, part) = to_write(step(None, Some(&own), &pulled(&[of("ci", &theirs), of("me", &theirs)])));
    assert_eq!((counts(&record), &record.values[BODY]), (counted(6, 3, 0.5), &"theirs".into()));
    assert_eq!(part, Some(own));
}

#[test]
fn what_was_deleted_here_stays_deleted() {
    let (written, own) = shared();
    let others = [of("ci", &written)];
    assert_eq!(step(Some(&after(&written, Some(&own))), None, &pulled(&others)), Step::Clear(Some(DECLINED)));
    assert_eq!(step(Some(&DECLINED), None, &pulled(&others)), Step::Leave);
    let before = Pulled { declined: true, ..pulled(&others) };
    assert_eq!(step(None, None, &before), Step::Clear(Some(DECLINED)));
    // Made again it takes part again.
    let (_, part) = to_write(step(Some(&DECLINED), Some(&own), &before));
    assert_eq!(part, Some(own));
}

#[test]
fn what_nobody_trusted_has_is_taken_out_and_what_was_counted_is_kept() {
    let (written, own) = shared();
    let counting = counts_only(&table(), own.values.clone());
    let withheld = Absorbed { own: Some(counting.clone()), shown: Shown::Withheld };
    let shown = after(&written, Some(&counting));
    assert_eq!(step(Some(&shown), Some(&written), &pulled(&[])), Step::Clear(Some(withheld.clone())));
    assert_eq!(step(Some(&after(&written, None)), Some(&written), &pulled(&[])), Step::Clear(None));
    assert_eq!(step(Some(&withheld), None, &pulled(&[])), Step::Clear(Some(withheld.clone())));
    // And comes back with its content.
    let theirs = row("theirs", 0.9, (3, 1, 1.0 / 3.0), 20);
    let (record, part) = to_write(step(Some(&withheld), None, &pulled(&[of("ci", &theirs)])));
    assert_eq!((counts(&record), part), (counted(6, 3, 0.5), Some(counting)));
}

/// The own part after a backup was put back, and this was sent since it was made.
fn restored(local: Option<&Row>, sent: &Row) -> Row {
    let pulled = Pulled { restored: Some(sent.clone()), ..pulled(&[]) };
    to_write(step(None, local, &pulled)).1.expect("a part")
}

#[test]
fn a_file_from_a_backup_gets_back_what_was_sent_of_it() {
    let (local, sent) = (row("old", 0.5, (3, 3, 1.0), 10), row("new", 0.6, (5, 4, 0.8), 20));
    assert_eq!(restored(None, &sent), sent);
    assert_eq!(restored(Some(&local), &sent), sent);
    assert_eq!(restored(Some(&sent), &local), sent);
    // Each counter for itself, a rate with the counter that weighs it.
    let mixed = row("old", 0.5, (7, 3, 0.25), 10);
    let both = restored(Some(&mixed), &sent);
    assert_eq!((counts(&both), &both.values[BODY]), (counted(7, 4, 0.25), &"new".into()));
    let equal = restored(Some(&row("old", 0.5, (5, 3, 0.1), 10)), &sent);
    assert_eq!(equal.values[RATE], Value::Float(0.1), "the file's where both stand for as much");
}

#[test]
fn of_a_backup_and_what_was_sent_the_content_that_was_changed_last_stands() {
    let (local, sent) = (row("old", 0.5, (3, 3, 1.0), 20), row("new", 0.6, (3, 3, 1.0), 20));
    assert_eq!(restored(Some(&local), &sent).values[BODY], "old".into(), "the file's, of the same moment");
    let undated = |row: &Row, created| with(&with(row, UPDATED, Value::Null), CREATED, at(created));
    let later = restored(Some(&undated(&local, 5)), &undated(&sent, 6));
    assert_eq!(later.values[BODY], "new".into(), "by the time of making where there is no other");
    let silent = counts_only(&table(), sent.values.clone());
    assert_eq!(restored(Some(&local), &with(&silent, UPDATED, at(30))).values[BODY], "old".into());
    let silent = counts_only(&table(), local.values.clone());
    let both = restored(Some(&with(&silent, UPDATED, at(30))), &sent);
    assert_eq!((&both.values[BODY], is_counts_only(&both)), (&"new".into(), false));
}

#[test]
fn what_was_absorbed_is_written_down_and_read_back() {
    let (written, own) = shared();
    let all = [after(&written, Some(&own)), after(&written, None), DECLINED];
    let withheld = Absorbed { own: Some(counts_only(&table(), own.values.clone())), shown: Shown::Withheld };
    for absorbed in all.into_iter().chain([withheld]) {
        let text = absorbed.to_json(&table());
        assert_eq!(Absorbed::from_json(&table(), &text).expect("as written"), absorbed, "{text}");
    }
    for wrong in
        ["", "{}", r#"{"shown":"else"}"#, r#"{"shown":"written"}"#, r#"{"shown":"written","content":"x","counts":{}}"#]
    {
        assert!(Absorbed::from_json(&table(), wrong).is_err(), "{wrong}");
    }
}

#[test]
fn how_far_somebody_has_seen_each_environment() {
    let mut seen = VersionVector::default();
    assert_eq!(seen.of(&me()), 0);
    seen.set(me(), 7);
    seen.set("ci".into(), 2);
    seen.set(me(), 9);
    assert_eq!((seen.of(&me()), seen.of(&"ci".into()), seen.of(&"laptop".into())), (9, 2, 0));
    assert_eq!(seen.iter().collect::<Vec<_>>(), [(&"ci".into(), 2), (&me(), 9)]);
}
