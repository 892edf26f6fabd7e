//! A private copy of a file, taken while the file held still.
//!
//! Tools rewrite their files in place, and a tenth of all reads meets one that
//! is empty or half there. So: copy, see that size and times did not move,
//! check that the copy is whole, and otherwise wait a moment and try again.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use aqe_sync_core::{Error, ErrorKind, Result, Retry, SourceName};
use serde::Deserialize as _;
use serde::de::IgnoredAny;
use tempfile::SpooledTempFile;

use crate::stat::{self, Stat};

/// Copies up to this size stay in memory.
const IN_MEMORY: usize = 8 << 20;

/// How long to wait before each further attempt.
pub(crate) const PAUSES: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200)];

/// Nobody is in the middle of writing a file that was last modified so long ago.
const QUIET: Duration = Duration::from_secs(2);

/// Part of a snapshot, from the first byte to the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A whole and valid JSON document.
#[derive(Debug)]
pub(crate) struct Snapshot {
    copy: SpooledTempFile,
    size: u64,
}

impl Snapshot {
    /// Copies a JSON file.
    ///
    /// # Errors
    /// When it is missing, not readable, empty, not UTF-8, not JSON, or does
    /// not hold still.
    pub(crate) fn of_json(path: &Path, name: &SourceName) -> Result<Self> {
        let (copy, size) = stable_copy(path, name, || Ok(SpooledTempFile::new(IN_MEMORY)), check_json)?;
        Ok(Self { copy, size })
    }

    /// The whole document.
    pub(crate) fn all(&self) -> Span {
        Span { start: 0, end: self.size }
    }

    /// Reads a part from its beginning.
    pub(crate) fn section(&mut self, span: Span) -> io::Result<impl io::BufRead> {
        self.copy.seek(SeekFrom::Start(span.start))?;
        Ok(BufReader::with_capacity(64 << 10, Read::take(&mut self.copy, span.end - span.start)))
    }
}

/// Copies `path` into what `destination` makes until `check` accepts the copy.
///
/// `check` gets the copy from its beginning; its errors that may pass by
/// themselves ([`Retry::Later`]) lead to another attempt.
///
/// # Errors
/// The last attempt's.
pub(crate) fn stable_copy<W, D, C>(path: &Path, name: &SourceName, destination: D, check: C) -> Result<(W, u64)>
where
    W: Read + Write + Seek,
    D: Fn() -> io::Result<W>,
    C: Fn(&mut W) -> Result<()>,
{
    let mut pauses = PAUSES.iter();
    loop {
        let attempt = attempt(path, name, &destination, &check);
        let (error, worthwhile) = match attempt {
            Ok(copied) => return Ok(copied),
            Err(failure) => failure,
        };
        match pauses.next().filter(|_| worthwhile) {
            Some(pause) => thread::sleep(*pause),
            None => return Err(error.during(format!("reading {name}"))),
        }
    }
}

/// One attempt; the error comes with whether another one may fare better.
fn attempt<W, D, C>(path: &Path, name: &SourceName, destination: &D, check: &C) -> Result<(W, u64), (Error, bool)>
where
    W: Read + Write + Seek,
    D: Fn() -> io::Result<W>,
    C: Fn(&mut W) -> Result<()>,
{
    let (mut file, before) = stat::open(path, name).map_err(|error| (error, false))?;
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    let being_written = age.is_none_or(|age| age < QUIET);
    let mut copy = destination().map_err(|cause| (no_room(cause), false))?;
    let copied = copy_all(&mut file, &mut copy, before.size, name).map_err(|error| (error, false))?;
    let after = file.metadata().map_err(|cause| (stat::io_error(name, cause), false))?;
    if copied != before.size || Stat::of(&after) != before {
        return Err((caught(ErrorKind::Changed, "the file changed while it was being read"), true));
    }
    if copied == 0 {
        return Err((caught(ErrorKind::Malformed, "the file is empty (0 bytes)"), being_written));
    }
    let rewound = copy.rewind().map_err(no_room);
    match rewound.and_then(|()| check(&mut copy)) {
        Ok(()) => Ok((copy, copied)),
        Err(error) => {
            let worthwhile = being_written && error.can_retry() == Retry::Later;
            Err((error, worthwhile))
        }
    }
}

/// Copies what the file holds, and no more than one byte beyond `size`: enough
/// to notice that it grows.
fn copy_all(file: &mut File, copy: &mut impl Write, size: u64, name: &SourceName) -> Result<u64> {
    let mut file = Read::take(file, size.saturating_add(1));
    let mut buffer = vec![0; 64 << 10];
    let mut copied = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return copy.flush().map(|()| copied).map_err(no_room),
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(stat::io_error(name, cause)),
        };
        copy.write_all(&buffer[..count]).map_err(no_room)?;
        copied += count as u64;
    }
}

