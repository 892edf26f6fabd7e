//! Every situation of a row, against every change: who has to decide.

use std::sync::Arc;

use super::super::violation::{Checked, Rule, Violation, done};
use super::stage::{Stage, checkpoint, deletion, note, settled, upsert};
use crate::hash::{same, same_json};
use crate::meet::Stored;
use crate::{Applied, Change, ContentHash, Operation, PolicySpec, Pushed, Row, Sink, SinkTxn, StreamId, TableSpec};

/// What is at a key before the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Nothing,
    Mine,
    MyTombstone,
    Theirs,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    SameContent,
    OtherContent,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Nothing,
    Current,
    Stale,
}

/// What has to become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Inserted,
    Updated,
    Unchanged,
    Deleted,
    Contested,
    /// Written anew or left: to a reader the same.
    Same,
    /// Nothing is there to delete: it counts nowhere.
    Gone,
}

impl Situation {
    fn fate(self, wish: Wish, base: Base) -> Fate {
        match (self, wish) {
            (Self::Nothing | Self::MyTombstone, Wish::Delete) => Fate::Gone,
            (Self::Nothing, _) => Fate::Inserted,
            (Self::Mine, Wish::SameContent) if base == Base::Current => Fate::Same,
            (Self::Mine, Wish::SameContent) => Fate::Unchanged,
            (Self::Mine, Wish::OtherContent) if base == Base::Current => Fate::Updated,
            (Self::Mine, Wish::Delete) if base == Base::Current => Fate::Deleted,
            _ => Fate::Contested,
        }
    }
}

struct Case {
    situation: Situation,
    wish: Wish,
    base: Base,
    change: Change,
    /// What the row holds, where there is one.
    existing: Option<ContentHash>,
}

fn cases(table: &TableSpec) -> Vec<Case> {
    use Situation::{Mine, MyTombstone, Nothing, Shared, Theirs};
    let mut cases = Vec::new();
    for situation in [Nothing, Mine, MyTombstone, Theirs, Shared] {
        for wish in [Wish::SameContent, Wish::OtherContent, Wish::Delete] {
            for base in [Base::Nothing, Base::Current, Base::Stale] {
                let key = format!("{situation:?} {wish:?} {base:?}");
                let stored = note(table, &key, body_in(situation));
                let hash = match base {
                    Base::Nothing => None,
                    Base::Current => Some(stored.hash),
                    Base::Stale => Some(note(table, &key, "never there").hash),
                };
                let change = match wish {
                    Wish::SameContent => upsert(table, stored.clone(), hash),
                    Wish::OtherContent => upsert(table, note(table, &key, "new"), hash),
                    Wish::Delete => deletion(table, &stored, hash),
                };
                let existing = (situation != Nothing).then_some(stored.hash);
                cases.push(Case { situation, wish, base, change, existing });
            }
        }
    }
    cases
}

fn body_in(situation: Situation) -> &'static str {
    if situation == Situation::Theirs { "theirs" } else { "mine" }
}

pub(super) async fn check<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    for pushed in [true, false] {
        let what = if pushed { "conflicts pushed" } else { "conflicts" };
        let (mine, theirs) = (stage.stream(what, "mine.db"), stage.stream(what, "theirs.db"));
        let cases = cases(&stage.notes);
        set_up(stage, &mine, &theirs, &cases).await?;
        decide(stage, &mine, &theirs, &cases, pushed, checked).await?;
    }
    Ok(())
}

