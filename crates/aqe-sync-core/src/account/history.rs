//! What hubs remember of runs, and of records that they could not take.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use crate::overview::Overview;
use crate::report::{Counters, Status, StreamReport};
use crate::{Environment, Json, Report, Result, StreamId, Timestamp};

/// A run, as a hub or an installation remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Unique.
    pub run_id: String,
    /// Who ran.
    pub environment: String,
    /// `full`, `incremental` or `append`.
    pub mode: String,
    /// How it ended.
    pub status: Status,
    /// When it began, ISO 8601.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The sums over all its streams.
    pub totals: Counters,
    /// Its streams, without those that were as before and so not read; `None` where a version
    /// kept the account that did not write them down.
    pub streams: Option<Vec<StreamRecord>>,
    /// What failed, one a line.
    pub errors: Option<String>,
}

/// One stream of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Where it was read.
    pub source: String,
    /// Its name there; empty when the source could not even be listed.
    pub stream: String,
    /// The hub table it goes to; empty as above.
    pub table: String,
    /// How it ended.
    pub status: Status,
    /// Where its records went.
    #[serde(flatten)]
    pub counters: Counters,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl From<&StreamReport> for StreamRecord {
    fn from(report: &StreamReport) -> Self {
        Self {
            source: report.source.as_str().to_owned(),
            stream: report.stream.as_str().to_owned(),
            table: report.table.clone(),
            status: report.status,
            counters: report.counters,
            duration_ms: report.duration_ms,
        }
    }
}

impl From<&Report> for RunRecord {
    fn from(report: &Report) -> Self {
        Self {
            run_id: report.run_id.clone(),
            environment: report.environment.as_str().to_owned(),
            mode: report.mode.as_str().to_owned(),
            status: report.status,
            started_at: report.started_at,
            duration_ms: report.duration_ms,
            totals: report.totals,
            streams: Some(stream_records(report)),
            errors: report.errors(),
        }
    }
}

impl RunRecord {
    /// Rows that it added to, changed in, or took from the hub.
    pub fn changed(&self) -> u64 {
        let Counters { inserted, updated, merged, deleted, .. } = self.totals;
        inserted.saturating_add(updated).saturating_add(merged).saturating_add(deleted)
    }
}

/// Puts runs in order, the newest first, each once: of what two places remember of a run, what
/// stands first stays.
pub fn newest_first<R: Borrow<RunRecord>>(runs: &mut Vec<R>) {
    runs.sort_by(|a, b| {
        let (a, b) = (a.borrow(), b.borrow());
        b.started_at.cmp(&a.started_at).then_with(|| a.run_id.cmp(&b.run_id))
    });
    runs.dedup_by(|a, b| {
        let (a, b) = (R::borrow(a), R::borrow(b));
        a.run_id == b.run_id && a.environment == b.environment
    });
}

/// The streams of a run that were read, or could not be, as hubs keep them.
pub fn stream_records(report: &Report) -> Vec<StreamRecord> {
    report.streams.iter().filter(|stream| !stream.skipped_unchanged).map(StreamRecord::from).collect()
}

/// Which runs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this environment.
    pub environment: Option<Environment>,
    /// Only those that began then or later.
    pub since: Option<Timestamp>,
    /// Only those that did not end well.
    pub not_ok: bool,
    /// So many at most, the newest.
    pub limit: usize,
}

/// A record that could not be stored, as a hub keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What it is known by: 32 hexadecimal digits.
    pub id: String,
    /// Where it was read.
    pub stream: StreamId,
    /// The hub table it was to go to.
    pub table: String,
    /// What names the record for a person.
    pub key: String,
    /// Why it could not be stored, and what to do.
    pub reason: String,
    /// All that it holds.
    pub record: Json,
    /// When it was met first.
    pub first_seen: Timestamp,
    /// When it was met last.
    pub last_seen: Timestamp,
    /// When a whole reading of its stream did not meet it any more; `None` while it is open.
    pub settled: Option<Timestamp>,
}

/// Which letters are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Only those whose id begins so.
    pub id: Option<String>,
    /// Only of this environment.
    pub environment: Option<Environment>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only of this hub table.
    pub table: Option<String>,
    /// Those that are settled as well.
    pub settled: bool,
    /// So many at most, the newest.
    pub limit: usize,
}

/// A hub that tells what happened in it.
pub trait History: Send + Sync {
    /// The hub at a glance.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn glance(&self) -> impl Future<Output = Result<Overview>> + Send;

    /// Runs, the newest first.
    ///
    /// # Errors
    /// When the hub cannot be read, or holds what no version wrote.
    fn runs(&self, filter: RunFilter) -> impl Future<Output = Result<Vec<RunRecord>>> + Send;

    /// Letters, those met last first, and how many there are without the limit.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn letters(&self, filter: LetterFilter) -> impl Future<Output = Result<(Vec<Letter>, u64)>> + Send;

    /// Deletes letters of an environment, and says how many there were. A letter whose record is
    /// still at its source comes again when that is read.
    ///
    /// # Errors
    /// When the hub cannot be written to, or does not let this login delete.
    fn drop_letters(&self, environment: &Environment, ids: Vec<String>) -> impl Future<Output = Result<u64>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    #[test]
    fn a_run_is_read_back_as_it_was_kept_and_streams_that_were_not_read_are_left_out() {
        let mut read = StreamReport::new("a.db".into(), "patterns".into(), "patterns");
        read.counters = Counters { read: 3, inserted: 2, unchanged: 1, ..Counters::default() };
        let mut skipped = StreamReport::new("b.db".into(), "events".into(), "events");
        skipped.skipped_unchanged = true;
        let mut report = Report::new("e".into(), Mode::Append, "h");
        report.streams = vec![read, skipped];
        report.close();
        let record = RunRecord::from(&report);
        assert_eq!(record.changed(), 2);
        let json = serde_json::to_string(&record).expect("written");
        assert_eq!(serde_json::from_str::<RunRecord>(&json).expect("read"), record);
        assert!(json.contains("\"table\":\"patterns\"") && !json.contains("b.db"), "{json}");
    }

    #[test]
    fn counters_that_an_older_version_did_not_have_are_zero() {
        let counters: Counters = serde_json::from_str(r#"{"read": 4, "inserted": 4}"#).expect("read");
        assert_eq!(counters, Counters { read: 4, inserted: 4, ..Counters::default() });
    }
}
