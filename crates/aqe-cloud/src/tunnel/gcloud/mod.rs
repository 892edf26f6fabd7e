//! Through `gcloud compute start-iap-tunnel`, run as a child.

mod child;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::child::Running;
use super::probe::probe;
use super::{Instance, protection};
use crate::postgres::doctor::Check;
use crate::postgres::link::{Address, Connector, Wire};

/// How often a tunnel that is starting is tried.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a start may take when connecting may take for ever.
const LONGEST_START: Duration = Duration::from_secs(120);
/// Another process may take a free port before gcloud does.
const PORTS_TRIED: usize = 3;

/// Has the Google Cloud SDK open a tunnel, at the first connection; it is started anew when it ends,
/// and ended with this connector and its last connection, or with this process.
///
/// While it runs, anybody on this machine can use its port; [`super::iap`] has none.
#[derive(Debug)]
pub struct Gcloud {
    instance: Instance,
    port: Option<u16>,
    program: String,
    relay: Option<String>,
    tunnel: tokio::sync::Mutex<Option<Arc<Tunnel>>>,
}

/// A tunnel that is open.
#[derive(Debug)]
struct Tunnel {
    port: u16,
    child: Running,
}

impl Gcloud {
    /// Prepares a tunnel to a machine.
    pub fn new(instance: Instance) -> Self {
        Self { instance, port: None, program: "gcloud".into(), relay: None, tunnel: tokio::sync::Mutex::default() }
    }

    /// Sets the port of this machine that the tunnel begins at; a free one unless set.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets which program is run; `gcloud`, wherever it is, unless set.
    #[must_use]
    pub fn program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// Has gcloud go through another relay, which its beta command can.
    #[must_use]
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.relay = Some(url.into());
        self
    }

    fn arguments(&self, port: u16) -> Vec<String> {
        let instance = &self.instance;
        let mut arguments: Vec<String> = Vec::new();
        if self.relay.is_some() {
            arguments.push("beta".into());
        }
        arguments.extend(["compute", "start-iap-tunnel"].map(String::from));
        arguments.extend([instance.name.clone(), instance.port.to_string()]);
        arguments.push(format!("--local-host-port=localhost:{port}"));
        arguments.push(format!("--zone={}", instance.zone));
        arguments.push(format!("--project={}", instance.project));
        arguments.push("--quiet".into());
        arguments.extend(self.relay.iter().map(|url| format!("--iap-tunnel-url-override={url}")));
        arguments
    }

    /// The tunnel that runs, or a new one.
    async fn tunnel(&self, limit: Duration) -> Result<Arc<Tunnel>> {
        let mut tunnel = self.tunnel.lock().await;
        if let Some(running) = tunnel.as_ref().filter(|running| running.child.ended().is_none()) {
            return Ok(Arc::clone(running));
        }
        // The old one's port has to be free first.
        *tunnel = None;
        let deadline = Instant::now() + if limit.is_zero() { LONGEST_START } else { limit };
        let mut tried = 1;
        let started = loop {
            let port = self.port.map_or_else(free_port, Ok)?;
            match self.start(port, deadline).await {
                Ok(started) => break started,
                Err(Failure { taken: true, .. }) if self.port.is_none() && tried < PORTS_TRIED => tried += 1,
                Err(failure) => return Err(failure.error),
            }
        };
        Ok(Arc::clone(tunnel.insert(Arc::new(started))))
    }

    /// Waits until a PostgreSQL answers through the tunnel.
    async fn start(&self, port: u16, deadline: Instant) -> Result<Tunnel, Failure> {
        if is_taken(port) {
            let what = format!("port {port} of this machine is in use, so no tunnel can begin there");
            let error = Error::new(ErrorKind::Invalid, what).advice(
                "if it is a tunnel to the hub, say tunnel = \"forwarded\"; otherwise choose another port, or none",
            );
            return Err(Failure { error, taken: true });
        }
        let child = Running::start(&self.program, &self.arguments(port)).map_err(|error| Failure {
            error: Error::new(ErrorKind::NotFound, format!("{} cannot be started: {error}", self.program))
                .advice(INSTALL)
                .caused_by(error),
            taken: false,
        })?;
        loop {
            if let Some(how) = child.ended() {
                return Err(Failure { taken: is_taken(port), error: self.ended(&how, &child.said()) });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, probe(port)).await {
                // Somebody else's answer does not count.
                Ok(Ok(())) if child.ended().is_none() => return Ok(Tunnel { port, child }),
                Ok(Ok(())) => {}
                Ok(Err(_)) if left > PAUSE => tokio::time::sleep(PAUSE).await,
                Ok(Err(found)) => return Err(self.slow(&found.to_string(), &child.said())),
                Err(_) => return Err(self.slow("no answer", &child.said())),
            }
        }
    }

    fn ended(&self, how: &str, said: &str) -> Error {
        // The shell's word for a program that is not there.
        if how.ends_with("127") {
            return Error::new(ErrorKind::NotFound, format!("there is no program {}", self.program))
                .context("said", said)
                .advice(INSTALL);
        }
        let what = format!("gcloud could not open a tunnel to {} ({how}): {said}", self.instance);
        Error::new(ErrorKind::Io, what).retry(Retry::Later).advice(CHECK)
    }

    fn slow(&self, found: &str, said: &str) -> Failure {
        let said = if said.is_empty() { String::new() } else { format!("; gcloud says: {said}") };
        let what = format!("gcloud's tunnel to {} does not lead to a PostgreSQL in time: {found}{said}", self.instance);
        Failure { error: Error::new(ErrorKind::Io, what).retry(Retry::Later).advice(CHECK), taken: false }
    }

    async fn connect(&self, limit: Duration) -> Result<Box<dyn Wire>> {
        let tunnel = self.tunnel(limit).await?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tunnel.port)).await.map_err(|error| {
            let what = format!(
                "gcloud's tunnel to {} takes no connection: {error}; it says: {}",
                self.instance,
                tunnel.child.said()
            );
            Error::new(ErrorKind::Io, what).retry(Retry::Later).advice(CHECK).caused_by(error)
        })?;
        // Where this fails, small messages are slower.
        let _ = stream.set_nodelay(true);
        Ok(Box::new(wire::Guarded { stream, _tunnel: tunnel }))
    }
}

