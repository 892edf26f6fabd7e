//! The local side of `aqe-sync`: agent tools' files as sources.
//!
//! Reading never harms a file: plain files are copied while they hold still and
//! read from the copy, on a thread of their own, one batch at a time.

#![deny(missing_docs)]

mod emit;
mod file;
mod json;
mod redb;
mod snapshot;
mod stat;

pub use self::file::SourceFile;
pub use self::json::{JsonLayout, JsonSource};
pub use self::redb::RedbSource;

