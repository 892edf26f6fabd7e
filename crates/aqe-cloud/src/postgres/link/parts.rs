//! What is known of an address, from whom ever, until it is complete.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result};

use super::address::{Address, ChannelBinding, ClientCertificate, Endpoint, Limits, Password, Roots, SslMode};
use super::passfile::{self, Wanted};
use super::url;
use crate::secret::{Asked, PasswordSource, Secret};

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_APPLICATION: &str = "aqe-sync";

/// The parts of an address: a URL's, a caller's, or one filled up by the other.
///
/// What is missing is as with libpq: port 5432, the operating system's user name as the user, the
/// user's name as the database, `sslmode=prefer`; the host is `localhost`. A password is taken from
/// the URL, else from [`AddressParts::default_password`], else from [`AddressParts::password_source`],
/// else from the password file.
///
/// ```
/// use aqe_cloud::postgres::link::{AddressParts, Secret};
///
/// let address = AddressParts::parse("postgres://me@hub.example/fleet?sslmode=verify-full")?
///     .default_password(Secret::new("hunter2"))
///     .build()?;
/// assert_eq!(address.shown(), "postgres://me@hub.example:5432/fleet");
///
/// let tunnel = AddressParts::new().host("localhost").port(15432).database("fleet").user("me").build()?;
/// assert_eq!(tunnel.shown(), "postgres://me@localhost:15432/fleet");
/// # Ok::<_, aqe_sync_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AddressParts {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) database: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) roots: Option<Roots>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) channel_binding: Option<ChannelBinding>,
    pub(super) application_name: Option<String>,
    pub(super) options: Option<String>,
    pub(super) limits: Limits,
    system_user: Option<String>,
    password_source: Option<Arc<Asked>>,
    password_file: Option<PathBuf>,
}

impl AddressParts {
    /// Starts with nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a `postgres://` or `postgresql://` URL apart.
    ///
    /// # Errors
    /// What is wrong with the URL, without repeating any part of it that may belong to a password.
    pub fn parse(url: &str) -> Result<Self> {
        url::parse(url)
    }

    /// Sets the host: a name, an address (IPv6 without brackets), or the folder of a Unix socket.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the database.
    #[must_use]
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.database = Some(database.into());
        self
    }

    /// Sets the database user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password that is used unless the URL has one.
    #[must_use]
    pub fn default_password(mut self, password: Secret) -> Self {
        self.password.get_or_insert(password);
        self
    }

    /// Sets who is asked for the password when connecting, unless it is known by then.
    #[must_use]
    pub fn password_source(mut self, source: Arc<dyn PasswordSource>) -> Self {
        self.password_source = Some(Arc::new(Asked::new(source)));
        self
    }

    /// Sets the password file, in the format of libpq's `.pgpass`, that is read when nothing else gives a password.
    #[must_use]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// Sets the operating system's name of the user, which is the database user unless one is given.
    #[must_use]
    pub fn system_user(mut self, name: impl Into<String>) -> Self {
        self.system_user = Some(name.into());
        self
    }

    /// Sets how far the link must be protected.
    #[must_use]
    pub fn ssl_mode(mut self, mode: SslMode) -> Self {
        self.ssl_mode = Some(mode);
        self
    }

    /// Sets which certificate authorities are known.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Sets how long connecting may take as a whole; zero is "for ever", 15 seconds the default.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// Sets how long one statement may run on the server; zero is "for ever", 10 minutes the default.
    #[must_use]
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.limits.statement = limit;
        self
    }

    /// Sets how long one statement may wait for a lock; zero is "for ever", one minute the default.
    #[must_use]
    pub fn lock_timeout(mut self, limit: Duration) -> Self {
        self.limits.lock = limit;
        self
    }

    /// Completes and checks the address. Reads the password file, if one is set and needed.
    ///
    /// # Errors
    /// What is missing, or what cannot be together.
    pub fn build(self) -> Result<Address> {
        let user = self.user.clone().or(self.system_user.clone()).filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| {
            invalid("no user is named").advice("name one before the host: postgres://USER@HOST/DATABASE")
        })?;
        let database = self.database.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
        let endpoint = endpoint(self.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(DEFAULT_HOST))?;
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let application_name = self.application_name.clone().unwrap_or_else(|| DEFAULT_APPLICATION.to_owned());
        let texts = [Some(&user), Some(&database), Some(&application_name), self.options.as_ref()];
        let password = self.password.as_ref().map(Secret::expose);
        if texts.into_iter().flatten().map(String::as_str).chain(password).any(|text| text.contains('\0')) {
            return Err(invalid("PostgreSQL takes no NUL byte in names, passwords and options"));
        }
        let client_certificate = match (&self.certificate, &self.key) {
            (Some(chain), Some(key)) => Some(ClientCertificate { chain: chain.clone(), key: key.clone() }),
            (None, None) => None,
            _ => return Err(invalid("sslcert and sslkey belong together, and only one of them is given")),
        };
        let mut address = Address {
            endpoint,
            port,
            database,
            user,
            password: self.password.map(Password::Given).or(self.password_source.map(Password::Asked)),
            ssl_mode: ssl_mode(self.ssl_mode, self.roots.as_ref())?,
            roots: self.roots,
            client_certificate,
            channel_binding: self.channel_binding.unwrap_or(ChannelBinding::Prefer),
            application_name,
            options: self.options,
            limits: self.limits,
            warnings: Vec::new(),
        };
        if let (None, Some(path)) = (&address.password, &self.password_file) {
            look_up(&mut address, path);
        }
        Ok(address)
    }
}

pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what).during("reading the hub's address")
}

