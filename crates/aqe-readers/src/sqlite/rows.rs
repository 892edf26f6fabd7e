//! Rows to records.

use std::collections::HashMap;
use std::sync::Arc;

use aqe_sync_core::hash::fields_hash;
use aqe_sync_core::{Json, Record, Schema, Value, aside};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::layout::{Computed, Plan};
use crate::SourceFile;
use crate::category::category;
use crate::emit::{Emitter, Stop};

/// Reads one stream to its end.
pub(super) fn read(connection: &Connection, file: &SourceFile, plan: &Plan, emitter: &mut Emitter) -> Result<(), Stop> {
    let failed = |error| {
        Stop::Failed(super::sqlite_error(&file.name, error).context("table", &plan.spec.name))
    };
    let mut statement = connection.prepare(&plan.sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut maker = Maker { file, plan, repeats: HashMap::new(), archive: Schema::new(plan.columns.iter().map(String::as_str)) };
    while let Some(row) = rows.next().map_err(failed)? {
        let mut columns = Vec::with_capacity(plan.columns.len());
        for index in 0..plan.columns.len() {
            columns.push(value(row.get_ref(index).map_err(failed)?));
        }
        emitter.record(maker.record(columns))?;
    }
    Ok(())
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
    /// How often a key that may repeat came so far.
    repeats: HashMap<String, u32>,
    /// Field names of an archived row.
    archive: Arc<Schema>,
}

impl Maker<'_> {
    fn record(&mut self, columns: Vec<Value>) -> Record {
        let plan = self.plan;
        let mut values = Vec::with_capacity(plan.schema.fields().len());
        for computed in &plan.computed {
            values.push(self.computed(computed, &columns));
        }
        if plan.exposed {
            values.extend(columns);
        }
        Record::new(Arc::clone(&plan.schema), values)
    }

    fn computed(&mut self, computed: &Computed, columns: &[Value]) -> Value {
        match computed {
            Computed::Constant(value) => value.clone(),
            Computed::PerFile { local, content } => {
                let digest = self.digest(columns, content.iter().copied());
                Value::Text(format!("{}@{}~{digest:016x}", plain(&columns[*local]), self.file.name))
            }
            Computed::ActionId { id, name, agent } => self.action_id(columns, *id, *name, *agent),
            Computed::Category { key } => match &columns[*key] {
                Value::Text(key) => Value::from(category(key)),
                _ => Value::Null,
            },
            Computed::ArchiveKey { key, counting } => self.archive_key(columns, key, *counting),
            Computed::ArchiveRecord => {
                let record = Record::new(Arc::clone(&self.archive), columns.to_vec());
                Value::Json(Json::from_text(aside::record_to_json(&record)))
            }
        }
    }

    fn digest(&self, columns: &[Value], positions: impl Iterator<Item = usize>) -> u64 {
        fields_hash(positions.map(|position| (self.plan.columns[position].as_str(), &columns[position])))
    }

    /// Ids such as `action-1795356423402-064b2ade` are made up anew for every
    /// database; name and agent type say which action it is.
    fn action_id(&mut self, columns: &[Value], id: usize, name: usize, agent: usize) -> Value {
        let natural = match (&columns[id], columns.get(name), columns.get(agent)) {
            (Value::Text(id), Some(Value::Text(name)), Some(Value::Text(agent))) if made_up(id) => {
                format!("{name}|{agent}")
            }
            (other, _, _) => return other.clone(),
        };
        Value::Text(self.told_apart(natural))
    }

    /// The n-th of several equal ones gets its number.
    fn told_apart(&mut self, key: String) -> String {
        let count = self.repeats.entry(key.clone()).or_default();
        *count += 1;
        if *count == 1 { key } else { format!("{key}#{count}") }
    }

    /// Keys of tables that nobody has a mapping for: the primary key; where it
    /// only counts rows, with a digest of the row; where there is none, the digest.
    fn archive_key(&mut self, columns: &[Value], key: &[usize], counting: bool) -> Value {
        match key {
            [only] if counting => {
                let digest = self.digest(columns, 0..columns.len());
                Value::Text(format!("{}~{digest:016x}", plain(&columns[*only])))
            }
            [only] if !columns[*only].is_null() => columns[*only].clone(),
            // SQLite lets a primary key be null.
            [] | [_] => {
                let digest = format!("~{:016x}", self.digest(columns, 0..columns.len()));
                Value::Text(self.told_apart(digest))
            }
            several => {
                let parts: Vec<String> = several.iter().map(|part| aside::to_json(&columns[*part])).collect();
                Value::Text(format!("[{}]", parts.join(",")))
            }
        }
    }
}

/// `action-`, milliseconds, `-`, hexadecimal digits.
fn made_up(id: &str) -> bool {
    let Some((millis, random)) = id.strip_prefix("action-").and_then(|rest| rest.split_once('-')) else { return false };
    let hexadecimal = |byte: u8| byte.is_ascii_hexdigit();
    millis.len() >= 12 && millis.bytes().all(|byte| byte.is_ascii_digit()) && random.len() >= 6 && random.bytes().all(hexadecimal)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    }
}
