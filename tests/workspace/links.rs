//! Links that break and links that are long.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aqe_sync_workspace::latency::{LatencyProxy, Link};
use aqe_sync_workspace::postgres::Cluster;
use aqe_sync_workspace::proxy::Proxy;

/// A server for `connections` connections that sends `answer`, then reads to the end and returns
/// what it got on each.
fn server(answer: Vec<u8>, connections: usize) -> (u16, JoinHandle<Vec<Vec<u8>>>) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    let serve = move || {
        let one = |stream: std::io::Result<TcpStream>| {
            let mut stream = stream.expect("a connection");
            let _ = stream.write_all(&answer);
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got);
            got
        };
        socket.incoming().take(connections).map(one).collect()
    };
    (port, thread::spawn(serve))
}

fn numbered(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).expect("below 251")).collect()
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    got
}

#[test]
fn a_connection_is_cut_after_exactly_that_many_bytes_to_the_server() {
    for bytes in [0, 1, 4_095, 65_536, 200_000] {
        let (port, got) = server(Vec::new(), 1);
        let proxy = Proxy::new(port);
        proxy.cut_after(bytes as u64);
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connects");
        let _ = client.write_all(&numbered(300_000));
        assert_eq!(read_all(&client), b"");
        assert_eq!(got.join().expect("ends"), [&numbered(300_000)[..bytes]]);
        assert_eq!((proxy.bytes_to_server(), proxy.cuts()), (bytes as u64, 1));
    }
}

#[test]
fn a_connection_is_cut_after_exactly_that_many_bytes_from_the_server() {
    for bytes in [0, 1, 65_536, 200_000] {
        let (port, got) = server(numbered(300_000), 1);
        let proxy = Proxy::new(port);
        proxy.cut_after_from_server(bytes as u64);
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connects");
        assert_eq!(read_all(&client), &numbered(300_000)[..bytes]);
        got.join().expect("ends");
        assert_eq!((proxy.bytes_from_server(), proxy.cuts()), (bytes as u64, 1));
    }
}

#[test]
fn a_single_cut_lets_the_next_connection_pass() {
    let (port, got) = server(Vec::new(), 2);
    let proxy = Proxy::new(port);
    proxy.cut_once_after(3);
    for _ in 0..2 {
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connects");
        let _ = client.write_all(b"abcdef");
        let _ = client.shutdown(Shutdown::Write);
        read_all(&client);
    }
    assert_eq!(got.join().expect("ends"), [b"abc".to_vec(), b"abcdef".to_vec()]);
    assert_eq!((proxy.connections(), proxy.cuts()), (2, 1));
}

#[test]
fn what_is_held_arrives_after_the_release_and_a_held_connection_can_be_cut() {
    let (port, got) = server(b"welcome".to_vec(), 2);
    let proxy = Proxy::new(port);
    proxy.hold();
    let mut first = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connects");
    first.write_all(b"abc").expect("the kernel takes it");
    assert_eq!(proxy.bytes_sent(), 0);
    proxy.release();
    let mut welcome = [0; 7];
    first.read_exact(&mut welcome).expect("it moves again");
    let _ = first.shutdown(Shutdown::Write);
    read_all(&first);

    proxy.hold();
    let second = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connects");
    while proxy.connections() < 2 {
        thread::yield_now();
    }
    proxy.cut_now();
    assert_eq!(read_all(&second), b"");
    assert_eq!(got.join().expect("ends"), [b"abc".to_vec(), Vec::new()]);
}

#[test]
fn a_real_server_speaks_through_both_proxies() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let ask = |port: u16| {
        let mut psql = std::process::Command::new(cluster.binaries().program("psql"));
        psql.args(["-XAt", "-c", "SELECT length(repeat('x', 1000000))", "-d", &database.url_through(port)]);
        String::from_utf8_lossy(&psql.output().expect("psql runs").stdout).trim().to_owned()
    };
    let proxy = Proxy::new(cluster.port());
    assert_eq!(ask(proxy.port()), "1000000");
    proxy.cut_after(40);
    assert_eq!(ask(proxy.port()), "");
    proxy.pass();
    assert_eq!(ask(proxy.port()), "1000000");
    let link = LatencyProxy::new(cluster.port(), Link::with_round_trip(Duration::from_millis(2)));
    assert_eq!(ask(link.port()), "1000000");
}

#[test]
fn a_long_link_keeps_every_byte_in_order_both_ways_and_passes_the_end_on() {
    let sent = numbered(3_000_000);
    let (port, got) = server(sent.clone(), 1);
    let link = Link { round_trip: Duration::from_millis(1), megabits: 10_000.0, slow_start: true };
    let proxy = LatencyProxy::new(port, link);
    let client = TcpStream::connect(("127.0.0.1", proxy.port())).expect("connects");
    let received = thread::scope(|threads| {
        let reading = threads.spawn(|| read_all(&client));
        (&client).write_all(&sent).expect("the link takes it");
        client.shutdown(Shutdown::Write).expect("still open");
        reading.join().expect("ends")
    });
    assert!(received == sent, "the bytes from the server differ");
    assert!(got.join().expect("ends")[0] == sent, "the bytes to the server differ");
    assert_eq!(proxy.bytes_sent(), 6_000_000);
}
