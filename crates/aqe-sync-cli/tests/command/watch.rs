//! The daemon as a process: what it does and says when files, hubs and signals come and go.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aqe_readers::RunLock;
use aqe_sync_workspace::postgres::Cluster;
use rusqlite::Connection;

use crate::program::{json, program, run, swarm_project};

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon; it is ended with the test.
struct Daemon {
    child: Child,
    said: Receiver<String>,
    all: Vec<String>,
}

impl Daemon {
    fn start(root: &Path, arguments: &[&str]) -> Self {
        Self::begin(program(root).args(arguments).args(["--env", "laptop", "-v", "watch"]))
    }

    fn begin(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (sender, said) = channel();
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, said, all: Vec::new() }
    }

    /// Waits for a line that has all of these parts.
    fn says(&mut self, parts: &[&str]) -> String {
        loop {
            let Ok(line) = self.said.recv_timeout(PATIENCE) else { panic!("{parts:?} not said: {:#?}", self.all) };
            self.all.push(line.clone());
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let line = format!("kill {signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().expect("sent").success());
    }

    /// Tells it to stop, and says all that it said.
    fn stop(mut self) -> Vec<String> {
        self.signal("-TERM");
        let status = self.child.wait().expect("it ends");
        let rest: Vec<String> = std::iter::from_fn(|| self.said.recv_timeout(PATIENCE).ok()).collect();
        let mut all = std::mem::take(&mut self.all);
        all.extend(rest);
        assert_eq!(status.code(), Some(0), "{all:#?}");
        all
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(root: &Path, sql: &str) {
    Connection::open(root.join(".swarm/memory.db")).and_then(|db| db.execute_batch(sql)).expect("written");
}

fn configure(root: &Path, text: &str) {
    std::fs::write(root.join("aqe-sync.toml"), text).expect("written");
}

#[test]
fn it_syncs_when_it_begins_and_when_a_source_changes_and_reads_its_configuration_again() {
    let project = swarm_project();
    let root = project.path();
    configure(root, "[watch]\ninterval = \"1h\"\ndebounce = \"1s\"");
    let mut daemon = Daemon::start(root, &[]);
    daemon.says(&["synced", "reason=\"start\"", "changed=55"]);
    write(root, "DELETE FROM memory_entries WHERE id = (SELECT min(id) FROM memory_entries)");
    daemon.says(&["synced", "reason=\"change\"", "changed=1"]);
    // Replaced by another file of that name.
    let other = root.join("other.db");
    std::fs::copy(root.join(".swarm/memory.db"), &other).expect("copied");
    let new = "INSERT INTO metadata (key, value) VALUES ('new', '1')";
    Connection::open(&other).and_then(|db| db.execute_batch(new)).expect("written");
    std::fs::rename(&other, root.join(".swarm/memory.db")).expect("renamed");
    daemon.says(&["synced", "reason=\"change\"", "changed=1"]);
    // Deleted, and made anew: that is no deletion of what it held.
    let file = std::fs::read(root.join(".swarm/memory.db")).expect("read");
    std::fs::remove_file(root.join(".swarm/memory.db")).expect("removed");
    daemon.says(&["nothing changed", "reason=\"change\""]);
    std::fs::write(root.join(".swarm/memory.db"), file).expect("written");
    daemon.says(&["nothing changed", "reason=\"change\""]);

    let second = run(root, &["watch"]);
    assert_eq!(second.status.code(), Some(2), "one at a time");
    configure(root, "[watch]\ninterval = \"soon\"");
    daemon.signal("-HUP");
    daemon.says(&["ERROR", "neither a span of time", "going on as before"]);
    configure(root, "[watch]\ninterval = \"5s\"\njitter = \"1s\"\non_change = false");
    daemon.signal("-HUP");
    daemon.says(&["configuration read again", "interval=5s"]);
    daemon.says(&["reason=\"schedule\""]);
    let all = daemon.stop();
    assert!(all.last().is_some_and(|line| line.contains("stopped")), "{all:#?}");
}

#[test]
fn a_hub_that_goes_away_is_told_once_and_comes_back_by_itself() {
    let project = swarm_project();
    let root = project.path();
    configure(root, "[watch]\ninterval = \"5s\"\njitter = \"1s\"");
    let database = Cluster::shared().database();
    let url = database.url();
    let name = url.rsplit('/').next().and_then(|name| name.split('?').next()).expect("a name").to_owned();
    let rename = |from: &str, to: &str| {
        Cluster::shared().psql(&format!("ALTER DATABASE \"{from}\" RENAME TO \"{to}\""));
    };
    let mut daemon = Daemon::start(root, &["--hub", &url]);
    daemon.says(&["synced", "changed=55"]);
    rename(&name, &format!("{name}_away"));
    let error = daemon.says(&["ERROR"]);
    assert!(error.contains(&name), "{error}");
    daemon.says(&["still: "]);
    write(root, "DELETE FROM memory_entries WHERE id = (SELECT min(id) FROM memory_entries)");
    rename(&format!("{name}_away"), &name);
    daemon.says(&["INFO", "syncing again, after", "failed"]);
    daemon.says(&["synced", "changed=1"]);
    let all = daemon.stop();
    assert_eq!(all.iter().filter(|line| line.contains("ERROR")).count(), 1, "{all:#?}");
    let status = json(&run(root, &["status", "--json", "--hub", &url]));
    assert!(status["environments"][0]["failed_runs"].as_u64() >= Some(2), "{status}");
}

#[test]
fn a_sync_under_way_is_ended_when_the_daemon_is() {
    let project = swarm_project();
    let root = project.path();
    std::fs::create_dir(root.join(".aqe-sync")).expect("created");
    // Somebody syncs by hand: the daemon's sync waits for that.
    let lock = RunLock::path(&root.join(".aqe-sync"));
    let by_hand = RunLock::acquire(&lock, "by hand", Duration::ZERO, &mut |_| ()).expect("nobody else");
    let mut daemon = Daemon::start(root, &[]);
    daemon.says(&["syncing", "reason=\"start\""]);
    let all = daemon.stop();
    assert!(all.last().is_some_and(|line| line.contains("with a sync under way")), "{all:#?}");
    drop(by_hand);
    assert_eq!(run(root, &[]).status.code(), Some(0), "and the next one does it");
}

#[test]
fn metrics_are_those_of_the_status_command() {
    let project = swarm_project();
    let root = project.path();
    // A port that is free: the system chooses it.
    configure(root, "[watch]\nmetrics = \"127.0.0.1:0\"");
    let mut daemon = Daemon::start(root, &["--log-format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&daemon.says(&["metrics at"])).expect("one JSON object a line");
    let message = line["message"].as_str().expect("a message");
    let address = message.trim_start_matches("metrics at http://").trim_end_matches("/metrics").to_owned();
    daemon.says(&["\"synced\""]);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let page = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("version=0.0.4"), "{page}");
    let figures = |text: &str| -> Vec<String> {
        let steady = |line: &&str| line.starts_with("aqe_sync_table") || line.starts_with("aqe_sync_stream_rows");
        text.lines().filter(steady).map(str::to_owned).collect()
    };
    let printed = String::from_utf8(run(root, &["status", "--prometheus"]).stdout).expect("text");
    assert_eq!(figures(&page), figures(&printed));
    assert!(figures(&page).len() > 10, "{page}");
    assert!(ask("GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask("\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask("GET / HTTP/1.0\r\n\r\n").contains("aqe-sync watch"), "it goes on");
    daemon.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_when_it_is_ready_alive_and_stopping() {
    let project = swarm_project();
    let root = project.path();
    let path = root.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut command = program(root);
    command.args(["watch", "--env", "laptop"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    let mut daemon = Daemon::begin(&mut command);
    let told = |wanted: &str| {
        let mut buffer = [0; 4_096];
        loop {
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
        }
    };
    told("READY=1");
    daemon.says(&["synced"]);
    assert!(told("STATUS=last sync").contains("ok, 55 records read"));
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    daemon.signal("-HUP");
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    told("READY=1");
    daemon.signal("-TERM");
    told("STOPPING=1");
}

/// Text that nobody can compress.
fn noise(seed: u64, size: usize) -> String {
    let mut state = seed;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
    });
    letters.take(size).collect()
}

fn learn_much(root: &Path, megabytes: u64) {
    let db = Connection::open(root.join(".swarm/memory.db")).expect("opened");
    for each in 0..megabytes * 4 {
        db.execute("INSERT INTO metadata (key, value) VALUES (?1, ?2)", (format!("much-{each}"), noise(each, 250_000)))
            .expect("inserted");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_of_the_server_is_told_once_and_with_room_all_goes_on() {
    let project = swarm_project();
    let root = project.path();
    configure(root, "[watch]\ninterval = \"5s\"\njitter = \"1s\"\non_change = false");
    let cluster = Cluster::builder().small_tablespace(40).start();
    let database = cluster.database_on_small_disk();
    let mut daemon = Daemon::start(root, &["--hub", &database.url()]);
    daemon.says(&["synced", "changed=55"]);
    database.psql("CREATE TABLE filler (body text)");
    let fill = "INSERT INTO filler SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000)";
    while database.try_psql(fill).is_ok() {}
    learn_much(root, 2);
    let error = daemon.says(&["ERROR"]);
    assert!(error.contains("disk is full") && error.contains("make room"), "{error}");
    daemon.says(&["still: "]);
    cluster.resize_small_disk(200);
    daemon.says(&["INFO", "syncing again, after", "failed"]);
    daemon.says(&["synced", "changed=8"]);
    let all = daemon.stop();
    let told = all.iter().filter(|line| line.contains("Z ERROR ") && line.contains("disk is full"));
    assert_eq!(told.count(), 1, "{all:#?}");
    let verified = run(root, &["verify", "--deep", "--hub", &database.url()]);
    assert_eq!(verified.status.code(), Some(0), "{}", crate::program::said(&verified));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_of_the_project_is_told_once_and_with_room_all_goes_on() {
    let project = swarm_project();
    let root = project.path();
    configure(root, "[watch]\ninterval = \"5s\"\njitter = \"1s\"\non_change = false");
    let state = root.join(".aqe-sync");
    std::fs::create_dir(&state).expect("created");
    // What is on this file system only the daemon sees, and it is gone with it.
    let mount = "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]).arg(&state);
    let daemon = program(root);
    command.arg(daemon.get_program()).args(["--env", "laptop", "-v", "watch"]).current_dir(root);
    for (name, value) in daemon.get_envs().filter(|(_, value)| value.is_none()) {
        assert!(value.is_none());
        command.env_remove(name);
    }
    let mut daemon = Daemon::begin(&mut command);
    daemon.says(&["synced", "changed=55"]);
    learn_much(root, 3);
    let error = daemon.says(&["ERROR"]);
    assert!(error.contains("full"), "{error}");
    daemon.says(&["still: "]);
    let remount = format!(
        "nsenter --target {} --user --mount --preserve-credentials mount -o remount,size=64m \"{}\"",
        daemon.child.id(),
        state.display()
    );
    assert!(Command::new("sh").args(["-c", &remount]).status().expect("it runs").success());
    daemon.says(&["INFO", "syncing again, after", "failed"]);
    daemon.says(&["synced", "changed=12"]);
    let all = daemon.stop();
    let told = all.iter().filter(|line| line.contains("Z ERROR ") && line.contains("disk is full"));
    assert_eq!(told.count(), 1, "{all:#?}");
}
