//! `aqe-sync doctor`: everything that can stand in the way of a sync, and what to do.

use std::path::Path;

use aqe_cloud::postgres::doctor::{Check, Severity, examine};
use aqe_readers::EmbeddedHub;
use aqe_sync_core::report::describe;
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::config::{Hub, Origin, Setting};
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
    match &context.settings.hub.value {
        Hub::Embedded { path, .. } => checks.push(embedded(path)),
        Hub::Postgres(_) | Hub::Tunnel { .. } => match hub::builder(context.settings) {
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

fn local(context: &Context<'_>, checks: &mut Vec<Check>) {
    let root = context.root();
    checks.push(Check::ok("project", root.display().to_string()));
    if let Some(file) = &context.settings.file {
        checks.push(configuration(file, &context.settings.hub));
    }
    checks.push(state_folder(root));
    match sources::choose(context.settings, context.terminal) {
        Ok(chosen) if chosen.found.is_empty() => checks.push(Check::warning(
            "sources",
            "no agent memory was found here",
            "run it inside a project, or name one with --root",
        )),
        Ok(chosen) => {
            let found = chosen.into_sources();
            checks.push(Check::ok("sources", format!("{} found", counted(found.len() as u64, "source"))));
            for source in &found {
                if let Err(error) = block_on(source.streams_dyn()) {
                    let advice = "the others are synced meanwhile; see the message";
                    checks.push(Check::warning("sources", describe(&error), advice));
                }
            }
        }
        Err(failure) => checks.push(Check::critical("sources", failure.message, "correct the configuration")),
    }
}

/// A file that holds a password is for nobody else's eyes.
fn configuration(file: &Path, hub: &Setting<Hub>) -> Check {
    let name = file.display().to_string();
    let secret = matches!(&hub.value, Hub::Postgres(url) if *url != hub.value.to_string());
    if secret && matches!(hub.origin, Origin::File { .. }) && readable_by_others(file) {
        return Check::warning(
            "configuration",
            format!("{name} holds a password and others on this machine may read it"),
            format!("run chmod 600 {name}, or keep the password in ~/.pgpass"),
        );
    }
    Check::ok("configuration", name)
}

#[cfg(unix)]
fn readable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> bool {
    false
}

fn state_folder(root: &Path) -> Check {
    let folder = root.join(project::STATE_FOLDER);
    let place = if folder.exists() { folder.as_path() } else { root };
    let shown = place.display();
    match tempfile::NamedTempFile::new_in(place) {
        Ok(_) => Check::ok("state folder", format!("{shown} can be written to")),
        Err(error) => {
            Check::critical("state folder", format!("{shown} cannot be written to: {error}"), "make it writable")
        }
    }
}

fn embedded(path: &Path) -> Check {
    match EmbeddedHub::open_existing(path).and_then(|hub| hub.map(|hub| hub.overview()).transpose()) {
        Ok(Some(_)) => Check::ok("hub", format!("{} can be read", path.display())),
        Ok(None) => Check::ok("hub", format!("{} is not there yet; the first sync makes it", path.display())),
        Err(error) => Check::critical("hub", describe(&error), "see the message"),
    }
}
