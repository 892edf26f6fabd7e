//! Passwords are replaced before anything is shown.
//!
//! Hub URLs come from people, so they may be malformed in any way. Where a
//! password cannot be told apart from what follows it, both are masked: showing
//! too little is the safe mistake.

/// What is shown instead of a secret, whatever its length.
pub(crate) const MASK: &str = "********";

/// What the name of a parameter contains when its value is a secret.
const SECRET_NAMES: [&str; 5] = ["password", "passwd", "pwd", "secret", "token"];

/// Parameters that may follow a secret one. Anything else there may be the rest
/// of a password with an unescaped separator in it.
const PLAIN_NAMES: [&str; 18] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "database",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "options",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// A connection URL, or what was meant as one, without its passwords.
pub(crate) fn mask(text: &str) -> String {
    let text = if is_url(text) { mask_query(text) } else { mask_keywords(text) };
    mask_user(&text)
}

/// Replaces every argument that a message repeats by its masked form.
pub(crate) fn mask_arguments<'a>(message: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let mut message = message.to_owned();
    for argument in arguments {
        let value = argument.split_once('=').filter(|_| argument.starts_with('-')).map_or(argument, |(_, value)| value);
        let masked = mask(value);
        if masked != value && may_hold_secret(value) {
            message = message.replace(value, &masked);
        }
    }
    message
}

fn may_hold_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("://") || lower.contains('@') || lower.contains("postgres") || is_secret(&lower)
}

fn is_url(text: &str) -> bool {
    scheme_end(text).is_some() || text.trim_start().to_ascii_lowercase().starts_with("postgres")
}

/// Where `scheme://` ends. What stands before a later `://` may be a password.
fn scheme_end(text: &str) -> Option<usize> {
    let position = text.find("://")?;
    let mut scheme = text[..position].trim_start().chars();
    scheme.all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c)).then_some(position + 3)
}

fn is_secret(name: &str) -> bool {
    let name = percent_decoded(name).to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

fn is_plain(name: &str) -> bool {
    let name = percent_decoded(name).to_ascii_lowercase();
    PLAIN_NAMES.contains(&name.as_str())
}

/// `…?a=b&password=secret`: the values of secret parameters.
fn mask_query(text: &str) -> String {
    let Some(start) = text.find(['?', '&']) else {
        return text.to_owned();
    };
    let mut shown = text[..start].to_owned();
    let mut hiding = false;
    let mut rest = &text[start..];
    while let Some(separator) = rest.get(..1) {
        let end = rest[1..].find(['?', '&']).map_or(rest.len(), |position| position + 1);
        let pair = &rest[1..end];
        rest = &rest[end..];
        let name = pair.split_once('=').map(|(name, _)| name);
        let secret = is_secret(name.unwrap_or(pair));
        // A `?` inside the query is part of a value, so nothing new begins there.
        hiding = secret || (hiding && !(separator == "&" && name.is_some_and(is_plain)));
        if secret {
            shown = format!("{shown}{separator}{}={MASK}", name.unwrap_or(pair));
        } else if !hiding {
            shown = shown + separator + pair;
        }
    }
    shown
}

/// `host=h password='my secret' user=u`: the same in libpq's other spelling.
fn mask_keywords(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((name_start, value_start)) = secret_keyword(rest) {
        let name = rest[name_start..value_start].trim_end().trim_end_matches('=').trim_end();
        shown = shown + &rest[..name_start] + name + "=" + MASK;
        match after_value(rest[value_start..].trim_start()) {
            Some(next) => {
                shown.push(' ');
                rest = next;
            }
            None => return shown,
        }
    }
    shown + rest
}

/// What follows a secret value: the next parameter whose name is known.
fn after_value(value: &str) -> Option<&str> {
    let rest = value.strip_prefix('\'').map_or(value, after_quote);
    let mut position = 0;
    for word in rest.split_inclusive(char::is_whitespace) {
        let name = word.split_once('=').map(|(name, _)| name);
        if position > 0 && name.is_some_and(|name| is_plain(name) || is_secret(name)) {
            return Some(&rest[position..]);
        }
        position += word.len();
    }
    None
}

/// Where the first secret name begins, and where its value does.
fn secret_keyword(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(offset) = text[from..].find('=') {
        let equals = from + offset;
        let before = text[..equals].trim_end();
        let start = before
            .rfind(|c: char| c.is_whitespace() || c == '=')
            .map_or(0, |space| space + before[space..].chars().next().map_or(1, char::len_utf8));
        if is_secret(&text[start..equals]) {
            return Some((start, equals + 1));
        }
        from = equals + 1;
    }
    None
}

fn after_quote(quoted: &str) -> &str {
    let mut escaped = false;
    for (position, c) in quoted.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return &quoted[position..],
            _ => {}
        }
    }
    ""
}

/// `scheme://user:secret@host`: what is between the first colon and the last `@`.
fn mask_user(text: &str) -> String {
    let start = authority_start(text);
    let (scheme, rest) = text.split_at(start);
    if let Some(at) = rest.rfind('@') {
        return match colon(&rest[..at]) {
            Some(end) => format!("{scheme}{}{MASK}{}", &rest[..end], &rest[at..]),
            None => text.to_owned(),
        };
    }
    let Some(position) = no_port(rest) else {
        return text.to_owned();
    };
    format!("{scheme}{}{MASK}", &rest[..position])
}

fn authority_start(text: &str) -> usize {
    if let Some(end) = scheme_end(text) {
        return end;
    }
    let lower = text.to_ascii_lowercase();
    let scheme = ["postgresql:", "postgres:"].iter().find(|scheme| lower.starts_with(**scheme));
    scheme.map_or(0, |scheme| text.len() - text[scheme.len()..].trim_start_matches('/').len())
}

