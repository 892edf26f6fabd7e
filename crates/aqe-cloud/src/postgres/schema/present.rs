//! What is there already, read in one round trip.

use std::collections::{BTreeMap, BTreeSet};

use aqe_sync_core::Identifier;

use postgres_types::Type;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as Cause, Row};

use super::flavour::{Extension, VectorKind};

/// The server and what the connected user may do there.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// As `server_version_num`: 150018 is 15.18.
    pub(super) version: i32,
    pub(super) version_text: String,
    /// A standby, or a session that may only read.
    pub(super) read_only: bool,
    /// Repeats what its primary writes, and takes no writes of its own.
    pub(super) standby: bool,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) may_create_schema: bool,
    pub(super) access: Access,
    pub(super) rules: Rules,
}

/// What the connected user may do with the hub's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// There is no such schema.
    Absent,
    /// Not even look into it.
    Nothing,
    /// Use what is there.
    Use,
    /// Make tables as well.
    Create,
}

/// Whether row-level security applies to the connected user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// It does not: environments are not kept apart, or the user is above that.
    None,
    /// The user is the hub's owner, or a member of it: all rows can be written, though not by `COPY`.
    Owner,
    /// The user writes the rows of its own environment, if it has one.
    Other,
}

/// A column that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentColumn {
    /// Its type for people, as `format_type` says it.
    pub shown: String,
    /// Its type's bare name in `pg_type`.
    pub type_name: String,
    /// Its type's modifier; -1 for none. pgvector's is the number of dimensions.
    pub modifier: i32,
}

/// Columns by name.
pub type Columns = BTreeMap<String, PresentColumn>;

/// The tables of a hub's schema and their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    tables: BTreeMap<String, Columns>,
    /// Tables that once had a column more.
    shrunk: BTreeSet<String>,
    /// Tables with row-level security, forced.
    guarded: BTreeSet<String>,
    /// Relations that are no tables, and therefore in the way of tables of their name.
    others: BTreeMap<String, &'static str>,
}

impl Present {
    /// The columns of a table, if it is there.
    pub fn table(&self, name: &str) -> Option<&Columns> {
        self.tables.get(name)
    }

    /// The names of all tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Whether a column of this table was dropped, whichever it was.
    pub(super) fn has_shrunk(&self, name: &str) -> bool {
        self.shrunk.contains(name)
    }

    /// Whether row-level security is forced on this table.
    pub(in crate::postgres) fn is_guarded(&self, name: &str) -> bool {
        self.guarded.contains(name)
    }

    /// What stands where a table of this name would, if it is something else.
    pub(super) fn in_the_way(&self, name: &str) -> Option<&'static str> {
        self.others.get(name).copied()
    }
}

/// An approximate index on a ruvector column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VectorIndex {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) method: String,
}

/// An upgrade that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) number: i32,
    pub(super) name: String,
    pub(super) checksum: String,
    pub(super) by: String,
}

/// Everything that opening a hub needs to know.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) server: Server,
    pub(super) present: Present,
    pub(super) extensions: Vec<Extension>,
    pub(super) vector_indexes: Vec<VectorIndex>,
    /// `hub_info`; nothing where there is no hub.
    pub(super) info: BTreeMap<String, String>,
    pub(super) applied: Vec<Applied>,
    /// The environment that this user was made for, and whether that was revoked.
    pub(super) own: Option<(String, bool)>,
}

const SERVER: &str = "
SELECT pg_catalog.current_setting('server_version_num')::int4, pg_catalog.current_setting('server_version'),
  pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only') = 'on',
  pg_catalog.current_database()::text, current_user::text,
  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
  pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_schema_privilege(n.oid, 'CREATE'),
  pg_catalog.pg_is_in_recovery(),
  coalesce((SELECT c.relrowsecurity AND pg_catalog.row_security_active(c.oid) FROM pg_catalog.pg_class c
    WHERE c.relnamespace = n.oid AND c.relname = 'sync_versions'), false),
  coalesce((SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c
    WHERE c.relnamespace = n.oid AND c.relname = 'hub_info'), false)
FROM (SELECT) AS one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1";

const COLUMNS: &str = "
SELECT c.relname::text, c.relkind::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
  t.typname::text, a.atttypmod, a.attisdropped, c.relrowsecurity AND c.relforcerowsecurity
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a
  ON a.attrelid = c.oid AND a.attnum > 0 AND c.relkind IN ('r', 'p')
LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE n.nspname = $1";

const EXTENSIONS: &str = "
SELECT t.typname::text, n.nspname::text, coalesce(e.extversion, ''), EXISTS (
  SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
  WHERE o.opcintype = t.oid AND m.amname = 'hnsw' AND o.opcname = t.typname || '_cosine_ops'),
  t.oid, t.typarray
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_depend d
  ON d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE t.typname IN ('ruvector', 'vector') AND t.typtype = 'b'
ORDER BY e.extname IS NULL, n.nspname";

const VECTOR_INDEXES: &str = "
SELECT DISTINCT i.relname::text, c.relname::text, m.amname::text
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = i.relam
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (x.indkey)
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE n.nspname = $1 AND t.typname = 'ruvector' AND m.amname IN ('hnsw', 'ruhnsw', 'ivfflat', 'ruivfflat')
ORDER BY 1";

