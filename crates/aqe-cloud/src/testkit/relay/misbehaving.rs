//! A WebSocket whose relay does not do as it should.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::time::{Sleep, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::Accepted;
use super::plan::Shared;
use crate::tunnel::iap::frame::Frame;

pub(super) struct Misbehaving {
    socket: WebSocketStream<Accepted>,
    shared: Arc<Shared>,
    /// Frames that go into one message.
    together: BytesMut,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Misbehaving {
    pub(super) fn new(socket: WebSocketStream<Accepted>, shared: Arc<Shared>) -> Self {
        Self { socket, shared, together: BytesMut::new(), pause: None }
    }

    /// Breaks data up, and puts what comes next into the same message.
    fn regroup(&mut self, mut message: Bytes) -> Option<Bytes> {
        while let Ok(frame) = Frame::take(&mut message) {
            match frame {
                Frame::Data(mut data) => {
                    while !data.is_empty() {
                        let part = data.split_to(data.len().min(1 + fastrand::usize(..300)));
                        self.together.extend_from_slice(&Frame::Data(part).message());
                    }
                }
                other => self.together.extend_from_slice(&other.message()),
            }
            if message.is_empty() {
                break;
            }
        }
        (fastrand::bool() || self.together.len() > 30_000).then(|| self.together.split().freeze())
    }
}

impl Stream for Misbehaving {
    type Item = Result<Message, SocketError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.socket.poll_next_unpin(context)
    }
}

impl Sink<Message> for Misbehaving {
    type Error = SocketError;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        self.socket.poll_ready_unpin(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SocketError> {
        let Message::Binary(bytes) = message else {
            return self.socket.start_send_unpin(message);
        };
        let (lose_acks, small, delay) = self.shared.manners();
        if !delay.is_zero() {
            self.pause = Some(Box::pin(sleep(delay)));
        }
        if lose_acks && matches!(Frame::take(&mut bytes.clone()), Ok(Frame::Ack(_))) {
            return Ok(());
        }
        let bytes = if small { self.regroup(bytes) } else { Some(bytes) };
        bytes.map_or(Ok(()), |bytes| self.socket.start_send_unpin(Message::Binary(bytes)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        if !self.together.is_empty() {
            ready!(self.socket.poll_ready_unpin(context))?;
            let bytes = self.together.split().freeze();
            self.socket.start_send_unpin(Message::Binary(bytes))?;
        }
        self.socket.poll_flush_unpin(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        self.socket.poll_close_unpin(context)
    }
}
