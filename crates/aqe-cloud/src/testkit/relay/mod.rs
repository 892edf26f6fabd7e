//! A relay on this machine that speaks the protocol of Google's, and misbehaves when told to.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use aqe_cloud::postgres::link::Secret;
//! use aqe_cloud::testkit::relay::Relay;
//! use aqe_cloud::tunnel::iap::Iap;
//! use aqe_cloud::tunnel::{FixedToken, Instance};
//!
//! # async fn example() -> aqe_sync_core::Result<()> {
//! let relay = Relay::start(5432);
//! relay.cut_after(10_000);
//! let token = Arc::new(FixedToken::new(Secret::new("made-up"))?);
//! let tunnel = Iap::new(Instance::new("p", "z", "vm"), token).relay(&relay.url())?;
//! let stream = tunnel.connect(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod cutting;
mod misbehaving;
mod plan;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use self::plan::Request;
use self::plan::{Order, Refusal, Shared};
use crate::postgres::link::Wire;
use crate::tunnel::iap::frame::Frame;

/// A connection to the relay, with TLS or without.
type Accepted = Box<dyn Wire>;

/// A relay in front of a port of this machine, on a thread of its own. Dropping it ends it.
pub struct Relay {
    base: String,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts one in front of `target`, a port of 127.0.0.1.
    ///
    /// # Panics
    /// When the machine has no free port, or no thread.
    pub fn start(target: u16) -> Self {
        Self::begin(target, None)
    }

    /// The same over TLS, as `localhost`, with a certificate and its key in PEM files. gcloud works
    /// through no other.
    ///
    /// # Panics
    /// When these are not usable, or as [`Self::start`].
    pub fn start_with_tls(target: u16, certificate: &Path, key: &Path) -> Self {
        let usable = "a relay's certificate and key are usable";
        let chain = CertificateDer::pem_file_iter(certificate).expect(usable).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_file(key).expect(usable);
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain.expect(usable), key));
        Self::begin(target, Some(TlsAcceptor::from(Arc::new(config.expect(usable)))))
    }

    fn begin(target: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = server::listen().unwrap_or_else(|error| panic!("no port for a relay: {error}"));
        let port = listener.local_addr().unwrap_or_else(|error| panic!("no port for a relay: {error}")).port();
        let (end, ended) = oneshot::channel();
        let shared = Arc::new(Shared::new());
        let serving = Arc::clone(&shared);
        let base = if tls.is_some() { format!("wss://localhost:{port}") } else { format!("ws://127.0.0.1:{port}") };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap_or_else(|error| panic!("no runtime for a relay: {error}"));
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap_or_else(|error| panic!("a relay: {error}"));
                tokio::select! {
                    () = server::run(listener, target, serving, tls) => {}
                    _ = ended => {}
                }
            });
        });
        Self { base, shared, end: Some(end), thread: Some(thread) }
    }

    /// Returns its URL, for [`crate::tunnel::iap::Iap::relay`].
    pub fn url(&self) -> String {
        format!("{}/v4", self.base)
    }

    /// Breaks a transport after so many bytes, in both directions together. Each call is for one
    /// transport: the next one, the one after it, and so on. Sessions stay.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after(bytes);
    }

    /// Answers the next request with this status, and no WebSocket.
    pub fn refuse(&self, status: u16) {
        self.shared.refuse(Refusal::Status(status));
    }

    /// Closes the next WebSocket with this code, before there is a session.
    pub fn close_next(&self, code: u16, reason: &str) {
        self.shared.refuse(Refusal::Messages(Vec::new(), Some((code, reason.to_owned()))));
    }

    /// The same with the reason at length in a frame of its own before.
    pub fn close_next_at_length(&self, code: u16, reason: &str) {
        let frame = Frame::LongClose { code: code.into(), reason: reason.to_owned() };
        self.shared.refuse(Refusal::Messages(vec![frame.message()], Some((code, "see above".to_owned()))));
    }

    /// Sends these messages on the next WebSocket in place of a session, and then nothing.
    pub fn say_next(&self, messages: Vec<Bytes>) {
        self.shared.refuse(Refusal::Messages(messages, None));
    }

    /// Closes every transport that is open with this code; their sessions end, but for code 4004.
    pub fn close_now(&self, code: u16, reason: &str) {
        self.shared.orders.send_replace(Order::Close(code, reason.to_owned()));
    }

    /// Breaks everything off and forgets every session, as a relay does that is started anew.
    pub fn restart(&self) {
        self.shared.orders.send_replace(Order::Restart);
    }

    /// Loses its acknowledgements from now on, or no more.
    pub fn lose_acks(&self, lose: bool) {
        self.shared.behave(|lost, _, _| *lost = lose);
    }

    /// Sends data in small frames, several to a message, and bytes in small pieces.
    pub fn split_and_coalesce(&self, on: bool) {
        self.shared.behave(|_, small, _| *small = on);
    }

    /// Waits so long after each message before it sends the next one.
    pub fn delay(&self, pause: Duration) {
        self.shared.behave(|_, _, delay| *delay = pause);
    }

    /// Returns the requests that came, the first one first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests()
    }

    /// Returns how many transports were cut: a test of cuts should see that there were some.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
