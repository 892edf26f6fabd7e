//! The project: its root, its name, and the folder that this tool keeps in it.

use std::path::{Path, PathBuf};

use crate::config::{Origin, Setting};
use crate::exit::Failure;
use aqe_readers::find_root;
use aqe_sync_core::hash::fields_hash;
use aqe_sync_core::{Instance, Value};

/// What this tool keeps in a project: the embedded hub, the ledger.
pub(crate) const STATE_FOLDER: &str = ".aqe-sync";

/// The project's root: as given, or found by walking up from here.
///
/// # Errors
/// When the given folder is none.
pub(crate) fn root(given: Option<&Path>) -> Result<Setting<PathBuf>, Failure> {
    let (path, origin) = match given {
        Some(path) if path.is_dir() => (path.to_owned(), Origin::Flag("--root")),
        Some(path) => {
            return Err(Failure::usage(format!("flag --root: {} is not a folder", path.display())));
        }
        None => {
            let here = std::env::current_dir()
                .map_err(|error| Failure::failed(format!("cannot find out the current folder: {error}; use --root")))?;
            (find_root(&here), Origin::Default)
        }
    };
    let path =
        path.canonicalize().map_err(|error| Failure::failed(format!("cannot open {}: {error}", path.display())))?;
    Ok(Setting::new(path, origin))
}

/// The environment's name when nobody gives one: `HOST:PROJECT`.
pub(crate) fn default_environment(root: &Path) -> String {
    let host = hostname::get().unwrap_or_default();
    let project = root.file_name().unwrap_or_default();
    environment_name(&host.to_string_lossy(), &project.to_string_lossy())
}

fn environment_name(host: &str, project: &str) -> String {
    format!("{}:{}", clean(host, "host"), clean(project, "project"))
}

/// Which installation this is: the same for one checkout on one machine, another for
/// any other. A hash to compare, then `HOST:ROOT` for people.
pub(crate) fn instance(root: &Path) -> Instance {
    // Not everywhere, and not readable for everybody: host and root tell most apart.
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = hostname::get().unwrap_or_default();
    instance_name(&machine, &host.to_string_lossy(), &root.to_string_lossy())
}

fn instance_name(machine: &str, host: &str, root: &str) -> Instance {
    let (machine_id, host_name, place) = (Value::from(machine.trim()), Value::from(host), Value::from(root));
    let hash = fields_hash([("machine", &machine_id), ("host", &host_name), ("root", &place)]);
    Instance::new(format!("{hash:016x} {}:{}", clean(host, "host"), clean(root, "root")))
}

/// A name without what does not belong into one.
fn clean(name: &str, fallback: &str) -> String {
    let kept: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if kept.is_empty() { fallback.to_owned() } else { kept }
}

/// The ledger's file.
pub(crate) fn ledger(root: &Path) -> PathBuf {
    root.join(STATE_FOLDER).join("ledger.db")
}

/// Creates the state folder, with a note to git that it is nobody else's business.
/// Says whether there was something to create.
///
/// # Errors
/// When the project cannot be written to.
pub(crate) fn create_state_folder(root: &Path) -> Result<bool, Failure> {
    let folder = root.join(STATE_FOLDER);
    let ignore = folder.join(".gitignore");
    if ignore.exists() {
        return Ok(false);
    }
    let created = create_private(&folder).and_then(|()| std::fs::write(&ignore, "*\n"));
    created.map_err(|error| {
        let advice = "make the project writable; --dry-run works without writing";
        Failure::failed(format!("cannot write to {}: {error}; {advice}", folder.display()))
    })?;
    Ok(true)
}

/// Creates a folder that no other user of this machine looks into: memories are kept there.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// A path as people write it: relative to the root where it lies in it.
pub(crate) fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unnamed_host_or_project_gets_a_name() {
        assert_eq!(environment_name("laptop", "shop"), "laptop:shop");
        assert_eq!(environment_name("", "\n"), "host:project");
    }

    #[test]
    fn one_checkout_on_one_machine_has_one_instance_and_any_other_another() {
        let here = instance_name("m\n", "laptop", "/home/me/shop");
        assert_eq!(here, instance_name("m", "laptop", "/home/me/shop"));
        for (machine, host, root) in
            [("n", "laptop", "/home/me/shop"), ("m", "devpod", "/home/me/shop"), ("m", "laptop", "/home/me/shop2")]
        {
            assert_ne!(here, instance_name(machine, host, root));
        }
        let (hash, place) = here.as_str().split_once(' ').expect("two parts");
        assert!(hash.len() == 16 && hash.chars().all(|digit| digit.is_ascii_hexdigit()), "{hash}");
        assert_eq!(place, "laptop:/home/me/shop");
    }

    #[test]
    fn the_state_folder_is_created_once_and_ignored_by_git() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(create_state_folder(root.path()).expect("created"));
        assert!(!create_state_folder(root.path()).expect("is there"));
        let ignore = std::fs::read_to_string(root.path().join(".aqe-sync/.gitignore")).expect("readable");
        assert_eq!(ignore, "*\n");
    }
}
