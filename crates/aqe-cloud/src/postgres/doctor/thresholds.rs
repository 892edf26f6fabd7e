//! From when on something is worth a word.

use std::time::Duration;

/// A clock that is further off than this makes "newer" a matter of luck for what two
/// machines wrote shortly after each other.
pub const CLOCK_WARNING: Duration = Duration::from_secs(5);

/// A clock that is further off than this is not synchronised at all.
pub const CLOCK_CRITICAL: Duration = Duration::from_secs(300);

/// A lock on one of the hub's tables that is held for longer is no batch of ours: those
/// take seconds. It is also how long a sync waits for one, unless told otherwise.
pub const LOCK_HELD: Duration = Duration::from_secs(60);

/// A transaction that sees the database as it was before this holds back vacuum long
/// enough for tables with many updates to grow.
pub const LONG_TRANSACTION: Duration = Duration::from_secs(3_600);

/// Fewer free connections than this leave no room for a sync, which takes three (two that
/// write, one that reads), beside one other.
pub const FREE_CONNECTIONS: i64 = 5;

/// The shortest limits of a session that leave a batch enough time, whose largest take
/// seconds over a slow link; zero is no limit. The two for idle sessions leave time for
/// reading a large source between two batches, and for deciding on conflicts.
pub const SHORTEST_LIMITS: [(&str, Duration); 5] = [
    ("statement_timeout", Duration::from_secs(60)),
    ("lock_timeout", Duration::from_secs(5)),
    ("idle_in_transaction_session_timeout", Duration::from_secs(60)),
    ("idle_session_timeout", Duration::from_secs(60)),
    ("transaction_timeout", Duration::from_secs(120)),
];

/// How long others may take before an examination says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub(super) lock_held: Duration,
    pub(super) long_transaction: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { lock_held: LOCK_HELD, long_transaction: LONG_TRANSACTION }
    }
}

impl Thresholds {
    /// How long a lock on the hub's tables may be held; [`LOCK_HELD`] unless said otherwise.
    #[must_use]
    pub fn lock_held(mut self, longest: Duration) -> Self {
        self.lock_held = longest;
        self
    }

    /// How long a transaction may hold back vacuum; [`LONG_TRANSACTION`] unless said otherwise.
    #[must_use]
    pub fn long_transaction(mut self, longest: Duration) -> Self {
        self.long_transaction = longest;
        self
    }
}
