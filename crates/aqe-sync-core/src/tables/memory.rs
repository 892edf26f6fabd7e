//! What agents wrote down: `memory_entries` (agentic-qe 2.x) and `kv_store` (3.x).

use super::{Common, MINILM};
use crate::schema::{ColumnType, Role, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    let memory_entries = TableSpec::builder("memory_entries")
        .key("scope", ColumnType::Text)
        .key("partition", ColumnType::Text)
        .key("key", ColumnType::Text)
        .column("value", ColumnType::Json)
        .role(Role::SearchText)
        .column("metadata", ColumnType::Json)
        .columns(ColumnType::Text, &["owner", "access_level", "team_id", "swarm_id"])
        .created_at()
        .updated_at()
        .column("expires_at", ColumnType::Timestamp)
        .column("embedding", MINILM)
        .role(Role::Embedding)
        .text(&["key", "value"]);
    vec![memory_entries]
}
