//! claude-flow's metrics: files that hold one object, and files that hold a rolling list.

use std::sync::Arc;

use aqe_sync_core::{Key, Record, Schema, Value};

use super::mapping::{Mapping, Occurrences, Unmapped, content_id, digest, text_key};
use super::walk::{Entry, Fields};
use crate::SourceFile;

/// Where a metric says when it was taken, the best first.
const TIMES: [&str; 4] = ["timestamp", "scannedAt", "lastActivity", "startTime"];

fn schema() -> Arc<Schema> {
    Schema::new(["scope", "metric", "entry", "value", "timestamp"])
}

/// The file's name without folder and ending.
fn metric(file: &SourceFile) -> String {
    let name = file.name.as_str();
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    name.strip_suffix(".json").unwrap_or(name).to_owned()
}

/// Its time, which stays in the value as well.
fn time(fields: &Fields) -> Value {
    let found = TIMES.iter().find_map(|name| fields.get(name).filter(|time| time.get() != "null"));
    found.map_or(Value::Null, |time| super::mapping::json(time.get()))
}

/// The whole file as one row.
pub(super) struct MetricObject {
    schema: Arc<Schema>,
    scope: String,
    metric: String,
}

impl MetricObject {
    pub(super) fn new(file: &SourceFile) -> Self {
        Self { schema: schema(), scope: file.scope.clone(), metric: metric(file) }
    }
}

impl Mapping for MetricObject {
    fn key(&self, _: &Entry) -> Option<Key> {
        text_key(&[&self.scope, &self.metric, ""])
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let time = Fields::of(&entry.raw).map_or(Value::Null, |fields| time(&fields));
        let values = vec![
            Value::from(self.scope.as_str()),
            Value::from(self.metric.as_str()),
            Value::from(""),
            entry.json(),
            time,
        ];
        Ok(Record::new(Arc::clone(&self.schema), values))
    }
}

/// One row per element, known by its id, else its time, else a digest of it.
pub(super) struct MetricList {
    object: MetricObject,
    seen: Occurrences,
}

impl MetricList {
    pub(super) fn new(file: &SourceFile) -> Self {
        Self { object: MetricObject::new(file), seen: Occurrences::default() }
    }

    fn entry_name(&mut self, entry: &Entry) -> String {
        let fields = Fields::of(&entry.raw);
        let id = fields.as_ref().and_then(|fields| fields.text("id"));
        let time = || {
            let fields = fields.as_ref()?;
            let time = fields.get("timestamp").filter(|time| time.get() != "null")?;
            Some(fields.text("timestamp").unwrap_or_else(|| time.get().to_owned()))
        };
        let Some(name) = id.or_else(time) else {
            let content = digest(&[entry.raw.get()]);
            return content_id(content, self.seen.next(content));
        };
        match self.seen.next(digest(&[&name])) {
            0 => name,
            earlier => format!("{name}#{}", earlier + 1),
        }
    }
}

impl Mapping for MetricList {
    fn key(&self, _: &Entry) -> Option<Key> {
        None
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let name = self.entry_name(&entry);
        let mut record = self.object.record(entry)?;
        record.set("entry", Value::Text(name));
        Ok(record)
    }
}
