//! Records to rows: each value to the type of its column, losslessly or not at all.
//!
//! The rules stand in `docs/TYPE_MAPPING.md`. A value that its column cannot
//! hold goes to `extra` whole, with the column set to null; nothing is cut,
//! rounded or guessed.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::aside;
use crate::json::{Examined, ObjectWriter, examine, quote};
use crate::record::{DeadLetter, Key, Record, Row};
use crate::{ColumnSpec, ColumnType, Json, Schema, TableSpec, Timestamp, Value, vector};

/// One value that is kept in `extra` because its column cannot hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The column that is null instead.
    pub column: String,
    /// Why.
    pub reason: String,
    /// Whether somebody should look at it. A sound vector of another
    /// dimension is expected, text with U+0000 is not.
    pub unexpected: bool,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.reason)
    }
}

/// A record as a row, with what did not fit.
#[derive(Clone, Debug)]
pub struct Coerced {
    /// The row.
    pub row: Row,
    /// The values that went to `extra`.
    pub set_aside: Vec<SetAside>,
}

/// Converts the records of one stream to the rows of one table.
#[derive(Debug)]
pub struct Coercer {
    table: Arc<TableSpec>,
    schema: Arc<Schema>,
    /// Per column of the table, the field that feeds it.
    field_of_column: Vec<Option<usize>>,
    /// Fields without a column.
    unknown_fields: Vec<usize>,
}

impl Coercer {
    /// Pairs fields and columns by name.
    pub fn new(table: Arc<TableSpec>, schema: Arc<Schema>) -> Self {
        let field_of_column: Vec<Option<usize>> =
            table.columns().iter().map(|column| schema.position(column.name.as_str())).collect();
        // Also a second field of the same name as a column.
        let unknown_fields =
            (0..schema.fields().len()).filter(|field| !field_of_column.contains(&Some(*field))).collect();
        Self { table, schema, field_of_column, unknown_fields }
    }

    /// Whether it was made for records of this schema.
    pub fn fits(&self, schema: &Arc<Schema>) -> bool {
        Arc::ptr_eq(&self.schema, schema) || self.schema == *schema
    }

    /// The record's key.
    ///
    /// # Errors
    /// A message when a key column is null or cannot be stored in any hub.
    pub fn key(&self, record: &Record) -> Result<Key, String> {
        let columns = self.table.key_columns().iter().zip(&self.field_of_column);
        let parts = columns.map(|(column, field)| {
            let value = key_value(record, column, *field);
            match (column.kind, value) {
                (ColumnType::Text, Value::Text(text)) if !text.contains('\0') => Ok(value.clone()),
                (_, Value::Null) => Err(format!("key column {} has no value", column.name)),
                _ => match coerce(column.kind, value.clone()) {
                    Fit::Value(value) | Fit::Plain(value) if !value.is_null() => Ok(value),
                    Fit::Value(_) | Fit::Plain(_) => Err(format!("key column {} has no value", column.name)),
                    Fit::Aside(misfit) => Err(format!("key column {}: {}", column.name, misfit.reason)),
                },
            }
        });
        parts.collect::<Result<_, _>>().map(Key::new)
    }

