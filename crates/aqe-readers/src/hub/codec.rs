//! Values to SQLite and back, by column type.

use aqe_sync_core::aside::{vector_from_bytes, vector_to_bytes};
use aqe_sync_core::{ColumnType, Json, Timestamp, Value};
use rusqlite::types::{ToSqlOutput, Type, Value as Owned, ValueRef};
use rusqlite::{Result, ToSql};

/// A value as a statement's parameter.
pub(super) struct Param<'a>(pub(super) &'a Value);

impl ToSql for Param<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(Owned::Null),
            Value::Bool(value) => ToSqlOutput::Owned(Owned::Integer(i64::from(*value))),
            Value::Int(number) => ToSqlOutput::Owned(Owned::Integer(*number)),
            Value::Float(number) => ToSqlOutput::Owned(Owned::Real(*number)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Json(json) => ToSqlOutput::Borrowed(ValueRef::Text(json.as_str().as_bytes())),
            Value::RawText(bytes) | Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::Timestamp(moment) => ToSqlOutput::Owned(Owned::Text(moment.to_string())),
            Value::Vector(numbers) => ToSqlOutput::Owned(Owned::Blob(vector_to_bytes(numbers))),
        })
    }
}

/// Reads a column back.
///
/// # Errors
/// When somebody else stored something that the column's type does not allow.
pub(super) fn read(row: &rusqlite::Row<'_>, index: usize, kind: ColumnType) -> Result<Value> {
    let raw = row.get_ref(index)?;
    if raw == ValueRef::Null {
        return Ok(Value::Null);
    }
    let unexpected = |expected: &str| {
        rusqlite::Error::FromSqlConversionFailure(index, raw.data_type(), format!("expected {expected}").into())
    };
    Ok(match kind {
        ColumnType::Bool => Value::Bool(raw.as_i64()? != 0),
        ColumnType::Int => Value::Int(raw.as_i64()?),
        ColumnType::Float if raw.data_type() == Type::Integer => Value::Float(raw.as_i64()? as f64),
        ColumnType::Float => Value::Float(raw.as_f64()?),
        ColumnType::Text => Value::Text(raw.as_str()?.to_owned()),
        ColumnType::Json => Value::Json(Json::from_text(raw.as_str()?)),
        ColumnType::Bytes => Value::Bytes(raw.as_blob()?.to_vec()),
        ColumnType::Timestamp => {
            Value::Timestamp(Timestamp::parse(raw.as_str()?).ok_or_else(|| unexpected("a moment in ISO 8601"))?)
        }
        ColumnType::Vector(_) => {
            Value::Vector(vector_from_bytes(raw.as_blob()?).ok_or_else(|| unexpected("float32 values"))?)
        }
    })
}
