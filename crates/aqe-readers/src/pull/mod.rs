//! The local side of a pull: what the fleet knows, written into an agent's own file.
//!
//! | step | where |
//! |---|---|
//! | which local table takes it, and which row has the key | `layout.rs` |
//! | what to do about it | [`aqe_sync_core::fleet::Absorbed::step`], asked in `txn.rs` |
//! | how the file spells it | `format.rs` |
//! | write it | `write.rs` |
//! | remember what was written | `state.rs`, `notes.rs` |
//!
//! # Exactly once, over two files
//!
//! The agent's file and our notes cannot be committed together. Every delivery has a
//! number, and the agent's file carries the last one in its header (`number.rs`):
//!
//! 1. the transaction on the file begins, rows are read, decided and written;
//! 2. our notes become durable, with a number that the file does not carry yet;
//! 3. the hub gets a copy of them;
//! 4. the file commits its rows and the number together;
//! 5. the notes say that the number was reached.
//!
//! Notes with a number beyond the file's do not hold. So a crash between any two of these
//! leaves the notes in step with the file, and a file that comes back from a backup finds
//! the notes that belong to it, as long as backups of that age are kept.

mod backup;
mod format;
mod layout;
mod notes;
mod number;
mod run;
mod sink;
mod state;
mod txn;
mod work;
mod write;

pub use notes::FileNotes;
pub use run::{Pull, own_sources, pull, restored, state_file};
pub use sink::{Keeper, LocalSink, LocalTxn, PulledTable, Restored};
pub use state::PullState;
