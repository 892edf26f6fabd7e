//! The hub against a real PostgreSQL, which the tests start themselves.

mod abreast;
mod abreast_cuts;
mod abreast_world;
mod conformance;
mod connection;
mod connection_tls;
mod doctor;
mod faults;
mod faults_world;
mod fleet_views;
mod fleet_views_made;
mod login;
mod lost_columns;
mod overview;
mod projects;
mod reader;
mod runs;
mod schema;
mod schema_flavours;
mod schema_refusals;
mod schema_world;
mod sink;
mod sink_world;
mod sink_writers;
mod standby;
mod tunnel_sync;
