//! Views of a hub that show the fleet's records to people with SQL: [`super::merge`] as
//! queries.
//!
//! | view | what it shows |
//! |---|---|
//! | `merged_<table>` | the fleet's records of a table that counts something |
//! | `fleet_patterns` | what the three tables of patterns have in common |
//! | `fleet_qvalues`, `fleet_goap_actions` | their tables under names that people look for |
//! | `fleet_environments` | who there is, since when, and with how many rows |
//!
//! They are made from the catalogue, as the tables are, and read only columns that every
//! hub has: embeddings are left out. In PostgreSQL the numbers are those of `merge` to the
//! bit. SQLite adds doubles with a compensation of its own, so that a rate there may differ
//! in the last bits. What environments say is compared as PostgreSQL compares `jsonb`, and
//! in SQLite as text.

mod dialect;
mod environments;
mod merged;

pub use dialect::Dialect;

use crate::{Role, TableSpec, tables};

/// Grows with every change of any view: a hub whose views are older has them made anew,
/// one whose views are newer keeps them.
pub const VERSION: u32 = 1;

/// A query with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, without a schema.
    pub name: String,
    /// The query.
    pub query: String,
}

/// All views, those that others read first. They need all tables of the catalogue.
pub fn all(dialect: &Dialect) -> Vec<View> {
    let counting = tables::all().iter().filter(|table| counts(table));
    let mut views: Vec<View> = counting.map(|table| merged::view(dialect, table)).collect();
    views.push(patterns(dialect));
    for (name, table) in [("fleet_qvalues", "qlearning_patterns"), ("fleet_goap_actions", "goap_actions")] {
        let query = format!("SELECT * FROM {}", dialect.relation(&merged::name(table)));
        views.push(View { name: name.to_owned(), query });
    }
    views.push(environments::view(dialect));
    views
}

/// Whether environments add something up in a table.
fn counts(table: &TableSpec) -> bool {
    table.columns().iter().any(|column| matches!(column.role, Role::Counter | Role::Rate { .. }))
}

/// Where a table of patterns has what `fleet_patterns` shows of all of them.
struct Patterns {
    table: &'static str,
    domain: &'static str,
    kind: &'static str,
    name: &'static str,
    text: &'static str,
    successes: &'static str,
    failures: &'static str,
    success_rate: &'static str,
}

const PATTERNS: [Patterns; 3] = [
    Patterns {
        table: "patterns",
        domain: "domain",
        kind: "pattern_type",
        name: "name",
        text: "coalesce(pattern, description)",
        successes: "success_count",
        failures: "failure_count",
        success_rate: "success_rate",
    },
    Patterns {
        table: "qe_patterns",
        domain: "coalesce(qe_domain, domain)",
        kind: "pattern_type",
        name: "name",
        text: "description",
        successes: "successful_uses",
        failures: "NULL",
        success_rate: "success_rate",
    },
    Patterns {
        table: "sona_patterns",
        domain: "domain",
        kind: "type",
        name: "action_type",
        text: "action_value",
        successes: "success_count",
        failures: "failure_count",
        success_rate: "NULL",
    },
];

fn patterns(dialect: &Dialect) -> View {
    let parts = PATTERNS.iter().map(|of| {
        format!(
            "SELECT '{}' AS hub_table, id, {} AS domain, {} AS type, {} AS name, {} AS text, confidence, usage_count, \
             {} AS success_count, {} AS failure_count, {} AS success_rate, created_at, updated_at, last_used_at, \
             winner, environments, environment_count, agreeing\nFROM {}",
            of.table,
            of.domain,
            dialect.column(of.kind),
            of.name,
            of.text,
            of.successes,
            of.failures,
            of.success_rate,
            dialect.relation(&merged::name(of.table)),
        )
    });
    let query = parts.collect::<Vec<_>>().join("\nUNION ALL\n");
    View { name: "fleet_patterns".to_owned(), query }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identifier;
    use xxhash_rust::xxh3::xxh3_64;

    /// Hubs make their views anew when the version has grown, and not otherwise: whoever
    /// changes a view, or a column of the catalogue that one shows, raises it.
    #[test]
    fn views_that_changed_have_a_new_version() {
        let dialects = [Dialect::Sqlite, Dialect::Postgres { schema: Identifier::new("aqe").unwrap() }];
        let text: String =
            dialects.iter().flat_map(all).flat_map(|view| [view.name, view.query]).collect::<Vec<_>>().join("\n");
        assert_eq!((VERSION, format!("{:016x}", xxh3_64(text.as_bytes()))), (1, "5fe29aae7bcfe93f".to_owned()));
    }
}
