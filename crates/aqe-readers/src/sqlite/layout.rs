//! From a table's columns to what is read of it.

use std::fmt::Write as _;
use std::sync::Arc;

use aqe_sync_core::{Quoted, Schema, StreamSpec, TableSpec, Value, tables};

use super::introspect::{Table, TableKind};
use super::mappings::{Join, MAPPINGS, Mapping, Rule};
use crate::SourceFile;

/// How one stream is read.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) spec: StreamSpec,
    pub(crate) sql: String,
    /// Names of the selected columns, for records and digests.
    pub(crate) columns: Vec<String>,
    /// Fields made from a row, before the columns.
    pub(crate) computed: Vec<Computed>,
    /// Whether the columns are fields too. Archived rows are one JSON field.
    pub(crate) exposed: bool,
    pub(crate) schema: Arc<Schema>,
    /// Where the columns come from; archived rows have no way back.
    pub(crate) origin: Option<Origin>,
}

/// The local side of a [`Plan`]: what a pull needs to go the other way.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The local table.
    pub(crate) table: Table,
    /// The one joined to it. The plan's columns are those of the first, then those of this
    /// one without its `id`, each in its order.
    pub(crate) joined: Option<(&'static Join, Table)>,
}

/// A field made from a row; numbers are positions among its columns.
#[derive(Debug, PartialEq)]
pub(crate) enum Computed {
    Constant(Value),
    PerFile {
        local: usize,
        content: Vec<usize>,
    },
    ActionId {
        id: usize,
        name: Option<usize>,
        agent: Option<usize>,
    },
    Category {
        key: usize,
    },
    /// The key of a row that nobody has a mapping for.
    ArchiveKey {
        key: Vec<usize>,
        counting: bool,
    },
    /// All of such a row, as JSON.
    ArchiveRecord,
}

/// Plans every table, and says what is left out.
pub(crate) fn plan(file: &SourceFile, tables: &[Table]) -> (Vec<Plan>, Vec<String>) {
    let mut plans = Vec::new();
    let mut joined: Vec<&str> = Vec::new();
    let derived: Vec<&str> =
        tables.iter().filter(|table| table.kind == TableKind::Derived).map(|table| table.name.as_str()).collect();
    for table in tables.iter().filter(|table| table.kind == TableKind::Plain) {
        let Some((mapping, hub)) = mapping(table) else { continue };
        let join = mapping.join.and_then(|join| Some((join, joinable(tables, join)?)));
        if let Some((join, embeddings)) = join {
            plans.extend(orphans(file, table, join, embeddings));
            joined.push(join.table);
        }
        plans.push(mapped(file, table, mapping, hub, join));
    }
    for table in tables.iter().filter(|table| table.kind == TableKind::Plain) {
        if mapping(table).is_none() && !joined.contains(&table.name.as_str()) {
            plans.extend(archived(file, table, ""));
        }
    }
    plans.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    let mut notes = Vec::new();
    if !derived.is_empty() {
        notes.push(format!("{}: left out {}, which only index other tables", file.name, derived.join(", ")));
    }
    (plans, notes)
}

fn mapping(table: &Table) -> Option<(&'static Mapping, &'static Arc<TableSpec>)> {
    let fits = |mapping: &&Mapping| {
        mapping.table == table.name
            && table.has_all(mapping.needs)
            && !mapping.lacks.iter().any(|column| table.has(column))
    };
    let mapping = MAPPINGS.iter().find(fits)?;
    Some((mapping, tables::find(mapping.hub)?))
}

fn joinable<'t>(tables: &'t [Table], join: &Join) -> Option<&'t Table> {
    tables.iter().find(|table| {
        table.kind == TableKind::Plain && table.name == join.table && table.has_all(&[join.id, join.vector])
    })
}

