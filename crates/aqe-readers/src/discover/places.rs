//! What a file is, by its place and its first bytes.

use std::path::Path;

use super::Found;
use super::walk::Candidate;
use crate::sqlite::header::Magic;
use crate::{JsonLayout, JsonSource, RedbSource, SourceFile, SqliteSource};

/// What to do with a candidate.
pub(super) enum Verdict {
    Source(Found),
    Skip(String),
    /// No data file, and nobody would expect it to be read.
    Nothing,
}

pub(super) fn classify(root: &Path, candidate: &Candidate) -> Verdict {
    let path = candidate.path.as_path();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Verdict::Nothing };
    let inside = path.strip_prefix(&candidate.folder).unwrap_or(path).to_string_lossy().replace('\\', "/");
    let folder = candidate.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let tool = match folder {
        ".agentic-qe" | ".claude" => "agentic-qe",
        ".claude-flow" | ".hive-mind" => "claude-flow",
        ".ruvector" => "ruvector",
        ".swarm" => "swarm",
        _ if inside.starts_with("memory/") => "claude-flow",
        _ => "agentic-qe",
    };
    let place = Place { root, candidate, tool, folder, inside: &inside, name };
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("db") => place.database(),
        Some("json") => place.json(),
        Some("rvf") => Verdict::Skip("a derived file: the tool itself can rebuild it".to_owned()),
        _ if name.contains(".db.") || name.contains(".json.") => {
            Verdict::Skip("a backup or derived file: the tool itself does not read it".to_owned())
        }
        _ => Verdict::Nothing,
    }
}

struct Place<'a> {
    root: &'a Path,
    candidate: &'a Candidate,
    tool: &'static str,
    folder: &'a str,
    /// Path below the tool's folder.
    inside: &'a str,
    name: &'a str,
}

impl Place<'_> {
    fn file(&self, priority: i32) -> SourceFile {
        let mut file = SourceFile::new(self.root, &self.candidate.path);
        let home = if self.folder.starts_with('.') {
            self.candidate.folder.parent().unwrap_or(self.root)
        } else {
            self.candidate.folder.as_path()
        };
        let home = home.strip_prefix(self.root).unwrap_or(home).to_string_lossy().replace('\\', "/");
        // agentic-qe's own repository keeps both generations side by side.
        let (generation, scope) = match home.as_str() {
            "v3" => (10, ""),
            "v2" => (-10, ""),
            other => (0, other),
        };
        scope.clone_into(&mut file.scope);
        file.priority = priority + generation;
        file
    }

    fn found(&self, file: SourceFile, what: &str, source: Box<dyn aqe_sync_core::DynSource>) -> Verdict {
        Verdict::Source(Found { file, tool: self.tool, what: what.to_owned(), source })
    }

    fn database(&self) -> Verdict {
        if is_backup(self.name) || self.inside.contains("backup") {
            return Verdict::Skip("a backup: the tool itself does not read it".to_owned());
        }
        if self.folder == ".claude" {
            let original = self.candidate.folder.with_file_name(".swarm").join("memory.db");
            if original.exists() {
                return Verdict::Skip("the empty copy that claude-flow makes of .swarm/memory.db".to_owned());
            }
        }
        // Who cannot be looked at is left to its reader, which says what is wrong.
        let magic = Magic::at(&self.candidate.path).unwrap_or(Magic::Sqlite);
        let vectors = self.name.contains("ruvector") || self.name == "vectors.db";
        match magic {
            Magic::Redb => {
                let file = self.file(5);
                let source = Box::new(RedbSource::new(file.clone()));
                self.found(file, "redb vectors", source)
            }
            Magic::Empty | Magic::Unknown if vectors => {
                let file = self.file(5);
                let source = Box::new(RedbSource::new(file.clone()));
                self.found(file, "redb vectors", source)
            }
            _ => {
                let file = self.file(20);
                let source = Box::new(SqliteSource::new(file.clone()));
                self.found(file, "SQLite database", source)
            }
        }
    }

    fn json(&self) -> Verdict {
        let layout = match (self.folder, self.inside) {
            (".claude-flow", "memory/store.json") => JsonLayout::Store,
            (".claude-flow", "daemon-state.json") => JsonLayout::DaemonState,
            (".claude-flow", inside) if inside.starts_with("metrics/") => JsonLayout::Metrics,
            (".ruvector", "intelligence.json") => JsonLayout::Intelligence,
            (".ruvector", "sync-state.json") => {
                return Verdict::Skip("the state of agentic-qe's own sync, nothing learned".to_owned());
            }
            (_, "memory/memory-store.json") => JsonLayout::MemoryStore,
            (".swarm", "hnsw.metadata.json") => {
                return Verdict::Skip("an index of .swarm/memory.db, nothing of its own".to_owned());
            }
            _ if is_configuration(self.inside) => {
                return Verdict::Skip("configuration or credentials, nothing learned".to_owned());
            }
            _ if std::fs::metadata(&self.candidate.path).is_ok_and(|metadata| metadata.len() == 0) => {
                return Verdict::Skip("empty (0 bytes)".to_owned());
            }
            _ => JsonLayout::Archive,
        };
        let (what, priority) = match layout {
            JsonLayout::Store => ("memory store", 10),
            JsonLayout::MemoryStore => ("memory store of claude-flow 1.x", 5),
            JsonLayout::DaemonState => ("daemon workers", 10),
            JsonLayout::Metrics => ("metrics", 10),
            JsonLayout::Intelligence => ("intelligence", 10),
            JsonLayout::Archive => ("JSON kept in the archive", 0),
        };
        let file = self.file(priority);
        let source = Box::new(JsonSource::new(file.clone(), layout));
        self.found(file, what, source)
    }
}

/// `memory-<stamp>.db`, `memory.db.bak-…`: what tools put aside.
fn is_backup(name: &str) -> bool {
    let stem = name.trim_end_matches(".db");
    let stamped =
        stem.strip_prefix("memory-").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    stamped
        || stem.contains(".bak")
        || stem.ends_with("-backup")
        || stem.contains(".backup")
        || stem.contains(".corrupt")
}

/// Beginnings of words that say that a file holds settings, or what lets somebody in.
const TELLING_STARTS: [&str; 6] = ["config", "credential", "password", "secret", "setting", "token"];

/// Whole words that say so.
const TELLING_WORDS: [&str; 18] = [
    "package",
    "auth",
    "oauth",
    "key",
    "keys",
    "apikey",
    "apikeys",
    "passwd",
    "cookie",
    "cookies",
    "mcp",
    "env",
    "login",
    "cert",
    "certs",
    "certificate",
    "certificates",
    "pem",
];

/// Whether a file that would be archived whole is better left out: what is once
/// in a hub is in its backups, too.
fn is_configuration(inside: &str) -> bool {
    words(inside).iter().any(|word| {
        TELLING_WORDS.contains(&word.as_str()) || TELLING_STARTS.iter().any(|start| word.starts_with(start))
    })
}

/// The words of a path, in lower case: `api-keys`, `apiKeys` and `APIKeys` are
/// two words each.
fn words(path: &str) -> Vec<String> {
    let characters: Vec<char> = path.chars().collect();
    let mut words = vec![String::new()];
    for (position, &character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = position.checked_sub(1).map(|position| characters[position]);
        let after = characters.get(position + 1);
        let begins = character.is_uppercase()
            && before
                .is_some_and(|before| !before.is_uppercase() || after.is_some_and(|after: &char| after.is_lowercase()));
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