    /// Converts the record.
    ///
    /// # Errors
    /// A dead letter with the whole record when its key cannot be stored.
    pub fn row(&self, mut record: Record) -> Result<Coerced, DeadLetter> {
        let key = match self.key(&record) {
            Ok(key) => key,
            Err(reason) => return Err(self.dead_letter(&record, reason)),
        };
        let mut extra = Extra::default();
        let mut set_aside = Vec::new();
        let mut fields = std::mem::take(&mut record.extra);
        let row_extra = record.row_extra().cloned();
        let mut values = take_values(&mut record);
        let mut columns = Vec::with_capacity(self.field_of_column.len());
        columns.extend(key.values().iter().cloned());
        for (column, field) in self.table.key_columns().iter().zip(&self.field_of_column) {
            if field.is_none() {
                take_named(&mut fields, column.name.as_str());
            }
        }
        for (column, field) in self.table.columns().iter().zip(&self.field_of_column).skip(columns.len()) {
            let value = match field {
                Some(field) => std::mem::replace(&mut values[*field], Value::Null),
                None => take_named(&mut fields, column.name.as_str()),
            };
            columns.push(match coerce(column.kind, value) {
                Fit::Value(value) => value,
                Fit::Plain(value) => {
                    extra.add(column.name.as_str(), aside::PLAIN_TEXT);
                    value
                }
                Fit::Aside(misfit) => {
                    extra.add(column.name.as_str(), &aside::to_json(&misfit.value));
                    set_aside.push(SetAside {
                        column: column.name.to_string(),
                        reason: misfit.reason.into_owned(),
                        unexpected: misfit.unexpected,
                    });
                    Value::Null
                }
            });
        }
        for field in &self.unknown_fields {
            extra.add_value(&self.schema.fields()[*field], &values[*field]);
        }
        for (name, value) in &fields {
            extra.add_value(name, value);
        }
        Ok(Coerced { row: Row::new(&self.table, columns, row_extra.or_else(|| extra.finish())), set_aside })
    }

    /// Keeps a record that cannot be stored.
    pub fn dead_letter(&self, record: &Record, reason: String) -> DeadLetter {
        let parts = self.table.key_columns().iter().zip(&self.field_of_column);
        let shown = parts.map(|(column, field)| format!("{}={}", column.name, key_value(record, column, *field)));
        DeadLetter {
            key: shown.collect::<Vec<_>>().join(", "),
            reason,
            record: Json::from_text(aside::record_to_json(record)),
        }
    }
}

/// What a key column is made of: a field of the schema, or one of this record alone.
fn key_value<'r>(record: &'r Record, column: &ColumnSpec, field: Option<usize>) -> &'r Value {
    let named = || record.extra.iter().find(|(name, _)| *name == column.name.as_str()).map(|(_, value)| value);
    field.map(|field| &record.values()[field]).or_else(named).unwrap_or(&Value::Null)
}

fn take_values(record: &mut Record) -> Vec<Value> {
    let schema = Arc::clone(record.schema());
    std::mem::replace(record, Record::new(schema, Vec::new())).into_values()
}

fn take_named(fields: &mut Vec<(String, Value)>, name: &str) -> Value {
    match fields.iter().position(|(field, _)| field == name) {
        Some(position) => fields.remove(position).1,
        None => Value::Null,
    }
}

/// The `extra` object while it is made. Names that occur twice are numbered:
/// an object with duplicate keys would lose one.
#[derive(Default)]
struct Extra {
    object: ObjectWriter,
    names: Vec<String>,
}

impl Extra {
    fn add_value(&mut self, name: &str, value: &Value) {
        if !value.is_null() {
            self.add(name, &aside::to_json(value));
        }
    }

    fn add(&mut self, name: &str, json: &str) {
        let name = name.replace('\0', "\u{fffd}");
        let mut unique = name.clone();
        let mut count = 1;
        while self.names.contains(&unique) {
            count += 1;
            unique = format!("{name}#{count}");
        }
        self.object.member(&unique, json);
        self.names.push(unique);
    }

    fn finish(self) -> Option<Json> {
        (!self.object.is_empty()).then(|| Json::from_text(self.object.finish()))
    }
}

/// A value that does not fit.
struct Misfit {
    value: Value,
    reason: Cow<'static, str>,
    unexpected: bool,
}

enum Fit {
    /// Of the column's type, or null.
    Value(Value),
    /// Plain text, stored as a JSON string.
    Plain(Value),
    Aside(Misfit),
}

fn misfit(value: Value, reason: impl Into<Cow<'static, str>>) -> Fit {
    Fit::Aside(Misfit { value, reason: reason.into(), unexpected: true })
}

fn coerce(kind: ColumnType, value: Value) -> Fit {
    if value.is_null() {
        return Fit::Value(Value::Null);
    }
    match kind {
        ColumnType::Json => to_json(value),
        ColumnType::Vector(dimensions) => to_vector(dimensions, value),
        ColumnType::Bytes => match value {
            Value::Bytes(_) => Fit::Value(value),
            other => wrong_type(other, "bytes"),
        },
        _ => match value {
            Value::Json(json) => from_json_scalar(kind, json),
            other => scalar(kind, other),
        },
    }
}

