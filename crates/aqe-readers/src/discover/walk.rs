//! The walk through a project's folders.

use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

use aqe_sync_core::{Error, ErrorKind, Result};

/// Folders of agent tools.
pub(super) const TOOL_FOLDERS: [&str; 5] = [".agentic-qe", ".claude-flow", ".ruvector", ".swarm", ".hive-mind"];

/// Folders that hold no project files of their own.
const SKIPPED_FOLDERS: [&str; 12] = [
    "node_modules",
    "target",
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    "__pycache__",
    ".cache",
    ".cargo",
    ".rustup",
    ".npm",
];

/// How deep packages may nest.
const MAX_DEPTH: usize = 10;

/// A file in a place where tools keep what they learn.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// The tool folder that it is in, or the plain folder for tools that have none.
    pub(super) folder: PathBuf,
}

#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) candidates: Vec<Candidate>,
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
}

/// The project that a folder belongs to: the nearest one above it (or itself)
/// with `aqe-sync.toml`, `.aqe-sync` or version control; failing that, the
/// topmost one with a tool folder below the home folder; failing that, itself.
pub fn find_root(start: &Path) -> PathBuf {
    let start = std::fs::canonicalize(start).unwrap_or_else(|_| start.to_owned());
    let marked = |folder: &&Path| {
        ["aqe-sync.toml", ".aqe-sync", ".git", ".hg"].iter().any(|marker| folder.join(marker).exists())
    };
    if let Some(root) = start.ancestors().find(marked) {
        return root.to_owned();
    }
    let with_tools =
        |folder: &&Path| folder.parent().is_some() && TOOL_FOLDERS.iter().any(|tool| folder.join(tool).is_dir());
    start.ancestors().filter(with_tools).last().unwrap_or(&start).to_owned()
}

/// Lists candidates below `root`.
pub(super) fn walk(root: &Path) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut waiting = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let entries = match list(&folder) {
            Ok(entries) => entries,
            Err(cause) if depth == 0 => {
                return Err(Error::new(ErrorKind::NotFound, format!("the folder cannot be listed ({cause})"))
                    .during(format!("looking through {}", root.display()))
                    .advice("give the project's folder with --root")
                    .caused_by(cause));
            }
            // Somebody else's folder in the tree: no memory of ours to lose.
            Err(_) => continue,
        };
        for (name, kind) in entries {
            let path = folder.join(&name);
            if TOOL_FOLDERS.contains(&name.as_str()) {
                tool_folder(&path, &mut walked);
            } else if name == ".claude" {
                let file = path.join("memory.db");
                if file.exists() {
                    walked.candidates.push(Candidate { path: file, folder: path });
                }
            } else if kind.is_dir()
                && depth < MAX_DEPTH
                && !SKIPPED_FOLDERS.contains(&name.as_str())
                && !is_hidden(&name)
            {
                plain_folder(&path, &name, &mut walked);
                waiting.push((path, depth + 1));
            }
        }
    }
    walked.candidates.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walked)
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

fn list(folder: &Path) -> io::Result<Vec<(String, FileType)>> {
    let entries = std::fs::read_dir(folder)?.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), entry.file_type().ok()?))
    });
    Ok(entries.collect())
}

/// Everything in a tool's folder, three levels deep.
fn tool_folder(folder: &Path, walked: &mut Walked) {
    const LEVELS: usize = 3;
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((current, depth)) = waiting.pop() {
        let entries = match list(&current) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
            Err(error) => {
                walked.unreadable.push((current, error));
                continue;
            }
        };
        for (name, kind) in entries {
            let path = current.join(&name);
            let looks_like_file = has_data_suffix(&name);
            if kind.is_dir() && !looks_like_file {
                if depth < LEVELS && !matches!(name.as_str(), "backups" | "logs" | "node_modules" | "cache") {
                    waiting.push((path, depth + 1));
                }
            } else {
                walked.candidates.push(Candidate { path, folder: folder.to_owned() });
            }
        }
    }
}

/// Tools that keep files in plain folders: `memory/`, `data/`.
fn plain_folder(folder: &Path, name: &str, walked: &mut Walked) {
    let parent = folder.parent().unwrap_or(folder).to_owned();
    let mut add = |path: PathBuf| {
        if path.exists() {
            walked.candidates.push(Candidate { path, folder: parent.clone() });
        }
    };
    match name {
        "memory" => {
            add(folder.join("memory-store.json"));
            add(folder.join("claude-flow@alpha-data.json"));
        }
        "data" => add(folder.join("ruvector-patterns.db")),
        _ if name.ends_with(".ruvector") => add(folder.join("vectors.db")),
        _ => {}
    }
}

/// Whether a name is one of a data file, so that a folder of that name is a mistake.
fn has_data_suffix(name: &str) -> bool {
    let suffix = Path::new(name).extension();
    suffix.is_some_and(|suffix| suffix == "db" || suffix == "json")
}
