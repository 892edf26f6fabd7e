//! `aqe-sync history`: the last syncs, of all environments.

use std::collections::HashSet;

use aqe_sync_core::history::{History, RunFilter, RunRecord, newest_first};
use aqe_sync_core::report::Status;
use aqe_sync_core::{Environment, Timestamp};
use futures::executor::block_on;

use super::Context;
use super::pull::since;
use crate::args::HistoryFlags;
use crate::attempts;
use crate::exit::{Exit, Failure};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{Cell, Colour, Table, Verbosity, age, counted, duration, plain};

/// Lists syncs, the newest first: those that the hub knows, and those of this installation that
/// never reached it.
///
/// # Errors
/// When a flag makes no sense.
pub(crate) fn run(context: &Context<'_>, flags: &HistoryFlags) -> Result<Exit, Failure> {
    let filter = RunFilter {
        environment: flags.from.as_deref().map(Environment::parse).transpose()?,
        since: flags.since.as_deref().map(|text| since(text, Timestamp::now())).transpose()?,
        not_ok: flags.failed,
        limit: flags.limit,
    };
    hub::check(context.settings)?;
    let (asked, offline) = match asked(context, filter.clone()) {
        Ok(runs) => (runs, None),
        Err(failure) if failure.exit == Exit::Usage => return Err(failure),
        Err(failure) => (Vec::new(), Some(failure.message)),
    };
    let runs = together(asked, attempts::remembered(context.root(), &context.hub_shown()), &filter);
    context.terminal.json(&serde_json::json!({ "runs": runs, "hub": context.hub_shown(), "error": offline }))?;
    show(context, &runs)?;
    let counted = counted(runs.len() as u64, "sync");
    let Some(error) = offline else {
        context.terminal.result(&format!("{counted}; hub {}", context.hub_shown()))?;
        return Ok(Exit::Ok);
    };
    context.terminal.error(&error);
    context.terminal.result(&format!("{counted} of this installation; hub {} not asked", context.hub_shown()))?;
    Ok(Exit::Failed)
}

fn asked(context: &Context<'_>, filter: RunFilter) -> Result<Vec<RunRecord>, Failure> {
    let Some(hub) = hub::open(context.settings, Purpose::Look)? else { return Ok(Vec::new()) };
    Ok(with_hub!(hub, hub => block_on(hub.runs(filter)))?)
}

/// What the hub knows and what only this installation does, each run once, the newest first.
fn together(asked: Vec<RunRecord>, own: Vec<RunRecord>, filter: &RunFilter) -> Vec<RunRecord> {
    let known: HashSet<&str> = asked.iter().map(|run| run.run_id.as_str()).collect();
    let wanted = |run: &RunRecord| {
        !known.contains(run.run_id.as_str())
            && filter.environment.as_ref().is_none_or(|wanted| wanted.as_str() == run.environment)
            && filter.since.is_none_or(|since| run.started_at >= since)
            && (!filter.not_ok || run.status != Status::Ok)
    };
    let mut runs: Vec<RunRecord> = own.into_iter().filter(wanted).collect();
    runs.extend(asked);
    newest_first(&mut runs);
    runs.truncate(filter.limit);
    runs
}

fn show(context: &Context<'_>, runs: &[RunRecord]) -> Result<(), Failure> {
    let now = Timestamp::now();
    let heading = ["when", "environment", "mode", "status", ">read", ">changed", ">dead", ">conflicts", ">time"];
    let mut table = Table::new(&heading);
    for run in runs {
        let colour = match run.status {
            Status::Ok => Colour::Green,
            Status::Partial => Colour::Yellow,
            Status::Failed => Colour::Red,
        };
        table.row(vec![
            Cell::text(age(run.started_at, now)),
            Cell::text(&run.environment),
            Cell::text(&run.mode),
            Cell::text(run.status.as_str()).colour(colour),
            Cell::number(run.totals.read),
            Cell::number(run.changed()),
            Cell::number(run.totals.dead_lettered),
            Cell::number(run.totals.conflicts),
            Cell::right(duration(run.duration_ms)),
        ]);
    }
    if table.is_empty() {
        return Ok(());
    }
    context.terminal.result(&format!("{}\n", table.draw(context.terminal.paint)))?;
    // What failed, of all where that is wanted, else of the last one.
    let wordy = context.terminal.verbosity == Verbosity::Verbose;
    let failed = runs.iter().take(if wordy { runs.len() } else { 1 });
    for (run, errors) in failed.filter_map(|run| run.errors.as_ref().map(|errors| (run, errors))) {
        for error in errors.lines() {
            let line = plain(&format!("{} {}: {error}", run.started_at, run.environment));
            context.terminal.result(&line)?;
        }
    }
    Ok(())
}
