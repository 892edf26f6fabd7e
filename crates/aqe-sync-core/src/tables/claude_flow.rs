//! claude-flow: memories of every version, daemon workers, metrics.

use super::{Common, MINILM};
use crate::schema::{ColumnType, Role, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    vec![memory(), workers(), metrics()]
}

/// `store.json`, `memory-store.json` and `.swarm` databases of 2.x and 3.x: the
/// same memory may be in several of them, so they share one key.
fn memory() -> TableBuilder {
    TableSpec::builder("claude_flow_memory")
        .key("scope", ColumnType::Text)
        .key("namespace", ColumnType::Text)
        .key("key", ColumnType::Text)
        .column("value", ColumnType::Json)
        .role(Role::SearchText)
        .columns(ColumnType::Text, &["category", "type", "local_id", "owner_id", "status", "provenance_type"])
        .columns(ColumnType::Json, &["metadata", "tags"])
        .counters(&["access_count"])
        .created_at()
        .updated_at()
        .columns(ColumnType::Timestamp, &["accessed_at", "expires_at"])
        .column("ttl", ColumnType::Int)
        .column("embedding", MINILM)
        .role(Role::Embedding)
        .column("embedding_model", ColumnType::Text)
        .column("embedding_dimensions", ColumnType::Int)
        .text(&["key", "value"])
}

fn workers() -> TableBuilder {
    TableSpec::builder("claude_flow_workers")
        .key("scope", ColumnType::Text)
        .key("worker_type", ColumnType::Text)
        .counters(&["run_count", "success_count", "failure_count"])
        .rate("average_duration_ms", "run_count")
        .column("last_run", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .column("next_run", ColumnType::Timestamp)
        .columns(ColumnType::Bool, &["is_running", "enabled"])
        .columns(ColumnType::Int, &["interval_ms", "offset_ms"])
        .columns(ColumnType::Text, &["priority", "description"])
}

/// One row per file that holds an object, one per entry of those that hold a list.
fn metrics() -> TableBuilder {
    TableSpec::builder("claude_flow_metrics")
        .key("scope", ColumnType::Text)
        .key("metric", ColumnType::Text)
        .key("entry", ColumnType::Text)
        .column("value", ColumnType::Json)
        .column("timestamp", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
}
