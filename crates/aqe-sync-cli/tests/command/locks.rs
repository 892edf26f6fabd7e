//! Two runs of one project at once: the second waits, or says who is at work.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use aqe_sync_core::Timestamp;

use crate::program::{json, program, run, said, sample, text};

/// A run that is at work until it is killed: its hub took the call and never answers.
struct Busy {
    process: Child,
    _call: TcpStream,
}

impl Busy {
    fn on(root: &Path) -> Self {
        let hub = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let url = format!("postgres://u@{}/d?sslmode=disable", hub.local_addr().expect("bound"));
        let mut command = program(root);
        command.args(["sync", "--hub", &url]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("starts");
        // It calls its hub when it has the project for itself.
        let (call, _) = hub.accept().expect("a call");
        Self { process, _call: call }
    }

    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("killed");
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.end();
    }
}

fn refused(root: &Path, arguments: &[&str]) -> (Output, String) {
    let output = run(root, &[arguments, &["--wait", "0"]].concat());
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    (output, said)
}

#[test]
fn the_second_run_says_who_holds_the_lock_since_when_and_where() {
    let root = sample();
    run(root.path(), &["-q"]);
    let before = Timestamp::now();
    let busy = Busy::on(root.path());
    let after = Timestamp::now();
    let host = hostname();
    for arguments in [&["sync"][..], &["--full"], &["verify", "--repair"], &["init"]] {
        let (_, said) = refused(root.path(), arguments);
        let who = format!("(pid {} on host {host}, aqe-sync sync)", busy.process.id());
        assert!(said.contains(&who), "{arguments:?}: {said}");
        let (_, rest) = said.split_once("holds its lock since ").expect("said");
        let since = rest.split_whitespace().next().and_then(Timestamp::parse).expect("a time");
        assert!(before <= since && since <= after, "{said}");
    }
    let (output, _) = refused(root.path(), &["--json"]);
    let report = json(&output);
    assert_eq!(report["status"], "failed");
    let error = report["error"].as_str().expect("said");
    assert!(error.contains(&format!("pid {}", busy.process.id())), "{error}");
}

#[test]
fn looking_needs_no_lock_and_other_projects_have_their_own() {
    let (root, other) = (sample(), sample());
    run(root.path(), &["-q"]);
    let _busy = Busy::on(root.path());
    for arguments in [&["status"][..], &["verify"], &["verify", "--deep"], &["config"], &["--dry-run"]] {
        let output = run(root.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    }
    assert!(!said(&run(root.path(), &["doctor"])).contains("another run"));
    let output = run(other.path(), &["--wait", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn what_a_killed_run_left_stops_nobody() {
    let root = sample();
    let busy = Busy::on(root.path());
    let lock = root.path().join(".aqe-sync/lock");
    let pid = busy.process.id().to_string();
    busy.kill();
    assert!(std::fs::read_to_string(&lock).expect("left behind").contains(&pid), "it had no time to tidy up");
    let output = run(root.path(), &["--wait", "0", "--json"]);
    assert_eq!((output.status.code(), json(&output)["totals"]["inserted"].as_u64()), (Some(0), Some(814)));
    std::fs::write(&lock, b"\xff\0 garbage").expect("written");
    let output = run(root.path(), &["--wait", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_run_that_waits_says_for_whom_and_then_does_its_work() {
    let root = sample();
    let busy = Busy::on(root.path());
    let mut command = program(root.path());
    command.args(["--wait", "3600"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut patient = command.spawn().expect("starts");
    let mut heard = BufReader::new(patient.stderr.take().expect("piped")).lines();
    let waits = heard.find_map(|line| line.ok().filter(|line| line.contains("waiting for up to 3600 s")));
    assert!(waits.is_some_and(|line| line.contains(&format!("pid {}", busy.process.id()))));
    busy.kill();
    drop(heard);
    let output = patient.wait_with_output().expect("it ends");
    assert!(output.status.success() && text(&output.stdout).contains("814 new"), "{}", said(&output));
}

#[cfg(unix)]
#[test]
fn a_project_that_cannot_be_locked_is_refused_in_plain_words() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::os::unix::process::CommandExt as _;

    let root = sample();
    run(root.path(), &["-q"]);
    let (folder, lock) = (root.path().join(".aqe-sync"), root.path().join(".aqe-sync/lock"));
    let chmod = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    // Root may write to everything: then it is somebody else who tries.
    let refused = || {
        let mut command = program(Path::new("/"));
        command.args(["--wait", "0", "--root"]).arg(root.path());
        if root.path().metadata().expect("there").uid() == 0 {
            command.uid(65_534).gid(65_534);
        }
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    chmod(root.path(), 0o755);
    chmod(&folder, 0o755);
    chmod(&lock, 0o444);
    assert!(refused().contains("lock: Permission denied"), "the file is not writable");
    std::fs::remove_file(&lock).expect("removed");
    chmod(&folder, 0o555);
    assert!(refused().contains("lock: Permission denied"), "the folder is read-only");
    chmod(&folder, 0o755);
    symlink(root.path().join("aqe-sync.toml"), &lock).expect("linked");
    assert!(said(&run(root.path(), &[])).contains("the lock is no file"));
}

fn hostname() -> String {
    let output = std::process::Command::new("uname").arg("-n").output().expect("every Unix has it");
    text(&output.stdout).trim().to_owned()
}
