//! The tests' own support, tested.

mod clusters;
mod connectors;
mod links;
mod vectors;
