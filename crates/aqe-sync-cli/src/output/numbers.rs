//! Numbers, times and sizes in words.

use std::time::Duration;

use aqe_sync_core::Timestamp;

/// `1,204`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 record`, `1,204 records`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `12 ms`, `1.2 s`, `2 m 05 s`, `1 h 02 m`.
pub(crate) fn duration(millis: u64) -> String {
    let duration = Duration::from_millis(millis);
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `3 hours ago`, as seen at `now`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_micros().saturating_sub(then.as_micros()) / 1_000_000;
    let Ok(seconds) = u64::try_from(seconds) else {
        return format!("{then}, in the future");
    };
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} ago", counted(seconds / 60, "minute")),
        3600..86_400 => format!("{} ago", counted(seconds / 3600, "hour")),
        _ => format!("{} ago", counted(seconds / 86_400, "day")),
    }
}

/// `512 B`, `1.2 MB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut tenths = number.saturating_mul(10);
    if number < 1000 {
        return format!("{number} B");
    }
    let mut unit = "kB";
    for next in units {
        unit = next;
        tenths /= 1000;
        if tenths < 10_000 {
            break;
        }
    }
    format!("{}.{} {unit}", count(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_nouns_follow_them() {
        assert_eq!([0, 7, 999, 1000, 1_204_000].map(count), ["0", "7", "999", "1,000", "1,204,000"]);
        assert_eq!([0, 1, 2].map(|n| counted(n, "record")), ["0 records", "1 record", "2 records"]);
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [0, 999, 1_250, 65_000, 3_720_000].map(duration),
            ["0 ms", "999 ms", "1.2 s", "1 m 05 s", "1 h 02 m"]
        );
    }

    #[test]
    fn sizes_have_fitting_units() {
        assert_eq!(
            [0, 999, 1_000, 1_250_000, 5_000_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "1.2 MB", "5.0 GB"]
        );
        assert_eq!(bytes(u64::MAX / 10), "1,844,674.4 TB");
    }

    #[test]
    fn ages_are_in_words_and_a_clock_that_runs_ahead_is_said() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).expect("in range");
        let ages = [0, 60, 7200, 86_400 * 3].map(|seconds| age(at(0), at(seconds)));
        assert_eq!(ages, ["just now", "1 minute ago", "2 hours ago", "3 days ago"]);
        assert!(age(at(10), at(0)).contains("in the future"));
    }
}