fn wrong_type(value: Value, wanted: &str) -> Fit {
    let reason = format!("{} {value} is not {wanted}", value.type_name());
    misfit(value, reason)
}

fn scalar(kind: ColumnType, value: Value) -> Fit {
    match kind {
        ColumnType::Text => to_text(value),
        ColumnType::Bool => match to_bool(&value) {
            Some(fitting) => Fit::Value(Value::Bool(fitting)),
            None => wrong_type(value, "true or false"),
        },
        ColumnType::Int => match to_int(&value) {
            Some(fitting) => Fit::Value(Value::Int(fitting)),
            None => wrong_type(value, "a 64-bit integer"),
        },
        ColumnType::Float => match to_float(&value) {
            Some(fitting) => Fit::Value(Value::Float(fitting)),
            None => wrong_type(value, "a double"),
        },
        ColumnType::Timestamp => match to_timestamp(&value) {
            Some(fitting) => Fit::Value(Value::Timestamp(fitting)),
            None => wrong_type(value, "a moment (seconds, ms or µs since 1970, ISO 8601, or YYYY-MM-DD HH:MM:SS)"),
        },
        ColumnType::Bytes | ColumnType::Json | ColumnType::Vector(_) => wrong_type(value, "of the column's type"),
    }
}

fn to_text(value: Value) -> Fit {
    match value {
        Value::Text(text) if text.contains('\0') => {
            misfit(Value::Text(text), "the text holds U+0000, which no PostgreSQL column can")
        }
        Value::Text(_) => Fit::Value(value),
        Value::RawText(_) => misfit(value, "the text is not UTF-8"),
        Value::Int(number) => Fit::Value(Value::Text(number.to_string())),
        Value::Bool(value) => Fit::Value(Value::Text(value.to_string())),
        Value::Timestamp(moment) => Fit::Value(Value::Text(moment.to_string())),
        Value::Float(number) if number.is_finite() => {
            Fit::Value(Value::Text(serde_json::Value::from(number).to_string()))
        }
        other => wrong_type(other, "text"),
    }
}

fn to_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Int(0) => Some(false),
        Value::Int(1) => Some(true),
        Value::Text(text) => match text.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn to_int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Bool(value) => Some(i64::from(*value)),
        Value::Float(number) => exact_int(*number),
        // Only the very spelling that the number gives back.
        Value::Text(text) => text.parse::<i64>().ok().filter(|number| number.to_string() == *text),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked, and the comparison proves exactness")]
fn exact_int(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    (number.abs() <= LIMIT && number.fract() == 0.0 && !(number == 0.0 && number.is_sign_negative()))
        .then_some(number as i64)
}

fn to_float(value: &Value) -> Option<f64> {
    match value {
        // NaN has no place in SQLite, where it turns into null.
        Value::Float(number) => (!number.is_nan()).then_some(*number),
        Value::Int(number) => {
            let double = *number as f64;
            (exact_int(double) == Some(*number)).then_some(double)
        }
        Value::Text(text) => text.parse::<f64>().ok().filter(|number| {
            let spelled = serde_json::Value::from(*number).to_string();
            number.is_finite() && spelled == *text
        }),
        _ => None,
    }
}

fn to_timestamp(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(moment) => Some(*moment),
        Value::Int(number) => Timestamp::from_magnitude(*number),
        Value::Float(number) => Timestamp::from_fractional(*number),
        Value::Text(text) => Timestamp::parse(text),
        _ => None,
    }
}

