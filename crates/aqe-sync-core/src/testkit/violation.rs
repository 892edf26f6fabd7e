//! Which rule was broken, and which were held.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;

/// A promise that the kit checks. Displays as the promise itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A check that sees nothing proves nothing.
    HasSomethingToCheck,
    /// Source: reading again gives the same records.
    Repeatable,
    /// Source: streams come one after the other, whole, within the limits of the request.
    KeepsToTheRequest,
    /// Source: what one reading yields is one state, whatever is written meanwhile.
    OneSnapshot,
    /// Source: after a cut at any batch, reading again gives exactly what is missing.
    ResumesWithTheRemainder,
    /// Source: a reading that is dropped early harms no other.
    EarlyDropIsSafe,
    /// Source: a panic while reading is an error, not an end and not a panic.
    PanicIsAnError,
    /// Source: the fingerprint never says "same" after a change.
    FingerprintSeesChanges,
    /// Sink: rows and checkpoint become durable together.
    RowsAndCheckpointTogether,
    /// Sink: a transaction that is dropped leaves no trace.
    RollbackLeavesNoTrace,
    /// Sink: applying again has no effect.
    ReapplyHasNoEffect,
    /// Sink: conflicts are returned exactly, each with the row in its way.
    ConflictsAreExact,
    /// Sink: every value comes back bit for bit, and every name is only a name.
    ValuesRoundTrip,
    /// Sink: concurrent writers lose nothing of each other.
    ConcurrentWriters,
    /// Sink: all ways of asking what is stored give the same answer.
    AnswersAgree,
    /// Transform, policy: the same input always gives the same result.
    Deterministic,
    /// Transform, policy: every input has a result; nothing panics.
    Total,
    /// Policy: a merged row is a sound row of its table, with the same key.
    MergedRowIsSound,
    /// Transform: what others put out stays as it is.
    AddsToItsOutputOnly,
    /// Merge: the order of its parts does not count.
    Commutative,
    /// Merge: merging what was merged gives the same as merging all at once.
    Associative,
    /// Merge: a part that is there twice counts once.
    Idempotent,
}

impl Rule {
    /// Those that [`super::check_sink`] always checks.
    pub const OF_SINKS: [Self; 7] = [
        Self::RowsAndCheckpointTogether,
        Self::RollbackLeavesNoTrace,
        Self::ReapplyHasNoEffect,
        Self::ConflictsAreExact,
        Self::ValuesRoundTrip,
        Self::ConcurrentWriters,
        Self::AnswersAgree,
    ];

    /// The promise in words, the same for good.
    pub fn name(self) -> &'static str {
        match self {
            Self::HasSomethingToCheck => "has something to check",
            Self::Repeatable => "is repeatable",
            Self::KeepsToTheRequest => "keeps to the request",
            Self::OneSnapshot => "is one snapshot",
            Self::ResumesWithTheRemainder => "resumes with exactly the remainder",
            Self::EarlyDropIsSafe => "may be dropped early",
            Self::PanicIsAnError => "a panic surfaces as an error",
            Self::FingerprintSeesChanges => "fingerprint never says \"same\" after a change",
            Self::RowsAndCheckpointTogether => "rows and checkpoint are atomic",
            Self::RollbackLeavesNoTrace => "rollback leaves no trace",
            Self::ReapplyHasNoEffect => "re-apply is without effect",
            Self::ConflictsAreExact => "conflicts are returned exactly",
            Self::ValuesRoundTrip => "values round-trip bit for bit",
            Self::ConcurrentWriters => "concurrent writers lose nothing",
            Self::AnswersAgree => "all answers agree",
            Self::Deterministic => "is deterministic",
            Self::Total => "is total",
            Self::MergedRowIsSound => "a merged row is sound",
            Self::AddsToItsOutputOnly => "only adds to its output",
            Self::Commutative => "is commutative",
            Self::Associative => "is associative",
            Self::Idempotent => "is idempotent",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule that was broken, and how. Displays as `rule "…" is broken: …`.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was seen, and what should have been.
    pub details: String,
}

impl Violation {
    pub(super) fn new(rule: Rule, details: impl Into<String>) -> Self {
        Self { rule, details: details.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule \"{}\" is broken: {}", self.rule, self.details)
    }
}

/// As it displays: what `unwrap` shows is for people.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Violation {}

/// What was checked and held: how often, per rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Checked {
    checks: BTreeMap<Rule, usize>,
}

impl Checked {
    /// How many checks of a rule were made; 0 where it did not apply.
    pub fn of(&self, rule: Rule) -> usize {
        self.checks.get(&rule).copied().unwrap_or(0)
    }

    /// The rules that were checked.
    pub fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.checks.keys().copied()
    }

    /// Counts a check, or ends with the rule that it breaks.
    pub(super) fn hold(&mut self, rule: Rule, holds: bool, details: impl FnOnce() -> String) -> Result<(), Violation> {
        *self.checks.entry(rule).or_default() += 1;
        if holds { Ok(()) } else { Err(Violation::new(rule, details())) }
    }
}

/// Ends with the rule for which a step was needed that failed.
pub(super) fn done<T, E: fmt::Display>(rule: Rule, what: &str, result: Result<T, E>) -> Result<T, Violation> {
    result.map_err(|error| Violation::new(rule, format!("{what} failed: {error}")))
}
