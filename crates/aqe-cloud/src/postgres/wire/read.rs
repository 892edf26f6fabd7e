//! Bytes to values.

use aqe_sync_core::{ColumnSpec, ColumnType, Json, Timestamp, Value};
use postgres_types::{FromSql, Type};
use tokio_postgres::{Error, Row};

use super::EPOCH;
use crate::postgres::schema::VectorKind;

/// A result column as it came, whatever its type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a>(pub(crate) Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Reads a column back. `None` when the bytes are not of that type, or hold a moment
/// that no source can have written (`infinity`).
pub(crate) fn read(raw: Raw<'_>, column: ColumnType, vectors: VectorKind) -> Option<Value> {
    let Some(bytes) = raw.0 else { return Some(Value::Null) };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let word = || bytes.try_into().ok().map(i64::from_be_bytes);
    Some(match column {
        ColumnType::Bool => Value::Bool(*bytes.first()? != 0),
        ColumnType::Int => Value::Int(word()?),
        ColumnType::Float => Value::Float(f64::from_bits(word()?.cast_unsigned())),
        ColumnType::Text => Value::Text(text(bytes)?),
        ColumnType::Bytes => Value::Bytes(bytes.to_vec()),
        ColumnType::Json => match bytes.split_first()? {
            (1, rest) => Value::Json(Json::from_text(text(rest)?)),
            _ => return None,
        },
        ColumnType::Timestamp => Value::Timestamp(Timestamp::from_micros(word()?.checked_add(EPOCH)?)?),
        ColumnType::Vector(_) => Value::Vector(vector(bytes, vectors)?),
    })
}

/// The columns of a row from position `first` on, those that no source can have written
/// as null; and whether there were none of these.
pub(crate) fn columns(
    row: &Row,
    columns: &[ColumnSpec],
    first: usize,
    vectors: VectorKind,
) -> Result<(Vec<Value>, bool), Error> {
    let mut readable = true;
    let values = columns.iter().zip(first..).map(|(column, position)| {
        let value = read(row.try_get(position)?, column.kind, vectors);
        readable &= value.is_some();
        Ok(value.unwrap_or(Value::Null))
    });
    let values = values.collect::<Result<_, Error>>()?;
    Ok((values, readable))
}

/// A `jsonb`; `None` also where it is something else.
pub(crate) fn json(row: &Row, position: usize) -> Result<Option<Json>, Error> {
    Ok(match read(row.try_get(position)?, ColumnType::Json, VectorKind::None) {
        Some(Value::Json(json)) => Some(json),
        _ => None,
    })
}

/// A `timestamptz`; `None` also where it is something else.
pub(crate) fn moment(row: &Row, position: usize) -> Result<Option<Timestamp>, Error> {
    Ok(match read(row.try_get(position)?, ColumnType::Timestamp, VectorKind::None) {
        Some(Value::Timestamp(moment)) => Some(moment),
        _ => None,
    })
}

fn vector(bytes: &[u8], kind: VectorKind) -> Option<Vec<f32>> {
    let float = |bytes: &[u8]| Some(f32::from_bits(u32::from_be_bytes(bytes.try_into().ok()?)));
    match kind {
        VectorKind::Ruvector => bytes.get(2..)?.chunks(4).map(float).collect(),
        VectorKind::Pgvector => bytes.get(4..)?.chunks(4).map(float).collect(),
        // An empty array has no dimension and ends after its element type.
        VectorKind::None if bytes.len() == 12 => Some(Vec::new()),
        // Each element has its length before it; one that is null has nothing else.
        VectorKind::None => bytes.get(20..)?.chunks(8).map(|element| float(element.get(4..)?)).collect(),
    }
}
