//! What becomes of one contested change: what is stored, counted, logged, and based on from now on.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aqe_sync_core::meet::{
    Contested, Contribution, Effect, Ranking, Settled, Stored, contribution_hash, contributions_from_json,
    contributions_to_json, settle,
};
use aqe_sync_core::record::{Change, Operation};
use aqe_sync_core::{
    Conflict, ConflictPolicy, ContentHash, Contributor, Json, Key, PolicySpec, Resolution, Row, TableSpec, Value,
};

use crate::support::note::{notes, table};

static TABLE: LazyLock<Arc<TableSpec>> = LazyLock::new(|| table(notes()));

fn row(body: &str, uses: i64) -> Row {
    let mut values = vec![Value::Null; TABLE.columns().len()];
    (values[0], values[1], values[3]) = ("1".into(), body.into(), uses.into());
    Row::new(&TABLE, values, None)
}

fn from(source: &str) -> Contributor {
    Contributor { source: source.into(), stream: "notes".into() }
}

fn says(source: &str, priority: i32, row: &Row) -> Contribution {
    Contribution { contributor: from(source), priority, row: row.clone() }
}

fn alone(source: &str, row: &Row) -> Stored {
    Stored { row: row.clone(), contributor: from(source), merged_from: Vec::new(), deleted: false }
}

fn together(shown: usize, merged_from: Vec<Contribution>) -> Stored {
    let Contribution { contributor, row, .. } = merged_from[shown].clone();
    Stored { row, contributor, merged_from, deleted: false }
}

fn tombstone(source: &str, row: &Row) -> Stored {
    Stored { deleted: true, ..alone(source, row) }
}

/// The stream `w.db` has a change; `ranks` are those that are known.
fn put(policy: &dyn ConflictPolicy, ranks: &[(&str, i32)], existing: &Stored, operation: Operation) -> Settled {
    let ranks: BTreeMap<Contributor, i32> = ranks.iter().map(|(source, rank)| (from(source), *rank)).collect();
    let ranking = Ranking { writer: from("w.db"), priority_of: &|contributor| ranks.get(contributor).copied() };
    let change = Change { key: Key::new(vec!["1".into()]), operation, base: None };
    let settled = settle(&TABLE, policy, &ranking, Contested { change, existing: existing.clone() });
    assert_eq!(settled.key, Key::new(vec!["1".into()]));
    settled
}

fn upsert(row: &Row) -> Operation {
    Operation::Upsert(row.clone())
}

fn is(settled: &Settled, effect: Effect, write: Option<&Stored>, base_from_now: Option<ContentHash>) {
    let expected = (&effect, write, &base_from_now);
    assert_eq!((&settled.effect, settled.write.as_ref(), &settled.base_from_now), expected);
}

/// The rule and both sides.
fn logged(settled: &Settled, rule: &str, incoming: Option<&Row>, existing: &Stored) {
    let log = settled.conflict.as_ref().expect("a line in the log");
    assert_eq!((log.rule.as_ref(), log.incoming.as_ref(), &log.existing), (rule, incoming, &existing.row));
    assert_eq!(log.existing_from, existing.contributor);
}

#[test]
fn a_change_of_a_row_that_diverged_ends_as_the_policy_says() {
    let (mine, theirs) = (row("mine", 1), row("theirs", 2));
    let existing = alone("w.db", &theirs);

    let settled = put(&PolicySpec::LocalWins, &[], &existing, upsert(&mine));
    is(&settled, Effect::Updated, Some(&alone("w.db", &mine)), Some(mine.hash));
    logged(&settled, "local_wins", Some(&mine), &existing);

    let settled = put(&PolicySpec::HubWins, &[], &existing, upsert(&mine));
    is(&settled, Effect::Superseded, None, Some(theirs.hash));
    logged(&settled, "hub_wins", Some(&mine), &existing);

    for (made, effect, write) in
        [(row("both", 3), Effect::Merged, Some(alone("w.db", &row("both", 3)))), (theirs, Effect::Superseded, None)]
    {
        let merging = |_: &Conflict<'_>| Resolution::Merged("both".into(), made.clone());
        let settled = put(&merging, &[], &existing, upsert(&mine));
        is(&settled, effect, write.as_ref(), Some(made.hash));
        logged(&settled, "both", Some(&mine), &existing);
    }
}

