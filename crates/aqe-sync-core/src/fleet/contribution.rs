//! What one environment contributes to a key.

use crate::{ColumnType, Environment, Json, Role, Row, TableSpec, Value};

/// What one environment itself has of a key, as its row in the hub says.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// Whose it is.
    pub environment: Environment,
    /// Grows with every change of it; of two contributions of one environment the one with
    /// the higher version counts.
    pub version: i64,
    /// Whether the environment deleted its record.
    pub deleted: bool,
    /// Its content; of a deleted one only the key counts.
    pub row: Row,
}

/// `extra` of a row that only counts: its environment used a record whose content others
/// wrote, and has nothing to say about the content.
const COUNTS_ONLY: &str = r#"{"aqe_sync":"counts"}"#;

/// A row that contributes counters, rates and times of use to a key, and no content.
pub fn counts_only(table: &TableSpec, mut values: Vec<Value>) -> Row {
    for (column, value) in table.columns().iter().zip(&mut values).skip(table.key_columns().len()) {
        let counts = matches!(column.role, Role::Counter | Role::Rate { .. });
        let used = column.kind == ColumnType::Timestamp && column.role != Role::CreatedAt;
        if !counts && !used {
            *value = Value::Null;
        }
    }
    Row::new(table, values, Some(Json::from_text(COUNTS_ONLY)))
}

/// Whether a row is one of [`counts_only`].
pub fn is_counts_only(row: &Row) -> bool {
    let Some(extra) = &row.extra else { return false };
    // A hub may have spelled it anew.
    let plain = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).eq(COUNTS_ONLY.chars());
    extra.as_str().len() < 2 * COUNTS_ONLY.len() && plain(extra.as_str())
}
