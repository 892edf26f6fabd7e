//! What a relay sends: frames, and what they do to a session.

use aqe_cloud::tunnel::iap::frame::{Frame, MAX_DATA};
use aqe_cloud::tunnel::iap::session::Session;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};
use bytes::Bytes;

/// Every frame alone, and messages of several.
fn corpus(name: &'static str) -> Corpus {
    let frames = [
        Frame::Sid("a session".into()),
        Frame::Resumed(7),
        Frame::Data("data".into()),
        Frame::Data(vec![7; MAX_DATA].into()),
        Frame::Ack(3),
        Frame::Ack(11),
        Frame::LongClose { code: 4033, reason: "not you".into() },
    ];
    let messages: Vec<Vec<u8>> = frames.iter().map(|frame| frame.message().to_vec()).collect();
    let all = messages.concat();
    let some = [&messages[0][..], &messages[2], &messages[4], &messages[2]].concat();
    let corpus = Corpus::new().with_past_failures(name).with_any("all", all).with("some", some);
    let corpus = messages.into_iter().zip(frames).fold(corpus, |corpus, (message, frame)| {
        let shown = format!("{frame:?}");
        corpus.with_any(&shown[..shown.len().min(20)], message)
    });
    corpus.words([
        "\0\u{1}",
        "\0\u{2}",
        "\0\u{4}",
        "\0\u{7}",
        "\0\u{a}",
        "\0\0\0\u{1}",
        "\0\0@\0",
        "\u{7f}\u{7f}\u{7f}\u{7f}",
    ])
}

#[test]
fn tunnel_frames() {
    Target::new("tunnel_frames", corpus("tunnel_frames")).at_least(10_000).share_past(5).run(|bytes| {
        let mut message = Bytes::copy_from_slice(bytes);
        let mut reached = Reached::Refused;
        while !message.is_empty() {
            let before = message.clone();
            let Ok(frame) = Frame::take(&mut message) else { return Reached::Refused };
            assert!(message.len() < before.len(), "it takes something, or it would go on for ever");
            let consumed = before.slice(..before.len() - message.len());
            match &frame {
                Frame::Unknown(_) => assert!(message.is_empty()),
                // Text that is not UTF-8 is mended.
                Frame::LongClose { reason, .. } if reason.contains('\u{fffd}') => {}
                known => assert_eq!(known.message(), consumed),
            }
            reached = Reached::Past;
        }
        reached
    });
}

/// The first byte of what is sent says how much of ours goes before each frame.
#[test]
fn tunnel_session() {
    const WINDOW: usize = 50_000;
    Target::new("tunnel_session", corpus("tunnel_session")).at_least(10_000).share_past(3).run(|bytes| {
        let mut session = Session::new(WINDOW);
        let mut message = Bytes::copy_from_slice(bytes);
        let (mut given, mut opened) = (0, false);
        while !message.is_empty() {
            let Ok(frame) = Frame::take(&mut message) else { return Reached::Refused };
            let length = session.room().min(usize::from(bytes[0]) * 100 + 10);
            session.accept(vec![0; length].into());
            given += length as u64;
            let mut sent = 0;
            while let Some(frame) = session.next(false) {
                sent += 1;
                assert!(sent <= WINDOW, "it sends for ever");
                assert!(!matches!(frame, Frame::Data(data) if data.len() > MAX_DATA));
            }
            if session.take(frame).is_err() {
                break;
            }
            session.deliver(1_000);
            assert!(session.room() <= WINDOW);
            assert!(session.progress() <= given + bytes.len() as u64);
            opened |= session.is_open();
            if bytes.len() % 5 == 4 {
                session.lost();
            }
        }
        if opened { Reached::Past } else { Reached::Refused }
    });
}
