//! Rows as JSON objects and back, exactly: for images in `conflict_log` and `merged_from`.
//!
//! `{"columns":{…},"extra":{…}}`; null columns are left out. Bytes and vectors
//! (float32, little-endian) are base64, doubles that JSON cannot
//! write, or `jsonb` not keep (`-0`), are text.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::aside::{from_base64, is_plain_number, vector_from_bytes, vector_to_bytes};
use crate::json::{ObjectWriter, quote};
use crate::record::Row;
use crate::{ColumnType, Error, ErrorKind, Json, Result, TableSpec, Timestamp, Value};

/// Writes a row.
pub fn row_to_json(table: &TableSpec, row: &Row) -> String {
    let mut columns = ObjectWriter::new();
    for (column, value) in table.columns().iter().zip(&row.values) {
        if !value.is_null() {
            columns.member(column.name.as_str(), &value_to_json(value));
        }
    }
    let mut object = ObjectWriter::new();
    object.member("columns", &columns.finish());
    if let Some(extra) = &row.extra {
        object.member("extra", extra.as_str());
    }
    object.finish()
}

fn value_to_json(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) | Value::RawText(bytes) => quote(&STANDARD.encode(bytes)),
        Value::Vector(numbers) => quote(&STANDARD.encode(vector_to_bytes(numbers))),
        Value::Float(number) if !is_plain_number(*number) => quote(&number.to_string()),
        Value::Json(json) => json.as_str().to_owned(),
        other => crate::aside::to_json(other),
    }
}

#[derive(Deserialize)]
struct RowJson {
    columns: BTreeMap<String, Box<RawValue>>,
    extra: Option<Box<RawValue>>,
}

/// Reads what [`row_to_json`] wrote. Columns that the table has no more are lost.
///
/// # Errors
/// When the text is not such an object.
pub fn row_from_json(table: &TableSpec, text: &str) -> Result<Row> {
    let malformed = || {
        Error::new(ErrorKind::Malformed, "a stored row image is not what aqe-sync writes")
            .context("table", table.name())
    };
    let row: RowJson = serde_json::from_str(text).map_err(|error| malformed().caused_by(error))?;
    let values = table.columns().iter().map(|column| match row.columns.get(column.name.as_str()) {
        None => Ok(Value::Null),
        Some(raw) => value_from_json(column.kind, raw.get()).ok_or_else(|| malformed().context("column", &column.name)),
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    Ok(Row::new(table, values, row.extra.map(|extra| Json::from_text(extra.get()))))
}

fn value_from_json(kind: ColumnType, text: &str) -> Option<Value> {
    let string = || serde_json::from_str::<String>(text).ok();
    Some(match kind {
        ColumnType::Json => Value::Json(Json::from_text(text)),
        ColumnType::Bool => Value::Bool(serde_json::from_str(text).ok()?),
        ColumnType::Int => Value::Int(serde_json::from_str(text).ok()?),
        ColumnType::Float if text.starts_with('"') => Value::Float(string()?.parse().ok()?),
        ColumnType::Float => Value::Float(text.parse().ok()?),
        ColumnType::Text => Value::Text(string()?),
        ColumnType::Bytes => Value::Bytes(from_base64(&string()?)?),
        ColumnType::Timestamp => Value::Timestamp(Timestamp::parse(&string()?)?),
        ColumnType::Vector(_) => Value::Vector(vector_from_bytes(&from_base64(&string()?)?)?),
    })
}
