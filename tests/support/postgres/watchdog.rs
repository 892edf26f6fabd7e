//! A server process that cannot outlive the test process.
//!
//! A small shell starts the server and waits on a pipe that only this process holds open. It reads
//! either the name of a signal to stop the server with, or the end of the pipe: then this process
//! has dropped the cluster or is dead, however it died, and the shell stops the server at once and
//! removes its folder. The shell has a process group of its own, so that Ctrl-C does not reach it.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::binaries::RunAs;

/// `$1` is the folder, the rest is the server's command line.
const SCRIPT: &str = r#"
folder=$1; shift
"$@" 2>>"$folder/log" &
server=$!
exec >/dev/null
read -r signal || signal=
kill -"${signal:-QUIT}" $server 2>/dev/null
wait $server
[ -n "$signal" ] || rm -rf "$folder"
"#;

/// Runs before the server where a small disk is wanted: in a mount namespace of its own, which
/// disappears with the server, so that no mount is ever left behind. `$1` is where, `$2` the size
/// in megabytes, `$3` and `$4` are the server's user and group; the rest is its command line.
const AS_ROOT: &str = r#"
mount -t tmpfs -o "size=$2m,uid=$3,gid=$4,mode=700" tmpfs "$1" || exit 1
user=$3 group=$4; shift 4
exec setpriv --reuid="$user" --regid="$group" --clear-groups "$@"
"#;
/// The same without privileges: a user namespace lends the right to mount, a second one gives back
/// the user's own number, because PostgreSQL does not run as root.
const AS_USER: &str = r#"
mount -t tmpfs -o "size=$2m,mode=700" tmpfs "$1" || exit 1
user=$3 group=$4; shift 4
exec unshare --user --map-user="$user" --map-group="$group" "$@"
"#;

/// A tiny file system that only the server sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallDisk<'a> {
    pub(super) place: &'a Path,
    pub(super) megabytes: u32,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Running {
    shell: Child,
    pipe: Option<ChildStdin>,
    /// Disconnected when the server and all its children have ended.
    alive: Receiver<()>,
}

impl Running {
    /// Starts `server` with its messages appended to `folder/log`.
    pub(super) fn start(server: &Command, folder: &Path, run_as: RunAs, disk: Option<SmallDisk<'_>>) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(folder);
        if let Some(disk) = disk {
            let (namespace, script, gid) = match run_as {
                RunAs::Ourselves => ("-Urm", AS_USER, run_as.uid()),
                RunAs::Other { gid, .. } => ("-m", AS_ROOT, gid),
            };
            shell.args(["unshare", namespace, "sh", "-c", script, "sh"]).arg(disk.place);
            shell.args([disk.megabytes, run_as.uid(), gid].map(|number| number.to_string()));
        } else {
            run_as.apply(&mut shell);
        }
        shell.arg(server.get_program()).args(server.get_args());
        shell.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().unwrap_or_else(|e| panic!("cannot start sh: {e}"));
        let pipe = shell.stdin.take();
        let mut output = shell.stdout.take().expect("the output was asked for");
        let (holder, alive) = channel();
        thread::spawn(move || {
            let _ = output.read_to_end(&mut Vec::new());
            drop(holder);
        });
        Self { shell, pipe, alive }
    }

    /// Waits up to `pause` for the server to end, and says whether it has.
    pub(super) fn has_ended_within(&self, pause: Duration) -> bool {
        self.alive.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected)
    }

    /// Stops the server with that signal, waits for its end, and leaves its folder in place.
    pub(super) fn stop(mut self, signal: &str) {
        if let Some(pipe) = &mut self.pipe {
            // A shell that is gone already has nothing left to stop.
            let _ = writeln!(pipe, "{signal}");
        }
    }
}

impl Drop for Running {
    /// Closes the pipe and waits for the shell, which stops the server.
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
