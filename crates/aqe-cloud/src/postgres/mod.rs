//! A hub in PostgreSQL.

mod batch;
mod bookkeeping;
mod fault;
mod hub;
mod lane;
mod push;
mod rows;
pub mod schema;
mod statements;
mod table;
mod txn;
mod vectors;
mod wire;

pub use hub::PostgresHub;
pub use txn::PostgresTxn;
