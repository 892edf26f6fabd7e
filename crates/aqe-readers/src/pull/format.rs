//! How a file spells its values: types and time formats as its tool writes them.

use std::collections::HashMap;

use aqe_sync_core::aside::vector_to_bytes;
use aqe_sync_core::{Quoted, Timestamp, Value};
use rusqlite::Connection;
use rusqlite::types::Value as Raw;

use crate::sqlite::introspect::Column;

/// So many of the newest rows are looked at.
const NEWEST: u32 = 1_000;

/// So many values of a column tell its format.
const SAMPLE: u32 = 100;

/// How a moment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    /// A number of so many per second.
    Number { per_second: i64, real: bool },
    /// `YYYY-MM-DD`, `T` or a space, `HH:MM:SS`, so many digits of fraction, then a zone.
    Text { separator: char, fraction: usize, zone: &'static str },
}

impl Moment {
    /// SQLite's `datetime()`.
    const SQLITE: Self = Self::Text { separator: ' ', fraction: 0, zone: "" };
    /// JavaScript's `toISOString()`.
    const ISO: Self = Self::Text { separator: 'T', fraction: 3, zone: "Z" };
    const MILLIS: Self = Self::Number { per_second: 1_000, real: false };
    const SECONDS: Self = Self::Number { per_second: 1, real: false };

    /// How this value is written, if it is a moment.
    pub(super) fn of(raw: &Raw) -> Option<Self> {
        match raw {
            Raw::Integer(number) => Some(Self::Number { per_second: magnitude(number.unsigned_abs()), real: false }),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only the magnitude counts")]
            Raw::Real(number) => Some(Self::Number { per_second: magnitude(number.abs() as u64), real: true }),
            Raw::Text(text) => Self::of_text(text),
            Raw::Null | Raw::Blob(_) => None,
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        Timestamp::parse(text)?;
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Some(Self::Number { per_second: magnitude(number.unsigned_abs()), real: false });
        }
        let Some(separator) = text.chars().nth(10) else { return Some(Self::SQLITE) };
        let rest = text.get(19..).unwrap_or("");
        let fraction = rest.strip_prefix('.').map_or("", |rest| rest);
        let fraction = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let zone = match text.get(11..).unwrap_or("") {
            clock if clock.ends_with('Z') => "Z",
            clock if clock.ends_with('z') => "z",
            clock if clock.contains(['+', '-']) => "+00:00",
            _ => "",
        };
        Some(Self::Text { separator, fraction: fraction.min(6), zone })
    }

    /// How a column without values is written: as its type and its default say.
    fn of_declaration(column: &Column) -> Self {
        let default = column.default.as_deref().unwrap_or("").to_ascii_lowercase();
        let declared = column.declared.to_ascii_lowercase();
        if default.contains("'%s'") || default.contains("unixepoch") {
            return if default.contains("1000") { Self::MILLIS } else { Self::SECONDS };
        }
        if default.contains('z') && default.contains("strftime") {
            return Self::Text { separator: 'T', fraction: if default.contains("%f") { 3 } else { 0 }, zone: "Z" };
        }
        let by_sqlite = default.contains("datetime") || default.contains("current_timestamp");
        match declared.as_str() {
            _ if by_sqlite => Self::SQLITE,
            kind if kind.contains("int") || kind.contains("num") => Self::MILLIS,
            // The tools are JavaScript: what SQLite does not fill in, `toISOString()` does.
            kind if kind.contains("text") => Self::ISO,
            _ => Self::SQLITE,
        }
    }

    /// Writes a moment; what is finer than the format is cut.
    pub(super) fn write(self, moment: Timestamp) -> Raw {
        match self {
            Self::Number { per_second, real: false } => {
                Raw::Integer(moment.as_micros().div_euclid(1_000_000 / per_second))
            }
            Self::Number { per_second, real: true } => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a double has 53 bits; microseconds of this era need 51"
                )]
                let micros = moment.as_micros() as f64;
                Raw::Real(if per_second == 1 { micros / 1e6 } else { micros / (1_000_000 / per_second) as f64 })
            }
            Self::Text { separator, fraction, zone } => {
                // Always `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
                let full = moment.to_string();
                let part = |from: usize, to: usize| full.get(from..to).unwrap_or("");
                let point = if fraction == 0 { "" } else { "." };
                let digits = part(20, 20 + fraction);
                Raw::Text(format!("{}{separator}{}{point}{digits}{zone}", part(0, 10), part(11, 19)))
            }
        }
    }
}

/// As [`Timestamp::from_magnitude`] tells them.
fn magnitude(size: u64) -> i64 {
    match size {
        0..100_000_000_000 => 1,
        100_000_000_000..100_000_000_000_000 => 1_000,
        _ => 1_000_000,
    }
}

/// What a table's columns look like in one file.
#[derive(Debug, Default)]
pub(super) struct Formats {
    known: HashMap<(String, String), Format>,
}

/// How the values of one column are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    moment: Moment,
    /// Whether most values are text.
    text: bool,
    /// Whether embeddings are JSON text.
    vectors_as_text: bool,
}

