//! How long to go on, and with which seed, where somebody says so.

use std::time::Duration;

/// How long each kind of hub is tried at random, where nobody says it.
const SHORT: Duration = Duration::from_secs(12);

/// `AQE_KILL_SECONDS`: then every failpoint is tried more often as well.
pub(crate) fn asked() -> Option<Duration> {
    number("AQE_KILL_SECONDS").map(Duration::from_secs)
}

pub(crate) fn time() -> Duration {
    asked().unwrap_or(SHORT)
}

/// `AQE_KILL_SEED`: that sequence, and no other.
pub(crate) fn seed() -> Option<u64> {
    number("AQE_KILL_SEED")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var_os(name)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is not a whole number: {}", text.display())))
}
