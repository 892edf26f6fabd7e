//! Values to bytes.

use aqe_sync_core::{ColumnType, Error, ErrorKind, Json, Result, Timestamp, Value};
use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type};

use super::{EPOCH, FLOAT4};
use crate::postgres::schema::VectorKind;

/// A value on its way, of the type of the column that it goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Json(&'a str),
    Timestamp(Timestamp),
    Vector(&'a [f32], VectorKind),
    /// A vector as text: for parameters, where `real[]` cannot be an array's element.
    VectorText(&'a [f32], VectorKind),
}

impl<'a> Wire<'a> {
    /// A column's value.
    ///
    /// # Errors
    /// When the value is not of the column's type: a transform or a source made a row
    /// of its own and did not convert it.
    pub(crate) fn column(value: &'a Value, column: ColumnType, vectors: VectorKind) -> Result<Self> {
        Ok(match (column, value) {
            (_, Value::Null) => Self::Null,
            (ColumnType::Bool, Value::Bool(value)) => Self::Bool(*value),
            (ColumnType::Int, Value::Int(number)) => Self::Int(*number),
            (ColumnType::Float, Value::Float(number)) => Self::Float(*number),
            (ColumnType::Text, Value::Text(text)) => Self::Text(text),
            (ColumnType::Bytes, Value::Bytes(bytes)) => Self::Bytes(bytes),
            (ColumnType::Json, Value::Json(json)) => Self::Json(json.as_str()),
            (ColumnType::Timestamp, Value::Timestamp(moment)) => Self::Timestamp(*moment),
            (ColumnType::Vector(_), Value::Vector(numbers)) => Self::Vector(numbers, vectors),
            (_, other) => {
                let message = format!("a column of type {column:?} was given {}", other.type_name());
                return Err(Error::new(ErrorKind::Internal, message)
                    .advice("convert records with aqe_sync_core::coerce before they are written"));
            }
        })
    }

    pub(crate) fn json(json: Option<&'a Json>) -> Self {
        json.map_or(Self::Null, |json| Self::Json(json.as_str()))
    }
}

/// Appends a value with its length before it; null is the length -1.
pub(crate) fn put(value: Wire<'_>, out: &mut Vec<u8>) {
    if let Wire::Null = value {
        return out.extend_from_slice(&(-1_i32).to_be_bytes());
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    payload(value, out);
    let length = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn payload(value: Wire<'_>, out: &mut Vec<u8>) {
    match value {
        Wire::Null => {}
        Wire::Bool(value) => out.push(u8::from(value)),
        Wire::Int(number) => out.extend_from_slice(&number.to_be_bytes()),
        Wire::Float(number) => out.extend_from_slice(&number.to_bits().to_be_bytes()),
        Wire::Text(text) => out.extend_from_slice(text.as_bytes()),
        Wire::Bytes(bytes) => out.extend_from_slice(bytes),
        Wire::Json(text) => {
            out.push(1);
            out.extend_from_slice(text.as_bytes());
        }
        Wire::Timestamp(moment) => out.extend_from_slice(&(moment.as_micros() - EPOCH).to_be_bytes()),
        Wire::Vector(numbers, kind) => vector(numbers, kind, out),
        Wire::VectorText(numbers, kind) => vector_text(numbers, kind, out),
    }
}

/// As a statement's parameter.
impl ToSql for Wire<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        if let Wire::Null = self {
            return Ok(IsNull::Yes);
        }
        let mut bytes = Vec::with_capacity(32);
        payload(*self, &mut bytes);
        out.extend_from_slice(&bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres_types::to_sql_checked!();
}

fn vector(numbers: &[f32], kind: VectorKind, out: &mut Vec<u8>) {
    // The catalogue's dimensions are 16-bit.
    let dimensions = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
    match kind {
        VectorKind::Ruvector => out.extend_from_slice(&dimensions.to_be_bytes()),
        VectorKind::Pgvector => {
            out.extend_from_slice(&dimensions.to_be_bytes());
            out.extend_from_slice(&[0; 2]);
        }
        VectorKind::None => {
            for word in [1, 0, FLOAT4.cast_signed(), i32::from(dimensions), 1] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
    }
    for number in numbers {
        if kind == VectorKind::None {
            out.extend_from_slice(&4_i32.to_be_bytes());
        }
        out.extend_from_slice(&number.to_bits().to_be_bytes());
    }
}

/// The shortest digits that give the same float again.
fn vector_text(numbers: &[f32], kind: VectorKind, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let (open, close) = if kind == VectorKind::None { (b'{', b'}') } else { (b'[', b']') };
    out.push(open);
    for (position, number) in numbers.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        // Writing to a vector does not fail.
        let _ = write!(out, "{number:e}");
    }
    out.push(close);
}

/// Values of 2 GiB do not occur: SQLite stops below that, and batches much earlier.
pub(super) fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
