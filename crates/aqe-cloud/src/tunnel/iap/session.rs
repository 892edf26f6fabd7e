//! What both ends of a session know of each other, apart from any transport.
//!
//! The relay keeps a session while its WebSocket breaks: each side counts the bytes that it has got,
//! tells the other, and keeps what it sent until the other has confirmed it. Pure: frames in, frames out.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use super::frame::{Frame, MAX_DATA};

/// So much may arrive before it is acknowledged without being idle.
const ACKNOWLEDGE_AFTER: u64 = 2 * MAX_DATA as u64;

/// A window of chunks smaller than this on average is full before its bytes are, so that what is
/// kept beside them is bounded as well.
const SMALL_CHUNK: usize = 64;

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none yet: its name is awaited.
    Starting,
    /// It goes on over the current transport.
    Open,
    /// The transport was lost; the relay's word on how far it had got is awaited.
    Resuming,
}

/// One session, as one of its two ends has it.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    sid: Bytes,
    window: usize,
    /// Accepted and not confirmed, in chunks that fit a frame.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// So many chunks of `kept` were sent over this transport.
    sent_chunks: usize,
    confirmed: u64,
    /// So far this transport got.
    sent: u64,
    received: u64,
    /// What was handed on; the rest waits for a slow reader.
    delivered: u64,
    acknowledged: u64,
}

/// What a peer must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Data or an acknowledgement before the session was there.
    Early(&'static str),
    /// A greeting that does not answer what was asked.
    Unexpected(&'static str),
    /// An acknowledgement of less than was acknowledged before.
    BackwardAck {
        /// What it says.
        acknowledged: u64,
        /// What was said before.
        before: u64,
    },
    /// An acknowledgement of more than was sent.
    ExcessiveAck {
        /// What it says.
        acknowledged: u64,
        /// What was sent.
        sent: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early(what) => write!(f, "{what} came before the session was there"),
            Self::Unexpected(what) => write!(f, "{what} came where it does not belong"),
            Self::BackwardAck { acknowledged, before } => {
                write!(f, "{acknowledged} bytes were acknowledged after {before} had been")
            }
            Self::ExcessiveAck { acknowledged, sent } => {
                write!(f, "{acknowledged} bytes were acknowledged, and {sent} were sent")
            }
        }
    }
}

impl std::error::Error for Violation {}

impl Session {
    /// Begins one that keeps at most `window` unconfirmed bytes, a frame's worth at least.
    pub fn new(window: usize) -> Self {
        Self {
            phase: Phase::Starting,
            sid: Bytes::new(),
            window: window.max(MAX_DATA),
            kept: VecDeque::new(),
            kept_bytes: 0,
            sent_chunks: 0,
            confirmed: 0,
            sent: 0,
            received: 0,
            delivered: 0,
            acknowledged: 0,
        }
    }

    /// Begins the relay's end of one, which is open from the start.
    pub fn serving(sid: Bytes, window: usize) -> Self {
        Self { phase: Phase::Open, sid, ..Self::new(window) }
    }

    /// The relay's end goes on over another transport; the client has got so many bytes. Gives what
    /// to greet it with.
    ///
    /// # Errors
    /// When the client cannot have got that.
    pub fn rejoined(&mut self, received: u64) -> Result<Frame, Violation> {
        self.resume(received)?;
        Ok(Frame::Resumed(self.received))
    }

    /// Returns how many more bytes may be accepted.
    pub fn room(&self) -> usize {
        // Many tiny chunks cost more than their bytes.
        let crowded = self.kept.len() >= self.window / SMALL_CHUNK;
        if crowded { 0 } else { self.window.saturating_sub(self.kept_bytes) }
    }

    /// Accepts bytes to be sent; no more than there is room for.
    pub fn accept(&mut self, mut bytes: Bytes) {
        self.kept_bytes += bytes.len();
        while !bytes.is_empty() {
            self.kept.push_back(bytes.split_to(bytes.len().min(MAX_DATA)));
        }
    }

    /// Whether data and acknowledgements may flow.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Returns the session's name and how much of it has arrived, once there is a session to go on with.
    pub fn resumption(&self) -> Option<(&Bytes, u64)> {
        (!self.sid.is_empty()).then_some((&self.sid, self.received))
    }

    /// Returns a number that grows whenever the session gets on.
    pub fn progress(&self) -> u64 {
        self.confirmed + self.received
    }

