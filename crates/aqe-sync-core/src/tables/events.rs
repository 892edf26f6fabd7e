//! What happened: immutable, each id once.

use crate::schema::{ColumnType, Role, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    let events = TableSpec::builder("events")
        .key("id", ColumnType::Text)
        .column("type", ColumnType::Text)
        .column("payload", ColumnType::Json)
        .column("event_source", ColumnType::Text)
        .columns(ColumnType::Text, &["target", "fleet_id", "agent_id", "task_id"])
        .column("timestamp", ColumnType::Timestamp)
        .role(Role::CreatedAt)
        .column("ttl", ColumnType::Int)
        .column("expires_at", ColumnType::Timestamp)
        .column("processed", ColumnType::Bool)
        .immutable();
    vec![events]
}
