//! `aqe-sync verify`: whether the hub holds what the sources hold.

use futures::executor::block_on;

use super::Context;
use crate::args::VerifyFlags;
use crate::exit::{Exit, Failure};
use crate::hub::{Purpose, with_hub};
use crate::output::{Cell, Colour, Progress, Table, Verbosity, account, counted};
use crate::{project, sources};
use aqe_readers::LedgerFile;
use aqe_sync_core::Sink;
use aqe_sync_core::fleet::FleetHub;
use aqe_sync_core::verify::{Depth, RepairReport, StreamVerification, VerifyReport, repair, verify, verify_deep};

/// So many keys are shown per stream and kind; `--json` has more.
const KEYS_SHOWN: usize = 10;

/// What was found, and what was done about it if that was asked for.
enum Outcome {
    Compared(VerifyReport),
    Repaired(Box<RepairReport>),
}

/// Compares contents, record by record.
///
/// # Errors
/// When there is no hub, or it cannot be read.
pub(crate) fn run(context: &Context<'_>, flags: VerifyFlags) -> Result<Exit, Failure> {
    if flags.vectors {
        return match super::search::verify(context, flags.sample) {
            Err(failure) => context.failed(failure),
            done => done,
        };
    }
    let outcome = match compare(context, flags) {
        Ok(outcome) => outcome,
        Err(failure) => return context.failed(failure),
    };
    let matches = match &outcome {
        Outcome::Compared(report) => {
            context.terminal.json(report)?;
            tell(context, report)?;
            context.terminal.result(&summary(report, &context.hub_shown()))?;
            report.matches()
        }
        Outcome::Repaired(report) => {
            context.terminal.json(report)?;
            tell_repair(context, report)?;
            report.matches()
        }
    };
    Ok(if matches { Exit::Ok } else { Exit::Warning })
}

fn compare(context: &Context<'_>, flags: VerifyFlags) -> Result<Outcome, Failure> {
    let chosen = sources::choose(context.settings, context.terminal)?;
    let _lock = flags.repair.then(|| context.lock("verify --repair")).transpose()?;
    let purpose = if flags.repair { Purpose::Mend } else { Purpose::Existing };
    let hub = context.existing_hub(purpose)?;
    with_hub!(hub, hub => compare_with(context, flags, &hub, chosen))
}

fn compare_with<S: Sink + FleetHub>(
    context: &Context<'_>,
    flags: VerifyFlags,
    hub: &S,
    chosen: sources::Chosen,
) -> Result<Outcome, Failure> {
    let mut options = super::sync::settled(context.settings, context.settings.redact()?);
    options.allow_mass_delete |= flags.allow_mass_delete;
    options.priorities.clone_from(&chosen.priorities);
    let sources = super::pull::own_sources(context, hub, chosen)?;
    if flags.repair {
        let ledger = LedgerFile::open(&project::ledger(context.root()), &block_on(hub.identity())?)?;
        let depth = if flags.deep { Depth::Stored } else { Depth::Recorded };
        let progress = Progress::new(context.terminal);
        let repaired = block_on(repair(hub, &ledger, &progress, &sources, &options, depth))?;
        return Ok(Outcome::Repaired(Box::new(repaired)));
    }
    let report = if flags.deep {
        block_on(verify_deep(hub, &sources, &options))?
    } else {
        block_on(verify(hub, &sources, &options))?
    };
    Ok(Outcome::Compared(report))
}

fn tell_repair(context: &Context<'_>, report: &RepairReport) -> Result<(), Failure> {
    let terminal = context.terminal;
    let hub = context.hub_shown();
    let Some(run) = &report.run else {
        tell(context, &report.after)?;
        return terminal.result(&summary(&report.after, &hub));
    };
    tell(context, &report.before)?;
    account::remarks(run, terminal);
    let repaired = report.after.streams.iter().map(|stream| stream.repaired).sum();
    if report.matches() {
        let records = report.after.streams.iter().map(|stream| stream.local).sum();
        let line = format!(
            "{} repaired; the hub now holds what the sources hold: {} compared; hub {hub}",
            counted(repaired, "difference"),
            counted(records, "record")
        );
        return terminal.result(&line);
    }
    terminal.result(&format!("{} repaired; now:\n", counted(repaired, "difference")))?;
    tell(context, &report.after)?;
    terminal.result(&format!("the hub still differs from the sources, see above; hub {hub}"))
}

/// The table, and the keys that differ.
fn tell(context: &Context<'_>, report: &VerifyReport) -> Result<(), Failure> {
    let terminal = context.terminal;
    let mut table = Table::new(&["source", "table", ">local", ">hub", ">missing", ">extra", ">different"]);
    for stream in &report.streams {
        let empty = stream.local == 0 && stream.hub == 0 && stream.error.is_none();
        if empty && terminal.verbosity < Verbosity::Verbose {
            continue;
        }
        table.row(vec![
            Cell::text(&stream.source),
            Cell::text(&stream.table),
            Cell::number(stream.local),
            Cell::number(stream.hub),
            differing(stream.missing_count),
            differing(stream.extra_count),
            differing(stream.different_count),
        ]);
    }
    if !table.is_empty() {
        terminal.result(&format!("{}\n", table.draw(terminal.paint)))?;
    }
    report.streams.iter().for_each(|stream| details(context, stream));
    Ok(())
}

fn differing(number: u64) -> Cell {
    let cell = Cell::number(number);
    cell.colour(if number == 0 { Colour::Dim } else { Colour::Red })
}

fn details(context: &Context<'_>, stream: &StreamVerification) {
    let terminal = context.terminal;
    let place = format!("{}, table {}", stream.source, stream.table);
    if let Some(error) = &stream.error {
        terminal.error(error);
    }
    for (count, keys, what) in [
        (stream.missing_count, &stream.missing, "missing in the hub"),
        (stream.extra_count, &stream.extra, "in the hub, but gone from the source"),
        (stream.different_count, &stream.different, "different in the hub"),
    ] {
        if count == 0 {
            continue;
        }
        let first: Vec<&str> = keys.iter().take(KEYS_SHOWN).map(String::as_str).collect();
        let more = if count > first.len() as u64 { ", … (more with --json)" } else { "" };
        terminal.warning(&format!("{place}: {count} {what}: {}{more}", first.join(", ")));
    }
    if stream.unstorable + stream.repeated > 0 {
        let kept = counted(stream.unstorable + stream.repeated, "record");
        terminal.warning(&format!("{place}: {kept} could not be stored as rows; see the hub's dead_letters"));
    }
}

fn summary(report: &VerifyReport, hub: &str) -> String {
    let records = report.streams.iter().map(|stream| stream.local).sum();
    if report.matches() {
        return format!("the hub holds what the sources hold: {} compared; hub {hub}", counted(records, "record"));
    }
    let differing = report.streams.iter().any(|stream| stream.error.is_none() && !stream.matches());
    if !differing {
        return format!("what could be read matches, but not every source could be read; hub {hub}");
    }
    format!("the hub differs from the sources; aqe-sync verify --repair sends exactly what differs; hub {hub}")
}
