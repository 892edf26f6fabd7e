//! The text that stands for a row.

use std::fmt;

use serde_json::Value as Tree;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Row, TableSpec, Value};

/// So many bytes of a row's text are looked at: several times what models read.
const LONGEST: usize = 8_000;

/// Which text a vector was computed from: a 128-bit xxh3 of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextHash(pub u128);

impl TextHash {
    /// The hash of a text.
    pub fn of(text: &str) -> Self {
        Self(xxh3_128(text.as_bytes()))
    }
}

impl fmt::Display for TextHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text of a row: its table's [text columns](TableSpec::text_columns), one a line, at most
/// 8,000 bytes. Of JSON the texts within count, not its names and numbers, unless it has no texts.
/// `None` where there is nothing to read.
///
/// ```
/// use aqe_sync_core::{ColumnType, Row, TableSpec, Value, embed};
///
/// let table = TableSpec::builder("notes")
///     .key("id", ColumnType::Text)
///     .column("title", ColumnType::Text)
///     .column("body", ColumnType::Json)
///     .text(&["title", "body"])
///     .build()?;
/// let body = Value::Json(aqe_sync_core::Json::from_text(r#"{"say": ["retry", "later"], "n": 3}"#.to_owned()));
/// let row = Row::new(&table, vec![Value::from("1"), Value::from("Flaky"), body], None);
/// assert_eq!(embed::text_of(&table, &row).as_deref(), Some("Flaky\nretry later"));
/// # Ok::<(), aqe_sync_core::Error>(())
/// ```
pub fn text_of(table: &TableSpec, row: &Row) -> Option<String> {
    let mut text = String::new();
    for position in table.text_columns() {
        let part = match row.values.get(*position) {
            Some(Value::Text(part)) => said(part),
            Some(Value::Json(json)) => said(json.as_str()),
            Some(Value::Int(number)) => number.to_string(),
            _ => continue,
        };
        let part = part.trim();
        // The same word in two columns says no more than in one.
        if part.is_empty() || text.lines().any(|line| line == part) {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(part);
        if text.len() > LONGEST {
            text.truncate(boundary(&text, LONGEST));
            break;
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What a text says: the texts within where it is JSON, else itself.
fn said(text: &str) -> String {
    let trimmed = text.trim_start();
    if !trimmed.starts_with(['{', '[', '"']) && trimmed != "null" {
        return beginning(text).to_owned();
    }
    match serde_json::from_str::<Tree>(text) {
        Ok(tree) => {
            let mut found = String::new();
            collect(&tree, 0, &mut found);
            if found.is_empty() && !empty(&tree) { beginning(&tree.to_string()).to_owned() } else { found }
        }
        Err(_) => beginning(text).to_owned(),
    }
}

fn empty(tree: &Tree) -> bool {
    match tree {
        Tree::Null => true,
        Tree::String(text) => text.trim().is_empty(),
        Tree::Array(items) => items.iter().all(empty),
        Tree::Object(members) => members.values().all(empty),
        Tree::Bool(_) | Tree::Number(_) => false,
    }
}

fn collect(tree: &Tree, depth: usize, found: &mut String) {
    if found.len() > LONGEST {
        return;
    }
    match tree {
        Tree::String(text) => {
            // JSON within JSON, as tools write it that keep values as text.
            let nested = if depth < 4 && text.trim_start().starts_with(['{', '[']) {
                serde_json::from_str::<Tree>(text).ok()
            } else {
                None
            };
            if let Some(nested) = nested {
                return collect(&nested, depth + 1, found);
            }
            let text = text.trim();
            if !text.is_empty() {
                if !found.is_empty() {
                    found.push(' ');
                }
                found.push_str(beginning(text));
            }
        }
        Tree::Array(items) => items.iter().for_each(|item| collect(item, depth, found)),
        Tree::Object(members) => members.values().for_each(|member| collect(member, depth, found)),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) => {}
    }
}

fn beginning(text: &str) -> &str {
    if text.len() <= LONGEST { text } else { &text[..boundary(text, LONGEST)] }
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ColumnType, Json, tables};

    fn text(table: &str, values: &[(&str, Value)]) -> Option<String> {
        let table = tables::find(table).expect("it is in the catalogue");
        let mut row = vec![Value::Null; table.columns().len()];
        for (name, value) in values {
            row[table.position(name).expect("a column")] = value.clone();
        }
        text_of(table, &Row::new(table, row, None))
    }

    fn json(text: &str) -> Value {
        Value::Json(Json::from_text(text.to_owned()))
    }

    #[test]
    fn a_pattern_is_its_name_description_and_template() {
        let values = [
            ("id", Value::from("p1")),
            ("name", Value::from("Retry")),
            ("description", Value::from("Try again")),
            ("template_json", json(r#"{"steps":["wait","call"],"max":5}"#)),
            ("confidence", Value::Float(0.9)),
        ];
        assert_eq!(text("qe_patterns", &values).as_deref(), Some("Retry\nTry again\nwait call"));
        let values = [("id", Value::from("p")), ("pattern", Value::from("x")), ("template", json("\"y\""))];
        assert_eq!(text("patterns", &values).as_deref(), Some("x\ny"));
    }

    #[test]
    fn a_memory_is_its_key_and_the_texts_of_its_value() {
        let memory = |value| {
            let values = [("scope", Value::from("s")), ("key", Value::from("auth/jwt")), ("value", value)];
            text("memory_entries", &values)
        };
        assert_eq!(memory(json(r#""plain""#)).as_deref(), Some("auth/jwt\nplain"));
        let nested = json(r#""{\"rule\":\"rotate tokens\",\"n\":1}""#);
        assert_eq!(memory(nested).as_deref(), Some("auth/jwt\nrotate tokens"));
        assert_eq!(memory(json(r#"{"retries":3}"#)).as_deref(), Some("auth/jwt\n{\"retries\":3}"));
        assert_eq!(memory(json("null")).as_deref(), Some("auth/jwt"));
        assert_eq!(memory(json("[\"\", {}]")).as_deref(), Some("auth/jwt"));
    }

    #[test]
    fn a_plan_is_its_goal() {
        let values =
            [("id", Value::from("1")), ("goal_id", Value::from("coverage")), ("goal_state", json("{\"cov\":80}"))];
        assert_eq!(text("goap_plans", &values).as_deref(), Some("coverage\n{\"cov\":80}"));
        assert_eq!(text("goap_plans", &[("id", Value::from("1"))]), None);
    }

    #[test]
    fn every_text_column_is_one_that_holds_text() {
        let with_text = tables::all().iter().filter(|table| !table.text_columns().is_empty());
        let mut names = Vec::new();
        for table in with_text {
            names.push(table.name().as_str());
            for position in table.text_columns() {
                let column = &table.columns()[*position];
                assert!(matches!(column.kind, ColumnType::Text | ColumnType::Json), "{} {}", table.name(), column.name);
            }
        }
        assert_eq!(
            names,
            [
                "memory_entries",
                "learning_experiences",
                "intelligence_memories",
                "routing_outcomes",
                "qe_trajectories",
                "dream_insights",
                "goap_actions",
                "goap_plans",
                "patterns",
                "qe_patterns",
                "claude_flow_memory",
            ]
        );
    }

    #[test]
    fn a_long_text_is_cut_between_letters_and_a_repeated_one_said_once() {
        let long = "ä".repeat(10_000);
        let values =
            [("id", Value::from("1")), ("name", Value::from(long.as_str())), ("description", Value::from("b"))];
        let found = text("goap_actions", &values).expect("text");
        assert_eq!((found.len(), found.chars().all(|letter| letter == 'ä')), (8_000, true));
        let values = [("id", Value::from("1")), ("name", Value::from(" b ")), ("description", Value::from("b"))];
        assert_eq!(text("goap_actions", &values).as_deref(), Some("b"));
    }
}
