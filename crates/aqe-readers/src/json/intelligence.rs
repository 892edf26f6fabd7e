//! ruvector's `intelligence.json`: Q-values and memories.

use std::sync::Arc;

use aqe_sync_core::{Key, Record, Schema, Value};
use serde_json::value::RawValue;

use super::mapping::{Mapping, Occurrences, Unmapped, content_id, digest, json, text_key};
use super::walk::{Entry, Fields, text_of};
use crate::SourceFile;

/// Whether an entry of `patterns` is a Q-value: `pretrain` puts counts of
/// agents per file type into the same map.
pub(super) fn is_q_value(entry: &Entry) -> bool {
    Fields::of(&entry.raw).is_some_and(|fields| {
        fields.text("state").is_some() && fields.text("action").is_some() && fields.get("q_value").is_some()
    })
}

/// `{"<state>|<action>": {state, action, q_value, visits, last_update}}`.
pub(super) struct QValues {
    schema: Arc<Schema>,
    scope: String,
}

impl QValues {
    pub(super) fn new(file: &SourceFile) -> Self {
        let schema =
            Schema::new(["scope", "algorithm", "agent_id", "state", "action", "q_value", "visits", "last_update"]);
        Self { schema, scope: file.scope.clone() }
    }
}

impl Mapping for QValues {
    fn wants(&self, entry: &Entry) -> bool {
        is_q_value(entry)
    }

    fn key(&self, entry: &Entry) -> Option<Key> {
        let fields = Fields::of(&entry.raw)?;
        text_key(&[&self.scope, "", "", &fields.text("state")?, &fields.text("action")?])
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let Some(mut fields) = Fields::of(&entry.raw) else {
            return Err(Unmapped { reason: "a Q-value is an object".to_owned(), entry });
        };
        let (state, action) = (fields.text("state"), fields.text("action"));
        let usual = format!("{}|{}", state.as_deref().unwrap_or_default(), action.as_deref().unwrap_or_default());
        fields.take("state");
        fields.take("action");
        let values = vec![
            Value::from(self.scope.as_str()),
            Value::from(""),
            Value::from(""),
            state.into(),
            action.into(),
            fields.take("q_value"),
            fields.take("visits"),
            fields.take("last_update"),
        ];
        let mut extra = fields.rest();
        if let Some(key) = entry.key.filter(|key| text_of(key) != Some(usual)) {
            extra.push(("key".to_owned(), json(&key)));
        }
        Ok(Record::new(Arc::clone(&self.schema), values).with_extra(extra))
    }
}

/// `[{id, memory_type, content, embedding, metadata, timestamp}]`, and from
/// `pretrain` `{content, type, created, embedding: null}`.
///
/// Ids are seconds and repeat with different content, and the oldest memories
/// are cut off, so neither id nor place tells them apart: what does is a digest
/// of time, type and content, followed by `-1`, `-2`… for further identical ones.
pub(super) struct Memories {
    schema: Arc<Schema>,
    same: Occurrences,
}

impl Memories {
    pub(super) fn new() -> Self {
        let schema = Schema::new(["id", "local_id", "memory_type", "content", "embedding", "metadata", "timestamp"]);
        Self { schema, same: Occurrences::default() }
    }
}

/// The member by its first name that is there.
fn either<'a>(fields: &Fields, names: [&'a str; 2]) -> &'a str {
    if fields.get(names[0]).is_none() && fields.get(names[1]).is_some() { names[1] } else { names[0] }
}

/// What a member means as text, however it is spelled.
fn meaning(member: Option<&RawValue>) -> String {
    member.map_or_else(String::new, |json| text_of(json.get()).unwrap_or_else(|| json.get().to_owned()))
}

impl Mapping for Memories {
    fn key(&self, _: &Entry) -> Option<Key> {
        None
    }

    fn record(&mut self, entry: Entry) -> Result<Record, Unmapped> {
        let Some(mut fields) = Fields::of(&entry.raw) else {
            let reason = "a memory is an object with a content, and this one is not".to_owned();
            return Err(Unmapped { reason, entry });
        };
        drop(entry.raw);
        let time = either(&fields, ["timestamp", "created"]);
        let kind = either(&fields, ["memory_type", "type"]);
        let content =
            digest(&[time, kind, "content"].map(|name| meaning(fields.get(name))).each_ref().map(String::as_str));
        let embedding = match fields.take("embedding") {
            Value::Json(embedding) if embedding.as_str() == "null" => Value::Null,
            embedding => embedding,
        };
        let values = vec![
            Value::Text(content_id(content, self.same.next(content))),
            fields.take("id"),
            fields.take(kind),
            fields.take("content"),
            embedding,
            fields.take("metadata"),
            fields.take(time),
        ];
        Ok(Record::new(Arc::clone(&self.schema), values).with_extra(fields.rest()))
    }
}
