//! Moves bytes between a near end and a transport, for as long as the transport lasts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::exchange::{Exchange, Stop};

/// How often the other side is asked for a sign of life.
const PING: Duration = Duration::from_secs(30);
/// A transport over which nothing came for so long, pings notwithstanding, is lost.
const SILENCE: Duration = Duration::from_secs(75);
/// What arrived is acknowledged after so long at the latest.
const IDLE: Duration = Duration::from_millis(100);
/// How long the other side may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);
/// So much is taken from the near end at once.
const PIECE: usize = 64 << 10;

/// A WebSocket, or what stands before one.
pub(crate) trait Transport:
    Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Unpin
{
}

impl<T> Transport for T where T: Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Unpin
{}

/// Whether the near end has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// What it wrote before is still to be sent.
    Known,
    /// The other side was told.
    Said,
}

/// A near end and a transport, and the session between them.
pub(crate) struct Drive<N, T> {
    pub(crate) near: N,
    /// None between two of them.
    transport: Option<T>,
    pub(crate) exchange: Exchange,
    /// Says that the near end has closed.
    farewell: Message,
    ending: Ending,
    /// Nobody reads the near end any more.
    deaf: bool,
    unflushed: bool,
    piece: Box<[u8]>,
    idle: Option<Pin<Box<Sleep>>>,
    patience: Option<Pin<Box<Sleep>>>,
    ping: Interval,
    heard: Instant,
}

impl<N, T> Drive<N, T>
where
    N: AsyncRead + AsyncWrite + Unpin,
    T: Transport,
{
    pub(crate) fn new(near: N, transport: T, exchange: Exchange, farewell: Message) -> Self {
        let mut ping = interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            near,
            transport: Some(transport),
            exchange,
            farewell,
            ending: Ending::No,
            deaf: false,
            unflushed: false,
            piece: vec![0; PIECE].into_boxed_slice(),
            idle: None,
            patience: None,
            ping,
            heard: Instant::now(),
        }
    }

    /// Lets go of a transport that is of no more use, so that the other side sees it, too.
    pub(crate) fn disconnect(&mut self) {
        self.transport = None;
        self.exchange.lost();
    }

    /// Goes on over another transport.
    pub(crate) fn replace(&mut self, transport: T) {
        self.transport = Some(transport);
        self.unflushed = false;
        (self.idle, self.patience) = (None, None);
        self.heard = Instant::now();
        self.ping.reset();
    }

    /// Sends a message that nothing follows.
    #[cfg(feature = "testkit")]
    pub(crate) async fn send_last(&mut self, message: Message) -> Result<(), SocketError> {
        match &mut self.transport {
            Some(transport) => transport.send(message).await,
            None => Err(SocketError::ConnectionClosed),
        }
    }

    /// Gives what came in and was not delivered, where somebody may still read it.
    pub(crate) fn undelivered(&mut self) -> Bytes {
        if self.deaf { Bytes::new() } else { self.exchange.inbound.split().freeze() }
    }

    /// Moves what can be moved, in both directions.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Stop> {
        loop {
            let moved = self.send(context).and_then(|sent| {
                let delivered = self.deliver(context);
                let received = self.receive(context)?;
                Ok(sent | delivered | received | self.accept(context))
            });
            match moved {
                Ok(true) => {}
                Ok(false) => break,
                // What ends a transport that was to end anyway is its end.
                Err(_) if self.ending == Ending::Said => return Poll::Ready(Stop::Done),
                Err(stop) => return Poll::Ready(stop),
            }
        }
        self.watch(context)
    }

    /// From the session to the transport.
    fn send(&mut self, context: &mut Context<'_>) -> Result<bool, Stop> {
        let Some(transport) = self.transport.as_mut() else { return Err(unconnected()) };
        let mut moved = false;
        if self.exchange.session.owes_ack() && self.idle.is_none() {
            self.idle = Some(Box::pin(sleep(IDLE)));
        }
        let idle = self.idle.as_mut().is_some_and(|idle| idle.as_mut().poll(context).is_ready());
        if idle {
            self.idle = None;
        }
        while self.ending != Ending::Said {
            match transport.poll_ready_unpin(context) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(self.exchange.broke(&error)),
                Poll::Ready(Ok(())) => {}
            }
            let message = match self.exchange.session.next(idle) {
                Some(frame) => Message::Binary(frame.message()),
                None if self.ending == Ending::Known && self.exchange.session.is_sent() => {
                    self.ending = Ending::Said;
                    self.farewell.clone()
                }
                None => break,
            };
            transport.start_send_unpin(message).map_err(|error| self.exchange.broke(&error))?;
            (moved, self.unflushed) = (true, true);
        }
        if self.unflushed {
            match transport.poll_flush_unpin(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    if self.ending == Ending::Said {
                        self.patience = Some(Box::pin(sleep(FAREWELL)));
                    }
                }
                Poll::Ready(Err(error)) => return Err(self.exchange.broke(&error)),
            }
        }
        Ok(moved)
    }

    /// From what came in to the near end.
    fn deliver(&mut self, context: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.exchange.inbound.is_empty() && !self.deaf {
            match Pin::new(&mut self.near).poll_write(context, &self.exchange.inbound) {
                Poll::Pending => break,
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.exchange.inbound.advance(written);
                    self.exchange.session.deliver(written);
                }
                Poll::Ready(_) => self.deaf = true,
            }
            moved = true;
        }
        if self.deaf {
            self.exchange.session.deliver(self.exchange.inbound.len());
            self.exchange.inbound.clear();
        }
        moved
    }

    /// From the transport to the session.
    fn receive(&mut self, context: &mut Context<'_>) -> Result<bool, Stop> {
        let Some(transport) = self.transport.as_mut() else { return Err(unconnected()) };
        let mut moved = false;
        while self.exchange.listens() {
            let Poll::Ready(next) = transport.poll_next_unpin(context) else { break };
            self.heard = Instant::now();
            self.exchange.take(next)?;
            moved = true;
        }
        Ok(moved)
    }

    /// From the near end to the session.
    fn accept(&mut self, context: &mut Context<'_>) -> bool {
        let room = self.exchange.session.room().min(PIECE);
        if room == 0 || self.ending != Ending::No {
            return false;
        }
        let mut piece = ReadBuf::new(&mut self.piece[..room]);
        match Pin::new(&mut self.near).poll_read(context, &mut piece) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                self.exchange.session.accept(Bytes::copy_from_slice(piece.filled()));
            }
            Poll::Ready(_) => self.ending = Ending::Known,
        }
        true
    }

    /// What happens as time goes by.
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<Stop> {
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Stop::Done);
        }
        let Some(transport) = self.transport.as_mut() else { return Poll::Ready(unconnected()) };
        loop {
            ready!(self.ping.poll_tick(context));
            if !self.exchange.listens() {
                // It is us who are silent.
                self.heard = Instant::now();
            }
            if self.heard.elapsed() > SILENCE {
                return Poll::Ready(Stop::Lost(format!("nothing came for {} s", SILENCE.as_secs())));
            }
            // Where there is no room for a ping, there are bytes on their way that ask the same.
            if transport.poll_ready_unpin(context).is_ready() {
                let pinged = transport.start_send_unpin(Message::Ping(Bytes::new()));
                if let Err(error) = pinged {
                    return Poll::Ready(self.exchange.broke(&error));
                }
                self.unflushed = true;
                if let Poll::Ready(Err(error)) = transport.poll_flush_unpin(context) {
                    return Poll::Ready(self.exchange.broke(&error));
                }
            }
        }
    }
}

fn unconnected() -> Stop {
    Stop::Lost("there is no transport".to_owned())
}
