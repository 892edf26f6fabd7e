//! Migration 4: tables that keep doubles in REAL columns are made anew with ANY.
//!
//! A REAL column keeps whole numbers as integers, which have no negative zero: a row
//! with -0.0 never was what its hash said. The sign that is lost already comes back
//! with the next full sync or `verify --deep --repair`, which find those rows by their
//! hash.

use std::fmt::Write as _;

use aqe_sync_core::Quoted;
use rusqlite::{Connection, Result};

/// A column as the table has it.
struct Column {
    name: String,
    kind: String,
    not_null: bool,
    default: Option<String>,
    /// Its place in the primary key, from 1; 0 for none.
    key: usize,
}

/// Makes all tables of records anew that have such a column, within the transaction of
/// the migration. Indexes and triggers that somebody added stay.
pub(super) fn keep_signs(connection: &Connection) -> Result<()> {
    // Records have a hash; the hub's own tables have no doubles.
    let mut tables = connection.prepare(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict AND EXISTS \
         (SELECT 1 FROM pragma_table_info(pragma_table_list.name) WHERE name = 'content_hash') AND EXISTS \
         (SELECT 1 FROM pragma_table_info(pragma_table_list.name) WHERE type = 'REAL')",
    )?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<Result<_>>()?;
    if tables.is_empty() {
        return Ok(());
    }
    // Views that somebody made may name a table that is not there for a moment.
    connection.pragma_update(None, "legacy_alter_table", true)?;
    let rebuilt = tables.iter().try_for_each(|table| rebuild(connection, table));
    connection.pragma_update(None, "legacy_alter_table", false)?;
    rebuilt
}

fn rebuild(connection: &Connection, table: &str) -> Result<()> {
    let columns = columns(connection, table)?;
    let mut added = connection.prepare(
        "SELECT sql FROM sqlite_schema WHERE tbl_name = ?1 AND type IN ('index', 'trigger') AND sql IS NOT NULL",
    )?;
    let added: Vec<String> = added.query_map([table], |row| row.get(0))?.collect::<Result<_>>()?;
    let new = format!("{table} with signs");
    let names: Vec<String> = columns.iter().map(|column| Quoted(&column.name).to_string()).collect();
    let names = names.join(", ");
    connection.execute_batch(&create(&new, &columns))?;
    let (old, new) = (Quoted(table), Quoted(&new));
    connection.execute_batch(&format!(
        "INSERT INTO {new} ({names}) SELECT {names} FROM {old}; DROP TABLE {old}; ALTER TABLE {new} RENAME TO {old};"
    ))?;
    added.iter().try_for_each(|sql| connection.execute_batch(sql))
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>> {
    let mut statement =
        connection.prepare("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let columns = statement.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            kind: row.get(1)?,
            not_null: row.get(2)?,
            default: row.get(3)?,
            key: row.get(4)?,
        })
    })?;
    columns.collect()
}

fn create(table: &str, columns: &[Column]) -> String {
    let mut sql = format!("CREATE TABLE {} (", Quoted(table));
    for column in columns {
        let kind = if column.kind == "REAL" { "ANY" } else { &column.kind };
        let _ = write!(sql, "\n  {} {kind}", Quoted(&column.name));
        if column.not_null {
            sql.push_str(" NOT NULL");
        }
        if let Some(default) = &column.default {
            let _ = write!(sql, " DEFAULT ({default})");
        }
        sql.push(',');
    }
    let mut key: Vec<&Column> = columns.iter().filter(|column| column.key > 0).collect();
    key.sort_by_key(|column| column.key);
    let key: Vec<String> = key.into_iter().map(|column| Quoted(&column.name).to_string()).collect();
    let _ = write!(sql, "\n  PRIMARY KEY ({})\n) STRICT;", key.join(", "));
    sql
}
