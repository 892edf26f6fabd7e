//! The failpoints of this crate: see [`aqe_sync_core::failpoint`](mod@aqe_sync_core::failpoint).

/// All of them.
pub const FAILPOINTS: [&str; 22] = [
    "ledger-making",
    "ledger-made",
    "ledger-write-begun",
    "ledger-written",
    "ledger-committed",
    "embedded-hub-making",
    "embedded-hub-made",
    "embedded-table-before",
    "embedded-table-made",
    "embedded-begun",
    "embedded-version-bumped",
    "embedded-row-written",
    "embedded-row-tombstoned",
    "embedded-applied",
    "embedded-conflict-logged",
    "embedded-resolved",
    "embedded-letter-written",
    "embedded-letters-settled",
    "embedded-checkpoint-written",
    "embedded-committed",
    "embedded-history-written",
    "embedded-history-committed",
];
