//! One run of a project at a time: a lock on a file beside the ledger.
//!
//! The operating system keeps the lock (`flock` on Unix, `LockFileEx` on Windows),
//! and lets go of it when its holder ends, however that happens: what a dead process
//! left behind stops nobody. The file's content only tells people who holds it; it
//! is never taken for the lock itself, so a file with anything in it is as good as
//! an empty one.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aqe_sync_core::{Error, ErrorKind, Result, Retry, Timestamp};
use serde::{Deserialize, Serialize};

/// How often somebody who waits looks again.
const PAUSE: Duration = Duration::from_millis(100);

/// No holder writes more about itself.
const MOST_BYTES: u64 = 4_096;

/// Who holds the lock of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process, on its host.
    pub pid: u32,
    /// The machine, or the container.
    pub host: String,
    /// Since when, ISO 8601.
    pub since: String,
    /// What it does, without its arguments.
    pub command: String,
}

impl Holder {
    fn this_process(command: &str) -> Self {
        Self {
            pid: std::process::id(),
            host: hostname::get().unwrap_or_default().to_string_lossy().into_owned(),
            since: Timestamp::now().to_string(),
            command: command.to_owned(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, host, since, command } = self;
        write!(f, "since {since} (pid {pid} on host {host}, {command})")
    }
}

/// A project's lock, held until it is dropped.
///
/// Whoever writes to a project's ledger should hold it: `aqe-sync` does, so that a
/// program that embeds a sync keeps out of the way of the command, and the other way
/// round. Two runs at once would not do damage, but each would undo what the other's
/// ledger knows. Reading needs no lock.
///
/// The file stays when the lock is gone: deleting it would let two runs each lock a
/// file of that name.
///
/// ```
/// use std::time::Duration;
/// use aqe_readers::RunLock;
///
/// # let folder = tempfile::tempdir()?;
/// let path = RunLock::path(folder.path());
/// let lock = RunLock::acquire(&path, "my-agent", Duration::ZERO, &mut |_| ())?;
/// let refused = RunLock::acquire(&path, "my-agent", Duration::ZERO, &mut |_| ()).unwrap_err();
/// assert!(refused.to_string().contains(&format!("pid {}", std::process::id())));
/// drop(lock);
/// RunLock::acquire(&path, "my-agent", Duration::ZERO, &mut |_| ())?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunLock {
    file: File,
    warning: Option<String>,
}

impl RunLock {
    /// Where the lock of a project is: `lock` in the folder that also has the ledger.
    pub fn path(state_folder: &Path) -> PathBuf {
        state_folder.join("lock")
    }

    /// Takes the lock, waiting for at most `patience`, and blocking the thread meanwhile.
    ///
    /// `command` is what others are told that this process does: a name, without
    /// arguments, which may hold secrets. `waiting` is told once who is waited for, if
    /// anybody is.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when somebody else holds it all that time: says who, and
    /// since when. When the file cannot be made or written.
    pub fn acquire(path: &Path, command: &str, patience: Duration, waiting: &mut dyn FnMut(&str)) -> Result<Self> {
        Self::acquire_with(path, command, patience, waiting, File::try_lock)
    }

    /// What a person should know: that this file system has no locks, so that nobody
    /// is kept out.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn acquire_with(
        path: &Path,
        command: &str,
        patience: Duration,
        waiting: &mut dyn FnMut(&str),
        try_lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Self> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let mut file = open(path)?;
            let warning = match try_lock(&file) {
                // Whoever deletes the file makes room for another of its name.
                Ok(()) if !is_still(&file, path) => continue,
                Ok(()) => None,
                Err(TryLockError::WouldBlock) => {
                    let held = described(&mut file);
                    if begun.elapsed() >= patience {
                        return Err(Error::new(ErrorKind::Locked, held)
                            .context("lock", path.display())
                            .advice("wait until it is done; if it hangs, end that process, and the lock is free")
                            .retry(Retry::Later));
                    }
                    if !std::mem::replace(&mut told, true) {
                        waiting(&held);
                    }
                    std::thread::sleep(PAUSE.min(patience.saturating_sub(begun.elapsed())));
                    continue;
                }
                Err(TryLockError::Error(cause)) => Some(format!(
                    "{} cannot be locked ({cause}): this file system may have no locks; \
                     make sure that no other run of this project works at the same time",
                    path.display()
                )),
            };
            sign(&mut file, command).map_err(|cause| unwritable(path, cause))?;
            return Ok(Self { file, warning });
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Nobody believes what a file says that is not locked; closing it unlocks it.
        let _ = self.file.set_len(0);
    }
}

/// Opens the file, which is made if there is none, and changes nothing in it.
fn open(path: &Path) -> Result<File> {
    // Through a link, somebody else's file would be overwritten; a pipe would hang.
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(Error::new(ErrorKind::Invalid, "the lock is no file")
            .context("lock", path.display())
            .advice("remove what has its name"));
    }
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(|cause| unwritable(path, cause))
}

fn unwritable(path: &Path, cause: std::io::Error) -> Error {
    let kind = match cause.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("cannot write to {}: {cause}", path.display()))
        .advice("a run keeps others out by a lock on this file: make it and its folder writable")
        .caused_by(cause)
}

