//! Says plainly why there is no connection, or what went wrong on one.

use std::error::Error as StdError;
use std::io;

use aqe_sync_core::{Error, ErrorKind, Retry};
use rustls::CertificateError;
use tokio_postgres::error::SqlState;

use super::address::{Address, Endpoint};
use super::sqlstate;

/// How the driver's messages begin; it keeps their kinds to itself.
const DRIVER_TLS: &str = "error performing TLS handshake";
const DRIVER_IO: &str = "error communicating with the server";
const DRIVER_AUTHENTICATION: &str = "authentication error";
const DRIVER_CONFIGURATION: &str = "invalid configuration";
const DRIVER_PROTOCOL: [&str; 2] = ["unexpected message from server", "error parsing response from server"];

const GOES_ON: &str = "what was committed is stored, and the next run goes on from there";

/// No byte could be sent.
pub(super) fn of_opening(address: &Address, error: io::Error) -> Error {
    let place = match &address.endpoint {
        Endpoint::Tcp(host) => format!("{host} port {}", address.port),
        Endpoint::Unix(_) => address.socket().unwrap_or_default().display().to_string(),
    };
    let check = "check that the server (or the tunnel to it) is running, and the host and port of the hub's address";
    let (kind, retry, what, advice) = match (error.kind(), &address.endpoint) {
        (io::ErrorKind::ConnectionRefused, _) => {
            (ErrorKind::Io, Retry::Later, format!("nothing answers at {place}: connection refused"), check)
        }
        (io::ErrorKind::TimedOut, _) => return connect_timeout(address),
        (io::ErrorKind::NotFound, Endpoint::Tcp(host)) => {
            let passing = error.to_string().contains("emporary");
            let retry = if passing { Retry::Later } else { Retry::Never };
            let what = format!("the host {host:?} cannot be found: {error}");
            (ErrorKind::NotFound, retry, what, "check its spelling, and the network")
        }
        (io::ErrorKind::NotFound, Endpoint::Unix(_)) => {
            (ErrorKind::NotFound, Retry::Later, format!("there is no socket {place}"), check)
        }
        (io::ErrorKind::PermissionDenied, _) => {
            let what = format!("this user may not open {place}");
            (ErrorKind::PermissionDenied, Retry::Never, what, "check who may, or connect over TCP")
        }
        _ => (ErrorKind::Io, Retry::Later, format!("{place} cannot be reached: {error}"), check),
    };
    Error::new(kind, what).retry(retry).advice(advice).caused_by(error)
}

/// Nobody answered in time.
pub(super) fn connect_timeout(address: &Address) -> Error {
    let seconds = address.limits.connect.as_secs_f64();
    let advice = "check that the server is up and that no firewall is in between; for a slow link raise connect_timeout \
                  in the hub's URL";
    let error = Error::new(ErrorKind::Io, format!("no answer within {seconds} s")).retry(Retry::Later).advice(advice);
    connecting(address, error)
}

/// There was a stream of bytes, but no session.
pub(super) fn of_start(address: &Address, error: tokio_postgres::Error) -> Error {
    let plain = match error.as_db_error() {
        Some(said) => sqlstate::explained(address, said),
        None if is_about_tls(&error) => tls(address, &error),
        None => login(address, &error),
    };
    connecting(address, plain).caused_by(error)
}

/// A call on a session failed. `reason` is why the connection ended, where that is known.
pub(super) fn of_call(
    address: &Address,
    operation: &str,
    error: tokio_postgres::Error,
    reason: Option<&tokio_postgres::Error>,
) -> Error {
    let telling = reason.unwrap_or(&error);
    let plain = match telling.as_db_error() {
        Some(said) => sqlstate::explained(address, said),
        None if error.is_closed() || is_io(telling) => {
            let why = reason.or(Some(&error)).and_then(|error| error.source());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Error::new(ErrorKind::Io, format!("the connection to the server was lost{why}"))
                .retry(Retry::Later)
                .advice(GOES_ON)
        }
        None => Error::internal(format!("the driver failed: {}", chain(telling))),
    };
    plain.during(operation).context("hub", address.shown()).caused_by(error)
}

