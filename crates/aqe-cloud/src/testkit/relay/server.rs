//! Takes requests, and serves sessions.
#![expect(clippy::result_large_err, reason = "the WebSocket library wants refusals so")]

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::SinkExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as HttpRequest, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use super::Accepted;
use super::cutting::Cutting;
use super::misbehaving::Misbehaving;
use super::plan::{Order, Refusal, Request, Shared};
use crate::tunnel::iap::dial::PROTOCOL;
use crate::tunnel::iap::drive::Drive;
use crate::tunnel::iap::exchange::{Exchange, Stop};
use crate::tunnel::iap::frame::Frame;

/// What the relay keeps unconfirmed.
const WINDOW: usize = 256 << 10;

type Serving = Drive<TcpStream, Misbehaving>;

/// A session whose transport may be gone.
#[derive(Default)]
struct Slot {
    parked: Mutex<Option<Serving>>,
    /// Tells a transport that another one takes over.
    taken_over: Notify,
    free: Notify,
}

type Sessions = Mutex<HashMap<String, Arc<Slot>>>;

/// Runs until it is dropped.
pub(super) async fn run(listener: TcpListener, target: u16, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let sessions = Arc::<Sessions>::default();
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, sessions, tls) = (Arc::clone(&shared), Arc::clone(&sessions), tls.clone());
        tokio::spawn(async move {
            // A client that breaks off is no matter of ours.
            let _ = async {
                let stream = accept(stream, &shared, tls).await?;
                serve(stream, target, &shared, &sessions).await
            }
            .await;
        });
    }
}

/// What is broken off breaks below TLS.
async fn accept(stream: TcpStream, shared: &Arc<Shared>, tls: Option<TlsAcceptor>) -> Result<Accepted, SocketError> {
    stream.set_nodelay(true)?;
    let noting = Arc::clone(shared);
    let (_, small, _) = shared.manners();
    let stream = Cutting::new(stream, shared.next_cut(), small, move || noting.was_cut());
    Ok(match tls {
        Some(tls) => Box::new(tls.accept(stream).await?),
        None => Box::new(stream),
    })
}

async fn serve(stream: Accepted, target: u16, shared: &Arc<Shared>, sessions: &Sessions) -> Result<(), SocketError> {
    let mut orders = shared.orders.subscribe();
    let refusal = shared.next_refusal();
    let mut seen = None;
    let socket = accept_hdr_async(stream, |request: &HttpRequest, response| {
        answer(request, response, refusal.as_ref(), &mut seen)
    })
    .await;
    let seen = seen.ok_or(SocketError::ConnectionClosed)?;
    shared.saw(seen.clone());
    let mut socket = socket?;
    if let Some(Refusal::Messages(messages, close)) = refusal {
        for message in messages {
            socket.send(Message::Binary(message)).await?;
        }
        match close {
            Some((code, reason)) => close_with(&mut socket, code, &reason).await?,
            None => std::future::pending().await,
        }
        return Ok(());
    }
    let socket = Misbehaving::new(socket, Arc::clone(shared));
    let (sid, slot, mut drive) = match resumption(&seen) {
        None => match begin(socket, target, sessions).await? {
            Some(begun) => begun,
            None => return Ok(()),
        },
        Some((sid, received)) => match go_on(socket, &sid, received, sessions).await? {
            Some((slot, drive)) => (sid, slot, drive),
            None => return Ok(()),
        },
    };
    let stop = tokio::select! {
        stop = std::future::poll_fn(|context| drive.poll(context)) => stop,
        () = slot.taken_over.notified() => Stop::Lost("taken over".into()),
        _ = orders.changed() => {
            let order = orders.borrow().clone();
            match order {
                Order::Close(code, reason) => {
                    // A client that is gone needs no word.
                    let _ = drive.send_last(closing(code, &reason)).await;
                    if code == 4004 { Stop::Lost(reason) } else { Stop::Done }
                }
                Order::None | Order::Restart => {
                    lock(sessions).clear();
                    Stop::Done
                }
            }
        }
    };
    match stop {
        Stop::Lost(_) => {
            drive.disconnect();
            *lock(&slot.parked) = Some(drive);
            slot.free.notify_one();
        }
        Stop::Broken(what) => {
            lock(sessions).remove(&sid);
            drive.send_last(closing(4008, &what)).await?;
        }
        Stop::Closed(..) | Stop::Done => {
            lock(sessions).remove(&sid);
            // What was sent before the end arrives before the end.
            let undelivered = drive.undelivered();
            drive.near.write_all(&undelivered).await?;
        }
    }
    Ok(())
}

