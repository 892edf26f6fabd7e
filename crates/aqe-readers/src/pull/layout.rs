//! The reader's layout, the other way round: which local table takes the records of a hub
//! table, where its columns go, and which local row has a key.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::{Json, Key, Quoted, Row, TableSpec, Value, aside};
use rusqlite::types::Value as Raw;
use rusqlite::{Connection, params_from_iter};
use serde_json::value::RawValue;

use crate::SourceFile;
use crate::sqlite::introspect::Column;
use crate::sqlite::layout::{Computed, Origin, Plan};
use crate::sqlite::rows;

/// The catalogue's name for ids that count for one file only.
const LOCAL_ID: &str = "local_id";

/// A local table that has a place for the records of a hub table.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) hub: Arc<TableSpec>,
    pub(super) plan: Plan,
    /// The table's own columns, then those of the joined one: as the plan's.
    pub(super) columns: Vec<LocalColumn>,
    /// How many of them are the table's own.
    pub(super) own: usize,
    /// The joined table: its name and the column that names this one's `id`.
    pub(super) joined: Option<(String, Column)>,
    /// Positions of the primary key.
    pub(super) primary: Vec<usize>,
    identity: Identity,
    /// Parts of the key that are the same for the whole table.
    constants: Vec<(usize, Value)>,
    coercer: Coercer,
    select: String,
}

/// A column of a local table.
#[derive(Debug)]
pub(super) struct LocalColumn {
    pub(super) column: Column,
    pub(super) feed: Feed,
}

/// Where a local column's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Feed {
    /// A column of the hub table.
    Hub(usize),
    /// A member of the hub row's `extra`.
    Extra(String),
    /// The id that the file itself gives.
    LocalId,
}

/// How the local row of a hub key is found.
#[derive(Debug, PartialEq)]
enum Identity {
    /// By its columns: positions in the key and among the local columns.
    Columns(Vec<(usize, usize)>),
    /// 3.x' actions: by name and agent type where the id is made up, else by id. The part of
    /// the key, and the three local columns.
    Action { part: usize, id: usize, name: usize, agent: usize },
    /// By the id that the file gave it.
    PerFile { id: usize },
}

/// A row of a local table.
#[derive(Clone, Debug)]
pub(super) struct LocalRow {
    /// Its key, as the reader gives it.
    pub(super) key: Key,
    /// As the next push reads it.
    pub(super) row: Row,
    /// The plan's columns as the file holds them.
    pub(super) raw: Vec<Raw>,
}

/// What a hub row holds beside its columns.
pub(super) type Extra = BTreeMap<String, Box<RawValue>>;

pub(super) fn extra(row: &Row) -> Extra {
    // What is no object has no members that a file could have a column for.
    row.extra.as_ref().and_then(|extra| serde_json::from_str(extra.as_str()).ok()).unwrap_or_default()
}

impl Place {
    /// `None` for tables that are only archived, a reason for those whose keys have no way back.
    pub(super) fn of(mut plan: Plan) -> Option<Result<Self, String>> {
        let origin = plan.origin.take()?;
        Some(Self::from_origin(plan, origin))
    }

    fn from_origin(plan: Plan, origin: Origin) -> Result<Self, String> {
        let Origin { table, joined } = origin;
        let hub = Arc::clone(&plan.spec.table);
        let (identity, constants) = identity(&plan, &hub, table.columns.len())?;
        let primary: Vec<usize> =
            table.key().iter().filter_map(|key| table.columns.iter().position(|one| one.name == key.name)).collect();
        if primary.is_empty() {
            return Err("it has no primary key".to_owned());
        }
        let others = joined
            .iter()
            .flat_map(|(join, joined)| joined.columns.iter().filter(|column| column.name != join.id).cloned());
        let own = table.columns.len();
        let named: Vec<(Column, String)> =
            table.columns.iter().cloned().chain(others).zip(plan.columns.iter().cloned()).collect();
        let feeds = |(column, name): (Column, String)| {
            let feed = match hub.position(&name) {
                _ if name == LOCAL_ID => Feed::LocalId,
                Some(position) => Feed::Hub(position),
                None => Feed::Extra(name),
            };
            LocalColumn { column, feed }
        };
        let columns = named.into_iter().map(feeds).collect();
        let joined = joined.and_then(|(join, joined)| {
            let id = joined.columns.iter().find(|column| column.name == join.id)?.clone();
            Some((joined.name, id))
        });
        let coercer = Coercer::new(Arc::clone(&hub), Arc::clone(&plan.schema));
        let select = format!("{} WHERE {}", plan.sql, condition(&identity, &table.columns, table.without_rowid));
        Ok(Self { hub, plan, columns, own, joined, primary, identity, constants, coercer, select })
    }

    /// The local table's name.
    pub(super) fn table(&self) -> &str {
        self.plan.spec.name.as_str()
    }

    /// Whether the table has a place for a key.
    pub(super) fn takes(&self, key: &Key) -> bool {
        takes(&self.constants, key)
    }