/// Whether the handshake failed, or the server wants no TLS from here: then `sslmode=prefer` goes without.
pub(super) fn may_do_without_tls(error: &tokio_postgres::Error) -> bool {
    is_about_tls(error) || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with(DRIVER_TLS)
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with(DRIVER_IO)
}

/// The address is said once, here.
pub(super) fn connecting(address: &Address, error: Error) -> Error {
    error.during(format!("connecting to {}", address.shown()))
}

fn login(address: &Address, error: &tokio_postgres::Error) -> Error {
    let text = error.to_string();
    let user = address.user();
    if error.is_closed() || is_io(error) {
        return Error::new(ErrorKind::Io, format!("the server broke the connection off: {}", chain(error)))
            .retry(Retry::Later)
            .advice("look into the server's log if it stays so");
    }
    if text.starts_with(DRIVER_CONFIGURATION) && !address.has_password() {
        let what = format!("the server asks for a password of user {user:?}, and none is given");
        return Error::new(ErrorKind::PermissionDenied, what)
            .advice("give it in PGPASSWORD, in the password file (~/.pgpass) or in the hub's URL");
    }
    if text.starts_with(DRIVER_AUTHENTICATION) {
        return Error::new(ErrorKind::PermissionDenied, format!("user {user:?} cannot log in: {}", chain(error)))
            .advice("the server must ask for a password (scram-sha-256 or md5) or a certificate, or trust this user");
    }
    if DRIVER_PROTOCOL.iter().any(|start| text.starts_with(start)) {
        let what = format!("what answers there does not speak PostgreSQL's protocol: {}", chain(error));
        return Error::new(ErrorKind::Invalid, what).advice("check the host and port of the hub's address");
    }
    Error::internal(format!("the driver failed: {}", chain(error)))
}

fn tls(address: &Address, error: &tokio_postgres::Error) -> Error {
    let mode = address.ssl_mode.word();
    let Some(io) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) else {
        return Error::new(ErrorKind::Refused, format!("the server offers no TLS, which sslmode={mode} asks for"))
            .advice("turn `ssl` on at the server; where the link is protected otherwise, as by a tunnel, use sslmode=prefer");
    };
    // An I/O error that carries another one names that one's source as its own.
    let Some(cause) = io.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return Error::new(ErrorKind::Io, format!("the connection broke in the TLS handshake: {io}"))
            .retry(Retry::Later)
            .advice("look into the server's log if it stays so");
    };
    match cause {
        rustls::Error::InvalidCertificate(problem) => certificate(address, problem),
        other => Error::new(ErrorKind::Refused, format!("the TLS handshake failed: {other}"))
            .advice("look into the server's log; it may ask for a certificate of yours (sslcert and sslkey)"),
    }
}

fn certificate(address: &Address, problem: &CertificateError) -> Error {
    let roots = match address.roots_file() {
        Some(path) => format!("by {}", path.display()),
        None => "by this system".to_owned(),
    };
    let (what, advice) = match problem {
        CertificateError::UnknownIssuer => (
            format!("the server's certificate is not signed by an authority that is known {roots}"),
            "give the authority's certificate with sslrootcert=FILE in the hub's URL",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the server's certificate is not for the name {:?}: {problem}", address.host()),
            "connect by a name that is in it; sslmode=verify-ca does not compare names",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the server's certificate is too old: {problem}"),
            "let the server have a new one; check this clock",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (format!("the server's certificate is not valid yet: {problem}"), "check the clocks here and at the server")
        }
        other => (
            format!("the server's certificate cannot be checked: {other}"),
            "give the server another certificate, or give exactly this one with sslrootcert=FILE",
        ),
    };
    Error::new(ErrorKind::Refused, what).advice(advice)
}

/// The message of an error and of what caused it; the driver's own messages say only where.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
