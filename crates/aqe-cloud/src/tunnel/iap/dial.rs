//! Opens a WebSocket to the relay.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, http};
use tokio_tungstenite::{Connector as TlsConnector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::close;
use crate::postgres::link::{Roots, encoded, open_tcp, verified};
use crate::tunnel::{Instance, TokenSource};

/// Where Google's relay is.
pub(super) const RELAY: &str = "wss://tunnel.cloudproxy.app/v4";
/// The name of the protocol within the WebSocket.
pub(crate) const PROTOCOL: &str = "relay.tunnel.cloudproxy.app";
/// What the relay wants to be told, as there is no web page behind this.
const ORIGIN: &str = "bot:iap-tunneler";
/// No message of the relay's is longer; a frame has 16 KiB.
const MAX_MESSAGE: usize = 256 << 10;
/// How long one attempt may take.
pub(super) const DIAL_LIMIT: Duration = Duration::from_secs(20);
/// So much of a refusal is shown, in bytes.
const SHOWN: usize = 200;

/// A WebSocket to the relay.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Whom to call, and with what.
pub(super) struct Dialer {
    pub(super) instance: Instance,
    pub(super) tokens: Arc<dyn TokenSource>,
    pub(super) relay: Relay,
    pub(super) roots: Roots,
    /// Made at the first need: reading the system's certificates takes a while.
    pub(super) tls: OnceLock<TlsConnector>,
}

/// The relay's URL, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) base: String,
    pub(super) host: String,
    port: u16,
}

impl Relay {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Error::new(ErrorKind::Invalid, what)
                .during("reading the relay's URL")
                .advice(format!("it is like Google's own, which is {RELAY}"))
        };
        let uri: Uri = url.parse().map_err(|_| invalid("it is not a URL"))?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(|| invalid("it names no host, or holds more than that"))?;
        if uri.query().is_some() {
            return Err(invalid("it has a query, which is for the client to make"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match uri.scheme_str() {
            Some("wss") => 443,
            Some("ws") if is_this_machine(&host) => 80,
            Some("ws") => return Err(invalid("over ws:// the access token would be readable on the way")),
            _ => return Err(invalid("it does not begin with wss://")),
        };
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { base, host, port: authority.port_u16().unwrap_or(port) })
    }

    fn connect_url(&self, instance: &Instance) -> String {
        format!(
            "{}/connect?project={}&zone={}&instance={}&interface={}&port={}&newWebsocket=True",
            self.base,
            encoded(&instance.project),
            encoded(&instance.zone),
            encoded(&instance.name),
            encoded(&instance.interface),
            instance.port
        )
    }

    fn resume_url(&self, instance: &Instance, sid: &Bytes, received: u64) -> String {
        let (sid, zone) = (encoded(sid), encoded(&instance.zone));
        format!("{}/reconnect?sid={sid}&ack={received}&zone={zone}&newWebsocket=True", self.base)
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl Dialer {
    /// Opens a WebSocket for a new session, or for one that goes on after so many bytes have arrived.
    pub(super) async fn dial(&self, resumption: Option<(&Bytes, u64)>) -> Result<Socket> {
        let url = match resumption {
            None => self.relay.connect_url(&self.instance),
            Some((sid, received)) => self.relay.resume_url(&self.instance, sid, received),
        };
        tokio::time::timeout(DIAL_LIMIT, self.open(&url)).await.unwrap_or_else(|_| {
            let what = format!("the relay at {} did not answer within {} s", self.relay.host, DIAL_LIMIT.as_secs());
            Err(Error::new(ErrorKind::Io, what).retry(Retry::Later).advice(NETWORK))
        })
    }

    async fn open(&self, url: &str) -> Result<Socket> {
        let request = self.request(url).await?;
        let tls = self.tls()?;
        let tcp = open_tcp(&self.relay.host, self.relay.port, DIAL_LIMIT).await;
        let tcp = tcp.map_err(|error| self.unreachable(error.into()))?;
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MAX_MESSAGE);
        config.max_frame_size = Some(MAX_MESSAGE);
        let opened = client_async_tls_with_config(request, tcp, Some(config), Some(tls)).await;
        opened.map(|(socket, _)| socket).map_err(|error| self.refused(error))
    }

    async fn request(&self, url: &str) -> Result<Request<()>> {
        let token = self.tokens.token().await?;
        let unusable = |_| Error::new(ErrorKind::Malformed, "the access token cannot be sent in a header");
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(unusable)?;
        bearer.set_sensitive(true);
        let mut request = url
            .into_client_request()
            .map_err(|error| Error::internal(format!("the relay's URL cannot be made: {error}")))?;
        let headers = request.headers_mut();
        headers.insert(http::header::AUTHORIZATION, bearer);
        headers.insert(http::header::ORIGIN, HeaderValue::from_static(ORIGIN));
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        let agent = concat!("aqe-sync/", env!("CARGO_PKG_VERSION"));
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(agent));
        Ok(request)
    }

    fn tls(&self) -> Result<TlsConnector> {
        if !self.relay.base.starts_with("wss") {
            return Ok(TlsConnector::Plain);
        }
        if let Some(tls) = self.tls.get() {
            return Ok(tls.clone());
        }
        let made = TlsConnector::Rustls(Arc::new(verified(&self.roots)?));
        Ok(self.tls.get_or_init(|| made).clone())
    }

    fn refused(&self, error: tungstenite::Error) -> Error {
        match error {
            tungstenite::Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim().to_owned();
                close::of_status(response.status().as_u16(), &body, &self.instance)
            }
            tungstenite::Error::Io(error)
                if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                let what = format!("the relay at {} cannot be trusted: {error}", self.relay.host);
                Error::new(ErrorKind::Refused, what)
                    .advice("where a proxy puts its own certificates in between, let this system know its authority")
                    .caused_by(error)
            }
            error @ (tungstenite::Error::Io(_) | tungstenite::Error::ConnectionClosed) => self.unreachable(error),
            error @ tungstenite::Error::Protocol(tungstenite::error::ProtocolError::HandshakeIncomplete) => {
                self.unreachable(error)
            }
            other => {
                Error::new(ErrorKind::Invalid, format!("what answers at {} is not the relay: {other}", self.relay.host))
                    .advice("check the relay's URL, and whether a proxy is in between")
            }
        }
    }

    fn unreachable(&self, error: tungstenite::Error) -> Error {
        let what = format!("the relay at {} cannot be reached: {error}", self.relay.host);
        Error::new(ErrorKind::Io, what).retry(Retry::Later).advice(NETWORK).caused_by(error)
    }
}

