//! A native client of Google's Identity-Aware Proxy: a TCP connection to a machine without a public
//! address, through a WebSocket to Google's relay. In this process, without the Google Cloud SDK, and
//! without a port that others on this machine could use.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use aqe_cloud::postgres::PostgresHub;
//! use aqe_cloud::postgres::link::AddressParts;
//! use aqe_cloud::tunnel::iap::Iap;
//! use aqe_cloud::tunnel::{GoogleCredentials, Instance};
//!
//! # fn example() -> aqe_sync_core::Result<()> {
//! let instance = Instance::new("my-project", "europe-west1-b", "hub");
//! let tunnel = Iap::new(instance, Arc::new(GoogleCredentials::discover(Default::default())));
//! let address = AddressParts::new().host("hub").database("fleet").user("agent").build()?;
//! let hub = PostgresHub::builder(address).connector(Arc::new(tunnel)).open()?;
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `frame` | bytes and frames |
//! | `session` | counts, keeps and confirms bytes: pure |
//! | `exchange` | what a message of the WebSocket does to a session: pure |
//! | `close`, `backoff` | what a close code means, when to try again: pure |
//! | `dial` | opens the WebSocket |
//! | `drive` | moves bytes while a WebSocket lasts |
//! | `pump` | keeps the session going over one WebSocket after the other |
//!
//! When a transport breaks, the session goes on over the next one, and whoever reads and writes
//! notices nothing but time. What is unconfirmed in either direction is bounded; see [`Iap::window`].
//!
//! The access token is in the request's headers, which the crate `tungstenite` writes to the log at
//! level *trace*: do not turn that on for it where logs are kept.

mod backoff;
mod close;
pub(crate) mod dial;
pub(crate) mod drive;
pub(crate) mod exchange;
pub mod frame;
mod pump;
pub mod session;
mod stream;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aqe_sync_core::{ErrorKind, Result};
use futures::future::BoxFuture;
use tokio::time::Instant;

use self::backoff::Backoff;
use self::dial::{Dialer, RELAY, Relay};
use self::exchange::Exchange;
use self::pump::{Judged, resumed};
pub use self::stream::IapStream;
use super::{Instance, TokenSource, protection};
use crate::postgres::doctor::Check;
use crate::postgres::link::{Address, Connector, Roots, Wire};

/// What is unconfirmed at most, unless said otherwise: enough for 20 MB/s over 50 ms.
const WINDOW: usize = 1 << 20;

/// Opens connections through the relay.
pub struct Iap {
    dialer: Arc<Dialer>,
    window: usize,
}

impl Iap {
    /// Prepares to reach a machine through Google's relay. Connects to nothing yet.
    ///
    /// # Panics
    /// Never: Google's relay has a usable URL.
    pub fn new(instance: Instance, tokens: Arc<dyn TokenSource>) -> Self {
        let relay = Relay::parse(RELAY).expect("a constant that is a URL");
        let dialer = Dialer { instance, tokens, relay, roots: Roots::System, tls: OnceLock::new() };
        Self { dialer: Arc::new(dialer), window: WINDOW }
    }

    /// Goes through another relay: `wss://HOST/PATH`, or `ws://` on this machine.
    ///
    /// # Errors
    /// When that is no such URL.
    pub fn relay(self, url: &str) -> Result<Self> {
        let relay = Relay::parse(url)?;
        Ok(self.with(|dialer| dialer.relay = relay))
    }

    /// Sets which authorities the relay's certificate may be from; those of the system unless set.
    #[must_use]
    pub fn roots(self, roots: Roots) -> Self {
        self.with(|dialer| dialer.roots = roots)
    }

    /// Sets how many bytes may be on their way without being confirmed; 1 MiB unless set, and no
    /// less than 16 KiB. They are kept in memory, for each connection.
    #[must_use]
    pub fn window(mut self, bytes: usize) -> Self {
        self.window = bytes;
        self
    }

    fn with(self, change: impl FnOnce(&mut Dialer)) -> Self {
        let old = &self.dialer;
        let mut dialer = Dialer {
            instance: old.instance.clone(),
            tokens: Arc::clone(&old.tokens),
            relay: old.relay.clone(),
            roots: old.roots.clone(),
            tls: OnceLock::new(),
        };
        change(&mut dialer);
        Self { dialer: Arc::new(dialer), window: self.window }
    }

    /// Opens a connection to the machine's port, driven by a task of the current tokio runtime.
    ///
    /// A machine that cannot be found may be starting, so it is asked for again within `limit`; zero
    /// stands for 15 minutes.
    ///
    /// # Errors
    /// Why there is none, and what to check.
    pub async fn connect(&self, limit: Duration) -> Result<IapStream> {
        let mut backoff = if limit.is_zero() { Backoff::new() } else { Backoff::within(limit) };
        loop {
            let mut exchange = Exchange::new(self.window);
            let error = match resumed(&self.dialer, &mut exchange).await {
                Ok(socket) => return Ok(IapStream::over(Arc::clone(&self.dialer), socket, exchange)),
                Err(Judged::Failure(error)) => return Err(error),
                Err(Judged::Lost(error)) => error,
                Err(Judged::End) => return Err(aqe_sync_core::Error::internal("a session ended before it began")),
            };
            // Other failures that pass are for the caller to try again.
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            match backoff.next(fastrand::f64()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn examined(&self, limit: Duration) -> Vec<Check> {
        let mut checks = Vec::new();
        let tokens = &self.dialer.tokens;
        match tokens.token().await {
            Ok(_) => checks.push(Check::ok("tunnel credentials", format!("an access token from {}", tokens.origin()))),
            Err(error) => {
                let advice = "run gcloud auth application-default login, or name a service account's key file";
                checks.push(Check::critical("tunnel credentials", error.to_string(), advice));
                return checks;
            }
        }
        let begun = Instant::now();
        checks.push(match self.connect(limit).await {
            Ok(_) => {
                let millis = begun.elapsed().as_millis();
                Check::ok(
                    "tunnel",
                    format!("{} through {} in {millis} ms", self.dialer.instance, self.dialer.relay.host),
                )
            }
            Err(error) => Check::critical("tunnel", error.to_string(), "without the tunnel the hub cannot be reached"),
        });
        checks
    }
}

impl Connector for Iap {
    fn open<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Wire>>> {
        Box::pin(async move { Ok(Box::new(self.connect(address.connect_timeout()).await?) as Box<dyn Wire>) })
    }

    fn examine<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Vec<Check>> {
        Box::pin(self.examined(address.connect_timeout()))
    }

    fn protection(&self) -> Option<&'static str> {
        Some(protection(&self.dialer.relay.base))
    }
}
