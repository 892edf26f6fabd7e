//! What every conflict policy has to keep.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::values::{hostile_values, table_of_roles};
use super::violation::{Checked, Rule, Violation};
use crate::conflict::Version;
use crate::hash::same;
use crate::{
    ColumnType, Conflict, ConflictKind, ConflictPolicy, ContentHash, Contributor, Json, Resolution, Row, TableSpec,
    Timestamp, Value,
};

/// How often each conflict is put to the policy.
const TIMES: usize = 3;

/// Checks a policy on a table that has a column of every role.
///
/// # Errors
/// The first rule that is broken.
pub fn check_policy<P: ConflictPolicy + ?Sized>(policy: &P) -> Result<Checked, Violation> {
    let table = table_of_roles().map_err(|error| Violation::new(Rule::HasSomethingToCheck, error.to_string()))?;
    check_policy_on(policy, &[table])
}

/// Checks a policy on given tables: the catalogue's, or your own.
///
/// # Errors
/// The first rule that is broken; also when there is no table.
pub fn check_policy_on<P: ConflictPolicy + ?Sized>(
    policy: &P,
    tables: &[Arc<TableSpec>],
) -> Result<Checked, Violation> {
    if tables.is_empty() {
        return Err(Violation::new(Rule::HasSomethingToCheck, "no table was given to check the policy on"));
    }
    let mut checked = Checked::default();
    for table in tables {
        let cases = cases(table);
        let mut first = Vec::with_capacity(cases.len());
        for case in &cases {
            let resolution = ask(policy, table, case, &mut checked)?;
            if let Resolution::Merged(_, row) = &resolution {
                let fault = fault_of(table, row);
                checked.hold(Rule::MergedRowIsSound, fault.is_none(), || {
                    format!("{}, in {}", fault.unwrap_or_default(), told(table, case))
                })?;
            }
            first.push(resolution);
        }
        for _ in 1..TIMES {
            // Backwards: what was asked before must not count.
            for (case, before) in cases.iter().zip(&first).rev() {
                let again = ask(policy, table, case, &mut checked)?;
                checked.hold(Rule::Deterministic, equal(&again, before), || {
                    format!("{} ended as {before:?}, and at another time as {again:?}", told(table, case))
                })?;
            }
        }
    }
    Ok(checked)
}

struct Case {
    incoming: Row,
    existing: Row,
    contributors: [Contributor; 2],
    priorities: [i32; 2],
    kind: ConflictKind,
}

fn ask<P: ConflictPolicy + ?Sized>(
    policy: &P,
    table: &TableSpec,
    case: &Case,
    checked: &mut Checked,
) -> Result<Resolution, Violation> {
    let key = case.incoming.key(table);
    let version = |row, at: usize| Version { row, contributor: &case.contributors[at], priority: case.priorities[at] };
    let conflict = Conflict {
        table,
        key: &key,
        incoming: version(&case.incoming, 0),
        existing: version(&case.existing, 1),
        kind: case.kind,
    };
    let resolution = catch_unwind(AssertUnwindSafe(|| policy.resolve(&conflict)));
    checked.hold(Rule::Total, resolution.is_ok(), || format!("it panicked at {}", told(table, case)))?;
    // `hold` ended where there was a panic.
    Ok(resolution.unwrap_or(Resolution::Undecided))
}

