//! All or nothing, and once is as good as twice.

use super::super::violation::{Checked, Rule, Violation, done};
use super::stage::{Stage, checkpoint, deletion, letter, note, settled, upsert};
use crate::{Applied, Delivery, PolicySpec, Pushed, Sink, SinkTxn};

/// Rows are there exactly when their checkpoint is, for everybody.
pub(super) async fn commits<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let rule = Rule::RowsAndCheckpointTogether;
    let (id, table) = (stage.stream("commits", "a.db"), &stage.notes);
    let mut wanted = 0;
    let rows: Vec<_> = (0..6).map(|number| note(table, &format!("key {number}"), "one")).collect();
    for (number, row) in rows.iter().enumerate() {
        let complete = number % 2 == 0;
        let (changes, letters) = (vec![upsert(table, row.clone(), None)], vec![letter(&format!("letter {number}"))]);
        let at = checkpoint(&format!("run {number}"), complete);
        let sequence = if number < 3 {
            let delivery = Delivery { changes, letters, checkpoint: at.clone() };
            match done(rule, "pushing", stage.sink.push(&id, table, delivery).await)? {
                Pushed::Committed(_, committed) => committed.sequence,
                Pushed::Contested { .. } => return Err(Violation::new(rule, "a new row was contested")),
            }
        } else {
            let mut txn = done(rule, "beginning", stage.sink.begin(&id, table).await)?;
            done(rule, "applying", txn.apply(changes).await)?;
            done(rule, "keeping letters", txn.reject(letters).await)?;
            if !stage.case.reads_wait {
                let seen = stage.told(&stage.other().await, &id, table, checked).await?;
                checked.hold(rule, seen.rows().len() == number && seen.sequence() == wanted, || {
                    let found = seen.rows().len();
                    format!("before the commit another reader sees {found} rows instead of {number}, and commit {} instead of {wanted}", seen.sequence())
                })?;
            }
            done(rule, "committing", txn.commit(at.clone()).await)?.sequence
        };
        wanted += 1;
        let seen = stage.told(&stage.other().await, &id, table, checked).await?;
        let arrived = seen.rows().get(&row.key(table).to_string()) == Some(&row.hash);
        checked.hold(rule, arrived && seen.rows().len() == number + 1, || {
            format!("after commit {wanted} another reader finds the rows {:?}", seen.rows().keys())
        })?;
        checked.hold(rule, sequence == wanted && seen.sequence() == wanted, || {
            format!(
                "commit {wanted} was numbered {sequence}, and the state says {}: rows came without their checkpoint",
                seen.sequence()
            )
        })?;
        let told = seen.state();
        let right = told.is_some_and(|told| told.checkpoint == at && told.table == table.name().as_str());
        checked.hold(rule, right, || {
            format!("the checkpoint {at:?} of commit {wanted} came back as {:?}", seen.state())
        })?;
    }
    // Nothing new but the checkpoint.
    let (_, sequence) = stage.deliver(rule, &id, table, Vec::new()).await?;
    let seen = stage.told(&stage.sink, &id, table, checked).await?;
    checked.hold(rule, sequence == wanted + 1 && seen.sequence() == sequence, || {
        format!("a delivery without changes is commit {sequence} instead of {}", wanted + 1)
    })
}

/// Whatever a transaction did before it is dropped never happened.
pub(super) async fn rollbacks<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let rule = Rule::RollbackLeavesNoTrace;
    let (id, table) = (stage.stream("rollbacks", "a.db"), &stage.notes);
    let row = |key: &str, body: &str| note(table, key, body);
    let first = ["updated", "deleted", "contested"].map(|key| row(key, "one"));
    stage.deliver(rule, &id, table, first.iter().map(|row| upsert(table, row.clone(), None)).collect()).await?;
    for steps in 1..=4 {
        let before = stage.told(&stage.sink, &id, table, checked).await?;
        let census = async || match &stage.case.census {
            Some(census) => census().await,
            None => String::new(),
        };
        let counted = census().await;
        let mut txn = done(rule, "beginning", stage.sink.begin(&id, table).await)?;
        let changes = vec![
            upsert(table, row("inserted", "one"), None),
            upsert(table, row("updated", "two"), Some(first[0].hash)),
            deletion(table, &first[1], Some(first[1].hash)),
            upsert(table, row("contested", "two"), None),
        ];
        let mut contested = Vec::new();
        if steps > 1 {
            contested = done(rule, "applying", txn.apply(changes).await)?.contested;
        }
        if steps > 2 {
            let settled = settled(table, &id, contested, &PolicySpec::LocalWins);
            done(rule, "resolving", txn.resolve(settled).await)?;
        }
        if steps > 3 {
            done(rule, "keeping letters", txn.reject(vec![letter("rolled back")]).await)?;
        }
        drop(txn);
        let after = stage.told(&stage.sink, &id, table, checked).await?;
        checked.hold(rule, after == before, || {
            format!("after {steps} steps were rolled back the sink says {after:?}, before it said {before:?}")
        })?;
        let after = stage.told(&stage.other().await, &id, table, checked).await?;
        checked.hold(rule, after == before, || {
            format!("after a rollback another reader finds {after:?}, before it was {before:?}")
        })?;
        let left = census().await;
        checked.hold(rule, left == counted, || {
            format!("a rollback left something behind: {}", first_difference(&counted, &left))
        })?;
        let (_, sequence) = stage.deliver(rule, &id, table, Vec::new()).await?;
        checked.hold(rule, sequence == before.sequence() + 1, || {
            format!("the commit after a rollback is number {sequence} instead of {}", before.sequence() + 1)
        })?;
    }
    Ok(())
}

