//! Records that say the same under different keys.

use crate::{ColumnType, Role, Row, TableSpec, Value};

/// What a record is about: domain, type and text, whatever its key. `None` for tables that
/// have no text, and for rows without any.
///
/// Text counts without case, punctuation and white space at its ends and runs of either.
pub fn identity(table: &TableSpec, row: &Row) -> Option<String> {
    let text = table.columns().iter().zip(&row.values);
    let text = text.filter(|(column, _)| column.role == Role::SearchText && column.kind == ColumnType::Text);
    let text: Vec<String> = text.filter_map(|(_, value)| value.as_text()).map(normalised).collect();
    if text.iter().all(String::is_empty) {
        return None;
    }
    let named = |names: &[&str]| {
        let value = names.iter().filter_map(|name| table.position(name)).map(|position| &row.values[position]);
        value.filter_map(Value::as_text).map(normalised).find(|value| !value.is_empty()).unwrap_or_default()
    };
    let parts = [named(&["qe_domain", "domain"]), named(&["pattern_type", "type"]), text.join("\u{1f}")];
    Some(parts.join("\u{1e}"))
}

fn normalised(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
