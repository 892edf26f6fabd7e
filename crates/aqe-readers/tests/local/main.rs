//! A whole project synced into an embedded hub: real SQLite files, and files made hostile from them.

mod damaged;
mod locked;
mod project;
mod real;
mod shapes;
mod values;
