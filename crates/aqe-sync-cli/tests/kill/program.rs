//! The program: run to its end, or to a failpoint.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::project;

const SIGABRT: i32 = 6;

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) account: Value,
    said: String,
}

/// Where to end it: at this failpoint, when it is reached that often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) failpoint: &'a str,
    /// The first time is 1.
    pub(crate) time: usize,
}

fn program(root: &Path, hub: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqe-sync"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["AQE_", "GCP_", "PG", "FAILPOINTS"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("TMPDIR", project::temporary(root));
    command.current_dir(root).arg("--root").arg(root).args(["--json", "--hub", hub]).args(arguments);
    command
}

fn finished(output: &Output) -> Run {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("it did not end by itself ({}): {said}", output.status));
    let account = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {said}"));
    Run { code, account, said }
}

/// Runs it to its end.
pub(crate) fn run(root: &Path, hub: &str, arguments: &[&str]) -> Run {
    let run = finished(&program(root, hub, arguments).output().expect("the program runs"));
    run.adds_up();
    // A program that is ended while it makes a folder leaves it without a copy, for a later run.
    let holds = |folder: &std::fs::DirEntry| {
        let mut files = std::fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("readable"));
        files.any(|file| !["making", "lock"].contains(&&*file.file_name().to_string_lossy()))
    };
    let temporary = std::fs::read_dir(project::temporary(root)).expect("readable");
    let left = temporary.map(|entry| entry.expect("readable")).filter(holds).count();
    assert_eq!(left, 0, "private copies, its own or of a run that was ended");
    run
}

/// Runs it to its end; says how often it reached which failpoint.
pub(crate) fn traced(root: &Path, hub: &str, slow: &str) -> (Run, BTreeMap<String, usize>) {
    let mut command = program(root, hub, &[]);
    command.env(aqe_sync_core::failpoint::TRACE, "1").env("FAILPOINTS", slow);
    let output = command.output().expect("the program runs");
    let mut reached = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        if let Some(name) = line.strip_prefix("failpoint ") {
            *reached.entry(name.to_owned()).or_default() += 1;
        }
    }
    let run = finished(&output);
    run.adds_up();
    (run, reached)
}

/// Syncs until the program is ended there; the run, if it never came there.
pub(crate) fn ended(root: &Path, hub: &str, slow: &str, end: End<'_>) -> Result<(), Run> {
    command_ended(root, hub, &[], slow, end)
}

/// As [`ended`], with a command of its own.
pub(crate) fn command_ended(root: &Path, hub: &str, arguments: &[&str], slow: &str, end: End<'_>) -> Result<(), Run> {
    let End { failpoint, time } = end;
    let armed = if time == 1 { format!("{failpoint}=return") } else { format!("{failpoint}={}*off->return", time - 1) };
    // One failpoint does one thing.
    let slow = if slow.starts_with(&format!("{failpoint}=")) { "" } else { slow };
    let output =
        program(root, hub, arguments).env("FAILPOINTS", format!("{slow};{armed}")).output().expect("the program runs");
    if output.status.signal().is_none() {
        return Err(finished(&output));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{end:?}: {said}");
    let last = said.lines().rfind(|line| line.starts_with("aborted at "));
    assert_eq!(last, Some(format!("aborted at {failpoint}").as_str()), "{end:?}: {said}");
    Ok(())
}

impl Run {
    /// Every record that was read is accounted for, in each stream and in all.
    fn adds_up(&self) {
        let Some(streams) = self.account.get("streams").and_then(Value::as_array).filter(|_| self.is_sync()) else {
            return;
        };
        for counters in streams.iter().chain([&self.account["totals"]]) {
            let count = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("{name} in {counters}"));
            let parts = ["inserted", "updated", "unchanged", "merged", "superseded", "dead_lettered"];
            assert_eq!(count("read"), parts.into_iter().map(count).sum::<u64>(), "{}", self.said);
        }
    }

    fn is_sync(&self) -> bool {
        self.account.get("totals").is_some()
    }

    /// What verifying says of each stream.
    pub(crate) fn streams(&self) -> Vec<String> {
        self.account["streams"].as_array().expect("a list").iter().map(Value::to_string).collect()
    }

    /// One of the totals.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.account["totals"][name].as_u64().unwrap_or_else(|| panic!("{name} in {}", self.said))
    }

    /// Nothing in the hub was written anew.
    pub(crate) fn changed_nothing(&self) {
        for name in ["inserted", "updated", "merged", "deleted", "conflicts"] {
            assert_eq!(self.total(name), 0, "{name}: {}", self.said);
        }
    }

    /// It ended with this code.
    pub(crate) fn ended_with(&self, code: i32) {
        assert_eq!(self.code, code, "{}", self.said);
    }
}