fn answer(
    request: &HttpRequest,
    mut response: Response,
    refusal: Option<&Refusal>,
    seen: &mut Option<Request>,
) -> Result<Response, ErrorResponse> {
    let text =
        |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let request = Request {
        target,
        authorization: text(header::AUTHORIZATION).to_owned(),
        origin: text(header::ORIGIN).to_owned(),
        protocol: text(header::SEC_WEBSOCKET_PROTOCOL).to_owned(),
    };
    let status = match refusal {
        Some(Refusal::Status(status)) => Some(*status),
        _ if !request.authorization.starts_with("Bearer ") => Some(401),
        _ if request.origin != "bot:iap-tunneler" || request.protocol != PROTOCOL => Some(400),
        _ if !["/v4/connect?", "/v4/reconnect?"].iter().any(|path| request.target.starts_with(path)) => Some(404),
        _ => None,
    };
    *seen = Some(request);
    if let Some(status) = status {
        let mut refused = ErrorResponse::new(Some("as the test wants it".to_owned()));
        *refused.status_mut() = status.try_into().unwrap_or_default();
        return Err(refused);
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// The session to go on with, and how much of it the client has.
fn resumption(request: &Request) -> Option<(String, u64)> {
    let received = request.parameter("ack")?.parse().ok()?;
    request.target.contains("/reconnect?").then_some((request.parameter("sid")?.to_owned(), received))
}

async fn begin(
    mut socket: Misbehaving,
    target: u16,
    sessions: &Sessions,
) -> Result<Option<(String, Arc<Slot>, Serving)>, SocketError> {
    let backend = match TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await {
        Ok(backend) => backend,
        Err(error) => {
            socket.send(closing(4003, &error.to_string())).await?;
            return Ok(None);
        }
    };
    backend.set_nodelay(true)?;
    let sid: String = std::iter::repeat_with(fastrand::alphanumeric).take(20).collect();
    let slot = Arc::<Slot>::default();
    lock(sessions).insert(sid.clone(), Arc::clone(&slot));
    let name = Bytes::from(sid.clone());
    // Should the name be lost on the way, nobody can come back for the session.
    socket.send(Message::Binary(Frame::Sid(name.clone()).message())).await?;
    let drive = Drive::new(backend, socket, Exchange::serving(name, WINDOW), closing(1000, ""));
    Ok(Some((sid, slot, drive)))
}

async fn go_on(
    mut socket: Misbehaving,
    sid: &str,
    received: u64,
    sessions: &Sessions,
) -> Result<Option<(Arc<Slot>, Serving)>, SocketError> {
    let Some(slot) = lock(sessions).get(sid).cloned() else {
        socket.send(closing(4001, "no such session")).await?;
        return Ok(None);
    };
    let mut drive = loop {
        if let Some(drive) = lock(&slot.parked).take() {
            break drive;
        }
        slot.taken_over.notify_one();
        slot.free.notified().await;
    };
    let greeting = match drive.exchange.session.rejoined(received) {
        Ok(greeting) => greeting,
        Err(violation) => {
            lock(sessions).remove(sid);
            socket.send(closing(4005, &violation.to_string())).await?;
            return Ok(None);
        }
    };
    if let Err(error) = socket.send(Message::Binary(greeting.message())).await {
        drive.disconnect();
        *lock(&slot.parked) = Some(drive);
        return Err(error);
    }
    drive.replace(socket);
    Ok(Some((slot, drive)))
}

fn closing(code: u16, reason: &str) -> Message {
    // A close frame has room for 123 bytes.
    let mut reason = reason.to_owned();
    while reason.len() > 120 {
        reason.pop();
    }
    Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
}

async fn close_with(socket: &mut WebSocketStream<Accepted>, code: u16, reason: &str) -> Result<(), SocketError> {
    socket.send(closing(code, reason)).await?;
    socket.flush().await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds a free port of this machine.
pub(super) fn listen() -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
