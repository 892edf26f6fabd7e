//! What a table of the hub lacks, compared with its specification.

use aqe_sync_core::{ColumnSpec, ColumnType, Error, ErrorKind, Identifier, Result, TableSpec};

use super::flavour::{Flavour, VectorKind};
use super::present::{Columns, Present, PresentColumn};
use super::{ddl, migrate};

/// The SQL that makes a table as specified; empty where it is.
///
/// # Errors
/// When what is there under that name is something else.
pub(super) fn missing(
    schema: &Identifier,
    table: &TableSpec,
    flavour: &Flavour,
    vector_index: bool,
    present: &Present,
) -> Result<String> {
    let name = table.name().as_str();
    let wrong = |message: String| {
        Error::new(ErrorKind::Incompatible, message)
            .during("preparing a table of the hub")
            .context("table", qualified(schema, table))
    };
    if migrate::OWN_TABLES.contains(&name) {
        return Err(Error::new(ErrorKind::Invalid, format!("{name} is a table of the hub itself"))
            .during("preparing a table of the hub")
            .advice("give your table another name"));
    }
    if let Some(other) = present.in_the_way(name) {
        return Err(wrong(format!("{other} has the name of the table")).advice("rename one of them"));
    }
    let Some(columns) = present.table(name) else {
        check_usable(table, flavour, |_| true)?;
        return Ok(ddl::create_table(schema, table, flavour, vector_index));
    };
    check_usable(table, flavour, |column| !columns.contains_key(column))?;
    check_common(columns).map_err(|problem| {
        wrong(problem).advice("aqe-sync did not make this table: use another schema for the hub, or rename the table")
    })?;
    let mut sql = String::new();
    for (position, column) in table.columns().iter().enumerate() {
        match columns.get(column.name.as_str()) {
            Some(there) if fits(column.kind, flavour, there) => {}
            Some(there) => {
                let wanted = ddl::sql_type(column.kind, flavour);
                return Err(wrong(format!("column {} is {}, and should be {wanted}", column.name, there.shown))
                    .advice("change its type with ALTER TABLE, or rename it: then it is added anew"));
            }
            None if position < table.key_columns().len() => {
                return Err(wrong(format!("key column {} is missing", column.name))
                    .advice("a key cannot change in a table with rows: rename the table, then it is made anew"));
            }
            None => sql.push_str(&ddl::add_column(schema, table, column, flavour)),
        }
    }
    for (common, kind, _) in ddl::AFTER.into_iter().filter(|(name, ..)| !columns.contains_key(*name)) {
        sql.push_str(&ddl::add_common(schema, table, common, kind));
    }
    let lost = lost(table, present);
    if !lost.is_empty() {
        for column in lost.iter().filter(|_| vector_index) {
            sql.push_str(&ddl::add_vector_index(schema, table, column, flavour));
        }
        sql.push_str(&ddl::distrust(schema, table));
    }
    Ok(sql)
}

/// Columns that a table had and lost. PostgreSQL remembers that a column was dropped but
/// not its name: one that is missing from a table that lost some is taken for one of them.
///
/// An extension that is dropped with `CASCADE` takes the columns of its types along, while
/// the rows stay, with recorded hashes that still count what was in them.
pub(super) fn lost<'t>(table: &'t TableSpec, present: &Present) -> Vec<&'t ColumnSpec> {
    let name = table.name().as_str();
    let Some(columns) = present.table(name).filter(|_| present.has_shrunk(name)) else { return Vec::new() };
    let others = table.columns().iter().skip(table.key_columns().len());
    others.filter(|column| !columns.contains_key(column.name.as_str())).collect()
}

/// The table's name with its schema, for people and SQL alike.
pub(super) fn qualified(schema: &Identifier, table: &TableSpec) -> String {
    format!("{}.{}", schema.quoted(), table.name().quoted())
}

/// Common columns have their types, and those that refuse NULL are there: they are the
/// mark of a table that is ours.
fn check_common(columns: &Columns) -> std::result::Result<(), String> {
    for (name, kind, required) in ddl::BEFORE.into_iter().chain(ddl::AFTER) {
        match columns.get(name) {
            Some(there) if there.shown == kind => {}
            Some(there) => return Err(format!("column {name} is {}, and should be {kind}", there.shown)),
            None if required => return Err(format!("column {name} is missing")),
            None => {}
        }
    }
    Ok(())
}

/// A vector column can only be made where its type is.
fn check_usable(table: &TableSpec, flavour: &Flavour, is_missing: impl Fn(&str) -> bool) -> Result<()> {
    let vector = |kind: ColumnType| matches!(kind, ColumnType::Vector(_));
    let wanted = table.columns().iter().find(|column| vector(column.kind) && is_missing(column.name.as_str()));
    match wanted {
        Some(column) if !flavour.is_usable() => {
            let extension = flavour.kind().as_str();
            Err(Error::new(
                ErrorKind::Incompatible,
                format!("column {} cannot be made: the hub keeps vectors in the extension {extension}, which is no longer installed in the database", column.name),
            )
            .during("preparing a table of the hub")
            .context("table", table.name())
            .advice(format!("have a superuser run CREATE EXTENSION {extension}")))
        }
        _ => Ok(()),
    }
}

fn fits(kind: ColumnType, flavour: &Flavour, there: &PresentColumn) -> bool {
    let expected = match kind {
        ColumnType::Bool => "bool",
        ColumnType::Int => "int8",
        ColumnType::Float => "float8",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytea",
        ColumnType::Json => "jsonb",
        ColumnType::Timestamp => "timestamptz",
        ColumnType::Vector(_) => flavour.kind().type_name(),
    };
    // An array has no modifier: its CHECK says how many dimensions, and the server refuses rows.
    let dimensions = match (kind, flavour.kind()) {
        (ColumnType::Vector(wanted), VectorKind::Pgvector | VectorKind::Ruvector) => {
            there.modifier == i32::from(wanted)
        }
        _ => true,
    };
    there.type_name == expected && dimensions
}
