//! The local side of `aqe-sync`: what agent tools leave on a machine.
//!
//! - sources over SQLite, JSON and redb files, for the layouts of agentic-qe,
//!   claude-flow and ruvector, and for what nobody knows yet;
//! - [`discover`], which finds them in a project;
//! - [`EmbeddedHub`], the hub where there is no server, and [`LedgerFile`].
//!
//! Reading never changes a file, nor what lies beside it.
#![deny(missing_docs)]

mod category;
mod discover;
mod emit;
mod file;
mod hub;
mod json;
mod ledger;
mod redb;
mod snapshot;
mod sqlite;
mod stat;
mod worker;

pub use discover::{Discovery, Found, Skipped, discover, find_root};
pub use file::SourceFile;
pub use hub::{EmbeddedHub, EmbeddedTxn, EnvironmentOverview, Overview, RunOverview, StreamOverview, TableOverview};
pub use json::{JsonLayout, JsonSource};
pub use ledger::LedgerFile;
pub use redb::RedbSource;
pub use sqlite::SqliteSource;
