//! Values to columns: every type of one to every type of the other.

use std::sync::Arc;

use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::hash::LocalHasher;
use aqe_sync_core::{ColumnType, Json, PackedRecords, Record, Schema, TableSpec, Timestamp, Value, aside};
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};
use arbitrary::{Arbitrary, Unstructured};
use serde::de::IgnoredAny;

use crate::files::{assert_row_is_sound, assert_storable};
use crate::real_values::{Cell, rows};

const KINDS: [ColumnType; 9] = [
    ColumnType::Text,
    ColumnType::Int,
    ColumnType::Float,
    ColumnType::Bool,
    ColumnType::Bytes,
    ColumnType::Json,
    ColumnType::Timestamp,
    ColumnType::Vector(2),
    ColumnType::Vector(384),
];

/// A field of a record: its value, and the column that it meets; none for a field of its own.
struct Field {
    kind: Option<ColumnType>,
    value: Value,
}

impl<'a> Arbitrary<'a> for Field {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (kind, form) = (u.arbitrary::<u8>()?, u.arbitrary::<u8>()?);
        let cell = Cell::arbitrary(u)?;
        let value = match (form % 4, cell) {
            (_, Cell::Null) => Value::Null,
            (1, Cell::Int(number)) => Timestamp::from_micros(number).map_or(Value::Null, Value::Timestamp),
            (2, Cell::Int(number)) => Value::Bool(number & 1 == 1),
            (_, Cell::Int(number)) => Value::Int(number),
            (_, Cell::Real(number)) => Value::Float(number),
            (form, Cell::Text(bytes)) => match String::from_utf8(bytes) {
                Ok(text) if form == 1 && is_json(&text) => Value::Json(Json::from_text(text)),
                Ok(text) => Value::Text(text),
                Err(error) => Value::RawText(error.into_bytes()),
            },
            (1, Cell::Blob(bytes)) => aside::vector_from_bytes(&bytes).map_or(Value::Null, Value::Vector),
            (_, Cell::Blob(bytes)) => Value::Bytes(bytes),
        };
        Ok(Self { kind: KINDS.get(usize::from(kind) % (KINDS.len() + 1)).copied(), value })
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn corpus() -> Corpus {
    let mut corpus = Corpus::new().with_past_failures("values");
    for (number, row) in rows().iter().enumerate() {
        let mut bytes = vec![1];
        for (position, cell) in row.iter().enumerate() {
            // Every type of column meets every column of a table in one row or another.
            bytes.push(u8::try_from((position + number) % (KINDS.len() + 1)).unwrap_or_default());
            bytes.push(u8::try_from(number % 4).unwrap_or_default());
            cell.encode(&mut bytes);
        }
        corpus = corpus.with_any(format!("row {number}"), bytes);
    }
    corpus.words([
        "null",
        "true",
        "\"",
        "{\"$aqe\":\"bytes\"}",
        "{\"a\":1,\"a\":2}",
        "[1e400]",
        "\\u0000",
        "\\ud800",
        "[0.1,-0]",
        "2026-01-01 00:00:00",
        "1e5",
        "-0",
        "\0",
        "NaN",
    ])
}

#[test]
fn values() {
    Target::new("values", corpus()).at_least(2_000).share_past(20).run(convert);
}

fn convert(bytes: &[u8]) -> Reached {
    let mut u = Unstructured::new(bytes);
    let int_key = u.arbitrary::<u8>().unwrap_or(1).is_multiple_of(8);
    let fields: Vec<Field> = std::iter::from_fn(|| Field::arbitrary(&mut u).ok()).take(48).collect();
    let Some((key, fields)) = fields.split_first() else { return Reached::Refused };
    let mut table = TableSpec::builder("t").key("id", if int_key { ColumnType::Int } else { ColumnType::Text });
    for (number, field) in fields.iter().enumerate() {
        if let Some(kind) = field.kind {
            table = table.column(&format!("c{number}"), kind);
        }
    }
    let table = table.build().expect("a table");
    let names = (0..fields.len()).map(|number| format!("c{number}"));
    let schema = Schema::new(std::iter::once("id".to_owned()).chain(names));
    let values = std::iter::once(key).chain(fields).map(|field| field.value.clone());
    let record = Record::new(Arc::clone(&schema), values.collect());
    packing_changes_nothing(&table, &record);

    let coercer = Coercer::new(Arc::clone(&table), schema);
    let row = match coercer.row(record.clone()) {
        Ok(made) => made.row,
        Err(letter) => {
            assert_storable(&letter.record);
            assert!(!letter.reason.is_empty() && coercer.key(&record).is_err());
            return Reached::Refused;
        }
    };
    let row = &row;
    assert_eq!(coercer.row(record.clone()).expect("as before").row, *row, "the same record makes the same row");
    assert_eq!(row.values.len(), table.columns().len());
    assert_row_is_sound(&table, row);
    let extra: serde_json::Map<_, _> =
        row.extra.as_ref().map(|json| serde_json::from_str(json.as_str()).unwrap_or_default()).unwrap_or_default();
    let readable = row.extra.is_none() || !extra.is_empty();
    for (column, value) in table.columns().iter().zip(&row.values) {
        assert!(is_of(column.kind, value), "{} in a column of {:?}", value.type_name(), column.kind);
        let given = record.get(column.name.as_str());
        let null = given.is_null() || matches!(given, Value::Json(json) if json.as_str().trim() == "null");
        if value.is_null() && readable {
            assert!(null || extra.contains_key(column.name.as_str()), "{given} is lost in {column:?}");
        }
        if !value.is_null() {
            assert_exact(given, value);
        }
    }
    for (number, field) in fields.iter().enumerate().filter(|(_, field)| field.kind.is_none()) {
        let kept = !readable || field.value.is_null() || extra.contains_key(&format!("c{number}"));
        assert!(kept, "a field without a column is lost: {}", field.value);
    }
    converting_again_changes_nothing(&table, &row.values);
    Reached::Past
}

fn packing_changes_nothing(table: &TableSpec, record: &Record) {
    let mut packed = PackedRecords::new(Arc::clone(record.schema()));
    record.values().iter().for_each(|value| packed.push(value));
    packed.end_record();
    let mut hasher = LocalHasher::new(table, record.schema().fields());
    assert_eq!(hasher.hash(&packed.record(0)), hasher.hash(record));
}

/// What a column holds is of its type: it fits again, and means the same.
fn converting_again_changes_nothing(table: &Arc<TableSpec>, values: &[Value]) {
    let schema = Schema::new(table.columns().iter().map(|column| column.name.as_str()));
    let coercer = Coercer::new(Arc::clone(table), Arc::clone(&schema));
    let again = coercer.row(Record::new(schema, values.to_vec())).expect("its key fits");
    assert_eq!(again.row.values, values);
    assert!(again.set_aside.is_empty() && again.row.extra.is_none(), "{:?}", again.set_aside);
}

fn is_of(kind: ColumnType, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Null)
        | (ColumnType::Bool, Value::Bool(_))
        | (ColumnType::Int, Value::Int(_))
        | (ColumnType::Bytes, Value::Bytes(_))
        | (ColumnType::Timestamp, Value::Timestamp(_)) => true,
        (ColumnType::Float, Value::Float(number)) => !number.is_nan(),
        (ColumnType::Text, Value::Text(text)) => !text.contains('\0'),
        (ColumnType::Json, Value::Json(json)) => {
            assert_storable(json);
            true
        }
        (ColumnType::Vector(dimensions), Value::Vector(numbers)) => {
            numbers.len() == usize::from(dimensions) && numbers.iter().all(|number| number.is_finite())
        }
        _ => false,
    }
}

/// Conversions between plain types lose nothing: they can be undone.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the other way round, to compare")]
fn assert_exact(given: &Value, kept: &Value) {
    let exact = match (given, kept) {
        (Value::Text(text), Value::Int(number)) => number.to_string() == *text,
        (Value::Text(text), Value::Text(kept)) => text == kept,
        (Value::Float(number), Value::Int(kept)) => (*kept as f64).to_bits() == number.to_bits(),
        (Value::Int(number), Value::Float(kept)) => *kept as i64 == *number && *number != i64::MAX,
        (Value::Float(number), Value::Float(kept)) => number.to_bits() == kept.to_bits(),
        (Value::Text(text), Value::Float(kept)) => text.parse::<f64>().is_ok_and(|n| n.to_bits() == kept.to_bits()),
        (Value::Float(number), Value::Text(kept)) => kept.parse::<f64>().is_ok_and(|n| n.to_bits() == number.to_bits()),
        (Value::Bytes(bytes), Value::Bytes(kept)) => bytes == kept,
        (Value::Bytes(bytes), Value::Vector(kept)) => aside::vector_to_bytes(kept) == *bytes,
        _ => true,
    };
    assert!(exact, "{} {given} became {} {kept}", given.type_name(), kept.type_name());
}
