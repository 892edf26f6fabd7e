//! Values, traits, conflict policies and the engine of `aqe-sync`.
//!
//! AI coding agents keep what they learn in SQLite databases and JSON files.
//! This crate moves such records from any [`Source`] to any [`Sink`],
//! incrementally and exactly, and knows nothing of files, drivers or terminals:
//! those are in `aqe-readers`, `aqe-cloud` and `aqe-sync-cli`.
//!
//! A record's journey, one module per stage:
//!
//! | stage | module | from | to |
//! |---|---|---|---|
//! | read | [`source`] | a file | [`Record`] |
//! | hash, diff | [`hash`], [`plan`] | [`Record`] | new, same, different, gone |
//! | coerce | [`coerce`] | [`Record`] | [`Row`] |
//! | apply | [`sink`] | [`Change`] | inserted, updated, …, contested |
//! | settle | [`meet`], [`conflict`] | contested | what to store |
//! | remember | [`ledger`] | what was committed | the next run's "same" |
//! | account | [`report`] | all of it | [`Report`] |
//!
//! [`mod@verify`] compares both ends without any of it.
//!
//! With the feature `testkit` the module `testkit` checks any implementation of
//! [`Source`], [`Sink`], [`Transform`] and [`ConflictPolicy`] against what these
//! traits promise, and injects faults.

#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]

mod account;
mod conversion;
pub mod embed;
pub mod engine;
mod error;
pub mod failpoint;
pub mod fleet;
mod hashing;
pub mod insight;
pub mod json;
pub mod ledger;
mod meeting;
pub mod monitor;
pub mod packed;
pub mod plan;
pub mod record;
pub mod redact;
mod said;
pub mod schema;
pub mod search;
pub mod sink;
pub mod source;
pub mod tables;
#[cfg(feature = "testkit")]
pub mod testkit;
mod transform;
mod value;
pub mod verify;
mod walk;

pub use account::{audit, event, history, overview, report};
pub use conversion::{aside, coerce, rowjson};
pub use hashing::{digest, hash};
pub use meeting::{conflict, meet, revert};
pub use value::vector;

pub use conflict::{Conflict, ConflictKind, ConflictPolicy, PolicySpec, Resolution};
pub use embed::Embedder;
pub use engine::{Engine, Options};
pub use error::{Error, ErrorKind, Result, Retry};
pub use event::{Event, Observer, Silent};
pub use hash::{ContentHash, KeyHash, LocalHash};
pub use ledger::{Ledger, MemoryLedger};
pub use packed::PackedRecords;
pub use record::{Change, DeadLetter, Key, Operation, Record, Reject, Row};
pub use report::{Counters, Mode, Report, Status, StreamReport};
pub use schema::{ColumnSpec, ColumnType, Deletes, Mutability, Role, Schema, TableBuilder, TableSpec};
pub use sink::{Applied, Checkpoint, Committed, Delivery, KnownRow, Pushed, Sink, SinkTxn, StreamState};
pub use source::{Batch, BatchLimits, BatchStream, DynSource, Fingerprint, ReadRequest, Source, StreamSpec, batches};
pub use transform::Transform;
pub use value::name::{Contributor, Environment, Identifier, Instance, Quoted, SourceName, StreamId, StreamName};
pub use value::time::Timestamp;
pub use value::{Json, Value};
pub use verify::{Depth, RepairReport, StreamVerification, Verdict, VerifyReport, repair, verify, verify_deep};