async fn set_up<S: Sink>(
    stage: &Stage<'_, '_, S>,
    mine: &StreamId,
    theirs: &StreamId,
    cases: &[Case],
) -> Result<(), Violation> {
    let (rule, table) = (Rule::ConflictsAreExact, &stage.notes);
    let of = |situations: &[Situation], body: &str| {
        let wanted = cases.iter().filter(|case| situations.contains(&case.situation));
        wanted.map(|case| note(table, &case.change.key.to_string(), body)).collect::<Vec<Row>>()
    };
    let inserts = |rows: &[Row]| rows.iter().map(|row| upsert(table, row.clone(), None)).collect::<Vec<_>>();
    let rows = of(&[Situation::Mine, Situation::MyTombstone, Situation::Shared], "mine");
    stage.deliver(rule, mine, table, inserts(&rows)).await?;
    let gone = of(&[Situation::MyTombstone], "mine");
    let gone = gone.iter().map(|row| deletion(table, row, Some(row.hash))).collect();
    stage.deliver(rule, mine, table, gone).await?;
    stage.deliver(rule, theirs, table, inserts(&of(&[Situation::Theirs], "theirs"))).await?;
    // The first by name wins where nobody decides: what is stored stays "mine".
    let shared = inserts(&of(&[Situation::Shared], "shared"));
    let applied = stage.settle(rule, theirs, table, shared.clone(), &PolicySpec::HubWins).await?;
    if applied.contested.len() != shared.len() {
        let found =
            format!("{} of {} rows that another stream holds were contested", applied.contested.len(), shared.len());
        return Err(Violation::new(rule, found));
    }
    Ok(())
}

async fn decide<S: Sink>(
    stage: &Stage<'_, '_, S>,
    mine: &StreamId,
    theirs: &StreamId,
    cases: &[Case],
    pushed: bool,
    checked: &mut Checked,
) -> Result<(), Violation> {
    let (rule, table) = (Rule::ConflictsAreExact, &stage.notes);
    let changes: Vec<Change> = cases.iter().map(|case| case.change.clone()).collect();
    let (txn, applied) = if pushed {
        match stage.push(rule, &stage.sink, mine, table, changes).await? {
            Pushed::Contested { txn, applied, .. } => (txn, applied),
            Pushed::Committed(applied, _) => {
                let found = format!("a delivery full of conflicts was committed without asking: {applied:?}");
                return Err(Violation::new(rule, found));
            }
        }
    } else {
        let mut txn = done(rule, "beginning", stage.sink.begin(mine, table).await)?;
        let applied = done(rule, "applying", txn.apply(changes).await)?;
        (txn, applied)
    };
    for case in cases {
        let fate = case.situation.fate(case.wish, case.base);
        let found = applied.contested.iter().filter(|one| one.change.key == case.change.key).collect::<Vec<_>>();
        let told = || format!("{:?} with base {:?} where {:?} is stored", case.wish, case.base, case.situation);
        let allowed = match fate {
            Fate::Contested => found.len() == 1,
            _ => found.is_empty(),
        };
        checked.hold(rule, allowed, || {
            format!("{} was contested {} times, and should have been {fate:?}", told(), found.len())
        })?;
        for one in found {
            let fault = fault(table, case, one, mine, theirs);
            checked.hold(rule, fault.is_none(), || format!("{}: {}", told(), fault.unwrap_or_default()))?;
        }
    }
    count(cases, &applied, checked)?;
    finish(stage, txn, mine, theirs, cases, applied, checked).await
}

/// What is wrong with a conflict that is rightly one.
fn fault(
    table: &TableSpec,
    case: &Case,
    one: &crate::meet::Contested,
    mine: &StreamId,
    theirs: &StreamId,
) -> Option<String> {
    if !same_change(&one.change, &case.change) {
        return Some(format!("the change came back as {:?}", one.change));
    }
    let Stored { row, contributor, merged_from, deleted } = &one.existing;
    if *deleted != (case.situation == Situation::MyTombstone) {
        return Some(format!("the row in its way came with deleted = {deleted}"));
    }
    let owner = if case.situation == Situation::Theirs { theirs } else { mine };
    if *contributor != owner.contributor() {
        return Some(format!("the row in its way came as one of {contributor}, and is one of {}", owner.contributor()));
    }
    let parts = if case.situation == Situation::Shared { 2 } else { 0 };
    if merged_from.len() != parts {
        return Some(format!("the row in its way came with {} contributions instead of {parts}", merged_from.len()));
    }
    let content = note(table, &case.change.key.to_string(), body_in(case.situation));
    (Some(row.hash) != case.existing || !same_row(row, &content))
        .then(|| format!("the row in its way came as {row:?}, and is {content:?}"))
}

