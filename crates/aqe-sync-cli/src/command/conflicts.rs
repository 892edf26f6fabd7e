//! `aqe-sync conflicts`: what conflicted, which rule decided, and the other version.

use std::sync::Arc;

use aqe_sync_core::revert::{
    ConflictEntry, ConflictFilter, ConflictLog, REVERTED, Reverted, Side, check_owner, revert,
};
use aqe_sync_core::rowjson::{row_from_json, row_to_json};
use aqe_sync_core::{ColumnSpec, Environment, Json, Row, Sink, TableSpec, Timestamp, Value, tables};
use futures::executor::block_on;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Context;
use super::pull::{known_tables, since};
use crate::args::{ConflictsCommand, ConflictsFlags, Version};
use crate::exit::{Exit, Failure};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{Cell, Colour, Table, counted, plain};

/// So many differing columns are named in the list.
const NAMED: usize = 4;

/// Lists, shows or reverts.
///
/// # Errors
/// When there is no hub, or it cannot be read; when what is to be reverted cannot be.
pub(crate) fn run(context: &Context<'_>, flags: &ConflictsFlags) -> Result<Exit, Failure> {
    let outcome = hub::check(context.settings).and_then(|()| opened(context, flags));
    match outcome {
        Err(failure) if failure.exit == Exit::Failed => context.failed(failure),
        outcome => outcome,
    }
}

fn opened(context: &Context<'_>, flags: &ConflictsFlags) -> Result<Exit, Failure> {
    // Whoever writes keeps the runs of this project out.
    let writes = matches!(flags.what, Some(ConflictsCommand::Revert { .. }));
    let _lock = if writes { Some(context.lock("conflicts revert")?) } else { None };
    let hub = context.existing_hub(Purpose::Existing)?;
    with_hub!(hub, hub => match &flags.what {
        None => list(context, &hub, flags),
        Some(ConflictsCommand::Show { id }) => show(context, &hub, id),
        Some(ConflictsCommand::Revert { id, to }) => put(context, &hub, id, *to),
    })
}

/// An entry for programs.
#[derive(Serialize)]
struct Shown<'e> {
    id: &'e str,
    at: String,
    environment: &'e str,
    table: &'e str,
    key: &'e str,
    rule: &'e str,
    source: &'e str,
    stream: &'e str,
    existing_source: &'e str,
    existing_stream: &'e str,
    /// Null where a delete arrived.
    incoming: Option<&'e RawValue>,
    existing: Option<&'e RawValue>,
    reverted_by: Option<&'e str>,
}

impl<'e> Shown<'e> {
    fn of(entry: &'e ConflictEntry) -> Self {
        let raw = |json: &'e Json| serde_json::from_str::<&RawValue>(json.as_str()).ok();
        Self {
            id: &entry.id,
            at: entry.at.to_string(),
            environment: entry.environment.as_str(),
            table: &entry.table,
            key: &entry.key,
            rule: &entry.rule,
            source: entry.writer.source.as_str(),
            stream: entry.writer.stream.as_str(),
            existing_source: entry.existing_from.source.as_str(),
            existing_stream: entry.existing_from.stream.as_str(),
            incoming: entry.incoming.as_ref().and_then(raw),
            existing: raw(&entry.existing),
            reverted_by: entry.reverted_by.as_deref(),
        }
    }
}

fn list<H: ConflictLog>(context: &Context<'_>, hub: &H, flags: &ConflictsFlags) -> Result<Exit, Failure> {
    if let Some(table) = &flags.table {
        known_tables(std::slice::from_ref(table))?;
    }
    let filter = ConflictFilter {
        table: flags.table.clone(),
        environment: flags.from.as_deref().map(Environment::parse).transpose()?,
        since: flags.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?,
        limit: flags.limit,
    };
    let (entries, total) = block_on(hub.conflicts(filter))?;
    let shown: Vec<Shown<'_>> = entries.iter().map(Shown::of).collect();
    context.terminal.json(&serde_json::json!({ "conflicts": shown, "total": total }))?;
    let mut drawn = Table::new(&["id", "when", "environment", "table", "key", "rule", "differs in"]);
    for entry in &entries {
        let rule = match &entry.reverted_by {
            Some(by) => Cell::text(format!("{} ({REVERTED} by {by})", entry.rule)).colour(Colour::Dim),
            None => Cell::text(&entry.rule),
        };
        drawn.row(vec![
            Cell::text(&entry.id),
            Cell::text(entry.at),
            Cell::text(&entry.environment),
            Cell::text(&entry.table),
            Cell::text(&entry.key),
            rule,
            Cell::text(differs_in(entry)),
        ]);
    }
    if !drawn.is_empty() {
        context.terminal.result(&format!("{}\n", drawn.draw(context.terminal.paint)))?;
    }
    let more = if total > entries.len() as u64 {
        format!(" (the newest {}; more with --limit)", entries.len())
    } else {
        String::new()
    };
    let line = format!("{}{more}; hub {}", counted(total, "conflict"), context.hub_shown());
    context.terminal.result(&plain(&line))?;
    Ok(Exit::Ok)
}