#[test]
fn what_does_not_differ_is_no_conflict() {
    let mine = row("mine", 1);
    let settled = put(&PolicySpec::HubWins, &[], &alone("w.db", &mine), upsert(&mine));
    is(&settled, Effect::Unchanged, None, Some(mine.hash));
    assert_eq!(settled.conflict, None);
    // Nobody's content stands against it.
    for dead in [tombstone("w.db", &row("old", 1)), tombstone("a.db", &mine)] {
        let settled = put(&PolicySpec::HubWins, &[], &dead, upsert(&mine));
        is(&settled, Effect::Inserted, Some(&alone("w.db", &mine)), Some(mine.hash));
        assert_eq!(settled.conflict, None);
    }
}

#[test]
fn a_delete_leaves_what_the_writer_never_saw() {
    let existing = alone("w.db", &row("theirs", 1));
    let settled = put(&PolicySpec::LocalWins, &[], &existing, Operation::Delete);
    is(&settled, Effect::Kept, None, None);
    logged(&settled, "hub_changed_since", None, &existing);
    let settled = put(&PolicySpec::LocalWins, &[], &tombstone("w.db", &row("old", 1)), Operation::Delete);
    is(&settled, Effect::Kept, None, None);
    assert_eq!(settled.conflict, None);
}

#[test]
fn a_delete_takes_back_only_what_the_writer_said() {
    let (one, two) = (row("one", 1), row("two", 2));
    let (others, mine) = (says("a.db", 1, &one), says("w.db", 2, &two));
    let ranks = [("a.db", 1), ("b.db", 0), ("w.db", 2)];
    let delete = |existing: &Stored| {
        let settled = put(&PolicySpec::SourcePriority, &ranks, existing, Operation::Delete);
        assert_eq!((&settled.conflict, settled.base_from_now), (&None, None));
        (settled.effect, settled.write)
    };
    assert_eq!(delete(&alone("a.db", &one)), (Effect::Kept, None), "it has no part in it");
    assert_eq!(delete(&tombstone("a.db", &one)), (Effect::Kept, None));
    assert_eq!(delete(&together(0, vec![others.clone(), says("b.db", 0, &two)])), (Effect::Kept, None));
    let both = together(1, vec![mine.clone(), others.clone()]);
    assert_eq!(delete(&both), (Effect::Kept, Some(alone("a.db", &one))));
    let three = together(0, vec![mine.clone(), others.clone(), says("b.db", 0, &two)]);
    let left = together(0, vec![others, says("b.db", 0, &two)]);
    assert_eq!(delete(&three), (Effect::Kept, Some(left)));
    let dead = Stored { merged_from: Vec::new(), ..tombstone("w.db", &two) };
    assert_eq!(delete(&together(0, vec![mine])), (Effect::Deleted, Some(dead)));
}

#[test]
fn streams_that_meet_are_counted_by_what_became_of_the_writers_record() {
    let (mine, theirs) = (row("mine", 1), row("theirs", 2));
    let existing = alone("a.db", &theirs);
    let both = |shown, a, w| {
        let mut all = vec![says("a.db", a, &theirs), says("w.db", w, &mine)];
        all.sort_by_key(|one| -one.priority);
        let shown = all.iter().position(|one| one.contributor == from(shown)).expect("one of the two");
        Some(together(shown, all))
    };
    let rank = |a, w| put(&PolicySpec::SourcePriority, &[("a.db", a), ("w.db", w)], &existing, upsert(&mine));

    let settled = rank(1, 2);
    is(&settled, Effect::Updated, both("w.db", 1, 2).as_ref(), Some(mine.hash));
    // Folded from the highest rank down: the stored row is the one that gave way.
    logged(&settled, "source_priority", Some(&mine), &existing);

    let settled = rank(2, 1);
    is(&settled, Effect::Superseded, both("a.db", 2, 1).as_ref(), Some(mine.hash));
    logged(&settled, "source_priority", Some(&mine), &existing);

    let settled = put(&PolicySpec::WeightedMerge, &[("a.db", 2), ("w.db", 1)], &existing, upsert(&mine));
    assert_eq!((settled.effect, settled.base_from_now), (Effect::Merged, Some(mine.hash)));
    let write = settled.write.clone().expect("a row");
    assert_eq!((&write.row.values[3], write.merged_from), (&Value::Int(3), both("a.db", 2, 1).unwrap().merged_from));
    logged(&settled, "weighted_merge", Some(&mine), &existing);

    // The very same record, reachable twice.
    let settled = put(&PolicySpec::WeightedMerge, &[], &alone("a.db", &mine), upsert(&mine));
    let same = together(0, vec![says("a.db", 0, &mine), says("w.db", 0, &mine)]);
    is(&settled, Effect::Unchanged, Some(&same), Some(mine.hash));
    assert_eq!(settled.conflict, None);
}

