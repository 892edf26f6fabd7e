//! `aqe-sync status`: when each stream was last synced, and what needs attention.

use aqe_sync_core::Timestamp;
use aqe_sync_core::monitor::{EnvironmentMeasures, Finding, Level, Measures, prometheus, worst};
use aqe_sync_core::overview::{Overview, RunOverview};
use serde::Serialize;

use super::Context;
use crate::args::StatusFlags;
use crate::config::Origin;
use crate::exit::{Exit, Failure};
use crate::facts::{Facts, gather};
use crate::output::{Cell, Colour, Paint, Table, age, bytes, count, counted, duration, plain};

/// So many runs are shown; `--json` has them all.
const RUNS_SHOWN: usize = 5;

#[derive(Serialize)]
struct Answer<'a> {
    hub: String,
    environment: &'a str,
    status: Level,
    findings: &'a [Finding],
    #[serde(flatten)]
    measures: &'a Measures,
    runs: &'a [RunOverview],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    /// Why the hub could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Shows the state of the hub.
///
/// # Errors
/// When the configuration names no hub that could be opened.
pub(crate) fn run(context: &Context<'_>, flags: StatusFlags) -> Result<Exit, Failure> {
    let chosen = &context.settings.environment;
    // Named at the terminal, one environment is asked for; else all are.
    let only = matches!(chosen.origin, Origin::Flag(_)).then(|| chosen.value.as_str());
    let Some(facts) = gather(context.settings, only)? else { return no_hub(context, flags) };
    if flags.prometheus {
        if let Some(error) = &facts.offline {
            context.terminal.error(error);
        }
        context.terminal.result(prometheus(&facts.measures, &facts.findings).trim_end())?;
        return Ok(exit(worst(&facts.findings)));
    }
    show(context, &facts, only)
}

/// The exit code of a level.
pub(crate) fn exit(level: Level) -> Exit {
    match level {
        Level::Ok => Exit::Ok,
        Level::Warning => Exit::Warning,
        Level::Critical => Exit::Failed,
    }
}

fn no_hub(context: &Context<'_>, flags: StatusFlags) -> Result<Exit, Failure> {
    let facts = Facts::none();
    if flags.prometheus {
        context.terminal.result(prometheus(&facts.measures, &[]).trim_end())?;
        return Ok(Exit::Ok);
    }
    context.terminal.json(&answer(context, &facts))?;
    let hub = context.hub_shown();
    context.terminal.result(&format!("there is no hub at {hub} yet; run aqe-sync to create it and fill it"))?;
    Ok(Exit::Ok)
}

fn answer<'a>(context: &'a Context<'_>, facts: &'a Facts) -> Answer<'a> {
    Answer {
        hub: context.hub_shown(),
        environment: context.settings.environment.value.as_str(),
        status: worst(&facts.findings),
        findings: &facts.findings,
        measures: &facts.measures,
        runs: &facts.overview.runs,
        warnings: &facts.overview.warnings,
        error: facts.offline.as_deref(),
    }
}

fn show(context: &Context<'_>, facts: &Facts, only: Option<&str>) -> Result<Exit, Failure> {
    let terminal = context.terminal;
    let (measures, overview) = (&facts.measures, &facts.overview);
    let now = measures.at;
    let answer = answer(context, facts);
    terminal.json(&answer)?;
    for environment in measures.environments.iter().filter(|each| only.is_none_or(|only| each.environment == only)) {
        streams(context, environment, now)?;
    }
    if !measures.tables.is_empty() {
        terminal.result(&format!("{}\n", tables(measures, terminal.paint)))?;
    }
    runs(context, overview, only, now)?;
    overview.warnings.iter().for_each(|warning| terminal.warning(warning));
    if let Some(error) = &facts.offline {
        terminal.error(error);
    }
    for finding in &facts.findings {
        match finding.level {
            Level::Critical => terminal.error(&finding.message),
            _ => terminal.warning(&finding.message),
        }
    }
    terminal.result(&summary(&answer, measures, terminal.paint))?;
    Ok(exit(answer.status))
}