/// An entry whose images are rows of a table of the catalogue.
struct Images {
    table: &'static Arc<TableSpec>,
    incoming: Option<Row>,
    existing: Row,
}

impl Images {
    fn of(entry: &ConflictEntry) -> Result<Self, Failure> {
        let Some(table) = tables::find(&entry.table) else {
            return Err(Failure::failed(format!("this version of aqe-sync knows no hub table {}", entry.table)));
        };
        let image = |json: &Json| row_from_json(table, json.as_str());
        let incoming = entry.incoming.as_ref().map(image).transpose()?;
        Ok(Self { table, incoming, existing: image(&entry.existing)? })
    }

    /// Columns of which the two versions have different values, with both.
    fn different(&self) -> Vec<(&ColumnSpec, Option<&Value>, &Value)> {
        let columns = self.table.columns().iter().zip(&self.existing.values).enumerate();
        let pairs = columns.map(|(position, (column, existing))| {
            (column, self.incoming.as_ref().map(|row| &row.values[position]), existing)
        });
        pairs
            .filter(|(_, incoming, existing)| {
                incoming.is_none_or(|incoming| !aqe_sync_core::hash::same(incoming, existing))
            })
            .collect()
    }

    fn extras(&self) -> [Option<&Json>; 2] {
        [self.incoming.as_ref().and_then(|row| row.extra.as_ref()), self.existing.extra.as_ref()]
    }
}

fn differs_in(entry: &ConflictEntry) -> String {
    if entry.incoming.is_none() {
        return "delete".to_owned();
    }
    let Ok(images) = Images::of(entry) else { return String::new() };
    let different = images.different();
    let mut names: Vec<&str> = different.iter().map(|(column, ..)| column.name.as_str()).take(NAMED).collect();
    if names.is_empty() {
        names.push("extra");
    }
    let more = different.len().saturating_sub(NAMED);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

fn entry_of<H: ConflictLog>(context: &Context<'_>, hub: &H, id: &str) -> Result<ConflictEntry, Failure> {
    block_on(hub.conflict(id))?.ok_or_else(|| {
        let shown = plain(id);
        Failure::failed(format!("the hub at {} has no conflict {shown}: see aqe-sync conflicts", context.hub_shown()))
    })
}

fn show<H: ConflictLog>(context: &Context<'_>, hub: &H, id: &str) -> Result<Exit, Failure> {
    let entry = entry_of(context, hub, id)?;
    context.terminal.json(&Shown::of(&entry))?;
    let images = Images::of(&entry)?;
    let mut drawn = Table::new(&["column", "incoming", "existing"]);
    let text = |value: Option<&Value>| match value {
        None => Cell::text("(deleted)").colour(Colour::Dim),
        Some(Value::Null) => Cell::text("null").colour(Colour::Dim),
        Some(value) => Cell::text(value),
    };
    for (column, incoming, existing) in images.different() {
        drawn.row(vec![Cell::text(&column.name), text(incoming), text(Some(existing))]);
    }
    let [incoming, existing] = images.extras().map(|extra| extra.map_or("", Json::as_str));
    if incoming != existing {
        drawn.row(vec![Cell::text("extra"), Cell::text(incoming), Cell::text(existing)]);
    }
    let of = |from: &aqe_sync_core::Contributor| format!("{} {}", from.source, from.stream);
    let reverted = entry.reverted_by.as_ref().map_or_else(String::new, |by| format!(", {REVERTED} by {by}"));
    let head = format!(
        "{} {} of {}, {}: decided by {}{reverted}\nincoming from {}, existing from {}",
        entry.table,
        entry.key,
        entry.environment,
        entry.at,
        entry.rule,
        of(&entry.writer),
        of(&entry.existing_from)
    );
    let lines: Vec<String> = head.lines().map(plain).collect();
    context.terminal.result(&format!("{}\n\n{}", lines.join("\n"), drawn.draw(context.terminal.paint)))?;
    Ok(Exit::Ok)
}

fn put<H: ConflictLog + Sink>(context: &Context<'_>, hub: &H, id: &str, to: Option<Version>) -> Result<Exit, Failure> {
    let entry = entry_of(context, hub, id)?;
    let environment = &context.settings.environment.value;
    check_owner(environment, &entry)?;
    let Images { table, .. } = Images::of(&entry)?;
    let side = to.map(|to| match to {
        Version::Incoming => Side::Incoming,
        Version::Existing => Side::Existing,
    });
    let Reverted { in_force, changed } = block_on(revert(hub, table, environment, &entry, side))?;
    let raw = in_force.as_ref().and_then(|row| RawValue::from_string(row_to_json(table, row)).ok());
    context.terminal.json(&serde_json::json!({ "id": id, "changed": changed, "in_force": raw }))?;
    let (table, key) = (&entry.table, &entry.key);
    let line = match (changed, in_force.is_some()) {
        (true, true) => format!("{table} {key}: the other version is in force"),
        (true, false) => format!("{table} {key} is deleted"),
        (false, _) => format!("{table} {key}: that version is in force already"),
    };
    context.terminal.result(&plain(&format!("{line}; hub {}", context.hub_shown())))?;
    Ok(Exit::Ok)
}
