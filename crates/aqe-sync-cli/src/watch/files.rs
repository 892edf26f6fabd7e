//! Whether a source changed since it was looked at last.
//!
//! Files are looked at every other second instead of having the system report them: that costs
//! some microseconds, and works on network folders, in containers, and for a file that is
//! replaced, deleted and made anew.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aqe_readers::discover;

/// File systems' clocks tick at least so often.
const TICK: Duration = Duration::from_millis(50);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sign {
    size: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Sign {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        // An empty log is none: readers make one and leave it.
        if metadata.len() == 0 && path.as_os_str().to_string_lossy().ends_with("-wal") {
            return None;
        }
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        // What was written a moment ago may be written again within the same tick of the clock:
        // such a time tells nothing, and the next look finds another.
        let settled = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > TICK);
        Some(Self { size: metadata.len(), modified: metadata.modified().ok().filter(settled), inode })
    }
}

/// The files of a project's sources, as they were seen.
#[derive(Default)]
pub(super) struct Files(Vec<(PathBuf, Option<Sign>)>);

impl Files {
    /// Looks for sources; those that are known stay as they were seen, also when they are gone.
    pub(super) fn find(&mut self, root: &Path) {
        // A project that cannot be searched now is what the next sync tells.
        let Ok(found) = discover(root) else { return };
        for source in found.found {
            let path = root.join(source.file.name.as_str());
            // A database's last changes are in the file beside it.
            let mut log: OsString = path.clone().into();
            log.push("-wal");
            for path in [path, log.into()] {
                if self.0.iter().all(|(known, _)| *known != path) {
                    let sign = Sign::of(&path);
                    self.0.push((path, sign));
                }
            }
        }
    }

    /// Whether any of them is another than when it was last looked at.
    pub(super) fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.0 {
            let sign = Sign::of(path);
            changed |= *seen != sign;
            *seen = sign;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_vacuumed_deleted_or_made_anew_has_changed() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(".agentic-qe");
        fs::create_dir(&folder).expect("created");
        let path = folder.join("memory.db");
        // Each write is a minute after the one before, and long ago.
        let minute = Cell::new(0);
        let settle = || {
            minute.set(minute.get() + 1);
            let then = SystemTime::now() - Duration::from_secs(86_400) + Duration::from_secs(60 * minute.get());
            for name in [path.clone(), folder.join("memory.db-wal")] {
                if let Ok(file) = fs::File::options().write(true).open(name) {
                    file.set_modified(then).expect("set");
                }
            }
        };
        let write = |sql: &str| {
            Connection::open(&path).and_then(|db| db.execute_batch(sql)).expect("written");
            settle();
        };
        write("CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT); INSERT INTO patterns VALUES ('a', 'b')");
        let mut files = Files::default();
        files.find(root.path());
        assert!(!files.changed(), "just looked at");
        write("INSERT INTO patterns VALUES ('b', 'b')");
        assert!(files.changed() && !files.changed());
        // Into the log, which is not moved into the file.
        let open = Connection::open(&path).expect("opened");
        open.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO patterns VALUES ('c', 'b')").expect("written");
        settle();
        assert!(files.changed() && !files.changed());
        open.execute_batch("INSERT INTO patterns VALUES ('d', 'b')").expect("written");
        settle();
        assert!(files.changed() && !files.changed());
        drop(open);
        files.changed();
        write("VACUUM");
        assert!(files.changed() && !files.changed());
        let copy = folder.join("copy");
        fs::copy(&path, &copy).expect("copied");
        fs::rename(&copy, &path).expect("renamed");
        settle();
        assert!(files.changed() && !files.changed(), "another file of that name");
        fs::remove_file(&path).expect("removed");
        assert!(files.changed() && !files.changed());
        files.find(root.path());
        write("CREATE TABLE patterns (id TEXT PRIMARY KEY)");
        assert!(files.changed() && !files.changed());
    }

    #[test]
    fn what_was_written_just_now_is_looked_at_again_and_new_sources_are_known_once_found() {
        let root = tempfile::tempdir().expect("a folder");
        let mut files = Files::default();
        files.find(root.path());
        fs::create_dir_all(root.path().join(".swarm")).expect("created");
        let path = root.path().join(".swarm/memory.db");
        let write = |sql: &str| Connection::open(&path).and_then(|db| db.execute_batch(sql)).expect("written");
        write("CREATE TABLE patterns (id TEXT PRIMARY KEY, n INTEGER); INSERT INTO patterns VALUES ('a', 1)");
        files.find(root.path());
        for n in 2..20 {
            // Of the same size, and within the same tick.
            write(&format!("UPDATE patterns SET n = {n}"));
            files.changed();
        }
        let begun = SystemTime::now();
        while !files.changed() {
            assert!(begun.elapsed().is_ok_and(|time| time < Duration::from_secs(30)), "the last write was missed");
        }
        assert!(!files.changed());
    }
}
