//! A whole project synced into an embedded hub: real SQLite files, and files made hostile from them.

mod changes;
mod damaged;
mod discovery;
mod doubles;
mod locked;
mod modes;
mod project;
mod real;
mod repairs;
mod shapes;
mod state;
mod transactions;
mod values;
mod vectors;
