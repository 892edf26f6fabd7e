//! JSON as far as syncing needs it: what a document means, whatever its spelling.
//!
//! PostgreSQL's `jsonb` keeps neither key order nor number spelling, nor
//! duplicate keys, U+0000 or lone surrogates
//! (<https://www.postgresql.org/docs/current/datatype-json.html>). [`examine`]
//! says in one pass whether a text is JSON, whether `jsonb` can keep all of it,
//! and what it means, in a canonical form to hash.
//!
//! # Canonical form
//!
//! | JSON | bytes |
//! |---|---|
//! | `null`, `true`, `false` | `n`, `t`, `f` |
//! | number | `#`, length, then sign, digits without outer zeros, `e`, exponent: `1.50` is `15e-1`, `0` is `0` |
//! | string | `"`, length, decoded UTF-8 |
//! | array | `[`, members, `]` |
//! | object | `{`, then key (as a string) and value per member in byte order of the keys, `}` |
//!
//! Lengths are 32-bit little-endian.

mod canonical;
mod number;
mod scan;
mod write;

pub use canonical::{Examined, Unstorable, examine};
pub use scan::SyntaxError;
pub use write::{ObjectWriter, quote};

/// How deep arrays and objects may nest before they are kept as text.
pub const MAX_DEPTH: usize = 256;
