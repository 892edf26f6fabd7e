//! Which thresholds a hub crosses: a function of its overview and the time.

use aqe_sync_core::Timestamp;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{age, counted};
use aqe_sync_core::overview::{EnvironmentOverview, Overview, RunOverview};

const DAY_MICROS: i64 = 86_400_000_000;

/// A stream that was last synced longer ago than this needs attention.
pub(crate) const AGE_WARNING_DAYS: i64 = 1;
/// A stream that was last synced longer ago than this has been forgotten.
pub(crate) const AGE_CRITICAL_DAYS: i64 = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Nothing to do.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to act.
    Critical,
}

impl From<Level> for Exit {
    fn from(level: Level) -> Self {
        match level {
            Level::Ok => Self::Ok,
            Level::Warning => Self::Warning,
            Level::Critical => Self::Failed,
        }
    }
}

/// One threshold that is crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad.
    pub(crate) level: Level,
    /// What, and what to do.
    pub(crate) message: String,
}

/// The worst of them.
pub(crate) fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// Looks at all environments, or at `only` one.
pub(crate) fn findings(overview: &Overview, only: Option<&str>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for environment in overview.environments.iter().filter(|each| only.is_none_or(|only| each.environment == only)) {
        findings.extend(last_run(environment, &overview.runs));
        findings.extend(stale(environment, &overview.runs, now));
    }
    if overview.dead_letters > 0 {
        let letters = counted(overview.dead_letters, "record");
        findings.push(Finding {
            level: Level::Warning,
            message: format!(
                "{letters} could not be stored: see the hub's dead_letters, correct them at their source, sync again"
            ),
        });
    }
    findings
}

/// When the environment last synced to the end, as far as the last runs tell.
pub(crate) fn last_finished(environment: &EnvironmentOverview, runs: &[RunOverview]) -> Option<Timestamp> {
    let own_runs = runs.iter().filter(|run| run.environment == environment.environment && run.status != "failed");
    own_runs.filter_map(|run| Timestamp::parse(&run.started_at)).max()
}

fn last_run(environment: &EnvironmentOverview, runs: &[RunOverview]) -> Option<Finding> {
    let run = runs.iter().find(|run| run.environment == environment.environment)?;
    let how = match run.status.as_str() {
        "ok" => return None,
        "partial" => "was done only in part",
        _ => "failed",
    };
    let message = format!("{}: the last sync {how}; run aqe-sync to see why", environment.environment);
    Some(Finding { level: Level::Warning, message })
}

/// The oldest stream, if it is too old. A sync that finds a source unchanged
/// writes nothing for it, so a later run of the environment counts as well.
fn stale(environment: &EnvironmentOverview, runs: &[RunOverview], now: Timestamp) -> Option<Finding> {
    let last_run = last_finished(environment, runs);
    let moments = environment.streams.iter().filter_map(|stream| {
        let synced = stream.last_synced.as_deref().and_then(Timestamp::parse);
        synced.max(last_run).map(|moment| (moment, stream))
    });
    let (oldest, stream) = moments.min_by_key(|(moment, _)| *moment)?;
    let days = now.as_micros().saturating_sub(oldest.as_micros()) / DAY_MICROS;
    let level = match days {
        AGE_CRITICAL_DAYS.. => Level::Critical,
        AGE_WARNING_DAYS.. => Level::Warning,
        _ => return None,
    };
    let message = format!(
        "{}: {} [{}] was last synced {}: run aqe-sync there",
        environment.environment,
        stream.source,
        stream.stream,
        age(oldest, now)
    );
    Some(Finding { level, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqe_sync_core::overview::StreamOverview;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn now() -> Timestamp {
        Timestamp::parse(NOW).expect("a moment")
    }

    fn environment(name: &str, last_synced: Option<&str>) -> EnvironmentOverview {
        let stream = StreamOverview {
            source: "a.db".into(),
            stream: "events".into(),
            table: "events".into(),
            last_synced: last_synced.map(str::to_owned),
            rows: 1,
        };
        EnvironmentOverview { environment: name.into(), streams: vec![stream] }
    }

    fn run(environment: &str, status: &str, started_at: &str) -> RunOverview {
        RunOverview {
            run_id: "r".into(),
            environment: environment.into(),
            mode: "incremental".into(),
            status: status.into(),
            started_at: started_at.into(),
            duration_ms: 1,
            read: 0,
            changed: 0,
            dead_lettered: 0,
            conflicts: 0,
        }
    }

    fn overview(environments: Vec<EnvironmentOverview>, runs: Vec<RunOverview>, dead_letters: u64) -> Overview {
        Overview { environments, tables: Vec::new(), conflicts: 0, dead_letters, bytes: 0, runs, warnings: Vec::new() }
    }

    fn level(overview: &Overview) -> Level {
        worst(&findings(overview, None, now()))
    }

    #[test]
    fn age_warns_after_a_day_and_is_critical_after_three() {
        for (last, expected) in [
            ("2026-11-22T11:59:00Z", Level::Ok),
            ("2026-11-21T12:00:01Z", Level::Ok),
            ("2026-11-21T12:00:00Z", Level::Warning),
            ("2026-11-19T12:00:01Z", Level::Warning),
            ("2026-11-19T12:00:00Z", Level::Critical),
            ("2027-01-01T00:00:00Z", Level::Ok),
        ] {
            assert_eq!(level(&overview(vec![environment("e", Some(last))], Vec::new(), 0)), expected, "{last}");
        }
    }

    #[test]
    fn a_run_that_found_nothing_changed_keeps_its_streams_fresh() {
        let old = || environment("e", Some("2026-01-01T00:00:00Z"));
        let recent = "2026-11-22T11:00:00Z";
        assert_eq!(level(&overview(vec![old()], vec![run("e", "ok", recent)], 0)), Level::Ok);
        assert_eq!(level(&overview(vec![old()], vec![run("e", "failed", recent)], 0)), Level::Critical);
        assert_eq!(level(&overview(vec![old()], vec![run("other", "ok", recent)], 0)), Level::Critical);
    }

    #[test]
    fn the_last_run_and_dead_letters_warn() {
        let fresh = || environment("e", Some(NOW));
        let runs = || vec![run("e", "ok", NOW), run("e", "failed", NOW)];
        assert_eq!(level(&overview(vec![fresh()], runs(), 0)), Level::Ok, "only the latest counts");
        assert_eq!(level(&overview(vec![fresh()], vec![run("e", "partial", NOW)], 0)), Level::Warning);
        assert_eq!(level(&overview(vec![fresh()], Vec::new(), 1)), Level::Warning);
    }

    #[test]
    fn one_environment_can_be_looked_at_alone() {
        let overview = overview(vec![environment("old", Some("2020-01-01T00:00:00Z"))], Vec::new(), 0);
        assert!(findings(&overview, Some("new"), now()).is_empty());
        assert_eq!(worst(&findings(&overview, Some("old"), now())), Level::Critical);
    }
}
