//! `aqe-sync verify`: whether the hub holds what the sources hold.

use futures::executor::block_on;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colour, Table, Verbosity, counted};
use crate::sources;
use aqe_readers::EmbeddedHub;
use aqe_sync_core::verify::{StreamVerification, VerifyReport, verify};

/// So many keys are shown per stream and kind; `--json` has more.
const KEYS_SHOWN: usize = 10;

/// Compares contents, record by record.
///
/// # Errors
/// When there is no hub, or it cannot be read.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let report = match compare(context) {
        Ok(report) => report,
        Err(failure) => return context.failed(failure),
    };
    context.terminal.json(&report)?;
    tell(context, &report)?;
    Ok(if report.matches() { Exit::Ok } else { Exit::Warning })
}

fn compare(context: &Context<'_>) -> Result<VerifyReport, Failure> {
    let hub_file = context.hub_file()?;
    let chosen = sources::choose(context.settings, context.terminal)?;
    let Some(hub) = EmbeddedHub::open_existing(&hub_file)? else {
        return Err(Failure::failed(format!("there is no hub at {} yet: run aqe-sync first", context.hub_shown())));
    };
    let options = super::sync::settled(context.settings);
    Ok(block_on(verify(&hub, &chosen.into_sources(), &options))?)
}

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
    terminal.result(&summary(report, &context.hub_shown()))
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
    format!("the hub differs from the sources; run aqe-sync, or aqe-sync --full if that does not help; hub {hub}")
}
