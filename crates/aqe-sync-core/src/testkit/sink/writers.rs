//! Several writers at the same time: same stream, same environment, others.

use std::collections::BTreeSet;

use futures::future::{join, join_all};

use super::super::fault::give_way;
use super::super::violation::{Checked, Rule, Violation, done};
use super::stage::{Stage, checkpoint, note, settled, upsert};
use crate::{Applied, Change, PolicySpec, Sink, SinkTxn, StreamId};

const RULE: Rule = Rule::ConcurrentWriters;
const ROUNDS: usize = 4;

pub(super) async fn check<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    apart(stage, checked).await?;
    same_stream(stage, checked).await?;
    same_row(stage, checked).await
}

/// Writes with pauses in which others get their turn, and decides what has to be decided.
async fn write<S: Sink>(
    stage: &Stage<'_, '_, S>,
    sink: &S,
    id: &StreamId,
    changes: Vec<Change>,
) -> Result<(Applied, u64), Violation> {
    let table = &stage.notes;
    let mut txn = done(RULE, "beginning", sink.begin(id, table).await)?;
    give_way(3).await;
    let applied = done(RULE, "applying", txn.apply(changes).await)?;
    give_way(3).await;
    let settled = settled(table, id, applied.contested.clone(), &PolicySpec::LocalWins);
    done(RULE, "resolving", txn.resolve(settled).await)?;
    give_way(3).await;
    let committed = done(RULE, "committing", txn.commit(checkpoint("run", false)).await)?;
    Ok((applied, committed.sequence))
}

/// Environments, and sources of one environment, with a program each.
async fn apart<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let table = &stage.notes;
    let ids =
        [stage.stream("writers one", "a.db"), stage.stream("writers two", "a.db"), stage.stream("writers two", "b.db")];
    let writers = ids.iter().map(async |id: &StreamId| {
        let sink = stage.other().await;
        for round in 0..ROUNDS {
            let rows = (0..5).map(|number| note(table, &format!("{} {round} {number}", id.source), "one"));
            let changes = rows.map(|row| upsert(table, row, None)).collect();
            let (applied, sequence) = write(stage, &sink, id, changes).await?;
            if (applied.inserted, sequence) != (5, round as u64 + 1) {
                let found = format!("5 rows of {id} were counted as {applied:?}, in commit {sequence}");
                return Err(Violation::new(RULE, found));
            }
        }
        Ok(())
    });
    for written in join_all(writers).await {
        written?;
    }
    for id in &ids {
        let told = stage.told(&stage.sink, id, table, checked).await?;
        checked.hold(RULE, told.rows().len() == 5 * ROUNDS && told.sequence() == ROUNDS as u64, || {
            format!(
                "of {id} {} rows of {} are there, after {} commits of {ROUNDS}",
                told.rows().len(),
                5 * ROUNDS,
                told.sequence()
            )
        })?;
    }
    Ok(())
}

/// Two programs under one name: every commit has a number of its own.
async fn same_stream<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let (id, table) = (stage.stream("writers same stream", "a.db"), &stage.notes);
    let writer = async |name: &str| {
        let sink = stage.other().await;
        let mut sequences = Vec::new();
        for round in 0..ROUNDS {
            let changes = vec![upsert(table, note(table, &format!("{name} {round}"), "one"), None)];
            sequences.push(write(stage, &sink, &id, changes).await?.1);
        }
        Ok::<_, Violation>(sequences)
    };
    let (one, other) = join(writer("one"), writer("other")).await;
    let all: BTreeSet<u64> = one?.into_iter().chain(other?).collect();
    let wanted: BTreeSet<u64> = (1..=2 * ROUNDS as u64).collect();
    let told = stage.told(&stage.sink, &id, table, checked).await?;
    checked.hold(RULE, all == wanted && told.rows().len() == 2 * ROUNDS, || {
        format!(
            "two programs that write one stream got the commits {all:?}, and {} of {} rows are there",
            told.rows().len(),
            2 * ROUNDS
        )
    })
}

/// Two programs change one row, each on the version that it saw: one of them is told.
async fn same_row<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let (id, table) = (stage.stream("writers same row", "a.db"), &stage.notes);
    let mut base = note(table, "contended", "first");
    stage.deliver(RULE, &id, table, vec![upsert(table, base.clone(), None)]).await?;
    for round in 0..ROUNDS {
        let rows = ["one", "other"].map(|who| note(table, "contended", &format!("{who} {round}")));
        let (one, other) = (stage.other().await, stage.other().await);
        let changes = rows.clone().map(|row| vec![upsert(table, row, Some(base.hash))]);
        let [first, second] = changes;
        let (first, second) = join(write(stage, &one, &id, first), write(stage, &other, &id, second)).await;
        let (first, second) = (first?.0, second?.0);
        let counts = (first.updated + second.updated, first.contested.len() + second.contested.len());
        checked.hold(RULE, counts == (1, 1), || {
            format!("two programs changed one row on the same base: {} went through and {} were told of a conflict, of 1 and 1", counts.0, counts.1)
        })?;
        let in_the_way = first.contested.iter().chain(&second.contested).map(|one| one.existing.row.hash).next();
        let loser = usize::from(first.contested.is_empty());
        checked.hold(RULE, in_the_way == Some(rows[1 - loser].hash), || {
            format!("the row in the way of the second writer came as {in_the_way:?}, and not as the first one left it")
        })?;
        let told = stage.told(&stage.sink, &id, table, checked).await?;
        base = rows[loser].clone();
        checked.hold(RULE, told.rows().values().eq([&base.hash]), || {
            format!("what the second writer decided is not what is stored: {:?}", told.rows())
        })?;
    }
    Ok(())
}
