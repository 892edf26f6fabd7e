//! Named places where a test can end the process, as a crash or a power cut would.
//!
//! [`failpoint!`](crate::failpoint!) marks one. Without the feature `failpoints` it is
//! nothing; with it, the variable `FAILPOINTS` says which one ends the process, and when:
//! `FAILPOINTS='ledger-written=return'` at once, `'ledger-written=2*off->return'` the third
//! time. The process aborts: nothing is unwound, dropped or flushed.
//!
//! Each crate lists its own. A place that is not listed, or listed and not there, fails the
//! tests in `aqe-sync-cli/tests/kill`, which end the program at every one of them.

/// Those of this crate.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: [&str; 15] = [
    "engine-withdrawn",
    "engine-moved-out",
    "engine-batch-read",
    "engine-source-read",
    "engine-push-before",
    "engine-contested",
    "engine-resolved",
    "engine-rejected",
    "engine-acknowledged",
    "engine-intent-ended",
    "engine-ledger-appended",
    "engine-ledger-replaced",
    "engine-source-remembered",
    "engine-source-forgotten",
    "engine-run-finished",
];

/// Says on standard error what is reached, one name a line, where this variable is set.
#[cfg(feature = "failpoints")]
pub const TRACE: &str = "AQE_FAILPOINTS_TRACE";

/// Arms what the variable `FAILPOINTS` says, for as long as the result lives.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn arm() -> impl Sized {
    fail::FailScenario::setup()
}

/// Ends the process if this one is armed.
#[cfg(feature = "failpoints")]
#[expect(clippy::print_stderr, reason = "the test that ends the process reads it")]
pub fn reach(name: &str) {
    if std::env::var_os(TRACE).is_some() {
        eprintln!("failpoint {name}");
    }
    let _: Option<()> = fail::eval(name, |_| {
        eprintln!("aborted at {name}");
        std::process::abort()
    });
}

/// Marks a place where a test can end the process: see [`failpoint`](mod@crate::failpoint).
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::reach($name)
    };
}

/// Marks a place where a test can end the process: see [`failpoint`](mod@crate::failpoint).
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {};
}
