//! Values as sources hold them and as hub columns store them.

pub(crate) mod name;
pub(crate) mod time;
pub mod vector;

use std::fmt;

use crate::Timestamp;

/// JSON kept as the text it was written as.
///
/// Number spelling, key order and white space survive; the content hash looks
/// through them (see [`crate::json`]). Holding one does not promise that a hub
/// can store it: coercion checks that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// Takes text that a JSON parser has already accepted.
    pub fn from_text(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the text back.
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

/// One value, of a source or of a hub column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A double; every bit counts.
    Float(f64),
    /// Text.
    Text(String),
    /// What its source calls text, but whose bytes are not UTF-8.
    RawText(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A JSON document.
    Json(Json),
    /// A moment, in microseconds.
    Timestamp(Timestamp),
    /// An embedding.
    Vector(Vec<f32>),
}

impl Value {
    /// The name of the variant, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "real",
            Self::Text(_) => "text",
            Self::RawText(_) => "text that is not UTF-8",
            Self::Bytes(_) => "bytes",
            Self::Json(_) => "JSON",
            Self::Timestamp(_) => "timestamp",
            Self::Vector(_) => "vector",
        }
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            Self::Int(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// The bytes it roughly holds in memory, for batch limits.
    pub fn size(&self) -> usize {
        std::mem::size_of::<Self>()
            + match self {
                Self::Text(text) => text.len(),
                Self::RawText(bytes) | Self::Bytes(bytes) => bytes.len(),
                Self::Json(json) => json.as_str().len(),
                Self::Vector(numbers) => numbers.len() * 4,
                Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Timestamp(_) => 0,
            }
    }
}

/// Short and safe to print: long values are cut for display only.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(text) => write!(f, "{:?}", excerpt(text)),
            Self::RawText(bytes) => write!(f, "{:?}", excerpt(&String::from_utf8_lossy(bytes))),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Json(json) => f.write_str(&excerpt(json.as_str())),
            Self::Timestamp(moment) => moment.fmt(f),
            Self::Vector(numbers) => write!(f, "vector of {} dimensions", numbers.len()),
        }
    }
}

fn excerpt(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Timestamp> for Value {
    fn from(moment: Timestamp) -> Self {
        Self::Timestamp(moment)
    }
}

impl From<Vec<f32>> for Value {
    fn from(numbers: Vec<f32>) -> Self {
        Self::Vector(numbers)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
