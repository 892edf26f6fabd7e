//! Finding what agent tools left in a project.

mod duplicates;
mod places;
mod walk;

use std::path::{Path, PathBuf};

use aqe_sync_core::{BatchStream, DynSource, Error, Fingerprint, ReadRequest, Result, Source, SourceName, StreamSpec};
use futures::StreamExt as _;

use crate::SourceFile;
use crate::stat;

pub use walk::find_root;

/// A source that was found.
pub struct Found {
    /// The file, and where it stands in the project.
    pub file: SourceFile,
    /// The tool that writes it: `agentic-qe`, `claude-flow`, `ruvector` or `swarm`.
    pub tool: &'static str,
    /// What it is, for people.
    pub what: String,
    /// The source itself.
    pub source: Box<dyn DynSource>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("file", &self.file).field("what", &self.what).finish_non_exhaustive()
    }
}

/// A file that looks like a source but is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its path relative to the root.
    pub name: SourceName,
    /// Why.
    pub reason: String,
}

/// What a project holds.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Sources, the highest rank first, then by name.
    pub found: Vec<Found>,
    /// Files that were left out, and why.
    pub skipped: Vec<Skipped>,
}

/// Looks through a project, nested packages included.
///
/// Folders that hold no project files (`node_modules`, `target`, version
/// control…) are not entered, symbolic links to folders are not followed.
///
/// # Errors
/// When the root itself cannot be listed.
///
/// ```no_run
/// let discovery = aqe_readers::discover(std::path::Path::new("."))?;
/// for found in &discovery.found {
///     println!("{} ({})", found.file.name, found.what);
/// }
/// # Ok::<(), aqe_sync_core::Error>(())
/// ```
pub fn discover(root: &Path) -> Result<Discovery> {
    let walked = walk::walk(root)?;
    let mut discovery = Discovery::default();
    for candidate in walked.candidates {
        match places::classify(root, &candidate) {
            places::Verdict::Source(found) => discovery.found.push(found),
            places::Verdict::Skip(reason) => {
                discovery.skipped.push(Skipped { name: SourceFile::new(root, &candidate.path).name, reason });
            }
            places::Verdict::Nothing => {}
        }
    }
    for (path, error) in walked.unreadable {
        let file = SourceFile::new(root, path);
        let what = "a folder that cannot be read".to_owned();
        discovery.found.push(Found { source: Box::new(Unreadable::new(&file, error)), tool: "unknown", what, file });
    }
    discovery.found.sort_by(|a, b| b.file.priority.cmp(&a.file.priority).then_with(|| a.file.name.cmp(&b.file.name)));
    duplicates::remove(&mut discovery);
    discovery.skipped.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(discovery)
}

/// A place that cannot be listed: a source that says so, rather than silence.
struct Unreadable {
    name: SourceName,
    path: PathBuf,
    kind: std::io::ErrorKind,
}

impl Unreadable {
    fn new(file: &SourceFile, error: std::io::Error) -> Self {
        Self { name: file.name.clone(), path: file.path.clone(), kind: error.kind() }
    }

    fn error(&self) -> Error {
        // Asked again: the message should be about now.
        let cause = std::fs::read_dir(&self.path).err().unwrap_or_else(|| self.kind.into());
        stat::io_error(&self.name, cause)
    }
}

impl Source for Unreadable {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        Err(self.error())
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        Err(self.error())
    }

    fn read(&self, _: ReadRequest) -> BatchStream {
        futures::stream::iter([Err(self.error())]).boxed()
    }
}