impl Formats {
    /// How most of the newest values of a column are written; of as many, as the newest is.
    pub(super) fn of(&mut self, connection: &Connection, table: &str, column: &Column) -> rusqlite::Result<Format> {
        let key = (table.to_owned(), column.name.clone());
        if let Some(format) = self.known.get(&key) {
            return Ok(*format);
        }
        let sample = sample(connection, table, &column.name)?;
        let texts = sample.iter().filter(|raw| matches!(raw, Raw::Text(_))).count();
        let format = Format {
            moment: most(sample.iter().filter_map(Moment::of)).unwrap_or_else(|| Moment::of_declaration(column)),
            text: texts * 2 > sample.len(),
            vectors_as_text: match sample.len() {
                0 => column.declared.to_ascii_lowercase().contains("text"),
                values => texts * 2 > values,
            },
        };
        self.known.insert(key, format);
        Ok(format)
    }
}

fn sample(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<Vec<Raw>> {
    let (table, column) = (Quoted(table), Quoted(column));
    let sql = |order: &str| {
        format!(
            "SELECT c FROM (SELECT {column} AS c FROM {table}{order} LIMIT {NEWEST}) WHERE c IS NOT NULL LIMIT {SAMPLE}"
        )
    };
    // Tables without row ids have no order of age.
    let mut statement = connection.prepare(&sql(" ORDER BY _rowid_ DESC")).or_else(|_| connection.prepare(&sql("")))?;
    let values = statement.query_map([], |row| Ok(row.get(0).unwrap_or(Raw::Null)))?;
    values.collect()
}

fn most<T: Copy + PartialEq>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    // The first of equals is the newest.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

/// Spells a value as its column does, or as the value does that it replaces.
///
/// # Errors
/// Says what cannot be written.
pub(super) fn spell(value: Value, format: Format, old: Option<&Raw>) -> Result<Raw, String> {
    let as_old = |otherwise| match old {
        Some(Raw::Text(_)) => true,
        Some(Raw::Null) | None => otherwise,
        Some(_) => false,
    };
    let text = as_old(format.text);
    Ok(match value {
        Value::Null => Raw::Null,
        Value::Bool(value) if text => Raw::Text(value.to_string()),
        Value::Bool(value) => Raw::Integer(value.into()),
        Value::Int(number) => Raw::Integer(number),
        Value::Float(number) => Raw::Real(number),
        Value::Text(text) => Raw::Text(text),
        Value::Json(json) => Raw::Text(json.into_string()),
        Value::Bytes(bytes) => Raw::Blob(bytes),
        Value::RawText(_) => return Err("text that is not UTF-8 cannot be written".to_owned()),
        Value::Timestamp(moment) => old.and_then(Moment::of).unwrap_or(format.moment).write(moment),
        Value::Vector(numbers) if as_old(format.vectors_as_text) => {
            Raw::Text(serde_json::to_string(&numbers).map_err(|error| error.to_string())?)
        }
        Value::Vector(numbers) => Raw::Blob(vector_to_bytes(&numbers)),
    })
}

impl Format {
    /// The current moment, for columns that must have one.
    pub(super) fn now(self) -> Raw {
        self.moment.write(Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn every_form_of_a_moment_is_written_as_it_was_read() {
        for raw in [
            Raw::Integer(1_795_356_423),
            Raw::Integer(1_795_356_423_393),
            Raw::Integer(1_795_356_423_393_000),
            Raw::Real(1_795_356_423.25),
            text("2026-11-22 14:07:03"),
            text("2026-11-22 14:07:03.393"),
            text("2026-11-22T14:07:03Z"),
            text("2026-11-22T14:07:03.393Z"),
            text("2026-11-22T14:07:03.393000"),
            text("2026-11-22T14:07:03+00:00"),
        ] {
            let moment = match &raw {
                Raw::Integer(number) => Timestamp::from_magnitude(*number),
                Raw::Real(number) => Timestamp::from_fractional(*number),
                Raw::Text(text) => Timestamp::parse(text),
                other => panic!("{other:?}"),
            };
            let format = Moment::of(&raw).expect("a moment");
            assert_eq!(format.write(moment.expect("a moment")), raw);
        }
    }

    #[test]
    fn an_empty_column_is_written_as_its_declaration_says() {
        let column = |declared: &str, default: Option<&str>| Column {
            name: "at".to_owned(),
            declared: declared.to_owned(),
            key: 0,
            required: false,
            default: default.map(str::to_owned),
        };
        let of = |declared, default| Moment::of_declaration(&column(declared, default));
        assert_eq!(of("TEXT", Some("datetime('now')")), Moment::SQLITE);
        assert_eq!(of("DATETIME", Some("CURRENT_TIMESTAMP")), Moment::SQLITE);
        assert_eq!(of("DATETIME", None), Moment::SQLITE);
        assert_eq!(of("TEXT", None), Moment::ISO);
        assert_eq!(of("INTEGER", None), Moment::MILLIS);
        assert_eq!(of("INTEGER", Some("strftime('%s', 'now') * 1000")), Moment::MILLIS);
        assert_eq!(of("INTEGER", Some("strftime('%s', 'now')")), Moment::SECONDS);
    }

    #[test]
    fn the_most_frequent_form_counts_and_of_as_many_the_newest() {
        assert_eq!(most([1, 2, 2].into_iter()), Some(2));
        assert_eq!(most([1, 2].into_iter()), Some(1));
    }
}
