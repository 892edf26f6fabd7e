//! Contributions of several environments to one record.
//!
//! # Algebra
//!
//! A fleet's knowledge of a key is a map from environment to contribution. Two such maps
//! join by keeping the higher version of each environment: that is commutative,
//! associative and idempotent, and [`merge`] is a function of the joined map. So neither
//! order nor repetition nor grouping of contributions can change what it gives.
//!
//! # By role of the column
//!
//! | role | value |
//! |---|---|
//! | counter | the sum; null counts nothing |
//! | rate | Σ rate·weight ÷ Σ weight over contributions with a positive weight, never outside their range |
//! | created at | the earliest |
//! | updated at | the latest |
//! | everything else | the winner's |
//!
//! The winner has the highest confidence, then the latest time (of update, else of
//! creation), then the environment name that comes first. In tables that never change it
//! is the earliest record instead. Contributions that only count do not compete.
//!
//! A rate takes part when it is zero or its size is between 1e-280 and 1e280: within that
//! neither products nor sums leave the range of doubles, here or in any hub's SQL. Sums
//! run in the order of environment names, so that views in hubs come to the same bits.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::contribution::{Contribution, is_counts_only};
use crate::hash::partial_hash;
use crate::{ColumnSpec, ColumnType, Environment, Mutability, Role, Row, TableSpec, Value};

/// What all environments together know of a key. Always derived, never stored as truth.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetRecord {
    /// The record.
    pub row: Row,
    /// Whose content it has.
    pub winner: Environment,
    /// Who contributes, in order of name; those that only count included.
    pub environments: Vec<Environment>,
    /// How many of them say the same as the winner: see [`content_digest`].
    pub agreeing: usize,
}

/// Merges contributions to one key; `None` when none of them is alive and has content.
///
/// ```
/// use aqe_sync_core::fleet::{Contribution, merge};
/// use aqe_sync_core::{ColumnType, Row, TableSpec, Value};
///
/// let table = TableSpec::builder("uses").key("id", ColumnType::Text).counters(&["uses"]).rate("rate", "uses").build()?;
/// let of = |environment: &str, uses, rate| Contribution {
///     environment: environment.into(),
///     version: 1,
///     deleted: false,
///     row: Row::new(&table, vec![Value::from("a"), Value::Int(uses), Value::Float(rate)], None),
/// };
/// let record = merge(&table, &[of("laptop", 3, 1.0), of("ci", 1, 0.0)]).unwrap();
/// assert_eq!(record.row.values[1..], [Value::Int(4), Value::Float(0.75)]);
/// # Ok::<(), aqe_sync_core::Error>(())
/// ```
pub fn merge(table: &TableSpec, contributions: &[Contribution]) -> Option<FleetRecord> {
    let live = latest(contributions);
    let winner = live.values().filter(|one| !is_counts_only(&one.row)).max_by(|a, b| rank(table, a, b))?;
    let rows: Vec<&Row> = live.values().map(|one| &one.row).collect();
    let values = table.columns().iter().enumerate().map(|(position, column)| {
        let of_all = rows.iter().map(|row| &row.values[position]);
        match &column.role {
            Role::Counter => sum(of_all),
            Role::Rate { weight } => {
                mean(table, &rows, position, weight.as_str()).unwrap_or_else(|| winner.row.values[position].clone())
            }
            Role::CreatedAt => moments(of_all).min().map_or(Value::Null, Value::Timestamp),
            Role::UpdatedAt => moments(of_all).max().map_or(Value::Null, Value::Timestamp),
            Role::Content | Role::Confidence | Role::Embedding | Role::SearchText => {
                winner.row.values[position].clone()
            }
        }
    });
    let row = Row::new(table, values.collect(), winner.row.extra.clone());
    let said = content_digest(table, &winner.row);
    let agreeing = live.values().filter(|one| !is_counts_only(&one.row));
    Some(FleetRecord {
        row,
        winner: winner.environment.clone(),
        agreeing: agreeing.filter(|one| content_digest(table, &one.row) == said).count(),
        environments: live.keys().map(|environment| (*environment).clone()).collect(),
    })
}

/// A number for what a row says, whatever it counts and however sure it is: all but its
/// key, counters, rates, confidence, embeddings, moments and the id that its file gave it.
/// Environments whose rows for a key have the same agree.
pub fn content_digest(table: &TableSpec, row: &Row) -> u64 {
    partial_hash(table, row, says)
}

