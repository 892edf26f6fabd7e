//! Which tables of which tool go where, by the columns they have.
//!
//! Sources: the tools' own schemas, as found in files written by agentic-qe
//! 1.4 to 3.14 and claude-flow 2.7 to 3.x.

/// One shape of one table.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) table: &'static str,
    /// Columns that make it this shape.
    pub(crate) needs: &'static [&'static str],
    /// Columns that would make it another.
    pub(crate) lacks: &'static [&'static str],
    /// The hub table.
    pub(crate) hub: &'static str,
    /// Columns that the hub names differently. Others keep their name; those
    /// that the hub lacks go to `extra`.
    pub(crate) rename: &'static [(&'static str, &'static str)],
    /// Fields that no column holds.
    pub(crate) computed: &'static [(&'static str, Rule)],
    pub(crate) join: Option<&'static Join>,
}

/// How a field is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// The package that the file belongs to.
    Scope,
    /// Empty text, unless there is such a column.
    Empty,
    /// Local id, source and a digest of these columns: for ids that count up per file.
    PerFile(&'static [&'static str]),
    /// Name and agent type for the ids that 3.x makes up per database, else the id.
    ActionId,
    /// claude-flow's category, by key.
    Category,
}

/// A table that holds the embeddings of another.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) table: &'static str,
    /// Its column that names the other's `id`.
    pub(crate) id: &'static str,
    pub(crate) vector: &'static str,
    /// As [`Mapping::rename`]; other columns are prefixed with `embedding_`.
    pub(crate) rename: &'static [(&'static str, &'static str)],
}

const PLAIN: Mapping = Mapping { table: "", needs: &[], lacks: &[], hub: "", rename: &[], computed: &[], join: None };

const SCOPED: &[(&str, Rule)] = &[("scope", Rule::Scope)];

const QE_EMBEDDINGS: Join = Join {
    table: "qe_pattern_embeddings",
    id: "pattern_id",
    vector: "embedding",
    rename: &[("embedding", "embedding"), ("model", "embedding_model"), ("space_id", "embedding_space_id")],
};

const REASONING_EMBEDDINGS: Join = Join {
    table: "pattern_embeddings",
    id: "id",
    vector: "vector",
    rename: &[("vector", "embedding"), ("model", "embedding_model")],
};

const EXPERIENCE: &[&str] = &[
    "agent_id",
    "task_id",
    "task_type",
    "state",
    "action",
    "reward",
    "next_state",
    "episode_id",
    "created_at",
    "timestamp",
];

const MINCUT_HISTORY: &[&str] = &[
    "timestamp",
    "mincut_value",
    "vertex_count",
    "edge_count",
    "algorithm",
    "duration_ms",
    "snapshot_id",
    "created_at",
];