const NETWORK: &str = "check the network; a firewall has to let HTTPS out";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_googles_client() {
        let relay = Relay::parse("ws://127.0.0.1:8080/v4/").expect("a relay");
        let instance = Instance::new("my project", "zone&1", "hub").port(5433);
        assert_eq!(
            relay.connect_url(&instance),
            "ws://127.0.0.1:8080/v4/connect?project=my%20project&zone=zone%261&instance=hub&interface=nic0\
             &port=5433&newWebsocket=True"
        );
        assert_eq!(
            relay.resume_url(&instance, &Bytes::from_static(b"a/b\xff"), 7),
            "ws://127.0.0.1:8080/v4/reconnect?sid=a%2Fb%FF&ack=7&zone=zone%261&newWebsocket=True"
        );
        assert_eq!((relay.host.as_str(), relay.port), ("127.0.0.1", 8080));
        let google = Relay::parse(RELAY).expect("Google's");
        assert_eq!((google.host.as_str(), google.port), ("tunnel.cloudproxy.app", 443));
    }

    #[test]
    fn a_token_never_travels_in_the_clear() {
        for (url, says) in [
            ("ws://relay.example/v4", "readable on the way"),
            ("ws://10.0.0.1/v4", "readable on the way"),
            ("https://tunnel.cloudproxy.app/v4", "wss://"),
            ("wss:///v4", "not a URL"),
            ("wss://user@host/v4", "names no host"),
            ("wss://host/v4?x=1", "query"),
            ("", "not a URL"),
        ] {
            let error = Relay::parse(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(error.to_string().contains(says) && error.to_string().contains(RELAY), "{url}: {error}");
        }
        for url in ["ws://localhost:1/", "ws://[::1]:1/v4", "wss://relay.example"] {
            Relay::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }
}
