//! The fleet's views: see [`aqe_sync_core::fleet::views`].

use aqe_sync_core::fleet::views::{self, Dialect, VERSION};
use aqe_sync_core::{Quoted, failpoint, tables};
use rusqlite::{Connection, OptionalExtension as _, Result, TransactionBehavior};

use super::schema::prepare;

/// The key in `hub_info` that says which version of the views a hub has.
const KEY: &str = "fleet_views";

/// Makes the views, and the tables that they read, where they are missing or older than
/// this program.
pub(super) fn refresh(connection: &mut Connection) -> Result<()> {
    if version(connection)? >= VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again under the lock: another process may have been faster.
    if version(&transaction)? < VERSION {
        for table in tables::all() {
            prepare(&transaction, table)?;
        }
        let views = views::all(&Dialect::Sqlite);
        for view in &views {
            transaction.execute_batch(&format!("DROP VIEW IF EXISTS {}", Quoted(&view.name)))?;
        }
        for view in &views {
            transaction.execute_batch(&format!("CREATE VIEW {} AS\n{}", Quoted(&view.name), view.query))?;
        }
        transaction.execute(
            "INSERT INTO hub_info (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (KEY, VERSION.to_string()),
        )?;
    }
    failpoint!("embedded-views-making");
    transaction.commit()
}

fn version(connection: &Connection) -> Result<u32> {
    let sql = "SELECT value FROM hub_info WHERE key = ?1";
    let recorded: Option<String> = connection.query_row(sql, [KEY], |row| row.get(0)).optional()?;
    Ok(recorded.and_then(|version| version.parse().ok()).unwrap_or(0))
}
