//! `aqe-sync fleet`: what all environments know together, and whose contributions count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqe_sync_core::fleet::{
    Contribution, FleetHub, FleetRecord, content_digest, identity, is_counts_only, known, merge,
};
use aqe_sync_core::rowjson::row_to_json;
use aqe_sync_core::{ColumnType, Environment, Key, Role, Row, TableSpec, Value, tables};
use futures::StreamExt as _;
use futures::executor::block_on;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Context;
use crate::args::FleetCommand;
use crate::exit::{Exit, Failure};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{Cell, Colour, Table, counted, plain};

/// Shows or changes something about the fleet.
///
/// # Errors
/// When there is no hub, or it cannot be read.
pub(crate) fn run(context: &Context<'_>, what: &FleetCommand) -> Result<Exit, Failure> {
    let outcome = hub::check(context.settings).and_then(|()| opened(context, what));
    match outcome {
        Err(failure) if failure.exit == Exit::Failed => context.failed(failure),
        outcome => outcome,
    }
}

fn opened(context: &Context<'_>, what: &FleetCommand) -> Result<Exit, Failure> {
    let hub = context.existing_hub(Purpose::Existing)?;
    with_hub!(hub, hub => match what {
        FleetCommand::Show { key, table } => show(context, &hub, key, table.as_deref()),
        FleetCommand::Conflicts { table, limit } => conflicts(context, &hub, table.as_deref(), *limit),
        FleetCommand::Similar { table, least, limit } => super::search::similar(context, &hub, table.as_deref(), *least, *limit),
        FleetCommand::Exclude { environment } => exclude(context, &hub, environment, true),
        FleetCommand::Include { environment } => exclude(context, &hub, environment, false),
    })
}

/// One environment's part, for people and programs.
#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is an answer of its own in the JSON")]
struct Part {
    environment: String,
    deleted: bool,
    excluded: bool,
    /// Whether it only counts, and says nothing of the content.
    counts_only: bool,
    agrees: bool,
    row: Option<Box<RawValue>>,
}

/// A record of the fleet.
#[derive(Serialize)]
struct Shown {
    table: String,
    key: String,
    winner: Option<String>,
    environments: usize,
    agreeing: usize,
    record: Option<Box<RawValue>>,
    contributions: Vec<Part>,
}

impl Shown {
    fn of(table: &TableSpec, key: &Key, all: &[Contribution], excluded: &dyn Fn(&Environment) -> bool) -> Self {
        let counted: Vec<Contribution> = all.iter().filter(|one| !excluded(&one.environment)).cloned().collect();
        let record = merge(table, &counted);
        let said = record.as_ref().map(|record| content_digest(table, &record.row));
        let contributions = all.iter().map(|one| Part {
            environment: one.environment.to_string(),
            deleted: one.deleted,
            excluded: excluded(&one.environment),
            counts_only: is_counts_only(&one.row),
            agrees: !one.deleted && !is_counts_only(&one.row) && said == Some(content_digest(table, &one.row)),
            row: (!one.deleted).then(|| raw(table, &one.row)).flatten(),
        });
        Self {
            table: table.name().to_string(),
            key: key.to_string(),
            winner: record.as_ref().map(|record| record.winner.to_string()),
            environments: record.as_ref().map_or(0, |record| record.environments.len()),
            agreeing: record.as_ref().map_or(0, |record| record.agreeing),
            record: record.and_then(|record| raw(table, &record.row)),
            contributions: contributions.collect(),
        }
    }
}

fn raw(table: &TableSpec, row: &Row) -> Option<Box<RawValue>> {
    RawValue::from_string(row_to_json(table, row)).ok()
}

fn show<H: FleetHub>(context: &Context<'_>, hub: &H, key: &str, table: Option<&str>) -> Result<Exit, Failure> {
    let standing = block_on(hub.standing())?;
    let excluded = |environment: &Environment| standing.excluded.contains(environment);
    let mut found = Vec::new();
    for table in chosen(table, |_| true)? {
        let Some(wanted) = key_of(table, key) else { continue };
        let all = block_on(hub.contributions(table, vec![wanted.clone()]))?;
        if let Some(all) = all.first().filter(|all| !all.is_empty()) {
            found.push((table, Shown::of(table, &wanted, all, &excluded), all.clone()));
        }
    }
    let shown: Vec<&Shown> = found.iter().map(|(_, shown, _)| shown).collect();
    context.terminal.json(&serde_json::json!({ "records": shown }))?;
    for (table, shown, all) in &found {
        tell(context, table, shown, all)?;
    }
    if found.is_empty() {
        let line = format!("no environment has a record with the key {key}; hub {}", context.hub_shown());
        context.terminal.result(&plain(&line))?;
        return Ok(Exit::Warning);
    }
    Ok(Exit::Ok)
}

