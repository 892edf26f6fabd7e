//! gcloud as a child: the real one through our relay, and made-up ones that fail.
#![cfg(unix)]

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aqe_cloud::postgres::link::{Address, AddressParts, Connector as _, connect};
use aqe_cloud::testkit::relay::Relay;
use aqe_cloud::tunnel::Gcloud;
use aqe_sync_core::{Error, ErrorKind, Retry};
use aqe_sync_workspace::postgres::{Certificates, Cluster};
use tempfile::TempDir;

use crate::world::{again, instance, run, told};

fn script(folder: &Path, text: &str) -> String {
    let path = folder.join("gcloud");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn address(limit: Duration) -> Address {
    AddressParts::new().user("me").connect_timeout(limit).build().unwrap()
}

fn refusal(text: &str, limit: Duration) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let gcloud = Gcloud::new(instance()).program(script(folder.path(), text));
    run(async { gcloud.open(&address(limit)).await.err().expect("no tunnel") })
}

/// A user of gcloud who is known to nobody but our relay.
fn real(folder: &TempDir, authority: &Path) -> Option<String> {
    let found = Command::new("gcloud").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("skipped: there is no gcloud on this machine");
        return None;
    }
    let token = folder.path().join("token");
    std::fs::write(&token, "made-up").unwrap();
    let settings = [
        ("CLOUDSDK_CONFIG", folder.path().join("config").display().to_string()),
        ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", token.display().to_string()),
        ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1".into()),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1".into()),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1".into()),
        ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", authority.display().to_string()),
    ];
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("export {name}='{value}'")).collect();
    Some(script(folder.path(), &format!("{}\nexec gcloud \"$@\"", settings.join("\n"))))
}

#[test]
fn googles_own_client_works_through_the_relay_and_ends_with_its_last_connection() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::write(folder.path(), "localhost");
    let Some(program) = real(&folder, certificates.ca_file()) else { return };
    let database = Cluster::shared().database();
    let parts = AddressParts::parse(&database.url()).unwrap().connect_timeout(Duration::from_secs(50));
    let address = parts.build().unwrap();
    let relay = Relay::start_with_tls(address.port(), certificates.server_file(), certificates.server_key_file());
    let gcloud = Gcloud::new(instance()).program(program).relay(relay.url());
    run(async {
        let link = connect(&address, &gcloud).await.unwrap_or_else(|error| panic!("{error}; {:?}", relay.requests()));
        let sum =
            "SELECT sum(length(a)) FROM (SELECT repeat(md5(n::text), 100) AS a FROM generate_series(1, 2000) n) s";
        link.simple_query(sum).await.unwrap();
        let rows = link.simple_query("SELECT repeat(md5(n::text), 100) FROM generate_series(1, 2000) n").await.unwrap();
        assert!(rows.len() > 2_000);
        let checks = gcloud.examine(&address).await;
        assert!(checks.iter().all(|check| check.advice.is_none()), "{checks:?}");
        // A second connection uses the same tunnel.
        let other = connect(&address, &gcloud).await.unwrap();
        drop((gcloud, link));
        other.simple_query("SELECT 1").await.unwrap();
    });
    let requests = relay.requests();
    let last = requests.last().expect("requests");
    for part in ["project=my-project", "zone=my-zone", "instance=my-hub", "interface=nic0", "port=5432"] {
        assert!(last.target.contains(part), "{last:?}");
    }
    assert_eq!((last.authorization.as_str(), last.origin.as_str()), ("Bearer made-up", "bot:iap-tunneler"));
}

#[test]
fn what_gcloud_says_when_it_fails_is_told() {
    let error = refusal("echo 'ERROR: (gcloud) no such zone' >&2; exit 3", Duration::from_secs(20));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later));
    for part in ["(gcloud) no such zone", "exit status: 3", "my-hub"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_tunnel_that_is_not_there_in_time_is_told_with_what_gcloud_says() {
    let error = refusal("echo 'still thinking' >&2; sleep 1000", Duration::from_secs(1));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later));
    assert!(error.to_string().contains("still thinking") && error.to_string().contains("in time"), "{error}");
}

#[test]
fn without_gcloud_it_is_said_what_to_install() {
    let gcloud = Gcloud::new(instance()).program("/nowhere/gcloud");
    let error = run(async { gcloud.open(&address(Duration::from_secs(20))).await.err().expect("no program") });
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::NotFound, Retry::Never), "{error}");
    assert!(error.to_string().contains("tunnel = \"iap\""), "{error}");
}

#[test]
fn a_port_that_is_in_use_is_not_taken_for_the_tunnel() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gcloud = Gcloud::new(instance()).program(script(folder.path(), "sleep 1000"));
    let gcloud = gcloud.port(taken.local_addr().unwrap().port());
    let error = run(async { gcloud.open(&address(Duration::from_secs(20))).await.err().expect("in use") });
    assert!(error.to_string().contains("in use"), "{error}");
}

/// The script, and what it starts, hold a pipe open whose end tells that they are gone.
fn holding(folder: &Path) -> (String, PathBuf) {
    let fifo = folder.join("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let text = format!("exec 9>'{}'\ntrap '' TERM\necho started >&9\nsleep 1000 &\nwait\nwait", fifo.display());
    (script(folder, &text), fifo)
}

#[test]
fn the_child_ends_with_us_however_we_end() {
    let folder = tempfile::tempdir().unwrap();
    let (program, fifo) = holding(folder.path());
    let mut us = again("gcloud::a_process_that_is_killed", &program).stdout(Stdio::null()).spawn().unwrap();
    let mut alive = std::fs::File::open(fifo).unwrap();
    let mut started = [0; 8];
    alive.read_exact(&mut started).unwrap();
    // SIGKILL: nothing of ours runs any more.
    us.kill().unwrap();
    us.wait().unwrap();
    assert_eq!(alive.read(&mut started).unwrap(), 0, "ends when the last of them has");
}

#[test]
fn a_process_that_is_killed() {
    let Some(program) = told() else { return };
    let gcloud = Gcloud::new(instance()).program(program);
    let _ = run(async { gcloud.open(&address(Duration::from_secs(50))).await.map(drop) });
}

#[test]
fn a_tunnel_that_nobody_wants_any_more_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (program, fifo) = holding(folder.path());
    let gcloud = Gcloud::new(instance()).program(program);
    let waiting = std::thread::spawn(move || {
        let mut all = String::new();
        std::fs::File::open(fifo).unwrap().read_to_string(&mut all).unwrap();
        all
    });
    let error = run(async { gcloud.open(&address(Duration::from_secs(1))).await.err().expect("no PostgreSQL") });
    assert!(error.to_string().contains("in time"), "{error}");
    assert_eq!(waiting.join().unwrap(), "started\n");
}
