//! What a comparison found, for people and programs.

use serde::Serialize;

use crate::report::describe;
use crate::{Error, Report, SourceName, StreamName};

/// Whether two sides hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that should be in the hub is there, as it should be.
    Match,
    /// Something differs, or could not be compared.
    Differ,
}

/// The comparison of all streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The verdict on all of them.
    pub status: Verdict,
    /// Stream by stream.
    pub streams: Vec<StreamVerification>,
}

impl VerifyReport {
    pub(super) fn of(streams: Vec<StreamVerification>) -> Self {
        let matches = streams.iter().all(StreamVerification::matches);
        Self { status: if matches { Verdict::Match } else { Verdict::Differ }, streams }
    }

    /// Whether everything that should be in the hub is there, as it should be.
    pub fn matches(&self) -> bool {
        self.status == Verdict::Match
    }
}

/// The comparison of one stream. Lists name at most
/// [`StreamVerification::MAX_KEYS`] keys; the counts count them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamVerification {
    /// Where it was read.
    pub source: SourceName,
    /// Its name there; empty when the source could not even be listed.
    pub stream: StreamName,
    /// The hub table it goes to; empty as above.
    pub table: String,
    /// Keys that the source holds.
    pub local: u64,
    /// Keys that the hub has of this stream.
    pub hub: u64,
    /// Keys that the hub lacks.
    pub missing: Vec<String>,
    /// How many there are.
    pub missing_count: u64,
    /// Keys that the source lacks. Stays empty where the hub is meant to
    /// remember what its source forgets.
    pub extra: Vec<String>,
    /// How many there are.
    pub extra_count: u64,
    /// Keys whose content differs.
    pub different: Vec<String>,
    /// How many there are.
    pub different_count: u64,
    /// Keys of an immutable table whose content differs: the hub keeps what was
    /// written first. No difference.
    pub kept_by_rule: u64,
    /// Records that no hub can store: they are in `dead_letters`. No difference.
    pub unstorable: u64,
    /// Records whose key occurred before; the first one counts. No difference.
    pub repeated: u64,
    /// Differences that a repair did away with.
    pub repaired: u64,
    /// Why the stream could not be compared to its end; then `extra` is not told.
    pub error: Option<String>,
}

impl StreamVerification {
    /// So many keys are named per list.
    pub const MAX_KEYS: usize = 100;

    pub(super) fn new(source: SourceName, stream: StreamName, table: &str) -> Self {
        Self {
            source,
            stream,
            table: table.to_owned(),
            local: 0,
            hub: 0,
            missing: Vec::new(),
            missing_count: 0,
            extra: Vec::new(),
            extra_count: 0,
            different: Vec::new(),
            different_count: 0,
            kept_by_rule: 0,
            unstorable: 0,
            repeated: 0,
            repaired: 0,
            error: None,
        }
    }

    pub(super) fn failed(source: &SourceName, error: &Error) -> Self {
        Self { error: Some(describe(error)), ..Self::new(source.clone(), "".into(), "") }
    }

    /// How many keys differ in one way or the other.
    pub fn differences(&self) -> u64 {
        self.missing_count + self.extra_count + self.different_count
    }

    /// Whether nothing differs.
    pub fn matches(&self) -> bool {
        self.differences() == 0 && self.error.is_none()
    }
}

/// A comparison, the run that put right what differed, and the comparison after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// What is so now.
    #[serde(flatten)]
    pub after: VerifyReport,
    /// What was found at first.
    pub before: VerifyReport,
    /// What was written; `None` when there was nothing to put right.
    pub run: Option<Report>,
}

impl RepairReport {
    /// Whether everything that should be in the hub is there now, as it should be.
    pub fn matches(&self) -> bool {
        self.after.matches()
    }
}

pub(super) fn name(list: &mut Vec<String>, key: &(impl ToString + ?Sized)) {
    if list.len() < StreamVerification::MAX_KEYS {
        list.push(key.to_string());
    }
}