/// The end of the first colon, escaped or not.
fn colon(user: &str) -> Option<usize> {
    let plain = user.find(':').map(|position| position + 1);
    let escaped = user.to_ascii_lowercase().find("%3a").map(|position| position + 3);
    match (plain, escaped) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Where, without any `@`, something follows a colon that is no port: most
/// likely a password whose host was forgotten.
fn no_port(rest: &str) -> Option<usize> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let mut position = 0;
    for host in authority.split(',') {
        let after_bracket = if host.starts_with('[') { host.find(']').unwrap_or(0) } else { 0 };
        if let Some(end) = colon(&host[after_bracket..]) {
            let end = after_bracket + end;
            if !host[end..].is_empty() && host[end..].parse::<u16>().is_err() {
                return Some(position + end);
            }
        }
        position += host.len() + 1;
    }
    None
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let escape = bytes.get(position + 1..position + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = escape.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(value.unwrap_or(byte));
        position += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_urls_lose_only_their_passwords() {
        for (text, shown) in [
            ("postgres://host/db", "postgres://host/db"),
            ("postgres://user@host:5432/db?sslmode=require", "postgres://user@host:5432/db?sslmode=require"),
            ("postgres://user:hunter2@host:5432/db", "postgres://user:********@host:5432/db"),
            ("postgresql://user:hunter2@[::1]:5432/db", "postgresql://user:********@[::1]:5432/db"),
            ("postgres://[::1]:5432/db", "postgres://[::1]:5432/db"),
            ("postgres://one:5432,two:5433/db", "postgres://one:5432,two:5433/db"),
            (
                "postgres://h/db?user=u&password=hunter2&sslmode=require",
                "postgres://h/db?user=u&password=********&sslmode=require",
            ),
            ("postgres://h/db?sslpassword=hunter2", "postgres://h/db?sslpassword=********"),
            ("host=h password=hunter2 user=u", "host=h password=******** user=u"),
        ] {
            assert_eq!(mask(text), shown);
        }
    }

    /// Every place a password can stand in, with every character that means
    /// something to a URL in the middle of it.
    #[test]
    fn no_part_of_a_password_is_ever_shown() {
        let frames = [
            "postgres://user:{}@host:5432/db",
            "postgresql://user:{}@host/db?sslmode=require",
            "POSTGRES://user:{}@host",
            "postgres://:{}@host/db",
            "postgres:user:{}@host/db",
            "postgres:/user:{}@host/db",
            "postgres//user:{}@host/db",
            "postgre://user:{}@host/db",
            "://user:{}@host/db",
            "user:{}@host/db",
            "postgres://user%3A{}@host/db",
            "postgres://user:{}",
            "postgres://user:{}/db",
            "postgres://user:p{}?sslmode=require",
            " postgres://user:{}@host",
            "sqlit:postgres://user:{}@host",
            "postgres://host/db?password={}",
            "postgres://host/db?user=u&password={}&sslmode=require",
            "postgres://host/db?PassWord={}",
            "postgres://host/db?pass%77ord={}",
            "postgres://host/db?sslpassword={}#x",
            "postgres://host/db&password={}",
            "postgres://user:{}@host/db?password={}&sslpassword={}",
            "postgres://host/db?password={}&password={}",
            "host=h user=u password='{}' dbname=d",
            "password = '{}' user=u",
            "host=h password='{}",
        ];
        let specials = [
            "", "@", ":", "/", "?", "#", "&", "=", "%", "%40", "%3A", "\\", ";", ",", "[", "]", "*", "ü", "🔑", "://",
            "@@", "??", "&x=", "?user", "\"",
        ];
        for frame in frames {
            for special in specials {
                let hostless = frame.starts_with("postgres://user:") && !frame.contains('@');
                if hostless && special.contains('@') {
                    // A well-formed URL: the rest is its host.
                    continue;
                }
                let text = frame.replace("{}", &format!("Zq7{special}Xw9"));
                let shown = mask(&text);
                assert!(!shown.contains("Zq7") && !shown.contains("Xw9"), "{text} is shown as {shown}");
                assert!(shown.contains(MASK), "{text} is shown as {shown}");
                assert_eq!(mask(&shown), shown, "masking again changes nothing");
            }
        }
    }

    #[test]
    fn quoted_values_are_masked_whole() {
        let text = r"host=h password='Zq7 user=Xw9 \' x' user=u";
        assert!(!mask(text).contains("Xw9"), "{}", mask(text));
    }

    #[test]
    fn masking_takes_any_text() {
        for text in ["", ":", "@", "://", "=", "password", "password=", "?", "&", "%", "%4", "é=", "é:é@é", "'"] {
            let _ = mask(text);
        }
    }

    #[test]
    fn any_number_of_passwords_is_masked() {
        let many = 20_000;
        let shown = mask(&"password=hunter2 user=u ".repeat(many));
        assert_eq!(shown, format!("password={MASK} user=u ").repeat(many));
    }

    #[test]
    fn messages_do_not_repeat_arguments_with_passwords() {
        let arguments = ["sync", "--hubb=postgres://user:hunter2@host", "postgres://u:swordfish@h", "--env=laptop"];
        let message = "unexpected argument '--hubb=postgres://user:hunter2@host', 'postgres://u:swordfish@h', laptop";
        let shown = mask_arguments(message, arguments);
        assert!(!shown.contains("hunter2") && !shown.contains("swordfish"), "{shown}");
        assert!(shown.contains("laptop"));
    }
}
