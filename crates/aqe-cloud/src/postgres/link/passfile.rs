//! `.pgpass`: the format that libpq documents as "The Password File".

use std::fs;
use std::path::Path;

use secrecy::zeroize::Zeroizing;

use crate::secret::Secret;

/// What a line must fit.
pub(super) struct Wanted<'a> {
    /// Any of these: a Unix socket answers to `localhost` and to its folder.
    pub(super) hosts: &'a [&'a str],
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// Looks a password up. A file that is not there is no reason for a word; one that cannot or must
/// not be used comes back as a warning.
pub(super) fn look_up(path: &Path, wanted: &Wanted<'_>) -> Result<Option<Secret>, String> {
    let unused = |why: String| format!("the password file {} was not used: {why}", path.display());
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unused(error.to_string())),
    };
    if !facts.is_file() {
        return Err(unused("it is not a plain file".to_owned()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if facts.permissions().mode() & 0o077 != 0 {
            return Err(unused(format!("others may read it; run `chmod 600 {}`", path.display())));
        }
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| unused(error.to_string()))?);
    Ok(find(&String::from_utf8_lossy(&bytes), wanted))
}

/// Returns the password of the first line that fits.
fn find(text: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (host, rest) = field(line)?;
        let (port, rest) = field(rest)?;
        let (database, rest) = field(rest)?;
        let (user, password) = field(rest)?;
        let fits = wanted.hosts.iter().any(|wanted| host.fits(wanted))
            && port.fits(&wanted.port.to_string())
            && database.fits(wanted.database)
            && user.fits(wanted.user);
        let password = unescaped(password);
        (fits && !password.is_empty()).then(|| Secret::new(password))
    })
}

struct Field<'a>(&'a str);

impl Field<'_> {
    fn fits(&self, value: &str) -> bool {
        self.0 == "*" || unescaped(self.0) == value
    }
}

/// Splits at the first colon that no backslash escapes.
fn field(text: &str) -> Option<(Field<'_>, &str)> {
    let mut escaped = false;
    let end = text.find(|c| {
        let is_end = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    })?;
    Some((Field(&text[..end]), &text[end + 1..]))
}

fn unescaped(text: &str) -> String {
    let mut chars = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str, hosts: &[&str]) -> Option<String> {
        let wanted = Wanted { hosts, port: 5432, database: "fleet", user: "me:too" };
        find(text, &wanted).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        let text = "# hub:5432:fleet:me\\:too:comment\nhub:5433:*:*:port\n\nother:*:*:*:host\n*:*:x:*:database\n\
                    hub:5432:fleet:me\\:too:right\n*:*:*:*:late\n";
        assert_eq!(password(text, &["hub"]).as_deref(), Some("right"));
        assert_eq!(password(text, &["elsewhere"]).as_deref(), Some("late"));
    }

    #[test]
    fn colons_and_backslashes_are_escaped_and_a_password_may_hold_bare_colons() {
        assert_eq!(password("hub:*:*:*:a\\:b\\\\c:d\r\n", &["hub"]).as_deref(), Some("a:b\\c:d"));
        assert_eq!(password("*:*:*:me:too:secret", &["hub"]), None, "an unescaped colon ends the user's name");
        assert_eq!(password("\\*:*:*:*:secret", &["hub"]), None, "an escaped star is a star");
    }

    #[test]
    fn a_socket_answers_to_localhost_and_to_its_folder() {
        let socket = ["localhost", "/run/pg"];
        assert_eq!(password("localhost:*:*:*:a", &socket).as_deref(), Some("a"));
        assert_eq!(password("/run/pg:*:*:*:b", &socket).as_deref(), Some("b"));
    }

    #[test]
    fn lines_that_are_no_entries_are_passed_over() {
        assert_eq!(password("hub\nhub:5432\nhub:5432:fleet:me\\:too\n:::\n*:*:*:*:\n\\", &["hub"]), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_not_used_and_one_that_is_missing_is_no_matter() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pgpass");
        let wanted = Wanted { hosts: &["hub"], port: 1, database: "d", user: "u" };
        assert_eq!(look_up(&path, &wanted), Ok(None));
        fs::write(&path, "*:*:*:*:hunter2\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        assert_eq!(look_up(&path, &wanted), Ok(Some(Secret::new("hunter2"))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        let warning = look_up(&path, &wanted).expect_err("others can read it");
        assert!(warning.contains("chmod 600") && !warning.contains("hunter2"), "{warning}");
        assert!(look_up(folder.path(), &wanted).expect_err("a folder").contains("not a plain file"));
    }
}
