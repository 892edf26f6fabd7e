//! Who is told of crossed thresholds: once, and again when it could not be told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::program::{HUB, json, program, run, said, swarm_project, text};

/// A service on this machine: what it is told, and what it answers, in turn; at last always 200.
fn service(answers: &'static [u16]) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("known"));
    let (sender, told) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.iter();
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut reader = BufReader::new(&stream);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).expect("a request");
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a header");
                if let Some(size) = line.to_lowercase().strip_prefix("content-length:") {
                    length = size.trim().parse().expect("a number");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let status = answers.next().copied().unwrap_or(200);
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            (&stream).write_all(answer.as_bytes()).expect("answered");
            if sender.send((first, String::from_utf8(body).expect("text"))).is_err() {
                return;
            }
        }
    });
    (address, told)
}

fn next(told: &Receiver<(String, String)>) -> (String, Value) {
    let (first, body) = told.recv_timeout(Duration::from_secs(30)).expect("told");
    (first, serde_json::from_str(&body).unwrap_or_default())
}

/// Makes all syncs so many hours older.
fn age(root: &Path, hours: u32) {
    let then = format!("strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-{hours} hours')");
    let sql = format!("UPDATE sync_history SET started_at = {then}; UPDATE sync_state SET synced_at = {then}");
    Connection::open(root.join(HUB)).and_then(|hub| hub.execute_batch(&sql)).expect("aged");
    std::fs::remove_file(root.join(".aqe-sync/runs.jsonl")).expect("removed");
}

#[test]
fn a_threshold_is_told_once_and_so_is_that_it_is_well_again() {
    let project = swarm_project();
    let root = project.path();
    let (address, told) = service(&[500, 200, 200, 403, 200]);
    std::fs::write(root.join("aqe-sync.toml"), format!("[alerts]\nwebhook = \"{address}/T0/hidden-x9\""))
        .expect("written");
    assert!(run(root, &[]).status.success());
    assert!(said(&run(root, &["alerts"])).contains("0 thresholds crossed, 0 changes told"));
    age(root, 30);
    let output = run(root, &["alerts"]);
    assert!(output.status.success() && said(&output).contains("1 change told"), "{}", said(&output));
    let (first, body) = next(&told);
    assert!(first.starts_with("POST /T0/hidden-x9 "), "{first}");
    let (_, again) = next(&told);
    assert_eq!(body, again, "tried again after the service's own failure");
    assert_eq!((&body["event"], &body["level"], &body["kind"]), (&"crossed".into(), &"warning".into(), &"age".into()));
    assert_eq!((&body["environment"], &body["told_by"]), (&"laptop".into(), &"laptop".into()), "{body}");
    assert!(body["message"].as_str().is_some_and(|message| message.contains("1 day ago")), "{body}");
    assert!(said(&run(root, &["alerts"])).contains("1 threshold crossed, 0 changes told"), "once");

    let status = Connection::open(root.join(HUB)).and_then(|hub| hub.execute_batch("UPDATE sync_history SET started_at = '2026-01-01T00:00:00Z'; UPDATE sync_state SET synced_at = '2026-01-01T00:00:00Z'"));
    status.expect("aged");
    assert!(run(root, &["alerts"]).status.success());
    assert_eq!(next(&told).1["level"], "critical", "worse is news");

    // Refused: it is not told, and no error repeats the address.
    assert!(run(root, &[]).status.success());
    let refused = run(root, &["alerts"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("/…") && !said(&refused).contains("hidden-x9"), "{}", said(&refused));
    assert_eq!(next(&told).1["event"], "recovered");
    let output = run(root, &["alerts", "--json"]);
    assert_eq!(json(&output)["told"][0]["event"], "recovered", "{}", said(&output));
    assert_eq!(next(&told).1["event"], "recovered", "told this time");
    let config = run(root, &["config"]);
    assert!(said(&config).contains("/…") && !said(&config).contains("hidden-x9"), "{}", said(&config));
}

#[test]
fn a_command_gets_the_same_and_a_heartbeat_follows_each_sync_that_went_well() {
    let project = swarm_project();
    let root = project.path();
    let script = root.join("tell");
    std::fs::write(&script, "#!/bin/sh\ncat >> told\n").expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("set");
    std::fs::write(root.join("aqe-sync.toml"), "[alerts]\ncommand = [\"./tell\"]\nlog = false").expect("written");
    let (address, told) = service(&[]);
    let sync = |hub: &[&str]| {
        let mut command = program(root);
        command.env("AQE_ALERTS_HEARTBEAT", format!("{address}/ping")).args(["--env", "laptop"]).args(hub);
        command.output().expect("it runs")
    };
    assert!(sync(&[]).status.success());
    assert!(next(&told).0.starts_with("GET /ping "));
    assert_eq!(sync(&["--hub", "postgres://nobody@127.0.0.1:1/x?connect_timeout=1"]).status.code(), Some(2));
    assert!(sync(&["--dry-run"]).status.success());
    assert!(told.try_recv().is_err(), "only after what went well and was done");
    age(root, 100);
    let output = run(root, &["alerts"]);
    assert!(output.status.success() && !text(&output.stderr).contains("ago"), "{}", said(&output));
    let body: Value = serde_json::from_str(&std::fs::read_to_string(root.join("told")).expect("told")).expect("JSON");
    assert_eq!((&body["kind"], &body["level"]), (&"age".into(), &"critical".into()), "{body}");
    std::fs::write(&script, "#!/bin/sh\nexit 4\n").expect("written");
    assert!(sync(&[]).status.success());
    let failed = run(root, &["alerts"]);
    assert!(said(&failed).contains("exit status: 4") && said(&failed).contains("line 2"), "{}", said(&failed));
    for (wrong, told) in [
        ("webhook = \"ftp://x/hidden\"", "begins with https://"),
        ("level = \"bad\"", "neither \"warning\" nor"),
        ("command = \"notify\"", "expected a list"),
    ] {
        std::fs::write(root.join("aqe-sync.toml"), format!("[alerts]\n{wrong}")).expect("written");
        let output = run(root, &["alerts"]);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains(told) && !said(&output).contains("hidden"), "{}", said(&output));
    }
}
