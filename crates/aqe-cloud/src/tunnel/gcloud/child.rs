//! A program that cannot outlive this one.
//!
//! On Unix a small shell starts it and watches a pipe that only this process holds open. When the
//! pipe ends, this process has dropped the program or is dead, however it died; the shell then ends
//! the program and whatever it started: they share a process group that is nobody else's.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// So many lines of what a program says are kept, each of so many bytes.
const LINES: usize = 20;
const LINE: u64 = 500;

/// The watcher survives the signal that it sends to the group, itself included, to see to the rest.
#[cfg(unix)]
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
( trap '' TERM; read -r _ <&3; kill -TERM 0; sleep 2; kill -KILL 0 ) 2>/dev/null >/dev/null &
watcher=$!
"$@" 3<&- &
wait $!
status=$?
kill -KILL $watcher
exit $status
"#;

/// A running program.
#[derive(Debug)]
pub(super) struct Running {
    /// Closed on dropping, which ends the program.
    _pipe: Option<ChildStdin>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    said: VecDeque<String>,
    ended: Option<String>,
}

impl Running {
    /// Starts a program.
    pub(super) fn start(program: &str, arguments: &[String]) -> std::io::Result<Self> {
        let mut child =
            command(program, arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let (pipe, stderr) = (child.stdin.take(), child.stderr.take());
        let state = Arc::<Mutex<State>>::default();
        let noted = Arc::clone(&state);
        thread::Builder::new().name("tunnel program".into()).spawn(move || {
            listen(stderr, &noted);
            let ended = outcome(&mut child);
            lock(&noted).ended = Some(ended);
        })?;
        Ok(Self { _pipe: pipe, state })
    }

    /// Returns how it ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        lock(&self.state).ended.clone()
    }

    /// Returns the last lines that it said.
    pub(super) fn said(&self) -> String {
        let state = lock(&self.state);
        state.said.iter().map(String::as_str).collect::<Vec<_>>().join(" / ")
    }
}

#[cfg(unix)]
fn command(program: &str, arguments: &[String]) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", SCRIPT, "sh", program]).args(arguments).process_group(0);
    shell
}

/// Here it ends when its pipe does, if it reads it.
#[cfg(not(unix))]
fn command(program: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn listen(stderr: Option<impl Read>, state: &Mutex<State>) {
    let Some(stderr) = stderr else { return };
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(read) = reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        let mut state = lock(state);
        state.said.push_back(text);
        if state.said.len() > LINES {
            state.said.pop_front();
        }
    }
}

fn outcome(child: &mut Child) -> String {
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// What is locked is whole at any time.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
