//! What a row says about itself: how sure somebody is of it, how often it was used, what it is
//! about.

use crate::{Role, Row, TableSpec, Value};

/// Whether environments say of a table's rows how sure they are.
pub(crate) fn is_judged(table: &TableSpec) -> bool {
    table.position_of_role(&Role::Confidence).is_some()
}

/// How sure somebody is of a row, 0 to 1.
pub(crate) fn confidence(table: &TableSpec, row: &Row) -> Option<f64> {
    match row.values[table.position_of_role(&Role::Confidence)?] {
        Value::Float(sure) => Some(sure),
        _ => None,
    }
}

/// How often a row was used: the first of its counters that is there.
pub(crate) fn uses(table: &TableSpec, row: &Row) -> Option<i64> {
    let mut counters = table.columns().iter().zip(&row.values).filter(|(column, _)| column.role == Role::Counter);
    counters.find_map(|(_, value)| match value {
        Value::Int(uses) => Some(*uses),
        _ => None,
    })
}

/// Whether a table's rows can say what they are about.
pub(crate) fn has_domain(table: &TableSpec) -> bool {
    domains(table).next().is_some()
}

/// What a row is about, where it says so.
pub(crate) fn domain(table: &TableSpec, row: &Row) -> Option<String> {
    let mut texts = domains(table).filter_map(|position| match &row.values[position] {
        Value::Text(text) if !text.trim().is_empty() => Some(text.trim().to_lowercase()),
        _ => None,
    });
    texts.next()
}

fn domains(table: &TableSpec) -> impl Iterator<Item = usize> {
    ["domain", "qe_domain"].into_iter().filter_map(|name| table.position(name))
}
