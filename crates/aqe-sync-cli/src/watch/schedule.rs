//! When syncs are due: every so often, or by a cron expression in local time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use croner::Cron;

use crate::config::Span;

/// No interval is shorter: a sync of a distant hub alone takes about a second.
const SHORTEST: Duration = Duration::from_secs(5);

/// When syncs are due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Schedule {
    /// Every so often, counted from one fixed moment, so that how long syncs take moves nothing.
    Every(Span),
    /// Where this expression fits: five fields, or six with seconds first. What a change of the
    /// clocks leaves out or repeats is done once (<https://docs.rs/croner>).
    Cron(Box<Cron>),
}

impl Schedule {
    /// Reads `5m`, `1h30m` or a cron expression; the error is for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("{text:?} is neither a span of time (5m, 1h30m) nor a cron expression (*/10 * * * *): {why}")
        };
        if let Ok(span) = Span::parse(text) {
            if span.0 < SHORTEST {
                return Err(wrong(format!("the shortest interval is {}", Span(SHORTEST))));
            }
            return Ok(Self::Every(span));
        }
        // Names such as @daily are one word.
        if text.split_whitespace().count() < 5 && !text.starts_with('@') {
            return Err(wrong("it has fewer than five fields".to_owned()));
        }
        let cron = Cron::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if cron.find_next_occurrence(&Utc::now(), false).is_err() {
            return Err(wrong("it never fits".to_owned()));
        }
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The first moment after another one at which a sync is due. Intervals are counted from
    /// `anchor`.
    pub(super) fn after<Tz: TimeZone>(&self, moment: &DateTime<Tz>, anchor: &DateTime<Tz>) -> DateTime<Tz> {
        match self {
            Self::Every(span) => {
                let interval = i64::try_from(span.0.as_micros()).unwrap_or(i64::MAX);
                let since = (moment.timestamp_micros() - anchor.timestamp_micros()).max(0);
                let next = (since / interval).saturating_add(1).saturating_mul(interval);
                anchor
                    .clone()
                    .checked_add_signed(chrono::Duration::microseconds(next))
                    .unwrap_or_else(|| moment.clone())
            }
            // It was found once: there is always another, if only in years.
            Self::Cron(cron) => {
                cron.find_next_occurrence(moment, false).unwrap_or_else(|_| moment.clone() + chrono::Duration::days(1))
            }
        }
    }

    /// How far syncs are apart, about.
    pub(super) fn interval<Tz: TimeZone>(&self, moment: &DateTime<Tz>) -> Duration {
        match self {
            Self::Every(span) => span.0,
            Self::Cron(_) => {
                let first = self.after(moment, moment);
                let apart = self.after(&first, &first).signed_duration_since(&first);
                apart.to_std().unwrap_or(Duration::from_secs(60))
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(span) => span.fmt(f),
            Self::Cron(cron) => f.write_str(cron.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_span_or_a_cron_expression() {
        for text in ["5s", "5m", "1h30m", "*/10 * * * *", "0 3 * * MON-FRI", "@hourly"] {
            let schedule = Schedule::parse(text).expect(text);
            assert_eq!(Schedule::parse(&schedule.to_string()).expect(text), schedule);
        }
        for text in ["", "5", "4s", "* * *", "60 * * * *", "0 0 31 2 *", "every day", "hourly"] {
            let error = Schedule::parse(text).expect_err(text);
            assert!(error.contains("cron expression"), "{text}: {error}");
        }
    }
}
