//! The fleet: what all environments together know of a key.
//!
//! Nobody writes fleet records. Every environment writes what it contributes, and whoever
//! wants to know what all of them know merges the contributions. So nothing that is
//! replayed, reordered or repeated can shift a count.
//!
//! | step | item | from | to |
//! |---|---|---|---|
//! | merge | [`merge`] | one [`Contribution`] per environment | [`FleetRecord`] |
//! | trust | [`Trust`] | contributions | those that count here |
//! | pull | [`FleetSource`] | a [`FleetHub`] | records for the engine |
//! | write | a sink that asks [`Absorbed::step`] | contributions and the local row | the new local row |
//! | push | [`OwnSource`] | the local rows | this environment's own part of them |
//!
//! # Own and others
//!
//! Once a local row shows what the fleet knows, its counters hold others' events too. An
//! [`Absorbed`] entry remembers what was written, and what this environment's own part of
//! it was: own now = own then + (local now − local then).

mod absorbed;
mod contribution;
mod hub;
mod identity;
mod known;
mod merge;
mod own_source;
mod source;
mod trust;
pub mod views;

pub use absorbed::{Absorbed, AbsorbedStore, Shown, Step, Written};
pub use contribution::{Contribution, counts_only, is_counts_only};
pub use hub::{FleetHub, Kept, Standing, VersionVector};
pub use identity::identity;
pub use known::{KEYS, Known, known};
pub use merge::{FleetRecord, content_digest, merge};
pub use own_source::OwnSource;
pub use source::{FleetSource, PullRequest, Pulled, fleet_table, seen};
pub use trust::Trust;
