//! What a database really holds: its tables, their columns and keys.

use rusqlite::{Connection, Result};

/// Whether a table is one to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Plain,
    /// Virtual tables and the shadow tables behind them (full-text indexes…):
    /// derived from plain ones.
    Derived,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) declared: String,
    /// Position in the primary key, from 1; 0 when not in it.
    pub(crate) key: u32,
    /// Whether it takes no null.
    pub(crate) required: bool,
    /// What it holds where nothing is given, as SQL.
    pub(crate) default: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) kind: TableKind,
    pub(crate) columns: Vec<Column>,
    pub(crate) without_rowid: bool,
}

impl Table {
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column)
    }

    pub(crate) fn has_all(&self, columns: &[&str]) -> bool {
        columns.iter().all(|column| self.has(column))
    }

    /// The primary key's columns, in its order.
    pub(crate) fn key(&self) -> Vec<&Column> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
        key.sort_by_key(|column| column.key);
        key
    }

    /// The column that is the row id, if the key counts up per file.
    pub(crate) fn counting_key(&self) -> Option<&str> {
        match self.key().as_slice() {
            [only] if only.declared.eq_ignore_ascii_case("integer") && !self.without_rowid => Some(&only.name),
            _ => None,
        }
    }
}

/// All tables but SQLite's own and views, by name.
pub(crate) fn tables(connection: &Connection) -> Result<Vec<Table>> {
    let mut statement = connection.prepare(
        "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND type <> 'view' \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
    let mut tables = Vec::new();
    for table in found {
        let (name, kind, without_rowid): (String, String, bool) = table?;
        // What a full-text table holds itself is in its content table, and nowhere else.
        let holds_rows = kind == "table" || (kind == "shadow" && name.ends_with("_content"));
        let kind = if holds_rows { TableKind::Plain } else { TableKind::Derived };
        let columns = if kind == TableKind::Plain { columns(connection, &name)? } else { Vec::new() };
        tables.push(Table { name, kind, columns, without_rowid });
    }
    Ok(tables)
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<Column>> {
    // Hidden columns of plain tables are generated ones: derived from the others.
    let mut statement = connection.prepare(
        "SELECT name, type, pk, \"notnull\", dflt_value FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid",
    )?;
    let columns = statement.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            declared: row.get(1)?,
            key: row.get(2)?,
            required: row.get(3)?,
            default: row.get(4)?,
        })
    })?;
    columns.collect()
}
