//! Flags of what asks the hub for what it knows: `fleet`, `search`, `embed`, `conflicts`.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, shown as they are")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What about the fleet.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Shows one record: what each environment has of it, and what they make up together
    Show {
        /// Its key; several parts as a JSON array
        key: String,
        /// The hub table it is in [default: all]
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
    },
    /// Lists records of which environments hold different versions, and who wins
    Conflicts {
        /// The hub table [default: all with patterns, plans and Q-values]
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// Show so many at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Lists records of different environments that say the same: proposals, nothing is merged
    Similar {
        /// The hub table [default: all whose records say how sure anybody is]
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// How near they have to be: the cosine of their vectors, 0 to 1
        #[arg(long, value_name = "NUMBER", default_value_t = 0.9, value_parser = share)]
        least: f64,
        /// Show so many pairs at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Stops listening to an environment: the next pulls take its influence back
    Exclude {
        /// Its name
        environment: String,
    },
    /// Listens to an excluded environment again
    Include {
        /// Its name
        environment: String,
    },
}

/// Flags of `search`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Search")]
pub(crate) struct SearchFlags {
    /// What to look for
    #[arg(required_unless_present = "like", conflicts_with = "like")]
    pub(crate) text: Option<String>,
    /// Find what is like this record: its key; several parts as a JSON array
    #[arg(long, value_name = "KEY")]
    pub(crate) like: Option<String>,
    /// Show so many at most
    #[arg(short = 'k', long = "count", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) count: u16,
    /// Only in these hub tables
    #[arg(long, visible_alias = "tables", value_name = "A,B", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
    /// Only what its environment is so sure of, 0 to 1; what nobody said it of is left out
    #[arg(long, value_name = "NUMBER", value_parser = share)]
    pub(crate) min_confidence: Option<f64>,
    /// Look at every vector, whatever index the hub has
    #[arg(long)]
    pub(crate) exact: bool,
    /// The folder with the embedding model [variable: AQE_MODEL_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Flags of `embed`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Embed")]
pub(crate) struct EmbedFlags {
    /// Count what would be done, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only rows of these hub tables
    #[arg(long, visible_alias = "tables", value_name = "A,B", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
    /// Then build an index for them, where the hub has one that can be relied on (pgvector)
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) index: bool,
    /// The folder with the embedding model [variable: AQE_MODEL_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
}

/// Flags of `conflicts`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Conflicts")]
pub(crate) struct ConflictsFlags {
    /// What to do with one of them [default: list all]
    #[command(subcommand)]
    pub(crate) what: Option<ConflictsCommand>,
    /// Only of this hub table
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// Only of this environment
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// Only what was decided since: a moment (2026-01-31, 2026-01-31T12:00:00Z) or an age (36h, 7d)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Show so many at most, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// What about one conflict.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ConflictsCommand {
    /// Shows both versions, column by column
    Show {
        /// Its id, as listed
        id: String,
    },
    /// Puts the version in force that is not, in this environment's row
    Revert {
        /// Its id, as listed
        id: String,
        /// Put this version in force, whatever is now
        #[arg(long, value_enum)]
        to: Option<Version>,
    },
}

/// One of the two versions that conflicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// The version that arrived
    Incoming,
    /// The version that was stored
    Existing,
}
