//! Opens a connection to the hub.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use aqe_sync_core::{ErrorKind, Result};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Endpoint, SslMode};
use super::{fault, tls};
use crate::postgres::doctor::Check;
use crate::secret::Secret;

/// How often a silent link is asked whether the other end is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A stream of bytes in both directions.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Opens the stream of bytes that the PostgreSQL protocol, and TLS within it, is spoken over.
///
/// The stream owns what it needs: when it is dropped, whatever was started for it alone ends.
/// Those that come with this crate are in [`crate::tunnel`].
///
/// ```
/// use aqe_cloud::postgres::link::{Address, Connector, Wire};
/// use aqe_sync_core::{Error, ErrorKind, Result, Retry};
/// use futures::future::BoxFuture;
///
/// /// Always to the same place, whatever the address says.
/// struct Elsewhere(std::net::SocketAddr);
///
/// impl Connector for Elsewhere {
///     fn open<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, Result<Box<dyn Wire>>> {
///         Box::pin(async move {
///             let stream = tokio::net::TcpStream::connect(self.0).await.map_err(|error| {
///                 let what = format!("{} cannot be reached: {error}", self.0);
///                 Error::new(ErrorKind::Io, what).retry(Retry::Later).advice("see whether it is there").caused_by(error)
///             })?;
///             Ok(Box::new(stream) as Box<dyn Wire>)
///         })
///     }
/// }
/// ```
pub trait Connector: Send + Sync {
    /// Opens one. The caller limits the time to [`Address::connect_timeout`]; an implementation that
    /// waits for something ends in time itself, and says what it waited for.
    ///
    /// # Errors
    /// Why not, and what to do next; [`aqe_sync_core::Retry::Later`] where another try may do.
    fn open<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Wire>>>;

    /// Looks over what [`Self::open`] relies on, for a person who asks why it fails. Nothing unless
    /// there is more to say than connecting says.
    fn examine<'a>(&'a self, _address: &'a Address) -> BoxFuture<'a, Vec<Check>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Says what becomes of the bytes on their way where they are not encrypted for the database itself,
    /// if that is not for the address to tell: `the tunnel encrypts up to the instance's network`.
    fn protection(&self) -> Option<&'static str> {
        None
    }
}

/// Goes straight to the address: TCP, or the Unix socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Connector for Direct {
    fn open<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, Result<Box<dyn Wire>>> {
        Box::pin(async move {
            let opened = match &address.endpoint {
                Endpoint::Tcp(host) => {
                    open_tcp(host, address.port, address.limits.connect).await.map(|tcp| Box::new(tcp) as Box<dyn Wire>)
                }
                Endpoint::Unix(_) => open_socket(address).await,
            };
            opened.map_err(|error| fault::of_opening(address, error))
        })
    }
}

fn unknown_host(error: &io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, error.to_string())
}

