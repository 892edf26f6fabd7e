//! A relay that refuses, and one that breaks the protocol.

use std::time::Duration;

use aqe_cloud::testkit::relay::Relay;
use aqe_cloud::tunnel::iap::frame::Frame;
use aqe_sync_core::{Error, ErrorKind, Retry};
use bytes::Bytes;

use aqe_sync_workspace::answers::serve;

use crate::world::{comes_back, echo, noise, open, run, tunnel};

fn refusal(prepare: impl FnOnce(&Relay)) -> Error {
    let relay = Relay::start(echo());
    prepare(&relay);
    let error = run(async { tunnel(&relay).connect(Duration::from_millis(500)).await.expect_err("refused") });
    assert!(!format!("{error} {error:?}").contains("made-up"), "the token shows: {error:?}");
    error
}

#[test]
fn every_close_code_becomes_an_error_that_says_what_to_check() {
    for (code, kind, retry, says) in [
        (1000, ErrorKind::Io, Retry::Later, "before there was a session"),
        (1011, ErrorKind::Io, Retry::Later, "code 1011"),
        (4000, ErrorKind::Io, Retry::Later, "status"),
        (4001, ErrorKind::Io, Retry::Later, "no longer knows"),
        (4002, ErrorKind::Io, Retry::Later, "another connection"),
        (4003, ErrorKind::Io, Retry::Later, "35.235.240.0/20"),
        (4004, ErrorKind::Io, Retry::Later, "code 4004"),
        (4005, ErrorKind::Io, Retry::Later, "acknowledgement"),
        (4006, ErrorKind::Io, Retry::Later, "acknowledgement"),
        (4007, ErrorKind::Io, Retry::Later, "understand"),
        (4008, ErrorKind::Io, Retry::Later, "understand"),
        (4009, ErrorKind::Io, Retry::Later, "write"),
        (4010, ErrorKind::Io, Retry::Later, "write"),
        (4013, ErrorKind::Io, Retry::Later, "understand"),
        (4033, ErrorKind::PermissionDenied, Retry::Never, "roles/iap.tunnelResourceAccessor"),
        (4047, ErrorKind::NotFound, Retry::Later, "my-zone"),
        (4051, ErrorKind::NotFound, Retry::Later, "my-hub"),
        (4777, ErrorKind::Io, Retry::Later, "code 4777"),
    ] {
        let error = refusal(|relay| relay.close_next(code, "the relay's words"));
        assert_eq!((error.kind(), error.can_retry()), (kind, retry), "{code}: {error}");
        assert!(error.to_string().contains(says), "{code}: {error}");
        assert!(code == 1000 || error.to_string().contains("the relay's words"), "{code}: {error}");
    }
}

#[test]
fn a_reason_at_length_is_told_whole() {
    let long = "because ".repeat(50);
    let error = refusal(|relay| relay.close_next_at_length(4033, &long));
    assert!(error.to_string().contains(&long), "{error}");
}

#[test]
fn what_is_no_websocket_says_why() {
    for (status, kind, retry) in [
        (400, ErrorKind::Invalid, Retry::Never),
        (401, ErrorKind::PermissionDenied, Retry::Never),
        (403, ErrorKind::PermissionDenied, Retry::Never),
        (503, ErrorKind::Io, Retry::Later),
    ] {
        let error = refusal(|relay| relay.refuse(status));
        assert_eq!((error.kind(), error.can_retry()), (kind, retry), "{error}");
        assert!(error.to_string().contains("as the test wants it"), "the body is told: {error}");
    }
}

#[test]
fn a_machine_that_is_starting_is_waited_for() {
    let relay = Relay::start(echo());
    relay.close_next(4047, "not yet");
    run(async { assert!(comes_back(open(&relay).await.unwrap(), noise(10)).await.unwrap()) });
    assert_eq!(relay.requests().len(), 2);
}

#[test]
fn a_port_that_nobody_listens_on_is_said_with_the_firewall_to_check() {
    // Bound, so that nobody else gets it, and not listened on.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let relay = Relay::start(free);
    let error = run(async { open(&relay).await.expect_err("nobody listens") });
    assert!(
        error.to_string().contains("port 5432 of my-hub") && error.to_string().contains("35.235.240.0/20"),
        "{error}"
    );
}

#[test]
fn a_relay_that_breaks_the_protocol_is_not_believed() {
    let frames = |frames: &[Frame]| -> Vec<Bytes> { frames.iter().map(Frame::message).collect() };
    for (messages, says) in [
        (frames(&[Frame::Data("x".into())]), "data came before the session"),
        (frames(&[Frame::Ack(0)]), "acknowledgement came before the session"),
        (frames(&[Frame::Resumed(0)]), "goes on came where it does not belong"),
        (vec![Bytes::from_static(b"\0\x04\xff\xff\xff\xff")], "longer than the protocol allows"),
        (vec![Bytes::from_static(b"\0\x01\0\0\0\x05abc")], "in the middle of a frame"),
        (vec![vec![0; 300_000].into()], "too long"),
    ] {
        let error = refusal(|relay| relay.say_next(messages));
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(error.to_string().to_lowercase().contains(says), "{says}: {error}");
    }
}

#[test]
fn a_name_after_unknown_frames_is_a_session() {
    let relay = Relay::start(echo());
    relay.say_next(vec![Frame::Unknown(99).message(), Frame::Sid("name".into()).message()]);
    run(async { drop(open(&relay).await.unwrap()) });
}

#[test]
fn acknowledgements_that_cannot_be_end_the_stream() {
    use tokio::io::AsyncReadExt as _;
    let relay = Relay::start(echo());
    relay.say_next(vec![Frame::Sid("name".into()).message(), Frame::Ack(1).message()]);
    run(async {
        let error = match open(&relay).await {
            Ok(mut stream) => stream.read(&mut [0]).await.expect_err("nothing was sent").to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("1 bytes were acknowledged, and 0 were sent"), "{error}");
    });
}

#[test]
fn whatever_answers_at_the_relays_place_is_told_from_it() {
    let port = serve(|mut stream| {
        let _ = std::io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.6\r\n");
        let _ = std::io::Read::read(&mut stream, &mut [0; 100]);
    });
    let relay = Relay::start(echo());
    let error = run(async {
        let elsewhere = tunnel(&relay).relay(&format!("ws://127.0.0.1:{port}/v4")).unwrap();
        elsewhere.connect(Duration::from_secs(5)).await.expect_err("no relay")
    });
    assert!(error.to_string().contains("is not the relay"), "{error}");
}
