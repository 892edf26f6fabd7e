//! Where a hub is, and how it is to be reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqe_sync_core::Result;

use super::url::encoded;
use crate::secret::{Asked, Secret};

/// How far the link must be protected; libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS where the server offers it, without checking who the server is. libpq's `allow` is taken as this.
    Prefer,
    /// TLS or nothing, without checking who the server is.
    Require,
    /// TLS with a certificate of a known authority, whatever name is on it.
    VerifyCa,
    /// TLS with a certificate of a known authority that names the host.
    VerifyFull,
}

impl SslMode {
    /// Returns libpq's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word {
            "disable" => Some(Self::Disable),
            "allow" | "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }
}

/// Which certificate authorities are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// The client's own certificate, for servers that ask for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// Whether the password exchange is tied to the TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// The end of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(String),
    /// The folder of the Unix socket.
    Unix(PathBuf),
}

/// How long the server may take, as PostgreSQL's parameters; zero is "for ever".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) statement: Duration,
    pub(super) lock: Duration,
    pub(super) idle_in_transaction: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            statement: Duration::from_secs(600),
            lock: Duration::from_secs(60),
            idle_in_transaction: Duration::from_secs(600),
        }
    }
}

/// A password, or whom to ask for it.
#[derive(Clone, Debug)]
pub(super) enum Password {
    Given(Secret),
    Asked(Arc<Asked>),
}

/// Where a hub is and how to reach it: complete, and checked as far as that goes without trying.
///
/// Made by [`super::AddressParts::build`]. Neither `Display` nor `Debug` shows the password.
#[derive(Clone)]
pub struct Address {
    pub(super) endpoint: Endpoint,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: Option<Password>,
    pub(super) ssl_mode: SslMode,
    pub(super) roots: Option<Roots>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) channel_binding: ChannelBinding,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    pub(super) limits: Limits,
    pub(super) warnings: Vec<String>,
}

impl Address {
    /// Returns `postgres://user@host:port/database`: all that tells one hub from another, and no secret.
    pub fn shown(&self) -> String {
        let (user, database) = (encoded(&self.user), encoded(&self.database));
        match &self.endpoint {
            Endpoint::Tcp(host) if host.contains(':') => {
                // An interface follows behind a %, which a URL has as %25 (RFC 6874).
                format!("postgres://{user}@[{}]:{}/{database}", host.replace('%', "%25"), self.port)
            }
            Endpoint::Tcp(host) => format!("postgres://{user}@{}:{}/{database}", encoded(host), self.port),
            Endpoint::Unix(folder) => {
                let folder = folder.to_string_lossy();
                let folder: Vec<_> = folder.split('/').map(encoded).collect();
                format!("postgres://{user}@/{database}?host={}&port={}", folder.join("/"), self.port)
            }
        }
    }

    /// Returns the host's name or address, or the folder of the Unix socket.
    pub fn host(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(host) => host.clone(),
            Endpoint::Unix(folder) => folder.display().to_string(),
        }
    }

    /// Returns the port; for a Unix socket, the number in its file's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the name of the database user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns whether a password was given or found, or somebody will be asked for it.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Returns who is asked for the password, where that is so: `the command pass`.
    pub fn password_origin(&self) -> Option<String> {
        match &self.password {
            Some(Password::Asked(asked)) => Some(asked.origin()),
            Some(Password::Given(_)) | None => None,
        }
    }

    /// The password, from whoever has it, and whether there may be another by now. `refused` is one
    /// that the server did not accept.
    pub(super) async fn password(&self, refused: Option<&Secret>) -> Result<(Option<Secret>, bool)> {
        match &self.password {
            Some(Password::Given(password)) => Ok((Some(password.clone()), false)),
            Some(Password::Asked(asked)) => {
                asked.password(refused).await.map(|(password, from_before)| (Some(password), from_before))
            }
            None => Ok((None, false)),
        }
    }

    /// The password where it was given.
    #[cfg(test)]
    pub(super) fn given(&self) -> Option<&str> {
        match &self.password {
            Some(Password::Given(password)) => Some(password.expose()),
            Some(Password::Asked(_)) | None => None,
        }
    }

    /// Returns how far the link must be protected.
    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// Returns how long connecting may take as a whole; zero is "for ever".
    pub fn connect_timeout(&self) -> Duration {
        self.limits.connect
    }

    /// Returns what was odd, such as a password file that others can read, and so was not used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the path of the Unix socket, if it is one.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        match &self.endpoint {
            Endpoint::Unix(folder) => Some(folder.join(format!(".s.PGSQL.{}", self.port))),
            Endpoint::Tcp(_) => None,
        }
    }

    /// Returns the driver's configuration: what goes into the startup packet.
    pub(super) fn config(
        &self,
        tls: tokio_postgres::config::SslMode,
        password: Option<&Secret>,
    ) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.database)
            .application_name(&self.application_name)
            .options(self.startup_options())
            .ssl_mode(tls)
            .channel_binding(match self.channel_binding {
                ChannelBinding::Disable => tokio_postgres::config::ChannelBinding::Disable,
                ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
                ChannelBinding::Require => tokio_postgres::config::ChannelBinding::Require,
            });
        if let Some(password) = password {
            config.password(password.expose());
        }
        config
    }

    /// Settings of the session, sent with the startup packet so that they cost no round trip.
    ///
    /// A later one overrides an earlier: limits first, then what the user asks for, then what our
    /// reading of values relies on.
    fn startup_options(&self) -> String {
        let millis = |limit: Duration| limit.as_millis();
        let limits = format!(
            "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={}",
            millis(self.limits.statement),
            millis(self.limits.lock),
            millis(self.limits.idle_in_transaction),
        );
        let asked = self.options.as_deref().map(|options| format!(" {options}")).unwrap_or_default();
        format!(
            "{limits}{asked} -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 \
             -c standard_conforming_strings=on"
        )
    }

    pub(super) fn roots_file(&self) -> Option<&Path> {
        match &self.roots {
            Some(Roots::File(path)) => Some(path),
            Some(Roots::System) | None => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("hub", &self.shown())
            .field("password", &self.password)
            .field("ssl_mode", &self.ssl_mode)
            .field("roots", &self.roots)
            .field("client_certificate", &self.client_certificate)
            .field("application_name", &self.application_name)
            .field("limits", &self.limits)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}
