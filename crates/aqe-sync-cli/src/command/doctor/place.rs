//! Files and folders of ours: whose they are, who else may see them, how much room there is.

use std::path::Path;

use aqe_cloud::postgres::doctor::Check;

use crate::config::{Hub, Origin, Setting};
use crate::output::bytes;

/// Less free space than this, in bytes, and a first sync of a large project may not fit.
const LITTLE_SPACE: u64 = 256 << 20;

/// Less free space than this, in bytes, and no sync can be expected to end well.
const NO_SPACE: u64 = 16 << 20;

/// Whoever changes the file says where the memories go, and a password in it is for
/// nobody else's eyes.
pub(super) fn configuration(file: &Path, hub: &Setting<Hub>) -> Check {
    let name = file.display().to_string();
    if hub.value.holds_password() && matches!(hub.origin, Origin::File { .. }) && has_mode(file, 0o077) {
        return Check::warning(
            "configuration",
            format!("{name} holds a password and others on this machine may read it"),
            format!("run chmod 600 {name}, or keep the password in ~/.pgpass"),
        );
    }
    if has_mode(file, 0o002) && others_get_to(file) {
        return Check::warning(
            "configuration",
            format!("{name} says where memories go, and anybody on this machine may change it"),
            format!("run chmod go-w {name}"),
        );
    }
    Check::ok("configuration", name)
}

/// The arguments of a program can be read by everybody on its machine.
pub(super) fn arguments(hub: &Setting<Hub>) -> Option<Check> {
    (hub.value.holds_password() && matches!(hub.origin, Origin::Flag(_))).then(|| {
        let found = "in --hub, where anybody on this machine can read it while the program runs; nobody can in \
                     PGPASSWORD or ~/.pgpass";
        Check::ok("password", found)
    })
}

/// Whether we can write to the state folder, or make it, and others cannot look into it.
pub(super) fn state_folder(root: &Path, folder: &Path) -> Check {
    let place = if folder.exists() { folder } else { root };
    let shown = place.display();
    if let Err(error) = tempfile::NamedTempFile::new_in(place) {
        let advice = owner_advice(place).unwrap_or_else(|| format!("make it writable: chmod u+rwx {shown}"));
        return Check::critical("state folder", format!("{shown} cannot be written to: {error}"), advice);
    }
    let open = folder.exists().then(|| open_to_others("state folder", folder)).flatten();
    open.unwrap_or_else(|| Check::ok("state folder", format!("{shown} can be written to")))
}

/// What stands in the way of writing to a file of ours, if anything does.
pub(super) fn of_ours(name: &'static str, file: &Path) -> Option<Check> {
    let shown = file.display();
    if let Err(error) = std::fs::OpenOptions::new().read(true).append(true).open(file) {
        let advice = owner_advice(file).unwrap_or_else(|| format!("run chmod u+rw {shown}"));
        return Some(Check::critical(name, format!("{shown} cannot be read and written to: {error}"), advice));
    }
    let advice = owner_advice(file)?;
    let found = format!("{shown} belongs to another user, who cannot sync once this one has written here");
    Some(Check::warning(name, found, advice))
}

/// What anybody on this machine may read or change.
pub(super) fn open_to_others(name: &'static str, path: &Path) -> Option<Check> {
    let shown = path.display();
    let verb = if has_mode(path, 0o002) { "change" } else { "read" };
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    (has_mode(path, 0o006) && others_get_to(path)).then(|| {
        let found = format!("{shown} holds memories, and anybody on this machine may {verb} it");
        Check::warning(name, found, format!("run chmod {mode:o} {shown}"))
    })
}

/// The room for a folder's files, where the system says it.
pub(super) fn disk(folder: &Path) -> Option<Check> {
    free_space(folder).map(|free| judged_space(folder, free))
}

fn judged_space(folder: &Path, free: u64) -> Check {
    let found = format!("{} free for {}", bytes(free), folder.display());
    let advice = "make room: the ledger takes 32 bytes per record, an embedded hub about as much as its sources";
    match free {
        ..NO_SPACE => Check::critical("disk", found, advice),
        NO_SPACE..LITTLE_SPACE => Check::warning("disk", found, advice),
        _ => Check::ok("disk", found),
    }
}

#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

/// Whether any of these permissions is given.
#[cfg(unix)]
fn has_mode(path: &Path, mode: u32) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & mode != 0)
}

#[cfg(not(unix))]
fn has_mode(_: &Path, _: u32) -> bool {
    false
}

/// Whether every folder on the way lets others through.
fn others_get_to(path: &Path) -> bool {
    path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).all(|folder| has_mode(folder, 0o001))
}

/// What to do about a file of somebody else's.
#[cfg(unix)]
fn owner_advice(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = std::fs::metadata(path).ok()?.uid();
    let we = rustix::process::geteuid().as_raw();
    let shown = path.display();
    (owner != we).then(|| format!("run aqe-sync as user {owner}, whose it is; or have it: chown {we} {shown}"))
}

#[cfg(not(unix))]
fn owner_advice(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqe_cloud::postgres::doctor::Severity;

    #[test]
    fn space_is_judged_by_what_a_sync_needs() {
        for (free, severity) in [
            (0, Severity::Critical),
            (NO_SPACE - 1, Severity::Critical),
            (NO_SPACE, Severity::Warning),
            (LITTLE_SPACE - 1, Severity::Warning),
            (LITTLE_SPACE, Severity::Ok),
        ] {
            assert_eq!(judged_space(Path::new("/x"), free).severity, severity, "{free}");
        }
    }
}
