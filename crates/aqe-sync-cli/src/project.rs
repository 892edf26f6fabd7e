//! The project: its root, its name, and the folder that this tool keeps in it.

use std::path::{Path, PathBuf};

use crate::config::{Origin, Setting};
use crate::exit::Failure;
use aqe_readers::find_root;

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
    let clean = |name: &str, fallback: &str| {
        let kept: String = name.trim().chars().filter(|c| !c.is_control()).collect();
        if kept.is_empty() { fallback.to_owned() } else { kept }
    };
    format!("{}:{}", clean(host, "host"), clean(project, "project"))
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
    let created = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&ignore, "*\n"));
    created.map_err(|error| {
        let advice = "make the project writable; --dry-run works without writing";
        Failure::failed(format!("cannot write to {}: {error}; {advice}", folder.display()))
    })?;
    Ok(true)
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
    fn the_state_folder_is_created_once_and_ignored_by_git() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(create_state_folder(root.path()).expect("created"));
        assert!(!create_state_folder(root.path()).expect("is there"));
        let ignore = std::fs::read_to_string(root.path().join(".aqe-sync/.gitignore")).expect("readable");
        assert_eq!(ignore, "*\n");
    }
}
