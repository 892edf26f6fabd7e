//! Moments in time: microseconds since the Unix epoch, and the forms agents write them in.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Utc};

/// A moment, in microseconds since 1970-01-01T00:00:00Z: the precision that
/// every hub keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    ///
    /// Gives `None` outside the years 0001 to 9999, which ISO 8601 cannot write
    /// in four digits.
    pub fn from_micros(micros: i64) -> Option<Self> {
        let year = DateTime::from_timestamp_micros(micros)?.year();
        (1..=9999).contains(&year).then_some(Self(micros))
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The current moment of the system's clock.
    pub fn now() -> Self {
        Self(Utc::now().timestamp_micros())
    }

    /// Reads an integer whose unit follows from its magnitude.
    ///
    /// | absolute value | unit |
    /// |---|---|
    /// | below 10¹¹ | seconds (up to the year 5138) |
    /// | below 10¹⁴ | milliseconds |
    /// | otherwise | microseconds |
    pub fn from_magnitude(number: i64) -> Option<Self> {
        let micros = match number.unsigned_abs() {
            0..100_000_000_000 => number.checked_mul(1_000_000)?,
            100_000_000_000..100_000_000_000_000 => number.checked_mul(1_000)?,
            _ => number,
        };
        Self::from_micros(micros)
    }

    /// Reads a real number by the same magnitudes: whole ones as integers, others
    /// as seconds or milliseconds with a fraction, if that fraction is a whole
    /// number of microseconds as far as a double can tell.
    pub fn from_fractional(number: f64) -> Option<Self> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let unit = match number.abs() {
            // A negative zero would come back as another number.
            _ if !number.is_finite() || (number == 0.0 && number.is_sign_negative()) => return None,
            size if size < 1e11 => 1e6,
            size if size < 1e14 => 1e3,
            _ => 1.0,
        };
        let micros = (number * unit).round();
        if micros.abs() > EXACT || (micros / unit).to_bits() != number.to_bits() {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range where doubles are exact")]
        Self::from_micros(micros as i64)
    }

    /// Reads text: ISO 8601 with a zone, or without one as UTC (as SQLite's
    /// `datetime()` writes it), with a space or a `T`, with up to six digits of
    /// fraction; a date alone is its midnight; digits alone go by magnitude.
    ///
    /// Gives `None` for anything else, and for what would lose precision.
    ///
    /// ```
    /// use aqe_sync_core::Timestamp;
    ///
    /// let sqlite = Timestamp::parse("2026-01-11 13:01:08").unwrap();
    /// assert_eq!(Timestamp::parse("2026-01-11T13:01:08Z"), Some(sqlite));
    /// assert_eq!(Timestamp::parse("2026-01-11T14:01:08+01:00"), Some(sqlite));
    /// assert_eq!(Timestamp::parse("1768136468"), Some(sqlite));
    /// assert_eq!(Timestamp::parse("1753200000000-aaaa"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.strip_prefix('-').unwrap_or(text);
        // Nine digits and more: shorter ones are years or counts, not moments.
        if digits.len() >= 9 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::from_magnitude(text.parse().ok()?);
        }
        if !has_iso_shape(text) {
            return None;
        }
        read_plain(text).or_else(|| Self::read_lenient(text))
    }

    /// Any form: formats are tried one after the other, so it takes its time.
    fn read_lenient(text: &str) -> Option<Self> {
        let moment = if let Ok(zoned) = DateTime::parse_from_rfc3339(text) {
            zoned.to_utc()
        } else if let Ok(zoned) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
            zoned.to_utc()
        } else if let Some(naive) = parse_naive(text) {
            naive.and_utc()
        } else {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc()
        };
        let micros = moment.timestamp_micros();
        // More than a second of nanoseconds is a leap second, which no hub keeps.
        let nanos = moment.timestamp_subsec_nanos();
        let exact = nanos % 1_000 == 0 && nanos < 1_000_000_000;
        exact.then(|| Self::from_micros(micros)).flatten()
    }
}

