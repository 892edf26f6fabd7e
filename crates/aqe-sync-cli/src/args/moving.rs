//! Flags of what moves records: `sync`, `verify`, `pull`.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, shown as they are")]

use std::path::PathBuf;

use aqe_sync_core::Mode;
use clap::Args;

use crate::exit::Failure;

/// Flags that change a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Sync")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct SyncFlags {
    /// Compare every record with the hub, whatever is known from the last sync
    #[arg(long, conflicts_with = "append")]
    full: bool,
    /// Only add new records; leave those that the hub has as they are
    #[arg(long)]
    append: bool,
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Allow that more than half of a stream's records are marked as deleted
    #[arg(long)]
    pub(crate) allow_mass_delete: bool,
    /// Then take what other environments learned into this project's own memory
    #[arg(long, conflicts_with = "append")]
    pub(crate) bidirectional: bool,
}

impl SyncFlags {
    /// Those of a sync that compares everything.
    pub(crate) fn full() -> Self {
        Self { full: true, ..Self::default() }
    }

    /// The mode they stand for.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self { full: true, .. } => Mode::Full,
            Self { append: true, .. } => Mode::Append,
            Self { .. } => Mode::Incremental,
        }
    }

    /// Flags before and after the word `sync` together.
    pub(super) fn and(self, other: Self) -> Result<Self, Failure> {
        let both = Self {
            full: self.full || other.full,
            append: self.append || other.append,
            dry_run: self.dry_run || other.dry_run,
            allow_mass_delete: self.allow_mass_delete || other.allow_mass_delete,
            bidirectional: self.bidirectional || other.bidirectional,
        };
        if both.full && both.append {
            return Err(Failure::usage("--full and --append cannot be used together: choose one"));
        }
        if both.bidirectional && both.append {
            return Err(Failure::usage("--bidirectional and --append cannot be used together: choose one"));
        }
        Ok(both)
    }

    /// The first that is given.
    pub(super) fn first(self) -> Option<&'static str> {
        let flags = [
            (self.full, "--full"),
            (self.append, "--append"),
            (self.dry_run, "--dry-run"),
            (self.allow_mass_delete, "--allow-mass-delete"),
            (self.bidirectional, "--bidirectional"),
        ];
        flags.iter().find(|(set, _)| *set).map(|(_, name)| *name)
    }
}

/// Flags that change a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Verify")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct VerifyFlags {
    /// Make the hashes of the hub's rows anew: finds rows that were edited there
    #[arg(long)]
    pub(crate) deep: bool,
    /// Send exactly the records that differ, delete what only the hub has, and compare again
    #[arg(long)]
    pub(crate) repair: bool,
    /// Compare what the hub's index of vectors finds with what an exact search finds
    #[arg(long, conflicts_with_all = ["deep", "repair"])]
    pub(crate) vectors: bool,
    /// So many vectors are looked for
    #[arg(long, value_name = "N", default_value_t = 100, requires = "vectors")]
    pub(crate) sample: usize,
    /// Allow a repair to mark more than half of a stream's records as deleted
    #[arg(long, requires = "repair")]
    pub(crate) allow_mass_delete: bool,
}

/// Flags of `pull`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Pull")]
pub(crate) struct PullFlags {
    /// Look at every record of the fleet, whatever the last pull has seen
    #[arg(long)]
    pub(crate) full: bool,
    /// Only what these environments contribute
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) from: Option<Vec<String>>,
    /// Only these hub tables
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) tables: Option<Vec<String>>,
    /// Only what was written to the hub since: a moment (2026-01-31, 2026-01-31T12:00:00Z) or an age (36h, 7d)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) target: Option<PathBuf>,
    /// Show what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Allow that more than half of what was pulled before is taken back
    #[arg(long)]
    pub(crate) allow_mass_delete: bool,
}
