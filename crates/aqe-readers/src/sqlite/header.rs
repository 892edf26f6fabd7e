//! The first hundred bytes of a SQLite file, and its WAL's header.
//!
//! Formats: <https://www.sqlite.org/fileformat2.html>,
//! <https://www.sqlite.org/walformat.html>.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Magic {
    Sqlite,
    Redb,
    /// claude-flow's encryption at rest.
    Encrypted,
    /// Nothing at all.
    Empty,
    Unknown,
}

impl Magic {
    /// Tells by the first bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [] => Self::Empty,
            _ if start.starts_with(MAGIC) => Self::Sqlite,
            _ if start.starts_with(b"redb\x1a\x0a\xa9\x0d\x0a") => Self::Redb,
            _ if start.starts_with(b"RFE1") => Self::Encrypted,
            _ => Self::Unknown,
        }
    }

    /// Reads the first bytes of a file; of a pipe, which would wait, nothing.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self::of(&start(path, 16)?))
    }
}

/// What every SQLite file begins with.
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";

/// The first bytes of a file, fewer if it is shorter.
pub(crate) fn start(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the header says about the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) wal: bool,
    /// Page count times page size, where the header vouches for the count.
    pub(super) size: Option<u64>,
}

impl Header {
    /// `None` when the bytes are no header.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if Magic::of(bytes) != Magic::Sqlite || bytes.len() < 100 {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65_536,
            size if size.is_power_of_two() && size >= 512 => u64::from(size),
            _ => return None,
        };
        // The page count is valid only if the change counter was written with it.
        let vouched = word(24) == word(92) && word(28) > 0;
        Some(Self { wal: (bytes[18], bytes[19]) == (2, 2), size: vouched.then(|| u64::from(word(28)) * page_size) })
    }
}

/// The path of a side file: `-wal`, `-shm`, `-journal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Length of a WAL's header: magic, version, page size, sequence, salts, checksums.
pub(super) const WAL_HEADER: u64 = 32;

/// The WAL's header, if there is a WAL with anything in it.
pub(crate) fn wal_header(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match start(&beside(path, "-wal"), WAL_HEADER) {
        Ok(bytes) if bytes.len() as u64 == WAL_HEADER => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
