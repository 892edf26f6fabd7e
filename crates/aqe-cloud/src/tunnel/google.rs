//! Access tokens by Google's own library, and by gcloud where that has nothing to go by.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use futures::future::BoxFuture;
use google_cloud_auth::credentials::{
    AccessTokenCredentials, external_account, impersonated, mds, service_account, user_account,
};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::token::{TokenSource, checked};
use crate::postgres::link::{Secret, chain};

/// What tokens are for; what is allowed within it is for IAM to say.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA: &str = "http://metadata.google.internal";
/// How long it may take to see that there is no metadata server.
const METADATA_LIMIT: Duration = Duration::from_secs(1);
/// How long getting a token may take.
const LIMIT: Duration = Duration::from_secs(20);
/// gcloud does not say how long its token lasts; it gives none that is about to expire.
const GCLOUD_TOKEN_KEPT: Duration = Duration::from_secs(240);

/// Where credentials are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    /// A file that somebody named, as in `GOOGLE_APPLICATION_CREDENTIALS`: if it is given, nothing else counts.
    pub named: Option<PathBuf>,
    /// Where `gcloud auth application-default login` puts its file, if it is there.
    pub usual: Option<PathBuf>,
    /// The metadata server of the machine this runs on: Google's, unless said otherwise.
    pub metadata: String,
    /// The program that is asked last.
    pub gcloud: String,
}

impl Default for Places {
    fn default() -> Self {
        Self { named: None, usual: None, metadata: METADATA.into(), gcloud: "gcloud".into() }
    }
}

/// Application-default credentials: a file (of a user, a service account or another identity that
/// Google's library knows), else the metadata server, else `gcloud auth print-access-token`.
///
/// Google's library replaces its tokens some minutes before they expire.
pub struct GoogleCredentials {
    places: Places,
    active: tokio::sync::Mutex<Option<Active>>,
}

impl fmt::Debug for GoogleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleCredentials").field("places", &self.places).finish_non_exhaustive()
    }
}

/// What the last token came from.
enum Active {
    Library {
        credentials: AccessTokenCredentials,
        /// Tokens are replaced by a task of the runtime that first asked, and end with it.
        runtime: tokio::runtime::Id,
    },
    Gcloud {
        token: Secret,
        until: Instant,
    },
}

impl GoogleCredentials {
    /// Looks in these places when a token is first wanted.
    pub fn discover(places: Places) -> Self {
        choose_tls_provider();
        Self { places, active: tokio::sync::Mutex::default() }
    }

    async fn current(&self) -> Result<Secret> {
        let mut active = self.active.lock().await;
        match active.as_ref() {
            Some(Active::Gcloud { token, until }) if *until > Instant::now() => return Ok(token.clone()),
            Some(Active::Library { credentials, runtime }) if *runtime == Handle::current().id() => {
                let token = token_of(credentials, &self.origin()).await;
                if token.is_err() {
                    // Somebody may log in anew meanwhile.
                    *active = None;
                }
                return token;
            }
            _ => {}
        }
        let (token, now_active) = self.find().await?;
        *active = Some(now_active);
        Ok(token)
    }

    fn file(&self) -> Option<&Path> {
        let usual = self.places.usual.as_deref().filter(|path| path.exists());
        self.places.named.as_deref().or(usual)
    }

    async fn find(&self) -> Result<(Secret, Active)> {
        if let Some(path) = self.file() {
            return library(read(path), &self.origin()).await;
        }
        let metadata = self.ask_metadata().await;
        if let Some(Ok(found)) = metadata {
            return Ok(found);
        }
        let token = self.ask_gcloud().await.map_err(|error| match metadata {
            Some(Err(before)) => error.context("the metadata server said", before.message()),
            _ => error,
        })?;
        let until = Instant::now() + GCLOUD_TOKEN_KEPT;
        Ok((token.clone(), Active::Gcloud { token, until }))
    }

