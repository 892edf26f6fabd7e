//! A small table with every role, and records for it.

use std::sync::{Arc, LazyLock};

use aqe_sync_core::schema::TableBuilder;
use aqe_sync_core::{ColumnType, Record, Role, Schema, StreamSpec, TableSpec, Timestamp, Value};

pub(crate) fn notes() -> TableBuilder {
    TableSpec::builder("notes")
        .key("id", ColumnType::Text)
        .column("body", ColumnType::Text)
        .column("confidence", ColumnType::Float)
        .role(Role::Confidence)
        .counters(&["uses"])
        .rate("score", "uses")
        .column("updated_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .column("details", ColumnType::Json)
}

pub(crate) fn table(builder: TableBuilder) -> Arc<TableSpec> {
    builder.build().expect("a sound table")
}

pub(crate) fn spec(builder: TableBuilder) -> StreamSpec {
    StreamSpec::new("notes", table(builder))
}

static FIELDS: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Schema::new(["id", "body", "confidence", "uses", "score", "updated_at", "details"]));

/// A record with a key and a body.
pub(crate) fn note(id: &str, body: impl Into<Value>) -> Record {
    Record::new(Arc::clone(&FIELDS), vec![id.into(), body.into()])
}

/// Sets fields of a record.
pub(crate) trait With: Sized {
    fn with(self, field: &str, value: impl Into<Value>) -> Self;
}

impl With for Record {
    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        assert!(self.set(field, value.into()), "no field {field}");
        self
    }
}

pub(crate) fn at_second(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000).expect("in range")
}
