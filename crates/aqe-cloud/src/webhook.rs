//! Telling a service something over HTTP: one request, tried again where that can help.

use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url, redirect};

use crate::postgres::link::chain;
use crate::secret::Secret;
use crate::tunnel::choose_tls_provider;

/// How long one try may take.
const LIMIT: Duration = Duration::from_secs(20);
/// The pauses before further tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// An address that is told something. Whoever knows it may tell things too, so it is a secret: it
/// is shown without what stands behind the host.
///
/// ```
/// use aqe_cloud::webhook::Webhook;
///
/// let webhook = Webhook::new("https://hooks.example/T0/B1/x9".into())?;
/// assert_eq!(webhook.shown(), "https://hooks.example/…");
/// # Ok::<_, aqe_sync_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Secret,
    shown: String,
}

impl Webhook {
    /// Takes an address.
    ///
    /// # Errors
    /// When it is no `http` or `https` URL.
    pub fn new(url: Secret) -> Result<Self> {
        let parsed = Url::parse(url.expose()).ok();
        let usable = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let parsed = usable.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the address is none that begins with https:// or http://")
                .advice("give it as the service shows it")
        })?;
        let port = parsed.port().map_or_else(String::new, |port| format!(":{port}"));
        let shown = format!("{}://{}{port}/…", parsed.scheme(), parsed.host_str().unwrap_or_default());
        Ok(Self { url, shown })
    }

    /// The address without what makes it a secret.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends JSON, or only calls the address where there is none. Blocks.
    ///
    /// # Errors
    /// When nobody takes it after three tries, or it is refused.
    pub fn send(&self, body: Option<&str>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Error::internal("no runtime for a request").caused_by(cause))?;
        runtime.block_on(async {
            let mut tries = PAUSES.iter();
            loop {
                let error = match self.once(body).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                };
                match tries.next().filter(|_| error.can_retry() == Retry::Later) {
                    Some(pause) => tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await,
                    None => return Err(error),
                }
            }
        })
    }

    async fn once(&self, body: Option<&str>) -> Result<()> {
        choose_tls_provider();
        let client = Client::builder().timeout(LIMIT).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| Error::internal(format!("no HTTP client: {}", chain(&error))))?;
        let request = match body {
            Some(body) => client.post(self.url.expose()).header(CONTENT_TYPE, "application/json").body(body.to_owned()),
            None => client.get(self.url.expose()),
        };
        // Without its URL, which is the secret.
        let answer = request.send().await.map_err(|error| {
            let error = error.without_url();
            self.error(ErrorKind::Io, &format!("does not answer: {}", chain(&error)))
                .retry(Retry::Later)
                .advice("check the network, and HTTPS_PROXY where there is a proxy")
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let later = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        let retry = if later { Retry::Later } else { Retry::Never };
        Err(self.error(ErrorKind::Refused, &format!("answers {status}")).retry(retry).advice("check the address"))
    }

    fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("{} {what}", self.shown))
    }
}
