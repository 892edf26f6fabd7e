//! A freshly initialised data folder, made once per installation and copied for each cluster.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::binaries::{Binaries, RunAs, text_of};

const INITDB: [&str; 6] = ["--no-sync", "-U", "postgres", "-A", "trust", "--encoding=UTF8"];
/// Debian knows `C.UTF-8`; where it is unknown, `C` sorts the same.
const LOCALES: [&str; 2] = ["--locale=C.UTF-8", "--locale=C"];

/// Copies a data folder to `target`, which must not exist yet.
pub(super) fn copy_to(target: &Path, binaries: &Binaries, run_as: RunAs) {
    copy(&find_or_make(binaries, run_as), target, run_as);
}

/// Copies the data folder of a server that is stopped.
pub(super) fn copy(data: &Path, target: &Path, run_as: RunAs) {
    let mut copy = Command::new("cp");
    text_of(run_as.apply(copy.current_dir("/").arg("-a").arg(data).arg(target)));
}

fn find_or_make(binaries: &Binaries, run_as: RunAs) -> PathBuf {
    let mut hash = DefaultHasher::new();
    (binaries.program("postgres"), binaries.version(), INITDB, LOCALES).hash(&mut hash);
    let name = format!("aqe-pg-template-{}-{:016x}", run_as.uid(), hash.finish());
    let place = std::env::temp_dir().join(name);
    if !is_ours(&place, run_as) {
        make(&place, binaries, run_as);
    }
    place
}

/// The name can be foreseen, so a folder that belongs to somebody else is not trusted.
fn is_ours(place: &Path, run_as: RunAs) -> bool {
    match fs::symlink_metadata(place) {
        Ok(meta) => {
            let owner = meta.uid();
            assert!(meta.is_dir() && owner == run_as.uid(), "{} belongs to user {owner}: remove it", place.display());
            true
        }
        Err(_) => false,
    }
}

/// Builds under a name of its own, then renames: two processes at once both end with a whole one.
fn make(place: &Path, binaries: &Binaries, run_as: RunAs) {
    let building = tempfile::Builder::new().prefix("aqe-pg-new-").tempdir().expect("a temporary folder can be made");
    run_as.give(building.path());
    let data = building.path().join("data");
    let attempt = |locale: &str| {
        let mut initdb = Command::new(binaries.program("initdb"));
        initdb.current_dir("/").args(INITDB).arg(locale).arg("-D").arg(&data);
        run_as.apply(&mut initdb).output().unwrap_or_else(|e| panic!("cannot start initdb: {e}"))
    };
    let mut complaints = String::new();
    let made = LOCALES.iter().map(|locale| attempt(locale)).any(|outcome| {
        complaints += &String::from_utf8_lossy(&outcome.stderr);
        outcome.status.success()
    });
    assert!(made, "initdb failed: {}", complaints.trim());
    match fs::rename(&data, place) {
        Ok(()) => {}
        Err(_) if is_ours(place, run_as) => {}
        Err(e) => panic!("cannot keep the template {}: {e}", place.display()),
    }
}
