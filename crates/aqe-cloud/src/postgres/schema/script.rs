//! The whole schema as one script.

use std::fmt::Write as _;
use std::sync::Arc;

use aqe_sync_core::{Identifier, TableSpec, tables};

use super::flavour::{Flavour, VectorKind};
use super::{Setup, ddl, migrate, views};

/// Everything that makes a hub, for `psql` or for reading: one transaction that does
/// nothing where it was run before.
pub fn script(schema: &Identifier, flavour: &Flavour, setup: &Setup, wanted: &[Arc<TableSpec>]) -> String {
    let mut sql =
        format!("-- The schema of a hub, made by {}. Running it again changes nothing.\nBEGIN;\n", migrate::WRITER);
    sql.push_str(&migrate::lock(schema));
    if flavour.kind() != VectorKind::None {
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "CREATE EXTENSION IF NOT EXISTS {};", flavour.kind().as_str());
    }
    sql.push_str(&migrate::statements(schema, flavour, setup.vector_index, setup.embedding_model.as_deref()));
    for table in wanted {
        sql.push_str(&ddl::create_table(schema, table, flavour, setup.vector_index));
    }
    if tables::all().iter().all(|needed| wanted.iter().any(|table| table.name() == needed.name())) {
        sql.push_str(&views::statements(schema));
    }
    sql.push_str("COMMIT;\n");
    sql
}
