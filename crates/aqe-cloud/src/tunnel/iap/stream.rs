//! The near end of a connection through the relay.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::oneshot;

use super::dial::{Dialer, Socket};
use super::exchange::Exchange;
use super::pump::{Ending, Pump};

/// What is between the near end and the task that sends.
const BUFFER: usize = 64 << 10;

/// A connection to a port of a machine, through the relay. Dropping it ends it.
///
/// Ends as the connection at the far end does; an error that ends it says what to check.
#[derive(Debug)]
pub struct IapStream {
    near: DuplexStream,
    ending: Ending,
    /// Dropped with the stream, which tells the task.
    _here: oneshot::Sender<()>,
}

impl IapStream {
    pub(super) fn over(dialer: Arc<Dialer>, socket: Socket, exchange: Exchange) -> Self {
        let (near, far) = duplex(BUFFER);
        let (here, gone) = oneshot::channel();
        let ending = Ending::default();
        tokio::spawn(Pump::new(dialer, socket, exchange, far, gone).run(Arc::clone(&ending)));
        Self { near, ending, _here: here }
    }

    fn failure(&self) -> Option<io::Error> {
        let error = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))
    }
}

impl AsyncRead for IapStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.near).poll_read(context, into);
        let ended = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() == before && into.remaining() > 0;
        match ended.then(|| self.failure()).flatten() {
            Some(error) => Poll::Ready(Err(error)),
            None => read,
        }
    }
}

impl AsyncWrite for IapStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.near).poll_write(context, bytes) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.failure().unwrap_or(error))),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(context)
    }
}
