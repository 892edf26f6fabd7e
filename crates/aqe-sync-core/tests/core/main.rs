//! The core as a whole: engine, verification, and the pure parts by properties.

mod accounts;
mod conflicts;
mod conversions;
mod deletes;
mod diffs;
mod digests;
mod faults;
mod json;
mod mapping;
mod meeting;
mod modes;
mod moments;
mod policies;
mod records;
mod support;
mod verification;