    /// Whether everything that was accepted was sent over this transport.
    pub fn is_sent(&self) -> bool {
        self.sent_chunks == self.kept.len()
    }

    /// Says that the transport is gone, and another one will be asked to go on.
    pub fn lost(&mut self) {
        self.phase = if self.sid.is_empty() { Phase::Starting } else { Phase::Resuming };
    }

    /// Returns the next frame to send, if there is one: acknowledgements that are due go first.
    /// `idle` says that nothing else is going on, so that whatever was handed on is acknowledged.
    pub fn next(&mut self, idle: bool) -> Option<Frame> {
        if !self.is_open() {
            return None;
        }
        let unacknowledged = self.delivered.saturating_sub(self.acknowledged);
        if unacknowledged >= ACKNOWLEDGE_AFTER || idle && unacknowledged > 0 {
            self.acknowledged = self.delivered;
            return Some(Frame::Ack(self.delivered));
        }
        let chunk = self.kept.get(self.sent_chunks)?.clone();
        self.sent_chunks += 1;
        self.sent += chunk.len() as u64;
        Some(Frame::Data(chunk))
    }

    /// Whether something was handed on that was not acknowledged.
    pub fn owes_ack(&self) -> bool {
        self.is_open() && self.delivered > self.acknowledged
    }

    /// Says that so many of the bytes that arrived were handed on. Only they are acknowledged, so
    /// that the other side stops before what waits here grows without bound: this side must not stop
    /// listening, because acknowledgements come the same way.
    pub fn deliver(&mut self, bytes: usize) {
        self.delivered = self.received.min(self.delivered + bytes as u64);
    }

    /// Takes a frame of the relay's; gives the bytes that came in it.
    ///
    /// # Errors
    /// When the relay does what it must not: the session is then beyond repair.
    pub fn take(&mut self, frame: Frame) -> Result<Bytes, Violation> {
        match (frame, &self.phase) {
            (Frame::Sid(sid), Phase::Starting) if !sid.is_empty() => {
                self.sid = sid;
                self.phase = Phase::Open;
            }
            (Frame::Resumed(confirmed), Phase::Resuming) => self.resume(confirmed)?,
            (Frame::Data(data), Phase::Open) => {
                self.received += data.len() as u64;
                return Ok(data);
            }
            (Frame::Ack(confirmed), Phase::Open) => self.confirm(confirmed, self.sent)?,
            (Frame::Data(_), _) => return Err(Violation::Early("data")),
            (Frame::Ack(_), _) => return Err(Violation::Early("an acknowledgement")),
            (Frame::Sid(_), _) => return Err(Violation::Unexpected("the name of a session")),
            (Frame::Resumed(_), _) => return Err(Violation::Unexpected("word that a session goes on")),
            // The transport tells how it ends.
            (Frame::LongClose { .. } | Frame::Unknown(_), _) => {}
        }
        Ok(Bytes::new())
    }

    /// The relay had got so many bytes; the rest has to be sent again.
    fn resume(&mut self, confirmed: u64) -> Result<(), Violation> {
        self.confirm(confirmed, self.sent)?;
        self.sent = confirmed;
        self.sent_chunks = 0;
        // The relay was told with the request how much has arrived here.
        self.acknowledged = self.received;
        self.phase = Phase::Open;
        Ok(())
    }

    /// Drops what the relay has, down to a part of a chunk.
    fn confirm(&mut self, confirmed: u64, sent: u64) -> Result<(), Violation> {
        if confirmed < self.confirmed {
            return Err(Violation::BackwardAck { acknowledged: confirmed, before: self.confirmed });
        }
        if confirmed > sent {
            return Err(Violation::ExcessiveAck { acknowledged: confirmed, sent });
        }
        while let Some(chunk) = self.kept.front_mut() {
            // A chunk is 16 KiB at most, so both fit.
            let news = confirmed - self.confirmed;
            let length = chunk.len() as u64;
            let dropped = length.min(news);
            self.confirmed += dropped;
            self.kept_bytes -= usize::try_from(dropped).unwrap_or(usize::MAX);
            if dropped < length {
                let _ = chunk.split_to(usize::try_from(dropped).unwrap_or(usize::MAX));
                break;
            }
            self.kept.pop_front();
            self.sent_chunks = self.sent_chunks.saturating_sub(1);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
