//! What the operating system says about a file, and fingerprints of it.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aqe_sync_core::{Error, ErrorKind, Retry, SourceName};

/// Identity, size and times of a file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    modified: Duration,
    changed: (i64, i64),
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (device, inode, changed) = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (device, inode, changed) = (0, 0, (0, 0));
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        Self { device, inode, size: metadata.len(), modified: modified.unwrap_or_default(), changed }
    }

    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    /// Whether both are the same file on disk.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        cfg!(unix) && (self.device, self.inode) == (other.device, other.inode)
    }

    /// Bytes that change whenever the file does.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        format!("{self:?}").into_bytes()
    }

    /// Whether the file has been quiet for longer than its clock is coarse, so
    /// that a change after this moment must show in its times.
    ///
    /// Linux stamps with a clock that ticks every 1 to 10 ms; file systems that
    /// keep whole seconds only (FAT, HFS+) have no fraction at all.
    pub(crate) fn settled(&self, now: SystemTime) -> bool {
        let coarse = self.modified.subsec_nanos() == 0;
        let resolution = if coarse { Duration::from_secs(2) } else { Duration::from_millis(20) };
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        now.checked_sub(self.modified).is_some_and(|age| age > resolution)
    }
}

/// Opens a file for reading, with a plain message for what usually goes wrong.
pub(crate) fn open(path: &Path, name: &SourceName) -> Result<(File, Stat), Error> {
    let failed = |cause| io_error(name, cause);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(Error::new(ErrorKind::Malformed, "it is a directory where a file should be")
            .during(format!("reading {name}"))
            .advice("move the directory away, or leave this source out with [sources] exclude"));
    }
    // Opening a pipe would wait for somebody to write to it.
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Malformed, "it is a socket, a pipe or a device where a file should be")
            .during(format!("reading {name}"))
            .advice("move it away, or leave this source out with [sources] exclude"));
    }
    let file = File::open(path).map_err(failed)?;
    let stat = Stat::of(&file.metadata().map_err(failed)?);
    Ok((file, stat))
}

/// An operating system's error as one of ours.
pub(crate) fn io_error(name: &SourceName, cause: io::Error) -> Error {
    let (kind, message, advice, retry) = match cause.kind() {
        io::ErrorKind::NotFound => {
            (ErrorKind::NotFound, "the file is not there", "it may have just been replaced; sync again", Retry::Later)
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::PermissionDenied,
            "no permission to read it",
            "grant read permission to the user that runs aqe-sync",
            Retry::Never,
        ),
        _ => (ErrorKind::Io, "the operating system could not read it", "see the cause; sync again", Retry::Later),
    };
    Error::new(kind, format!("{message} ({cause})"))
        .during(format!("reading {name}"))
        .advice(format!("{advice}; what was synced before stays in the hub"))
        .retry(retry)
        .caused_by(cause)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("memory.db");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.is_ok_and(|status| status.success()));
        let error = open(&pipe, &"memory.db".into()).expect_err("refused");
        assert!(error.to_string().contains("pipe"), "{error}");
        assert!(crate::sqlite::header::Magic::at(&pipe).is_err());
    }
}
