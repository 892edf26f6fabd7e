//! A TCP connection that breaks after so many bytes, wherever that is in a frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Sent at once where pieces are wanted small, in bytes.
const SMALL: usize = 50;

pub(super) struct Cutting {
    stream: TcpStream,
    /// How many bytes may still pass, in both directions together.
    left: u64,
    small: bool,
    on_cut: Option<Box<dyn FnOnce() + Send>>,
}

impl Cutting {
    pub(super) fn new(stream: TcpStream, left: u64, small: bool, on_cut: impl FnOnce() + Send + 'static) -> Self {
        Self { stream, left, small, on_cut: Some(Box::new(on_cut)) }
    }

    fn allowed(&mut self, wanted: usize) -> io::Result<usize> {
        let allowed = usize::try_from(self.left).unwrap_or(usize::MAX).min(wanted);
        if allowed == 0 && wanted > 0 {
            if let Some(on_cut) = self.on_cut.take() {
                on_cut();
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(if self.small { allowed.min(1 + fastrand::usize(..SMALL)) } else { allowed })
    }
}

impl AsyncRead for Cutting {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let allowed = self.allowed(into.remaining())?;
        let mut part = into.take(allowed);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let filled = part.filled().len();
        // Nothing lies behind what was filled, so this only says how far that goes.
        let part = part.filled().to_vec();
        into.put_slice(&part);
        self.left -= filled as u64;
        read
    }
}

impl AsyncWrite for Cutting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = self.allowed(bytes.len())?;
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..allowed]);
        if let Poll::Ready(Ok(written)) = &written {
            self.left -= *written as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
