//! Rows to records.

use std::collections::HashMap;
use std::sync::Arc;

use aqe_sync_core::hash::fields_hash;
use aqe_sync_core::{Json, PackedRecords, Record, Schema, Value, aside};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};
use xxhash_rust::xxh3::xxh3_128;

use super::layout::{Computed, Plan};
use crate::SourceFile;
use crate::category::category;
use crate::emit::{Emitter, Stop};

/// Reads one stream to its end.
pub(super) fn read(connection: &Connection, file: &SourceFile, plan: &Plan, emitter: &mut Emitter) -> Result<(), Stop> {
    let failed = |error| Stop::Failed(super::sqlite_error(&file.name, error).context("table", &plan.spec.name));
    let mut statement = connection.prepare(&plan.sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let archive = Schema::new(plan.columns.iter().map(String::as_str));
    let mut maker = Maker { file, plan, repeats: HashMap::new(), archive };
    while let Some(row) = rows.next().map_err(failed)? {
        emitter.pack(&plan.schema, |packed| maker.pack(row, packed).map_err(failed))?;
    }
    Ok(())
}

/// A row as [`read`] gives it, and as the file holds it.
pub(crate) struct Selected {
    pub(crate) record: Record,
    /// The plan's columns.
    pub(crate) raw: Vec<rusqlite::types::Value>,
}

/// Reads the rows of a plan that `sql`, its own with a condition, selects.
pub(crate) fn select(
    connection: &Connection,
    file: &SourceFile,
    plan: &Plan,
    sql: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<Selected>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut maker = Maker { file, plan, repeats: HashMap::new(), archive: Arc::clone(&plan.schema) };
    let mut packed = PackedRecords::new(Arc::clone(&plan.schema));
    let mut as_held = Vec::new();
    while let Some(row) = rows.next()? {
        maker.pack(row, &mut packed)?;
        packed.end_record();
        let raw = (0..plan.columns.len()).map(|index| row.get::<_, rusqlite::types::Value>(index));
        // Text that is not UTF-8 has no such value: nothing equals it.
        as_held.push(raw.map(|value| value.unwrap_or(rusqlite::types::Value::Null)).collect());
    }
    let records = (0..packed.len()).map(|position| packed.record(position));
    Ok(records.zip(as_held).map(|(record, raw)| Selected { record, raw }).collect())
}

fn push(raw: ValueRef<'_>, packed: &mut PackedRecords) {
    match raw {
        ValueRef::Null => packed.push(&Value::Null),
        ValueRef::Integer(number) => packed.push(&Value::Int(number)),
        ValueRef::Real(number) => packed.push(&Value::Float(number)),
        ValueRef::Blob(bytes) => packed.push_bytes(bytes),
        ValueRef::Text(bytes) => packed.push_text(bytes),
    }
}

fn value(raw: ValueRef<'_>) -> Value {
    match raw {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::RawText(bytes.to_vec()),
        },
    }
}

/// Makes records of one stream.
struct Maker<'a> {
    file: &'a SourceFile,
    plan: &'a Plan,
    /// How often a key that may repeat came so far, by a hash of 128 bits: a table
    /// may have millions of keys.
    repeats: HashMap<u128, u32>,
    /// Field names of an archived row.
    archive: Arc<Schema>,
}

