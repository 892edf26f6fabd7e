//! The local side of `aqe-sync`: what agent tools leave on a machine.
//!
//! - sources over SQLite, JSON and redb files, for the layouts of agentic-qe,
//!   claude-flow and ruvector, and for what nobody knows yet;
//! - [`discover`], which finds them in a project;
//! - [`EmbeddedHub`], the hub where there is no server, [`LedgerFile`], and [`RunLock`],
//!   which keeps two runs of one project apart.
//!
//! Reading never changes a file, nor what lies beside it.
//!
//! # In the same process as the agent
//!
//! On POSIX systems, closing any descriptor of a file drops all locks that the
//! process holds on it ([How To Corrupt An SQLite Database File, section
//! 2.2](https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_)),
//! and finding and reading sources opens and closes database files. A program
//! that embeds this crate and has the agent's database open itself must finish
//! its transactions on it before it syncs, or sync from another process. Between
//! processes there is no such danger.
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]

mod category;
#[cfg(test)]
mod conformance;
mod discover;
mod emit;
#[cfg(feature = "failpoints")]
pub mod failpoint;
mod file;
mod hub;
mod json;
mod ledger;
mod private;
mod pull;
mod redb;
mod run_lock;
mod snapshot;
mod sqlite;
mod stat;
mod synced;
mod worker;

pub use discover::{Discovery, Found, Skipped, discover, find_root};
pub use file::SourceFile;
pub use hub::{EmbeddedHub, EmbeddedTxn, EnvironmentOverview, Overview, RunOverview, StreamOverview, TableOverview};
pub use json::{JsonLayout, JsonSource};
pub use ledger::{KnownStream, LedgerFile};
pub use private::remove_leftovers;
pub use pull::{
    FileNotes, Keeper, LocalSink, LocalTxn, Pull, PullState, PulledTable, Restored, own_sources, pull, restored,
    state_file,
};
pub use redb::RedbSource;
pub use run_lock::{Holder, RunLock};
pub use sqlite::SqliteSource;
