//! What goes in comes out: hostile values, keys and names.

use std::sync::Arc;

use super::super::values::{hostile_records, rows, table_of_everything};
use super::super::violation::{Checked, Rule, Violation, done};
use super::conflicts::same_row;
use super::stage::{Stage, checkpoint, collect, objections, settled, upsert};
use crate::{
    Change, ColumnType, ContentHash, Json, PolicySpec, Pushed, Row, Sink, SinkTxn, StreamId, TableSpec, Value,
};

const RULE: Rule = Rule::ValuesRoundTrip;

pub(super) async fn check<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    let table = done(RULE, "making a table", table_of_everything("testkit_values"))?;
    done(RULE, "preparing a table", stage.sink.prepare(&table).await)?;
    let rows = rows(&table, hostile_records());
    checked.hold(Rule::HasSomethingToCheck, rows.len() > 500, || format!("only {} hostile rows", rows.len()))?;
    let changes: Vec<Change> = rows.iter().map(|row| upsert(&table, row.clone(), None)).collect();
    for pushed in [true, false] {
        let id = stage.stream(if pushed { "values pushed" } else { "values" }, "a.db");
        if pushed {
            let (applied, _) = stage.deliver(RULE, &id, &table, changes.clone()).await?;
            all_inserted(&applied, rows.len(), checked)?;
        } else {
            let mut txn = done(RULE, "beginning", stage.sink.begin(&id, &table).await)?;
            let applied = done(RULE, "applying", txn.apply(changes.clone()).await)?;
            all_inserted(&applied, rows.len(), checked)?;
            done(RULE, "committing", txn.commit(checkpoint("run", true)).await)?;
        }
        read_back(stage, &id, &table, &rows, checked).await?;
    }
    Ok(())
}

fn all_inserted(applied: &crate::Applied, count: usize, checked: &mut Checked) -> Result<(), Violation> {
    checked.hold(RULE, applied.inserted == count as u64, || {
        format!(
            "{} of {count} rows with hostile values and keys were inserted; {}",
            applied.inserted,
            objections(applied)
        )
    })
}

/// By the hashes that the sink makes anew, and by the rows themselves: a change that
/// nothing speaks for is contested, and the row in its way has to be shown.
async fn read_back<S: Sink>(
    stage: &Stage<'_, '_, S>,
    id: &StreamId,
    table: &Arc<TableSpec>,
    rows: &[Row],
    checked: &mut Checked,
) -> Result<(), Violation> {
    let found = collect(stage.sink.recomputed(id, table), RULE).await?;
    checked.hold(RULE, found.len() == rows.len(), || format!("{} of {} rows came back", found.len(), rows.len()))?;
    let other = |row: &Row| {
        let mut values = row.values.clone();
        values.iter_mut().skip(2).for_each(|value| *value = Value::Null);
        Row::new(table, values, Some(Json::from_text("{\"other\":true}")))
    };
    let changes = rows.iter().map(|row| upsert(table, other(row), None)).collect();
    let mut txn = done(RULE, "beginning", stage.sink.begin(id, table).await)?;
    let applied = done(RULE, "applying", txn.apply(changes).await)?;
    drop(txn);
    for row in rows {
        let key = row.key(table);
        let existing = applied.contested.iter().find(|one| one.change.key == key).map(|one| &one.existing.row);
        checked.hold(RULE, existing.is_some(), || format!("the row {key} did not come back"))?;
        let Some(existing) = existing else { continue };
        checked.hold(RULE, same_row(existing, row), || mangled(table, row, existing))?;
        let known = found.iter().find(|known| known.key == key);
        checked.hold(RULE, known.is_some_and(|known| known.sound && known.hash == row.hash), || {
            format!("the row {key} was stored with hash {}, made anew from what is stored it is {known:?}", row.hash)
        })?;
    }
    Ok(())
}

fn mangled(table: &TableSpec, row: &Row, existing: &Row) -> String {
    let pairs = table.columns().iter().zip(row.values.iter().zip(&existing.values));
    let column = pairs.into_iter().find(|(_, (one, other))| !crate::hash::same(one, other));
    match column {
        Some((column, (sent, found))) => {
            format!("column {} of row {} held {sent:?} and came back as {found:?}", column.name, row.key(table))
        }
        None => format!("`extra` of row {} held {:?} and came back as {:?}", row.key(table), row.extra, existing.extra),
    }
}

/// Names of tables, columns, environments and sources are never anything but names.
pub(super) async fn names<S: Sink>(stage: &Stage<'_, '_, S>, checked: &mut Checked) -> Result<(), Violation> {
    for (number, name) in ["\"; --", "$1'", "back\\slash", "select", "Ünïcødé"].into_iter().enumerate() {
        let table = TableSpec::builder(&format!("testkit_{name}"))
            .key(name, ColumnType::Text)
            .column("order\"; --", ColumnType::Text)
            .column("group", ColumnType::Int)
            .build();
        let table = done(RULE, "making a table", table)?;
        done(RULE, "preparing a table", stage.sink.prepare(&table).await)?;
        let mut id = stage.stream(&format!("names {name}"), &format!("'{name}"));
        id.stream = name.into();
        let row = |body: &str| Row::new(&table, vec![name.into(), body.into(), Value::Int(1)], None);
        let steps: [(Row, Option<ContentHash>); 2] = [(row("one"), None), (row("two"), Some(row("one").hash))];
        for (row, base) in steps {
            stage.deliver(RULE, &id, &table, vec![upsert(&table, row.clone(), base)]).await?;
            let seen = stage.told(&stage.sink, &id, &table, checked).await?;
            checked.hold(RULE, seen.rows().values().eq([&row.hash]), || {
                format!("under the name {name:?} ({number}) the rows {:?} came back", seen.rows())
            })?;
        }
        let outdated = vec![upsert(&table, row("three"), None)];
        let Pushed::Contested { mut txn, applied, checkpoint, .. } =
            stage.push(RULE, &stage.sink, &id, &table, outdated).await?
        else {
            return Err(Violation::new(RULE, format!("under the name {name:?} a conflict was not found")));
        };
        let settled = settled(&table, &id, applied.contested, &PolicySpec::LocalWins);
        done(RULE, "resolving", txn.resolve(settled).await)?;
        done(RULE, "committing", txn.commit(checkpoint).await)?;
        let seen = stage.told(&stage.sink, &id, &table, checked).await?;
        checked.hold(RULE, seen.rows().values().eq([&row("three").hash]) && seen.sequence() == 3, || {
            format!("under the name {name:?} the rows {:?} came back", seen.rows())
        })?;
    }
    Ok(())
}