    /// What [`Self::takes`] needs to know.
    pub(super) fn constants(&self) -> Vec<(usize, Value)> {
        self.constants.clone()
    }

    /// Whether rows get keys of their own here.
    pub(super) fn makes_keys(&self) -> bool {
        matches!(self.identity, Identity::PerFile { .. })
    }

    /// How well a new row fits in; `None` where no tool adds any.
    ///
    /// First counts how many of its values there are columns for, then how few columns stay
    /// empty.
    pub(super) fn fit(&self, row: &Row) -> Option<(usize, Reverse<usize>)> {
        (!self.table().ends_with("_backup")).then(|| (self.holds(row), Reverse(self.own)))
    }

    fn holds(&self, row: &Row) -> usize {
        let fed = |position: usize| self.columns.iter().any(|column| column.feed == Feed::Hub(position));
        row.values.iter().enumerate().filter(|(position, value)| !value.is_null() && fed(*position)).count()
    }

    /// The columns of the hub table that there is no column for here.
    pub(super) fn lacks(&self) -> Vec<&str> {
        let keys = self.hub.key_columns().len();
        let columns = self.hub.columns().iter().enumerate().skip(keys);
        let fed = |position| self.columns.iter().any(|column| column.feed == Feed::Hub(position));
        let lacking = columns.filter(|(position, column)| !fed(*position) && column.name.as_str() != LOCAL_ID);
        lacking.map(|(_, column)| column.name.as_str()).collect()
    }

    /// The row with a key, as its reader gives keys.
    pub(super) fn find(
        &self,
        connection: &Connection,
        file: &SourceFile,
        key: &Key,
    ) -> rusqlite::Result<Option<LocalRow>> {
        let Some(parameters) = self.parameters(key) else { return Ok(None) };
        let found = self.read(connection, file, &self.select, parameters)?;
        Ok(found.into_iter().find(|row| row.key == *key))
    }

    /// The row that was inserted last into a table that makes keys.
    pub(super) fn inserted(&self, connection: &Connection, file: &SourceFile) -> rusqlite::Result<Option<LocalRow>> {
        let id = Raw::Integer(connection.last_insert_rowid());
        Ok(self.read(connection, file, &self.select, vec![id])?.pop())
    }

    /// A row once more, after it was changed.
    pub(super) fn again(
        &self,
        connection: &Connection,
        file: &SourceFile,
        row: &LocalRow,
    ) -> rusqlite::Result<Option<LocalRow>> {
        if !self.makes_keys() {
            return self.find(connection, file, &row.key);
        }
        // Its content is part of its key.
        let parameters = self.parameters(&row.key).unwrap_or_default();
        Ok(self.read(connection, file, &self.select, parameters)?.pop())
    }

    /// Keys of a table that makes them, from local id `after` on; with the last id.
    pub(super) fn made_keys(
        &self,
        connection: &Connection,
        file: &SourceFile,
        after: i64,
    ) -> rusqlite::Result<Option<(Vec<Key>, i64)>> {
        let Identity::PerFile { id } = self.identity else { return Ok(None) };
        let column = Quoted(&self.columns[id].column.name);
        let sql = format!("{} WHERE t.{column} > ?1 ORDER BY t.{column} LIMIT 1000", self.plan.sql);
        let rows = self.read(connection, file, &sql, vec![Raw::Integer(after)])?;
        let last = rows.last().and_then(|row| match row.raw[id] {
            Raw::Integer(id) => Some(id),
            _ => None,
        });
        Ok(last.map(|last| (rows.into_iter().map(|row| row.key).collect(), last)))
    }

    fn read(
        &self,
        connection: &Connection,
        file: &SourceFile,
        sql: &str,
        parameters: Vec<Raw>,
    ) -> rusqlite::Result<Vec<LocalRow>> {
        let selected = rows::select(connection, file, &self.plan, sql, params_from_iter(parameters))?;
        // What has no key no key stands for.
        let rows = selected.into_iter().filter_map(|selected| {
            let row = self.coercer.row(selected.record).ok()?.row;
            Some(LocalRow { key: row.key(&self.hub), row, raw: selected.raw })
        });
        Ok(rows.collect())
    }

    fn parameters(&self, key: &Key) -> Option<Vec<Raw>> {
        let part = |position: usize| key.values().get(position).and_then(raw_of_key);
        match &self.identity {
            Identity::Columns(columns) => columns.iter().map(|(position, _)| part(*position)).collect(),
            Identity::Action { part: position, .. } => {
                let id = key.values().get(*position)?.as_text()?;
                let (name, agent) = id.rsplit_once('|').unwrap_or((id, ""));
                let numbered = agent.rsplit_once('#').filter(|(_, number)| number.parse::<u32>().is_ok());
                let agent = numbered.map_or(agent, |(agent, _)| agent);
                Some([id, name, agent].map(|text| Raw::Text(text.to_owned())).into())
            }
            Identity::PerFile { .. } => {
                let (id, _) = key.values().iter().find_map(Value::as_text)?.split_once('@')?;
                Some(vec![Raw::Integer(id.parse().ok()?)])
            }
        }
    }

