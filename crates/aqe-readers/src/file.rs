//! A file that is a source: where it is, and where it stands in the project.

use std::path::{Path, PathBuf};

use aqe_sync_core::SourceName;

/// A file to read, with its place in the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path relative to the project root, with `/`.
    pub name: SourceName,
    /// The package inside the project that it belongs to (`packages/web`);
    /// empty for the project itself and its `v2` and `v3` folders.
    pub scope: String,
    /// Its rank where several sources hold the same key: the higher goes first.
    pub priority: i32,
}

impl SourceFile {
    /// A file of the project itself, of rank 0.
    pub fn new(root: &Path, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        Self { name: SourceName::new(parts.join("/")), path, scope: String::new(), priority: 0 }
    }
}
