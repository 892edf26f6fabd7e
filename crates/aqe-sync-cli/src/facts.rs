//! All that is known of how the hub is doing: what every command shows of it comes from here.

use std::collections::BTreeMap;

use aqe_readers::LedgerFile;
use aqe_sync_core::history::{History, RunFilter, RunRecord};
use aqe_sync_core::monitor::{Finding, Kind, Level, Measures, RECENT_RUNS, judge, measure, since};
use aqe_sync_core::overview::{EnvironmentOverview, Overview, RunOverview, StreamOverview};
use aqe_sync_core::{Result, Timestamp};
use futures::executor::block_on;

use crate::config::Settings;
use crate::exit::Failure;
use crate::hub::{self, OpenHub, Purpose, with_hub};
use crate::{attempts, project};

/// What is known, and how it is judged.
pub(crate) struct Facts {
    /// What the hub holds, or what this installation knows of it.
    pub(crate) overview: Overview,
    /// All figures.
    pub(crate) measures: Measures,
    /// The thresholds that are crossed.
    pub(crate) findings: Vec<Finding>,
    /// The runs that were looked at, the hub's and this installation's own.
    pub(crate) runs: Vec<RunRecord>,
    /// Why the hub could not be asked; then all of this is what the ledger knows.
    pub(crate) offline: Option<String>,
}

impl Facts {
    /// Of a hub that is not there yet.
    pub(crate) fn none() -> Self {
        let overview = Overview::default();
        let measures = measure(&overview, &[], Timestamp::now());
        Self { overview, measures, findings: Vec::new(), runs: Vec::new(), offline: None }
    }
}

/// Asks the hub, and where it cannot be reached this installation's own notes. `None` where
/// there is no hub yet.
///
/// # Errors
/// When the configuration is none that a hub could be opened with.
pub(crate) fn gather(settings: &Settings, only: Option<&str>) -> Result<Option<Facts>, Failure> {
    gather_since(settings, only, since(Timestamp::now()))
}

/// The same, with the runs since a moment.
///
/// # Errors
/// As [`gather`].
pub(crate) fn gather_since(
    settings: &Settings,
    only: Option<&str>,
    since: Timestamp,
) -> Result<Option<Facts>, Failure> {
    let rules = settings.monitor.rules()?;
    hub::check(settings)?;
    let now = Timestamp::now();
    let mut runs = attempts::remembered(&settings.root.value, &settings.hub_shown());
    let (overview, offline) = match asked(settings, since) {
        Ok(None) => return Ok(None),
        Ok(Some((overview, known))) => {
            runs.extend(known);
            (overview, None)
        }
        Err(failure) if failure.exit == crate::exit::Exit::Usage => return Err(failure),
        Err(failure) => (from_ledger(settings, &runs), Some(failure.message)),
    };
    let measures = measure(&overview, &runs, now);
    let mut findings = judge(&measures, &rules, only);
    if offline.is_some() {
        let message = "the hub cannot be reached: shown is what this installation knows of it".to_owned();
        let (environment, stream) = (None, None);
        findings.push(Finding { level: Level::Critical, kind: Kind::Unreachable, environment, stream, message });
    }
    Ok(Some(Facts { overview, measures, findings, runs, offline }))
}

fn asked(settings: &Settings, since: Timestamp) -> Result<Option<(Overview, Vec<RunRecord>)>, Failure> {
    let Some(hub) = hub::open(settings, Purpose::Look)? else { return Ok(None) };
    Ok(Some(from_hub(&hub, since)?))
}

/// What a hub tells, of the runs since a moment.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn from_hub(hub: &OpenHub, since: Timestamp) -> Result<(Overview, Vec<RunRecord>)> {
    with_hub!(hub, hub => block_on(async {
        let filter = RunFilter { since: Some(since), limit: RECENT_RUNS, ..RunFilter::default() };
        Ok((hub.glance().await?, hub.runs(filter).await?))
    }))
}

/// What this installation knows: its streams by its ledger, and its own runs.
fn from_ledger(settings: &Settings, runs: &[RunRecord]) -> Overview {
    // A ledger that cannot be read is no reason to say nothing.
    let known = LedgerFile::last_known(&project::ledger(&settings.root.value)).unwrap_or_default();
    let mut environments: BTreeMap<String, Vec<StreamOverview>> = BTreeMap::new();
    for stream in known.into_iter().filter(|known| known.rows > 0) {
        environments.entry(stream.stream.environment.to_string()).or_default().push(StreamOverview {
            source: stream.stream.source.to_string(),
            stream: stream.stream.stream.to_string(),
            table: stream.table,
            last_synced: None,
            rows: stream.rows,
        });
    }
    let environments = environments.into_iter();
    Overview {
        environments: environments.map(|(environment, streams)| EnvironmentOverview { environment, streams }).collect(),
        runs: runs.iter().rev().take(20).map(shown).collect(),
        ..Overview::default()
    }
}

fn shown(run: &RunRecord) -> RunOverview {
    RunOverview {
        run_id: run.run_id.clone(),
        environment: run.environment.clone(),
        mode: run.mode.clone(),
        status: run.status.as_str().to_owned(),
        started_at: run.started_at.to_string(),
        duration_ms: run.duration_ms,
        read: run.totals.read,
        changed: run.changed(),
        dead_lettered: run.totals.dead_lettered,
        conflicts: run.totals.conflicts,
    }
}
