//! A hub in PostgreSQL: [`PostgresHub`] is the sink, [`link`] leads to the server,
//! [`schema`] makes and checks what is there.

mod batch;
mod bookkeeping;
mod chronicle;
mod conflicts;
mod connections;
mod deliver;
pub mod doctor;
mod embedding;
#[cfg(feature = "failpoints")]
pub mod failpoint;
mod failure;
mod fleet;
mod history;
mod hub;
pub mod isolation;
mod lane;
pub mod link;
mod near;
mod order;
mod overview;
mod push;
mod reader;
mod rows;
pub mod schema;
mod statements;
mod table;
mod txn;
mod vectors;
mod wire;

pub use hub::{DEFAULT_SCHEMA, HubBuilder, PlannedScript, PostgresHub};
pub use txn::PostgresTxn;
