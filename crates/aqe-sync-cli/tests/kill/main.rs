//! The program is ended where it stands, without unwinding, and run again: what it leaves in the
//! end is what an undisturbed run leaves.
//!
//! `every_failpoint` ends it at each place that the crates name, over both kinds of hub; `sequences`
//! mixes such ends with everything else that goes wrong, at random, from a seed.

mod budget;
mod every_failpoint;
mod hub;
mod ledger;
mod listed;
mod program;
mod project;
mod pulls;
mod scenario;
mod sequences;
