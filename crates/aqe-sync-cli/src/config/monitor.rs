//! `[monitor]`: from when on something needs attention, of all streams and of some.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aqe_sync_core::monitor::{Limit, Rules, StreamRules, Thresholds, parse_span};

use super::section::Section;
use super::setting::Setting;
use crate::exit::Failure;

pub(super) const MONITOR: [&str; 7] = [
    "duration_warning",
    "duration_critical",
    "failure_rate_warning",
    "failure_rate_critical",
    "age_warning",
    "age_critical",
    "streams",
];

/// A span of time that is shown as it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    /// Reads `5m`, `1h30m` and so on; the error is for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse_span(text).map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = self.0.as_secs();
        for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")] {
            if seconds >= unit {
                write!(f, "{}{name}", seconds / unit)?;
                seconds %= unit;
            }
        }
        Ok(())
    }
}

/// What a layer says about thresholds.
#[derive(Clone, Debug, Default)]
pub(crate) struct MonitorLayer {
    pub(super) usual: Limits,
    /// By what names the streams.
    pub(super) streams: BTreeMap<String, Limits>,
}

/// Thresholds as far as they are said.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) duration: (Option<Setting<Span>>, Option<Setting<Span>>),
    pub(super) failure_rate: (Option<Setting<f64>>, Option<Setting<f64>>),
    pub(super) age: (Option<Setting<Span>>, Option<Setting<Span>>),
}

impl MonitorLayer {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, Failure> {
        let mut streams = BTreeMap::new();
        if let Some(all) = section.any_section("streams")? {
            for name in all.keys() {
                if let Some(one) = all.section(name, &MONITOR[..6])? {
                    streams.insert(name.to_owned(), Limits::read(&one)?);
                }
            }
        }
        Ok(Self { usual: Limits::read(section)?, streams })
    }

    /// The thresholds that are in force: what is said, else the usual ones.
    ///
    /// # Errors
    /// When a critical limit is below its warning.
    pub(crate) fn rules(&self) -> Result<Rules, Failure> {
        let usual = self.usual.over(Thresholds::default(), "monitor")?;
        let streams = self.streams.iter().map(|(pattern, limits)| {
            let thresholds = limits.over(usual, &format!("monitor.streams.{pattern}"))?;
            Ok(StreamRules { pattern: pattern.clone(), thresholds })
        });
        Ok(Rules { usual, streams: streams.collect::<Result<_, Failure>>()? })
    }
}

impl Limits {
    fn read(section: &Section<'_>) -> Result<Self, Failure> {
        let span = |key| section.parsed(key, Span::parse);
        Ok(Self {
            duration: (span("duration_warning")?, span("duration_critical")?),
            failure_rate: (section.share("failure_rate_warning")?, section.share("failure_rate_critical")?),
            age: (span("age_warning")?, span("age_critical")?),
        })
    }

    fn over(&self, below: Thresholds, name: &str) -> Result<Thresholds, Failure> {
        let span =
            |(warning, critical): &(Option<Setting<Span>>, Option<Setting<Span>>), below: Limit<Duration>, what| {
                let value = |setting: &Option<Setting<Span>>| setting.as_ref().map(|setting| setting.value.0);
                limit((value(warning), value(critical)), below, &format!("{name}.{what}"))
            };
        let (warning, critical) = &self.failure_rate;
        let rate = |setting: &Option<Setting<f64>>| setting.as_ref().map(|setting| setting.value);
        let rates = (rate(warning), rate(critical));
        Ok(Thresholds {
            duration: span(&self.duration, below.duration, "duration")?,
            failure_rate: limit(rates, below.failure_rate, &format!("{name}.failure_rate"))?,
            age: span(&self.age, below.age, "age")?,
        })
    }
}

/// A warning that is set above the critical limit below it lifts that, and the other way round.
fn limit<T: PartialOrd + Copy>(said: (Option<T>, Option<T>), below: Limit<T>, name: &str) -> Result<Limit<T>, Failure> {
    let higher = |a: T, b: T| if b > a { b } else { a };
    match said {
        (Some(warning), Some(critical)) if critical < warning => {
            Err(Failure::usage(format!("{name}_critical is lower than {name}_warning: a warning comes first")))
        }
        (Some(warning), Some(critical)) => Ok(Limit { warning, critical }),
        (Some(warning), None) => Ok(Limit { warning, critical: higher(below.critical, warning) }),
        (None, Some(critical)) => {
            Ok(Limit { warning: if below.warning > critical { critical } else { below.warning }, critical })
        }
        (None, None) => Ok(below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_shown_as_they_are_written() {
        for text in ["90s", "5m", "1h30m", "1d", "3d", "1d2h3m4s"] {
            let shown = Span::parse(text).expect(text).to_string();
            assert_eq!(Span::parse(&shown), Span::parse(text), "{shown}");
        }
        assert_eq!(Span::parse("90s").expect("a span").to_string(), "1m30s");
    }

    #[test]
    fn a_limit_that_is_said_moves_the_other_one_out_of_its_way() {
        let below = Limit { warning: 1, critical: 3 };
        let of =
            |warning, critical| limit((warning, critical), below, "x").map(|limit| (limit.warning, limit.critical));
        assert_eq!(of(None, None).expect("valid"), (1, 3));
        assert_eq!(of(Some(2), None).expect("valid"), (2, 3));
        assert_eq!(of(Some(7), None).expect("valid"), (7, 7));
        assert_eq!(of(None, Some(0)).expect("valid"), (0, 0));
        assert_eq!(of(None, Some(9)).expect("valid"), (1, 9));
        assert!(of(Some(2), Some(1)).expect_err("wrong").message.contains("x_critical is lower"));
    }
}
