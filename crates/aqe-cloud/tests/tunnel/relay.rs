//! Connections through the relay, and what becomes of them when it misbehaves.

use std::sync::Arc;
use std::time::Duration;

use aqe_cloud::postgres::link::{Roots, Secret};
use aqe_cloud::testkit::relay::Relay;
use aqe_cloud::tunnel::FixedToken;
use aqe_cloud::tunnel::iap::Iap;
use aqe_sync_core::{ErrorKind, Retry};
use aqe_sync_workspace::answers::serve;
use aqe_sync_workspace::postgres::Certificates;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{LIMIT, again, comes_back, echo, instance, noise, open, reason, run, told, tunnel};

#[test]
fn the_request_is_the_one_that_googles_client_makes() {
    let relay = Relay::start(echo());
    run(async { assert!(comes_back(open(&relay).await.unwrap(), noise(100_000)).await.unwrap()) });
    let requests = relay.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        requests[0].target,
        "/v4/connect?project=my-project&zone=my-zone&instance=my-hub&interface=nic0&port=5432&newWebsocket=True"
    );
    assert_eq!(requests[0].authorization, "Bearer made-up");
    assert_eq!(requests[0].origin, "bot:iap-tunneler");
    assert_eq!(requests[0].protocol, "relay.tunnel.cloudproxy.app");
}

#[test]
fn every_byte_arrives_over_transports_that_break_anywhere() {
    let relay = Relay::start(echo());
    run(async {
        let stream = open(&relay).await.unwrap();
        // The first transport is whole so far; from here on they break.
        for _ in 0..20 {
            relay.cut_after(600 + fastrand::u64(..200_000));
        }
        relay.close_now(4004, "log in anew");
        assert!(comes_back(stream, noise(4_000_000)).await.unwrap());
    });
    assert_eq!(relay.cuts(), 20);
    let requests = relay.requests();
    let resumed = &requests[1..];
    assert!(resumed.len() >= 21, "{} transports", requests.len());
    for request in resumed {
        assert!(
            request.target.starts_with("/v4/reconnect?sid=") && request.target.contains("&zone=my-zone&"),
            "{request:?}"
        );
        assert_eq!((request.authorization.as_str(), request.parameter("project")), ("Bearer made-up", None));
    }
}

#[test]
fn the_relay_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::write(folder.path(), "localhost");
    let relay = Relay::start_with_tls(echo(), certificates.server_file(), certificates.server_key_file());
    let with = |file: &std::path::Path| tunnel(&relay).roots(Roots::File(file.to_owned()));
    run(async {
        let stream = with(certificates.ca_file()).connect(LIMIT).await.unwrap();
        relay.cut_after(100_000);
        relay.close_now(4004, "");
        assert!(comes_back(stream, noise(500_000)).await.unwrap());
        let error = with(certificates.other_ca_file()).connect(LIMIT).await.expect_err("somebody else's");
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Refused, Retry::Never), "{error}");
        assert!(error.to_string().contains("cannot be trusted"), "{error}");
    });
}

#[test]
fn small_frames_several_to_a_message_in_pieces_are_put_together() {
    let relay = Relay::start(echo());
    relay.split_and_coalesce(true);
    run(async { assert!(comes_back(open(&relay).await.unwrap(), noise(300_000)).await.unwrap()) });
}

#[test]
fn lost_acknowledgements_are_made_up_for_when_the_session_is_resumed() {
    let relay = Relay::start(echo());
    relay.lose_acks(true);
    run(async {
        let mut stream = tunnel(&relay).window(20_000).connect(LIMIT).await.unwrap();
        let sent = noise(60_000);
        stream.write_all(&sent).await.unwrap();
        let mut back = vec![0; 20_000];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, sent[..20_000], "and no more: the window is full");
        relay.lose_acks(false);
        relay.close_now(4004, "");
        let mut rest = vec![0; 40_000];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, sent[20_000..]);
    });
}

#[test]
fn what_is_unconfirmed_is_bounded_by_the_window() {
    let relay = Relay::start(echo());
    relay.lose_acks(true);
    run(async {
        let mut stream = tunnel(&relay).window(100_000).connect(LIMIT).await.unwrap();
        let sent = noise(1_000_000);
        let mut taken = 0;
        // After what fits the window, only the buffer in between takes more.
        let filled = async {
            loop {
                taken += stream.write(&sent[taken..]).await.unwrap();
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(1), filled).await.is_err());
        assert!(taken <= 100_000 + 65_536, "{taken} bytes were taken");
        let mut back = vec![0; 100_000];
        stream.read_exact(&mut back).await.unwrap();
        assert!(back == sent[..100_000]);
    });
}

