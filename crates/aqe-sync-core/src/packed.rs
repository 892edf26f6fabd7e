//! Many records in one buffer: what fast sources hand over.
//!
//! Most records of an incremental run are unchanged. Packed, they cost one copy
//! into a buffer and one hash over it, instead of an allocation per value. The
//! encoding is that of [`crate::hash`]; only records that are new or different
//! are unpacked.

use std::sync::Arc;

use crate::hash::{KeyHash, LocalHash, LocalHasher, encode_raw, key_hash_of_encoded};
use crate::record::Record;
use crate::{ColumnType, Json, Schema, TableSpec, Timestamp, Value};

/// Records of one schema, end to end in one buffer.
#[derive(Clone, Debug)]
pub struct PackedRecords {
    schema: Arc<Schema>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PackedRecords {
    /// An empty pack.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self { schema, bytes: Vec::new(), ends: Vec::new() }
    }

    /// The schema of all of them.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// How many records are complete.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no record is complete.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the next value of the record under way.
    pub fn push(&mut self, value: &Value) {
        encode_raw(value, &mut self.bytes);
    }

    /// Adds text as the next value; bytes that are not UTF-8 stay what they are.
    pub fn push_text(&mut self, text: &[u8]) {
        let tag = if std::str::from_utf8(text).is_ok() { b't' } else { b'r' };
        self.push_tagged(tag, text);
    }

    /// Adds bytes as the next value.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.push_tagged(b'y', bytes);
    }

    fn push_tagged(&mut self, tag: u8, payload: &[u8]) {
        self.bytes.push(tag);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(payload);
    }

    /// Ends the record under way; as many values as the schema has fields were pushed.
    pub fn end_record(&mut self) {
        debug_assert_eq!(
            Fields(&self.bytes[self.ends.last().copied().unwrap_or(0)..]).count(),
            self.schema.fields().len(),
            "one value per field"
        );
        self.ends.push(self.bytes.len());
    }

    /// Unpacks the record at a position.
    pub fn record(&self, position: usize) -> Record {
        let values = Fields(self.encoded(position)).map(decode).collect();
        Record::new(Arc::clone(&self.schema), values)
    }

    fn encoded(&self, position: usize) -> &[u8] {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.bytes[start..self.ends[position]]
    }
}

/// Hashes packed records of one stream without unpacking them.
#[derive(Debug)]
pub struct PackedHasher {
    schema: Arc<Schema>,
    local: LocalHasher,
    /// Per key column, the field that feeds it and the tag of its type.
    key: Option<Vec<(usize, u8)>>,
    buffer: Vec<u8>,
}

impl PackedHasher {
    /// For packs of one schema, bound for `table`.
    pub fn new(table: &TableSpec, schema: Arc<Schema>) -> Self {
        Self::transformed(table, schema, 0)
    }

    /// As [`LocalHasher::transformed`].
    pub fn transformed(table: &TableSpec, schema: Arc<Schema>, transforms: u64) -> Self {
        let key = table.key_columns().iter().map(|column| {
            let tag = if column.kind == ColumnType::Int { b'i' } else { b't' };
            schema.position(column.name.as_str()).map(|field| (field, tag))
        });
        let (key, local) = (key.collect(), LocalHasher::transformed(table, schema.fields(), transforms));
        Self { schema, local, key, buffer: Vec::new() }
    }

    /// Whether it was made for packs of this schema.
    pub fn fits(&self, schema: &Arc<Schema>) -> bool {
        Arc::ptr_eq(&self.schema, schema) || self.schema == *schema
    }

    /// The hashes of a record, if its key needs no conversion.
    pub fn hashes(&mut self, records: &PackedRecords, position: usize) -> Option<(KeyHash, LocalHash)> {
        let encoded = records.encoded(position);
        self.buffer.clear();
        for (field, tag) in self.key.as_ref()? {
            let value = Fields(encoded).nth(*field).filter(|value| value.first() == Some(tag))?;
            self.buffer.extend_from_slice(value);
        }
        Some((key_hash_of_encoded(&self.buffer), self.local.hash_encoded(encoded)))
    }
}

/// Splits an encoded record into its encoded values.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = match self.0.first()? {
            b'0' => 1,
            b'b' => 2,
            b'i' | b'f' | b's' => 9,
            b'v' => 5 + 4 * length(self.0),
            _ => 5 + length(self.0),
        };
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}

fn length(value: &[u8]) -> usize {
    value.get(1..5).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
}

fn decode(value: &[u8]) -> Value {
    let word = || {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&value[1..9]);
        i64::from_le_bytes(bytes)
    };
    let payload = || &value[5..];
    // Text was checked when it was pushed.
    let text = || String::from_utf8_lossy(payload()).into_owned();
    match value[0] {
        b'b' => Value::Bool(value[1] != 0),
        b'i' => Value::Int(word()),
        b'f' => Value::Float(f64::from_bits(word().cast_unsigned())),
        b't' => Value::Text(text()),
        b'r' => Value::RawText(payload().to_vec()),
        b'y' => Value::Bytes(payload().to_vec()),
        b'J' => Value::Json(Json::from_text(text())),
        b's' => Timestamp::from_micros(word()).map_or(Value::Null, Value::Timestamp),
        b'v' => Value::Vector(crate::aside::vector_from_bytes(payload()).unwrap_or_default()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_records_hash_and_unpack_as_if_they_never_were() {
        let table = TableSpec::builder("t")
            .key("id", ColumnType::Text)
            .key("number", ColumnType::Int)
            .column("rest", ColumnType::Json)
            .build()
            .expect("a table");
        let schema = Schema::new(["rest", "id", "number", "more"]);
        let more = [
            Value::Null,
            Value::Bool(true),
            Value::Float(-0.0),
            Value::Text("ünï\0".into()),
            Value::RawText(vec![0xff]),
            Value::Bytes(vec![1, 2]),
            Value::Json(Json::from_text("{ \"a\": 1 }")),
            Value::Timestamp(Timestamp::from_micros(5).expect("in range")),
            Value::Vector(vec![0.5, -1.0]),
        ];
        let mut packed = PackedRecords::new(Arc::clone(&schema));
        let mut records = Vec::new();
        for (number, more) in (0..).zip(more) {
            let values = vec![Value::Json(Json::from_text("[1]")), Value::from("k"), Value::Int(number), more];
            for value in &values {
                packed.push(value);
            }
            packed.end_record();
            records.push(Record::new(Arc::clone(&schema), values));
        }
        let coercer = crate::coerce::Coercer::new(Arc::clone(&table), Arc::clone(&schema));
        let mut plain = LocalHasher::new(&table, schema.fields());
        let mut hasher = PackedHasher::new(&table, schema);
        for (position, record) in records.iter().enumerate() {
            assert_eq!(packed.record(position), *record);
            let key = coercer.key(record).expect("a key");
            assert_eq!(hasher.hashes(&packed, position), Some((key.hash(), plain.hash(record))));
        }
    }
}
