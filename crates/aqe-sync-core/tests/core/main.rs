//! The core as a whole: engine, verification, and the pure parts by properties.

mod conflicts;
mod deletes;
mod faults;
mod modes;
mod records;
mod support;