/// Tried in order; the first that fits a table's columns is taken.
pub(crate) const MAPPINGS: &[Mapping] = &[
    // Memories.
    Mapping {
        table: "memory_entries",
        needs: &["key", "partition", "value"],
        hub: "memory_entries",
        computed: SCOPED,
        ..PLAIN
    },
    Mapping {
        table: "kv_store",
        needs: &["key", "namespace", "value"],
        hub: "memory_entries",
        rename: &[("namespace", "partition")],
        computed: SCOPED,
        ..PLAIN
    },
    Mapping {
        table: "memory_store",
        needs: &["key", "namespace", "value"],
        hub: "memory_entries",
        rename: &[("namespace", "partition"), ("id", "local_id")],
        computed: SCOPED,
        ..PLAIN
    },
    Mapping {
        table: "memory_entries",
        needs: &["key", "namespace", "content"],
        hub: "claude_flow_memory",
        rename: &[("content", "value"), ("id", "local_id"), ("last_accessed_at", "accessed_at")],
        computed: CLAUDE_FLOW_MEMORY,
        ..PLAIN
    },
    Mapping {
        table: "memory_entries",
        needs: &["key", "namespace", "value"],
        hub: "claude_flow_memory",
        rename: &[("id", "local_id")],
        computed: CLAUDE_FLOW_MEMORY,
        ..PLAIN
    },
    // Learning.
    Mapping {
        table: "learning_experiences",
        needs: &["id", "agent_id", "reward"],
        hub: "learning_experiences",
        rename: &[("id", "local_id")],
        computed: &[("id", Rule::PerFile(EXPERIENCE))],
        ..PLAIN
    },
    Mapping {
        table: "captured_experiences",
        needs: &["id", "task", "agent"],
        hub: "learning_experiences",
        rename: &[("agent", "agent_id"), ("source", "origin"), ("started_at", "created_at")],
        ..PLAIN
    },
    Mapping {
        table: "captured_experiences",
        needs: &["id", "agent_id"],
        lacks: &["task"],
        hub: "learning_experiences",
        rename: CAPTURED_V2,
        ..PLAIN
    },
    Mapping {
        table: "captured_experiences_v2_backup",
        needs: &["id", "agent_id"],
        hub: "learning_experiences",
        rename: CAPTURED_V2,
        ..PLAIN
    },
    Mapping {
        table: "q_values",
        needs: &["agent_id", "state_key", "action_key", "q_value"],
        hub: "qlearning_patterns",
        rename: &[
            ("id", "local_id"),
            ("state_key", "state"),
            ("action_key", "action"),
            ("update_count", "visits"),
            ("last_updated", "last_update"),
        ],
        computed: Q_VALUES,
        ..PLAIN
    },
    Mapping {
        table: "rl_q_values",
        needs: &["state_key", "action_key", "q_value"],
        hub: "qlearning_patterns",
        rename: &[("id", "local_id"), ("state_key", "state"), ("action_key", "action"), ("updated_at", "last_update")],
        computed: Q_VALUES,
        ..PLAIN
    },
    Mapping { table: "routing_outcomes", needs: &["id", "task_json"], hub: "routing_outcomes", ..PLAIN },
    Mapping { table: "qe_trajectories", needs: &["id", "task"], hub: "qe_trajectories", ..PLAIN },
    Mapping {
        table: "dream_insights",
        needs: &["id", "description"],
        hub: "dream_insights",
        rename: &[("type", "insight_type"), ("associated_concepts", "source_concepts")],
        ..PLAIN
    },
    // Planning.
    Mapping {
        table: "goap_actions",
        needs: &["id", "preconditions", "effects"],
        hub: "goap_actions",
        rename: &[("id", "local_id"), ("duration_estimate", "estimated_duration_ms")],
        computed: &[("scope", Rule::Scope), ("id", Rule::ActionId)],
        ..PLAIN
    },
    Mapping {
        table: "goap_plans",
        needs: &["id", "goal_id"],
        hub: "goap_plans",
        rename: &[
            ("actions", "action_sequence"),
            ("estimated_duration", "estimated_duration_ms"),
            ("actual_duration", "actual_duration_ms"),
        ],
        ..PLAIN
    },
    // Patterns.
    Mapping { table: "qe_patterns", needs: &["id", "name"], hub: "qe_patterns", join: Some(&QE_EMBEDDINGS), ..PLAIN },
    Mapping { table: "sona_patterns", needs: &["id", "type"], hub: "sona_patterns", ..PLAIN },
    Mapping { table: "patterns", needs: &["id", "pattern"], hub: "patterns", ..PLAIN },
    Mapping {
        table: "patterns",
        needs: &["id", "pattern_data"],
        hub: "patterns",
        rename: &[("type", "pattern_type"), ("last_used", "last_used_at")],
        join: Some(&REASONING_EMBEDDINGS),
        ..PLAIN
    },
    Mapping {
        table: "patterns",
        needs: &["id", "name", "confidence"],
        hub: "patterns",
        rename: &[("source", "learned_from"), ("last_matched_at", "last_used_at")],
        ..PLAIN
    },
    // Events.
    Mapping {
        table: "events",
        needs: &["id", "type", "payload"],
        hub: "events",
        rename: &[("source", "event_source")],
        ..PLAIN
    },
    Mapping {
        table: "events",
        needs: &["id", "type", "data"],
        hub: "events",
        rename: &[("source", "event_source"), ("data", "payload"), ("created_at", "timestamp")],
        ..PLAIN
    },
    // The graph of agents.
    Mapping { table: "mincut_snapshots", needs: &["id", "vertices_json"], hub: "mincut_snapshots", ..PLAIN },
    Mapping {
        table: "mincut_history",
        needs: &["id", "mincut_value"],
        hub: "mincut_history",
        rename: &[("id", "local_id")],
        computed: &[("id", Rule::PerFile(MINCUT_HISTORY))],
        ..PLAIN
    },
    Mapping { table: "mincut_alerts", needs: &["id", "severity"], hub: "mincut_alerts", ..PLAIN },
    Mapping { table: "mincut_weak_vertices", needs: &["id", "vertex_id"], hub: "mincut_weak_vertices", ..PLAIN },
    Mapping { table: "mincut_healing_actions", needs: &["id", "action_type"], hub: "mincut_healing_actions", ..PLAIN },
    Mapping { table: "mincut_observations", needs: &["id", "iteration"], hub: "mincut_observations", ..PLAIN },
];

const CLAUDE_FLOW_MEMORY: &[(&str, Rule)] = &[("scope", Rule::Scope), ("category", Rule::Category)];

const Q_VALUES: &[(&str, Rule)] = &[("scope", Rule::Scope), ("algorithm", Rule::Empty), ("agent_id", Rule::Empty)];

const CAPTURED_V2: &[(&str, &str)] = &[("captured_at", "timestamp"), ("execution", "result_json")];
