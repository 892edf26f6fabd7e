//! The command over a hub on Google Cloud: a relay of ours in front of a real PostgreSQL.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use aqe_cloud::postgres::link::AddressParts;
use aqe_cloud::testkit::relay::Relay;
use aqe_sync_workspace::postgres::{Cluster, Database};

use crate::program::{json, program, said, sample};

struct Project {
    folder: tempfile::TempDir,
    /// With a gcloud that knows a token, and nothing else.
    path: tempfile::TempDir,
    database: Database,
    relay: Relay,
}

impl Project {
    fn new() -> Self {
        let (folder, path) = (sample(), tempfile::tempdir().expect("a folder"));
        let gcloud = path.path().join("gcloud");
        std::fs::write(&gcloud, "#!/bin/sh\necho Zq7made-up\n").expect("written");
        std::fs::set_permissions(&gcloud, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let database = Cluster::shared().database();
        let relay = Relay::start(port(&database));
        let project = Self { folder, path, database, relay };
        project.configure(&format!("relay = \"{}\"\nport = 5433", project.relay.url()));
        project
    }

    fn configure(&self, gcp: &str) {
        std::fs::write(self.root().join("aqe-sync.toml"), format!("[gcp]\n{gcp}\n")).expect("written");
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = program(self.root());
        command.args(arguments).arg("--root").arg(self.root()).env("AQE_ENV", "laptop");
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path.path().display()));
        // No other credentials than gcloud's are to be found.
        command.env("GCE_METADATA_HOST", "127.0.0.1:1").env("CLOUDSDK_CONFIG", self.path.path());
        command.env("GCP_USER", "postgres").env("GCP_DATABASE", self.database.name());
        let output = command.envs(variables.iter().copied()).output().expect("it runs");
        let all = said(&output);
        assert!(!all.contains("Zq7"), "the token shows: {all}");
        output
    }
}

fn port(database: &Database) -> u16 {
    AddressParts::parse(&database.url()).and_then(AddressParts::build).expect("a URL").port()
}

const INSTANCE: [(&str, &str); 3] =
    [("GCP_PROJECT", "my-project"), ("GCP_ZONE", "my-zone"), ("GCP_INSTANCE", "my-hub")];

#[test]
fn a_named_instance_is_synced_to_through_the_relay() {
    let project = Project::new();
    let output = project.run(&INSTANCE, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("814 new; hub postgres://postgres@my-hub:5433/"), "{}", said(&output));
    assert_eq!(project.run(&INSTANCE, &["verify"]).status.code(), Some(0));
    let requests = project.relay.requests();
    let wanted =
        "/v4/connect?project=my-project&zone=my-zone&instance=my-hub&interface=nic0&port=5433&newWebsocket=True";
    assert!(requests.iter().all(|request| request.target == wanted), "{requests:?}");
    assert!(requests.iter().all(|request| request.authorization == "Bearer Zq7made-up"));
    let answer = json(&project.run(&INSTANCE, &["doctor", "--json"]));
    let checks = answer["checks"].as_array().expect("a list");
    for name in ["tunnel credentials", "tunnel", "connection", "encryption"] {
        let found = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {answer:#}"));
        assert_eq!(found["severity"], "ok", "{found}");
        assert!(name != "encryption" || found["found"].as_str().is_some_and(|text| text.contains("relay")), "{found}");
    }
}

#[test]
fn a_tunnel_that_is_refused_fails_the_run_with_what_to_check() {
    let project = Project::new();
    (0..3).for_each(|_| project.relay.close_next(4033, "not you"));
    let output = project.run(&INSTANCE, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    for part in ["postgres://postgres@my-hub:5433/", "not you", "IAP-secured Tunnel User"] {
        assert!(said(&output).contains(part), "{}", said(&output));
    }
}

#[test]
fn a_way_that_lacks_something_is_a_mistake_in_the_settings() {
    let project = Project::new();
    for (gcp, says) in [
        ("tunnel = \"iap\"", "gcp.project, or the variable GCP_PROJECT"),
        ("tunnel = \"forwarded\"", "GCP_TUNNEL_PORT"),
        ("tunnel = \"forwarded\"\ntunnel_port = 1\nparameters = \"sslmode=maybe\"", "sslmode"),
        (
            "tunnel = \"iap\"\nproject = \"p\"\nzone = \"z\"\ninstance = \"i\"\nrelay = \"ws://relay.example/v4\"",
            "readable on the way",
        ),
    ] {
        project.configure(gcp);
        let output = project.run(&[], &[]);
        assert_eq!(output.status.code(), Some(3), "{gcp}: {}", said(&output));
        assert!(said(&output).contains(says), "{gcp}: {}", said(&output));
    }
}

#[test]
fn a_forwarded_port_that_leads_elsewhere_is_not_used() {
    let project = Project::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let elsewhere = listener.local_addr().expect("bound").port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.expect("a stream"), b"SSH-2.0-OpenSSH_9.6\r\n");
        }
    });
    let output = project.run(&[("GCP_TUNNEL_PORT", &elsewhere)], &[]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("an SSH server listens there"), "{}", said(&output));
    let port = port(&project.database).to_string();
    let output = project.run(&[("GCP_TUNNEL_PORT", &port)], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
