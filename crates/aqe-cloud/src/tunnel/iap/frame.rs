//! What the relay and its client say to each other: protocol version 4.
//!
//! Each is a tag of 16 bits and what belongs to it, numbers in big-endian, in a binary message of the
//! WebSocket. Google publishes no description; its client and others agree on this.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// No more data goes into one frame.
pub const MAX_DATA: usize = 16_384;
/// A session's name that is longer is none.
const MAX_SID: usize = 4_096;
/// What is read of a reason for closing.
const MAX_REASON: usize = 4_096;

const SID: u16 = 1;
const RESUMED: u16 = 2;
const DATA: u16 = 4;
const ACK: u16 = 7;
const LONG_CLOSE: u16 = 10;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `CONNECT_SUCCESS_SID`: there is a session, and this is its name.
    Sid(Bytes),
    /// `RECONNECT_SUCCESS_ACK`: the session goes on; so many bytes of ours had arrived.
    Resumed(u64),
    /// Bytes of the connection; [`MAX_DATA`] at most.
    Data(Bytes),
    /// So many bytes have arrived since the session began.
    Ack(u64),
    /// Why the relay is about to close, in more words than a close code has room for.
    LongClose {
        /// The same as the code of the WebSocket's close frame.
        code: u32,
        /// For people.
        reason: String,
    },
    /// Something that a later version says; not to be minded.
    Unknown(u16),
}

