//! A hub and sources in memory, for every test of this binary.

pub(crate) mod memory_sink;
pub(crate) mod memory_source;
pub(crate) mod memory_txn;
pub(crate) mod note;
pub(crate) mod world;

use proptest::test_runner::Config;

/// So many cases per property, and no files beside the tests.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}