/// What was sent again after a lost acknowledgement is found unchanged.
pub(super) async fn repetitions<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let rule = Rule::ReapplyHasNoEffect;
    let (id, table) = (stage.stream("repetitions", "a.db"), &stage.notes);
    let row = |key: &str, body: &str| note(table, key, body);
    let first: Vec<_> = (0..4).map(|number| row(&format!("key {number}"), "one")).collect();
    let inserts: Vec<_> = first.iter().map(|row| upsert(table, row.clone(), None)).collect();
    let (applied, _) = stage.deliver(rule, &id, table, inserts.clone()).await?;
    let counts = |applied: &Applied| (applied.inserted, applied.updated, applied.unchanged, applied.deleted);
    checked.hold(rule, counts(&applied) == (4, 0, 0, 0), || {
        format!("4 new rows were counted as {}", told_counts(&applied))
    })?;
    let second = vec![
        upsert(table, row("key 0", "two"), Some(first[0].hash)),
        upsert(table, row("key 1", "two"), Some(first[1].hash)),
        deletion(table, &first[2], Some(first[2].hash)),
        upsert(table, row("key 9", "one"), None),
    ];
    let (applied, _) = stage.deliver(rule, &id, table, second.clone()).await?;
    checked.hold(rule, counts(&applied) == (1, 2, 0, 1), || {
        format!("1 new row, 2 updates and 1 delete were counted as {}", told_counts(&applied))
    })?;
    let before = stage.told(&stage.sink, &id, table, checked).await?;
    checked.hold(rule, before.rows().len() == 4, || format!("4 rows should be there, it is {:?}", before.rows()))?;
    for way in ["pushed", "pushed by another program", "step by step"] {
        let applied = match way {
            "pushed" => stage.settle(rule, &id, table, second.clone(), &PolicySpec::LocalWins).await?,
            "step by step" => {
                let mut txn = done(rule, "beginning", stage.sink.begin(&id, table).await)?;
                let applied = done(rule, "applying", txn.apply(second.clone()).await)?;
                done(rule, "committing", txn.commit(checkpoint("again", false)).await)?;
                applied
            }
            _ => match stage.push(rule, &stage.other().await, &id, table, second.clone()).await? {
                Pushed::Committed(applied, _) | Pushed::Contested { applied, .. } => applied,
            },
        };
        // A delete of what this stream deleted counts nowhere.
        checked.hold(rule, counts(&applied) == (0, 0, 3, 0) && applied.contested.is_empty(), || {
            format!("the same delivery, {way} again, was counted as {}", told_counts(&applied))
        })?;
        let after = stage.told(&stage.sink, &id, table, checked).await?;
        checked.hold(rule, after.rows() == before.rows(), || {
            format!("the same delivery, {way} again, made {:?} of {:?}", after.rows(), before.rows())
        })?;
    }
    Ok(())
}

fn told_counts(applied: &Applied) -> String {
    format!(
        "{} inserted, {} updated, {} unchanged, {} deleted, {} contested, {} refused",
        applied.inserted,
        applied.updated,
        applied.unchanged,
        applied.deleted,
        applied.contested.len(),
        applied.refused.len()
    )
}

fn first_difference(before: &str, after: &str) -> String {
    let (mut old, mut new) = (before.lines(), after.lines());
    loop {
        match (old.next(), new.next()) {
            (Some(old), Some(new)) if old == new => {}
            (old, new) => return format!("{:?} instead of {:?}", new.unwrap_or(""), old.unwrap_or("")),
        }
    }
}
