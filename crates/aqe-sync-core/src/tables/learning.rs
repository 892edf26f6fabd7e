//! What agents learned from doing: experiences, Q-values, routing, trajectories, dreams.

use super::{Common, MINILM};
use crate::conflict::PolicySpec;
use crate::schema::{ColumnType, Deletes, Role, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    vec![experiences(), q_values(), memories(), routing(), trajectories(), insights()]
}

/// 2.x rows count up per file, so their id here is made of source, local id and
/// content; 3.x `captured_experiences` bring their own.
fn experiences() -> TableBuilder {
    TableSpec::builder("learning_experiences")
        .key("id", ColumnType::Text)
        .column("local_id", ColumnType::Int)
        .columns(ColumnType::Text, &["agent_id", "task_id", "task_type"])
        .columns(ColumnType::Json, &["state", "action"])
        .column("reward", ColumnType::Float)
        .column("next_state", ColumnType::Json)
        .column("episode_id", ColumnType::Text)
        .column("metadata", ColumnType::Json)
        .created_at()
        .column("timestamp", ColumnType::Timestamp)
        .search_text(&["task", "domain"])
        .column("success", ColumnType::Bool)
        .column("quality", ColumnType::Float)
        .column("duration_ms", ColumnType::Float)
        .column("model_tier", ColumnType::Int)
        .columns(ColumnType::Json, &["routing_json", "steps_json", "result_json", "tags"])
        .columns(ColumnType::Text, &["error", "origin", "consolidated_into"])
        .columns(ColumnType::Timestamp, &["started_at", "completed_at", "last_applied_at", "quality_updated_at"])
        .counters(&["application_count", "consolidation_count", "reuse_success_count", "reuse_failure_count"])
        .rate("avg_token_savings", "application_count")
        .column("embedding", MINILM)
        .role(Role::Embedding)
        .text(&["task", "task_type", "domain"])
        .deletes(Deletes::Ignore)
}

/// Q-values of 2.x (`q_values`), 3.x (`rl_q_values`) and ruvector's `patterns`,
/// which know neither algorithm nor agent (both empty).
fn q_values() -> TableBuilder {
    TableSpec::builder("qlearning_patterns")
        .key("scope", ColumnType::Text)
        .key("algorithm", ColumnType::Text)
        .key("agent_id", ColumnType::Text)
        .key("state", ColumnType::Text)
        .key("action", ColumnType::Text)
        .counters(&["visits"])
        .rate("q_value", "visits")
        .column("last_reward", ColumnType::Float)
        .column("domain", ColumnType::Text)
        .column("metadata", ColumnType::Json)
        .column("local_id", ColumnType::Text)
        .created_at()
        .column("last_update", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .policy(PolicySpec::WeightedMerge)
}

/// `intelligence.json`'s memories: their ids are seconds and repeat, so the id
/// here is made of time, type, content and an ordinal.
fn memories() -> TableBuilder {
    TableSpec::builder("intelligence_memories")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Text, &["local_id", "memory_type"])
        .search_text(&["content"])
        .text(&["content"])
        .column("embedding", ColumnType::Vector(64))
        .role(Role::Embedding)
        .column("metadata", ColumnType::Json)
        .column("timestamp", ColumnType::Timestamp)
        .role(Role::CreatedAt)
        .deletes(Deletes::Ignore)
}

fn routing() -> TableBuilder {
    TableSpec::builder("routing_outcomes")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Json, &["task_json", "decision_json"])
        .column("used_agent", ColumnType::Text)
        .columns(ColumnType::Bool, &["followed_recommendation", "success"])
        .columns(ColumnType::Float, &["quality_score", "duration_ms"])
        .columns(ColumnType::Text, &["error", "model_tier"])
        .column("advisor_consultation_json", ColumnType::Json)
        .text(&["task_json", "used_agent"])
        .column("exploration", ColumnType::Bool)
        .columns(ColumnType::Float, &["criticality", "q_weight"])
        .created_at()
}

fn trajectories() -> TableBuilder {
    TableSpec::builder("qe_trajectories")
        .key("id", ColumnType::Text)
        .search_text(&["task"])
        .text(&["task", "feedback"])
        .columns(ColumnType::Text, &["agent", "domain"])
        .column("started_at", ColumnType::Timestamp)
        .role(Role::CreatedAt)
        .column("ended_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .column("success", ColumnType::Bool)
        .columns(ColumnType::Json, &["steps_json", "metadata_json"])
        .columns(ColumnType::Text, &["feedback", "related_patterns"])
        .column("embedding", MINILM)
        .role(Role::Embedding)
}

/// 3.x, and 2.x' own shape (type, title, associated concepts, status…).
fn insights() -> TableBuilder {
    TableSpec::builder("dream_insights")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Text, &["cycle_id", "insight_type", "title"])
        .columns(ColumnType::Json, &["source_concepts", "target_agent_types", "outcome"])
        .search_text(&["description"])
        .text(&["title", "description", "suggested_action"])
        .column("novelty_score", ColumnType::Float)
        .column("confidence_score", ColumnType::Float)
        .role(Role::Confidence)
        .columns(ColumnType::Bool, &["actionable", "applied"])
        .columns(ColumnType::Text, &["suggested_action", "priority", "status", "pattern_id"])
        .created_at()
        .column("applied_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
}
