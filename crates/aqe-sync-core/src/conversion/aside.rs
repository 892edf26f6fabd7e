//! How values that no column can hold are kept, losslessly, inside JSON.
//!
//! A plain JSON value stands for itself. Everything else is an object with the
//! member `$aqe`:
//!
//! | `$aqe` | other members | meaning |
//! |---|---|---|
//! | `bytes` | `base64` | bytes |
//! | `text` | `base64` | text that is not UTF-8, or holds U+0000 |
//! | `float` | `value` | a double that JSON cannot write, or `jsonb` not keep: `NaN`, `Infinity`, `-Infinity`, `-0` |
//! | `json` | `text` | JSON that `jsonb` would change: duplicate keys, lone surrogates… |
//! | `value` | `value` | a JSON object that has a member `$aqe` of its own |
//! | `vector` | `base64` | float32, little-endian |
//! | `plain` | | the column holds plain text as a JSON string; its source did not write JSON |

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::json::{Examined, ObjectWriter, examine, quote};
use crate::{Json, Record, Value};

/// The member that marks a wrapped value.
pub const MARK: &str = "$aqe";

/// Says of a JSON column that its source held plain text.
pub const PLAIN_TEXT: &str = r#"{"$aqe":"plain"}"#;

/// A value as JSON text, in the form of the [module](self)'s table.
pub fn to_json(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if is_plain_number(*number) => serde_json::Value::from(*number).to_string(),
        Value::Float(number) => wrapped("float", "value", special_number(*number)),
        Value::Text(text) if text.contains('\0') => wrapped("text", "base64", &STANDARD.encode(text)),
        Value::Text(text) => quote(text),
        Value::RawText(bytes) => wrapped("text", "base64", &STANDARD.encode(bytes)),
        Value::Bytes(bytes) => wrapped("bytes", "base64", &STANDARD.encode(bytes)),
        Value::Json(json) => json_to_json(json.as_str()),
        Value::Timestamp(moment) => quote(&moment.to_string()),
        Value::Vector(numbers) => wrapped("vector", "base64", &vector_base64(numbers)),
    }
}

/// A whole record as a JSON object: what a dead letter keeps.
pub fn record_to_json(record: &Record) -> String {
    let mut object = ObjectWriter::new();
    for (field, value) in record.schema().fields().iter().zip(record.values()) {
        object.member(field, &to_json(value));
    }
    for (field, value) in &record.extra {
        object.member(field, &to_json(value));
    }
    let text = object.finish();
    // Field names are the source's: a name that occurs twice would lose one of them.
    json_to_json(&text)
}

fn json_to_json(text: &str) -> String {
    match examine(text, &mut Vec::new()) {
        Examined::Storable if has_mark(text) => {
            let mut object = ObjectWriter::new();
            object.member(MARK, "\"value\"");
            object.member("value", text);
            object.finish()
        }
        Examined::Storable => text.to_owned(),
        Examined::Unstorable(_) | Examined::Invalid(_) if text.contains('\0') => {
            wrapped("text", "base64", &STANDARD.encode(text))
        }
        Examined::Unstorable(_) | Examined::Invalid(_) => wrapped("json", "text", text),
    }
}

fn has_mark(text: &str) -> bool {
    // Members stay raw: any depth that can be stored has to be looked through.
    text.trim_start().starts_with('{')
        && serde_json::from_str::<BTreeMap<String, &RawValue>>(text).is_ok_and(|object| object.contains_key(MARK))
}

fn wrapped(kind: &str, member: &str, text: &str) -> String {
    let mut object = ObjectWriter::new();
    object.member(MARK, &quote(kind));
    object.member(member, &quote(text));
    object.finish()
}

/// Whether JSON can write a double and `jsonb` keeps all of it: its numbers are
/// decimals, which have no negative zero.
pub(crate) fn is_plain_number(number: f64) -> bool {
    number.is_finite() && (number != 0.0 || number.is_sign_positive())
}

fn special_number(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number == 0.0 {
        "-0"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// The bytes of an embedding: float32, little-endian.
pub fn vector_to_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Reads [`vector_to_bytes`] back; `None` when the length is no multiple of four.
pub fn vector_from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

fn vector_base64(numbers: &[f32]) -> String {
    STANDARD.encode(vector_to_bytes(numbers))
}

/// Reads a value back that [`to_json`] wrote. Text comes back as text, moments too; JSON
/// objects and arrays as JSON. `None` when it is none of the forms.
pub fn from_json(text: &str) -> Option<Value> {
    let text = text.trim();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok().map(Value::Text),
        b't' | b'f' => serde_json::from_str(text).ok().map(Value::Bool),
        b'n' => Some(Value::Null),
        b'{' if has_mark(text) => unwrapped(text),
        b'[' | b'{' => Some(Value::Json(Json::from_text(text))),
        _ => text.parse().map(Value::Int).ok().or_else(|| text.parse().map(Value::Float).ok()),
    }
}

fn unwrapped(text: &str) -> Option<Value> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    let string = |member: &str| serde_json::from_str::<String>(members.get(member)?.get()).ok();
    let bytes = || from_base64(&string("base64")?);
    match string(MARK)?.as_str() {
        "bytes" => bytes().map(Value::Bytes),
        "text" => Some(match String::from_utf8(bytes()?) {
            Ok(text) => Value::Text(text),
            Err(error) => Value::RawText(error.into_bytes()),
        }),
        "float" => string("value")?.parse().ok().map(Value::Float),
        "json" => string("text").map(Value::Text),
        "value" => Some(Value::Json(Json::from_text(members.get("value")?.get()))),
        "vector" => vector_from_bytes(&bytes()?).map(Value::Vector),
        _ => None,
    }
}

/// Reads base64, as written by [`to_json`].
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_aside_reads_back() {
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Int(-7),
            Value::Float(1.5),
            Value::Float(-0.0),
            Value::Float(f64::INFINITY),
            Value::from("text \"quoted\""),
            Value::from("a\0b"),
            Value::RawText(vec![0xff, 0x41]),
            Value::Bytes(vec![1, 2, 3]),
            Value::Json(Json::from_text(r#"{"a":[1,2]}"#)),
            Value::Json(Json::from_text(r#"{"$aqe":"mine"}"#)),
            Value::Vector(vec![0.5, -1.0]),
        ];
        for value in values {
            assert_eq!(from_json(&to_json(&value)), Some(value));
        }
        assert_eq!(from_json("{\"$aqe\":\"unheard of\"}"), None);
        assert_eq!(from_json(""), None);
    }
}
