//! A copy of the agent's file before a run first writes to it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry, SourceName, Timestamp};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

/// So many copies of a file are kept.
const KEPT: usize = 5;

/// Larger copies are compared by their number of pages only.
const CHECK_LIMIT: i64 = 256 << 20;

/// Copies a database with SQLite's online backup and looks the copy through.
pub(super) fn take(connection: &Connection, folder: &Path, file: &SourceName) -> Result<PathBuf> {
    let failed = |cause: std::io::Error| {
        Error::new(ErrorKind::Io, format!("no backup could be made in {} ({cause})", folder.display()))
            .during(format!("pulling into {file}"))
            .advice("make room, or set another folder for the state; nothing was written to the file")
            .retry(Retry::Later)
            .caused_by(cause)
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = free_name(folder, file);
    let partial = path.with_extension("partial");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // It holds what the agent's file holds.
        options.mode(0o600);
    }
    options.open(&partial).map_err(failed)?;
    let copied = copy(connection, &partial);
    match copied {
        Ok(()) => {
            fs::rename(&partial, &path).map_err(failed)?;
            Ok(path)
        }
        Err(cause) => {
            // If it stays, the next one overwrites it.
            let _ = fs::remove_file(&partial);
            Err(not_copied(file, cause))
        }
    }
}

/// Copies and looks the copy through.
fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    Backup::new(from, &mut copy)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    let number = |connection: &Connection, name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    let pages = number(&copy, "page_count")?;
    let verdict = if pages * number(&copy, "page_size")? <= CHECK_LIMIT {
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?
    } else if pages > 0 {
        "ok".to_owned()
    } else {
        "the copy is empty".to_owned()
    };
    if verdict == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(verdict)))
}

/// What copies of a file are named: by time, so that the order of names is that of age.
fn stem(file: &SourceName) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '_' };
    format!("{}-", file.as_str().chars().map(plain).collect::<String>())
}

fn free_name(folder: &Path, file: &SourceName) -> PathBuf {
    let at: String = Timestamp::now().to_string().chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    folder.join(format!("{}{at}.db", stem(file)))
}

/// Removes all copies of a file but the newest; says which are left.
pub(super) fn prune(folder: &Path, file: &SourceName) -> Vec<PathBuf> {
    let stem = stem(file);
    // `20261122T140703.393000Z.db`: another file's name may begin as this one's does.
    let is_copy = |name: &str| {
        let at = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix("Z.db"));
        at.is_some_and(|at| {
            at.len() == 22 && at.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'T' | b'.'))
        })
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut copies: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_copy))
        .collect();
    copies.sort();
    let old = copies.len().saturating_sub(KEPT);
    for path in copies.drain(..old) {
        // What cannot be removed now is at the next run.
        let _ = fs::remove_file(path);
    }
    copies
}

fn not_copied(file: &SourceName, cause: rusqlite::Error) -> Error {
    let full = cause.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
    let message = if full { "the disk is full: no backup could be made" } else { "no sound backup could be made" };
    Error::new(ErrorKind::Io, format!("{message} ({cause})"))
        .during(format!("pulling into {file}"))
        .advice("make room and pull again; nothing was written to the file")
        .retry(Retry::Later)
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_five_copies_of_a_file_stay_and_those_of_others_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |file: &str, day: u32| folder.path().join(format!("{file}-202611{day:02}T140703.393000Z.db"));
        for day in 1..=7 {
            fs::write(name("memory.db", day), "").expect("written");
        }
        fs::write(name("memory.db-other", 1), "").expect("written");
        let left = prune(folder.path(), &"memory.db".into());
        assert_eq!(left, (3..=7).map(|day| name("memory.db", day)).collect::<Vec<_>>());
        assert!(name("memory.db-other", 1).exists() && !name("memory.db", 2).exists());
    }
}
