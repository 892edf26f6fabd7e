//! Google Secret Manager, over its REST interface.
//!
//! One call, so that Google's own client, with some 300 packages, is not needed:
//! `GET /v1/projects/P/secrets/S/versions/V:access`, as documented in
//! <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access>.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;

use super::{LONGEST, PasswordSource, Secret, SecretName, password_of, told};
use crate::postgres::link::chain;
use crate::tunnel::{TokenSource, choose_tls_provider};

const ENDPOINT: &str = "https://secretmanager.googleapis.com";
/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(20);
/// The polynomial of Castagnoli: what Google calls CRC32C.
const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// A secret in Google Secret Manager.
///
/// ```
/// use std::sync::Arc;
///
/// use aqe_cloud::secret::SecretManager;
/// use aqe_cloud::tunnel::{GoogleCredentials, Places};
///
/// let tokens = Arc::new(GoogleCredentials::discover(Places::default()));
/// let secret = SecretManager::new("gcp-secret://my-project/hub-password".parse()?, tokens);
/// # Ok::<_, aqe_sync_core::Error>(())
/// ```
pub struct SecretManager {
    name: SecretName,
    tokens: Arc<dyn TokenSource>,
    endpoint: String,
}

impl SecretManager {
    /// A secret that is read with the tokens of that source.
    pub fn new(name: SecretName, tokens: Arc<dyn TokenSource>) -> Self {
        Self { name, tokens, endpoint: ENDPOINT.to_owned() }
    }

    /// Asks another service than Google's public one: a private endpoint, or a test's.
    ///
    /// # Errors
    /// When it is no URL, or the token would travel over a network unencrypted.
    pub fn endpoint(mut self, url: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::new(ErrorKind::Invalid, format!("the address of Secret Manager {what}"))
                .advice(format!("leave it out for {ENDPOINT}"))
        };
        let parsed = Url::parse(url).map_err(|error| wrong(&format!("is no URL: {error}")))?;
        let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && is_here) {
            return Err(wrong("has to begin with https://, except on this machine"));
        }
        if !parsed.username().is_empty() || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong("has to be a scheme and a host, and no more than a port and a path behind it"));
        }
        url.trim_end_matches('/').clone_into(&mut self.endpoint);
        Ok(self)
    }

    fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("{} {what}", self.origin()))
    }

    async fn ask(&self) -> Result<Secret> {
        let token = self.tokens.token().await.map_err(|error| error.context("secret", &self.name))?;
        let response = self.call(&token).await?;
        let status = response.status();
        let body = self.read(response).await?;
        if status == StatusCode::OK {
            return self.opened(&body);
        }
        Err(self.refused(status, &body, &token))
    }

    async fn call(&self, token: &Secret) -> Result<Response> {
        choose_tls_provider();
        let internal = |what: &str| Error::internal(format!("no call to Secret Manager can be made: {what}"));
        let client = Client::builder().redirect(redirect::Policy::none()).timeout(LIMIT).build();
        let client = client.map_err(|error| internal(&chain(&error)))?;
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut header = HeaderValue::from_str(&bearer).map_err(|_| internal("the token is no header"))?;
        header.set_sensitive(true);
        let url = format!("{}/v1/{}:access", self.endpoint, self.name.resource());
        client.get(url).header(AUTHORIZATION, header).send().await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        self.error(ErrorKind::Io, &format!("cannot be had: {} does not answer: {}", self.endpoint, chain(error)))
            .retry(Retry::Later)
            .advice("check the network, and HTTPS_PROXY where there is a proxy")
    }

    /// The whole answer; one that is too long is none.
    async fn read(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>> {
        // The payload is at most 64 KiB, a third more in base64. Not grown, as that is not zeroed.
        let limit = LONGEST * 2;
        let mut body = Zeroizing::new(Vec::with_capacity(limit));
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + part.len() > limit {
                return Err(self.error(ErrorKind::Malformed, "cannot be had: the answer is longer than a secret"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    fn opened(&self, body: &[u8]) -> Result<Secret> {
        let damaged = |what: &str| {
            self.error(ErrorKind::Malformed, &format!("cannot be had: {what}"))
                .advice("check that the address of Secret Manager is Google's")
        };
        // The parser's own words would repeat the answer.
        let answer: Answer<'_> = serde_json::from_slice(body)
            .map_err(|error| damaged(&format!("the answer is not what is documented, at column {}", error.column())))?;
        let data = answer.payload.data.as_bytes();
        let payload = STANDARD.decode(data).or_else(|_| URL_SAFE.decode(data));
        let payload = Zeroizing::new(payload.map_err(|_| damaged("its payload is not base64"))?);
        let checksum = CHECKSUM.checksum(&payload);
        if answer.payload.checksum.is_some_and(|said| !said.is(checksum)) {
            return Err(damaged("it was damaged on its way: the checksum differs").retry(Retry::Later));
        }
        password_of(&payload, &self.origin())
    }

    /// What the service says instead; the codes are those of Google's APIs.
    fn refused(&self, status: StatusCode, body: &[u8], token: &Secret) -> Error {
        let said: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let message = told(&said.error.message, &[token.expose()]);
        let message = if message.is_empty() { status.to_string() } else { format!("{message} ({status})") };
        let (kind, retry, advice) = match status.as_u16() {
            401 => (ErrorKind::PermissionDenied, Retry::Never, "log in anew: gcloud auth application-default login"),
            403 => (
                ErrorKind::PermissionDenied,
                Retry::Never,
                "grant the role Secret Manager Secret Accessor (roles/secretmanager.secretAccessor) on this secret, \
                 and see that the API is enabled in its project",
            ),
            404 => (
                ErrorKind::NotFound,
                Retry::Never,
                "check project, secret and version; list them with gcloud secrets versions list",
            ),
            400 | 409 | 412 => (
                ErrorKind::Invalid,
                Retry::Never,
                "a version that is disabled or destroyed cannot be read: name another, or enable it",
            ),
            429 => (ErrorKind::Io, Retry::Later, "the quota of the project is used up for now: try again later"),
            500.. => (ErrorKind::Io, Retry::Later, "the service has trouble: try again later"),
            _ => (ErrorKind::Malformed, Retry::Never, "check that the address of Secret Manager is Google's"),
        };
        let origin = self.tokens.origin();
        self.error(kind, &format!("cannot be had: {message}")).retry(retry).advice(advice).context("asked with", origin)
    }
}

impl PasswordSource for SecretManager {
    fn password(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(self.ask())
    }

    fn origin(&self) -> String {
        self.name.to_string()
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    data: Cow<'a, str>,
    #[serde(rename = "dataCrc32c")]
    checksum: Option<Checksum>,
}

/// A 64-bit number, which JSON of Google's APIs has as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Checksum {
    Text(String),
    Number(u64),
}

impl Checksum {
    fn is(&self, checksum: u32) -> bool {
        match self {
            Self::Text(text) => text.parse() == Ok(u64::from(checksum)),
            Self::Number(number) => *number == u64::from(checksum),
        }
    }
}

#[derive(Default, Deserialize)]
struct Refusal {
    error: Said,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
}
