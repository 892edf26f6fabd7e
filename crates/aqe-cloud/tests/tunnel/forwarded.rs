//! Ports that somebody else forwards.

use std::io::{Read as _, Write as _};

use aqe_cloud::postgres::link::{AddressParts, connect};
use aqe_cloud::tunnel::Forwarded;
use aqe_sync_core::{Error, ErrorKind, Retry};
use aqe_sync_workspace::postgres::Cluster;

use aqe_sync_workspace::answers::serve;

use crate::world::run;

fn refusal(port: u16) -> Error {
    let address = AddressParts::new().user("me").password_file("/nowhere").build().unwrap();
    run(connect(&address, &Forwarded::new(port))).err().expect("it is no PostgreSQL")
}

#[test]
fn a_port_that_leads_to_a_postgresql_is_used() {
    let database = Cluster::shared().database();
    let address = AddressParts::parse(&database.url()).unwrap().build().unwrap();
    // What counts is the connector's port.
    let port = address.port();
    let elsewhere = AddressParts::parse(&database.url()).unwrap().host("unknown.invalid").port(1).build().unwrap();
    run(async {
        let link = connect(&elsewhere, &Forwarded::new(port)).await.unwrap();
        link.simple_query("SELECT 1").await.unwrap();
    });
}

#[test]
fn what_else_listens_there_is_named_and_gets_no_password() {
    for (greeting, says) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "an SSH server"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"),
        ("220 mail.example ESMTP\r\n", "mail"),
        ("J\0\0\0\u{a}8.0.36\0mysql_native_password", "MySQL"),
        ("hello\n", "says \"hello\""),
    ] {
        let port = serve(move |mut stream| {
            let mut got = [0; 1_000];
            let _ = stream.write_all(greeting.as_bytes());
            let length = stream.read(&mut got).unwrap_or(0);
            assert_eq!(&got[..length], [0, 0, 0, 8, 4, 210, 22, 47], "no more than the question");
        });
        let error = refusal(port);
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Invalid, Retry::Never), "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains(&port.to_string()), "{error}");
    }
}

#[test]
fn a_port_that_nobody_serves_or_that_closes_may_be_tried_again() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    for (port, says) in [(free, "nobody listens"), (serve(drop), "without a word")] {
        let error = refusal(port);
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
