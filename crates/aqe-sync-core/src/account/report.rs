//! The full account of a run.

use serde::{Deserialize, Serialize};

use crate::{Environment, Error, Result, SourceName, StreamName, Timestamp};

/// How a run or a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything as it should be.
    Ok,
    /// Some records, streams or sources need attention; the rest is done.
    Partial,
    /// Nothing more could be done.
    Failed,
}

impl Status {
    /// The word for it in reports and in the hub's history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// Which records are looked at, and what may happen to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Ignore fingerprint and ledger, compare everything with the hub.
    Full,
    /// What changed since the last run.
    Incremental,
    /// Inserts only; existing keys stay untouched, nothing is deleted.
    Append,
}

impl Mode {
    /// The word for it in reports and in the hub's history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Append => "append",
        }
    }
}

/// Where records went. For every stream and for the whole run
/// `read = inserted + updated + unchanged + merged + superseded + dead_lettered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Records read, after transforms.
    pub read: u64,
    /// New in the hub.
    pub inserted: u64,
    /// Changed in the hub.
    pub updated: u64,
    /// In the hub already, the same.
    pub unchanged: u64,
    /// Taken into account together with others.
    pub merged: u64,
    /// Left behind: a rule preferred what the hub has.
    pub superseded: u64,
    /// Gone from the source, tombstoned in the hub. Not part of `read`.
    pub deleted: u64,
    /// Could not be stored; kept whole in `dead_letters`.
    pub dead_lettered: u64,
    /// How many of them all met another version. Not a sum of its own.
    pub conflicts: u64,
    /// Values that no column could hold, kept in `extra`. Not part of `read`.
    pub set_aside: u64,
    /// Records that transforms dropped. Not part of `read`.
    pub filtered: u64,
}

impl Counters {
    /// Adds another account. What does not fit stays at the largest number, and does
    /// not balance.
    pub fn add(&mut self, other: &Self) {
        let sum = |one: &mut u64, other: u64| *one = one.saturating_add(other);
        sum(&mut self.read, other.read);
        sum(&mut self.inserted, other.inserted);
        sum(&mut self.updated, other.updated);
        sum(&mut self.unchanged, other.unchanged);
        sum(&mut self.merged, other.merged);
        sum(&mut self.superseded, other.superseded);
        sum(&mut self.deleted, other.deleted);
        sum(&mut self.dead_lettered, other.dead_lettered);
        sum(&mut self.conflicts, other.conflicts);
        sum(&mut self.set_aside, other.set_aside);
        sum(&mut self.filtered, other.filtered);
    }

    /// Checks that every record read went somewhere, once. Deletes and records that
    /// transforms dropped are no part of it: nothing was read, or nothing is to be stored.
    ///
    /// # Errors
    /// Names both sums when they differ: a defect that must not look like success.
    pub fn balance(&self) -> Result<()> {
        let parts = [self.inserted, self.updated, self.unchanged, self.merged, self.superseded, self.dead_lettered];
        // In 128 bits: no sum of these wraps around.
        let accounted: u128 = parts.into_iter().map(u128::from).sum();
        if accounted == u128::from(self.read) {
            return Ok(());
        }
        Err(Error::internal(format!("{} records were read, but {accounted} are accounted for: {self:?}", self.read)))
    }

    /// Whether the hub's content changed.
    pub fn changed_anything(&self) -> bool {
        let changes = [self.inserted, self.updated, self.merged, self.deleted, self.conflicts, self.dead_lettered];
        changes.into_iter().any(|count| count > 0)
    }
}

/// The account of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// Where it was read.
    pub source: SourceName,
    /// Its name there; empty when the source could not even be listed.
    pub stream: StreamName,
    /// The hub table it goes to; empty as above.
    pub table: String,
    /// How it ended.
    pub status: Status,
    /// Where its records went.
    #[serde(flatten)]
    pub counters: Counters,
    /// Whether its source's fingerprint answered without reading.
    pub skipped_unchanged: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// What stopped it.
    pub error: Option<String>,
    /// What somebody should look at: dead letters, values set aside. At most
    /// [`StreamReport::MAX_WARNINGS`]; the counters count them all.
    pub warnings: Vec<String>,
    /// How many conflicts each rule decided.
    pub rules: std::collections::BTreeMap<String, u64>,
}

impl StreamReport {
    /// So many warnings are kept per stream.
    pub const MAX_WARNINGS: usize = 20;

    /// An account without entries.
    pub fn new(source: SourceName, stream: StreamName, table: impl Into<String>) -> Self {
        Self {
            source,
            stream,
            table: table.into(),
            status: Status::Ok,
            counters: Counters::default(),
            skipped_unchanged: false,
            duration_ms: 0,
            error: None,
            warnings: Vec::new(),
            rules: std::collections::BTreeMap::new(),
        }
    }

