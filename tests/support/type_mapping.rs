//! The rules of `docs/TYPE_MAPPING.md`, which tests walk so that document and code cannot drift
//! apart.
//!
//! The core, which depends on nobody, includes this file instead of depending on this package.

use aqe_sync_core::{ColumnType, Json, Timestamp, Value};

const DOCUMENT: &str = include_str!("../../docs/TYPE_MAPPING.md");

/// The rules for one type of column.
#[derive(Debug)]
pub struct Section {
    /// The column's type as the document spells it.
    pub name: &'static str,
    /// The column's type; `None` for fields that have no column.
    pub column: Option<ColumnType>,
    /// The rules, in the document's order.
    pub rules: Vec<Rule>,
}

/// What becomes of one value.
#[derive(Debug)]
pub struct Rule {
    /// The rule as it is written.
    pub row: &'static str,
    /// What the source holds.
    pub source: Value,
    /// What the column holds then.
    pub column: Value,
    /// What `extra` keeps, as JSON.
    pub extra: Option<&'static str>,
}

/// Reads all of them.
pub fn sections() -> Vec<Section> {
    let (_, rules) = DOCUMENT.split_once("<!-- rules -->").expect("the rules begin");
    let (rules, _) = rules.split_once("<!-- /rules -->").expect("the rules end");
    let sections: Vec<Section> = rules.split("\n### ").skip(1).map(section).collect();
    let found: usize = sections.iter().map(|section| section.rules.len()).sum();
    assert!(found >= 130, "only {found} rules were found: has the document's form changed?");
    sections
}

fn section(text: &'static str) -> Section {
    let (heading, body) = text.split_once('\n').expect("a body");
    let name = heading.trim_matches('`');
    let rules = body.lines().filter(|line| line.starts_with("| `")).map(rule).collect();
    Section { name, column: column(name), rules }
}

fn column(name: &str) -> Option<ColumnType> {
    Some(match name {
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

/// `| `a` | `b` | – |` as its cells; backticks may hold bars.
fn rule(row: &'static str) -> Rule {
    let cells = row.trim().trim_start_matches('|').trim_end_matches('|').split(" | ");
    let cells: Vec<&str> = cells.map(|cell| cell.trim().trim_matches('`')).collect();
    let [source, column, extra] = cells[..] else { panic!("three cells: {row}") };
    Rule { row, source: value(source), column: value(column), extra: Some(extra).filter(|extra| *extra != "–") }
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

fn hexadecimal(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("two digits")).collect()
}