fn summary(answer: &Answer<'_>, measures: &Measures, paint: Paint) -> String {
    let colour = match answer.status {
        Level::Ok => Colour::Green,
        Level::Warning => Colour::Yellow,
        Level::Critical => Colour::Red,
    };
    let word = paint.on(answer.status.as_str(), colour);
    if answer.error.is_some() {
        let rows = measures.environments.iter().flat_map(|environment| &environment.streams).map(|stream| stream.rows);
        return format!("{word}: {} here; hub {} not asked", counted(rows.sum(), "record"), answer.hub);
    }
    let rows: u64 = measures.tables.iter().map(|table| table.rows).sum();
    let gone: u64 = measures.tables.iter().map(|table| table.tombstones).sum();
    let deleted = if gone == 0 { String::new() } else { format!(", {} deleted", count(gone)) };
    format!(
        "{word}: {}{deleted}, {}, {}; hub {}, {}",
        counted(rows, "record"),
        counted(measures.conflicts, "conflict"),
        counted(measures.dead_letters, "dead letter"),
        answer.hub,
        bytes(measures.bytes),
    )
}

fn streams(context: &Context<'_>, environment: &EnvironmentMeasures, now: Timestamp) -> Result<(), Failure> {
    let mut table = Table::new(&["source", "table", ">rows", "synced", ">time", ">failed"]);
    let mut last = "";
    for stream in &environment.streams {
        let source = if stream.source == last { "" } else { stream.source.as_str() };
        last = &stream.source;
        let name = if stream.stream == stream.table {
            stream.table.clone()
        } else {
            format!("{} ({})", stream.table, stream.stream)
        };
        let synced = stream.last_synced.map_or_else(|| "never".to_owned(), |moment| age(moment, now));
        table.row(vec![
            Cell::text(source),
            Cell::text(name),
            Cell::number(stream.rows),
            Cell::text(synced),
            Cell::right(stream.last_duration_ms.map_or_else(String::new, duration)),
            Cell::right(if stream.failed_runs == 0 { String::new() } else { count(stream.failed_runs) }),
        ]);
    }
    let paint = context.terminal.paint;
    let name = paint.on(&plain(&environment.environment), Colour::Bold);
    let synced =
        environment.last_finished.map_or_else(String::new, |moment| format!(", last synced {}", age(moment, now)));
    let recent = if environment.runs == 0 { String::new() } else { format!(", {}", recent(environment)) };
    context.terminal.result(&format!("{name}{synced}{recent}\n{}\n", table.draw(paint)))
}

/// What the last seven days were like.
fn recent(environment: &EnvironmentMeasures) -> String {
    let failed = match environment.failed_runs {
        0 => String::new(),
        failed => format!(", {} failed ({:.0} %)", count(failed), environment.failure_rate * 100.0),
    };
    let met = match environment.conflicts {
        0 => String::new(),
        _ => format!(", {:.1} % in conflict", environment.conflict_rate * 100.0),
    };
    let each = format!("{:.0}", environment.records_per_run);
    format!("{} in 7 days{failed}, {each} records each{met}", counted(environment.runs, "sync"))
}

fn tables(measures: &Measures, paint: Paint) -> String {
    let mut drawn = Table::new(&["table", ">rows", ">in 7 days", ">deleted", ">size", ">embedded", ">time"]);
    let embeds = !measures.models.is_empty();
    for table in &measures.tables {
        let growth = match table.growth {
            0 => String::new(),
            lost @ ..0 => format!("-{}", count(lost.unsigned_abs())),
            grown => format!("+{}", count(grown.unsigned_abs())),
        };
        let coverage =
            table.coverage.filter(|_| embeds).map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
        drawn.row(vec![
            Cell::text(&table.table),
            Cell::number(table.rows),
            Cell::right(growth),
            Cell::number(table.tombstones),
            Cell::right(bytes(table.bytes)),
            Cell::right(coverage),
            Cell::right(table.last_duration_ms.map_or_else(String::new, duration)),
        ]);
    }
    drawn.draw(paint)
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
