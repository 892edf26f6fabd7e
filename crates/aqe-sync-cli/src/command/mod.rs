//! One file per command.

pub(crate) mod alerts;
pub(crate) mod config;
pub(crate) mod conflicts;
pub(crate) mod dead_letters;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod env;
pub(crate) mod fleet;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod pull;
pub(crate) mod report;
pub(crate) mod schedule;
pub(crate) mod search;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod verify;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::Settings;
use crate::exit::{Exit, Failure};
use crate::hub::{self, OpenHub, Purpose};
use crate::output::Terminal;
use crate::project;
use aqe_readers::{RunLock, remove_leftovers};

/// What every command works with.
pub(crate) struct Context<'a> {
    /// The effective configuration.
    pub(crate) settings: &'a Settings,
    /// Where to write.
    pub(crate) terminal: &'a Terminal,
    /// How long to wait for another run of the project.
    pub(crate) patience: Duration,
}

impl Context<'_> {
    fn root(&self) -> &Path {
        &self.settings.root.value
    }

    /// The hub as people know it.
    fn hub_shown(&self) -> String {
        self.settings.hub_shown()
    }

    /// Opens the hub, which has to be there.
    fn existing_hub(&self, purpose: Purpose) -> Result<OpenHub, Failure> {
        let none = || Failure::failed(format!("there is no hub at {} yet: run aqe-sync first", self.hub_shown()));
        hub::open(self.settings, purpose)?.ok_or_else(none)
    }

    /// Makes the state folder, and keeps other runs of the project out until the lock is
    /// dropped. Whatever writes to the project holds it; says too whether the folder is new.
    fn lock(&self, command: &str) -> Result<(RunLock, bool), Failure> {
        let created = project::create_state_folder(self.root())?;
        let path = RunLock::path(&self.root().join(project::STATE_FOLDER));
        let mut waiting = |held: &str| {
            self.terminal
                .say(&crate::output::plain(&format!("{held}; waiting for up to {} s", self.patience.as_secs())));
        };
        remove_leftovers();
        let lock = RunLock::acquire(&path, &format!("aqe-sync {command}"), self.patience, &mut waiting)?;
        lock.warning().into_iter().for_each(|warning| self.terminal.warning(warning));
        Ok((lock, created))
    }

    /// Ends a command that could not be carried out: programs get an object too.
    fn failed(&self, failure: Failure) -> Result<Exit, Failure> {
        if failure.exit == Exit::Failed {
            self.terminal.json(&Failed { status: "failed", hub: self.hub_shown(), error: &failure.message })?;
        }
        Err(failure)
    }
}

/// The result of a command that could not be carried out.
#[derive(Serialize)]
struct Failed<'a> {
    status: &'static str,
    hub: String,
    error: &'a str,
}