    /// What the key itself says of a column.
    pub(super) fn of_key(&self, position: usize, target: &Row) -> Option<Raw> {
        match &self.identity {
            Identity::Columns(columns) => {
                let (part, _) = columns.iter().find(|(_, column)| *column == position)?;
                raw_of_key(&target.values[*part])
            }
            Identity::Action { part, id, name, agent } if *id == position => {
                let text = |column: usize| match &self.columns[column].feed {
                    Feed::Hub(position) => target.values[*position].as_text(),
                    _ => None,
                };
                let made_of = format!("{}|{}", text(*name)?, text(*agent)?);
                // The reader makes the key of name and agent only where the id is made up.
                let key = target.values[*part].as_text()?;
                (!key.starts_with(&made_of)).then(|| Raw::Text(key.to_owned()))
            }
            Identity::Action { .. } | Identity::PerFile { .. } => None,
        }
    }

    /// Whether ids here are made up as 3.x makes them up for actions.
    pub(super) fn has_actions(&self) -> bool {
        matches!(self.identity, Identity::Action { .. })
    }

    /// What a row has for a local column, as its tool would write it; `None` when the row
    /// has nothing to say about it.
    pub(super) fn wanted(&self, position: usize, row: &Row, extra: &Extra) -> Option<Value> {
        match &self.columns[position].feed {
            Feed::LocalId => None,
            Feed::Extra(member) => extra.get(member).and_then(|member| aside::from_json(member.get())),
            Feed::Hub(column) => {
                let aside = extra.get(self.hub.columns()[*column].name.as_str());
                Some(match (&row.values[*column], aside) {
                    (Value::Json(json), Some(mark)) if mark.get() == aside::PLAIN_TEXT => plain_text(json),
                    (Value::Null, Some(member)) => aside::from_json(member.get()).unwrap_or(Value::Null),
                    (value, _) => value.clone(),
                })
            }
        }
    }
}

/// Whether every constant part is what a table of one file, or of one kind, has.
pub(super) fn takes(constants: &[(usize, Value)], key: &Key) -> bool {
    constants.iter().all(|(part, value)| key.values().get(*part) == Some(value))
}

fn plain_text(json: &Json) -> Value {
    serde_json::from_str(json.as_str()).map_or_else(|_| Value::Json(json.clone()), Value::Text)
}

fn raw_of_key(value: &Value) -> Option<Raw> {
    match value {
        Value::Text(text) => Some(Raw::Text(text.clone())),
        Value::Int(number) => Some(Raw::Integer(*number)),
        _ => None,
    }
}

/// How rows are found, and what all keys of the table have in common.
fn identity(plan: &Plan, hub: &TableSpec, own: usize) -> Result<(Identity, Vec<(usize, Value)>), String> {
    let (mut columns, mut constants) = (Vec::new(), Vec::new());
    let mut special = None;
    for (part, column) in hub.key_columns().iter().enumerate() {
        let name = column.name.as_str();
        let mut computed = plan.schema.fields().iter().zip(&plan.computed);
        match computed.find(|(field, _)| field.as_ref() == name).map(|(_, computed)| computed) {
            Some(Computed::Constant(value)) => constants.push((part, value.clone())),
            Some(Computed::PerFile { local, .. }) => special = Some(Identity::PerFile { id: *local }),
            Some(Computed::ActionId { id, name: Some(name), agent: Some(agent) }) => {
                special = Some(Identity::Action { part, id: *id, name: *name, agent: *agent });
            }
            Some(Computed::ActionId { id, .. }) => columns.push((part, *id)),
            Some(_) => return Err(format!("its {name} cannot be told from a key")),
            None => match plan.columns[..own].iter().position(|known| known == name) {
                Some(position) => columns.push((part, position)),
                None => return Err(format!("it has no column {name}")),
            },
        }
    }
    Ok((special.unwrap_or(Identity::Columns(columns)), constants))
}

fn condition(identity: &Identity, columns: &[Column], without_rowid: bool) -> String {
    let quoted = |position: usize| format!("t.{}", Quoted(&columns[position].name));
    match identity {
        Identity::Columns(parts) => {
            let parts =
                parts.iter().enumerate().map(|(number, (_, column))| format!("{} = ?{}", quoted(*column), number + 1));
            parts.collect::<Vec<_>>().join(" AND ")
        }
        Identity::Action { id, name, agent, .. } => {
            // The reader numbers actions of one name in the order of the table.
            let order = if without_rowid { "" } else { " ORDER BY t._rowid_" };
            format!("({} = ?1 OR ({} = ?2 AND {} = ?3)){order}", quoted(*id), quoted(*name), quoted(*agent))
        }
        Identity::PerFile { id } => format!("{} = ?1", quoted(*id)),
    }
}
