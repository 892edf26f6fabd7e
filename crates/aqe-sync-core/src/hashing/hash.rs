//! Hashes over documented encodings: what "unchanged" means.
//!
//! All are XXH3 (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>),
//! 64 bits for content, 128 for keys, seed 0.
//!
//! # Encoding
//!
//! A value is a tag byte and a payload; numbers are little-endian, lengths 32-bit.
//!
//! | value | tag | payload |
//! |---|---|---|
//! | null | `0` | nothing |
//! | boolean | `b` | one byte |
//! | integer | `i` | 64 bits |
//! | real | `f` | the 64 bits of the double |
//! | text | `t` | length, UTF-8 |
//! | text that is not UTF-8 | `r` | length, bytes |
//! | bytes | `y` | length, bytes |
//! | JSON | `j` | length, canonical form (see [`crate::json`]) |
//! | JSON that has none | `J` | length, the text |
//! | timestamp | `s` | microseconds, 64 bits |
//! | vector | `v` | dimensions, 32 bits each |
//!
//! *Content*: for each column that is not null, in the order of names: name
//! length, name, value; then the `extra` object as a JSON value, if any. So a
//! column that the catalogue adds later changes no hash until it holds something.
//! *Key*: the key columns' values in order.
//! *Local*: a record's values as read, JSON as its text, seeded with the field
//! names and the table's digest; it never leaves the machine.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use crate::json::{Examined, examine};
use crate::{ColumnSpec, Json, Record, Row, TableSpec, Value};

/// Identifies a row's content in every hub. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(u64);

impl ContentHash {
    /// From the number that [`Self::to_i64`] gave; `None` for zero.
    pub fn from_i64(number: i64) -> Option<Self> {
        (number != 0).then_some(Self(number.cast_unsigned()))
    }

    /// As the signed integer that databases store.
    pub fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }

    pub(crate) fn from_u64(number: u64) -> Self {
        Self(number.max(1))
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identifies a key within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

/// Identifies what a source held for a key, before any conversion. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalHash(pub u64);

/// Hashes a row's columns and extra.
pub fn content_hash(table: &TableSpec, values: &[Value], extra: Option<&Json>) -> ContentHash {
    ContentHash::from_u64(hash_columns(table, values, extra, |_| true))
}

/// Hashes some of a row's columns, and extra; key columns are never among them.
pub(crate) fn partial_hash(table: &TableSpec, row: &Row, counts: impl Fn(&ColumnSpec) -> bool) -> u64 {
    let keys = table.key_columns();
    let counts = |column: &ColumnSpec| !keys.iter().any(|key| key.name == column.name) && counts(column);
    hash_columns(table, &row.values, row.extra.as_ref(), counts)
}

fn hash_columns(
    table: &TableSpec,
    values: &[Value],
    extra: Option<&Json>,
    counts: impl Fn(&ColumnSpec) -> bool,
) -> u64 {
    let mut bytes = Vec::with_capacity(4096);
    for position in table.name_order() {
        let value = &values[*position];
        if !value.is_null() && counts(&table.columns()[*position]) {
            put_bytes(&mut bytes, table.columns()[*position].name.as_str().as_bytes());
            encode(value, &mut bytes);
        }
    }
    if let Some(extra) = extra {
        encode_json(extra, &mut bytes);
    }
    xxh3_64(&bytes)
}

/// Hashes named values that are not null, for ids made of content: 64 bits over
/// name length, name, value each, JSON as its text.
pub fn fields_hash<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    for (name, value) in fields {
        if !value.is_null() {
            put_bytes(&mut bytes, name.as_bytes());
            encode_raw(value, &mut bytes);
        }
    }
    xxh3_64(&bytes)
}

/// Hashes a key's values.
pub fn key_hash(values: &[Value]) -> KeyHash {
    let mut bytes = Vec::with_capacity(64);
    for value in values {
        encode(value, &mut bytes);
    }
    key_hash_of_encoded(&bytes)
}

pub(crate) fn key_hash_of_encoded(bytes: &[u8]) -> KeyHash {
    KeyHash(xxh3_128(bytes))
}

