//! The hub side of `aqe-sync`: PostgreSQL with vectors, as an [`aqe_sync_core::Sink`], and the ways
//! to reach it.
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]

pub mod postgres;
pub mod secret;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod tunnel;
#[cfg(feature = "webhook")]
pub mod webhook;
