//! SQL that makes a table, from its specification.

use std::fmt::Write as _;

use aqe_sync_core::{ColumnSpec, ColumnType, Environment, Identifier, Key, Quoted, Role, TableSpec, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::flavour::{Flavour, VectorKind};

/// What the columns around a table's own look like: name, type, whether NULL is refused.
/// Those that refuse NULL stand in every table from its first day.
pub(super) const BEFORE: [(&str, &str, bool); 1] = [("source_env", "text", true)];

/// The common columns that follow a table's own.
pub(super) const AFTER: [(&str, &str, bool); 8] = [
    ("source", "text", true),
    ("stream", "text", true),
    ("extra", "jsonb", false),
    ("content_hash", "bigint", true),
    ("sync_version", "bigint", true),
    ("merged_from", "jsonb", false),
    ("deleted_at", "timestamp with time zone", false),
    ("synced_at", "timestamp with time zone", true),
];

/// The most bytes that an entry of a btree index can take: a third of a page. More is
/// error 54000.
const MAX_INDEX_ENTRY: usize = 2_704;

/// The longest single text key that every environment name leaves room for, in bytes.
///
/// PostgreSQL compresses long index entries, so that some longer keys would fit; what
/// counts here is the length alone, as nobody could tell a person why one key of 3,000
/// bytes is stored and another is not.
pub const MAX_KEY_BYTES: usize = MAX_INDEX_ENTRY - ENTRY_HEADER - padded(Environment::MAX_BYTES) - 4;

const ENTRY_HEADER: usize = 8;

/// What text of so many bytes takes in an index entry at most, when more follows.
const fn padded(bytes: usize) -> usize {
    (4 + bytes).next_multiple_of(4)
}

/// Whether the primary key of a row fits into an index entry, whatever its content is.
///
/// A record whose key does not fit is a dead letter.
pub fn key_fits(environment: &Environment, key: &Key) -> bool {
    let mut bytes = ENTRY_HEADER + 4 + environment.as_str().len();
    for value in key.values() {
        bytes = match value {
            Value::Text(text) => bytes.next_multiple_of(4) + 4 + text.len(),
            _ => bytes.next_multiple_of(8) + 8,
        };
    }
    bytes.next_multiple_of(8) <= MAX_INDEX_ENTRY
}

/// Text as an SQL literal that means the same whatever `standard_conforming_strings` says.
pub(in crate::postgres) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A type's name in SQL.
pub(in crate::postgres) fn sql_type(kind: ColumnType, flavour: &Flavour) -> String {
    match kind {
        ColumnType::Bool => "boolean".to_owned(),
        ColumnType::Int => "bigint".to_owned(),
        ColumnType::Float => "double precision".to_owned(),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Bytes => "bytea".to_owned(),
        ColumnType::Json => "jsonb".to_owned(),
        ColumnType::Timestamp => "timestamp with time zone".to_owned(),
        ColumnType::Vector(dimensions) => match flavour.kind() {
            VectorKind::None => "real[]".to_owned(),
            VectorKind::Ruvector | VectorKind::Pgvector => {
                format!("{}({dimensions})", flavour.qualified(flavour.kind().type_name()))
            }
        },
    }
}

/// A column's definition: name, type, and what its type does not enforce by itself.
fn column(column: &ColumnSpec, not_null: bool, flavour: &Flavour) -> String {
    let name = column.name.quoted();
    let mut sql = format!("{name} {}", sql_type(column.kind, flavour));
    if not_null {
        sql.push_str(" NOT NULL");
    }
    if let ColumnType::Vector(dimensions) = column.kind {
        // Writing to a String cannot fail.
        let _ = match flavour.kind() {
            // The type takes any number of dimensions, whatever its modifier says.
            VectorKind::Ruvector => {
                write!(sql, " CHECK ({}({name}) = {dimensions})", flavour.qualified("ruvector_dims"))
            }
            VectorKind::Pgvector => Ok(()),
            VectorKind::None => {
                write!(sql, " CHECK (cardinality({name}) = {dimensions} AND array_position({name}, NULL) IS NULL)")
            }
        };
    }
    sql
}

/// The statements that make a table of the hub and its indexes, where they are missing.
///
/// Every table carries the common columns, and its primary key begins with
/// `source_env`. `vector_index` asks for an approximate index on each embedding.
pub fn create_table(schema: &Identifier, table: &TableSpec, flavour: &Flavour, vector_index: bool) -> String {
    let name = format!("{}.{}", schema.quoted(), table.name().quoted());
    let common = |(name, kind, required): (&str, &str, bool)| {
        format!("{name} {kind}{}", if required { " NOT NULL" } else { "" })
    };
    let keys = table.key_columns().len();
    let mut lines: Vec<String> = BEFORE.into_iter().map(common).collect();
    lines.extend(table.columns().iter().enumerate().map(|(position, spec)| column(spec, position < keys, flavour)));
    lines.extend(AFTER.into_iter().map(common));
    let key: Vec<String> = table.key_columns().iter().map(|column| column.name.quoted().to_string()).collect();
    lines.push(format!("PRIMARY KEY (source_env, {})", key.join(", ")));
    let mut sql = format!("CREATE TABLE IF NOT EXISTS {name} (\n  {}\n);\n", lines.join(",\n  "));
    // What pullers ask for: keys of one environment that changed since a version.
    let _ = writeln!(
        sql,
        "CREATE INDEX IF NOT EXISTS {} ON {name} (sync_version, source_env);",
        Quoted(&index_name(table.name(), "changed"))
    );
    if vector_index {
        for column in table.columns().iter().filter(|column| column.role == Role::Embedding) {
            sql.push_str(&create_vector_index(&name, table.name(), column, flavour));
        }
    }
    sql
}

fn create_vector_index(qualified: &str, table: &Identifier, column: &ColumnSpec, flavour: &Flavour) -> String {
    let operators = match flavour.kind() {
        VectorKind::Ruvector => "ruvector_cosine_ops",
        VectorKind::Pgvector => "vector_cosine_ops",
        VectorKind::None => return String::new(),
    };
    if !flavour.has_hnsw() {
        return String::new();
    }
    format!(
        "CREATE INDEX IF NOT EXISTS {} ON {qualified} USING hnsw ({} {});\n",
        Quoted(&index_name(table, &format!("{}_hnsw", column.name))),
        column.name.quoted(),
        flavour.qualified(operators)
    )
}

/// The statement that adds a column, where it is missing.
pub(super) fn add_column(schema: &Identifier, table: &TableSpec, spec: &ColumnSpec, flavour: &Flavour) -> String {
    let definition = column(spec, false, flavour);
    format!("ALTER TABLE {}.{} ADD COLUMN IF NOT EXISTS {definition};\n", schema.quoted(), table.name().quoted())
}

/// The index of an embedding whose column was added to a table that is there; empty where
/// it gets none.
pub(super) fn add_vector_index(schema: &Identifier, table: &TableSpec, spec: &ColumnSpec, flavour: &Flavour) -> String {
    if spec.role != Role::Embedding {
        return String::new();
    }
    let qualified = format!("{}.{}", schema.quoted(), table.name().quoted());
    create_vector_index(&qualified, table.name(), spec, flavour)
}

/// The statements after which no live row of a table is taken for what a source holds:
/// for rows whose content was lost, while their recorded hashes still count it.
///
/// The hashes, also those of contributions, are replaced by others that nothing has. Every
/// environment finds its streams one commit further than it remembers, asks for the
/// hashes, and sends all of it again. Twice is no harm: it does not lead back.
pub(super) fn distrust(schema: &Identifier, table: &TableSpec) -> String {
    let (schema, name) = (schema.quoted(), table.name());
    let other = |hash: &str| format!("pg_catalog.hashint8extended({hash}, 1)");
    let part = other("('x' || (m.part->>'hash'))::bit(64)::bigint");
    format!(
        "UPDATE {schema}.{} t SET content_hash = {}, merged_from = CASE pg_catalog.jsonb_typeof(t.merged_from) \
         WHEN 'array' THEN (SELECT pg_catalog.jsonb_agg(CASE WHEN m.part->>'hash' ~ '^[0-9a-f]{{16}}$' \
         THEN pg_catalog.jsonb_set(m.part, '{{hash}}', pg_catalog.to_jsonb(pg_catalog.lpad(pg_catalog.to_hex({part}), 16, '0'))) \
         ELSE m.part END ORDER BY m.position) \
         FROM pg_catalog.jsonb_array_elements(t.merged_from) WITH ORDINALITY AS m(part, position)) \
         ELSE t.merged_from END WHERE t.deleted_at IS NULL;\n\
         UPDATE {schema}.sync_state SET sequence = sequence + 1 WHERE table_name = {};\n",
        name.quoted(),
        other("t.content_hash"),
        literal(name.as_str())
    )
}

/// The same for a common column that may be NULL.
pub(super) fn add_common(schema: &Identifier, table: &TableSpec, name: &str, kind: &str) -> String {
    format!("ALTER TABLE {}.{} ADD COLUMN IF NOT EXISTS {name} {kind};\n", schema.quoted(), table.name().quoted())
}

/// `table_suffix`, or, where that is more than PostgreSQL keeps of a name, its beginning
/// and a hash of the whole.
fn index_name(table: &Identifier, suffix: &str) -> String {
    let whole = format!("{table}_{suffix}");
    if whole.len() <= Identifier::MAX_BYTES {
        return whole;
    }
    let hash = format!("_{:016x}", xxh3_64(whole.as_bytes()));
    let mut room = Identifier::MAX_BYTES - hash.len();
    while !whole.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}{hash}", &whole[..room])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_name_of_any_table_fits_and_differs() {
        let long = |end: &str| Identifier::new(&format!("{}{end}", "ä".repeat(31))).unwrap();
        let (a, b) = (index_name(&long("a"), "changed"), index_name(&long("b"), "changed"));
        assert!(a.len() <= Identifier::MAX_BYTES && b.len() <= Identifier::MAX_BYTES, "{a} {b}");
        assert_ne!(a, b);
        assert_eq!(index_name(&Identifier::new("patterns").unwrap(), "changed"), "patterns_changed");
    }

    #[test]
    fn a_literal_ends_where_the_text_does() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\' OR 1=1"), r" E'a\\'' OR 1=1'");
    }

    #[test]
    fn the_longest_key_fits_whatever_the_environment() {
        let environment = Environment::new("e".repeat(Environment::MAX_BYTES));
        let key = |bytes: usize| Key::new(vec![Value::Text("k".repeat(bytes))]);
        assert!(key_fits(&environment, &key(MAX_KEY_BYTES)));
        assert!(!key_fits(&environment, &key(MAX_KEY_BYTES + 1)));
    }
}
