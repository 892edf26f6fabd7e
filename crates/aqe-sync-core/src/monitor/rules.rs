//! From when on a figure needs attention.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// Two limits of one figure. A figure that reaches one of them crosses it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit<T> {
    /// From here on somebody should look at it.
    pub warning: T,
    /// From here on somebody has to act.
    pub critical: T,
}

/// From when on the figures of an environment, or of one stream, need attention.
///
/// ```
/// use aqe_sync_core::monitor::Thresholds;
///
/// let usual = Thresholds::default();
/// assert_eq!(usual.duration.warning.as_secs(), 5 * 60);
/// assert_eq!(usual.failure_rate.critical, 0.2);
/// assert_eq!(usual.age.critical.as_secs(), 3 * 86_400);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// How long a sync takes.
    pub duration: Limit<Duration>,
    /// Which share of the recent syncs failed, 0 to 1.
    pub failure_rate: Limit<f64>,
    /// How long ago the last sync was.
    pub age: Limit<Duration>,
}

impl Default for Thresholds {
    /// 5 and 15 minutes, 5 and 20 %, 1 and 3 days.
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let days = |count: u64| Duration::from_secs(86_400 * count);
        Self {
            duration: Limit { warning: minutes(5), critical: minutes(15) },
            failure_rate: Limit { warning: 0.05, critical: 0.2 },
            age: Limit { warning: days(1), critical: days(3) },
        }
    }
}

/// Thresholds of the streams that a pattern names.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRules {
    /// A hub table, a stream or a source; `*` stands for any text.
    pub pattern: String,
    /// Theirs.
    pub thresholds: Thresholds,
}

/// All thresholds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// For environments, and for streams that nothing else is said of.
    pub usual: Thresholds,
    /// For some streams; of several patterns that fit, the longest counts.
    pub streams: Vec<StreamRules>,
}

impl Rules {
    /// What is said of one stream in particular.
    pub fn of_stream(&self, source: &str, stream: &str, table: &str) -> Option<&Thresholds> {
        let fits = |rules: &&StreamRules| [source, stream, table].iter().any(|name| matches(&rules.pattern, name));
        self.streams.iter().filter(fits).max_by_key(|rules| rules.pattern.len()).map(|rules| &rules.thresholds)
    }
}

/// Whether a name is what a pattern with `*` means.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

/// Reads a span of time: whole numbers with `s`, `m`, `h`, `d` or `w`, one behind the other.
///
/// ```
/// use aqe_sync_core::monitor::parse_span;
///
/// assert_eq!(parse_span("1h30m").unwrap().as_secs(), 5_400);
/// assert!(parse_span("5").is_err());
/// ```
///
/// # Errors
/// When it is anything else, or nothing, or longer than a thousand years.
pub fn parse_span(text: &str) -> Result<Duration> {
    const THOUSAND_YEARS: u64 = 1_000 * 366 * 86_400;
    let wrong = || {
        Error::new(ErrorKind::Invalid, format!("{text:?} is no span of time")).advice("write 90s, 5m, 1h30m, 1d or 2w")
    };
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let mut letters = rest[digits..].chars();
        let unit = match letters.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(unit).and_then(|span| seconds.checked_add(span)).ok_or_else(wrong)?;
        rest = letters.as_str().trim_start();
    }
    if seconds == 0 || seconds > THOUSAND_YEARS { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5_400), ("1d 2h", 93_600), (" 2w ", 1_209_600)] {
            assert_eq!(parse_span(text).expect(text).as_secs(), seconds, "{text}");
        }
        for text in ["", "5", "m", "0s", "5x", "-5m", "1.5h", "5m3", "99999999999999999999s", "9999999999w", "5 m"] {
            let error = parse_span(text).expect_err(text).to_string();
            assert!(error.contains("90s, 5m"), "{error}");
        }
    }

    #[test]
    fn a_pattern_names_sources_streams_and_tables_and_the_longest_counts() {
        for (pattern, name, fits) in [
            ("events", "events", true),
            ("events", "event", false),
            ("*", "", true),
            ("qe_*", "qe_patterns", true),
            ("*.db", "a/memory.db", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "ab", true),
            ("ab*b", "ab", false),
            ("*a*", "b", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        let of = |seconds| {
            let age = Limit { warning: Duration::from_secs(seconds), critical: Duration::from_secs(seconds) };
            Thresholds { age, ..Thresholds::default() }
        };
        let rules = [("*", 1), ("*.db", 2), ("events", 3)];
        let streams = rules.map(|(pattern, seconds)| StreamRules { pattern: pattern.into(), thresholds: of(seconds) });
        let rules = Rules { streams: streams.into(), ..Rules::default() };
        let age = |source, table| rules.of_stream(source, table, table).map(|of| of.age.warning.as_secs());
        assert_eq!(age("memory.db", "events"), Some(3));
        assert_eq!(age("memory.db", "patterns"), Some(2));
        assert_eq!(age("memory.json", "patterns"), Some(1));
        assert_eq!(Rules::default().of_stream("a", "b", "c"), None);
    }
}
