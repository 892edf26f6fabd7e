//! The hub side of `aqe-sync`: PostgreSQL with vectors, as an [`aqe_sync_core::Sink`].
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]

pub mod postgres;