/// Hashes records as read; holds the buffer and the seed of one stream.
#[derive(Debug)]
pub struct LocalHasher {
    seed: u64,
    buffer: Vec<u8>,
}

impl LocalHasher {
    /// For records of `fields`, bound for `table`.
    pub fn new(table: &TableSpec, fields: &[Box<str>]) -> Self {
        Self::transformed(table, fields, 0)
    }

    /// As [`Self::new`], for records as they are before transforms that this number stands
    /// for: see [`crate::Transform::in_place`]. Zero stands for none.
    pub fn transformed(table: &TableSpec, fields: &[Box<str>], transforms: u64) -> Self {
        let mut bytes = table.digest().to_le_bytes().to_vec();
        if transforms != 0 {
            bytes.extend_from_slice(&transforms.to_le_bytes());
        }
        for field in fields {
            put_bytes(&mut bytes, field.as_bytes());
        }
        Self { seed: xxh3_64(&bytes), buffer: Vec::new() }
    }

    /// Hashes one record.
    pub fn hash(&mut self, record: &Record) -> LocalHash {
        self.buffer.clear();
        for value in record.values() {
            encode_raw(value, &mut self.buffer);
        }
        for (name, value) in &record.extra {
            put_bytes(&mut self.buffer, name.as_bytes());
            encode_raw(value, &mut self.buffer);
        }
        if let Some(extra) = record.row_extra() {
            encode_json(extra, &mut self.buffer);
        }
        self.hash_encoded(&self.buffer)
    }

    /// Hashes a record without extra fields that is encoded already.
    pub(crate) fn hash_encoded(&self, encoded: &[u8]) -> LocalHash {
        LocalHash(xxh3_64_with_seed(encoded, self.seed).max(1))
    }
}

pub(crate) fn encode_raw(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Json(json) => put(out, b'J', json.as_str().as_bytes()),
        other => encode(other, out),
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'0'),
        Value::Bool(value) => out.extend_from_slice(&[b'b', u8::from(*value)]),
        Value::Int(number) => put_fixed(out, b'i', &number.to_le_bytes()),
        Value::Float(number) => put_fixed(out, b'f', &number.to_bits().to_le_bytes()),
        Value::Text(text) => put(out, b't', text.as_bytes()),
        Value::RawText(bytes) => put(out, b'r', bytes),
        Value::Bytes(bytes) => put(out, b'y', bytes),
        Value::Json(json) => encode_json(json, out),
        Value::Timestamp(moment) => put_fixed(out, b's', &moment.as_micros().to_le_bytes()),
        Value::Vector(numbers) => {
            out.push(b'v');
            out.extend_from_slice(&length(numbers.len()).to_le_bytes());
            for number in numbers {
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
        }
    }
}

fn encode_json(json: &Json, out: &mut Vec<u8>) {
    let start = out.len();
    put_fixed(out, b'j', &[0; 4]);
    let canonical = out.len();
    match examine(json.as_str(), out) {
        Examined::Storable => {
            let length = length(out.len() - canonical);
            out[start + 1..canonical].copy_from_slice(&length.to_le_bytes());
        }
        Examined::Unstorable(_) | Examined::Invalid(_) => {
            out.truncate(start);
            put(out, b'J', json.as_str().as_bytes());
        }
    }
}

/// Whether two values mean the same, to the bit; JSON whatever its spelling.
pub fn same(one: &Value, other: &Value) -> bool {
    let encoded = |value| {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    };
    encoded(one) == encoded(other)
}

/// As [`same`], for `extra` objects.
pub(crate) fn same_json(one: &Json, other: &Json) -> bool {
    let encoded = |json| {
        let mut bytes = Vec::new();
        encode_json(json, &mut bytes);
        bytes
    };
    encoded(one) == encoded(other)
}

fn put_fixed(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    out.extend_from_slice(payload);
}

fn put(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    put_bytes(out, payload);
}

fn put_bytes(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&length(payload.len()).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Lengths of 4 GiB do not occur: SQLite stops at 2 GiB per value.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
