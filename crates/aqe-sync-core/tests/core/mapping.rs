//! Walks the rules of `docs/TYPE_MAPPING.md`: document and code cannot drift apart.

use std::sync::Arc;

use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::{ColumnType, Json, Record, Schema, Timestamp, Value};

use crate::conversions::{convert, table_of};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TYPE_MAPPING.md");

fn kind(heading: &str) -> Option<ColumnType> {
    Some(match heading.trim_matches('`') {
        "bool" => ColumnType::Bool,
        "int" => ColumnType::Int,
        "float" => ColumnType::Float,
        "text" => ColumnType::Text,
        "bytes" => ColumnType::Bytes,
        "json" => ColumnType::Json,
        "timestamp" => ColumnType::Timestamp,
        "vector" => ColumnType::Vector(2),
        "fields without a column" => return None,
        other => panic!("no column type {other}"),
    })
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("two digits")).collect()
}

fn value(cell: &str) -> Value {
    let (kind, rest) = cell.split_once(' ').unwrap_or((cell, ""));
    match kind {
        "null" => Value::Null,
        "bool" => Value::Bool(rest == "true"),
        "int" => Value::Int(rest.parse().expect("an integer")),
        "float" => Value::Float(rest.parse().expect("a double")),
        "text" if rest.starts_with('"') => Value::Text(serde_json::from_str(rest).expect("a JSON string")),
        "text" => Value::Text(rest.to_owned()),
        "raw" => Value::RawText(hexadecimal(rest)),
        "bytes" => Value::Bytes(hexadecimal(rest)),
        "json" => Value::Json(Json::from_text(rest)),
        "timestamp" => Value::Timestamp(Timestamp::parse(rest).expect("a moment")),
        "vector" => Value::Vector(rest.split(' ').map(|number| number.parse().expect("a float")).collect()),
        other => panic!("no type {other}"),
    }
}

/// `| `a` | `b` | – |` as its cells; backticks may hold bars.
fn cells(row: &str) -> Vec<&str> {
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    row.split(" | ").map(|cell| cell.trim().trim_matches('`')).collect()
}

/// What a value without a column becomes: nothing but `extra`.
fn convert_unknown(value: Value) -> (Value, Option<Json>) {
    let schema = Schema::new(["id", "w"]);
    let coercer = Coercer::new(table_of(ColumnType::Int), Arc::clone(&schema));
    let row = coercer.row(Record::new(schema, vec![Value::Int(1), value])).expect("a key").row;
    (Value::Null, row.extra)
}

#[test]
fn every_rule_of_the_document_holds() {
    let document = std::fs::read_to_string(DOCUMENT).expect("the document");
    let (_, rules) = document.split_once("<!-- rules -->").expect("the rules begin");
    let (rules, _) = rules.split_once("<!-- /rules -->").expect("the rules end");
    let mut walked = 0;
    for section in rules.split("\n### ").skip(1) {
        let (heading, body) = section.split_once('\n').expect("a body");
        let rows = body.lines().filter(|line| line.starts_with("| `"));
        for row in rows {
            let [source, column, extra] = cells(row)[..] else { panic!("three cells: {row}") };
            let (held, kept) = match kind(heading) {
                Some(kind) => convert(kind, value(source)),
                None => convert_unknown(value(source)),
            };
            // Debug tells -0.0 from 0.0, and prints NaN.
            assert_eq!(format!("{held:?}"), format!("{:?}", value(column)), "{heading}: {row}");
            let name = if kind(heading).is_some() { "v" } else { "w" };
            let expected = (extra != "–").then(|| format!("{{\"{name}\":{extra}}}"));
            assert_eq!(kept.as_ref().map(Json::as_str), expected.as_deref(), "{heading}: {row}");
            walked += 1;
        }
    }
    assert!(walked >= 130, "only {walked} rules were found: has the document's form changed?");
}
