//! A hub in PostgreSQL.

pub mod link;
pub mod schema;