/// A message that is none of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It ends in the middle of a frame.
    Truncated,
    /// A length is beyond what the protocol allows.
    TooLong {
        /// What was announced, in bytes.
        length: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("a message ends in the middle of a frame"),
            Self::TooLong { length } => write!(f, "a frame of {length} bytes is longer than the protocol allows"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// Takes the next frame off a message. Nothing is copied but reasons.
    ///
    /// How long an unknown frame is nobody can know, so it takes the rest of its message with it.
    ///
    /// # Errors
    /// When the message breaks off, or announces more than is allowed.
    pub fn take(message: &mut Bytes) -> Result<Self, FrameError> {
        let tag = message.try_get_u16().map_err(|_| FrameError::Truncated)?;
        match tag {
            SID => Ok(Self::Sid(take_bytes(message, MAX_SID)?)),
            RESUMED => Ok(Self::Resumed(message.try_get_u64().map_err(|_| FrameError::Truncated)?)),
            DATA => Ok(Self::Data(take_bytes(message, MAX_DATA)?)),
            ACK => Ok(Self::Ack(message.try_get_u64().map_err(|_| FrameError::Truncated)?)),
            LONG_CLOSE => {
                let code = message.try_get_u32().map_err(|_| FrameError::Truncated)?;
                let reason = take_bytes(message, MAX_REASON)?;
                Ok(Self::LongClose { code, reason: String::from_utf8_lossy(&reason).into_owned() })
            }
            unknown => {
                message.clear();
                Ok(Self::Unknown(unknown))
            }
        }
    }

    /// Makes a message of one frame. Data beyond [`MAX_DATA`] is for the caller to split.
    pub fn message(&self) -> Bytes {
        let mut message = BytesMut::with_capacity(14 + self.payload().len());
        match self {
            Self::Sid(sid) => put_bytes(&mut message, SID, sid),
            Self::Resumed(bytes) => put_number(&mut message, RESUMED, *bytes),
            Self::Data(data) => put_bytes(&mut message, DATA, data),
            Self::Ack(bytes) => put_number(&mut message, ACK, *bytes),
            Self::LongClose { code, reason } => {
                message.put_u16(LONG_CLOSE);
                message.put_u32(*code);
                put_length(&mut message, reason.len());
                message.put_slice(reason.as_bytes());
            }
            Self::Unknown(tag) => message.put_u16(*tag),
        }
        message.freeze()
    }

    fn payload(&self) -> &[u8] {
        match self {
            Self::Sid(bytes) | Self::Data(bytes) => bytes,
            Self::LongClose { reason, .. } => reason.as_bytes(),
            Self::Resumed(_) | Self::Ack(_) | Self::Unknown(_) => &[],
        }
    }
}

fn take_bytes(message: &mut Bytes, limit: usize) -> Result<Bytes, FrameError> {
    let announced = message.try_get_u32().map_err(|_| FrameError::Truncated)?;
    let length = usize::try_from(announced).ok().filter(|length| *length <= limit);
    let length = length.ok_or(FrameError::TooLong { length: announced })?;
    if message.len() < length {
        return Err(FrameError::Truncated);
    }
    Ok(message.split_to(length))
}

fn put_number(message: &mut BytesMut, tag: u16, number: u64) {
    message.put_u16(tag);
    message.put_u64(number);
}

fn put_bytes(message: &mut BytesMut, tag: u16, bytes: &[u8]) {
    message.put_u16(tag);
    put_length(message, bytes.len());
    message.put_slice(bytes);
}

/// No caller has four gigabytes in one frame; the other side refuses what is over the limit.
fn put_length(message: &mut BytesMut, length: usize) {
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(message: impl Into<Bytes>) -> Result<Vec<Frame>, FrameError> {
        let mut message = message.into();
        let mut frames = Vec::new();
        while !message.is_empty() {
            frames.push(Frame::take(&mut message)?);
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_the_bytes_that_googles_client_sends_and_takes() {
        for (frame, bytes) in [
            (Frame::Sid("ab".into()), &b"\0\x01\0\0\0\x02ab"[..]),
            (Frame::Resumed(258), b"\0\x02\0\0\0\0\0\0\x01\x02"),
            (Frame::Data("xyz".into()), b"\0\x04\0\0\0\x03xyz"),
            (Frame::Ack(1), b"\0\x07\0\0\0\0\0\0\0\x01"),
            (Frame::LongClose { code: 4033, reason: "no".into() }, b"\0\x0a\0\0\x0f\xc1\0\0\0\x02no"),
        ] {
            assert_eq!(frame.message(), bytes, "{frame:?}");
            assert_eq!(all(bytes), Ok(vec![frame]));
        }
    }

    #[test]
    fn frames_in_one_message_come_one_by_one_and_an_unknown_one_ends_it() {
        let message = b"\0\x07\0\0\0\0\0\0\0\x01\0\x04\0\0\0\x01x\0\x63\0\x04\0\0\0\x01y";
        assert_eq!(all(&message[..]), Ok(vec![Frame::Ack(1), Frame::Data("x".into()), Frame::Unknown(99)]));
    }

    #[test]
    fn no_length_beyond_the_limit_is_believed() {
        for (message, length) in [
            (&b"\0\x04\0\0\x40\x01"[..], 16_385),
            (b"\0\x01\xff\xff\xff\xff", u32::MAX),
            (b"\0\x0a\0\0\0\0\x7f\xff\xff\xff", 0x7fff_ffff),
        ] {
            assert_eq!(all(message), Err(FrameError::TooLong { length }));
        }
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        prop_oneof![
            bytes().prop_map(Frame::Sid),
            any::<u64>().prop_map(Frame::Resumed),
            bytes().prop_map(Frame::Data),
            any::<u64>().prop_map(Frame::Ack),
            (any::<u32>(), ".{0,50}").prop_map(|(code, reason)| Frame::LongClose { code, reason }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in proptest::collection::vec(frames(), 0..5)) {
            let message: Vec<u8> = frames.iter().flat_map(|frame| frame.message().to_vec()).collect();
            prop_assert_eq!(all(message), Ok(frames));
        }

        #[test]
        fn a_message_that_breaks_off_is_refused(frame in frames(), cut in any::<prop::sample::Index>()) {
            let message = frame.message();
            let cut = 1 + cut.index(message.len() - 1);
            prop_assert_eq!(all(message.slice(..cut)), Err(FrameError::Truncated));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(bytes);
        }
    }
}
