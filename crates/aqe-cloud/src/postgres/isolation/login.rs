//! Names and passwords of logins.

use aqe_sync_core::{Environment, Error, ErrorKind, Identifier, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::postgres::link::Secret;

/// So much of an environment's name is taken over, in bytes; the rest has room in 63.
const LONGEST_PART: usize = 40;

/// The login that an environment of a hub gets unless somebody says another name.
///
/// Roles belong to the whole server, where another hub may have an environment of that
/// name: a part of the name is a hash of both.
///
/// # Panics
/// Never: the name is usable whatever the environment is called.
pub fn suggested_login(hub: &str, environment: &Environment) -> Identifier {
    let mut part = String::new();
    for c in environment.as_str().chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        if part.len() < LONGEST_PART && !(c == '_' && (part.is_empty() || part.ends_with('_'))) {
            part.push(c);
        }
    }
    let whole = xxh3_64(format!("{hub}\u{1f}{environment}").as_bytes());
    let name = format!("aqe_{}_{:08x}", part.trim_end_matches('_'), whole >> 32);
    Identifier::new(&name).expect("at most 53 letters, digits and underscores are a usable name")
}

/// A password that nobody can guess: 192 bits from the operating system, as 48 digits that
/// need no escaping anywhere.
///
/// # Errors
/// When the operating system has no random numbers.
pub fn random_password() -> Result<Secret> {
    let random = || {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map(|()| u64::from_ne_bytes(bytes))
    };
    let numbers = random().and_then(|one| Ok([one, random()?, random()?]));
    let [one, two, three] = numbers.map_err(|error| {
        Error::new(ErrorKind::Io, format!("the operating system gives no random numbers: {error}"))
            .during("making a password")
            .advice("nothing was changed; see whether /dev/urandom can be read")
    })?;
    Ok(Secret::new(format!("{one:016x}{two:016x}{three:016x}")))
}

/// What the server keeps of a password: enough to check it, not to log in with it. Only
/// this is sent, so that no log of the server can hold the password.
pub(super) fn verifier(password: &Secret) -> String {
    postgres_protocol::password::scram_sha_256(password.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_named_after_its_environment_and_is_no_other_ones() {
        let login = |hub: &str, name: &str| suggested_login(hub, &name.into()).to_string();
        assert!(login("hub", "Laptop:my shop!").starts_with("aqe_laptop_my_shop_"));
        assert!(login("hub", "\"; DROP ROLE x --").starts_with("aqe_drop_role_x_"));
        let all = [("hub", "ci"), ("hub", "CI"), ("hub", "ci "), ("hub", "cı"), ("other", "ci"), ("hub", "::")];
        let names: std::collections::BTreeSet<String> = all.iter().map(|(hub, name)| login(hub, name)).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        assert_eq!(login("hub", "ci"), login("hub", "ci"));
        assert!(login("hub", &"x".repeat(Environment::MAX_BYTES)).len() <= Identifier::MAX_BYTES);
    }

    #[test]
    fn passwords_are_long_and_differ_and_their_verifier_does_not_hold_them() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), 48);
        let verifier = verifier(&one);
        assert!(verifier.starts_with("SCRAM-SHA-256$") && !verifier.contains(one.expose()), "{verifier}");
    }
}
