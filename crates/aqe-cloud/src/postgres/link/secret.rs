//! A value that is never shown.

use std::fmt;

/// A password. No way to print it shows it, not even its length.
///
/// ```
/// use aqe_cloud::postgres::link::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("hunter2")), "********");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value itself, for the server's eyes only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}
