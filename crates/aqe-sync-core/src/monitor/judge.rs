//! Which figures need attention.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::measure::{EnvironmentMeasures, Measures, StreamMeasures};
use super::rules::{Limit, Rules};
use crate::report::Status;
use crate::search::ENOUGH_RECALL;

/// A rate is judged from so many runs on: one failure of two says little.
const ENOUGH_RUNS: u64 = 5;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    #[default]
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to act.
    Critical,
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The last sync is too long ago.
    Age,
    /// The last sync failed, or was done only in part.
    LastRun,
    /// Too many recent syncs failed.
    FailureRate,
    /// The last sync took too long.
    Duration,
    /// Records could not be stored.
    DeadLetters,
    /// The hub's index of vectors finds too little.
    Recall,
    /// The hub cannot be reached.
    Unreachable,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::LastRun => "last_run",
            Self::FailureRate => "failure_rate",
            Self::Duration => "duration",
            Self::DeadLetters => "dead_letters",
            Self::Recall => "recall",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A threshold that is crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What is wrong.
    pub kind: Kind,
    /// Of which environment; `None` where it is the hub itself.
    pub environment: Option<String>,
    /// Of which stream (`SOURCE [STREAM]`), where thresholds are said for it in particular.
    pub stream: Option<String>,
    /// What, and what to do.
    pub message: String,
}

/// The worst level of some findings.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or_default()
}

/// Finds the thresholds that are crossed: of all environments, or of `only` one and the hub.
pub fn judge(measures: &Measures, rules: &Rules, only: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for environment in measures.environments.iter().filter(|each| only.is_none_or(|only| each.environment == only)) {
        findings.extend(last_run(environment));
        findings.extend(of_environment(environment, rules));
        for stream in &environment.streams {
            findings.extend(of_stream(environment, stream, rules));
        }
    }
    if measures.dead_letters > 0 {
        findings.push(Finding {
            level: Level::Warning,
            kind: Kind::DeadLetters,
            environment: None,
            stream: None,
            message: format!(
                "{} could not be stored: see aqe-sync dead-letters, correct them at their source, sync again",
                records(measures.dead_letters)
            ),
        });
    }
    findings.extend(recall(measures));
    findings
}

