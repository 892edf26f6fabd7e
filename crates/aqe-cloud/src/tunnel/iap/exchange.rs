//! What messages of the WebSocket do to the session.

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::{self, Message};

use super::frame::Frame;
use super::session::Session;

/// A relay whose window is no larger is never kept waiting with its acknowledgements.
const LEAST_LIMIT: usize = 1 << 20;

/// A session, and what came in over it and was not read yet.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) session: Session,
    pub(crate) inbound: BytesMut,
    /// So much is kept for a reader that is slow, even from a relay that minds no acknowledgements;
    /// then it is not listened to any more.
    limit: usize,
    /// What the relay said before it closed.
    long_close: Option<(u32, String)>,
}

/// Why the current transport is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It broke, and why.
    Lost(String),
    /// The relay closed it with a code and a reason.
    Closed(u32, String),
    /// The relay broke the protocol.
    Broken(String),
    /// The near end has closed, and everything was sent.
    Done,
}

impl Exchange {
    /// The client's.
    pub(crate) fn new(window: usize) -> Self {
        let limit = window.max(LEAST_LIMIT);
        Self { session: Session::new(window), inbound: BytesMut::new(), limit, long_close: None }
    }

    /// The relay's.
    #[cfg(feature = "testkit")]
    pub(crate) fn serving(sid: Bytes, window: usize) -> Self {
        let session = Session::serving(sid, window);
        // The window of the client bounds it; gcloud has none.
        Self { session, inbound: BytesMut::new(), limit: usize::MAX, long_close: None }
    }

    /// Whether there is room for what the relay may send next.
    pub(crate) fn listens(&self) -> bool {
        self.inbound.len() < self.limit
    }

    /// Forgets a transport.
    pub(crate) fn lost(&mut self) {
        self.long_close = None;
        self.session.lost();
    }

    /// Takes what the transport gave next.
    pub(crate) fn take(&mut self, next: Option<Result<Message, tungstenite::Error>>) -> Result<(), Stop> {
        match next {
            Some(Ok(Message::Binary(message))) => self.frames(message),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                    (u32::from(u16::from(frame.code)), frame.reason.as_str().to_owned())
                });
                // The longer word on the same matter is the better one.
                let (code, reason) = match self.long_close.take() {
                    Some((code, longer)) if !longer.is_empty() => (code, longer),
                    said => (said.map_or(code, |(code, _)| code), reason),
                };
                Err(Stop::Closed(code, reason))
            }
            Some(Ok(Message::Text(_))) => Err(Stop::Broken("a message is text".to_owned())),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Err(error)) => Err(self.broke(&error)),
            None => Err(self.ended("it was closed without a word")),
        }
    }

    fn frames(&mut self, mut message: Bytes) -> Result<(), Stop> {
        while !message.is_empty() {
            let frame = Frame::take(&mut message).map_err(|error| Stop::Broken(error.to_string()))?;
            if let Frame::LongClose { code, reason } = frame {
                self.long_close = Some((code, reason));
                continue;
            }
            let data = self.session.take(frame).map_err(|violation| Stop::Broken(violation.to_string()))?;
            self.inbound.extend_from_slice(&data);
        }
        Ok(())
    }

    /// The transport gave an error.
    pub(crate) fn broke(&mut self, error: &tungstenite::Error) -> Stop {
        match error {
            tungstenite::Error::Capacity(_) => Stop::Broken(error.to_string()),
            error => self.ended(&error.to_string()),
        }
    }

    /// What the relay announced before counts, even where the close itself was lost.
    fn ended(&mut self, why: &str) -> Stop {
        match self.long_close.take() {
            Some((code, reason)) => Stop::Closed(code, reason),
            None => Stop::Lost(why.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    fn closed(code: u16, reason: &'static str) -> Message {
        Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
    }

    fn binary(frames: &[Frame]) -> Message {
        let message: Vec<u8> = frames.iter().flat_map(|frame| frame.message().to_vec()).collect();
        Message::Binary(message.into())
    }

    #[test]
    fn coalesced_frames_all_count() {
        let mut exchange = Exchange::new(0);
        let frames = [Frame::Sid("s".into()), Frame::Unknown(9)];
        exchange.take(Some(Ok(binary(&frames)))).expect("a session");
        exchange.take(Some(Ok(binary(&[Frame::Data("ab".into()), Frame::Data("c".into())])))).expect("data");
        assert_eq!(exchange.inbound, "abc");
    }

    #[test]
    fn the_longer_reason_is_given_even_when_the_close_itself_is_lost() {
        let long = Frame::LongClose { code: 4033, reason: "at length".into() };
        for end in [Some(Ok(closed(4033, "short"))), None] {
            let mut exchange = Exchange::new(0);
            exchange.take(Some(Ok(binary(std::slice::from_ref(&long))))).expect("no end yet");
            assert_eq!(exchange.take(end), Err(Stop::Closed(4033, "at length".into())));
        }
        assert_eq!(Exchange::new(0).take(Some(Ok(closed(4003, "short")))), Err(Stop::Closed(4003, "short".into())));
        assert_eq!(Exchange::new(0).take(Some(Ok(Message::Close(None)))), Err(Stop::Closed(1005, String::new())));
    }

    #[test]
    fn what_is_no_frame_ends_it() {
        for message in [Message::Binary(vec![0].into()), Message::text("hello"), Message::Binary(vec![0, 7].into())] {
            let stop = Exchange::new(0).take(Some(Ok(message))).expect_err("refused");
            assert!(matches!(stop, Stop::Broken(_)), "{stop:?}");
        }
    }
}
