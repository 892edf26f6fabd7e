//! GOAP: actions that agents may take, and the plans they made of them.

use super::Common;
use crate::conflict::PolicySpec;
use crate::schema::{ColumnType, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    vec![actions(), plans()]
}

/// 3.x makes up a new id for the same built-in action in every database, so
/// there the id is made of name and agent type; `local_id` is what plans name.
fn actions() -> TableBuilder {
    TableSpec::builder("goap_actions")
        .key("scope", ColumnType::Text)
        .key("id", ColumnType::Text)
        .column("local_id", ColumnType::Text)
        .search_text(&["name", "description"])
        .column("agent_type", ColumnType::Text)
        .columns(ColumnType::Json, &["preconditions", "effects"])
        .column("cost", ColumnType::Float)
        .column("estimated_duration_ms", ColumnType::Int)
        .counters(&["execution_count"])
        .rate("success_rate", "execution_count")
        .columns(ColumnType::Text, &["category", "qe_domain", "method"])
        .column("params", ColumnType::Json)
        .column("implemented", ColumnType::Bool)
        .created_at()
        .updated_at()
        .policy(PolicySpec::SourcePriority)
        .text(&["name", "description"])
}

/// The union of the four shapes of 2.x and that of 3.x.
fn plans() -> TableBuilder {
    TableSpec::builder("goap_plans")
        .key("id", ColumnType::Text)
        .column("goal_id", ColumnType::Text)
        .columns(ColumnType::Json, &["sequence", "initial_state", "goal_state", "action_sequence"])
        .column("total_cost", ColumnType::Float)
        .columns(ColumnType::Int, &["estimated_duration_ms", "actual_duration_ms"])
        .column("status", ColumnType::Text)
        .column("success", ColumnType::Bool)
        .column("failure_reason", ColumnType::Text)
        .column("execution_trace", ColumnType::Json)
        .columns(ColumnType::Text, &["replanned_from", "reused_from"])
        .column("similarity_score", ColumnType::Float)
        .created_at()
        .columns(ColumnType::Timestamp, &["started_at", "executed_at"])
        .column("completed_at", ColumnType::Timestamp)
        .role(crate::Role::UpdatedAt)
        .text(&["goal_id", "goal_state"])
}
