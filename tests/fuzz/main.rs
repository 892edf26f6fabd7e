//! Everything that parses untrusted bytes, fed with real files and with mutations of them.
//!
//! How a run goes, and how a failure replays, is said in `tests/support/fuzz`. The configuration
//! file, which no library can reach, has its target beside it in the command's crate.

mod address;
mod embeddings;
mod files;
mod hub_file;
mod json_layouts;
mod json_text;
mod ledger_file;
mod real_values;
mod redb_file;
mod side_files;
mod sqlite_file;
mod sqlite_rows;
mod timestamps;
mod tunnel_frames;
mod values;
