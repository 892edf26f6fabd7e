//! claude-flow's worker daemon: what each worker did, joined with how it is configured.

use std::sync::Arc;

use aqe_sync_core::{Key, Record, Schema, Value};

use super::mapping::{Mapping, Unmapped, text_key};
use super::walk::{Entry, Fields, each, text_of, text_value, whole};
use crate::SourceFile;
use crate::emit::{Emitter, Stop};
use crate::snapshot::{Snapshot, Span};

/// The member of the configuration that describes the workers.
const WORKERS: &str = "workers";

/// What `config.workers` says, by worker.
pub(super) struct Configuration {
    pub(super) workers: Vec<(String, Fields)>,
    /// Whether that is all of `config.workers`, so that nothing else need keep it.
    pub(super) complete: bool,
}

/// Reads the configuration of the workers.
pub(super) fn configuration(snapshot: &mut Snapshot, span: Option<Span>) -> aqe_sync_core::Result<Configuration> {
    let mut found = Configuration { workers: Vec::new(), complete: true };
    let Some(span) = span else { return Ok(found) };
    let config = whole(snapshot, span)?;
    let Some(fields) = Fields::of(&config) else { return Ok(found) };
    let Some(list) = fields.get(WORKERS) else { return Ok(found) };
    if !list.get().starts_with('[') {
        found.complete = false;
        return Ok(found);
    }
    let mut list = serde_json::Deserializer::from_str(list.get());
    let read = each(&mut list, &mut |_, raw| {
        let worker = Fields::of(&raw).and_then(|fields| Some((fields.text("type")?, fields)));
        match worker {
            Some((name, _)) if found.workers.iter().any(|(known, _)| *known == name) => found.complete = false,
            Some((name, mut fields)) => {
                fields.take("type");
                found.workers.push((name, fields));
            }
            None => found.complete = false,
        }
        Ok(())
    });
    match read {
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) | Err(Stop::Dropped) => Ok(found),
    }
}

/// Whether a member of the configuration is the one that [`configuration`] reads.
pub(super) fn holds_workers(entry: &Entry) -> bool {
    entry.key.as_deref().and_then(text_of).as_deref() == Some(WORKERS)
}

/// Workers by type.
pub(super) struct Workers {
    schema: Arc<Schema>,
    scope: String,
    configured: Vec<(String, Fields)>,
}

/// The columns that the worker itself feeds, and its names for them.
const STATE: [(&str, &str); 7] = [
    ("run_count", "runCount"),
    ("success_count", "successCount"),
    ("failure_count", "failureCount"),
    ("average_duration_ms", "averageDurationMs"),
    ("last_run", "lastRun"),
    ("next_run", "nextRun"),
    ("is_running", "isRunning"),
];

/// The columns that its configuration feeds.
const CONFIG: [(&str, &str); 5] = [
    ("interval_ms", "intervalMs"),
    ("offset_ms", "offsetMs"),
    ("priority", "priority"),
    ("description", "description"),
    ("enabled", "enabled"),
];

impl Workers {
    pub(super) fn new(file: &SourceFile, configured: Vec<(String, Fields)>) -> Self {
        let columns = STATE.iter().chain(&CONFIG).map(|(column, _)| *column);
        let schema = Schema::new(["scope", "worker_type"].into_iter().chain(columns));
        Self { schema, scope: file.scope.clone(), configured }
    }

    /// Emits workers that are configured and have no state.
    pub(super) fn emit_rest(&mut self, emitter: &mut Emitter) -> Result<(), Stop> {
        for (name, config) in std::mem::take(&mut self.configured) {
            emitter.record(self.joined(Value::Text(name), None, Some(config)))?;
        }
        Ok(())
    }

    fn joined(&self, name: Value, state: Option<Fields>, config: Option<Fields>) -> Record {
        let mut values = vec![Value::from(self.scope.as_str()), name];
        let mut extra = Vec::new();
        for (fields, columns, prefix) in [(state, STATE.as_slice(), ""), (config, CONFIG.as_slice(), "config.")] {
            let mut fields = fields;
            values.extend(columns.iter().map(|(_, member)| fields.as_mut().map_or(Value::Null, |f| f.take(member))));
            let rest = fields.map(Fields::rest).unwrap_or_default();
            extra.extend(rest.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
        }
        Record::new(Arc::clone(&self.schema), values).with_extra(extra)
    }
}

impl Mapping for Workers {
    fn key(&self, entry: &Entry) -> Option<Key> {
        text_key(&[&self.scope, &text_of(entry.key.as_deref()?)?])
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let Some(state) = Fields::of(&entry.raw) else {
            let reason = "a worker's state is an object with its counts, and this one is not".to_owned();
            return Err(Unmapped { reason, entry });
        };
        let name = text_value(entry.key.as_deref().unwrap_or_default());
        let position = self.configured.iter().position(|(known, _)| Some(known.as_str()) == name.as_text());
        let config = position.map(|position| self.configured.swap_remove(position).1);
        Ok(self.joined(name, Some(state), config))
    }
}
