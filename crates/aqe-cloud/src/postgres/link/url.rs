//! Takes a connection URL apart. The driver's own parser knows neither `verify-full` nor
//! `sslrootcert`, and a URL comes from a person: what is wrong with it is said here, and so that no
//! part of a password can be repeated.
//!
//! Read as libpq reads it, with three differences: one host only; a bare `@` belongs to the password
//! if another one follows; and a bare `@` behind the host is refused, because there it means that a
//! password has an unescaped `/` or `?` in it, which would make the rest of it a host's name.

use std::path::PathBuf;
use std::time::Duration;

use aqe_sync_core::Result;

use super::address::{ChannelBinding, Roots, SslMode};
use super::parts::{AddressParts, invalid};
use crate::secret::Secret;

const KNOWN: &str = "application_name, channel_binding, connect_timeout, dbname, host, lock_timeout, options, \
                     password, port, sslcert, sslkey, sslmode, sslrootcert, statement_timeout, target_session_attrs, user";
const SHAPE: &str = "write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @, %2F for /, %3A for : \
                     and %3F for ? in a name or a password";

pub(super) fn parse(url: &str) -> Result<AddressParts> {
    let url = url.trim();
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| {
        url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &url[scheme.len()..])
    });
    let rest = rest.ok_or_else(|| invalid("it does not begin with postgres://").advice(SHAPE))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if tail.contains('@') {
        return Err(invalid("there is an @ behind the host and port, where none can be").advice(SHAPE));
    }
    let mut parts = AddressParts::new();
    let host = match authority.rsplit_once('@') {
        Some((login, host)) => {
            read_login(&mut parts, login)?;
            host
        }
        None => authority,
    };
    read_host(&mut parts, host)?;
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if let Some(database) = path.strip_prefix('/').filter(|name| !name.is_empty()) {
        parts.database = Some(decoded(database, "the database's name")?);
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        read_parameter(&mut parts, pair)?;
    }
    Ok(parts)
}