/// Tries a name's addresses one after the other; one that does not answer may not use up all the time.
/// A limit of zero is none.
pub(crate) async fn open_tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(|error| unknown_host(&error))?.collect();
    let share = limit / u32::try_from(found.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in found {
        let tried = TcpStream::connect(target);
        let tried = match share {
            Duration::ZERO => tried.await,
            share => tokio::time::timeout(share, tried).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        match tried {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive =
                    socket2::TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(unix)]
async fn open_socket(address: &Address) -> io::Result<Box<dyn Wire>> {
    let path = address.socket().unwrap_or_default();
    Ok(Box::new(tokio::net::UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
async fn open_socket(_: &Address) -> io::Result<Box<dyn Wire>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An open connection: the driver's client, and what is needed to say plainly what went wrong with it.
pub struct Link {
    client: Client,
    faults: Faults,
}

impl Link {
    /// Returns where it leads.
    pub fn address(&self) -> &Address {
        &self.faults.address
    }

    /// Makes a failed call on this connection readable; see [`Faults::fault`].
    pub fn fault(&self, operation: &str, error: tokio_postgres::Error) -> aqe_sync_core::Error {
        self.faults.fault(operation, error)
    }

    /// Returns what makes failures readable while the link itself is borrowed, as by a transaction.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

impl Deref for Link {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Makes the failures of one link readable.
#[derive(Clone)]
pub struct Faults {
    address: Arc<Address>,
    ended: Arc<OnceLock<tokio_postgres::Error>>,
}

impl Faults {
    /// Makes a failed call readable; `operation` says what was being done (`writing events`).
    ///
    /// When a connection breaks, the driver tells pending calls no more than "connection closed";
    /// the reason, such as the server's farewell, comes from here.
    pub fn fault(&self, operation: &str, error: tokio_postgres::Error) -> aqe_sync_core::Error {
        let reason = if error.is_closed() { self.ended.get() } else { None };
        fault::of_call(&self.address, operation, error, reason)
    }
}

/// Connects, and drives the connection in a task of the current tokio runtime until the link is dropped.
///
/// # Errors
/// Why not, with host, port, database and user, and what to do next. [`aqe_sync_core::Retry::Later`]
/// where another try may do; see [`super::retry()`].
pub async fn connect(address: &Address, connector: &dyn Connector) -> Result<Link> {
    // Not within the limit: whoever is asked for the password has one of its own.
    let ask = async |refused: Option<&Secret>| {
        address.password(refused).await.map_err(|error| fault::connecting(address, error))
    };
    let (password, from_before) = ask(None).await?;
    match in_time(&Login { address, connector, password: password.as_ref() }).await {
        Err(error) if from_before && error.kind() == ErrorKind::PermissionDenied => {
            let (fresh, _) = ask(password.as_ref()).await?;
            if fresh == password {
                return Err(error);
            }
            in_time(&Login { address, connector, password: fresh.as_ref() }).await
        }
        tried => tried,
    }
}

/// An attempt to open a session.
struct Login<'a> {
    address: &'a Address,
    connector: &'a dyn Connector,
    password: Option<&'a Secret>,
}

async fn in_time(login: &Login<'_>) -> Result<Link> {
    let limit = login.address.limits.connect;
    if limit.is_zero() {
        return open(login).await;
    }
    let tried = tokio::time::timeout(limit, open(login)).await;
    tried.unwrap_or_else(|_| Err(fault::connect_timeout(login.address)))
}

async fn open(login: &Login<'_>) -> Result<Link> {
    let address = login.address;
    if address.socket().is_some() || address.ssl_mode == SslMode::Disable {
        return start(login, DriverSslMode::Disable, Encryption::None).await.map_err(Failure::plain);
    }
    let tls = tls::connector(address)?;
    if address.ssl_mode != SslMode::Prefer {
        return start(login, DriverSslMode::Require, Encryption::Tls(tls)).await.map_err(Failure::plain);
    }
    match start(login, DriverSslMode::Prefer, Encryption::Tls(tls)).await {
        Err(failure) if failure.may_succeed_without_tls => {
            start(login, DriverSslMode::Disable, Encryption::None).await.map_err(Failure::plain)
        }
        result => result.map_err(Failure::plain),
    }
}

enum Encryption {
    None,
    Tls(MakeRustlsConnect),
}

/// A wire with a name of its own: futures that hold it are `Send` for all the compiler
/// can see, which it does not see of the bare trait object.
struct Stream(Box<dyn Wire>);

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

struct Failure {
    error: aqe_sync_core::Error,
    may_succeed_without_tls: bool,
}

impl Failure {
    fn plain(self) -> aqe_sync_core::Error {
        self.error
    }
}

async fn start(login: &Login<'_>, mode: DriverSslMode, encryption: Encryption) -> Result<Link, Failure> {
    let address = login.address;
    let wire = login
        .connector
        .open(address)
        .await
        .map(Stream)
        .map_err(|error| Failure { error: fault::connecting(address, error), may_succeed_without_tls: false })?;
    let config = address.config(mode, login.password);
    let ended = Arc::new(OnceLock::new());
    let started = match encryption {
        Encryption::None => speak(&config, wire, NoTls, &ended).await,
        Encryption::Tls(mut tls) => {
            let name = tls::server_name(address);
            let tls = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, &name).map_err(|error| Failure {
                error: aqe_sync_core::Error::internal(format!("TLS cannot be set up: {error}")),
                may_succeed_without_tls: false,
            })?;
            speak(&config, wire, tls, &ended).await
        }
    };
    match started {
        Ok(client) => Ok(Link { client, faults: Faults { address: Arc::new(address.clone()), ended } }),
        Err(error) => Err(Failure {
            may_succeed_without_tls: fault::may_do_without_tls(&error),
            error: fault::of_start(address, error),
        }),
    }
}

async fn speak<T>(
    config: &tokio_postgres::Config,
    wire: Stream,
    tls: T,
    ended: &Arc<OnceLock<tokio_postgres::Error>>,
) -> Result<Client, tokio_postgres::Error>
where
    T: TlsConnect<Stream>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect_raw(wire, tls).await?;
    tokio::spawn(drive(connection, Arc::clone(ended)));
    Ok(client)
}

/// Runs a connection to its end, and keeps the reason where it ended badly.
async fn drive<T>(connection: T, ended: Arc<OnceLock<tokio_postgres::Error>>)
where
    T: Future<Output = Result<(), tokio_postgres::Error>>,
{
    // Pending calls learn of the end when the connection is dropped, so the reason is there before them.
    let mut connection = pin!(connection);
    if let Err(error) = connection.as_mut().await {
        let _ = ended.set(error);
    }
}
