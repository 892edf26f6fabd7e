//! What discovery found, and which of it takes part.

use std::collections::BTreeMap;
use std::path::Path;

use aqe_sync_core::{DynSource, SourceName};

use crate::config::{Origin, Settings};
use crate::exit::Failure;
use crate::output::{Cell, Table, Terminal, counted, plain};
use crate::selection::{self, Candidate};
use aqe_readers::{Discovery, Found, Skipped, discover};

/// The files that are looked for, for people who have none.
const KNOWN_FILES: [&str; 8] = [
    ".agentic-qe/memory.db",
    ".agentic-qe/ruvector-cache.db",
    ".claude-flow/memory/store.json",
    ".claude-flow/daemon-state.json",
    ".claude-flow/metrics/*.json",
    ".ruvector/intelligence.json",
    ".swarm/memory.db",
    "data/ruvector-patterns.db",
];

/// The sources of a run.
pub(crate) struct Chosen {
    /// Those that take part.
    pub(crate) found: Vec<Found>,
    /// How many were found but not chosen.
    pub(crate) left_out: usize,
    /// The ranks of all that are there.
    pub(crate) priorities: BTreeMap<SourceName, i32>,
    /// What was found but is no source of its own: the same file again, copies, backups.
    pub(crate) skipped: Vec<Skipped>,
}

/// Looks for sources and chooses among them.
///
/// # Errors
/// When the project cannot be searched, or an item of `--sources` means nothing.
pub(crate) fn choose(settings: &Settings, terminal: &Terminal) -> Result<Chosen, Failure> {
    let Discovery { found, skipped } = discover(&settings.root.value)?;
    // What was skipped is there too, and no source that went away.
    let there = found.iter().map(|found| (found.file.name.clone(), found.file.priority));
    let priorities = there.chain(skipped.iter().map(|skipped| (skipped.name.clone(), 0))).collect();
    let candidates: Vec<Candidate<'_>> = found.iter().map(candidate).collect();
    let (include, exclude) = (&settings.include, &settings.exclude.value);
    match include.origin {
        Origin::Flag(_) => selection::check(&include.value, &candidates)?,
        // A file serves several machines, and not each has every tool.
        _ => {
            for item in selection::unmatched(&include.value, &candidates) {
                terminal.warning(&format!("{}: no source is named {item:?} here", include.origin));
            }
        }
    }
    let total = found.len();
    let takes_part = |found: &Found| selection::takes_part(&include.value, exclude, candidate(found));
    let found: Vec<Found> = found.into_iter().filter(takes_part).collect();
    Ok(Chosen { left_out: total - found.len(), found, priorities, skipped })
}

fn candidate(found: &Found) -> Candidate<'_> {
    Candidate { name: found.file.name.as_str(), tool: found.tool }
}

impl Chosen {
    /// Says what was found, what each is, and what was skipped and why.
    pub(crate) fn tell(&self, root: &Path, terminal: &Terminal) {
        if !terminal.speaks() {
            return;
        }
        if self.found.is_empty() && self.left_out == 0 {
            terminal.say(&plain(&format!("no agent memory was found in {} and below", shown(root))));
            terminal.say(&format!("aqe-sync knows these files, in any package: {}", KNOWN_FILES.join(", ")));
            terminal.say("if the project is elsewhere, name it with --root DIR");
        } else {
            let left_out = if self.left_out == 0 { String::new() } else { format!(", {} not chosen", self.left_out) };
            let sources = counted(self.found.len() as u64, "source");
            terminal.say(&plain(&format!("{sources} in {}{left_out}", shown(root))));
            terminal.say(&indented(
                self.found
                    .iter()
                    .map(|found| vec![Cell::text(&found.file.name), Cell::text(found.tool), Cell::text(&found.what)]),
            ));
        }
        if !self.skipped.is_empty() {
            terminal.say("skipped");
            terminal.say(&indented(
                self.skipped.iter().map(|skipped| vec![Cell::text(&skipped.name), Cell::text(&skipped.reason)]),
            ));
        }
        terminal.say("");
    }

    /// The sources alone, as they are.
    pub(crate) fn into_sources(self) -> Vec<Box<dyn DynSource>> {
        self.found.into_iter().map(|found| found.source).collect()
    }
}

/// The root as a person would write it: relative to where they are, if below it.
fn shown(root: &Path) -> String {
    let here = std::env::current_dir().and_then(std::fs::canonicalize);
    let relative = here.as_ref().ok().and_then(|here| root.strip_prefix(here).ok());
    match relative.filter(|relative| !relative.as_os_str().is_empty()) {
        Some(relative) => relative.display().to_string(),
        None => root.display().to_string(),
    }
}

fn indented(rows: impl Iterator<Item = Vec<Cell>>) -> String {
    let mut table = Table::new(&[]);
    rows.for_each(|row| table.row(row));
    let lines: Vec<String> = table.draw_plain().lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
