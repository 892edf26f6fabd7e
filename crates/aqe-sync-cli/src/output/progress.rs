//! How far a run has got: one moving line on a terminal, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aqe_sync_core::{Event, Observer, Status, StreamReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Terminal, Verbosity, count, counted, duration, plain};

/// Watches a run for a person.
pub(crate) struct Progress<'a> {
    terminal: &'a Terminal,
    line: Option<ProgressBar>,
    begun: Mutex<Instant>,
}

impl<'a> Progress<'a> {
    /// Starts watching; draws only where somebody looks.
    pub(crate) fn new(terminal: &'a Terminal) -> Self {
        let line = (super::watched() && terminal.speaks()).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                line.set_style(style);
            }
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        Self { terminal, line, begun: Mutex::new(Instant::now()) }
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, Instant> {
        // An instant is whole whatever happened elsewhere.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, text: impl FnOnce() -> String) {
        if let Some(line) = &self.line {
            line.set_message(plain(&text()));
        }
    }

    /// Says how far something else has got.
    pub(crate) fn at(&self, text: &str) {
        self.message(|| text.to_owned());
    }

    fn detail(&self, text: &str) {
        if self.terminal.verbosity < Verbosity::Verbose {
            return;
        }
        match &self.line {
            Some(line) => line.suspend(|| self.terminal.detail(text)),
            None => self.terminal.detail(text),
        }
    }
}

impl Observer for Progress<'_> {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::SourceStarted { source } => self.message(|| source.to_string()),
            Event::StreamStarted { source, stream } => {
                *self.begun() = Instant::now();
                self.message(|| format!("{source}  {stream}"));
            }
            Event::Progress { source, stream, read } => {
                let elapsed = self.begun().elapsed();
                self.message(|| {
                    format!("{source}  {stream}  {}  {}/s", counted(*read, "record"), count(rate(*read, elapsed)))
                });
            }
            Event::SourceFailed { source, error } => {
                self.detail(&plain(&format!("{source}: failed: {error}")));
            }
            Event::StreamFinished { report } => self.detail(&plain(&finished(report))),
            Event::RunFinished { .. } => {
                if let Some(line) = &self.line {
                    line.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

/// Records per second.
fn rate(read: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    read.saturating_mul(1000) / millis
}

fn finished(report: &StreamReport) -> String {
    let name = format!("{} [{}]", report.source, report.stream);
    if report.skipped_unchanged {
        return format!("{name}: unchanged");
    }
    let status = match report.status {
        Status::Ok => "done",
        Status::Partial => "done in part",
        Status::Failed => "failed",
    };
    let counters = &report.counters;
    let (read, new) = (counted(counters.read, "record"), count(counters.inserted));
    format!("{name}: {status}, {read} read, {new} new, {}", duration(report.duration_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_never_divides_by_nothing() {
        assert_eq!(rate(5, Duration::ZERO), 5_000);
        assert_eq!(rate(u64::MAX, Duration::ZERO), u64::MAX);
        assert_eq!(rate(500_000, Duration::from_secs(2)), 250_000);
    }

    #[test]
    fn a_finished_stream_is_one_line() {
        let mut report = StreamReport::new("a.db".into(), "events".into(), "events");
        report.counters.read = 1_204;
        report.counters.inserted = 1_204;
        report.duration_ms = 40;
        assert_eq!(finished(&report), "a.db [events]: done, 1,204 records read, 1,204 new, 40 ms");
    }
}