impl Maker<'_> {
    fn pack(&mut self, row: &Row<'_>, packed: &mut PackedRecords) -> rusqlite::Result<()> {
        let plan = self.plan;
        for computed in &plan.computed {
            match computed {
                Computed::Constant(value) => packed.push(value),
                made => packed.push(&self.computed(made, row)?),
            }
        }
        if plan.exposed {
            for index in 0..plan.columns.len() {
                push(row.get_ref(index)?, packed);
            }
        }
        Ok(())
    }

    fn computed(&mut self, computed: &Computed, row: &Row<'_>) -> rusqlite::Result<Value> {
        Ok(match computed {
            Computed::Constant(value) => value.clone(),
            Computed::PerFile { local, content } => {
                let digest = self.digest(row, content.iter().copied())?;
                Value::Text(format!("{}@{}~{digest:016x}", plain(&column(row, *local)?), self.file.name))
            }
            Computed::ActionId { id, name, agent } => self.action_id(row, *id, *name, *agent)?,
            Computed::Category { key } => match column(row, *key)? {
                Value::Text(key) => Value::from(category(&key)),
                _ => Value::Null,
            },
            Computed::ArchiveKey { key, counting } => self.archive_key(row, key, *counting)?,
            Computed::ArchiveRecord => {
                let columns = (0..self.plan.columns.len()).map(|index| column(row, index));
                let record = Record::new(Arc::clone(&self.archive), columns.collect::<rusqlite::Result<_>>()?);
                Value::Json(Json::from_text(aside::record_to_json(&record)))
            }
        })
    }

    fn digest(&self, row: &Row<'_>, positions: impl Iterator<Item = usize>) -> rusqlite::Result<u64> {
        let named = positions.map(|position| Ok((self.plan.columns[position].as_str(), column(row, position)?)));
        let named = named.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(fields_hash(named.iter().map(|(name, value)| (*name, value))))
    }

    /// Ids such as `action-1795356423402-064b2ade` are made up anew for every
    /// database; name and agent type say which action it is.
    fn action_id(
        &mut self,
        row: &Row<'_>,
        id: usize,
        name: Option<usize>,
        agent: Option<usize>,
    ) -> rusqlite::Result<Value> {
        let id = column(row, id)?;
        let (Some(name), Some(agent)) = (name, agent) else { return Ok(id) };
        match (&id, column(row, name)?, column(row, agent)?) {
            (Value::Text(text), Value::Text(name), Value::Text(agent)) if made_up(text) => {
                Ok(Value::Text(self.told_apart(format!("{name}|{agent}"))))
            }
            _ => Ok(id),
        }
    }

    /// The n-th of several equal ones gets its number.
    fn told_apart(&mut self, key: String) -> String {
        let count = self.repeats.entry(xxh3_128(key.as_bytes())).or_default();
        *count += 1;
        if *count == 1 { key } else { format!("{key}#{count}") }
    }

    /// Keys of tables that nobody has a mapping for: the primary key; where it
    /// only counts rows, with a digest of the row; where there is none, the digest.
    fn archive_key(&mut self, row: &Row<'_>, key: &[usize], counting: bool) -> rusqlite::Result<Value> {
        let parts = key.iter().map(|index| column(row, *index)).collect::<rusqlite::Result<Vec<_>>>()?;
        let digest = |this: &Self| this.digest(row, 0..this.plan.columns.len());
        Ok(match parts.as_slice() {
            [only] if counting => Value::Text(format!("{}~{:016x}", plain(only), digest(self)?)),
            [only] if !only.is_null() => only.clone(),
            // SQLite lets a primary key be null.
            [] | [_] => {
                let digest = format!("~{:016x}", digest(self)?);
                Value::Text(self.told_apart(digest))
            }
            several => {
                let parts: Vec<String> = several.iter().map(aside::to_json).collect();
                Value::Text(format!("[{}]", parts.join(",")))
            }
        })
    }
}

fn column(row: &Row<'_>, index: usize) -> rusqlite::Result<Value> {
    row.get_ref(index).map(value)
}

/// `action-`, milliseconds, `-`, hexadecimal digits.
pub(crate) fn made_up(id: &str) -> bool {
    let Some((millis, random)) = id.strip_prefix("action-").and_then(|rest| rest.split_once('-')) else { return false };
    let hexadecimal = |byte: u8| byte.is_ascii_hexdigit();
    millis.len() >= 12
        && millis.bytes().all(|byte| byte.is_ascii_digit())
        && random.len() >= 6
        && random.bytes().all(hexadecimal)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    }
}
