//! What worked: patterns of agentic-qe 2.x and claude-flow, `qe_patterns`, `sona_patterns`.

use super::{Common, MINILM};
use crate::conflict::PolicySpec;
use crate::schema::{ColumnType, Role, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    vec![patterns(), qe_patterns(), sona_patterns()]
}

/// A file of bare vectors adds the embedding to the pattern of that id; of two
/// full versions the more confident one wins.
fn complement_then_confidence() -> PolicySpec {
    PolicySpec::FirstOf(vec![
        PolicySpec::Complement,
        PolicySpec::HigherConfidence,
        PolicySpec::NewerWins,
        PolicySpec::SourcePriority,
    ])
}

fn patterns() -> TableBuilder {
    TableSpec::builder("patterns")
        .key("id", ColumnType::Text)
        .search_text(&["pattern", "name", "description"])
        .columns(ColumnType::Text, &["pattern_type", "agent_id", "domain", "category", "framework", "language"])
        .columns(ColumnType::Text, &["condition", "action", "learned_from", "parent_id", "status"])
        .columns(ColumnType::Json, &["pattern_data", "template", "examples", "tags", "metadata"])
        .confidence()
        .counters(&["usage_count", "success_count", "failure_count"])
        .rate("success_rate", "usage_count")
        .columns(ColumnType::Float, &["quality", "decay_rate"])
        .columns(ColumnType::Int, &["ttl", "half_life_days", "version"])
        .created_at()
        .updated_at()
        .columns(ColumnType::Timestamp, &["expires_at", "last_used_at", "last_success_at", "last_failure_at"])
        .column("embedding", MINILM)
        .role(Role::Embedding)
        .column("embedding_model", ColumnType::Text)
        .text(&["name", "pattern", "description", "condition", "action", "template", "pattern_data"])
        .policy(complement_then_confidence())
}

fn qe_patterns() -> TableBuilder {
    TableSpec::builder("qe_patterns")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Text, &["pattern_type", "qe_domain", "domain"])
        .search_text(&["name", "description"])
        .confidence()
        .counters(&["usage_count", "successful_uses"])
        .rate("success_rate", "usage_count")
        .column("quality_score", ColumnType::Float)
        .columns(ColumnType::Text, &["tier", "provenance_tier"])
        .column("template_json", ColumnType::Json)
        .role(Role::SearchText)
        .column("context_json", ColumnType::Json)
        .columns(ColumnType::Int, &["tokens_used", "input_tokens", "output_tokens"])
        .column("latency_ms", ColumnType::Float)
        .column("reusable", ColumnType::Bool)
        .counters(&["reuse_count", "total_tokens_saved"])
        .rate("average_token_savings", "reuse_count")
        .column("consecutive_failures", ColumnType::Int)
        .created_at()
        .updated_at()
        .columns(ColumnType::Timestamp, &["last_used_at", "deprecated_at", "promotion_date"])
        .column("embedding", MINILM)
        .role(Role::Embedding)
        .columns(ColumnType::Text, &["embedding_model", "embedding_space_id"])
        .text(&["name", "description", "template_json"])
        .policy(complement_then_confidence())
}

fn sona_patterns() -> TableBuilder {
    TableSpec::builder("sona_patterns")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Text, &["type", "domain"])
        .column("state_embedding", MINILM)
        .role(Role::Embedding)
        .column("action_embedding", MINILM)
        .columns(ColumnType::Text, &["action_type", "action_value"])
        .column("outcome_reward", ColumnType::Float)
        .column("outcome_success", ColumnType::Bool)
        .column("outcome_quality", ColumnType::Float)
        .confidence()
        .counters(&["usage_count", "success_count", "failure_count"])
        .column("metadata", ColumnType::Json)
        .created_at()
        .updated_at()
        .column("last_used_at", ColumnType::Timestamp)
        .policy(complement_then_confidence())
}
