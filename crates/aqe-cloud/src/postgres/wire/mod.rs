//! Values as PostgreSQL sends and receives them in binary.
//!
//! | column | bytes |
//! |---|---|
//! | `boolean` | one |
//! | `bigint` | 8, big-endian |
//! | `double precision` | the 8 bytes of the double, big-endian |
//! | `text` | UTF-8 |
//! | `bytea` | as they are |
//! | `jsonb` | `1`, then the text |
//! | `timestamptz` | microseconds since 2000-01-01T00:00:00Z, 8 bytes |
//! | `real[]` | an array of 4-byte floats |
//! | `vector` (pgvector) | dimensions in 2 bytes, 2 unused, 4 bytes each |
//! | `ruvector` | dimensions in 2 bytes, 4 bytes each |
//!
//! Sources: the `_recv` and `_send` functions of PostgreSQL
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>), of
//! pgvector and of ruvector-postgres 2.0.6.

mod array;
mod copy;
mod read;
mod write;

pub(crate) use array::Array;
pub(crate) use copy::CopyRows;
pub(crate) use read::{Raw, columns, json, moment, read};
pub(crate) use write::{Wire, put};

/// Microseconds from 1970-01-01 to 2000-01-01.
const EPOCH: i64 = 946_684_800_000_000;

/// The type identifier of `float4`, which arrays of it carry.
const FLOAT4: u32 = 700;