#[test]
fn a_slow_relay_only_takes_longer() {
    let relay = Relay::start(echo());
    relay.delay(Duration::from_millis(2));
    run(async { assert!(comes_back(open(&relay).await.unwrap(), noise(500_000)).await.unwrap()) });
}

#[test]
fn the_end_of_the_far_connection_is_the_end_of_the_stream() {
    let relay = Relay::start(serve(|mut stream| {
        use std::io::{Read as _, Write as _};
        let _ = stream.read(&mut [0; 10]);
        let _ = stream.write_all(b"farewell");
    }));
    run(async {
        let mut stream = open(&relay).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "farewell");
    });
}

#[test]
fn the_end_of_the_stream_is_the_end_of_the_far_connection() {
    let (tell, told) = std::sync::mpsc::channel();
    let relay = Relay::start(serve(move |mut stream| {
        let mut all = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut all);
        tell.send(all).unwrap();
    }));
    let sent = noise(300_000);
    run(async {
        let mut closed = open(&relay).await.unwrap();
        closed.write_all(&sent).await.unwrap();
        closed.shutdown().await.unwrap();
        // The task that sends needs this runtime until all is sent.
        let end = tokio::task::spawn_blocking(move || (told.recv_timeout(LIMIT), told));
        let (arrived, told) = end.await.unwrap();
        assert!(arrived.unwrap() == sent, "all of it, and then the end");
        drop(open(&relay).await.unwrap());
        tokio::task::spawn_blocking(move || told.recv_timeout(LIMIT)).await.unwrap().unwrap();
    });
}

#[test]
fn a_relay_that_forgot_the_session_ends_the_stream_with_a_reason() {
    let relay = Relay::start(echo());
    run(async {
        let mut stream = open(&relay).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        relay.restart();
        let error = stream.read(&mut [0; 10]).await.expect_err("the session is gone");
        let error = reason(&error);
        assert!(error.to_string().contains("no longer knows the session"), "{error}");
        assert_eq!(error.can_retry(), Retry::Later);
    });
}

#[test]
fn a_close_code_in_the_middle_ends_the_stream_with_its_reason() {
    for (code, says) in [(4010, "server's log"), (4033, "IAP-secured Tunnel User"), (4000, "said so")] {
        let relay = Relay::start(echo());
        run(async {
            let mut stream = open(&relay).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            relay.close_now(code, "said so");
            let error = stream.read(&mut [0; 10]).await.expect_err("closed");
            assert!(reason(&error).to_string().contains(says), "{error}");
        });
    }
}

/// The clock runs ahead whenever nothing else is to be done.
#[test]
fn a_relay_that_stays_away_is_given_up_after_fifteen_minutes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let relay = Relay::start(echo());
        let mut stream = open(&relay).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        drop(relay);
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let error = stream.read(&mut [0; 10]).await.expect_err("given up");
        let waited = begun.elapsed();
        assert!(reason(&error).to_string().contains("for 15 minutes"), "{error}");
        assert!(waited > Duration::from_secs(14 * 60) && waited <= Duration::from_secs(15 * 60 + 40), "{waited:?}");
    });
}

/// Who can only listen on this machine gains nothing: nobody listens. Other tests of this process
/// do, so it is looked at in one of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_tunnel_opens_no_port() {
    let relay = Relay::start(echo());
    let mut alone = again("relay::an_open_tunnel_in_a_process_of_its_own", &relay.url());
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(relay.requests().len(), 1, "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_open_tunnel_in_a_process_of_its_own() {
    let Some(url) = told() else { return };
    run(async {
        let token = FixedToken::new(Secret::new("made-up")).unwrap();
        let tunnel = Iap::new(instance(), Arc::new(token)).relay(&url).unwrap();
        let stream = tunnel.connect(LIMIT).await.unwrap();
        let own: Vec<String> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let of_state = |state: &str| {
            let all = ["tcp", "tcp6"].map(|file| std::fs::read_to_string(format!("/proc/self/net/{file}")).unwrap());
            let lines = all.iter().flat_map(|file| file.lines().skip(1)).map(|line| line.split_whitespace());
            let fields = lines.map(Iterator::collect::<Vec<_>>);
            fields.filter(|fields| fields[3] == state && own.iter().any(|inode| inode == fields[9])).count()
        };
        assert_eq!((of_state("01"), of_state("0A")), (1, 0), "established, and listening");
        drop(stream);
    });
}
