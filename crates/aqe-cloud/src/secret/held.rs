//! A value that is never shown.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// A password or a token. No way to print it shows it, not even its length, and its memory is
/// zeroed when it is dropped.
///
/// The driver and the HTTP client make copies of their own while they log in; those are not zeroed.
///
/// ```
/// use aqe_cloud::secret::Secret;
///
/// assert_eq!(format!("{:?}", Secret::new("hunter2")), "********");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps it.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// Returns the value itself, for the server's eyes only.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}
