//! The core as a whole: engine, verification, and the pure parts by properties.

mod accounts;
mod conflicts;
mod conversions;
mod deletes;
mod diffs;
mod digests;
mod faults;
mod instances;
mod json;
mod lanes;
mod mapping;
mod meeting;
mod modes;
mod moments;
mod policies;
mod records;
mod support;
mod testkit;
mod verification;
