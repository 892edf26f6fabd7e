//! The figures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Timestamp;
use crate::history::{RunRecord, StreamRecord, newest_first};
use crate::overview::{EnvironmentOverview, ModelOverview, Overview, StreamOverview};
use crate::report::{Counters, Status};

/// Recent are the runs of so many days.
pub const WINDOW_DAYS: u32 = 7;
/// So many recent runs are looked at, the newest.
pub const RECENT_RUNS: usize = 20_000;

const DAY_MICROS: i64 = 86_400_000_000;

/// When the recent runs begin.
pub fn since(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.as_micros().saturating_sub(i64::from(WINDOW_DAYS) * DAY_MICROS)).unwrap_or(now)
}

/// How a hub is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// When that was so.
    pub at: Timestamp,
    /// Who writes to it.
    pub environments: Vec<EnvironmentMeasures>,
    /// Tables that hold anything.
    pub tables: Vec<TableMeasures>,
    /// Entries of its log of conflicts.
    pub conflicts: u64,
    /// Records that could not be stored and are still at their sources.
    pub dead_letters: u64,
    /// What it takes on disk, in bytes.
    pub bytes: u64,
    /// The models that texts were embedded with.
    pub models: Vec<ModelOverview>,
}

/// One writer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnvironmentMeasures {
    /// Its name.
    pub environment: String,
    /// When its last run began that did not fail.
    pub last_finished: Option<Timestamp>,
    /// How long ago that was, in seconds.
    pub age_seconds: Option<u64>,
    /// How its last run ended.
    pub last_status: Option<Status>,
    /// How long that took, in milliseconds.
    pub last_duration_ms: Option<u64>,
    /// Its recent runs.
    pub runs: u64,
    /// Those of them that failed as a whole.
    pub failed_runs: u64,
    /// Their share, 0 to 1; 0 without runs.
    pub failure_rate: f64,
    /// Records read in recent runs.
    pub read: u64,
    /// Records read in a run, on average.
    pub records_per_run: f64,
    /// Rows changed in recent runs.
    pub changed: u64,
    /// Records of recent runs that met another version.
    pub conflicts: u64,
    /// Their share of the records read, 0 to 1.
    pub conflict_rate: f64,
    /// Its streams.
    pub streams: Vec<StreamMeasures>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamMeasures {
    /// Where it is read.
    pub source: String,
    /// Its name there.
    pub stream: String,
    /// The hub table it goes to.
    pub table: String,
    /// Live rows whose content is from it.
    pub rows: u64,
    /// When it was last known to be in the hub as it is at its source: a run that finds it
    /// unchanged counts, one that fails does not.
    pub last_synced: Option<Timestamp>,
    /// How long ago that was, in seconds.
    pub age_seconds: Option<u64>,
    /// How long it took when it was last read, in milliseconds.
    pub last_duration_ms: Option<u64>,
    /// Recent runs in which it failed.
    pub failed_runs: u64,
    /// Their share of its environment's recent runs, 0 to 1.
    pub failure_rate: f64,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableMeasures {
    /// Its name.
    pub table: String,
    /// Live rows.
    pub rows: u64,
    /// Rows that are gone from their sources.
    pub tombstones: u64,
    /// What it takes on disk with its indexes, in bytes.
    pub bytes: u64,
    /// How many rows have a vector; `None` where rows have no text.
    pub vectors: Option<u64>,
    /// Their share of the live rows, 0 to 1.
    pub coverage: Option<f64>,
    /// Rows that recent runs added, less those that they deleted.
    pub growth: i64,
    /// How long its streams took in the last run that read any of them, in milliseconds.
    pub last_duration_ms: Option<u64>,
}

/// Makes the figures of what a hub holds and of its recent runs, the newest first.
///
/// Runs that the hub does not know (it could not be reached) may be among them; a run that is
/// there twice counts once.
pub fn measure(overview: &Overview, runs: &[RunRecord], now: Timestamp) -> Measures {
    let runs = runs_since(runs, since(now));
    let mut environments: Vec<EnvironmentMeasures> =
        overview.environments.iter().map(|one| environment(one, overview, &runs, now)).collect();
    for run in &runs {
        // Whose every run failed has no stream yet.
        if environments.iter().all(|known| known.environment != run.environment) {
            let unknown = EnvironmentOverview { environment: run.environment.clone(), streams: Vec::new() };
            environments.push(environment(&unknown, overview, &runs, now));
        }
    }
    environments.sort_by(|a, b| a.environment.cmp(&b.environment));
    Measures {
        at: now,
        environments,
        tables: tables(overview, &runs),
        conflicts: overview.conflicts,
        dead_letters: overview.dead_letters,
        bytes: overview.bytes,
        models: overview.models.clone(),
    }
}

/// Runs since a moment, the newest first, each once.
pub(super) fn runs_since(runs: &[RunRecord], since: Timestamp) -> Vec<&RunRecord> {
    let mut runs: Vec<&RunRecord> = runs.iter().filter(|run| run.started_at >= since).collect();
    newest_first(&mut runs);
    runs
}

/// Rows that a stream added to its table, less those that it took.
pub(super) fn added(counters: &Counters) -> i64 {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    number(counters.inserted).saturating_sub(number(counters.deleted))
}

fn environment(
    environment: &EnvironmentOverview,
    overview: &Overview,
    runs: &[&RunRecord],
    now: Timestamp,
) -> EnvironmentMeasures {
    let name = &environment.environment;
    let own: Vec<&RunRecord> = runs.iter().copied().filter(|run| run.environment == *name).collect();
    let mut totals = Counters::default();
    for run in &own {
        totals.add(&run.totals);
    }
    let count = own.len() as u64;
    let failed = own.iter().filter(|run| run.status == Status::Failed).count() as u64;
    // The hub's last twenty may be older than the recent ones.
    let older = overview.runs.iter().filter(|run| run.environment == *name && run.status != "failed");
    let older = older.filter_map(|run| Timestamp::parse(&run.started_at));
    let finished = own.iter().filter(|run| run.status != Status::Failed).map(|run| run.started_at);
    let last_finished = finished.chain(older).max();
    let last = own.first();
    let before = overview.runs.iter().find(|run| run.environment == *name);
    let status_before = before.and_then(|run| status(&run.status));
    EnvironmentMeasures {
        environment: name.clone(),
        last_finished,
        age_seconds: last_finished.map(|moment| age(moment, now)),
        last_status: last.map(|run| run.status).or(status_before),
        last_duration_ms: last.map(|run| run.duration_ms).or(before.map(|run| run.duration_ms)),
        runs: count,
        failed_runs: failed,
        failure_rate: share(failed, count),
        read: totals.read,
        records_per_run: share(totals.read, count),
        changed: own.iter().fold(0, |changed, run| run.changed().saturating_add(changed)),
        conflicts: totals.conflicts,
        conflict_rate: share(totals.conflicts, totals.read),
        streams: environment.streams.iter().map(|one| stream(one, &own, last_finished, now)).collect(),
    }
}

fn status(word: &str) -> Option<Status> {
    [Status::Ok, Status::Partial, Status::Failed].into_iter().find(|status| status.as_str() == word)
}

fn stream(
    stream: &StreamOverview,
    runs: &[&RunRecord],
    last_finished: Option<Timestamp>,
    now: Timestamp,
) -> StreamMeasures {
    let is_it = |record: &&StreamRecord| {
        record.source == stream.source && (record.stream == stream.stream || record.stream.is_empty())
    };
    let found = |run: &RunRecord| run.streams.as_ref().and_then(|streams| streams.iter().find(is_it).cloned());
    let mut failed = 0;
    let mut last_well = None;
    let mut last_duration_ms = None;
    for run in runs {
        let read = found(run);
        if run.status != Status::Failed && read.as_ref().is_none_or(|record| record.status != Status::Failed) {
            last_well = last_well.max(Some(run.started_at));
        }
        let Some(record) = read else { continue };
        failed += u64::from(record.status == Status::Failed);
        if !record.stream.is_empty() {
            last_duration_ms = last_duration_ms.or(Some(record.duration_ms));
        }
    }
    // Where no recent run tells, the last one that ended well does.
    let before = if runs.is_empty() { last_finished } else { None };
    let synced = stream.last_synced.as_deref().and_then(Timestamp::parse);
    let last_synced = synced.max(last_well).max(before);
    StreamMeasures {
        source: stream.source.clone(),
        stream: stream.stream.clone(),
        table: stream.table.clone(),
        rows: stream.rows,
        last_synced,
        age_seconds: last_synced.map(|moment| age(moment, now)),
        last_duration_ms,
        failed_runs: failed,
        failure_rate: share(failed, runs.len() as u64),
    }
}

fn tables(overview: &Overview, runs: &[&RunRecord]) -> Vec<TableMeasures> {
    let mut growth: BTreeMap<&str, i64> = BTreeMap::new();
    let mut durations: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for run in runs {
        for stream in run.streams.iter().flatten() {
            let sum = growth.entry(&stream.table).or_default();
            *sum = sum.saturating_add(added(&stream.counters));
            // Runs come newest first: the first one that names the table is the last that read it.
            let (of_run, duration) = durations.entry(&stream.table).or_insert((&run.run_id, 0));
            if *of_run == run.run_id {
                *duration += stream.duration_ms;
            }
        }
    }
    let measures = overview.tables.iter().map(|table| TableMeasures {
        table: table.table.clone(),
        rows: table.rows,
        tombstones: table.tombstones,
        bytes: table.bytes,
        vectors: table.vectors,
        coverage: table.vectors.map(|vectors| share(vectors, table.rows).min(1.0)),
        growth: growth.get(table.table.as_str()).copied().unwrap_or(0),
        last_duration_ms: durations.get(table.table.as_str()).map(|(_, duration)| *duration),
    });
    measures.collect()
}

/// Seconds from one moment to another; none where the clock was set back.
fn age(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_micros().saturating_sub(then.as_micros()) / 1_000_000).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
