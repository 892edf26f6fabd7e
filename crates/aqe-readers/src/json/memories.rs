//! claude-flow's memories: `store.json` of 3.x, `memory-store.json` before it.

use std::sync::Arc;

use aqe_sync_core::{Json, Key, Record, Schema, Value};

use super::mapping::{Mapping, Unmapped, digest, text_key};
use super::walk::{Entry, Fields, text_of, text_value};
use crate::SourceFile;
use crate::category::category;

/// The namespace of memories that name none.
const DEFAULT_NAMESPACE: &str = "default";

/// `{"entries": {key: {key, value, metadata, storedAt, accessCount, lastAccessed}}}`.
pub(super) struct Store {
    schema: Arc<Schema>,
    scope: String,
}

impl Store {
    pub(super) fn new(file: &SourceFile) -> Self {
        let schema = Schema::new([
            "scope",
            "namespace",
            "key",
            "value",
            "category",
            "metadata",
            "created_at",
            "updated_at",
            "access_count",
            "accessed_at",
        ]);
        Self { schema, scope: file.scope.clone() }
    }
}

/// Some callers put a namespace into the metadata.
fn namespace(fields: &Fields) -> String {
    let metadata = fields.get("metadata").and_then(Fields::of);
    metadata.and_then(|metadata| metadata.text("namespace")).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

impl Mapping for Store {
    fn key(&self, entry: &Entry) -> Option<Key> {
        let key = text_of(entry.key.as_deref()?)?;
        let namespace =
            Fields::of(&entry.raw).map_or_else(|| DEFAULT_NAMESPACE.to_owned(), |fields| namespace(&fields));
        text_key(&[&self.scope, &namespace, &key])
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let Some(mut fields) = Fields::of(&entry.raw) else {
            let reason = "a memory is an object with a value, and this one is not".to_owned();
            return Err(Unmapped { reason, entry });
        };
        drop(entry.raw);
        let key = text_value(entry.key.as_deref().unwrap_or_default());
        let name = key.as_text().unwrap_or_default();
        let namespace = namespace(&fields);
        fields.drop_if("key", name);
        let category = Value::from(category(name));
        let stored = fields.take("storedAt");
        let values = vec![
            Value::from(self.scope.as_str()),
            Value::Text(namespace),
            key,
            fields.take("value"),
            category,
            fields.take("metadata"),
            stored.clone(),
            stored,
            fields.take("accessCount"),
            fields.take("lastAccessed"),
        ];
        Ok(Record::new(Arc::clone(&self.schema), values).with_extra(fields.rest()))
    }
}

/// `{namespace: [{key, value, namespace, timestamp}]}`; values are strings.
pub(super) struct MemoryStore {
    schema: Arc<Schema>,
    scope: String,
    /// The namespace of each section.
    namespaces: Vec<Value>,
}

impl MemoryStore {
    pub(super) fn new(file: &SourceFile, namespaces: Vec<Value>) -> Self {
        let schema = Schema::new(["scope", "namespace", "key", "value", "category", "created_at", "updated_at"]);
        Self { schema, scope: file.scope.clone(), namespaces }
    }
}

impl Mapping for MemoryStore {
    fn identity(&self, entry: &Entry) -> Option<u128> {
        let namespace = self.namespaces[entry.section].as_text()?;
        Some(digest(&[namespace, &Fields::of(&entry.raw)?.text("key")?]))
    }

    fn key(&self, entry: &Entry) -> Option<Key> {
        let namespace = self.namespaces[entry.section].as_text()?;
        text_key(&[&self.scope, namespace, &Fields::of(&entry.raw)?.text("key")?])
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let fields = Fields::of(&entry.raw).filter(|fields| fields.get("key").is_some());
        let Some(mut fields) = fields else {
            let reason = "a memory is an object with a key and a value, and this one is not".to_owned();
            return Err(Unmapped { reason, entry });
        };
        drop(entry.raw);
        let namespace = self.namespaces[entry.section].clone();
        fields.drop_if("namespace", namespace.as_text().unwrap_or_default());
        let name = fields.text("key");
        let category = Value::from(category(name.as_deref().unwrap_or_default()));
        let key = match (name, fields.take("key")) {
            (Some(name), _) => Value::Text(name),
            (None, other) => other,
        };
        let written = fields.take("timestamp");
        let value = decoded(fields.take("value"));
        let values = vec![Value::from(self.scope.as_str()), namespace, key, value, category, written.clone(), written];
        Ok(Record::new(Arc::clone(&self.schema), values).with_extra(fields.rest()))
    }
}

/// The text of a JSON string, which may be JSON again; anything else as it is.
fn decoded(value: Value) -> Value {
    match &value {
        Value::Json(json) => text_of(Json::as_str(json)).map_or(value, Value::Text),
        _ => value,
    }
}