fn to_json(value: Value) -> Fit {
    match value {
        Value::Json(json) => match examine(json.as_str(), &mut Vec::new()) {
            Examined::Storable => Fit::Value(Value::Json(json)),
            Examined::Unstorable(problem) => {
                let reason = format!("{problem}, which jsonb would not keep");
                misfit(Value::Json(json), reason)
            }
            Examined::Invalid(error) => {
                let reason = format!("not JSON: {error}");
                misfit(Value::Json(json), reason)
            }
        },
        Value::Text(text) => text_to_json(text),
        Value::RawText(_) => misfit(value, "the text is not UTF-8"),
        Value::Bytes(_) | Value::Vector(_) => wrong_type(value, "JSON"),
        // jsonb would drop the sign of zero.
        Value::Float(number) if !aside::is_plain_number(number) => wrong_type(value, "a JSON number"),
        scalar => Fit::Value(Value::Json(Json::from_text(aside::to_json(&scalar)))),
    }
}

fn text_to_json(text: String) -> Fit {
    match examine(&text, &mut Vec::new()) {
        Examined::Storable => Fit::Value(Value::Json(Json::from_text(text))),
        Examined::Unstorable(problem) => {
            let reason = format!("{problem}, which jsonb would not keep");
            misfit(Value::Text(text), reason)
        }
        Examined::Invalid(_) if text.contains('\0') => {
            misfit(Value::Text(text), "the text holds U+0000, which no PostgreSQL column can")
        }
        Examined::Invalid(_) => Fit::Plain(Value::Json(Json::from_text(quote(&text)))),
    }
}

/// Natively JSON values in columns that are not JSON.
fn from_json_scalar(kind: ColumnType, json: Json) -> Fit {
    let text = json.as_str().trim();
    match text.as_bytes().first() {
        Some(b'n') if text == "null" => Fit::Value(Value::Null),
        Some(b't' | b'f') if matches!(text, "true" | "false") => refit(kind, Value::Bool(text == "true"), json),
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(decoded) => refit(kind, Value::Text(decoded), json),
            Err(error) => misfit(Value::Json(json), error.to_string()),
        },
        Some(b'{' | b'[') if kind == ColumnType::Text => match examine(text, &mut Vec::new()) {
            Examined::Storable => Fit::Value(Value::Text(json.into_string())),
            Examined::Unstorable(problem) => misfit(Value::Json(json), problem.to_string()),
            Examined::Invalid(error) => misfit(Value::Json(json), error.to_string()),
        },
        Some(b'{' | b'[') => wrong_type(Value::Json(json), "a single value"),
        _ if kind == ColumnType::Text => refit(kind, Value::Text(text.to_owned()), json),
        _ => match json_number(text) {
            Some(number) => refit(kind, number, json),
            None => wrong_type(Value::Json(json), "a number that can be kept exactly"),
        },
    }
}

/// Coerces a decoded scalar; what does not fit is kept as the JSON it was.
fn refit(kind: ColumnType, decoded: Value, original: Json) -> Fit {
    match scalar(kind, decoded) {
        Fit::Aside(misfit) => Fit::Aside(Misfit { value: Value::Json(original), ..misfit }),
        fit => fit,
    }
}

/// A JSON number as integer or double, if that is what it says exactly.
fn json_number(literal: &str) -> Option<Value> {
    if let Ok(number) = literal.parse::<i64>() {
        return Some(Value::Int(number));
    }
    let number = literal.parse::<f64>().ok().filter(|number| number.is_finite())?;
    let (mut given, mut kept) = (Vec::new(), Vec::new());
    examine(literal, &mut given);
    examine(&serde_json::Value::from(number).to_string(), &mut kept);
    (given == kept).then_some(Value::Float(number))
}

fn to_vector(dimensions: u16, value: Value) -> Fit {
    let numbers = match vector::read(&value) {
        Ok(numbers) => numbers,
        Err(reason) => return misfit(value, reason),
    };
    if numbers.len() == usize::from(dimensions) {
        return Fit::Value(Value::Vector(numbers));
    }
    let reason = format!("a vector of {} dimensions, the column has {dimensions}", numbers.len());
    // What arrived as text or JSON keeps its spelling.
    let value = match value {
        Value::Bytes(_) | Value::Vector(_) => Value::Vector(numbers),
        other => other,
    };
    Fit::Aside(Misfit { value, reason: reason.into(), unexpected: false })
}
