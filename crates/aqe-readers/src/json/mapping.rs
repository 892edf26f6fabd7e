//! From entries to records: in passes over the snapshot, repeated keys told apart.

use std::collections::{HashMap, HashSet};

use aqe_sync_core::{DeadLetter, Json, Key, Record, Reject, Value, aside};
use xxhash_rust::xxh3::xxh3_128;

use super::walk::{Entry, Section, entries, text_of};
use crate::emit::{Emitter, Stop};
use crate::snapshot::Snapshot;

/// Why an entry cannot become a record; gives the entry back.
pub(super) struct Unmapped {
    pub(super) reason: String,
    pub(super) entry: Entry,
}

/// Makes the records of one stream.
pub(super) trait Mapping {
    /// Whether the entry belongs to this stream.
    fn wants(&self, _entry: &Entry) -> bool {
        true
    }

    /// Sees every entry once before the first one becomes a record.
    fn survey(&mut self, _entry: &Entry) {}

    /// What entries have in common of which the tool keeps only the last:
    /// the key inside its object.
    fn identity(&self, entry: &Entry) -> Option<u128> {
        let key = entry.key.as_deref()?;
        Some(digest(&[text_of(key).as_deref().unwrap_or(key)]))
    }

    /// The record's key in the hub, if it can be told.
    fn key(&self, entry: &Entry) -> Option<Key>;

    /// Makes the record.
    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped>;
}

/// Emits all entries of the sections; the caller ends the stream.
///
/// Entries that a later one replaces come last, as rejects: their keys must not
/// be taken for those of records that were read.
pub(super) fn emit(
    snapshot: &mut Snapshot,
    sections: &[Section],
    mapping: &mut dyn Mapping,
    emitter: &mut Emitter,
) -> Result<(), Stop> {
    let replaced = survey(snapshot, sections, mapping)?;
    let mut ordinal = 0;
    entries(snapshot, sections, &mut |entry| {
        ordinal += 1;
        if replaced.contains(&ordinal) || !mapping.wants(&entry) {
            return Ok(());
        }
        match mapping.record(entry) {
            Ok(record) => emitter.record(record),
            Err(Unmapped { reason, entry }) => emitter.reject(reject(mapping.key(&entry), &entry, reason)),
        }
    })?;
    if replaced.is_empty() {
        return Ok(());
    }
    emitter.flush()?;
    let mut ordinal = 0;
    entries(snapshot, sections, &mut |entry| {
        ordinal += 1;
        if !replaced.contains(&ordinal) {
            return Ok(());
        }
        let reason = "its key occurs again later in the same file; the tool that wrote it keeps the last one, \
                      which was read, and this one is kept here";
        emitter.reject(reject(mapping.key(&entry), &entry, reason.to_owned()))
    })
}

/// The ordinals, from 1, of entries whose identity occurs again later.
fn survey(snapshot: &mut Snapshot, sections: &[Section], mapping: &mut dyn Mapping) -> Result<HashSet<u64>, Stop> {
    let mut latest: HashMap<u128, u64> = HashMap::new();
    let mut replaced = HashSet::new();
    let mut ordinal = 0;
    entries(snapshot, sections, &mut |entry| {
        ordinal += 1;
        if !mapping.wants(&entry) {
            return Ok(());
        }
        mapping.survey(&entry);
        if let Some(identity) = mapping.identity(&entry) {
            replaced.extend(latest.insert(identity, ordinal));
        }
        Ok(())
    })?;
    Ok(replaced)
}

fn reject(key: Option<Key>, entry: &Entry, reason: String) -> Reject {
    let named = entry.key.as_deref().map(|key| text_of(key).unwrap_or_else(|| key.to_owned()));
    let shown = key.as_ref().map(Key::to_string).or(named).unwrap_or_else(|| excerpt(entry.raw.get()));
    let raw = Value::Json(Json::from_text(entry.raw.get()));
    let member = entry.key.as_deref().unwrap_or("null");
    let record = format!(r#"{{"key":{},"value":{}}}"#, aside::to_json(&json(member)), aside::to_json(&raw));
    Reject { key, letter: DeadLetter { key: shown, reason, record: Json::from_text(record) } }
}

/// JSON text as a value.
pub(super) fn json(text: &str) -> Value {
    Value::Json(Json::from_text(text))
}

fn excerpt(text: &str) -> String {
    Value::Json(Json::from_text(text)).to_string()
}

/// A key of texts, if every hub can hold it.
pub(super) fn text_key(parts: &[&str]) -> Option<Key> {
    let storable = parts.iter().all(|part| !part.contains('\0'));
    storable.then(|| Key::new(parts.iter().map(|part| Value::from(*part)).collect()))
}

/// A digest of texts that keeps their borders.
pub(super) fn digest(parts: &[&str]) -> u128 {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    xxh3_128(&bytes)
}

/// Counts how often something occurred: tells apart what is the same.
#[derive(Default)]
pub(super) struct Occurrences(HashMap<u128, u64>);

impl Occurrences {
    /// How often it occurred before.
    pub(super) fn next(&mut self, digest: u128) -> u64 {
        let count = self.0.entry(digest).or_default();
        *count += 1;
        *count - 1
    }

    /// How often it occurred.
    pub(super) fn count(&self, digest: u128) -> u64 {
        self.0.get(&digest).copied().unwrap_or(0)
    }
}

/// The digest in hexadecimal digits, and from the second occurrence on its ordinal.
pub(super) fn content_id(digest: u128, ordinal: u64) -> String {
    if ordinal == 0 { format!("{digest:032x}") } else { format!("{digest:032x}-{ordinal}") }
}
