//! `aqe-sync init`: the state folder, the hub with all its tables, a configuration to edit.

use aqe_sync_core::{Sink as _, tables};
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::config::FILE_NAME;
use crate::exit::{Exit, Failure};
use crate::project::{self, STATE_FOLDER};
use aqe_readers::EmbeddedHub;

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
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    match prepare(context) {
        Ok(prepared) => tell(context, &prepared),
        Err(failure) => context.failed(failure),
    }
}

fn prepare(context: &Context<'_>) -> Result<Prepared, Failure> {
    let root = context.root();
    let hub_file = context.hub_file()?;
    let mut created = Vec::new();
    if project::create_state_folder(root)? {
        created.push(format!("{STATE_FOLDER}/"));
    }
    let hub_was_there = hub_file.exists();
    let hub = EmbeddedHub::open(&hub_file)?;
    for table in tables::all() {
        block_on(hub.prepare(table))?;
    }
    if !hub_was_there {
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
