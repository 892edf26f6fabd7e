//! What this installation remembers of its own runs: also of those that never reached a hub.
//!
//! One JSON object a line in the state folder, the newest last. It is for people and
//! monitoring; no sync depends on it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aqe_sync_core::history::RunRecord;
use serde::{Deserialize, Serialize};

use crate::project::STATE_FOLDER;

/// A file that is longer is cut, to half of it: some hundreds of runs that read everything, some
/// thousands that changed nothing.
const LONGEST: u64 = 1 << 20;

/// A run, and which hub it was for, as people know that.
#[derive(Serialize, Deserialize)]
struct Attempt {
    hub: String,
    #[serde(flatten)]
    run: RunRecord,
}

/// The file, in a project.
fn file(root: &Path) -> PathBuf {
    root.join(STATE_FOLDER).join("runs.jsonl")
}

/// Adds a run, if the project has a state folder. What cannot be written is not remembered:
/// the run itself is done.
pub(crate) fn remember(root: &Path, hub: &str, run: &RunRecord) {
    let path = file(root);
    if !path.parent().is_some_and(Path::is_dir) {
        return;
    }
    let attempt = Attempt { hub: hub.to_owned(), run: run.clone() };
    let Ok(mut line) = serde_json::to_string(&attempt) else { return };
    line.push('\n');
    let added = OpenOptions::new().append(true).create(true).open(&path).and_then(|mut file| {
        file.write_all(line.as_bytes())?;
        file.metadata()
    });
    if added.is_ok_and(|file| file.len() > LONGEST) {
        trim(&path);
    }
}

/// Leaves the newest. Another run that adds to it meanwhile may lose its line.
fn trim(path: &Path) {
    let Ok(text) = fs::read_to_string(path) else { return };
    let from = text.len().saturating_sub(usize::try_from(LONGEST / 2).unwrap_or(usize::MAX));
    // Whole lines: what is cut in two goes.
    let Some(kept) = text.as_bytes()[from..].iter().position(|byte| *byte == b'\n').map(|end| &text[from + end + 1..])
    else {
        return;
    };
    let new = path.with_extension("jsonl.new");
    if fs::write(&new, kept).is_ok() {
        // As before, then.
        let _ = fs::rename(&new, path);
    }
}

/// The runs for a hub that are remembered. A line that is not whole, as after a power cut, is
/// left out.
pub(crate) fn remembered(root: &Path, hub: &str) -> Vec<RunRecord> {
    let text = fs::read_to_string(file(root)).unwrap_or_default();
    let attempts = text.lines().filter_map(|line| serde_json::from_str::<Attempt>(line).ok());
    attempts.filter(|attempt| attempt.hub == hub).map(|attempt| attempt.run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqe_sync_core::{Environment, Mode, Report};

    fn run() -> RunRecord {
        RunRecord::from(&Report::new(Environment::new("e"), Mode::Full, "h"))
    }

    #[test]
    fn runs_are_remembered_in_order_and_a_torn_line_is_left_out() {
        let root = tempfile::tempdir().expect("a folder");
        remember(root.path(), "h", &run());
        assert!(remembered(root.path(), "h").is_empty(), "a project that was never synced stays as it is");
        fs::create_dir(root.path().join(STATE_FOLDER)).expect("created");
        let (first, second) = (run(), run());
        remember(root.path(), "h", &first);
        fs::write(file(root.path()), fs::read_to_string(file(root.path())).expect("read") + "{\"run_id\": \"to\n")
            .expect("written");
        remember(root.path(), "h", &second);
        remember(root.path(), "another", &run());
        assert_eq!(remembered(root.path(), "h"), [first, second]);
    }

    #[test]
    fn the_file_stays_small_and_the_newest_runs_in_it() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join(STATE_FOLDER)).expect("created");
        let old = RunRecord { errors: Some("x".repeat(500)), ..run() };
        let line = serde_json::to_string(&Attempt { hub: "h".into(), run: old }).expect("written") + "\n";
        fs::write(file(root.path()), line.repeat(2_000)).expect("written");
        let last = run();
        remember(root.path(), "h", &last);
        let kept = remembered(root.path(), "h");
        assert_eq!(kept.last(), Some(&last));
        assert!((500..1_000).contains(&kept.len()), "{}", kept.len());
        assert!(fs::metadata(file(root.path())).expect("there").len() <= LONGEST / 2);
    }
}