/// Whether it begins with `YYYY-MM-DD`, has a `T` or one space after that, and
/// at most nine digits of fraction: chrono is more lenient, and cuts the rest.
fn has_iso_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let date = bytes.iter().take(10).enumerate().all(|(position, byte)| match position {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let clock = match bytes.get(10) {
        None => true,
        Some(b'T' | b't' | b' ') => bytes.get(11).is_some_and(u8::is_ascii_digit),
        Some(_) => false,
    };
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    date && bytes.len() >= 10 && clock && fraction.bytes().take_while(u8::is_ascii_digit).count() <= 9
}

/// The forms that nearly all are written in, without looking for others: a clock with
/// seconds, at most six digits of fraction, and after a `T` perhaps a `Z`. The shape of
/// the date was looked at. A leap second is none of them.
fn read_plain(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let rest = text.get(19..)?;
    let rest = if bytes[10] == b'T' { rest.strip_suffix('Z').unwrap_or(rest) } else { rest };
    let micros = match rest.strip_prefix('.') {
        None if rest.is_empty() => 0,
        Some(fraction) if (1..=6).contains(&fraction.len()) => {
            let end = 20 + fraction.len();
            number(20, end)? * 10_u32.pow(u32::try_from(26 - end).ok()?)
        }
        _ => return None,
    };
    if !matches!(bytes[10], b'T' | b' ') || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(number(0, 4)?).ok()?, number(5, 7)?, number(8, 10)?)?;
    let moment = date.and_hms_micro_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, micros)?;
    Timestamp::from_micros(moment.and_utc().timestamp_micros())
}

fn parse_naive(text: &str) -> Option<NaiveDateTime> {
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

/// `2026-11-22T14:07:03.393000Z`: always 27 characters, so that text order is time order.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            // Field by field: a format string would be parsed anew for every row.
            Some(moment) => write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                moment.year(),
                moment.month(),
                moment.day(),
                moment.hour(),
                moment.minute(),
                moment.second(),
                moment.timestamp_subsec_micros()
            ),
            None => write!(f, "{} µs", self.0),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no moment")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_an_integer_follows_from_its_magnitude() {
        let expected = Timestamp::parse("2026-11-22T14:07:03Z");
        for number in [1_795_356_423, 1_795_356_423_000, 1_795_356_423_000_000] {
            assert_eq!(Timestamp::from_magnitude(number), expected);
        }
    }

    #[test]
    fn text_that_only_begins_like_a_number_or_a_date_is_no_moment() {
        for text in ["1753200000000-aaaa", "2026-11-22x", "", "now", "12", "2026", "2026-13-01 00:00:00", "10:00"] {
            assert_eq!(Timestamp::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_fraction_finer_than_a_microsecond_is_refused_rather_than_cut() {
        assert_eq!(Timestamp::parse("2026-01-01T00:00:00.123456789Z"), None);
        assert!(Timestamp::parse("2026-01-01T00:00:00.123456000Z").is_some());
    }

    #[test]
    fn the_short_way_reads_as_the_long_one_does() {
        let mut short = 0;
        for date in ["2026-01-11", "2024-02-29", "2023-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2026-00-10"] {
            for separator in ["T", " ", "t"] {
                for clock in
                    ["13:01:08", "00:00:00", "23:59:60", "24:00:00", "13:60:00", "13-01-08", "1:01:080", "13:01"]
                {
                    for fraction in ["", ".", ".1", ".12", ".123456", ".1234560", ".000001", ".12a", ".+1"] {
                        for zone in ["", "Z", "z", "+01:00", " ", "é"] {
                            let text = format!("{date}{separator}{clock}{fraction}{zone}");
                            if has_iso_shape(&text)
                                && let Some(moment) = read_plain(&text)
                            {
                                short += 1;
                                assert_eq!(Timestamp::read_lenient(&text), Some(moment), "{text:?}");
                            }
                        }
                    }
                }
            }
        }
        assert!(short > 100, "{short}");
    }

    #[test]
    fn every_moment_reads_back_from_what_it_displays() {
        for micros in [0, -1, 1_795_356_423_393_000, 253_402_300_799_999_999] {
            let moment = Timestamp::from_micros(micros).expect("in range");
            assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        }
        assert_eq!(Timestamp::from_micros(i64::MAX), None);
    }
}