fn mapped(
    file: &SourceFile,
    table: &Table,
    mapping: &Mapping,
    hub: &Arc<TableSpec>,
    join: Option<(&'static Join, &Table)>,
) -> Plan {
    let renamed = |rename: &[(&str, &str)], column: &str| {
        rename.iter().find(|(from, _)| *from == column).map(|(_, to)| (*to).to_owned())
    };
    // An id that only counts rows of this file must not stand for the record.
    let counts = table.counting_key().filter(|key| {
        let key_columns = hub.key_columns();
        key_columns.len() == 1 && key_columns[0].name.as_str() == *key && renamed(mapping.rename, key).is_none()
    });
    let mut columns = Vec::new();
    let mut select = Vec::new();
    for column in &table.columns {
        let name = match renamed(mapping.rename, &column.name) {
            Some(name) => name,
            None if counts == Some(column.name.as_str()) => "local_id".to_owned(),
            None => column.name.clone(),
        };
        select.push(format!("t.{}", Quoted(&column.name)));
        columns.push(free(&columns, name));
    }
    if let Some((join, embeddings)) = join {
        for column in embeddings.columns.iter().filter(|column| column.name != join.id) {
            let name = renamed(join.rename, &column.name).unwrap_or_else(|| format!("embedding_{}", column.name));
            select.push(format!("e.{}", Quoted(&column.name)));
            columns.push(free(&columns, name));
        }
    }
    let source_position = |name: &str| table.columns.iter().position(|column| column.name == name);
    let mut computed = Vec::new();
    let mut fields = Vec::new();
    for (field, rule) in mapping.computed {
        let made = match rule {
            Rule::Scope => Some(Computed::Constant(Value::Text(file.scope.clone()))),
            Rule::Empty if columns.iter().any(|column| column == field) => None,
            Rule::Empty => Some(Computed::Constant(Value::from(""))),
            Rule::PerFile(content) => source_position("id").map(|local| Computed::PerFile {
                local,
                content: content.iter().filter_map(|column| source_position(column)).collect(),
            }),
            Rule::ActionId => source_position("id").map(|id| action_id(table, id)),
            Rule::Category => source_position("key").map(|key| Computed::Category { key }),
        };
        if let Some(made) = made {
            computed.push(made);
            fields.push((*field).to_owned());
        }
    }
    if let Some(local) = counts.and_then(source_position) {
        let content = (0..table.columns.len()).filter(|position| *position != local).collect();
        computed.push(Computed::PerFile { local, content });
        fields.push(hub.key_columns()[0].name.to_string());
    }
    for column in &columns {
        fields.push(free(&fields, column.clone()));
    }
    let mut sql = format!("SELECT {} FROM {} AS t", select.join(", "), Quoted(&table.name));
    if let Some((join, _)) = join {
        let _ = write!(sql, " LEFT JOIN {} AS e ON e.{} = t.\"id\"", Quoted(join.table), Quoted(join.id));
    }
    Plan {
        spec: StreamSpec::new(table.name.as_str(), Arc::clone(hub)),
        sql,
        columns,
        computed,
        exposed: true,
        schema: Schema::new(fields),
        origin: Some(Origin { table: table.clone(), joined: join.map(|(join, table)| (join, table.clone())) }),
    }
}

/// 3.x' shape names agents' domains; 2.x' ids are stable by themselves.
fn action_id(table: &Table, id: usize) -> Computed {
    let position = |name: &str| table.columns.iter().position(|column| column.name == name);
    let third = table.has("qe_domain") || table.has("estimated_duration_ms");
    let of_third = |name| position(name).filter(|_| third);
    Computed::ActionId { id, name: of_third("name"), agent: of_third("agent_type") }
}

/// A name that is not taken yet.
fn free(taken: &[String], name: String) -> String {
    if !taken.contains(&name) {
        return name;
    }
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    // The numbers do not run out before the columns do.
    numbered.into_iter().find(|candidate| !taken.contains(candidate)).unwrap_or(name)
}

/// Embeddings of records that are not there.
fn orphans(file: &SourceFile, main: &Table, join: &Join, embeddings: &Table) -> Option<Plan> {
    let (table, id) = (Quoted(&embeddings.name), Quoted(join.id));
    let missing =
        |alias| format!("NOT EXISTS (SELECT 1 FROM {} AS m WHERE m.\"id\" = {alias}.{id})", Quoted(&main.name));
    let shadowed = embeddings.columns.iter().any(|column| column.name.eq_ignore_ascii_case(ROW_ID));
    let condition = if embeddings.without_rowid || shadowed {
        format!(" WHERE {}", missing("t"))
    } else {
        // The index of ids tells which ones they are; the embeddings, most of the file,
        // were read with their records and are not read again.
        format!(" WHERE t.{ROW_ID} IN (SELECT k.{ROW_ID} FROM {table} AS k WHERE {})", missing("k"))
    };
    archived(file, embeddings, &condition)
}

/// A name of the row id, unless a column has it.
const ROW_ID: &str = "_rowid_";

fn archived(file: &SourceFile, table: &Table, condition: &str) -> Option<Plan> {
    let hub = tables::find("archive_records")?;
    let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    if columns.is_empty() {
        return None;
    }
    let key = table.key().iter().filter_map(|key| columns.iter().position(|name| *name == key.name)).collect();
    let select: Vec<String> = columns.iter().map(|name| format!("t.{}", Quoted(name))).collect();
    let computed = vec![
        Computed::Constant(Value::from(file.name.as_str())),
        Computed::Constant(Value::from(table.name.as_str())),
        Computed::ArchiveKey { key, counting: table.counting_key().is_some() },
        Computed::ArchiveRecord,
    ];
    Some(Plan {
        spec: StreamSpec::new(table.name.as_str(), Arc::clone(hub)),
        sql: format!("SELECT {} FROM {} AS t{condition}", select.join(", "), Quoted(&table.name)),
        columns,
        computed,
        exposed: false,
        schema: Schema::new(["file", "part", "record_key", "record"]),
        origin: None,
    })
}
