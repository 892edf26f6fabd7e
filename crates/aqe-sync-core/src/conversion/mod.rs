//! Records to rows, and both to JSON that loses nothing.

pub mod aside;
pub mod coerce;
pub mod rowjson;
