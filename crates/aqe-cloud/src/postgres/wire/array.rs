//! Columns of a small batch as array parameters, for `unnest`.

use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type};

use super::Wire;
use super::write::{length, put};

/// One column's values as a one-dimensional array.
/// (<https://www.postgresql.org/docs/current/arrays.html>; the format is that of `array_recv`.)
#[derive(Debug)]
pub(crate) struct Array {
    bytes: Vec<u8>,
    rows: usize,
}

/// Dimensions, whether there are nulls, element type, length, lower bound.
const HEADER: usize = 20;

impl Array {
    /// Of elements of a type, by its identifier.
    pub(crate) fn new(element: u32) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        // "May hold nulls" costs nothing and is never wrong.
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        bytes.extend_from_slice(&element.to_be_bytes());
        bytes.extend_from_slice(&0_i32.to_be_bytes());
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        debug_assert_eq!(bytes.len(), HEADER);
        Self { bytes, rows: 0 }
    }

    pub(crate) fn push(&mut self, value: Wire<'_>) {
        put(value, &mut self.bytes);
        self.rows += 1;
        self.bytes[12..16].copy_from_slice(&length(self.rows).to_be_bytes());
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres_types::to_sql_checked!();
}
