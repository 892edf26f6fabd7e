//! The hub against a real PostgreSQL, which the tests start themselves.

mod connection;
mod connection_tls;
mod schema;
mod schema_flavours;
mod schema_refusals;
mod schema_world;
