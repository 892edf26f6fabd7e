//! Telling of thresholds after each sync, in a process of its own as well.

use std::time::Duration;

use aqe_sync_core::monitor::{Kind, Level};
use serde::Deserialize;

use super::job::{self, Job};
use super::{Daemon, Event};
use crate::output::plain;

/// Telling takes no longer, or is given up until the next time.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

/// What `aqe-sync alerts --json` says.
#[derive(Default, Deserialize)]
struct Told {
    #[serde(default)]
    told: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    event: String,
    level: Level,
    kind: Kind,
    message: String,
}

impl Alert {
    /// Whether the sync itself said so just now.
    fn is_known(&self) -> bool {
        matches!(self.kind, Kind::LastRun | Kind::Unreachable)
    }
}

impl Daemon<'_> {
    /// Begins to tell whoever is to be told.
    pub(super) fn alert(&mut self) {
        if !self.settings.alerts.is_wanted() || self.alerting.is_some() {
            return;
        }
        let begun = job::program(&self.settings, self.global).and_then(|mut command| {
            command.args(["alerts", "--json"]);
            Job::begin(command, self.sender.clone(), Event::Told)
        });
        match begun {
            Ok(job) => self.alerting = Some(job),
            Err(failure) => tracing::error!("alerts: {}", plain(&failure.message)),
        }
    }

    /// Says what was told.
    pub(super) fn told(&mut self) {
        let Some(job) = self.alerting.take() else { return };
        let (out, err) = job.said();
        let Ok(said) = serde_json::from_str::<Told>(&out) else {
            return tracing::error!("alerts: {}", plain(err.trim()));
        };
        let logs = self.settings.alerts.is_logged();
        for alert in said.told.iter().filter(|alert| logs && !alert.is_known()) {
            let message = plain(&alert.message);
            match (alert.event.as_str(), alert.level) {
                ("recovered", _) => tracing::info!(alert = "recovered", "well again: {message}"),
                (_, Level::Critical) => tracing::error!(alert = "crossed", "{message}"),
                _ => tracing::warn!(alert = "crossed", "{message}"),
            }
        }
        // What could not be told is a message of the command's.
        if let Some(line) = err.lines().find(|line| line.contains("the next time")) {
            tracing::warn!("alerts: {}", plain(line.trim_start_matches("error: ")));
        }
    }
}