/// A key as somebody types it: its text, or a JSON array of its parts.
pub(super) fn key_of(table: &TableSpec, text: &str) -> Option<Key> {
    let columns = table.key_columns();
    let parts = match (columns, Key::from_json(text)) {
        (_, Some(key)) if key.values().len() == columns.len() => key.values().to_vec(),
        ([_], _) => vec![Value::from(text)],
        _ => return None,
    };
    let parts = columns.iter().zip(parts).map(|(column, part)| match (column.kind, part) {
        (ColumnType::Int, Value::Text(text)) => text.parse().ok().map(Value::Int),
        (ColumnType::Text, Value::Int(number)) => Some(Value::Text(number.to_string())),
        (_, part) => Some(part),
    });
    parts.collect::<Option<Vec<_>>>().map(Key::new)
}

fn tell(context: &Context<'_>, spec: &TableSpec, shown: &Shown, all: &[Contribution]) -> Result<(), Failure> {
    let terminal = context.terminal;
    let name = terminal.paint.on(&plain(&format!("{} {}", shown.table, shown.key)), Colour::Bold);
    let numbers: Vec<usize> = (0..spec.columns().len()).filter(|position| is_number(spec, *position)).collect();
    let headings: Vec<String> = numbers.iter().map(|position| format!(">{}", spec.columns()[*position].name)).collect();
    let headings = ["environment", ""].into_iter().chain(headings.iter().map(String::as_str)).chain(["content"]);
    let mut table = Table::new(&headings.collect::<Vec<_>>());
    let mut line = |who: &str, mark: &str, row: Option<&Row>| {
        let cells = numbers.iter().map(|position| {
            Cell::right(row.map_or_else(String::new, |row| match &row.values[*position] {
                Value::Null => String::new(),
                value => value.to_string(),
            }))
        });
        let said = row.map_or_else(String::new, |row| content(spec, row));
        table.row([Cell::text(who), Cell::text(mark)].into_iter().chain(cells).chain([Cell::text(said)]).collect());
    };
    for (part, one) in shown.contributions.iter().zip(all) {
        let mark = match part {
            Part { deleted: true, .. } => "deleted",
            Part { excluded: true, .. } => "excluded",
            Part { counts_only: true, .. } => "counts",
            _ if shown.winner.as_deref() == Some(&part.environment) => "wins",
            Part { agrees: true, .. } => "agrees",
            _ => "differs",
        };
        line(&part.environment, mark, (!one.deleted).then_some(&one.row));
    }
    let counted: Vec<Contribution> =
        shown.contributions.iter().zip(all).filter(|(part, _)| !part.excluded).map(|(_, one)| one.clone()).collect();
    let record = merge(spec, &counted);
    line("fleet", "", record.as_ref().map(|FleetRecord { row, .. }| row));
    terminal.result(&format!("{name}\n{}\n", table.draw(terminal.paint)))
}

fn is_number(spec: &TableSpec, position: usize) -> bool {
    matches!(spec.columns()[position].role, Role::Counter | Role::Rate { .. } | Role::Confidence)
}

/// The text that says what a row is about.
fn content(spec: &TableSpec, row: &Row) -> String {
    if is_counts_only(row) {
        return String::new();
    }
    let said = spec.columns().iter().zip(&row.values).filter(|(column, _)| column.role == Role::SearchText);
    let said: Vec<String> = said.filter(|(_, value)| !value.is_null()).map(|(_, value)| value.to_string()).collect();
    said.join(" ")
}

/// Several versions of one record, or one record under several keys.
#[derive(Serialize)]
struct Disagreement {
    table: String,
    /// `key` or `meaning`.
    same: &'static str,
    keys: Vec<String>,
    winner: Option<String>,
    agreeing: Vec<String>,
    differing: Vec<String>,
}

