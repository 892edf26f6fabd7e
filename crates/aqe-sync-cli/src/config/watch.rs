//! `[watch]`: how the daemon goes about it.

use std::net::SocketAddr;
use std::time::Duration;

use super::monitor::Span;
use super::section::Section;
use super::setting::Setting;
use crate::exit::Failure;
use crate::watch::pace::Plan;
use crate::watch::schedule::Schedule;

pub(super) const WATCH: [&str; 7] =
    ["interval", "jitter", "on_change", "debounce", "bidirectional", "limit", "metrics"];

const INTERVAL: Duration = Duration::from_secs(300);
const DEBOUNCE: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// What a layer says about the daemon; what it leaves open has a default.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchLayer {
    /// When syncs are due.
    pub(crate) interval: Option<Setting<Schedule>>,
    /// How late they may begin.
    pub(super) jitter: Option<Setting<Span>>,
    /// Whether changes of files are synced between.
    pub(super) on_change: Option<Setting<bool>>,
    /// So long after the last change.
    pub(super) debounce: Option<Setting<Span>>,
    /// Whether each sync takes from the fleet as well.
    pub(super) bidirectional: Option<Setting<bool>>,
    /// A sync that takes longer is ended.
    pub(super) limit: Option<Setting<Span>>,
    /// Where metrics are served.
    pub(crate) metrics: Option<Setting<SocketAddr>>,
}

impl WatchLayer {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Failure> {
        Ok(Self {
            interval: section.parsed("interval", Schedule::parse)?,
            jitter: section.parsed("jitter", Span::parse)?,
            on_change: section.boolean("on_change")?,
            debounce: section.parsed("debounce", Span::parse)?,
            bidirectional: section.boolean("bidirectional")?,
            limit: section.parsed("limit", Span::parse)?,
            metrics: section.parsed("metrics", address)?,
        })
    }

    pub(crate) fn schedule(&self) -> Setting<Schedule> {
        self.interval.clone().unwrap_or_else(|| Setting::default(Schedule::Every(Span(INTERVAL))))
    }

    /// How the daemon paces itself. Without a word on it, syncs are late by up to a tenth of
    /// the interval, and half a minute at most.
    pub(crate) fn plan(&self) -> Plan {
        let schedule = self.schedule().value;
        let usual = match &schedule {
            Schedule::Every(span) => (span.0 / 10).min(Duration::from_secs(30)),
            Schedule::Cron(_) => Duration::from_secs(30),
        };
        let wanted = self.on_change.as_ref().is_none_or(|on_change| on_change.value);
        let debounce = self.debounce.as_ref().map_or(DEBOUNCE, |debounce| debounce.value.0);
        Plan {
            schedule,
            jitter: self.jitter.as_ref().map_or(usual, |jitter| jitter.value.0),
            debounce: wanted.then_some(debounce),
        }
    }

    pub(crate) fn is_bidirectional(&self) -> bool {
        self.bidirectional.as_ref().is_some_and(|both| both.value)
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit.as_ref().map_or(LIMIT, |limit| limit.value.0)
    }
}

/// An address to listen at: `127.0.0.1:9464`, or a port of this machine alone.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse::<u16>().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    port.or_else(|| text.parse().ok())
        .ok_or_else(|| format!("{text:?} is neither a port nor an address such as 127.0.0.1:9464"))
}