    /// `None` where there is no such server.
    async fn ask_metadata(&self) -> Option<Result<(Secret, Active)>> {
        let endpoint = self.places.metadata.as_str();
        let host = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
        let place = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        timeout(METADATA_LIMIT, TcpStream::connect(place)).await.ok()?.ok()?;
        let builder = mds::Builder::default().with_scopes([SCOPE]);
        let builder = if endpoint == METADATA { builder } else { builder.with_endpoint(endpoint) };
        let built = builder.build_access_token_credentials();
        Some(library(built.map_err(|error| unusable("the metadata server", &error)), "the metadata server").await)
    }

    async fn ask_gcloud(&self) -> Result<Secret> {
        let program = self.places.gcloud.clone();
        let failed = |error: io::Error| {
            let what = format!("there are no application-default credentials, and {program} cannot be run: {error}");
            Error::new(ErrorKind::NotFound, what).advice(LOG_IN)
        };
        let mut command = tokio::process::Command::new(&program);
        command.args(["auth", "print-access-token", "--quiet"]).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = timeout(LIMIT, command.output()).await;
        let output = output.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let what = format!(
                "there are no application-default credentials, and gcloud has no access token ({}): {}",
                output.status,
                said.split_whitespace().collect::<Vec<_>>().join(" ")
            );
            return Err(Error::new(ErrorKind::PermissionDenied, what).advice(LOG_IN));
        }
        checked(Secret::new(String::from_utf8_lossy(&output.stdout).trim()))
    }
}

/// The HTTP client leaves the choice to the program; a choice that was made already stays.
pub(crate) fn choose_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

impl TokenSource for GoogleCredentials {
    fn token(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(self.current())
    }

    fn origin(&self) -> String {
        match self.file() {
            Some(path) => format!("the credentials in {}", path.display()),
            None => "the metadata server or gcloud".to_owned(),
        }
    }
}

const LOG_IN: &str = "run gcloud auth application-default login, or name a service account's key file in \
                      GOOGLE_APPLICATION_CREDENTIALS";

/// The library's own reading of a file repeats parts of it in errors, so only its position is said.
fn read(path: &Path) -> Result<AccessTokenCredentials> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("the credentials in {place} cannot be read: {error}")).advice(LOG_IN).caused_by(error)
    })?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = format!("the credentials in {place} are not valid JSON at line {line} column {column}");
        Error::new(ErrorKind::Malformed, what).advice(LOG_IN)
    })?;
    let built = match json["type"].as_str().unwrap_or_default() {
        "authorized_user" => user_account::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials(),
        "service_account" => service_account::Builder::new(json)
            .with_access_specifier(service_account::AccessSpecifier::from_scopes([SCOPE]))
            .build_access_token_credentials(),
        "impersonated_service_account" => {
            impersonated::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials()
        }
        "external_account" => {
            external_account::Builder::new(json).with_scopes([SCOPE]).build_access_token_credentials()
        }
        _ => {
            let what = format!("the credentials in {place} are of no type that is known here");
            return Err(Error::new(ErrorKind::Invalid, what).advice(LOG_IN));
        }
    };
    built.map_err(|error| unusable(&format!("the credentials in {place}"), &error))
}

async fn library(built: Result<AccessTokenCredentials>, origin: &str) -> Result<(Secret, Active)> {
    let credentials = built?;
    let token = token_of(&credentials, origin).await?;
    Ok((token, Active::Library { credentials, runtime: Handle::current().id() }))
}

async fn token_of(credentials: &AccessTokenCredentials, origin: &str) -> Result<Secret> {
    let asked = timeout(LIMIT, credentials.access_token()).await.map_err(|_| {
        let what = format!("no access token came from {origin} within {} s", LIMIT.as_secs());
        Error::new(ErrorKind::Io, what).retry(Retry::Later).advice("check the network")
    })?;
    let token = asked.map_err(|error| {
        let what = format!("no access token can be had from {origin}: {}", chain(&error));
        if error.is_transient() {
            return Error::new(ErrorKind::Io, what).retry(Retry::Later).advice("check the network");
        }
        Error::new(ErrorKind::PermissionDenied, what).advice(LOG_IN)
    })?;
    checked(Secret::new(token.token))
}

fn unusable(origin: &str, error: &dyn StdError) -> Error {
    Error::new(ErrorKind::Invalid, format!("{origin} cannot be used: {}", chain(error))).advice(LOG_IN)
}
