//! Access tokens for Google Cloud.

use aqe_sync_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;

use crate::postgres::link::Secret;

/// Whoever knows an access token.
///
/// Asked before every connection, so an implementation keeps a token that is still good, and
/// replaces it before it expires.
pub trait TokenSource: Send + Sync {
    /// Returns an access token that is valid for some minutes at least.
    ///
    /// # Errors
    /// Why there is none, and how to get one; without the token.
    fn token(&self) -> BoxFuture<'_, Result<Secret>>;

    /// Says where tokens come from, for people: `the credentials in FILE`.
    fn origin(&self) -> String;
}

/// A token that somebody else looks after.
#[derive(Clone, Debug)]
pub struct FixedToken(Secret);

impl FixedToken {
    /// Takes a token as it is.
    ///
    /// # Errors
    /// When it holds what cannot be in a token.
    pub fn new(token: Secret) -> Result<Self> {
        checked(token).map(Self)
    }
}

impl TokenSource for FixedToken {
    fn token(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }

    fn origin(&self) -> String {
        "a token that was given".to_owned()
    }
}

/// A token goes into a header: it is one word of printable ASCII.
pub(super) fn checked(token: Secret) -> Result<Secret> {
    let text = token.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::new(ErrorKind::Malformed, "what was given as an access token is none")
            .advice("get one with: gcloud auth print-access-token"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_header_is_no_token_and_not_repeated() {
        for text in ["", "two words", "line\nbreak", "bücher"] {
            let error = FixedToken::new(Secret::new(text)).expect_err(text);
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
        FixedToken::new(Secret::new("ya29.a0-_~/+=")).expect("a token");
    }
}
