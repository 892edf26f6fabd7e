//! Values and names that implementations get wrong.

use std::sync::Arc;

use crate::coerce::Coercer;
use crate::{ColumnType, Json, Record, Result, Role, Row, Schema, TableSpec, Timestamp, Value};

/// A table with a column of every type and a key of both types.
///
/// # Errors
/// Only when `name` is not usable.
pub fn table_of_everything(name: &str) -> Result<Arc<TableSpec>> {
    TableSpec::builder(name)
        .key("id", ColumnType::Text)
        .key("n", ColumnType::Int)
        .column("b", ColumnType::Bool)
        .column("i", ColumnType::Int)
        .column("f", ColumnType::Float)
        .column("t", ColumnType::Text)
        .column("y", ColumnType::Bytes)
        .column("j", ColumnType::Json)
        .column("m", ColumnType::Timestamp)
        .column("v", ColumnType::Vector(3))
        .build()
}

/// A table with a column of every role that policies look at.
///
/// # Errors
/// Never.
pub fn table_of_roles() -> Result<Arc<TableSpec>> {
    TableSpec::builder("testkit_roles")
        .key("id", ColumnType::Text)
        .column("body", ColumnType::Text)
        .column("confidence", ColumnType::Float)
        .role(Role::Confidence)
        .counters(&["uses"])
        .rate("score", "uses")
        .column("created_at", ColumnType::Timestamp)
        .role(Role::CreatedAt)
        .column("updated_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .column("details", ColumnType::Json)
        .build()
}

fn texts() -> Vec<String> {
    let short = [
        "",
        " ",
        "'; DROP TABLE x; --",
        "\"",
        "\\",
        "\\N",
        "a\tb\r\nc",
        "\u{ffff}\u{feff}",
        "$1 {,} NULL",
        "null",
        "a\0b",
        "\0",
        // One text to a person, two to a machine.
        "é",
        "e\u{301}",
        "\u{10ffff}🦀",
        "%s %n",
    ];
    let long = "a\u{301}🦀".repeat(30_000);
    short.map(str::to_owned).into_iter().chain([long]).collect()
}

fn documents() -> [&'static str; 12] {
    [
        "{}",
        "null",
        "\"\"",
        "-0",
        "-0.0",
        "1e300",
        "9007199254740993",
        "123456789012345678901234567890.000000000000000000001",
        r#"{"b":[1.0,1e2],"a":{"\\u0000":"\\u0000 \u0001 \ud83e\udd80"}}"#,
        // What JSONB would not keep: it goes to `extra`, as its text.
        r#"{"a":1,"a":2}"#,
        r#""\u0000""#,
        "[[[[]]]]",
    ]
}

/// Every value that is known to make trouble, of every type: signs of zero, NaN with
/// its payload, the ends of every range, U+0000, text that is not UTF-8, quotes in all
/// their forms, JSON that a database would tidy up.
pub fn hostile_values() -> Vec<Value> {
    let floats = [
        -0.0,
        0.0,
        f64::NAN,
        -f64::NAN,
        f64::from_bits(0x7ff8_0000_0000_0123),
        f64::INFINITY,
        f64::NEG_INFINITY,
        5e-324,
        f64::MAX,
        f64::MIN,
        0.1 + 0.2,
        9_007_199_254_740_993.0,
    ];
    let ints = [i64::MIN, i64::MAX, -1, 0, 1, (1 << 53) + 1, -(1 << 53) - 1, i64::from(i32::MAX) + 1];
    let moments =
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z", "2000-01-01T00:00:00Z"];
    let bytes = [vec![], vec![0], vec![0, 255, b'\\', b'\''], vec![7; 70_000]];
    let vectors = [[1.0, -2.5, 1e-30], [f32::MAX, f32::MIN_POSITIVE, 0.1], [0.0, 0.0, 0.0]];
    let mut values = vec![Value::Null, Value::Bool(true), Value::Bool(false)];
    values.extend(ints.map(Value::Int));
    values.extend(floats.map(Value::Float));
    values.extend(texts().into_iter().map(Value::Text));
    values.extend([vec![0xff, 0xfe], b"a\xc3".to_vec()].map(Value::RawText));
    values.extend(bytes.map(Value::Bytes));
    values.extend(documents().map(|text| Value::Json(Json::from_text(text))));
    values.extend(moments.iter().filter_map(|text| Timestamp::parse(text)).map(Value::Timestamp));
    values.extend(vectors.map(|numbers| Value::Vector(numbers.to_vec())));
    values
}

/// Text keys of which no two are the same, though some tools take them to be.
pub fn hostile_keys() -> Vec<String> {
    let keys = [
        "", " ", "  ", "a", "A", "a ", "'", "\"", "\\", "$1", "a;b", "ключ", "\n", "\r\n", "\u{1f}", "null", "NULL",
        "é", "e\u{301}", "0", "00", "-0", "1e3", "%", "_", "🦀",
    ];
    keys.map(str::to_owned).into_iter().chain(["k".repeat(300)]).collect()
}

/// Records for [`table_of_everything`]: every hostile value in every column, and every
/// hostile key. A value that its column cannot hold ends up in `extra`, as the engine does it.
pub fn hostile_records() -> Vec<Record> {
    let columns = ["b", "i", "f", "t", "y", "j", "m", "v"];
    let schema = Schema::new(["id", "n"].into_iter().chain(columns));
    let mut records = Vec::new();
    for (number, value) in hostile_values().into_iter().enumerate() {
        for (position, column) in columns.iter().enumerate() {
            let mut values = vec![Value::Null; columns.len() + 2];
            values[0] = Value::Text(format!("value {number} in {column}"));
            values[1] = Value::Int(i64::MIN);
            values[position + 2] = value.clone();
            records.push(Record::new(Arc::clone(&schema), values));
        }
    }
    for key in hostile_keys() {
        for number in [i64::MIN, -1, 0, i64::MAX] {
            records.push(Record::new(Arc::clone(&schema), vec![Value::Text(key.clone()), Value::Int(number)]));
        }
    }
    let odd = vec![("a\0b".to_owned(), Value::Float(f64::NAN)), ("$aqe".to_owned(), Value::from("é"))];
    let one = vec![Value::from("more fields"), Value::Int(0)];
    records.push(Record::new(schema, one).with_extra(odd));
    records
}

/// Converts records as the engine does, before a sink gets them.
pub(super) fn rows(table: &Arc<TableSpec>, records: Vec<Record>) -> Vec<Row> {
    let Some(first) = records.first() else { return Vec::new() };
    let coercer = Coercer::new(Arc::clone(table), Arc::clone(first.schema()));
    records.into_iter().filter_map(|record| coercer.row(record).ok()).map(|coerced| coerced.row).collect()
}