fn conflicts<H: FleetHub>(context: &Context<'_>, hub: &H, table: Option<&str>, limit: usize) -> Result<Exit, Failure> {
    let standing = block_on(hub.standing())?;
    let mut found = Vec::new();
    for table in chosen(table, |table| {
        table.columns().iter().any(|column| column.role == Role::Confidence || matches!(column.role, Role::Counter))
    })? {
        block_on(collect(hub, table, &standing.excluded, &mut found))?;
    }
    let total = found.len();
    found.truncate(limit);
    context.terminal.json(&serde_json::json!({ "conflicts": found, "total": total }))?;
    let mut drawn = Table::new(&["table", "same", "key", "wins", "agree", "differ"]);
    for one in &found {
        drawn.row(vec![
            Cell::text(&one.table),
            Cell::text(one.same),
            Cell::text(one.keys.join(" = ")),
            Cell::text(one.winner.as_deref().unwrap_or("nobody")),
            Cell::text(one.agreeing.join(", ")),
            Cell::text(one.differing.join(", ")),
        ]);
    }
    if !drawn.is_empty() {
        context.terminal.result(&format!("{}\n", drawn.draw(context.terminal.paint)))?;
    }
    let more =
        if total > found.len() { format!(" (the first {}; more with --limit)", found.len()) } else { String::new() };
    let line = format!("{}{more}; hub {}", counted(total as u64, "disagreement"), context.hub_shown());
    context.terminal.result(&line)?;
    Ok(Exit::Ok)
}

/// Who says what under which key, of records that mean the same.
type Meanings = BTreeMap<String, Vec<(Key, Environment)>>;

async fn collect<H: FleetHub>(
    hub: &H,
    table: &Arc<TableSpec>,
    excluded: &BTreeSet<Environment>,
    found: &mut Vec<Disagreement>,
) -> Result<(), Failure> {
    let mut all = known(hub, table, excluded);
    let mut meanings = Meanings::new();
    while let Some(some) = all.next().await {
        for (key, mut contributions) in some? {
            contributions.retain(|one| !one.deleted && !is_counts_only(&one.row));
            found.extend(disagreement(table, &key, &contributions));
            for one in &contributions {
                if let Some(meaning) = identity(table, &one.row) {
                    meanings.entry(meaning).or_default().push((key.clone(), one.environment.clone()));
                }
            }
        }
    }
    found.extend(meanings.into_values().filter_map(|of_one| same_meaning(table, &of_one)));
    Ok(())
}

fn disagreement(table: &TableSpec, key: &Key, all: &[Contribution]) -> Option<Disagreement> {
    let record = merge(table, all).filter(|record| record.agreeing < all.len())?;
    let said = content_digest(table, &record.row);
    let (agreeing, differing): (Vec<_>, Vec<_>) = all.iter().partition(|one| content_digest(table, &one.row) == said);
    let names = |all: Vec<&Contribution>| all.iter().map(|one| one.environment.to_string()).collect();
    Some(Disagreement {
        table: table.name().to_string(),
        same: "key",
        keys: vec![key.to_string()],
        winner: Some(record.winner.to_string()),
        agreeing: names(agreeing),
        differing: names(differing),
    })
}

/// Different keys for the same, in different environments.
fn same_meaning(table: &TableSpec, all: &[(Key, Environment)]) -> Option<Disagreement> {
    let (first, by) = all.first()?;
    all.iter().find(|(key, environment)| key != first && environment != by)?;
    let mut keys: Vec<String> = all.iter().map(|(key, _)| key.to_string()).collect();
    let mut names: Vec<String> = all.iter().map(|(_, environment)| environment.to_string()).collect();
    for list in [&mut keys, &mut names] {
        list.sort();
        list.dedup();
    }
    let table = table.name().to_string();
    Some(Disagreement { table, same: "meaning", keys, winner: None, agreeing: names, differing: Vec::new() })
}

fn exclude<H: FleetHub>(context: &Context<'_>, hub: &H, name: &str, excluded: bool) -> Result<Exit, Failure> {
    let environment = Environment::parse(name)?;
    let known = block_on(hub.standing())?.versions.values().any(|versions| versions.of(&environment) > 0);
    let changed = block_on(hub.exclude(&environment, excluded))?;
    context.terminal.json(&serde_json::json!({ "environment": name, "excluded": excluded, "changed": changed }))?;
    if !known {
        context.terminal.warning(&format!("no environment called {name} has written to this hub yet"));
    }
    let line = match (excluded, changed) {
        (true, true) => format!("{name} is excluded: the next pulls take back what came from it"),
        (true, false) => format!("{name} was excluded already"),
        (false, true) => format!("{name} belongs to the fleet again: the next pulls take what it contributes"),
        (false, false) => format!("{name} was not excluded"),
    };
    context.terminal.result(&plain(&line))?;
    Ok(Exit::Ok)
}

/// The named table, or all that qualify.
fn chosen(name: Option<&str>, qualifies: impl Fn(&TableSpec) -> bool) -> Result<Vec<&'static Arc<TableSpec>>, Failure> {
    match name {
        Some(name) => {
            super::pull::known_tables(&[name.to_owned()])?;
            Ok(tables::find(name).into_iter().collect())
        }
        None => Ok(tables::all().iter().filter(|table| qualifies(table)).collect()),
    }
}