/// Whether a column says something, see [`content_digest`].
pub(super) fn says(column: &ColumnSpec) -> bool {
    let counted = matches!(column.role, Role::Counter | Role::Rate { .. } | Role::Confidence);
    !counted && !is_vector(column) && column.kind != ColumnType::Timestamp && column.name.as_str() != LOCAL_ID
}

/// Whether a column is an embedding, of the record's text or of a part of it.
pub(super) fn is_vector(column: &ColumnSpec) -> bool {
    column.role == Role::Embedding || matches!(column.kind, ColumnType::Vector(_))
}

/// The catalogue's name for ids that count for one file only.
const LOCAL_ID: &str = "local_id";

/// The latest contribution of each environment, unless that is a tombstone.
fn latest(contributions: &[Contribution]) -> BTreeMap<&Environment, &Contribution> {
    let mut latest: BTreeMap<&Environment, &Contribution> = BTreeMap::new();
    let age = |one: &Contribution| (one.version, one.deleted, one.row.hash);
    for one in contributions {
        let known = latest.entry(&one.environment).or_insert(one);
        if age(one) > age(known) {
            *known = one;
        }
    }
    latest.retain(|_, one| !one.deleted);
    latest
}

/// Who wins is the greatest.
fn rank(table: &TableSpec, a: &Contribution, b: &Contribution) -> Ordering {
    let of_role = |row: &Row, role| table.position_of_role(role).and_then(|position| moment(&row.values[position]));
    let by_name = b.environment.cmp(&a.environment);
    if table.mutability() == Mutability::Immutable {
        let made = |one: &Contribution| of_role(&one.row, &Role::CreatedAt);
        // Without a time comes last, as in SQL.
        return match (made(a), made(b)) {
            (Some(a), Some(b)) => b.cmp(&a),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
        .then(by_name);
    }
    let time = |one: &Contribution| of_role(&one.row, &Role::UpdatedAt).or_else(|| of_role(&one.row, &Role::CreatedAt));
    confidence(table, &a.row).total_cmp(&confidence(table, &b.row)).then(time(a).cmp(&time(b))).then(by_name)
}

/// Minus infinity where there is none.
fn confidence(table: &TableSpec, row: &Row) -> f64 {
    let value = table.position_of_role(&Role::Confidence).and_then(|position| row.values[position].as_f64());
    // Negative zero is zero.
    value.filter(|number| !number.is_nan()).map_or(f64::NEG_INFINITY, |number| number + 0.0)
}

fn moment(value: &Value) -> Option<crate::Timestamp> {
    match value {
        Value::Timestamp(moment) => Some(*moment),
        _ => None,
    }
}

fn moments<'v>(values: impl Iterator<Item = &'v Value>) -> impl Iterator<Item = crate::Timestamp> {
    values.filter_map(moment)
}

fn sum<'v>(values: impl Iterator<Item = &'v Value>) -> Value {
    let numbers = values.filter_map(|value| match value {
        Value::Int(number) => Some(i128::from(*number)),
        _ => None,
    });
    let sum = numbers.fold(None, |sum: Option<i128>, number| Some(sum.unwrap_or(0) + number));
    let clamped = |sum: i128| i64::try_from(sum).unwrap_or(if sum > 0 { i64::MAX } else { i64::MIN });
    sum.map_or(Value::Null, |sum| Value::Int(clamped(sum)))
}

fn mean(table: &TableSpec, rows: &[&Row], position: usize, weight: &str) -> Option<Value> {
    let weight = table.position(weight)?;
    let (mut total, mut weights) = (0.0, 0_i128);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for row in rows {
        let (Some(rate), Value::Int(count @ 1..)) = (row.values[position].as_f64(), &row.values[weight]) else {
            continue;
        };
        if !takes_part(rate) {
            continue;
        }
        // Negative zero is zero.
        let rate = rate + 0.0;
        total += rate * (*count as f64);
        weights += i128::from(*count);
        (least, most) = (least.min(rate), most.max(rate));
    }
    (weights > 0).then(|| Value::Float((total / (weights as f64)).clamp(least, most)))
}

/// See the [module](self).
pub(super) fn takes_part(rate: f64) -> bool {
    rate == 0.0 || (1e-280..=1e280).contains(&rate.abs())
}
