//! `aqe-sync status`: when each stream was last synced, and what needs attention.

use aqe_sync_core::Timestamp;
use serde::Serialize;

use super::Context;
use crate::config::Origin;
use crate::exit::{Exit, Failure};
use crate::health::{Finding, Level, findings, last_finished, worst};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{Cell, Colour, Table, age, bytes, count, counted, duration, plain};
use aqe_sync_core::overview::{EnvironmentOverview, Overview, RunOverview};

/// So many runs are shown; `--json` has them all.
const RUNS_SHOWN: usize = 5;

#[derive(Serialize)]
struct Answer<'a> {
    hub: String,
    environment: &'a str,
    status: Level,
    findings: Vec<Finding>,
    #[serde(flatten)]
    overview: &'a Overview,
}

/// Shows the state of the hub.
///
/// # Errors
/// When the hub cannot be read.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    match overview(context) {
        Ok(Some(overview)) => show(context, &overview),
        Ok(None) => no_hub(context),
        Err(failure) => context.failed(failure),
    }
}

fn overview(context: &Context<'_>) -> Result<Option<Overview>, Failure> {
    let Some(hub) = hub::open(context.settings, Purpose::Look)? else { return Ok(None) };
    Ok(Some(with_hub!(hub, hub => hub.overview()?)))
}

fn no_hub(context: &Context<'_>) -> Result<Exit, Failure> {
    let empty = Overview {
        environments: Vec::new(),
        tables: Vec::new(),
        conflicts: 0,
        dead_letters: 0,
        bytes: 0,
        runs: Vec::new(),
        warnings: Vec::new(),
    };
    context.terminal.json(&answer(context, &empty, Vec::new()))?;
    let hub = context.hub_shown();
    context.terminal.result(&format!("there is no hub at {hub} yet; run aqe-sync to create it and fill it"))?;
    Ok(Exit::Ok)
}

fn answer<'a>(context: &'a Context<'_>, overview: &'a Overview, findings: Vec<Finding>) -> Answer<'a> {
    let environment = context.settings.environment.value.as_str();
    Answer { hub: context.hub_shown(), environment, status: worst(&findings), findings, overview }
}

fn show(context: &Context<'_>, overview: &Overview) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let chosen = &context.settings.environment;
    // Named at the terminal, one environment is asked for; else all are.
    let only = matches!(chosen.origin, Origin::Flag(_)).then(|| chosen.value.as_str());
    let answer = answer(context, overview, findings(overview, only, now));
    context.terminal.json(&answer)?;
    for environment in overview.environments.iter().filter(|each| only.is_none_or(|only| each.environment == only)) {
        streams(context, environment, &overview.runs, now)?;
    }
    runs(context, overview, only, now)?;
    overview.warnings.iter().for_each(|warning| context.terminal.warning(warning));
    for finding in &answer.findings {
        match finding.level {
            Level::Critical => context.terminal.error(&finding.message),
            _ => context.terminal.warning(&finding.message),
        }
    }
    let rows: u64 = overview.tables.iter().map(|table| table.rows).sum();
    let gone: u64 = overview.tables.iter().map(|table| table.tombstones).sum();
    let deleted = if gone == 0 { String::new() } else { format!(", {} deleted", count(gone)) };
    let (word, colour) = match answer.status {
        Level::Ok => ("ok", Colour::Green),
        Level::Warning => ("warning", Colour::Yellow),
        Level::Critical => ("critical", Colour::Red),
    };
    context.terminal.result(&format!(
        "{}: {}{deleted}, {}, {}; hub {}, {}",
        context.terminal.paint.on(word, colour),
        counted(rows, "record"),
        counted(overview.conflicts, "conflict"),
        counted(overview.dead_letters, "dead letter"),
        answer.hub,
        bytes(overview.bytes),
    ))?;
    Ok(answer.status.into())
}

fn streams(
    context: &Context<'_>,
    environment: &EnvironmentOverview,
    runs: &[RunOverview],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut table = Table::new(&["source", "table", ">rows", "last change"]);
    let mut last = "";
    for stream in &environment.streams {
        let source = if stream.source == last { "" } else { stream.source.as_str() };
        last = &stream.source;
        let name = if stream.stream == stream.table {
            stream.table.clone()
        } else {
            format!("{} ({})", stream.table, stream.stream)
        };
        let synced = stream.last_synced.as_deref().map_or_else(|| "never".to_owned(), |moment| in_words(moment, now));
        table.row(vec![Cell::text(source), Cell::text(name), Cell::number(stream.rows), Cell::text(synced)]);
    }
    let paint = context.terminal.paint;
    let name = paint.on(&plain(&environment.environment), Colour::Bold);
    let synced = last_finished(environment, runs)
        .map_or_else(String::new, |moment| format!(", last synced {}", age(moment, now)));
    context.terminal.result(&format!("{name}{synced}\n{}\n", table.draw(paint)))
}

fn runs(context: &Context<'_>, overview: &Overview, only: Option<&str>, now: Timestamp) -> Result<(), Failure> {
    let heading = ["last runs", "environment", "mode", "status", ">read", ">changed", ">dead", ">conflicts", ">time"];
    let mut table = Table::new(&heading);
    let wanted = overview.runs.iter().filter(|run| only.is_none_or(|only| run.environment == only));
    for run in wanted.take(RUNS_SHOWN) {
        let colour = match run.status.as_str() {
            "ok" => Colour::Green,
            "partial" => Colour::Yellow,
            _ => Colour::Red,
        };
        table.row(vec![
            Cell::text(in_words(&run.started_at, now)),
            Cell::text(&run.environment),
            Cell::text(&run.mode),
            Cell::text(&run.status).colour(colour),
            Cell::number(run.read),
            Cell::number(run.changed),
            Cell::number(run.dead_lettered),
            Cell::number(run.conflicts),
            Cell::right(duration(run.duration_ms)),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    context.terminal.result(&format!("{}\n", table.draw(context.terminal.paint)))
}

fn in_words(moment: &str, now: Timestamp) -> String {
    Timestamp::parse(moment).map_or_else(|| moment.to_owned(), |then| age(then, now))
}
