//! What the two kinds of hub write differently.

use crate::{ColumnSpec, ColumnType, Identifier, Quoted};

/// The SQL of a kind of hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres {
        /// The hub's schema.
        schema: Identifier,
    },
    /// SQLite.
    Sqlite,
}

/// What [`super::super::counts_only`] leaves in `extra`, spelled as either hub gives it back.
const COUNTS_ONLY: &str = r#"{"aqe_sync":"counts"}"#;

impl Dialect {
    /// A table or view of the hub.
    pub fn relation(&self, name: &str) -> String {
        match self {
            Self::Postgres { schema } => format!("{}.{}", schema.quoted(), Quoted(name)),
            Self::Sqlite => Quoted(name).to_string(),
        }
    }

    /// A column.
    #[expect(clippy::unused_self, reason = "how names are quoted is the dialect's business")]
    pub(super) fn column(&self, name: &str) -> String {
        Quoted(name).to_string()
    }

    /// An environment's name, to be sorted by its bytes.
    pub(super) fn by_name(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "source_env COLLATE \"C\"",
            Self::Sqlite => "source_env",
        }
    }

    /// Whether a row only counts.
    pub(super) fn counts_only(&self) -> String {
        match self {
            Self::Postgres { .. } => format!("coalesce(extra = '{COUNTS_ONLY}'::jsonb, false)"),
            // What is longer is none, and need not be parsed.
            Self::Sqlite => format!(
                "CASE WHEN length(extra) < {} AND json_valid(extra) THEN json(extra) = '{COUNTS_ONLY}' ELSE 0 END",
                2 * COUNTS_ONLY.len()
            ),
        }
    }

    /// How sure a row is, as the winner is chosen by it: minus infinity where it does not say.
    pub(super) fn sureness(&self, column: Option<&ColumnSpec>) -> String {
        let number = column.filter(|column| matches!(column.kind, ColumnType::Float | ColumnType::Int));
        match (self, number) {
            (Self::Postgres { .. }, Some(column)) => {
                format!("coalesce(nullif({}::float8, 'NaN'), '-Infinity')", column.name.quoted())
            }
            (Self::Postgres { .. }, None) => "'-Infinity'::float8".to_owned(),
            (Self::Sqlite, Some(column)) => format!("coalesce({}, -9e999)", column.name.quoted()),
            (Self::Sqlite, None) => "-9e999".to_owned(),
        }
    }

    /// All that a row says, to be compared: doubles by their bits.
    pub(super) fn said<'c>(&self, columns: impl Iterator<Item = &'c ColumnSpec>) -> String {
        let values = columns.map(|column| match self {
            Self::Postgres { .. } if column.kind == ColumnType::Float => {
                format!("float8send({})", column.name.quoted())
            }
            Self::Postgres { .. } => column.name.quoted().to_string(),
            Self::Sqlite => format!("quote({})", column.name.quoted()),
        });
        let mut values: Vec<String> = values.collect();
        match self {
            Self::Postgres { .. } => {
                values.push("extra".to_owned());
                format!("ROW({})", values.join(", "))
            }
            Self::Sqlite => {
                values.push("quote(extra)".to_owned());
                values.join(" || ',' || ")
            }
        }
    }

    /// An expression as a double.
    pub(super) fn double(&self, number: &str) -> String {
        match self {
            Self::Postgres { .. } => format!("({number})::float8"),
            Self::Sqlite => format!("CAST({number} AS REAL)"),
        }
    }

    /// The names of the functions for the larger and the smaller of two numbers.
    pub(super) fn larger_smaller(&self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres { .. } => ("greatest", "least"),
            Self::Sqlite => ("max", "min"),
        }
    }

    /// The sum of 64-bit integers over a window as such a one, cut at its ends; null where
    /// there is none.
    pub(super) fn count(&self, number: &str, window: &str) -> String {
        match self {
            Self::Postgres { .. } => format!(
                "CASE WHEN count({number}) {window} > 0 THEN least(greatest(sum({number}) {window}, {}), {})::bigint END",
                i64::MIN,
                i64::MAX
            ),
            Self::Sqlite => {
                let (high, low) = halves(number, window);
                format!(
                    "CASE WHEN {high} > {max} THEN {largest} WHEN {high} < {min} THEN -{largest} - 1 \
                     ELSE ({high} << 32) | {low} END",
                    max = i32::MAX,
                    min = i32::MIN,
                    largest = i64::MAX,
                )
            }
        }
    }

    /// The same sum as a double.
    pub(super) fn count_as_double(&self, number: &str, window: &str) -> String {
        match self {
            Self::Postgres { .. } => format!("(sum({number}) {window})::float8"),
            Self::Sqlite => {
                let (high, low) = halves(number, window);
                // Rounds once: the product is exact.
                format!("({high} * 4294967296.0 + {low})")
            }
        }
    }

    /// The environments of a window.
    pub(super) fn names(&self, window: &str) -> String {
        match self {
            Self::Postgres { .. } => format!("array_agg(source_env) {window}"),
            Self::Sqlite => format!("json_group_array(source_env) {window}"),
        }
    }

    /// An object with a member per row, from two expressions.
    pub(super) fn object_of(&self, name: &str, live: &str, deleted: &str) -> String {
        let (of_rows, of_values) = match self {
            Self::Postgres { .. } => ("jsonb_object_agg", "jsonb_build_object"),
            Self::Sqlite => ("json_group_object", "json_object"),
        };
        format!("{of_rows}({name}, {of_values}('live', {live}, 'deleted', {deleted}))")
    }

    /// A sum of counts as an integer.
    pub(super) fn total(&self, number: &str) -> String {
        match self {
            Self::Postgres { .. } => format!("coalesce(sum({number}), 0)::bigint"),
            Self::Sqlite => format!("coalesce(sum({number}), 0)"),
        }
    }
}

/// `sum` of SQLite fails where the sum does not fit: upper and lower 32 bits are added up
/// apart, and what the lower ones carry.
fn halves(number: &str, window: &str) -> (String, String) {
    let lower = format!("sum({number} & 4294967295) {window}");
    (format!("(sum({number} >> 32) {window} + ({lower} >> 32))"), format!("({lower} & 4294967295)"))
}
