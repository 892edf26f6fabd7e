//! Row-level security: every login writes its own environment's rows only.
//!
//! Which login is which environment's stands in the table `environments`, which only the
//! hub's owner can write. No function is involved that anybody could shadow; policies name
//! tables by their identity, not by whatever stands first in a `search_path`.

use std::fmt::Write as _;
use std::sync::Arc;

use aqe_sync_core::{Identifier, Quoted, TableSpec};
use xxhash_rust::xxh3::xxh3_128;

use super::Hub;
use super::ddl::literal;
use super::migrate::{OWN_TABLES, dollar_tag};
use super::prepare;

/// The table that says which login is which environment's.
pub(in crate::postgres) const ENVIRONMENTS: &str = "environments";

/// A table that is guarded where environments are kept apart, and nowhere else.
pub(in crate::postgres) const MARK: &str = "sync_versions";

/// Whose role owns the hub: the owner of the table that was made first.
const OWNED: &str = "hub_info";

/// Tables that concern all environments: the owner's alone to write.
pub(in crate::postgres) const READ_ONLY: &[&str] = &["hub_info", "schema_migrations", "fleet_excluded", ENVIRONMENTS];

/// What an environment's login may do with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Look at all of it, and nothing else.
    Read,
    /// Add its own rows.
    Append,
    /// Add and change its own rows. Rows are never deleted: they become tombstones.
    Write,
    /// All of that, and delete its own rows.
    Clear,
}

impl Use {
    fn of(table: &str) -> Self {
        match table {
            _ if READ_ONLY.contains(&table) => Self::Read,
            "sync_history" | "conflict_log" => Self::Append,
            "fleet_kept" | "vectors" | "dead_letters" => Self::Clear,
            _ => Self::Write,
        }
    }

    fn privileges(self) -> &'static str {
        match self {
            Self::Read => "SELECT",
            Self::Append => "SELECT, INSERT",
            Self::Write => "SELECT, INSERT, UPDATE",
            Self::Clear => "SELECT, INSERT, UPDATE, DELETE",
        }
    }
}

/// The role that environments' logins are members of: it may use the hub's tables. Roles
/// belong to the whole server, so the name says which hub.
pub(in crate::postgres) fn group(hub: &str) -> Identifier {
    let name = format!("aqe_hub_{:032x}", xxh3_128(hub.as_bytes()));
    Identifier::new(&name).expect("40 letters, digits and underscores are a usable name")
}

/// Makes the group, and lets nobody else in by default. Reading is for members to begin
/// with, also of what the owner makes later, such as views.
pub(in crate::postgres) fn open_to(schema: &Identifier, group: &Identifier) -> String {
    let (quoted, name) = (schema.quoted().to_string(), group.quoted());
    let (role, tag) = (literal(group.as_str()), dollar_tag(&quoted));
    // Whoever runs this may be a superuser: the owner's tables and views are meant.
    let owner = format!(
        "(SELECT relowner::pg_catalog.regrole::text FROM pg_catalog.pg_class WHERE oid = {}::pg_catalog.regclass)",
        literal(&format!("{quoted}.{OWNED}"))
    );
    format!(
        "DO {tag} BEGIN\nIF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {role}) THEN\n  \
         CREATE ROLE {name} NOLOGIN;\nEND IF;\n\
         IF NOT pg_catalog.has_database_privilege({role}, current_database(), 'CONNECT') THEN\n  \
         EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {role});\nEND IF;\n\
         IF NOT pg_catalog.has_database_privilege({role}, current_database(), 'TEMPORARY') THEN\n  \
         EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), {role});\nEND IF;\n\
         EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %I GRANT SELECT ON TABLES TO %I',\n  \
         {owner}, {}, {role});\nEND {tag};\n\
         REVOKE ALL ON SCHEMA {quoted} FROM PUBLIC;\n\
         GRANT USAGE ON SCHEMA {quoted} TO {name};\n\
         REVOKE ALL ON ALL TABLES IN SCHEMA {quoted} FROM PUBLIC;\n\
         GRANT SELECT ON ALL TABLES IN SCHEMA {quoted} TO {name};\n",
        literal(schema.as_str())
    )
}

