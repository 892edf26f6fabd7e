//! Records as read, rows as stored, and the changes between them.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::hash::{ContentHash, KeyHash, key_hash};
use crate::{Json, Schema, StreamId, TableSpec, Value};

/// One record as its source holds it: named values, nothing converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    schema: Arc<Schema>,
    values: Vec<Value>,
    /// Fields that only this record has; they end up in the hub's `extra`.
    pub extra: Vec<(String, Value)>,
    /// The `extra` of a row that the record was made of, as it is.
    row_extra: Option<Json>,
}

impl Record {
    /// Pairs values with the schema's fields, in order.
    ///
    /// Missing values are null; surplus ones are a mistake of the caller and dropped
    /// only in the sense that they have no name: `debug_assert!` catches them.
    pub fn new(schema: Arc<Schema>, mut values: Vec<Value>) -> Self {
        debug_assert!(values.len() <= schema.fields().len(), "more values than fields");
        values.resize(schema.fields().len(), Value::Null);
        Self { schema, values, extra: Vec::new(), row_extra: None }
    }

    /// Makes a record that converts to this very row, `extra` included.
    pub fn of_row(table: &TableSpec, row: Row) -> Self {
        let schema = Schema::new(table.columns().iter().map(|column| column.name.as_str()));
        Self { row_extra: row.extra, ..Self::new(schema, row.values) }
    }

    /// See [`Self::of_row`].
    pub(crate) fn row_extra(&self) -> Option<&Json> {
        self.row_extra.as_ref()
    }

    /// See [`Self::of_row`].
    pub(crate) fn row_extra_mut(&mut self) -> Option<&mut Json> {
        self.row_extra.as_mut()
    }

    /// Adds fields beyond the schema.
    #[must_use]
    pub fn with_extra(mut self, extra: Vec<(String, Value)>) -> Self {
        self.extra = extra;
        self
    }

    /// The fields' names.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The values, in the schema's order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a field; null when there is none.
    pub fn get(&self, field: &str) -> &Value {
        self.schema.position(field).map_or(&Value::Null, |position| &self.values[position])
    }

    /// The values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [Value] {
        &mut self.values
    }

    /// Gives the values up.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Replaces the value of a field. `false` when the schema lacks it.
    pub fn set(&mut self, field: &str, value: Value) -> bool {
        match self.schema.position(field) {
            Some(position) => {
                self.values[position] = value;
                true
            }
            None => false,
        }
    }

    /// The bytes it roughly holds in memory.
    pub fn size(&self) -> usize {
        self.values.iter().map(Value::size).sum::<usize>()
            + self.extra.iter().map(|(name, value)| name.len() + value.size()).sum::<usize>()
            + self.row_extra.as_ref().map_or(0, |json| json.as_str().len())
    }
}

/// The values of a hub row's key columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(Vec<Value>);

impl Key {
    /// Takes text and integers, in the order of the table's key columns.
    pub fn new(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// The values.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// The values as a JSON array, which [`Self::from_json`] reads back.
    pub fn to_json(&self) -> String {
        serde_json::Value::Array(self.0.iter().map(plain).collect()).to_string()
    }

    /// Reads what [`Self::to_json`] wrote; `None` when it is something else.
    pub fn from_json(text: &str) -> Option<Self> {
        let parts: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
        let values = parts.into_iter().map(|part| match part {
            serde_json::Value::String(text) => Some(Value::Text(text)),
            serde_json::Value::Number(number) => number.as_i64().map(Value::Int),
            _ => None,
        });
        values.collect::<Option<_>>().map(Self)
    }

    /// A 128-bit digest, by which ledgers know the key.
    pub fn hash(&self) -> KeyHash {
        key_hash(&self.0)
    }
}

/// One part as it is; several as a JSON array.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [Value::Text(text)] => f.write_str(text),
            [single] => write!(f, "{single}"),
            _ => f.write_str(&self.to_json()),
        }
    }
}

/// Keys are made of text and integers.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => serde_json::Value::from(text.as_str()),
        Value::Int(number) => serde_json::Value::from(*number),
        other => serde_json::Value::from(other.to_string()),
    }
}

/// A record converted to a hub table's columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// One value per column of the table, of its type or null.
    pub values: Vec<Value>,
    /// A JSON object of what no column could hold.
    pub extra: Option<Json>,
    /// The hash of all of it.
    pub hash: ContentHash,
}

impl Row {
    /// Puts values and extra together and hashes them.
    pub fn new(table: &TableSpec, values: Vec<Value>, extra: Option<Json>) -> Self {
        let hash = crate::hash::content_hash(table, &values, extra.as_ref());
        Self { values, extra, hash }
    }

    /// The key.
    pub fn key(&self, table: &TableSpec) -> Key {
        Key(self.values[..table.key_columns().len()].to_vec())
    }

    /// The bytes it roughly holds in memory.
    pub fn size(&self) -> usize {
        self.values.iter().map(Value::size).sum::<usize>() + self.extra.as_ref().map_or(0, |json| json.as_str().len())
    }
}

/// What happens to a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// It now has this content.
    Upsert(Row),
    /// It is gone from its source.
    Delete,
}

/// An insert, update or delete of one keyed record, with what it was based on.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which record.
    pub key: Key,
    /// What happens to it.
    pub operation: Operation,
    /// The hash of the version that the writer last saw in the sink, if any.
    pub base: Option<ContentHash>,
}

impl Change {
    /// The bytes it roughly holds in memory.
    pub fn size(&self) -> usize {
        match &self.operation {
            Operation::Upsert(row) => row.size(),
            Operation::Delete => self.key.values().iter().map(Value::size).sum(),
        }
    }
}

/// A record that could not become a row, kept whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// What names the record for a person: its key as far as it has one, or its place.
    pub key: String,
    /// Why it could not be stored, and what to do.
    pub reason: String,
    /// Everything it holds, as JSON; bytes in base64 (see [`crate::aside`]).
    pub record: Json,
}

impl DeadLetter {
    /// What hubs know the letter by: 32 hexadecimal digits. The same stream, key and
    /// record give the same, whatever the reason, so that keeping a letter again is once.
    ///
    /// Hubs have it stored: it never changes.
    pub fn id(&self, stream: &StreamId) -> String {
        let StreamId { environment, source, stream } = stream;
        let identity =
            [environment.as_str(), source.as_str(), stream.as_str(), &self.key, self.record.as_str()].join("\u{1f}");
        format!("{:032x}", xxh3_128(identity.as_bytes()))
    }
}

/// A record that a source itself could not make sense of.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// The record's key in the hub, if it can be told: then it does not count as deleted.
    pub key: Option<Key>,
    /// The record with its reason.
    pub letter: DeadLetter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_know_a_letter_by_what_it_holds_and_whose_it_is() {
        let stream = StreamId { environment: "laptop".into(), source: "memory.db".into(), stream: "patterns".into() };
        let letter =
            DeadLetter { key: "p-1".to_owned(), reason: "no key".to_owned(), record: Json::from_text("{\"a\":1}") };
        assert_eq!(letter.id(&stream), "6b0a3e4cc8d385d6e322444f31e89761", "hubs have it stored");
        let reworded = DeadLetter { reason: "another".to_owned(), ..letter.clone() };
        assert_eq!(reworded.id(&stream), letter.id(&stream));
        let other = StreamId { environment: "desktop".into(), ..stream.clone() };
        assert_ne!(letter.id(&other), letter.id(&stream));
    }
}
