//! agentic-qe 3.x' graph of agents: minimum cuts, alerts, healing.

use super::Common;
use crate::schema::{ColumnType, Deletes, Role, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    vec![snapshots(), history(), alerts(), weak_vertices(), healing_actions(), observations()]
}

fn snapshots() -> TableBuilder {
    TableSpec::builder("mincut_snapshots")
        .key("id", ColumnType::Text)
        .column("timestamp", ColumnType::Timestamp)
        .columns(ColumnType::Int, &["vertex_count", "edge_count", "component_count"])
        .column("total_weight", ColumnType::Float)
        .column("is_connected", ColumnType::Bool)
        .columns(ColumnType::Json, &["vertices_json", "edges_json"])
        .created_at()
}

/// Its ids count up per file: the id here is made of source, local id and content.
fn history() -> TableBuilder {
    TableSpec::builder("mincut_history")
        .key("id", ColumnType::Text)
        .column("local_id", ColumnType::Int)
        .column("timestamp", ColumnType::Timestamp)
        .column("mincut_value", ColumnType::Float)
        .columns(ColumnType::Int, &["vertex_count", "edge_count", "duration_ms"])
        .columns(ColumnType::Text, &["algorithm", "snapshot_id"])
        .created_at()
        .deletes(Deletes::Ignore)
}

fn alerts() -> TableBuilder {
    TableSpec::builder("mincut_alerts")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Text, &["severity", "message"])
        .columns(ColumnType::Float, &["mincut_value", "threshold"])
        .columns(ColumnType::Json, &["affected_vertices_json", "remediations_json"])
        .column("acknowledged", ColumnType::Bool)
        .column("acknowledged_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .column("acknowledged_by", ColumnType::Text)
        .column("timestamp", ColumnType::Timestamp)
        .created_at()
}

fn weak_vertices() -> TableBuilder {
    TableSpec::builder("mincut_weak_vertices")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Text, &["vertex_id", "vertex_type", "domain", "reason", "snapshot_id"])
        .columns(ColumnType::Float, &["weighted_degree", "risk_score"])
        .column("suggestions_json", ColumnType::Json)
        .column("detected_at", ColumnType::Timestamp)
        .column("resolved_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt)
        .created_at()
}

fn healing_actions() -> TableBuilder {
    TableSpec::builder("mincut_healing_actions")
        .key("id", ColumnType::Text)
        .column("action_type", ColumnType::Text)
        .column("action_params_json", ColumnType::Json)
        .column("success", ColumnType::Bool)
        .columns(ColumnType::Float, &["mincut_before", "mincut_after", "improvement"])
        .column("duration_ms", ColumnType::Int)
        .columns(ColumnType::Text, &["error_message", "triggered_by", "snapshot_before_id", "snapshot_after_id"])
        .created_at()
}

fn observations() -> TableBuilder {
    TableSpec::builder("mincut_observations")
        .key("id", ColumnType::Text)
        .columns(ColumnType::Int, &["iteration", "weak_vertex_count"])
        .columns(ColumnType::Float, &["mincut_value", "actual_vs_predicted_diff"])
        .columns(ColumnType::Json, &["weak_vertices_json", "prediction_json"])
        .column("snapshot_id", ColumnType::Text)
        .column("timestamp", ColumnType::Timestamp)
        .role(Role::CreatedAt)
}