fn recall(measures: &Measures) -> impl Iterator<Item = Finding> {
    let bad = measures.models.iter().filter(|model| model.recall.is_some_and(|recall| recall < ENOUGH_RECALL));
    bad.map(|model| Finding {
        level: Level::Warning,
        kind: Kind::Recall,
        environment: None,
        stream: None,
        message: format!(
            "the hub's index finds {:.0} % of the nearest vectors of {}, so searches look at all of them: rebuild it \
             (REINDEX), then run aqe-sync verify --vectors",
            model.recall.unwrap_or_default() * 100.0,
            model.model
        ),
    })
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

fn last_run(environment: &EnvironmentMeasures) -> Option<Finding> {
    let how = match environment.last_status? {
        Status::Ok => return None,
        Status::Partial => "was done only in part",
        Status::Failed => "failed",
    };
    let message = format!("{}: the last sync {how}; run aqe-sync to see why", environment.environment);
    Some(finding(Level::Warning, Kind::LastRun, environment, None, message))
}

fn finding(
    level: Level,
    kind: Kind,
    environment: &EnvironmentMeasures,
    stream: Option<&StreamMeasures>,
    message: String,
) -> Finding {
    let stream = stream.map(name);
    Finding { level, kind, environment: Some(environment.environment.clone()), stream, message }
}

fn name(stream: &StreamMeasures) -> String {
    format!("{} [{}]", stream.source, stream.stream)
}

fn level<T: PartialOrd>(figure: &T, limit: &Limit<T>) -> Level {
    if *figure >= limit.critical {
        Level::Critical
    } else if *figure >= limit.warning {
        Level::Warning
    } else {
        Level::Ok
    }
}

/// By the usual thresholds: one finding of a kind, of the worst stream.
fn of_environment(environment: &EnvironmentMeasures, rules: &Rules) -> Vec<Finding> {
    let usual = &rules.usual;
    let mut findings = Vec::new();
    let duration = Duration::from_millis(environment.last_duration_ms.unwrap_or(0));
    let crossed = level(&duration, &usual.duration);
    if crossed > Level::Ok {
        let message = format!("{}: the last sync took {}", environment.environment, span(duration.as_secs()));
        findings.push(finding(crossed, Kind::Duration, environment, None, message));
    }
    if environment.runs >= ENOUGH_RUNS {
        let crossed = level(&environment.failure_rate, &usual.failure_rate);
        if crossed > Level::Ok {
            let message = format!(
                "{}: {} of the last {} syncs failed ({:.0} % in {} days); run aqe-sync history",
                environment.environment,
                environment.failed_runs,
                environment.runs,
                environment.failure_rate * 100.0,
                super::WINDOW_DAYS
            );
            findings.push(finding(crossed, Kind::FailureRate, environment, None, message));
        }
    }
    let usual_streams = || {
        let unnamed =
            |stream: &&StreamMeasures| rules.of_stream(&stream.source, &stream.stream, &stream.table).is_none();
        environment.streams.iter().filter(unnamed)
    };
    let oldest = usual_streams().filter_map(|stream| Some((stream.age_seconds?, stream))).max_by_key(|(age, _)| *age);
    if let Some((age, stream)) = oldest {
        let crossed = level(&Duration::from_secs(age), &usual.age);
        if crossed > Level::Ok {
            findings.push(finding(crossed, Kind::Age, environment, None, too_old(environment, stream, age)));
        }
    }
    let worst = usual_streams().filter(|_| environment.runs >= ENOUGH_RUNS);
    let worst = worst.max_by(|a, b| a.failure_rate.total_cmp(&b.failure_rate));
    // Where whole runs fail, that was said.
    if let Some(stream) = worst.filter(|_| findings.iter().all(|finding| finding.kind != Kind::FailureRate)) {
        let crossed = level(&stream.failure_rate, &usual.failure_rate);
        if crossed > Level::Ok {
            findings.push(finding(crossed, Kind::FailureRate, environment, None, fails(environment, stream)));
        }
    }
    findings
}

/// By thresholds that are said for a stream in particular.
fn of_stream(environment: &EnvironmentMeasures, stream: &StreamMeasures, rules: &Rules) -> Vec<Finding> {
    let Some(own) = rules.of_stream(&stream.source, &stream.stream, &stream.table) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut add = |crossed, kind, message| {
        if crossed > Level::Ok {
            findings.push(finding(crossed, kind, environment, Some(stream), message));
        }
    };
    if let Some(age) = stream.age_seconds {
        add(level(&Duration::from_secs(age), &own.age), Kind::Age, too_old(environment, stream, age));
    }
    if let Some(duration) = stream.last_duration_ms.map(Duration::from_millis) {
        let message =
            format!("{}: syncing {} took {}", environment.environment, name(stream), span(duration.as_secs()));
        add(level(&duration, &own.duration), Kind::Duration, message);
    }
    if environment.runs >= ENOUGH_RUNS {
        add(level(&stream.failure_rate, &own.failure_rate), Kind::FailureRate, fails(environment, stream));
    }
    findings
}

fn too_old(environment: &EnvironmentMeasures, stream: &StreamMeasures, age: u64) -> String {
    let name = name(stream);
    format!("{}: {name} was last synced {} ago: run aqe-sync there", environment.environment, span(age))
}

fn fails(environment: &EnvironmentMeasures, stream: &StreamMeasures) -> String {
    format!(
        "{}: {} failed in {} of the last {} syncs; run aqe-sync history",
        environment.environment,
        name(stream),
        stream.failed_runs,
        environment.runs
    )
}

/// A span of time for people: its largest unit, and whole ones of it.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        86_400.. => (1, "day"),
        7_200.. => (seconds / 3_600, "hours"),
        3_600.. => (1, "hour"),
        120.. => (seconds / 60, "minutes"),
        60.. => (1, "minute"),
        1 => (1, "second"),
        _ => (seconds, "seconds"),
    };
    format!("{count} {unit}")
}
