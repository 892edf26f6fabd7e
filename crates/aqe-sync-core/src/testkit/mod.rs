//! The conformance kit: checks any source, sink, transform, policy or merge against
//! what it promises, and injects faults. Behind the feature `testkit`, for tests.
//!
//! | what | checked by | needs to be told |
//! |---|---|---|
//! | [`Source`](crate::Source) | [`check_source`] | [`SourceCase`]: how to open it; how its data changes, settles; one that panics |
//! | [`Sink`](crate::Sink) | [`check_sink`] | [`SinkCase`]: how to open it; how to look at all that is stored |
//! | [`Transform`](crate::Transform) | [`check_transform`] | a stream and some of its records |
//! | [`ConflictPolicy`](crate::ConflictPolicy) | [`check_policy`], [`check_policy_on`] | the tables, where it looks at their columns |
//! | a merge of any kind | [`check_merge`] | three different values |
//!
//! Each answers with a [`Violation`] that names the first [`Rule`] that is broken, or
//! with what was [`Checked`]. A check that had nothing to look at is broken, too. Nothing
//! waits for time to pass, and no runtime is needed: any executor will do.
//!
//! ```
//! use aqe_sync_core::testkit::{Rule, check_policy};
//! use aqe_sync_core::PolicySpec;
//!
//! let checked = check_policy(&PolicySpec::NewerWins)?;
//! assert!(checked.of(Rule::Deterministic) > 1_000);
//! # Ok::<(), aqe_sync_core::testkit::Violation>(())
//! ```
//!
//! [`FaultySource`] and [`FaultySink`] wrap what you have and break it where a test
//! says so ([`Fault`]); they count what struck, so that a test can assert that it did.
//! `docs/CONNECTOR_GUIDE.md` goes from an empty file to a source and a sink that pass.

mod fault;
mod merge;
mod policy;
mod sink;
mod source;
mod transform;
pub mod values;
mod violation;

pub use fault::{Fault, Faulty, FaultySink, FaultySource, FaultyTxn, Gate, SinkStep, SourceStep};
pub use merge::check_merge;
pub use policy::{check_policy, check_policy_on};
pub use sink::{SinkCase, check_sink};
pub use source::{SourceCase, check_source};
pub use transform::check_transform;
pub use violation::{Checked, Rule, Violation};
