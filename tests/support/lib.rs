//! Support for the workspace's own tests, examples and benches.
