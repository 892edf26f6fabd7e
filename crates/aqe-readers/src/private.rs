//! Folders for private copies, which do not outlive the process that made them by much.
//!
//! A copy of somebody's database holds what that database holds. Dropping removes it; a
//! process that is ended has no time for that, so the next one does it: each folder has a
//! file that its process keeps locked, and a folder whose lock is free belongs to nobody.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// What the names of all of them begin with.
const PREFIX: &str = "aqe-sync-";

/// The file that is locked.
const LOCK: &str = "lock";

/// A folder without a lock was being made, or is of a version that made none.
const UNLOCKED_FOR: Duration = Duration::from_secs(86_400);

/// A folder that nobody else can look into; it goes away with this value.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    lock: Option<File>,
    folder: TempDir,
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        empty(self.folder.path());
        // Let go of before the folder is removed: some systems do not remove what is open.
        self.lock = None;
    }
}

impl PrivateFolder {
    /// Makes one where the system keeps temporary files, and removes what dead processes left there.
    ///
    /// # Errors
    /// When there is no room, or no such place.
    pub(crate) fn new() -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(remove_leftovers);
        Self::new_in(&std::env::temp_dir())
    }

    fn new_in(place: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        // Whoever finds the file under its name finds it locked.
        let making = folder.path().join("making");
        let file = File::create(&making)?;
        // Where nothing can be locked, nothing is taken for left behind before its time.
        let locked = file.try_lock().is_ok() && fs::rename(&making, folder.path().join(LOCK)).is_ok();
        Ok(Self { lock: locked.then_some(file), folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes private copies that processes of this user left when they were ended: at
/// best before the first copy of a new process is made. Copies that a living process
/// uses stay, on this and on any other host that shares the folder's locks.
///
/// What cannot be removed stays: whoever comes next tries again.
pub fn remove_leftovers() {
    sweep(&std::env::temp_dir(), SystemTime::now());
}

fn sweep(place: &Path, now: SystemTime) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let ours = entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for entry in ours {
        // Not followed where it is a link.
        let folder = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && is_mine(&metadata));
        if folder && is_left(&entry.path(), now) {
            empty(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes what a folder holds but the lock, which goes last: who is ended on the way leaves a
/// folder that the next one knows to be left.
fn empty(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok).filter(|entry| entry.file_name() != LOCK) {
        let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
    }
}

/// Whether nobody uses it any more.
fn is_left(folder: &Path, now: SystemTime) -> bool {
    match File::options().write(true).open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let changed = fs::metadata(folder).and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age > UNLOCKED_FOR))
        }
        Err(_) => false,
    }
}

#[cfg(unix)]
fn is_mine(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // A file of this process says whose it is.
    thread_local!(static ME: Option<u32> = tempfile::tempfile().and_then(|file| file.metadata()).ok().map(|it| it.uid()));
    ME.with(|me| *me == Some(metadata.uid()))
}

/// Elsewhere the folder for temporary files is the user's own.
#[cfg(not(unix))]
fn is_mine(_: &fs::Metadata) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let entries = fs::read_dir(place).expect("readable").map(|entry| entry.expect("readable").file_name());
        entries.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// What is there once its process was ended.
    fn left(place: &Path) -> std::path::PathBuf {
        let mut folder = PrivateFolder::new_in(place).expect("made");
        fs::write(folder.path().join("copy.db"), "somebody's memory").expect("written");
        assert!(folder.lock.take().is_some(), "this system has locks");
        let path = folder.path().to_owned();
        std::mem::forget(folder);
        path
    }

    #[test]
    fn the_lock_goes_last() {
        let place = tempfile::tempdir().expect("a folder");
        let left = left(place.path());
        fs::create_dir(left.join("more")).expect("made");
        empty(&left);
        assert_eq!(names(&left), [LOCK]);
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_is_in_use_stays() {
        let place = tempfile::tempdir().expect("a folder");
        let used = PrivateFolder::new_in(place.path()).expect("made");
        let left = left(place.path());
        let stranger = place.path().join("not-ours");
        fs::create_dir(&stranger).expect("made");
        sweep(place.path(), SystemTime::now());
        assert!(!left.exists());
        assert!(used.path().exists() && stranger.exists());
        drop(used);
        assert_eq!(names(place.path()), ["not-ours"]);
    }

    #[test]
    fn a_folder_without_a_lock_stays_for_a_day() {
        let place = tempfile::tempdir().expect("a folder");
        let unlocked = place.path().join("aqe-sync-old");
        fs::create_dir(&unlocked).expect("made");
        sweep(place.path(), SystemTime::now() + Duration::from_secs(3_600));
        assert!(unlocked.exists());
        sweep(place.path(), SystemTime::now() + Duration::from_secs(90_000));
        assert!(!unlocked.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_followed() {
        let (place, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let elsewhere = left(other.path());
        std::os::unix::fs::symlink(&elsewhere, place.path().join("aqe-sync-link")).expect("linked");
        sweep(place.path(), SystemTime::now());
        assert!(elsewhere.join("copy.db").exists());
    }
}