fn no_room(cause: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("its private copy could not be written ({cause})"))
        .advice("see that the folder for temporary files (TMPDIR) has room, then sync again")
        .retry(Retry::Later)
        .caused_by(cause)
}

/// What a file looks like that is being written.
pub(crate) fn caught(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message)
        .advice(
            "the file may have been caught half-written; \
             what was synced before stays in the hub, the next sync tries again; if it stays so, repair the file or move it away",
        )
        .retry(Retry::Later)
}

/// Sees that a copy is one JSON document in UTF-8, without keeping any of it.
fn check_json(copy: &mut SpooledTempFile) -> Result<()> {
    let mut text = Utf8 { inner: copy, offset: 0, begun: Vec::new(), wrong: None };
    let outcome = {
        let mut document = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 << 10, &mut text));
        IgnoredAny::deserialize(&mut document).and_then(|_| document.end())
    };
    if let Some(offset) = text.wrong {
        return Err(caught(ErrorKind::Malformed, format!("not UTF-8 at byte {offset}, as JSON must be")));
    }
    outcome.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        caught(ErrorKind::Malformed, format!("not valid JSON at line {line} column {column} ({reason})"))
    })
}

/// Passes bytes on, and remembers where they stop being UTF-8.
struct Utf8<R> {
    inner: R,
    /// Bytes checked so far.
    offset: u64,
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
    wrong: Option<u64>,
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.wrong.is_none() {
            self.check(&buffer[..count]);
        }
        Ok(count)
    }
}

impl<R> Utf8<R> {
    fn check(&mut self, fresh: &[u8]) {
        let joined;
        let bytes = if self.begun.is_empty() {
            fresh
        } else {
            joined = [std::mem::take(&mut self.begun).as_slice(), fresh].concat();
            &joined
        };
        match std::str::from_utf8(bytes) {
            Ok(_) => self.offset += bytes.len() as u64,
            Err(error) => {
                self.offset += error.valid_up_to() as u64;
                if error.error_len().is_some() {
                    self.wrong = Some(self.offset);
                } else {
                    self.begun = bytes[error.valid_up_to()..].to_vec();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_across_two_reads_is_whole_and_a_wrong_byte_is_found() {
        let mut text = Utf8 { inner: io::empty(), offset: 0, begun: Vec::new(), wrong: None };
        let bytes = "aü€😀".as_bytes();
        for byte in bytes {
            text.check(&[*byte]);
        }
        assert_eq!((text.wrong, text.offset), (None, bytes.len() as u64));
        text.check(b"ok\xe2\x82");
        text.check(b"x");
        assert_eq!(text.wrong, Some(bytes.len() as u64 + 2));
    }

    #[test]
    fn a_file_that_changes_during_the_copy_is_copied_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        std::fs::write(&path, "[1]").expect("written");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = File::options().write(true).open(&path).expect("there");
        file.set_modified(long_ago).expect("settable");
        let attempts = std::cell::Cell::new(0);
        let change = || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 3 {
                std::fs::write(&path, "[2]")?;
            }
            Ok(SpooledTempFile::new(IN_MEMORY))
        };
        let (mut copy, size) = stable_copy(&path, &"a.json".into(), change, check_json).expect("it holds still");
        let mut text = String::new();
        copy.rewind().and_then(|()| copy.read_to_string(&mut text)).expect("readable");
        assert_eq!((text.as_str(), size, attempts.get()), ("[2]", 3, 3));

        let restless = || {
            std::fs::write(&path, "[3,4]").and_then(|()| std::fs::write(&path, "[5]"))?;
            Ok(SpooledTempFile::new(IN_MEMORY))
        };
        let error = stable_copy(&path, &"a.json".into(), restless, check_json).expect_err("it never holds still");
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Changed, Retry::Later));
    }

    #[test]
    fn a_section_holds_exactly_its_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        std::fs::write(&path, br#"{"a":[1,2]}"#).expect("written");
        let mut snapshot = Snapshot::of_json(&path, &"a.json".into()).expect("valid");
        let mut text = String::new();
        let span = Span { start: 5, end: 10 };
        snapshot.section(span).expect("seekable").read_to_string(&mut text).expect("readable");
        assert_eq!(text, "[1,2]");
        assert_eq!(snapshot.all(), Span { start: 0, end: 11 });
    }
}