/// Guards one table, whatever was there before. Reading is a matter of privileges alone.
///
/// The comparison is one that no index serves: the planner would else take all rows of
/// an environment for each row of a batch.
pub(in crate::postgres) fn table(schema: &Identifier, name: &str, group: &Identifier) -> String {
    let schema_name = schema.quoted();
    let quoted = format!("{schema_name}.{}", Quoted(name));
    let owner = format!(
        "(SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c WHERE c.oid = {}::pg_catalog.regclass)",
        literal(&format!("{schema_name}.{OWNED}"))
    );
    let usage = Use::of(name);
    let may = if usage == Use::Read {
        owner
    } else {
        format!(
            "source_env IS NOT DISTINCT FROM (SELECT e.environment FROM {schema_name}.{ENVIRONMENTS} e \
             WHERE e.role = CURRENT_USER::text AND e.revoked_at IS NULL) OR {owner}"
        )
    };
    let mut sql = format!("ALTER TABLE {quoted} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n");
    // Writing to a String cannot fail.
    let _ = write!(
        sql,
        "DROP POLICY IF EXISTS aqe_read ON {quoted};\nCREATE POLICY aqe_read ON {quoted} FOR SELECT USING (true);\n\
         DROP POLICY IF EXISTS aqe_write ON {quoted};\nCREATE POLICY aqe_write ON {quoted} USING ({may}) WITH CHECK ({may});\n"
    );
    let group = group.quoted();
    let _ = write!(
        sql,
        "REVOKE ALL ON {quoted} FROM PUBLIC, {group};\nGRANT {} ON {quoted} TO {group};\n",
        usage.privileges()
    );
    sql
}

impl Hub {
    /// The SQL that guards what ought to be and is not, where environments are kept apart.
    pub(super) fn unguarded(&self, tables: &[Arc<TableSpec>]) -> String {
        if !self.is_guarded() {
            return String::new();
        }
        let group = group(&self.id);
        self.open(tables).into_iter().map(|name| table(&self.schema, name, &group)).collect()
    }

    /// Tables that ought to be guarded and are not, those first that are not there yet.
    fn open<'t>(&self, tables: &'t [Arc<TableSpec>]) -> Vec<&'t str> {
        let names = tables.iter().map(|table| table.name().as_str()).chain(OWN_TABLES);
        names.filter(|name| !self.present.is_guarded(name)).collect()
    }

    /// What it takes to keep environments apart, for the owner; nothing where all of it is there.
    pub(in crate::postgres) fn guard_due(&self) -> Option<String> {
        let ours = |name: &&str| {
            let columns = self.present.table(name);
            let common = |column: &str| columns.is_some_and(|columns| columns.contains_key(column));
            OWN_TABLES.contains(name) || ["source_env", "content_hash", "sync_version"].into_iter().all(common)
        };
        let open: Vec<&str> =
            self.present.tables().filter(ours).filter(|name| !self.present.is_guarded(name)).collect();
        if open.is_empty() {
            return None;
        }
        let group = group(&self.id);
        let mut sql = open_to(&self.schema, &group);
        for name in open {
            sql += &table(&self.schema, name, &group);
        }
        Some(sql)
    }

    /// Why a login that cannot make tables cannot go on.
    pub(super) fn incomplete(&self, tables: &[Arc<TableSpec>]) -> String {
        let of = |table: &&Arc<TableSpec>| {
            prepare::missing(&self.schema, table, &self.flavour, self.vector_index, &self.present)
                .is_ok_and(|sql| !sql.is_empty())
        };
        let mut names: Vec<&str> = tables.iter().filter(of).map(|table| table.name().as_str()).collect();
        names.extend(self.open(tables));
        names.sort_unstable();
        names.dedup();
        format!("tables of the hub are missing or not ready, and only its owner may make them: {}", names.join(", "))
    }

    /// Whether environments are kept apart: each is written by the login that was made for
    /// it, and by the hub's owner.
    pub fn is_guarded(&self) -> bool {
        self.present.is_guarded(MARK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hub_has_a_group_of_its_own_with_a_name_that_fits() {
        let (one, other) = (group("5cbd1131-111c"), group("5cbd1131-111d"));
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 40);
    }

    #[test]
    fn what_concerns_all_environments_is_the_owners_alone() {
        let (schema, group) = (Identifier::new("aqe").unwrap(), group("hub"));
        for name in READ_ONLY {
            let sql = table(&schema, name, &group);
            assert!(!sql.contains("source_env") && sql.contains("GRANT SELECT ON"), "{sql}");
        }
        for name in OWN_TABLES.into_iter().filter(|name| Use::of(name) != Use::Read).chain(["patterns"]) {
            assert!(table(&schema, name, &group).contains("WITH CHECK (source_env IS NOT DISTINCT FROM"), "{name}");
        }
    }
}
