//! The hub's own tables: numbered upgrades, each with the checksum of its text.
//!
//! All of it is one piece of SQL that does nothing where it was run before, so that what
//! `init --print` shows is what `init` runs.

use std::fmt::Write as _;

use aqe_sync_core::{Error, ErrorKind, Identifier, Result};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::ddl::literal;
use super::flavour::{Flavour, VectorKind};
use super::present::Applied;

/// What writes itself into `schema_migrations.applied_by`.
pub(super) const WRITER: &str = concat!("aqe-sync ", env!("CARGO_PKG_VERSION"));

/// Tables that belong to the hub itself.
pub(super) const OWN_TABLES: [&str; 12] = [
    "hub_info",
    "schema_migrations",
    "sync_state",
    "sync_versions",
    "sync_history",
    "conflict_log",
    "dead_letters",
    "fleet_excluded",
    "fleet_kept",
    "environments",
    "vectors",
    "vector_progress",
];

struct Migration {
    name: &'static str,
    /// `{schema}` stands for the quoted schema, `{vector}` for the type of vectors.
    sql: &'static str,
}

/// Once published, an upgrade's text never changes.
const MIGRATIONS: [Migration; 6] = [
    Migration { name: "progress", sql: include_str!("migrations/0001_progress.sql") },
    Migration { name: "exceptions", sql: include_str!("migrations/0002_exceptions.sql") },
    Migration { name: "fleet", sql: include_str!("migrations/0003_fleet.sql") },
    Migration { name: "environments", sql: include_str!("migrations/0004_environments.sql") },
    Migration { name: "vectors", sql: include_str!("migrations/0005_vectors.sql") },
    Migration { name: "history", sql: include_str!("migrations/0006_history.sql") },
];

fn checksum(sql: &str) -> String {
    format!("{:032x}", xxh3_128(sql.as_bytes()))
}

/// Whether upgrades are due.
///
/// # Errors
/// When the hub is newer than this program, or was upgraded by something else.
pub(super) fn is_due(applied: &[Applied], schema: &Identifier) -> Result<bool> {
    let refused = |message: String| {
        Error::new(ErrorKind::Incompatible, message).during("opening the hub").context("schema", schema)
    };
    for (position, upgrade) in applied.iter().enumerate() {
        let Some(known) = MIGRATIONS.get(position) else {
            // `applied` is in the order of numbers: the last is the newest.
            let newest = applied.last().unwrap_or(upgrade);
            return Err(refused(format!(
                "the hub has schema version {}, written by {}; this is {WRITER}, which knows versions up to {}",
                newest.number,
                newest.by,
                MIGRATIONS.len()
            ))
            .advice(format!("install {} or newer", newest.by)));
        };
        if usize::try_from(upgrade.number) != Ok(position + 1) || upgrade.checksum != checksum(known.sql) {
            return Err(refused(format!(
                "upgrade {} ({}) of the hub, applied by {}, is not the one that {WRITER} knows by that number",
                upgrade.number, upgrade.name, upgrade.by
            ))
            .advice(format!(
                "nothing was changed; use {}, or a hub in another schema, and report it if both are released versions",
                upgrade.by
            )));
        }
    }
    Ok(applied.len() < MIGRATIONS.len())
}

/// Takes the lock under which a hub's schema is changed, for as long as the transaction.
pub(in crate::postgres) fn lock(schema: &Identifier) -> String {
    // Any fixed mapping to 64 bits; a collision with another program's lock only waits.
    let key = xxh3_64(format!("aqe-sync schema {schema}").as_bytes()).cast_signed();
    format!("SELECT pg_catalog.pg_advisory_xact_lock({key});\n")
}

