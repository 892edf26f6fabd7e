//! The whole schema as one script.

use std::fmt::Write as _;
use std::sync::Arc;

use aqe_sync_core::{Identifier, TableSpec};

use super::flavour::{Flavour, VectorKind};
use super::{Setup, ddl, migrate};

/// Everything that makes a hub, for `psql` or for reading: one transaction that does
/// nothing where it was run before.
pub fn script(schema: &Identifier, flavour: &Flavour, setup: &Setup, tables: &[Arc<TableSpec>]) -> String {
    let mut sql =
        format!("-- The schema of a hub, made by {}. Running it again changes nothing.\nBEGIN;\n", migrate::WRITER);
    sql.push_str(&migrate::lock(schema));
    if flavour.kind() != VectorKind::None {
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "CREATE EXTENSION IF NOT EXISTS {};", flavour.kind().as_str());
    }
    sql.push_str(&migrate::statements(schema, flavour, setup.vector_index, setup.embedding_model.as_deref()));
    for table in tables {
        sql.push_str(&ddl::create_table(schema, table, flavour, setup.vector_index));
    }
    sql.push_str("COMMIT;\n");
    sql
}