/// Reads it all. The queries are sent together, and so cost one round trip.
pub(super) async fn survey(client: &Client, schema: &Identifier) -> Result<Survey, Cause> {
    let name = schema.as_str();
    let bound: [(&(dyn postgres_types::ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
    let info = format!("SELECT key, value FROM {}.hub_info", schema.quoted());
    let applied =
        format!("SELECT number, name, checksum, applied_by FROM {}.schema_migrations ORDER BY number", schema.quoted());
    let own = format!(
        "SELECT environment, revoked_at IS NOT NULL FROM {}.{} WHERE role = current_user::text",
        schema.quoted(),
        super::guard::ENVIRONMENTS
    );
    let (server, columns, extensions, indexes, info, applied, own) = futures::join!(
        client.query_typed_one(SERVER, &bound),
        client.query_typed(COLUMNS, &bound),
        client.query_typed(EXTENSIONS, &[]),
        client.query_typed(VECTOR_INDEXES, &bound),
        client.query_typed(&info, &[]),
        client.query_typed(&applied, &[]),
        client.query_typed(&own, &[]),
    );
    let server = server_of(&server?)?;
    let readable = matches!(server.access, Access::Use | Access::Create);
    Ok(Survey {
        present: present_of(&columns?)?,
        extensions: extensions?.iter().map(extension_of).collect::<Result<_, _>>()?,
        vector_indexes: indexes?.iter().map(vector_index_of).collect::<Result<_, _>>()?,
        info: there_or_none(info, readable)?.iter().map(pair_of).collect::<Result<_, _>>()?,
        applied: there_or_none(applied, readable)?.iter().map(applied_of).collect::<Result<_, _>>()?,
        own: own_of(own, readable)?,
        server,
    })
}

/// The columns alone, after they were changed.
pub(super) async fn present(client: &Client, schema: &Identifier) -> Result<Present, Cause> {
    present_of(&client.query_typed(COLUMNS, &[(&schema.as_str(), Type::TEXT)]).await?)
}

/// Rows of a table that a database without a hub does not have.
fn there_or_none(rows: Result<Vec<Row>, Cause>, readable: bool) -> Result<Vec<Row>, Cause> {
    match rows {
        Err(cause) => {
            let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
            if !readable || cause.code().is_some_and(|code| missing.contains(code)) {
                Ok(Vec::new())
            } else {
                Err(cause)
            }
        }
        rows => rows,
    }
}

/// Who may not read the list of environments is in none of them.
fn own_of(rows: Result<Vec<Row>, Cause>, readable: bool) -> Result<Option<(String, bool)>, Cause> {
    let rows = match rows {
        Err(cause) if cause.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Vec::new(),
        rows => there_or_none(rows, readable)?,
    };
    rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

fn server_of(row: &Row) -> Result<Server, Cause> {
    let access = match (row.try_get(6)?, row.try_get(7)?) {
        (None, _) => Access::Absent,
        (Some(false), _) => Access::Nothing,
        (Some(true), Some(true)) => Access::Create,
        (Some(true), _) => Access::Use,
    };
    let rules = match (row.try_get(9)?, row.try_get(10)?) {
        (false, _) => Rules::None,
        (true, true) => Rules::Owner,
        (true, false) => Rules::Other,
    };
    Ok(Server {
        version: row.try_get(0)?,
        version_text: row.try_get(1)?,
        read_only: row.try_get(2)?,
        database: row.try_get(3)?,
        user: row.try_get(4)?,
        may_create_schema: row.try_get(5)?,
        access,
        standby: row.try_get(8)?,
        rules,
    })
}

fn present_of(rows: &[Row]) -> Result<Present, Cause> {
    let mut present = Present::default();
    for row in rows {
        let (relation, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let other = match kind.as_str() {
            "r" | "p" => {
                if row.try_get(7)? {
                    present.guarded.insert(relation.clone());
                }
                if row.try_get::<_, Option<bool>>(6)? == Some(true) {
                    present.shrunk.insert(relation);
                    continue;
                }
                let columns = present.tables.entry(relation).or_default();
                if let Some(name) = row.try_get::<_, Option<String>>(2)? {
                    let column =
                        PresentColumn { shown: row.try_get(3)?, type_name: row.try_get(4)?, modifier: row.try_get(5)? };
                    columns.insert(name, column);
                }
                continue;
            }
            "v" | "m" => "a view",
            "i" | "I" => "an index",
            "S" => "a sequence",
            "f" => "a foreign table",
            _ => "something else",
        };
        present.others.insert(relation, other);
    }
    Ok(present)
}

fn extension_of(row: &Row) -> Result<Extension, Cause> {
    let kind = if row.try_get::<_, &str>(0)? == "ruvector" { VectorKind::Ruvector } else { VectorKind::Pgvector };
    let (element, array): (u32, u32) = (row.try_get(4)?, row.try_get(5)?);
    let types = (array != 0).then_some((element, array));
    Ok(Extension { kind, schema: row.try_get(1)?, version: row.try_get(2)?, has_hnsw: row.try_get(3)?, types })
}

fn vector_index_of(row: &Row) -> Result<VectorIndex, Cause> {
    Ok(VectorIndex { name: row.try_get(0)?, table: row.try_get(1)?, method: row.try_get(2)? })
}

fn pair_of(row: &Row) -> Result<(String, String), Cause> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn applied_of(row: &Row) -> Result<Applied, Cause> {
    Ok(Applied { number: row.try_get(0)?, name: row.try_get(1)?, checksum: row.try_get(2)?, by: row.try_get(3)? })
}
