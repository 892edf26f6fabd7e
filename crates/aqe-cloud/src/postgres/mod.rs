//! A hub in PostgreSQL.

pub mod schema;