fn same_change(one: &Change, other: &Change) -> bool {
    let same = match (&one.operation, &other.operation) {
        (Operation::Upsert(one), Operation::Upsert(other)) => one.hash == other.hash && same_row(one, other),
        (Operation::Delete, Operation::Delete) => true,
        _ => false,
    };
    same && one.base == other.base
}

/// To the bit; JSON whatever its spelling.
pub(super) fn same_row(one: &Row, other: &Row) -> bool {
    let extra = match (&one.extra, &other.extra) {
        (None, None) => true,
        (Some(one), Some(other)) => same_json(one, other),
        _ => false,
    };
    extra && one.values.len() == other.values.len() && one.values.iter().zip(&other.values).all(|(a, b)| same(a, b))
}

fn count(cases: &[Case], applied: &Applied, checked: &mut Checked) -> Result<(), Violation> {
    let number = |wanted: &[Fate]| {
        cases.iter().filter(|case| wanted.contains(&case.situation.fate(case.wish, case.base))).count() as u64
    };
    let ranges = [
        ("inserted", applied.inserted, number(&[Fate::Inserted]), number(&[Fate::Inserted])),
        ("updated", applied.updated, number(&[Fate::Updated]), number(&[Fate::Updated, Fate::Same])),
        ("unchanged", applied.unchanged, number(&[Fate::Unchanged]), number(&[Fate::Unchanged, Fate::Same])),
        ("deleted", applied.deleted, number(&[Fate::Deleted]), number(&[Fate::Deleted])),
        ("refused", applied.refused.len() as u64, 0, 0),
    ];
    for (name, found, least, most) in ranges {
        checked.hold(Rule::ConflictsAreExact, (least..=most).contains(&found), || {
            format!("beside the conflicts {found} changes were counted as {name}, it should be {least} to {most}")
        })?;
    }
    Ok(())
}

/// What was decided is what is stored, and both streams still find what is theirs.
async fn finish<S: Sink>(
    stage: &Stage<'_, '_, S>,
    mut txn: S::Txn,
    mine: &StreamId,
    theirs: &StreamId,
    cases: &[Case],
    applied: Applied,
    checked: &mut Checked,
) -> Result<(), Violation> {
    let (rule, table): (_, &Arc<TableSpec>) = (Rule::ConflictsAreExact, &stage.notes);
    let settled = settled(table, mine, applied.contested, &PolicySpec::LocalWins);
    done(rule, "resolving", txn.resolve(settled).await)?;
    done(rule, "committing", txn.commit(checkpoint("run", true)).await)?;
    let told = stage.told(&stage.other().await, mine, table, checked).await?;
    for case in cases {
        let key = case.change.key.to_string();
        let hash = match &case.change.operation {
            Operation::Upsert(row) => Some(row.hash),
            // What the writer never saw it does not delete.
            Operation::Delete if case.situation == Situation::Mine && case.base != Base::Current => case.existing,
            Operation::Delete => None,
        };
        checked.hold(rule, told.rows().get(&key).copied() == hash, || {
            format!(
                "{:?} with base {:?} where {:?} was stored ended as {:?} instead of {hash:?}",
                case.wish,
                case.base,
                case.situation,
                told.rows().get(&key)
            )
        })?;
    }
    let told = stage.told(&stage.other().await, theirs, table, checked).await?;
    for case in cases {
        let key = case.change.key.to_string();
        let hash = match case.situation {
            Situation::Theirs => Some(note(table, &key, "theirs").hash),
            Situation::Shared => Some(note(table, &key, "shared").hash),
            _ => None,
        };
        checked.hold(rule, told.rows().get(&key).copied() == hash, || {
            format!(
                "of a row that was {:?} the other stream finds {:?} instead of {hash:?}",
                case.situation,
                told.rows().get(&key)
            )
        })?;
    }
    Ok(())
}
