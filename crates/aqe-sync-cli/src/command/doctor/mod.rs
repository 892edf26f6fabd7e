//! `aqe-sync doctor`: everything that can stand in the way of a sync, and what to do.

mod operation;
mod place;

use std::path::Path;

use aqe_cloud::postgres::doctor::{Check, Severity, examine};
use aqe_readers::{EmbeddedHub, LedgerFile};
use aqe_sync_core::ErrorKind;
use aqe_sync_core::report::describe;
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::config::Hub;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colour, Table, counted};
use crate::{hub, project, sources};

#[derive(Serialize)]
struct Answer<'a> {
    root: String,
    hub: String,
    status: Severity,
    checks: &'a [Check],
}

/// Looks everything over. Changes nothing that lasts.
///
/// # Errors
/// When the result cannot be written.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let mut checks = Vec::new();
    local(context, &mut checks);
    checks.extend(operation::checks(context));
    checks.extend(place::arguments(&context.settings.hub));
    match &context.settings.hub.value {
        Hub::Embedded { path, .. } => embedded(path, &mut checks),
        Hub::Postgres(_) | Hub::Tunnel(_) => match hub::builder(context.settings) {
            Ok(builder) => checks.extend(examine(builder)),
            Err(failure) => checks.push(Check::critical("hub", failure.message, "correct the hub's address")),
        },
    }
    let status = checks.iter().map(|check| check.severity).max().unwrap_or(Severity::Ok);
    let root = context.root().display().to_string();
    context.terminal.json(&Answer { root, hub: context.hub_shown(), status, checks: &checks })?;
    tell(context, &checks)?;
    Ok(match status {
        Severity::Ok => Exit::Ok,
        Severity::Unknown | Severity::Warning => Exit::Warning,
        Severity::Critical => Exit::Failed,
    })
}

fn tell(context: &Context<'_>, checks: &[Check]) -> Result<(), Failure> {
    let mut table = Table::new(&["", "check", "found", "what to do"]);
    for check in checks {
        let (word, colour) = match check.severity {
            Severity::Ok => ("ok", Colour::Green),
            Severity::Unknown => ("unknown", Colour::Yellow),
            Severity::Warning => ("warning", Colour::Yellow),
            Severity::Critical => ("critical", Colour::Red),
        };
        table.row(vec![
            Cell::text(word).colour(colour),
            Cell::text(check.name),
            Cell::text(&check.found),
            Cell::text(check.advice.as_deref().unwrap_or("")),
        ]);
    }
    context.terminal.result(&table.draw(context.terminal.paint))?;
    let wrong = checks.iter().filter(|check| check.severity != Severity::Ok).count() as u64;
    let line = if wrong == 0 {
        format!("all is well: {} made", counted(checks.len() as u64, "check"))
    } else {
        format!("{} to look at, of {} made", counted(wrong, "finding"), counted(checks.len() as u64, "check"))
    };
    context.terminal.result(&line)
}

/// What lies on this machine.
fn local(context: &Context<'_>, checks: &mut Vec<Check>) {
    let root = context.root();
    checks.push(Check::ok("project", root.display().to_string()));
    if let Some(file) = &context.settings.file {
        checks.push(place::configuration(file, &context.settings.hub));
    }
    let folder = root.join(project::STATE_FOLDER);
    checks.push(place::state_folder(root, &folder));
    checks.push(ledger(&project::ledger(root)));
    checks.extend(place::disk(if folder.exists() { &folder } else { root }));
    sources(context, checks);
}

/// A cache, so that damage does no harm; it may say something of the disk, though.
fn ledger(path: &Path) -> Check {
    let shown = path.display();
    match LedgerFile::examine(path) {
        Ok(false) => Check::ok("ledger", format!("{shown} is not there yet; the first sync makes it")),
        Ok(true) => place::of_ours("ledger", path)
            .unwrap_or_else(|| Check::ok("ledger", format!("{shown} is sound and can be written to"))),
        Err(error) if error.kind() == ErrorKind::Malformed => {
            let advice = "if it happens again, have the disk checked, and no other program copy or edit the file";
            Check::warning("ledger", describe(&error), advice)
        }
        Err(error) => Check::critical("ledger", describe(&error), "see the message"),
    }
}

fn sources(context: &Context<'_>, checks: &mut Vec<Check>) {
    let chosen = match sources::choose(context.settings, context.terminal) {
        Ok(chosen) => chosen,
        Err(failure) => {
            checks.push(Check::critical("sources", failure.message, "correct the configuration"));
            return;
        }
    };
    if chosen.found.is_empty() {
        let advice = "run it inside a project, or name one with --root";
        checks.push(Check::warning("sources", "no agent memory was found here", advice));
        return;
    }
    let found = chosen.into_sources();
    checks.push(Check::ok("sources", format!("{} found", counted(found.len() as u64, "source"))));
    for source in &found {
        if let Err(error) = block_on(source.streams_dyn()) {
            checks.push(Check::warning(
                "sources",
                describe(&error),
                "the others are synced meanwhile; see the message",
            ));
        }
    }
}

/// The hub in one file.
fn embedded(path: &Path, checks: &mut Vec<Check>) {
    let shown = path.display();
    let Some(folder) = path.parent() else { return };
    if !path.exists() {
        checks.push(Check::ok("hub", format!("{shown} is not there yet; the first sync makes it")));
    } else if let Some(finding) = place::of_ours("hub", path) {
        checks.push(finding);
    } else {
        checks.extend(place::open_to_others("hub", path));
        checks.push(match EmbeddedHub::open_existing(path).and_then(|hub| hub.map(|hub| hub.overview()).transpose()) {
            Ok(_) => Check::ok("hub", format!("{shown} can be read and written to")),
            Err(error) => Check::critical("hub", describe(&error), "see the message"),
        });
    }
    if folder.exists() && !folder.ends_with(project::STATE_FOLDER) {
        checks.extend(place::disk(folder));
    }
}
