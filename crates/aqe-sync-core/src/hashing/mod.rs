//! What tells one content from another: of a row, and of many.

pub mod digest;
pub mod hash;
