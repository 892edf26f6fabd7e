//! Where the hub is: what `--hub`, `AQE_HUB` and the file's `hub` accept.

use std::fmt;
use std::path::{Path, PathBuf};

use aqe_cloud::secret::Secret;

use super::secret::mask;
use super::tunnel::Tunnel;

/// A hub, named by a URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Hub {
    /// One local file.
    Embedded {
        /// Where it is.
        path: PathBuf,
        /// The same as it was given.
        given: String,
    },
    /// A database server; the URL may hold a password.
    Postgres(Secret),
    /// A database server on Google Cloud.
    Tunnel(Box<Tunnel>),
}

impl Hub {
    /// Reads a hub URL; paths are relative to `root`, `~/` is `home`.
    ///
    /// # Errors
    /// What is wrong with it, without repeating a password.
    pub(crate) fn parse(text: &str, root: &Path, home: Option<&Path>) -> Result<Self, String> {
        let trimmed = text.trim();
        let lower = trimmed.to_ascii_lowercase();
        if lower.starts_with("postgres://") || lower.starts_with("postgresql://") {
            return Ok(Self::Postgres(Secret::new(trimmed)));
        }
        if !lower.starts_with("sqlite:") || trimmed.contains('@') && trimmed["sqlite:".len()..].contains("://") {
            return Err(format!(
                "{:?} is not a hub: use sqlite:PATH for a local file or postgres://USER@HOST/DATABASE",
                mask(trimmed)
            ));
        }
        let given = &trimmed["sqlite:".len()..];
        let given = given.strip_prefix("//").unwrap_or(given);
        if given.is_empty() || given == ":memory:" {
            return Err(format!("{trimmed:?} names no file: use sqlite:PATH, for instance sqlite:.aqe-sync/hub.db"));
        }
        let path = match given.strip_prefix("~/") {
            Some(rest) => {
                home.ok_or("~/ cannot be expanded, as there is no home directory: give the whole path")?.join(rest)
            }
            None => root.join(given),
        };
        Ok(Self::Embedded { path, given: given.to_owned() })
    }

    /// Whether its URL holds a password.
    pub(crate) fn holds_password(&self) -> bool {
        matches!(self, Self::Postgres(url) if mask(url.expose()) != url.expose())
    }
}

/// As it is shown: without passwords.
impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What begins with slashes would lose two of them when it is read again.
            Self::Embedded { given, .. } if given.starts_with("//") => write!(f, "sqlite://{given}"),
            Self::Embedded { given, .. } => write!(f, "sqlite:{given}"),
            Self::Postgres(url) => f.write_str(&mask(url.expose())),
            Self::Tunnel(tunnel) => tunnel.fmt(f),
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        match Hub::parse(text, Path::new("/project"), Some(Path::new("/home/me"))) {
            Ok(Hub::Embedded { path, .. }) => path,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_shown_of_a_hub_leads_to_the_same_hub() {
        for text in
            ["sqlite:////data/hub.db", "sqlite:///data/hub.db", "sqlite:/data/hub.db", "sqlite:hub.db", "sqlite:~/h"]
        {
            let hub = Hub::parse(text, Path::new("/project"), Some(Path::new("/home/me"))).expect(text);
            assert_eq!(path(&hub.to_string()), path(text), "{text}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_root_and_home_expands() {
        assert_eq!(path("sqlite:.aqe-sync/hub.db"), Path::new("/project/.aqe-sync/hub.db"));
        assert_eq!(path("sqlite:/data/hub.db"), Path::new("/data/hub.db"));
        assert_eq!(path("sqlite:///data/hub.db"), Path::new("/data/hub.db"));
        assert_eq!(path("sqlite:~/hub.db"), Path::new("/home/me/hub.db"));
        assert_eq!(path("SQLite:me@work/hub.db"), Path::new("/project/me@work/hub.db"));
    }

    #[test]
    fn what_is_no_hub_is_refused_with_what_to_write() {
        for text in ["", "hub.db", "mysql://host/db", "sqlite:", "sqlite::memory:", "postgres:host"] {
            let problem = Hub::parse(text, Path::new("/"), None).expect_err(text);
            assert!(problem.contains("sqlite:"), "{problem}");
        }
        assert!(Hub::parse("sqlite:~/hub.db", Path::new("/"), None).is_err());
    }

    #[test]
    fn no_way_to_print_a_hub_shows_its_password() {
        for text in ["postgres://u:hunter2@h/db", "PostgreSQL://u:hunter2@h/db?password=hunter2"] {
            let hub = Hub::parse(text, Path::new("/"), None).expect("a hub");
            assert!(!format!("{hub} {hub:?} {:#?}", Some(&hub)).contains("hunter2"));
        }
        for text in ["postgre://u:hunter2@h/db", "u:hunter2@h", "sqlite:postgres://u:hunter2@h"] {
            assert!(!Hub::parse(text, Path::new("/"), None).expect_err(text).contains("hunter2"));
        }
    }
}
