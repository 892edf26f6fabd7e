//! Flags of what has syncs run and looks after them: `watch`, `schedule`, `status`, `history`,
//! `report`, `dead-letters`.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, shown as they are")]

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Flags of `watch`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Watch")]
pub(crate) struct WatchFlags {
    /// When syncs are due: a span of time (5m, 1h) or a cron expression in local time [default: 5m]
    #[arg(long, value_name = "WHEN")]
    pub(crate) interval: Option<String>,
    /// Serve metrics in Prometheus' format here, under /metrics: 127.0.0.1:9464, or a port of this machine alone
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
    /// Each time also take what other environments learned into this project's own memory
    #[arg(long)]
    pub(crate) bidirectional: bool,
}

/// Flags of `schedule`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScheduleFlags {
    /// What to do.
    #[command(subcommand)]
    pub(crate) what: ScheduleCommand,
}

/// What about schedules.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Shows what is to be written, asks, and writes it
    Install {
        /// Who is to start syncs
        #[arg(value_enum)]
        kind: ScheduleKind,
        /// How often (systemd, cron): a span of time (5m, 1h) or a cron expression [default: watch.interval, 5m]
        #[arg(long, value_name = "WHEN")]
        interval: Option<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Only show it
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
    /// Removes exactly what was written
    Remove {
        /// Who is no longer to start syncs
        #[arg(value_enum)]
        kind: ScheduleKind,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Only show it
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
    /// Lists what starts syncs of this project
    Show,
}

/// Who starts syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ScheduleKind {
    /// A timer of this user's systemd
    Systemd,
    /// A line in this user's crontab
    Cron,
    /// The repository's post-commit hook
    Git,
    /// A hook of Claude Code in .claude/settings.json, at the end of a session
    ClaudeCode,
}

impl ScheduleKind {
    /// Its name, as it is given.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cron => "cron",
            Self::Git => "git",
            Self::ClaudeCode => "claude-code",
        }
    }
}

/// Flags of `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Status")]
pub(crate) struct StatusFlags {
    /// Print all figures in Prometheus' text format
    #[arg(long, conflicts_with = "json")]
    pub(crate) prometheus: bool,
}

/// Flags of `history`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "History")]
pub(crate) struct HistoryFlags {
    /// Only of this environment
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// Only syncs since: a moment (2026-01-31, 2026-01-31T12:00:00Z) or an age (36h, 7d)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only syncs that failed or were done in part
    #[arg(long)]
    pub(crate) failed: bool,
    /// Show so many at most, the newest
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// Flags of `report`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportFlags {
    /// Write the page to this file: one file, which needs no network; - is standard output
    #[arg(long, value_name = "FILE", required_unless_present = "json")]
    pub(crate) html: Option<PathBuf>,
    /// Show so many days of syncs
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub(crate) days: u32,
}

/// Flags of `dead-letters`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Dead letters")]
pub(crate) struct DeadLettersFlags {
    /// What to do with them [default: list]
    #[command(subcommand)]
    pub(crate) what: Option<DeadLettersCommand>,
    /// Only of this hub table
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// Only of this environment
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// Those too whose records were stored since, or are gone
    #[arg(long)]
    pub(crate) settled: bool,
    /// Show so many at most, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// What about dead letters.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Lists them
    List,
    /// Shows one, with all that its record holds
    Show {
        /// Its id, as listed; the beginning of it is enough
        id: String,
    },
    /// Reads their sources again, whatever is known of those, and stores what can be stored
    Retry {
        /// Their ids; the beginnings are enough [default: all of this environment]
        ids: Vec<String>,
    },
    /// Deletes them from the hub, for good
    Drop {
        /// Their ids; the beginnings are enough
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All of this environment, settled ones too
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}