fn endpoint(host: &str) -> Result<Endpoint> {
    if host.contains(',') {
        return Err(invalid("several hosts are given, and a hub has one").advice("name the host that takes writes"));
    }
    if host.starts_with('/') {
        if !cfg!(unix) {
            return Err(invalid("Unix sockets are not to be had on this system").advice("name a host instead"));
        }
        if host.contains('\0') {
            return Err(invalid("the folder of the Unix socket has a NUL byte in it"));
        }
        return Ok(Endpoint::Unix(PathBuf::from(host)));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_address = bare.parse::<std::net::IpAddr>().is_ok() || bare.split_once('%').is_some_and(is_scoped);
    let is_name = !bare.chars().any(|c| c.is_whitespace() || c.is_control() || ":/\\@?#[]%".contains(c));
    if is_address || (is_name && bare == host) {
        return Ok(Endpoint::Tcp(bare.to_owned()));
    }
    Err(invalid("the host is neither a name nor an address").advice("an IPv6 address goes in brackets"))
}

/// `fe80::1%eth0`: a link-local address with its interface.
fn is_scoped((address, scope): (&str, &str)) -> bool {
    address.parse::<std::net::Ipv6Addr>().is_ok()
        && scope.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// With authorities to check against, `require` checks, and a mode that could not is a mistake: as with libpq.
fn ssl_mode(asked: Option<SslMode>, roots: Option<&Roots>) -> Result<SslMode> {
    Ok(match (asked, roots) {
        (None, Some(Roots::System)) | (Some(SslMode::VerifyFull), _) => SslMode::VerifyFull,
        (Some(mode), Some(Roots::System)) => {
            return Err(invalid(format!("sslmode={} is too weak for sslrootcert=system", mode.word()))
                .advice("anybody can have a certificate of a public authority: use sslmode=verify-full"));
        }
        (Some(SslMode::Require), Some(Roots::File(_))) => SslMode::VerifyCa,
        (mode, _) => mode.unwrap_or(SslMode::Prefer),
    })
}

fn look_up(address: &mut Address, path: &std::path::Path) {
    let host = address.host();
    let hosts: &[&str] = match address.endpoint {
        Endpoint::Tcp(_) => &[&host],
        Endpoint::Unix(_) => &["localhost", &host],
    };
    let wanted = Wanted { hosts, port: address.port, database: &address.database, user: &address.user };
    match passfile::look_up(path, &wanted) {
        Ok(found) => address.password = found.map(Password::Given),
        Err(warning) => address.warnings.push(warning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_as_with_libpq() {
        let address = AddressParts::new().system_user("me").build().expect("complete");
        assert_eq!(address.shown(), "postgres://me@localhost:5432/me");
        assert_eq!(address.ssl_mode(), SslMode::Prefer);
        assert!(!address.has_password());
        let address = AddressParts::new().system_user("me").user("you").build().expect("complete");
        assert_eq!(address.shown(), "postgres://you@localhost:5432/you");
        let error = AddressParts::new().host("hub").build().expect_err("nobody");
        assert!(error.to_string().contains("no user is named"), "{error}");
    }

    #[test]
    fn a_password_of_the_url_goes_before_the_arguments_and_that_before_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pgpass");
        std::fs::write(&file, "hub:5432:fleet:me:filed\n").expect("written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let password = |url: &str, argument: Option<&str>| {
            let parts = AddressParts::parse(url).expect("a URL").password_file(&file);
            let parts = argument.into_iter().fold(parts, |parts, text| parts.default_password(Secret::new(text)));
            parts.build().expect("complete").given().map(str::to_owned)
        };
        assert_eq!(password("postgres://me:url@hub/fleet", Some("argument")).as_deref(), Some("url"));
        assert_eq!(password("postgres://me@hub/fleet", Some("argument")).as_deref(), Some("argument"));
        assert_eq!(password("postgres://me@hub/fleet", None).as_deref(), Some("filed"));
        assert_eq!(password("postgres://you@hub/fleet", None), None);
    }

    #[test]
    fn known_authorities_make_the_weaker_modes_check() {
        let mode = |query: &str| {
            AddressParts::parse(&format!("postgres://me@hub/?{query}"))
                .and_then(AddressParts::build)
                .map(|address| address.ssl_mode())
        };
        assert_eq!(mode("sslmode=require&sslrootcert=/ca.pem").ok(), Some(SslMode::VerifyCa));
        assert_eq!(mode("sslmode=allow&sslrootcert=/ca.pem").ok(), Some(SslMode::Prefer));
        assert_eq!(mode("sslrootcert=system").ok(), Some(SslMode::VerifyFull));
        assert!(mode("sslmode=require&sslrootcert=system").is_err());
        assert!(mode("sslcert=/me.pem").is_err());
    }

    #[test]
    fn hosts_that_cannot_be_are_refused_without_trying() {
        for host in ["a,b", "a b", "a@b", "::1:x", "[hub]", "a\n", "a\0", "%2Fx", "1::2::3"] {
            assert!(AddressParts::new().user("me").host(host).build().is_err(), "{host:?}");
        }
        for (host, shown) in [
            ("::1", "postgres://me@[::1]:5432/me"),
            ("[::1]", "postgres://me@[::1]:5432/me"),
            ("fe80::1%eth0", "postgres://me@[fe80::1%25eth0]:5432/me"),
            ("/run/my pg", "postgres://me@/me?host=/run/my%20pg&port=5432"),
            ("my_hub.example.", "postgres://me@my_hub.example.:5432/me"),
        ] {
            assert_eq!(AddressParts::new().user("me").host(host).build().expect(host).shown(), shown);
        }
    }
}
