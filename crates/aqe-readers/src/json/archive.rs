//! What has no mapping: one record per member or element, with its origin.

use std::sync::Arc;

use aqe_sync_core::{Key, Record, Schema, Value};

use super::daemon;
use super::intelligence::is_q_value;
use super::mapping::{Mapping, Occurrences, Unmapped, content_id, digest};
use super::walk::{Entry, Fields, text_value};
use crate::SourceFile;

/// Which entries of a part have a mapping after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Except {
    Nothing,
    /// Those that are Q-values.
    QValues,
    /// The member that holds the workers' configuration.
    ConfiguredWorkers,
}

/// Entries as `archive_records`.
///
/// Members are known by their key, elements by their `id` if no other one of
/// the list has it, else by a digest of their text, with an ordinal from the
/// second identical one on: so that a list that is cut at its beginning does
/// not look like a list of other records.
pub(super) struct Archive {
    schema: Arc<Schema>,
    file: Value,
    part: Value,
    except: Except,
    ids: Occurrences,
    same: Occurrences,
}

impl Archive {
    pub(super) fn new(file: &SourceFile, part: Value, except: Except) -> Self {
        Self {
            schema: Schema::new(["file", "part", "record_key", "record"]),
            file: Value::from(file.name.as_str()),
            part,
            except,
            ids: Occurrences::default(),
            same: Occurrences::default(),
        }
    }

    fn element_key(&mut self, entry: &Entry) -> String {
        if let Some(id) = own_id(entry).filter(|id| self.ids.count(digest(&[id])) == 1) {
            return id;
        }
        let content = digest(&[entry.raw.get()]);
        content_id(content, self.same.next(content))
    }
}

fn own_id(entry: &Entry) -> Option<String> {
    Fields::of(&entry.raw)?.text("id")
}

impl Mapping for Archive {
    fn wants(&self, entry: &Entry) -> bool {
        match self.except {
            Except::Nothing => true,
            Except::QValues => !is_q_value(entry),
            Except::ConfiguredWorkers => !daemon::holds_workers(entry),
        }
    }

    fn survey(&mut self, entry: &Entry) {
        if entry.key.is_none()
            && let Some(id) = own_id(entry)
        {
            self.ids.next(digest(&[&id]));
        }
    }

    fn key(&self, entry: &Entry) -> Option<Key> {
        let key = text_value(entry.key.as_deref()?);
        let parts = [&self.file, &self.part, &key];
        let storable = parts.iter().all(|part| part.as_text().is_some_and(|text| !text.contains('\0')));
        storable.then(|| Key::new(parts.map(Value::clone).to_vec()))
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let key = match &entry.key {
            Some(key) => text_value(key),
            None => Value::Text(self.element_key(&entry)),
        };
        let values = vec![self.file.clone(), self.part.clone(), key, entry.json()];
        Ok(Record::new(Arc::clone(&self.schema), values))
    }
}
