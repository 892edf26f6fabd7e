//! One sync of the daemon: this program, run once more.
//!
//! A process of its own gives its memory back, cannot take the daemon down with it, and can be
//! ended at any moment: what it did not commit is rolled back by the hub.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde::Deserialize;

use super::Event;
use crate::args::Global;
use crate::config::Settings;
use crate::exit::Failure;

/// Of what a command says, so much is kept.
const MOST_BYTES: u64 = 64 << 20;

/// This program with this project's settings; what may hold a secret is in no process list.
pub(super) fn program(settings: &Settings, global: &Global) -> Result<Command, Failure> {
    let path = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
    let mut command = Command::new(path);
    command.arg("--root").arg(&settings.root.value).env("AQE_ENV", settings.environment.value.as_str());
    if let Some(config) = &global.config {
        command.arg("--config").arg(config);
    }
    if let Some(hub) = &global.hub {
        command.env("AQE_HUB", hub.expose());
    }
    if let Some(sources) = &global.sources {
        command.arg("--sources").arg(sources.join(","));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for the daemon, which ends what it began.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

/// A sync under way.
pub(super) struct Job {
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
    pub(super) begun: Instant,
}

/// What a sync came to.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Outcome {
    #[serde(default)]
    pub(super) run_id: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) totals: aqe_sync_core::Counters,
    #[serde(default)]
    pub(super) duration_ms: u64,
    #[serde(default)]
    streams: Vec<StreamOutcome>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOutcome {
    source: String,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

impl Outcome {
    /// Whether the schedule goes on as usual: a source that is locked is no reason to hurry.
    pub(super) fn is_well(&self) -> bool {
        self.status != "failed"
    }

    /// What somebody should know, each once.
    pub(super) fn troubles(&self) -> Vec<String> {
        let of_stream = |stream: &StreamOutcome| {
            let error = stream.error.iter().map(|error| format!("{}: {error}", stream.source));
            error.chain(stream.warnings.iter().cloned()).collect::<Vec<_>>()
        };
        let mut troubles: Vec<String> = self.error.iter().cloned().collect();
        for trouble in self.streams.iter().flat_map(of_stream) {
            // What ended the run was met in a stream of it.
            if !troubles.iter().any(|known| trouble.ends_with(known.as_str())) {
                troubles.push(trouble);
            }
        }
        troubles
    }
}

impl Job {
    /// Begins; when the command has said its last, `ended` gets `event`.
    pub(super) fn begin(mut command: Command, ended: Sender<Event>, event: Event) -> Result<Self, Failure> {
        let mut child =
            command.spawn().map_err(|error| Failure::failed(format!("cannot start this program again: {error}")))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let err = thread::spawn(move || read(err));
        let out = thread::spawn(move || {
            let text = read(out);
            // A daemon that stops does not listen any more.
            let _ = ended.send(event);
            text
        });
        Ok(Self { child, out, err, begun: Instant::now() })
    }

    /// Ends it, as a person would with Ctrl-C.
    pub(super) fn stop(&mut self) {
        #[cfg(unix)]
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
            return;
        }
        self.kill();
    }

    /// Ends it, whatever it does.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        // One that cannot be asked is as good as ended.
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, and gives all that it said: results, then messages.
    pub(super) fn said(mut self) -> (String, String) {
        // However it ended.
        let _ = self.child.wait();
        (self.out.join().unwrap_or_default(), self.err.join().unwrap_or_default())
    }

    /// Waits for its end, and says what it came to.
    pub(super) fn outcome(mut self) -> Outcome {
        let status = self.child.wait();
        let (out, err) = (self.out.join().unwrap_or_default(), self.err.join().unwrap_or_default());
        serde_json::from_str(&out).unwrap_or_else(|_| failed(status, &err))
    }
}

/// A command that said no result.
fn failed(status: std::io::Result<ExitStatus>, err: &str) -> Outcome {
    let last = err.lines().rev().find(|line| !line.trim().is_empty());
    let said = last.map(|line| line.strip_prefix("error: ").unwrap_or(line).to_owned());
    let ended = || match status {
        Ok(status) => format!("the sync ended without a word ({status})"),
        Err(error) => format!("the sync cannot be waited for: {error}"),
    };
    Outcome { status: "failed".to_owned(), error: Some(said.unwrap_or_else(ended)), ..Outcome::default() }
}

fn read(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read until then is what there is.
        let _ = from.take(MOST_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
