//! A table of the hub that is ready to be written to.

use std::sync::Arc;

use aqe_sync_core::{StreamId, TableSpec, Timestamp};
use postgres_types::Type;

use super::bookkeeping::{Param, names};
use super::statements::{Dialect, Statements, TABLE_PARAMETERS};
use super::wire::Wire;

/// A table with its SQL.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) spec: Arc<TableSpec>,
    pub(super) sql: Statements,
    /// Begins a transaction with the staging table in place.
    pub(super) begin: String,
}

impl Table {
    pub(super) fn new(dialect: &Dialect, spec: &Arc<TableSpec>) -> Self {
        let sql = dialect.statements(spec);
        let brackets = &dialect.brackets;
        let mut begin = format!("{}; {}", brackets.begin, sql.stage);
        if !brackets.undoes_itself {
            // Without a COMMIT nothing empties it.
            begin = format!("{begin}; {}", sql.clear);
        }
        Self { spec: Arc::clone(spec), sql, begin }
    }
}

/// What every statement of a table is given; see [`super::statements`].
pub(super) struct Parameters<'a>([Wire<'a>; TABLE_PARAMETERS]);

impl<'a> Parameters<'a> {
    pub(super) fn new(stream: &'a StreamId, table: &'a Table, now: Timestamp) -> Self {
        let (environment, source, from) = names(stream);
        Self([
            Wire::Text(environment),
            Wire::Text(source),
            Wire::Text(from),
            Wire::Timestamp(now),
            Wire::Text(table.spec.name().as_str()),
        ])
    }

    pub(super) fn list(&self) -> [Param<'_>; TABLE_PARAMETERS] {
        let [environment, source, stream, now, table] = &self.0;
        [
            (environment, Type::TEXT),
            (source, Type::TEXT),
            (stream, Type::TEXT),
            (now, Type::TIMESTAMPTZ),
            (table, Type::TEXT),
        ]
    }
}
