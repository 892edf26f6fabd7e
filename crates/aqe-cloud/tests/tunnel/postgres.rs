//! A real PostgreSQL behind the relay.

use std::time::Duration;

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::doctor::{Severity, examine};
use aqe_cloud::postgres::link::{AddressParts, Connector as _, Roots, SslMode, connect};
use aqe_cloud::testkit::relay::Relay;
use aqe_sync_workspace::postgres::Cluster;

use crate::world::{run, tunnel};

#[test]
fn tls_is_spoken_with_the_database_inside_the_tunnel() {
    let cluster = Cluster::builder()
        .ssl(true)
        .access("hostssl all all 127.0.0.1/32 trust")
        .access("hostnossl all all 127.0.0.1/32 reject")
        .start();
    let relay = Relay::start(cluster.port());
    let parts = || AddressParts::new().host("localhost").user("postgres").connect_timeout(Duration::from_secs(30));
    let roots = || Roots::File(cluster.certificates().ca_file().to_owned());
    run(async {
        let address = parts().ssl_mode(SslMode::VerifyFull).roots(roots()).build().unwrap();
        let link = connect(&address, &tunnel(&relay)).await.unwrap();
        let encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let row = link.query_typed_one(encrypted, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "true");
        let other = parts().host("my-hub").ssl_mode(SslMode::VerifyFull).roots(roots()).build().unwrap();
        let error = connect(&other, &tunnel(&relay)).await.err().expect("not its name");
        assert!(error.to_string().contains("\"my-hub\""), "{error}");
        let plain = parts().ssl_mode(SslMode::Disable).build().unwrap();
        let error = connect(&plain, &tunnel(&relay)).await.err().expect("rejected");
        assert!(error.to_string().contains("pg_hba.conf"), "{error}");
    });
}

#[test]
fn a_failure_of_the_tunnel_names_the_hub_that_was_asked_for() {
    let relay = Relay::start(1);
    relay.close_next(4033, "not you");
    let address = AddressParts::new().host("my-hub").user("me").build().unwrap();
    let error = run(async { connect(&address, &tunnel(&relay)).await.err().expect("denied") });
    assert!(error.to_string().starts_with("connecting to postgres://me@my-hub:5432/me: "), "{error}");
    assert!(error.to_string().contains("\"not you\"") && error.to_string().contains("IAP-secured"), "{error}");
}

#[test]
fn a_session_ends_with_the_servers_own_words() {
    let database = Cluster::shared().database();
    let address = AddressParts::parse(&database.url()).unwrap().build().unwrap();
    let relay = Relay::start(address.port());
    run(async {
        let link = connect(&address, &tunnel(&relay)).await.unwrap();
        let row = link.query_typed_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        let pid: i32 = row.get(0);
        let waiting = link.simple_query("SELECT pg_sleep(1000)");
        let ending = tokio::task::spawn_blocking(move || database.psql(&format!("SELECT pg_terminate_backend({pid})")));
        let (waited, ended) = tokio::join!(waiting, ending);
        assert_eq!(ended.unwrap(), "t");
        let error = link.fault("waiting", waited.expect_err("ended"));
        assert!(error.to_string().contains("administrator"), "{error}");
    });
}

#[test]
fn doctor_says_how_the_tunnel_is() {
    let database = Cluster::shared().database();
    let address = || AddressParts::parse(&database.url()).unwrap().build().unwrap();
    let relay = Relay::start(address().port());
    let look = || examine(PostgresHub::builder(address()).connector(std::sync::Arc::new(tunnel(&relay))));
    let checks = look();
    let of = |checks: &[aqe_cloud::postgres::doctor::Check], name: &str| {
        let check = checks.iter().find(|check| check.name == name);
        check.map_or_else(|| panic!("{name}: {checks:?}"), |check| (check.severity, check.found.clone()))
    };
    let (severity, found) = of(&checks, "tunnel");
    assert_eq!(severity, Severity::Ok, "{found}");
    assert!(found.contains("my-hub") && found.contains("127.0.0.1"), "{found}");
    assert_eq!(of(&checks, "tunnel credentials").0, Severity::Ok);
    assert_eq!(of(&checks, "connection").0, Severity::Ok);
    relay.close_next(4033, "");
    relay.close_next(4033, "");
    let (severity, found) = of(&look(), "tunnel");
    assert_eq!(severity, Severity::Critical);
    assert!(found.contains("IAP-secured Tunnel User"), "{found}");
    // The trait's own answer: nothing to say.
    let nothing = run(async { aqe_cloud::tunnel::Direct.examine(&address()).await });
    assert!(nothing.is_empty());
}
