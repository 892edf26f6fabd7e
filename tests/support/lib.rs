//! Support for the workspace's own tests, examples and benches: a throwaway PostgreSQL, links
//! that break or are slow, servers with vector extensions or made-up answers, and fuzzing.
//!
//! Not published. Everything here panics with one clear line when the machine lacks what a test
//! needs, because a test that cannot run has not passed.
#![deny(missing_docs)]
#![allow(clippy::missing_panics_doc, reason = "a test's support says what is wrong by panicking, everywhere")]

pub mod answers;
pub mod environment;
pub mod folders;
pub mod fuzz;
pub mod latency;
pub mod postgres;
pub mod proxy;
pub mod type_mapping;
pub mod vectors;