/// Makes the schema and the hub's own tables and describes the hub, as far as missing.
/// For a transaction that begins with [`lock`].
pub(super) fn statements(
    schema: &Identifier,
    flavour: &Flavour,
    vector_index: bool,
    embedding_model: Option<&str>,
) -> String {
    let name = schema.quoted().to_string();
    let tag = dollar_tag(&name);
    let vector_type = match flavour.kind() {
        VectorKind::None => "real[]".to_owned(),
        kind => flavour.qualified(kind.type_name()),
    };
    let mut sql = String::new();
    // CREATE SCHEMA IF NOT EXISTS asks for the privilege also where there is nothing to do.
    let _ = write!(
        sql,
        "DO {tag} BEGIN\n\
         IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {}) THEN\n  CREATE SCHEMA {name};\nEND IF;\n\
         END {tag};\n\
         CREATE TABLE IF NOT EXISTS {name}.hub_info (\n  key text PRIMARY KEY,\n  value text NOT NULL\n);\n\
         CREATE TABLE IF NOT EXISTS {name}.schema_migrations (\n  number integer PRIMARY KEY,\n  name text NOT NULL,\n  \
         checksum text NOT NULL,\n  applied_at timestamptz NOT NULL,\n  applied_by text NOT NULL\n);\n",
        literal(schema.as_str())
    );
    for (position, migration) in MIGRATIONS.iter().enumerate() {
        let number = position + 1;
        let _ = write!(
            sql,
            "DO {tag} BEGIN\nIF NOT EXISTS (SELECT FROM {name}.schema_migrations WHERE number = {number}) THEN\n\
             {}INSERT INTO {name}.schema_migrations (number, name, checksum, applied_at, applied_by)\n  \
             VALUES ({number}, '{}', '{}', now(), '{WRITER}');\nEND IF;\nEND {tag};\n",
            migration.sql.replace("{schema}", &name).replace("{vector}", &vector_type),
            migration.name,
            checksum(migration.sql),
        );
    }
    sql.push_str(&description(&name, flavour, vector_index, embedding_model));
    sql
}

/// The rows of `hub_info`; what is there already stands.
fn description(schema: &str, flavour: &Flavour, vector_index: bool, embedding_model: Option<&str>) -> String {
    let kind = flavour.kind().as_str();
    let mut sql = format!(
        "INSERT INTO {schema}.hub_info (key, value) VALUES\n  \
         ('hub_id', gen_random_uuid()::text),\n  \
         ('created_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')),\n  \
         ('vector_flavour', '{kind}'),\n  ('vector_index', '{}')",
        if vector_index { "hnsw" } else { "none" }
    );
    if let Some(model) = embedding_model {
        let _ = write!(sql, ",\n  ('embedding_model', {})", literal(model));
    }
    sql.push_str("\nON CONFLICT DO NOTHING;\n");
    if flavour.kind() != VectorKind::None {
        let _ = write!(
            sql,
            "INSERT INTO {schema}.hub_info (key, value)\n  SELECT 'vector_extension_version', extversion \
             FROM pg_catalog.pg_extension WHERE extname = '{kind}'\nON CONFLICT DO NOTHING;\n"
        );
    }
    sql
}

/// A dollar quote that does not occur in the name of the schema.
pub(super) fn dollar_tag(name: &str) -> String {
    let mut tag = "$aqe$".to_owned();
    while name.contains(&tag) {
        tag.insert(tag.len() - 1, '_');
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_upgrades_never_change() {
        let sums: Vec<String> = MIGRATIONS.iter().map(|migration| checksum(migration.sql)).collect();
        let published = [
            "0ed002f93ba772efa04f8e6bad95bf2d",
            "40787afd9fa36cd2d096cd2ad3b46e54",
            "4d689e164e87385a0190c4909d747e86",
            "e707dab8efc207ae6a60a0363313dcdd",
            "9b38fbb7308ea09cdb4d7afe788dd74d",
            "880271e6f677011093f422f8bfb7e2ae",
        ];
        assert_eq!(sums, published);
    }

    #[test]
    fn every_own_table_is_made_by_name() {
        let sql = statements(&Identifier::new("aqe").unwrap(), &Flavour::NONE, false, None);
        for table in OWN_TABLES {
            assert!(sql.contains(&format!("\"aqe\".{table} (")), "{table}");
        }
        assert_eq!(sql.matches("CREATE TABLE").count(), OWN_TABLES.len());
    }

    #[test]
    fn a_schema_named_like_the_quote_does_not_end_it() {
        assert_eq!(dollar_tag("\"$aqe$ $aqe_$\""), "$aqe__$");
    }
}