fn read_login(parts: &mut AddressParts, login: &str) -> Result<()> {
    let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
    if !user.is_empty() {
        parts.user = Some(decoded(user, "the user's name")?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        parts.password = Some(Secret::new(decoded(password, "the password")?));
    }
    Ok(())
}

fn read_host(parts: &mut AddressParts, text: &str) -> Result<()> {
    if text.contains(',') {
        return Err(invalid("several hosts are given, and a hub has one").advice("name the host that takes writes"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) =
                bracketed
                    .split_once(']')
                    .filter(|(_, port)| port.is_empty() || port.starts_with(':'))
                    .ok_or_else(|| invalid("the brackets around an IPv6 address are not right").advice(SHAPE))?;
            (host, port.strip_prefix(':').unwrap_or_default())
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if !host.is_empty() {
        parts.host = Some(decoded(host, "the host's name")?);
    }
    if !port.is_empty() {
        parts.port = Some(port_number(port)?);
    }
    Ok(())
}

/// What is no number may be a password, so it is not repeated.
fn port_number(text: &str) -> Result<u16> {
    let number = text.parse().ok().filter(|port| *port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| invalid("the port is not a number from 1 to 65535").advice(SHAPE))
}

fn read_parameter(parts: &mut AddressParts, pair: &str) -> Result<()> {
    let (name, value) = pair
        .split_once('=')
        .ok_or_else(|| invalid("a parameter behind the ? has no value").advice("write NAME=VALUE, apart by &"))?;
    let name = decoded(name, "a parameter's name")?;
    let text = decoded(value, "a parameter's value")?;
    let wrong = |known: &str| Err(invalid(format!("{name} is not one of {known}")));
    match name.as_str() {
        "user" => parts.user = Some(text),
        "password" => parts.password = Some(Secret::new(text)),
        "host" => parts.host = Some(text),
        "port" => parts.port = Some(port_number(&text)?),
        "dbname" => parts.database = Some(text),
        "application_name" => parts.application_name = Some(text),
        "options" => parts.options = Some(text),
        "sslmode" => match SslMode::from_word(&text) {
            Some(mode) => parts.ssl_mode = Some(mode),
            None => return wrong("disable, allow, prefer, require, verify-ca, verify-full"),
        },
        "sslrootcert" if text == "system" => parts.roots = Some(Roots::System),
        "sslrootcert" => parts.roots = Some(Roots::File(PathBuf::from(text))),
        "sslcert" => parts.certificate = Some(PathBuf::from(text)),
        "sslkey" => parts.key = Some(PathBuf::from(text)),
        "channel_binding" => match text.as_str() {
            "disable" => parts.channel_binding = Some(ChannelBinding::Disable),
            "prefer" => parts.channel_binding = Some(ChannelBinding::Prefer),
            "require" => parts.channel_binding = Some(ChannelBinding::Require),
            _ => return wrong("disable, prefer, require"),
        },
        // With one host there is nothing to choose; a hub that takes no writes says so itself.
        "target_session_attrs" => match text.as_str() {
            "any" | "read-write" | "primary" | "prefer-standby" => {}
            _ => return wrong("any, read-write, primary, prefer-standby (a hub must take writes)"),
        },
        "connect_timeout" => parts.limits.connect = connect_timeout(&text)?,
        "statement_timeout" => parts.limits.statement = duration("statement_timeout", &text)?,
        "lock_timeout" => parts.limits.lock = duration("lock_timeout", &text)?,
        _ => return Err(unknown(&name)),
    }
    Ok(())
}

/// Repeats the name only where it looks like one: behind a password that was cut short by an
/// unescaped `?`, anything can stand.
fn unknown(name: &str) -> aqe_sync_core::Error {
    let looks_like_a_name = name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let shown = if looks_like_a_name { format!("the parameter {name}") } else { "a parameter behind the ?".to_owned() };
    invalid(format!("{shown} is not known here")).advice(format!("known are {KNOWN}"))
}

/// Seconds, as libpq has it; zero and less is "for ever".
fn connect_timeout(text: &str) -> Result<Duration> {
    let seconds: i64 = text
        .trim()
        .parse()
        .ok()
        .filter(|seconds| *seconds <= i64::from(i32::MAX))
        .ok_or_else(|| invalid("connect_timeout is not a number of seconds").advice("write connect_timeout=15"))?;
    Ok(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// As PostgreSQL's own parameter: milliseconds, or a number with `ms`, `s`, `min`, `h` or `d`.
fn duration(name: &str, text: &str) -> Result<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let factor = match text[digits..].trim() {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let millis =
        factor.zip(text[..digits].parse().ok()).and_then(|(factor, number): (u64, u64)| number.checked_mul(factor));
    // The server keeps it in 32 bits.
    millis.filter(|millis| *millis <= 2_147_483_647).map(Duration::from_millis).ok_or_else(|| {
        invalid(format!("{name} is not a time"))
            .advice(format!("write {name}=30s, or 0 for no limit; units: ms, s, min, h, d"))
    })
}

/// Undoes percent-encoding. `what` names the part: its text is not repeated.
fn decoded(text: &str, what: &str) -> Result<String> {
    let wrong = || {
        invalid(format!("{what} has a % in it that begins no escape"))
            .advice("write %25 for a % and two hexadecimal digits of UTF-8 for anything else")
    };
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        if byte == b'%' {
            let digits = bytes.get(position + 1..position + 3).ok_or_else(wrong)?;
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let (high, low) = value(digits[0]).zip(value(digits[1])).ok_or_else(wrong)?;
            plain.push(high * 16 + low);
            position += 3;
        } else {
            plain.push(byte);
            position += 1;
        }
    }
    String::from_utf8(plain).map_err(|_| wrong())
}

/// Percent-encodes everything that has a meaning in a URL.
pub(crate) fn encoded(text: impl AsRef<[u8]>) -> String {
    use std::fmt::Write;
    text.as_ref().iter().fold(String::new(), |mut encoded, &byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