/// To the bit: a merged row may hold NaN only by mistake, which is another rule's.
fn equal(one: &Resolution, other: &Resolution) -> bool {
    match (one, other) {
        (Resolution::Merged(rule, row), Resolution::Merged(other_rule, other)) => {
            rule == other_rule
                && row.hash == other.hash
                && row.values.len() == other.values.len()
                && row.values.iter().zip(&other.values).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

fn fault_of(table: &TableSpec, row: &Row) -> Option<String> {
    let columns = table.columns();
    if row.values.len() != columns.len() {
        return Some(format!("the merged row has {} values for {} columns", row.values.len(), columns.len()));
    }
    for (column, value) in columns.iter().zip(&row.values) {
        let fits = match (column.kind, value) {
            (_, Value::Null)
            | (ColumnType::Bool, Value::Bool(_))
            | (ColumnType::Int, Value::Int(_))
            | (ColumnType::Text, Value::Text(_))
            | (ColumnType::Bytes, Value::Bytes(_))
            | (ColumnType::Json, Value::Json(_))
            | (ColumnType::Timestamp, Value::Timestamp(_)) => true,
            (ColumnType::Float, Value::Float(number)) => !number.is_nan(),
            (ColumnType::Vector(dimensions), Value::Vector(numbers)) => numbers.len() == usize::from(dimensions),
            _ => false,
        };
        if !fits {
            return Some(format!("the merged row has {value} in column {}, which cannot hold it", column.name));
        }
    }
    if !row.values[..table.key_columns().len()].iter().zip(key_values(table)).all(|(one, other)| same(one, &other)) {
        return Some(format!("the merged row has another key, {}", row.key(table)));
    }
    let hash = Row::new(table, row.values.clone(), row.extra.clone()).hash;
    (hash != row.hash).then(|| "the merged row's hash is not that of its content; make it with Row::new".to_owned())
}

fn key_values(table: &TableSpec) -> Vec<Value> {
    let value = |kind| if kind == ColumnType::Int { Value::Int(7) } else { Value::from("key") };
    table.key_columns().iter().map(|column| value(column.kind)).collect()
}

/// Values that policies compare, then the hostile ones of the column's type.
fn values_of(kind: ColumnType) -> Vec<Value> {
    let moment = |second: i64| Timestamp::from_micros(second * 1_000_000).map(Value::Timestamp);
    let mut values = match kind {
        ColumnType::Timestamp => (1..4).filter_map(|second| moment(1_700_000_000 + second)).collect(),
        ColumnType::Float => [0.25, 0.5, 1.0].map(Value::Float).to_vec(),
        ColumnType::Int => (1..4).map(Value::Int).collect(),
        ColumnType::Bool => vec![Value::Bool(true), Value::Bool(false)],
        ColumnType::Text => ["a", "b"].map(Value::from).to_vec(),
        ColumnType::Json => ["{\"a\":1}", "[2]"].map(|text| Value::Json(Json::from_text(text))).to_vec(),
        ColumnType::Bytes => vec![Value::Bytes(vec![1]), Value::Bytes(vec![2])],
        ColumnType::Vector(dimensions) => [0.5, -1.0].map(|n| Value::Vector(vec![n; usize::from(dimensions)])).to_vec(),
    };
    values.push(Value::Null);
    let schema = crate::Schema::new(["id", "x"]);
    let Ok(table) = TableSpec::builder("t").key("id", ColumnType::Text).column("x", kind).build() else {
        return values;
    };
    let records = hostile_values().into_iter();
    let records = records.map(|value| crate::Record::new(Arc::clone(&schema), vec!["1".into(), value])).collect();
    let hostile = super::values::rows(&table, records).into_iter().map(|mut row| row.values.remove(1));
    // One null is enough, and a long text shows nothing that a short one does not.
    values.extend(hostile.filter(|value| !value.is_null() && value.size() < 1_000));
    values
}

/// Rows in which every value of every column occurs, each beside many others.
fn rows(table: &TableSpec) -> Vec<Row> {
    let columns = table.columns();
    let choices: Vec<Vec<Value>> = columns.iter().map(|column| values_of(column.kind)).collect();
    let key = key_values(table);
    let row = |number: usize| {
        let values = choices.iter().enumerate().map(|(position, choices)| match key.get(position) {
            Some(value) => value.clone(),
            // All of them in turn; the next time around, shifted by another distance each.
            None => choices[(number + position * (1 + number / choices.len())) % choices.len()].clone(),
        });
        let extra = (number % 3 == 1).then(|| Json::from_text(format!("{{\"more\":{}}}", number % 4)));
        Row::new(table, values.collect(), extra)
    };
    let most = choices.iter().map(Vec::len).max().unwrap_or(1);
    (0..2 * most).map(row).collect()
}

fn cases(table: &TableSpec) -> Vec<Case> {
    let rows = rows(table);
    let contributor = |name: &str| Contributor { source: name.into(), stream: name.into() };
    let mut cases = Vec::new();
    for (number, incoming) in rows.iter().enumerate() {
        for step in [0, 1, 3, 11] {
            let existing = &rows[(number + step) % rows.len()];
            let bases = [None, Some(existing.hash), ContentHash::from_i64(77)];
            let kinds = bases.map(|base| ConflictKind::Diverged { base }).into_iter().chain([ConflictKind::Meeting]);
            for (kind, priorities) in kinds.zip([[0, 0], [0, 0], [i32::MIN, i32::MAX], [1, i32::from(number % 3 == 0)]])
            {
                cases.push(Case {
                    incoming: incoming.clone(),
                    existing: existing.clone(),
                    contributors: [contributor("one.db"), contributor("other.db")],
                    priorities,
                    kind,
                });
            }
        }
    }
    cases
}

fn told(table: &TableSpec, case: &Case) -> String {
    let row = |row: &Row| {
        let named = table.columns().iter().zip(&row.values).filter(|(_, value)| !value.is_null());
        named.map(|(column, value)| format!("{}={value}", column.name)).collect::<Vec<_>>().join(", ")
    };
    let (incoming, existing) = (row(&case.incoming), row(&case.existing));
    format!("{:?} in {}, incoming ({incoming}), existing ({existing})", case.kind, table.name())
}
