//! The SQL for one catalogue table, made once per transaction.

use std::fmt::Write as _;

use aqe_sync_core::TableSpec;

/// How many of an insert's parameters come before the table's own columns.
pub(super) const LEADING: usize = 8;

/// SQL text for one table.
pub(super) struct Statements {
    /// Parameters: `source_env, source, stream, extra, content_hash, sync_version,
    /// merged_from, synced_at`, then the columns. A row that is there already
    /// stays.
    pub(super) insert: String,
    /// The same parameters; overwrites the row and revives a tombstone.
    pub(super) update: String,
    /// Parameters: `source_env, sync_version, now`, then the key.
    pub(super) tombstone: String,
    /// Parameters: `source_env`, then the key. Gives `source, stream,
    /// content_hash, deleted, merged`.
    pub(super) peek: String,
    /// Parameters as `peek`. Gives `source, stream, content_hash, deleted_at,
    /// merged_from, extra`, then the columns.
    pub(super) load: String,
    /// Parameters: `source_env, source, stream`. Gives `content_hash,
    /// merged_from, extra`, whether the row is recorded as this stream's, then the
    /// key.
    pub(super) known: String,
    /// The same, with all columns instead of the key.
    pub(super) stored: String,
}

impl Statements {
    pub(super) fn new(table: &TableSpec) -> Self {
        let name = table.name().quoted().to_string();
        let columns = list(table, table.columns().len());
        let keys = table.key_columns().len();
        let numbered = |first: usize, count: usize| {
            (first..first + count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
        };
        let matches = |first: usize| {
            let mut sql = String::from("source_env = ?1");
            for (position, column) in table.key_columns().iter().enumerate() {
                let _ = write!(sql, " AND {} = ?{}", column.name.quoted(), first + position);
            }
            sql
        };
        let mut assignments = String::new();
        for (position, column) in table.columns().iter().enumerate().skip(keys) {
            let _ = write!(assignments, ", {} = ?{}", column.name.quoted(), LEADING + 1 + position);
        }
        Self {
            insert: format!(
                "INSERT INTO {name} (source_env, source, stream, extra, content_hash, sync_version, merged_from, \
                 synced_at, {columns}) VALUES ({}) ON CONFLICT DO NOTHING",
                numbered(1, LEADING + table.columns().len()),
            ),
            update: format!(
                "UPDATE {name} SET source = ?2, stream = ?3, extra = ?4, content_hash = ?5, sync_version = ?6, \
                 merged_from = ?7, synced_at = ?8, deleted_at = NULL{assignments} WHERE {}",
                matches(LEADING + 1),
            ),
            tombstone: format!(
                "UPDATE {name} SET sync_version = ?2, deleted_at = ?3, synced_at = ?3, merged_from = NULL WHERE {}",
                matches(4),
            ),
            peek: format!(
                "SELECT source, stream, content_hash, deleted_at IS NOT NULL, merged_from IS NOT NULL \
                 FROM {name} WHERE {}",
                matches(2),
            ),
            load: format!(
                "SELECT source, stream, content_hash, deleted_at, merged_from, extra, {columns} FROM {name} WHERE {}",
                matches(2),
            ),
            known: select_known(&name, &list(table, keys)),
            stored: select_known(&name, &columns),
        }
    }
}

fn select_known(table: &str, columns: &str) -> String {
    format!(
        "SELECT content_hash, merged_from, extra, source = ?2 AND stream = ?3, {columns} FROM {table} \
         WHERE source_env = ?1 AND deleted_at IS NULL AND ((source = ?2 AND stream = ?3) OR merged_from IS NOT NULL)"
    )
}

fn list(table: &TableSpec, count: usize) -> String {
    let names = table.columns()[..count].iter().map(|column| column.name.quoted().to_string());
    names.collect::<Vec<_>>().join(", ")
}
