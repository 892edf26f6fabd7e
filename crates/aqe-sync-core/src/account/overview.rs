//! What a hub holds, for people and monitoring.

use serde::Serialize;

/// The hub at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// Who has written to it.
    pub environments: Vec<EnvironmentOverview>,
    /// Tables that hold anything.
    pub tables: Vec<TableOverview>,
    /// Entries of `conflict_log`.
    pub conflicts: u64,
    /// Entries of `dead_letters` that are not settled: their records are still at their sources.
    pub dead_letters: u64,
    /// Size on disk.
    pub bytes: u64,
    /// The last runs, the latest first, at most twenty.
    pub runs: Vec<RunOverview>,
    /// The models that texts were embedded with, that of most vectors first.
    pub models: Vec<ModelOverview>,
    /// What a person should know about the hub itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnvironmentOverview {
    /// Its name.
    pub environment: String,
    /// Its streams that ever committed anything.
    pub streams: Vec<StreamOverview>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamOverview {
    /// Where it is read.
    pub source: String,
    /// Its name there.
    pub stream: String,
    /// The hub table it goes to.
    pub table: String,
    /// When it last changed anything, ISO 8601.
    pub last_synced: Option<String>,
    /// Live rows whose content is from it.
    pub rows: u64,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableOverview {
    /// Its name.
    pub table: String,
    /// Live rows.
    pub rows: u64,
    /// Rows that are gone from their sources.
    pub tombstones: u64,
    /// What it takes on disk, its indexes included.
    pub bytes: u64,
    /// How many of its rows have a vector of the model of most vectors; `None` where its rows
    /// have no text.
    pub vectors: Option<u64>,
}

/// One embedding model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelOverview {
    /// Its identity.
    pub model: String,
    /// How many vectors of it there are.
    pub vectors: u64,
    /// Which share of the nearest rows the hub's index finds, when that was last compared.
    pub recall: Option<f64>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunOverview {
    /// Its id.
    pub run_id: String,
    /// Who ran.
    pub environment: String,
    /// `full`, `incremental` or `append`.
    pub mode: String,
    /// `ok`, `partial` or `failed`.
    pub status: String,
    /// ISO 8601.
    pub started_at: String,
    /// How long it took.
    pub duration_ms: u64,
    /// Records read.
    pub read: u64,
    /// Rows that it changed in the hub.
    pub changed: u64,
    /// Records that could not be stored.
    pub dead_lettered: u64,
    /// Versions that met another.
    pub conflicts: u64,
}

impl RunOverview {
    /// Takes what is shown of a run's totals from the JSON that hubs keep of them.
    #[must_use]
    pub fn with_totals(mut self, totals: &str) -> Self {
        let totals: serde_json::Value = serde_json::from_str(totals).unwrap_or_default();
        let total = |name: &str| totals.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        self.read = total("read");
        self.changed = total("inserted") + total("updated") + total("merged") + total("deleted");
        self.dead_lettered = total("dead_lettered");
        self.conflicts = total("conflicts");
        self
    }
}
