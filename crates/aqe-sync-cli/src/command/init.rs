//! `aqe-sync init`: the state folder, the hub with all its tables, a configuration to edit.

use aqe_sync_core::{Sink as _, tables};
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::args::InitFlags;
use crate::config::{FILE_NAME, Hub};
use crate::exit::{Exit, Failure};
use crate::hub::{self, OpenHub, Purpose};
use crate::project::STATE_FOLDER;

/// The configuration file that `init` writes: all of it is commented out.
pub(crate) const TEMPLATE: &str = include_str!("init.toml");

#[derive(Default, Serialize)]
struct Prepared {
    root: String,
    hub: String,
    created: Vec<String>,
}

/// Prepares a project; again is no harm.
///
/// # Errors
/// When something cannot be written.
pub(crate) fn run(context: &Context<'_>, flags: InitFlags) -> Result<Exit, Failure> {
    if flags.print {
        return print(context);
    }
    match prepare(context) {
        Ok(prepared) => tell(context, &prepared),
        Err(failure) => context.failed(failure),
    }
}

fn prepare(context: &Context<'_>) -> Result<Prepared, Failure> {
    let root = context.root();
    let mut created = Vec::new();
    let (_lock, new) = context.lock("init")?;
    if new {
        created.push(format!("{STATE_FOLDER}/"));
    }
    if prepare_hub(context)? {
        created.push(context.hub_shown());
    }
    if context.settings.file.is_none() {
        let path = root.join(FILE_NAME);
        std::fs::write(&path, TEMPLATE)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
        created.push(FILE_NAME.to_owned());
    }
    Ok(Prepared { root: root.display().to_string(), hub: context.hub_shown(), created })
}

/// Makes the hub with all tables; says whether anything was missing.
fn prepare_hub(context: &Context<'_>) -> Result<bool, Failure> {
    let was_there = match &context.settings.hub.value {
        Hub::Embedded { path, .. } => path.exists(),
        Hub::Postgres(_) | Hub::Tunnel(_) => true,
    };
    match hub::open(context.settings, Purpose::Prepare)? {
        None => Ok(false),
        Some(OpenHub::Embedded(hub)) => {
            for table in tables::all() {
                block_on(hub.prepare(table))?;
            }
            Ok(!was_there)
        }
        Some(OpenHub::Postgres(hub)) => {
            hub.warnings().iter().for_each(|warning| context.terminal.warning(warning));
            Ok(block_on(hub.prepare_all(tables::all()))?)
        }
    }
}

/// The SQL that makes a hub in PostgreSQL, as `psql` takes it.
fn print(context: &Context<'_>) -> Result<Exit, Failure> {
    if let Hub::Embedded { .. } = &context.settings.hub.value {
        return Err(Failure::usage(
            "--print shows the SQL of a hub in PostgreSQL; name it with --hub postgres://USER@HOST/DATABASE",
        ));
    }
    let planned = hub::builder(context.settings)?.script(tables::all())?;
    planned.notes.iter().for_each(|note| context.terminal.warning(note));
    context.terminal.result(&planned.sql)?;
    Ok(Exit::Ok)
}

fn tell(context: &Context<'_>, prepared: &Prepared) -> Result<Exit, Failure> {
    let terminal = context.terminal;
    terminal.json(prepared)?;
    for name in &prepared.created {
        let what = match name.as_str() {
            FILE_NAME => "the configuration; every key is there, commented out".to_owned(),
            hub if hub == prepared.hub => format!("the hub, with {} tables", tables::all().len()),
            _ => "what aqe-sync keeps in this project; ignored by git".to_owned(),
        };
        terminal.result(&crate::output::plain(&format!("created {name}: {what}")))?;
    }
    let line = if prepared.created.is_empty() {
        format!("nothing to do: {} is prepared already", prepared.root)
    } else {
        "run aqe-sync to take this project's agent memory into the hub".to_owned()
    };
    terminal.result(&crate::output::plain(&line))?;
    Ok(Exit::Ok)
}