/// Whether the file that is open is the one that has the name.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// A file that is open cannot be deleted here.
#[cfg(not(unix))]
fn is_still(_: &File, _: &Path) -> bool {
    true
}

fn sign(file: &mut File, command: &str) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(&Holder::this_process(command))?;
    text.push(b'\n');
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Who holds it, as far as the file tells.
fn described(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(MOST_BYTES).read_to_string(&mut text));
    let holder = read.ok().and_then(|_| serde_json::from_str::<Holder>(&text).ok());
    match holder {
        Some(holder) => format!("another run of this project holds its lock {holder}"),
        // Not written yet, or not readable while it is locked, as on Windows.
        None => "another run of this project holds its lock; its file does not say who".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(path: &Path, patience: Duration) -> Result<RunLock> {
        RunLock::acquire(path, "a test", patience, &mut |_| ())
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = RunLock::path(folder.path());
        (folder, path)
    }

    #[test]
    fn whoever_comes_second_is_told_who_was_first() {
        let (_folder, path) = folder();
        let before = Timestamp::now();
        let lock = take(&path, Duration::ZERO).expect("free");
        let refused = take(&path, Duration::ZERO).expect_err("held");
        assert_eq!((refused.kind(), refused.can_retry()), (ErrorKind::Locked, Retry::Later));
        let text = std::fs::read_to_string(&path).expect("readable");
        let holder: Holder = serde_json::from_str(&text).expect("a holder");
        assert_eq!((holder.pid, holder.command.as_str()), (std::process::id(), "a test"));
        assert!(Timestamp::parse(&holder.since).is_some_and(|since| before <= since && since <= Timestamp::now()));
        assert!(refused.to_string().contains(&holder.to_string()), "{refused}");
        drop(lock);
        assert_eq!(std::fs::read_to_string(&path).expect("stays"), "");
        take(&path, Duration::ZERO).expect("free again");
    }

    #[test]
    fn what_the_file_says_is_not_the_lock() {
        let (_folder, path) = folder();
        for content in ["", "garbage", "{\"pid\":1}", "{\"pid\":1,\"host\":\"h\",\"since\":\"now\",\"command\":\"c\"}"]
        {
            std::fs::write(&path, content).expect("written");
            drop(take(&path, Duration::ZERO).expect("nobody holds it"));
        }
        for content in [&b"garbage"[..], b"\xff\xfe", &[b' '; 10_000]] {
            let _lock = take(&path, Duration::ZERO).expect("free");
            std::fs::write(&path, content).expect("written");
            let refused = take(&path, Duration::ZERO).expect_err("held whatever it says");
            assert!(refused.to_string().contains("does not say who"), "{refused}");
        }
    }

    #[test]
    fn whoever_waits_is_told_for_whom_and_goes_on_when_it_is_done() {
        let (_folder, path) = folder();
        let mut held = Some(take(&path, Duration::ZERO).expect("free"));
        let mut told = Vec::new();
        // It is done as soon as somebody waits for it.
        let mut waiting = |holder: &str| {
            told.push(holder.to_owned());
            held.take();
        };
        RunLock::acquire(&path, "a test", Duration::MAX, &mut waiting).expect("free in the end");
        assert!(matches!(told.as_slice(), [holder] if holder.contains(&std::process::id().to_string())), "{told:?}");
    }

    #[test]
    fn a_lock_on_a_file_that_was_deleted_meanwhile_counts_for_nothing() {
        let (_folder, path) = folder();
        let deleted = std::cell::Cell::new(false);
        let delete_first = |file: &File| {
            if !deleted.replace(true) {
                std::fs::remove_file(&path).expect("deleted");
            }
            file.try_lock()
        };
        let lock = RunLock::acquire_with(&path, "a test", Duration::ZERO, &mut |_| (), delete_first).expect("free");
        take(&path, Duration::ZERO).expect_err("the file of that name is locked");
        drop(lock);
    }

    #[test]
    fn without_locks_the_run_goes_on_and_says_so() {
        let (_folder, path) = folder();
        let no_locks = |_: &File| Err(TryLockError::Error(std::io::Error::other("no locks available")));
        let lock = RunLock::acquire_with(&path, "a test", Duration::ZERO, &mut |_| (), no_locks).expect("goes on");
        let warning = lock.warning().expect("said");
        assert!(warning.contains("no locks available") && warning.contains("at the same time"), "{warning}");
        assert!(take(&path, Duration::ZERO).expect("free").warning().is_none());
    }

    #[test]
    fn what_is_no_file_is_neither_opened_nor_overwritten() {
        let (folder, path) = folder();
        std::fs::create_dir(&path).expect("created");
        let refused = take(&path, Duration::ZERO).expect_err("a folder");
        assert!(refused.to_string().contains("the lock is no file"), "{refused}");
        std::fs::remove_dir(&path).expect("removed");
        #[cfg(unix)]
        {
            let precious = folder.path().join("precious");
            std::fs::write(&precious, "content").expect("written");
            std::os::unix::fs::symlink(&precious, &path).expect("linked");
            take(&path, Duration::ZERO).expect_err("a link");
            assert_eq!(std::fs::read_to_string(&precious).expect("there"), "content");
        }
        let nowhere = take(&folder.path().join("no/lock"), Duration::ZERO).expect_err("no folder");
        assert!(nowhere.to_string().contains("cannot write to"), "{nowhere}");
    }
}
