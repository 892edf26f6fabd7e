//! The tests' own support, tested.

mod clusters;
mod links;
mod vectors;