#[test]
fn a_contribution_that_is_known_is_written_again_only_when_it_or_a_rank_changed() {
    let (mine, theirs) = (row("mine", 1), row("theirs", 2));
    let existing = together(0, vec![says("a.db", 5, &theirs), says("w.db", 1, &mine)]);
    let again = |ranks: &[(&str, i32)], row: &Row| put(&PolicySpec::SourcePriority, ranks, &existing, upsert(row));

    // A source that is not there now keeps its rank.
    for ranks in [&[("a.db", 5), ("w.db", 1)][..], &[("w.db", 1)]] {
        let settled = again(ranks, &mine);
        is(&settled, Effect::Unchanged, None, Some(mine.hash));
        assert_eq!(settled.conflict, None);
    }
    let settled = again(&[("a.db", 0), ("w.db", 1)], &mine);
    let turned = together(0, vec![says("w.db", 1, &mine), says("a.db", 0, &theirs)]);
    is(&settled, Effect::Updated, Some(&turned), Some(mine.hash));
    let newer = row("newer", 3);
    let settled = again(&[("a.db", 5), ("w.db", 1)], &newer);
    let replaced = together(0, vec![says("a.db", 5, &theirs), says("w.db", 1, &newer)]);
    is(&settled, Effect::Superseded, Some(&replaced), Some(newer.hash));
}

#[test]
fn contributions_are_folded_by_rank_and_then_by_name_and_each_content_once() {
    let (one, two) = (row("one", 1), row("two", 10));
    let existing = together(0, vec![says("b.db", 1, &one), says("c.db", 1, &two)]);
    let ranks = [("b.db", 1), ("c.db", 1), ("w.db", 1), ("a.db", 2)];
    let settled = put(&PolicySpec::WeightedMerge, &ranks, &existing, upsert(&one));
    let write = settled.write.expect("a row");
    assert_eq!(write.row.values[3], Value::Int(11), "the same content twice counts once, whatever is between");
    let order: Vec<Contributor> = write.merged_from.into_iter().map(|one| one.contributor).collect();
    assert_eq!(order, [from("b.db"), from("c.db"), from("w.db")]);

    let existing = together(0, vec![says("b.db", 1, &one), says("a.db", 2, &two)]);
    let settled = put(&PolicySpec::Immutable, &ranks, &existing, upsert(&row("mine", 1)));
    let write = settled.write.expect("a row");
    assert_eq!((write.contributor, write.row), (from("a.db"), two));
}

#[test]
fn contributions_survive_being_written_as_json() {
    let mut with_extra = row("one", 1);
    with_extra = Row::new(&TABLE, with_extra.values, Some(Json::from_text("{\"more\":[1,2]}")));
    let all = vec![says("a.db", -3, &with_extra), says("w.db", 7, &row("two", 2))];
    let text = contributions_to_json(&TABLE, &all).expect("writable").expect("more than none");
    assert_eq!(contributions_from_json(&TABLE, text.as_str()).expect("as written"), all);
    for one in &all {
        let hash = contribution_hash(&TABLE, text.as_str(), &one.contributor).expect("as written");
        assert_eq!(hash, Some(one.row.hash));
    }
    assert_eq!(contribution_hash(&TABLE, text.as_str(), &from("b.db")).expect("as written"), None);
    assert_eq!(contributions_to_json(&TABLE, &[]).expect("nothing to write"), None);
    let error = contributions_from_json(&TABLE, "{}").expect_err("no list").to_string();
    assert!(error.contains("merged_from"), "{error}");
}
