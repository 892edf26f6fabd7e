//! The hub side of `aqe-sync`: PostgreSQL with vectors.
//!
//! The connection to PostgreSQL is not part of this version; a hub in one file is
//! `aqe_readers::EmbeddedHub`. Any hub is an [`aqe_sync_core::Sink`].
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]

pub use aqe_sync_core::Sink;