impl Connector for Gcloud {
    fn open<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Wire>>> {
        Box::pin(self.connect(address.connect_timeout()))
    }

    fn examine<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Vec<Check>> {
        Box::pin(async move {
            vec![match self.tunnel(address.connect_timeout()).await {
                Ok(tunnel) => {
                    let found = format!("{} by gcloud, at port {} of this machine", self.instance, tunnel.port);
                    Check::ok("tunnel", found)
                }
                Err(error) => {
                    Check::critical("tunnel", error.to_string(), "without the tunnel the hub cannot be reached")
                }
            }]
        })
    }

    fn protection(&self) -> Option<&'static str> {
        Some(protection(self.relay.as_deref().unwrap_or_default()))
    }
}

const INSTALL: &str = "install the Google Cloud SDK, or say tunnel = \"iap\", which does without";
const CHECK: &str = "check with the same command at the terminal: gcloud compute start-iap-tunnel; \
                     the account needs the role \"IAP-secured Tunnel User\", and the firewall has to let 35.235.240.0/20 in";

/// No tunnel at this port.
struct Failure {
    error: Error,
    taken: bool,
}

fn free_port() -> Result<u16> {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    found.map(|address| address.port()).map_err(|error| {
        Error::new(ErrorKind::Io, "this machine has no free port for a tunnel").retry(Retry::Later).caused_by(error)
    })
}

fn is_taken(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err()
}

/// A connection that keeps its tunnel open.
mod wire {
    use std::io;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::net::TcpStream;

    pub(super) struct Guarded {
        pub(super) stream: TcpStream,
        pub(super) _tunnel: Arc<super::Tunnel>,
    }

    impl AsyncRead for Guarded {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(context, into)
        }
    }

    impl AsyncWrite for Guarded {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(context)
        }
    }
}
