//! The embedded hub's own tables, and DDL for the catalogue's.

use std::fmt::Write as _;

use aqe_sync_core::{ColumnType, Error, ErrorKind, Quoted, Result, TableSpec, failpoint};
use rusqlite::{Connection, OptionalExtension as _};

use super::{doubles, hub_error, views};

/// `aqeh` in ASCII: tells a hub from any other SQLite file
/// (<https://www.sqlite.org/fileformat2.html#application_id>).
const APPLICATION_ID: i32 = 0x6171_6568;

/// One numbered upgrade.
enum Migration {
    Sql(&'static str),
    /// What depends on the tables that are there.
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// Numbered upgrades; `user_version` counts those applied.
const MIGRATIONS: [Migration; 7] = [
    Migration::Sql(include_str!("migrations/0001_bookkeeping.sql")),
    Migration::Sql(include_str!("migrations/0002_settled_letters.sql")),
    Migration::Sql(include_str!("migrations/0003_instances.sql")),
    Migration::Code(doubles::keep_signs),
    Migration::Sql(include_str!("migrations/0005_fleet.sql")),
    Migration::Sql(include_str!("migrations/0006_vectors.sql")),
    Migration::Sql(include_str!("migrations/0007_history.sql")),
];

/// Makes sure that the file is a hub of this version, creating what is missing.
pub(super) fn open(connection: &mut Connection, name: &str) -> Result<()> {
    let failed = |error| hub_error(name, "opening", error);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(Error::new(ErrorKind::Incompatible, "the file is a database, but not a hub of aqe-sync")
            .during(format!("opening {name}"))
            .advice("nothing was written to it; choose another file with --hub sqlite:PATH"));
    }
    let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if version > MIGRATIONS.len() {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!("the hub has schema version {version}, this aqe-sync knows versions up to {}", MIGRATIONS.len()),
        )
        .during(format!("opening {name}"))
        .advice("install the version of aqe-sync that wrote it, or a newer one"));
    }
    if version < MIGRATIONS.len() {
        migrate(connection, name)?;
    }
    views::refresh(connection).map_err(|error| hub_error(name, "upgrading", error))
}

fn migrate(connection: &mut Connection, name: &str) -> Result<()> {
    let failed = |error| hub_error(name, "upgrading", error);
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    // Asked again under the lock: another process may have been faster.
    let version: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    for migration in MIGRATIONS.iter().skip(version) {
        match migration {
            Migration::Sql(sql) => transaction.execute_batch(sql),
            Migration::Code(upgrade) => upgrade(&transaction),
        }
        .map_err(failed)?;
    }
    transaction
        .execute(
            "INSERT INTO hub_info (key, value) VALUES ('hub_id', lower(hex(randomblob(16)))) ON CONFLICT DO NOTHING",
            [],
        )
        .map_err(failed)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len()).map_err(failed)?;
    failpoint!("embedded-hub-making");
    transaction.commit().map_err(failed)?;
    failpoint!("embedded-hub-made");
    Ok(())
}

/// Creates a catalogue table, or adds the columns it lacks.
pub(super) fn prepare(connection: &Connection, table: &TableSpec) -> rusqlite::Result<()> {
    let exists: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table.name().as_str()], |row| {
            row.get(0)
        })
        .optional()?;
    if exists.is_none() {
        failpoint!("embedded-table-before");
        connection.execute_batch(&create_table(table))?;
        failpoint!("embedded-table-made");
        return Ok(());
    }
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let present: Vec<String> =
        statement.query_map([table.name().as_str()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    drop(statement);
    for column in table.columns() {
        if !present.iter().any(|name| name == column.name.as_str()) {
            let (table, name, kind) = (table.name().quoted(), column.name.quoted(), sql_type(column.kind));
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {name} {kind}"))?;
        }
    }
    Ok(())
}

fn create_table(table: &TableSpec) -> String {
    let mut sql = format!("CREATE TABLE IF NOT EXISTS {} (\n  \"source_env\" TEXT NOT NULL", table.name().quoted());
    let keys = table.key_columns().len();
    for (position, column) in table.columns().iter().enumerate() {
        let not_null = if position < keys { " NOT NULL" } else { "" };
        let _ = write!(sql, ",\n  {} {}{not_null}", column.name.quoted(), sql_type(column.kind));
    }
    sql.push_str(
        ",\n  \"source\" TEXT NOT NULL,\n  \"stream\" TEXT NOT NULL,\n  \"extra\" TEXT,\
         \n  \"content_hash\" INTEGER NOT NULL,\n  \"sync_version\" INTEGER NOT NULL,\n  \"merged_from\" TEXT,\
         \n  \"deleted_at\" TEXT,\n  \"synced_at\" TEXT NOT NULL,\n  PRIMARY KEY (\"source_env\"",
    );
    for column in table.key_columns() {
        let _ = write!(sql, ", {}", Quoted(column.name.as_str()));
    }
    sql.push_str(")\n) STRICT;\n");
    sql
}

/// How a column type is stored: moments as ISO 8601 text, vectors as float32
/// little-endian, JSON as its text, booleans as 0 and 1.
fn sql_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Bool | ColumnType::Int => "INTEGER",
        // A REAL column keeps whole numbers as integers, which have no negative zero.
        ColumnType::Float => "ANY",
        ColumnType::Text | ColumnType::Json | ColumnType::Timestamp => "TEXT",
        ColumnType::Bytes | ColumnType::Vector(_) => "BLOB",
    }
}
