//! "Nothing changed", from a handful of bytes: no cursor is opened.

use std::io;
use std::sync::LazyLock;
use std::time::SystemTime;

use aqe_sync_core::{Fingerprint, Result, tables};

use xxhash_rust::xxh3::xxh3_64;

use super::header::{beside, start, wal_header};
use super::mappings::{MAPPINGS, Mapping};
use crate::SourceFile;
use crate::stat::{self, Stat};

/// Another one may read the same file differently.
const READER_VERSION: &str = concat!("sqlite ", env!("CARGO_PKG_VERSION"));

/// Where tables and columns go: what was read under other mappings is read again.
static MAPPED: LazyLock<u64> = LazyLock::new(|| digest(MAPPINGS));

fn digest(mappings: &[Mapping]) -> u64 {
    xxh3_64(format!("{mappings:?}").as_bytes())
}

/// Both copies of the WAL index header. What follows are marks that readers make.
const SHM_HEADER: u64 = 96;

/// File identity, size, times, change counter, page count, and the same of WAL
/// and journal; the WAL's salts and the number of its last frame.
pub(super) fn take(file: &SourceFile) -> Result<Fingerprint> {
    let now = SystemTime::now();
    let failed = |cause: io::Error| stat::io_error(&file.name, cause);
    let (opened, main) = stat::open(&file.path, &file.name)?;
    drop(opened);
    let mut bytes = READER_VERSION.as_bytes().to_vec();
    bytes.extend(MAPPED.to_le_bytes());
    bytes.extend(tables::digest().to_le_bytes());
    bytes.extend(file.scope.as_bytes());
    bytes.extend(main.bytes());
    bytes.extend(start(&file.path, 100).map_err(failed)?);
    let mut settled = main.settled(now);
    if let Some(header) = wal_header(&file.path).map_err(failed)? {
        bytes.extend(header);
        bytes.extend(start(&beside(&file.path, "-shm"), SHM_HEADER).unwrap_or_default());
    }
    for suffix in ["-wal", "-journal"] {
        if let Ok(side) = Stat::at(&beside(&file.path, suffix)) {
            bytes.extend(side.bytes());
            settled &= side.settled(now);
        }
    }
    Ok(Fingerprint { bytes, settled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_mappings_make_another_fingerprint() {
        assert_ne!(digest(MAPPINGS), digest(&MAPPINGS[1..]));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("memory.db");
        std::fs::write(&path, b"SQLite format 3\0").expect("written");
        let fingerprint = take(&SourceFile::new(folder.path(), path)).expect("taken");
        let digest = digest(MAPPINGS).to_le_bytes();
        assert!(fingerprint.bytes.windows(digest.len()).any(|bytes| bytes == digest));
    }
}
