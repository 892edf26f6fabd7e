//! Messages as events: of the daemon always, of all commands with `--log-format json`.
//!
//! As JSON each has `timestamp`, `level`, `target`, `message` and fields of its own, which is
//! what collectors for OpenTelemetry take from standard error as they are.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::output::Verbosity;

/// Begins to write events to standard error.
pub(crate) fn start(json: bool, verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Quiet => LevelFilter::ERROR,
        Verbosity::Normal => LevelFilter::INFO,
        Verbosity::Verbose => LevelFilter::DEBUG,
    };
    // Other crates' events may repeat what was sent over the wire.
    let filter = tracing_subscriber::filter::Targets::new().with_target("aqe_sync", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    // There is one process, which begins once.
    let _ = if json {
        registry.with(filter).with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(filter).with(layer.with_ansi(false).with_target(false)).try_init()
    };
}
