//! `[alerts]`: who is told when a threshold is crossed, and when all is well again.

use aqe_cloud::secret::Secret;
use aqe_cloud::webhook::Webhook;
use aqe_sync_core::monitor::Level;

use super::section::Section;
use super::setting::Setting;
use crate::exit::Failure;

pub(super) const ALERTS: [&str; 6] = ["webhook", "command", "log", "heartbeat", "level", "all_environments"];

/// What a layer says about alerts.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertsLayer {
    /// What gets each change as JSON.
    pub(crate) webhook: Option<Setting<Webhook>>,
    /// What is run for each change, with the same JSON as its input.
    pub(crate) command: Option<Setting<Vec<String>>>,
    /// Whether each change is a line on standard error.
    pub(crate) log: Option<Setting<bool>>,
    /// What is called after each sync that went well.
    pub(crate) heartbeat: Option<Setting<Webhook>>,
    /// From which level on.
    pub(crate) level: Option<Setting<Level>>,
    /// Whether other environments count too.
    pub(crate) all_environments: Option<Setting<bool>>,
}

impl AlertsLayer {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Failure> {
        Ok(Self {
            webhook: section.parsed("webhook", webhook)?,
            command: section.list("command")?,
            log: section.boolean("log")?,
            heartbeat: section.parsed("heartbeat", webhook)?,
            level: section.parsed("level", level)?,
            all_environments: section.boolean("all_environments")?,
        })
    }

    pub(super) fn over(self, below: Self) -> Self {
        Self {
            webhook: self.webhook.or(below.webhook),
            command: self.command.or(below.command),
            log: self.log.or(below.log),
            heartbeat: self.heartbeat.or(below.heartbeat),
            level: self.level.or(below.level),
            all_environments: self.all_environments.or(below.all_environments),
        }
    }

    /// Whether each change is a line on standard error: where nobody says otherwise.
    pub(crate) fn is_logged(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.value)
    }

    /// Whether anybody is told anything.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_logged() || self.webhook.is_some() || self.command.is_some()
    }
}

/// The address of a service; the error does not repeat it.
pub(super) fn webhook(text: &str) -> Result<Webhook, String> {
    Webhook::new(Secret::new(text)).map_err(|error| error.to_string())
}

fn level(text: &str) -> Result<Level, String> {
    let known = [Level::Warning, Level::Critical].into_iter().find(|level| level.as_str() == text);
    known.ok_or_else(|| format!("{text:?} is neither \"warning\" nor \"critical\""))
}