    /// Keeps a warning, if there is room, and marks the stream as partial.
    pub fn warn(&mut self, warning: impl FnOnce() -> String) {
        if self.warnings.len() < Self::MAX_WARNINGS {
            self.warnings.push(warning());
        }
        self.status = self.status.max(Status::Partial);
    }

    /// Keeps what stopped it.
    pub fn fail(&mut self, error: &Error) {
        self.status = Status::Failed;
        self.error.get_or_insert_with(|| describe(error));
    }
}

/// An error with its causes, on one line.
pub fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str("; cause: ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// The account of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Unique.
    pub run_id: String,
    /// Who wrote.
    pub environment: Environment,
    /// How.
    pub mode: Mode,
    /// Where to, without secrets.
    pub hub: String,
    /// How it ended.
    pub status: Status,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// Stream by stream.
    pub streams: Vec<StreamReport>,
    /// The sums over all streams.
    pub totals: Counters,
    /// What is worth knowing and no fault: memories reachable twice, tables left out.
    pub notes: Vec<String>,
    /// What stopped the run as a whole.
    pub error: Option<String>,
}

impl Report {
    /// Opens the account of a run that begins now, with an id of its own.
    pub fn new(environment: Environment, mode: Mode, hub: impl Into<String>) -> Self {
        Self {
            run_id: uuid::Uuid::new_v4().to_string(),
            environment,
            mode,
            hub: hub.into(),
            status: Status::Ok,
            started_at: Timestamp::now(),
            duration_ms: 0,
            streams: Vec::new(),
            totals: Counters::default(),
            notes: Vec::new(),
            error: None,
        }
    }

    /// What stopped the run and what stopped single streams, one a line; `None` when
    /// nothing did. The hub's history keeps it so.
    pub fn errors(&self) -> Option<String> {
        let streams = self.streams.iter().filter_map(|stream| stream.error.as_ref());
        let errors: Vec<&str> = self.error.iter().chain(streams).map(String::as_str).collect();
        (!errors.is_empty()).then(|| errors.join("\n"))
    }

    /// Sums up, checks the sums, and derives the status.
    ///
    /// A source that fails makes the run partial, as the others are done; a
    /// broken account makes it fail.
    pub fn close(&mut self) {
        self.totals = Counters::default();
        let mut status = Status::Ok;
        for stream in &mut self.streams {
            if let Err(error) = stream.counters.balance() {
                let error = error.context("source", &stream.source).context("stream", &stream.stream);
                stream.fail(&error);
                self.error.get_or_insert_with(|| error.to_string());
            }
            self.totals.add(&stream.counters);
            status = status.max(stream.status.min(Status::Partial));
        }
        if let Err(error) = self.totals.balance() {
            self.error.get_or_insert_with(|| error.context("of", "all streams").to_string());
        }
        if self.error.is_some() {
            status = Status::Failed;
        }
        self.status = status;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_does_not_add_up_fails_the_run_with_its_numbers() {
        let mut stream = StreamReport::new("a.db".into(), "t".into(), "t");
        stream.counters = Counters { read: 3, inserted: 2, ..Counters::default() };
        let mut report = Report { streams: vec![stream], ..Report::new("e".into(), Mode::Full, "h") };
        report.close();
        assert_eq!(report.status, Status::Failed);
        let error = report.error.expect("said");
        assert!(error.contains("3 records were read, but 2 are accounted for"), "{error}");
    }

    #[test]
    fn no_sum_wraps_around_to_a_right_one() {
        let counters = |read, inserted, updated| Counters { read, inserted, updated, ..Counters::default() };
        counters(1, u64::MAX, 2).balance().expect_err("wraps to 1");
        counters(u64::MAX, u64::MAX, 0).balance().expect("adds up");
        let mut stream = StreamReport::new("a.db".into(), "t".into(), "t");
        stream.counters = counters(u64::MAX, u64::MAX - 1, 1);
        let mut report = Report { streams: vec![stream.clone(), stream], ..Report::new("e".into(), Mode::Full, "h") };
        report.close();
        assert_eq!((report.status, report.totals.read), (Status::Failed, u64::MAX));
        let error = report.error.expect("said");
        assert!(error.contains("all streams"), "{error}");
    }

    #[test]
    fn words_are_the_same_in_reports_and_in_the_history() {
        let json = |value: serde_json::Result<serde_json::Value>| value.expect("a word");
        for mode in [Mode::Full, Mode::Incremental, Mode::Append] {
            assert_eq!(json(serde_json::to_value(mode)), mode.as_str());
        }
        for status in [Status::Ok, Status::Partial, Status::Failed] {
            assert_eq!(json(serde_json::to_value(status)), status.as_str());
        }
    }
}
