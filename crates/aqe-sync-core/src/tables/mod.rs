//! The catalogue: every hub table of agent memory, as data.
//!
//! DDL, conversion, merging and search all read it, so that they cannot drift
//! apart. Column names are those of the tools that write the data; where two
//! versions name the same thing differently, the newer name stands (for instance
//! `estimated_duration_ms` for 2.x's `duration_estimate`). A column whose name
//! every table has already is renamed (`events.source` is `event_source`).
//!
//! `scope` is the package inside the project that a record belongs to, empty for
//! the project itself: two packages of one repository may use the same keys.

mod archive;
mod claude_flow;
mod events;
mod learning;
mod memory;
mod mincut;
mod patterns;
mod planning;

use std::sync::{Arc, LazyLock};

use crate::schema::{ColumnType, Role, TableBuilder};
use crate::{Result, TableSpec};

static CATALOGUE: LazyLock<Vec<Arc<TableSpec>>> = LazyLock::new(|| {
    // Built from constants only; the test below builds every table.
    build().expect("the catalogue is well-formed")
});

fn build() -> Result<Vec<Arc<TableSpec>>> {
    let families = [
        memory::tables(),
        learning::tables(),
        planning::tables(),
        patterns::tables(),
        events::tables(),
        claude_flow::tables(),
        mincut::tables(),
        archive::tables(),
    ];
    families.into_iter().flatten().map(TableBuilder::build).collect()
}

/// All tables.
///
/// ```
/// let names: Vec<&str> = aqe_sync_core::tables::all().iter().map(|table| table.name().as_str()).collect();
/// assert!(names.contains(&"qe_patterns"));
/// ```
pub fn all() -> &'static [Arc<TableSpec>] {
    &CATALOGUE
}

/// The table of that name.
pub fn find(name: &str) -> Option<&'static Arc<TableSpec>> {
    CATALOGUE.iter().find(|table| table.name().as_str() == name)
}

/// A number that changes whenever any table's columns do: what readers put into
/// fingerprints, so that a newer version looks again at what has not changed.
pub fn digest() -> u64 {
    CATALOGUE.iter().fold(0, |digest: u64, table| digest.rotate_left(1) ^ table.digest())
}

/// Dimensions of all-MiniLM-L6-v2, which agentic-qe and claude-flow embed with.
pub(crate) const MINILM: ColumnType = ColumnType::Vector(384);

/// Shorthands for what many tables have.
trait Common: Sized {
    fn confidence(self) -> Self;
    fn created_at(self) -> Self;
    fn updated_at(self) -> Self;
    fn search_text(self, names: &[&str]) -> Self;
}

impl Common for TableBuilder {
    fn confidence(self) -> Self {
        self.column("confidence", ColumnType::Float).role(Role::Confidence)
    }

    fn created_at(self) -> Self {
        self.column("created_at", ColumnType::Timestamp).role(Role::CreatedAt)
    }

    fn updated_at(self) -> Self {
        self.column("updated_at", ColumnType::Timestamp).role(Role::UpdatedAt)
    }

    fn search_text(self, names: &[&str]) -> Self {
        names.iter().fold(self, |table, name| table.column(name, ColumnType::Text).role(Role::SearchText))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_hub_is_there_once() {
        let mut names: Vec<&str> = all().iter().map(|table| table.name().as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "archive_records",
                "claude_flow_memory",
                "claude_flow_metrics",
                "claude_flow_workers",
                "dream_insights",
                "events",
                "goap_actions",
                "goap_plans",
                "intelligence_memories",
                "learning_experiences",
                "memory_entries",
                "mincut_alerts",
                "mincut_healing_actions",
                "mincut_history",
                "mincut_observations",
                "mincut_snapshots",
                "mincut_weak_vertices",
                "patterns",
                "qe_patterns",
                "qe_trajectories",
                "qlearning_patterns",
                "routing_outcomes",
                "sona_patterns",
            ]
        );
        for name in names {
            assert!(find(name).is_some());
        }
    }
}
