//! What tests of a way to a hub need (feature `testkit`).

pub mod relay;
