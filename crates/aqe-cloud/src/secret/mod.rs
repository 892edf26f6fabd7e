//! Passwords and tokens: held so that nothing shows them, and where passwords come from.
//!
//! | where | how |
//! |---|---|
//! | the hub's URL, `PGPASSWORD`, `.pgpass` | [`crate::postgres::link::AddressParts`] |
//! | what a program prints | [`PasswordCommand`] |
//! | Google Secret Manager (feature `secret-manager`) | [`SecretManager`] |
//! | anything else | a [`PasswordSource`] of one's own |

mod asked;
mod command;
mod held;
#[cfg(feature = "secret-manager")]
mod manager;
#[cfg(feature = "secret-manager")]
mod name;

pub(crate) use asked::Asked;
pub use asked::PasswordSource;
pub use command::PasswordCommand;
pub use held::Secret;
#[cfg(feature = "secret-manager")]
pub use manager::SecretManager;
#[cfg(feature = "secret-manager")]
pub use name::SecretName;

use aqe_sync_core::{Error, ErrorKind, Result};
use secrecy::zeroize::Zeroizing;

/// More than any password is.
const LONGEST: usize = 64 * 1024;

/// What somebody gave as a password, without the line break that printing puts behind it.
///
/// `from` says who gave it: `the command pass`.
fn password_of(bytes: &[u8], from: &str) -> Result<Secret> {
    let none = |why: &str, advice: &str| {
        Err(Error::new(ErrorKind::Malformed, format!("what came from {from} is no password: {why}")).advice(advice))
    };
    let alone = "it has to give the password alone, as text";
    let Ok(text) = std::str::from_utf8(bytes) else {
        return none("it is not UTF-8 text", alone);
    };
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return none("it is empty", "see what it gives by hand");
    }
    if text.contains(['\n', '\r', '\0']) {
        return none("it has several lines, or a NUL byte", alone);
    }
    Ok(Secret::new(text))
}

/// A message of somebody else, on one line, not too long, and without what must not be seen.
fn told(message: &str, hidden: &[&str]) -> String {
    const LONGEST: usize = 300;
    let mut message = Zeroizing::new(message.split_whitespace().collect::<Vec<_>>().join(" "));
    for secret in hidden.iter().map(|secret| secret.trim()).filter(|secret| !secret.is_empty()) {
        message = Zeroizing::new(message.replace(secret, "********"));
    }
    let mut shown: String = message.chars().take(LONGEST).collect();
    if shown.len() < message.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_the_passwords() {
        for text in ["a b", "a b\n", "a b\r\n"] {
            assert_eq!(password_of(text.as_bytes(), "x").expect("one").expose(), "a b");
        }
        assert_eq!(password_of(" é\t\n".as_bytes(), "x").expect("one").expose(), " é\t");
    }

    #[test]
    fn what_cannot_be_a_password_is_refused_and_not_repeated() {
        for bytes in [&b""[..], b"\n", b"hunter2\n\n", b"hunter2\nuser: me\n", b"hunter2\0", b"hunter2\xff"] {
            let error = password_of(bytes, "the command pass").expect_err("none");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("the command pass") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_strangers_message_is_cut_and_loses_what_must_not_be_seen() {
        assert_eq!(told("a\n  hunter2\nb", &["hunter2\n", ""]), "a ******** b");
        assert!(told(&"long ".repeat(200), &[]).chars().count() <= 301);
    }
}
