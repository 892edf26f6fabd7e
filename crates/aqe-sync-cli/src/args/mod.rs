//! The command line. Each flag carries its own help.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, shown as they are")]

mod hub;
mod knowing;
mod moving;
mod watching;

use std::path::PathBuf;

use aqe_cloud::secret::Secret;
use clap::{ArgAction, Args, Parser, Subcommand};

pub(crate) use hub::{CreateFlags, EnvCommand, InitFlags};
pub(crate) use knowing::{ConflictsCommand, ConflictsFlags, EmbedFlags, FleetCommand, SearchFlags, Version};
pub(crate) use moving::{PullFlags, SyncFlags, VerifyFlags};
pub(crate) use watching::{
    DeadLettersCommand, DeadLettersFlags, HistoryFlags, ReportFlags, ScheduleCommand, ScheduleFlags, ScheduleKind,
    StatusFlags, WatchFlags,
};

use crate::exit::Failure;

const AFTER_HELP: &str = "\
Without a command, aqe-sync takes what changed since the last time into the hub.

Exit codes: 0 done, 1 done with warnings or in part, 2 failed, 3 wrong usage.
Results go to standard output, progress and messages to standard error.";

/// So many seconds a run waits for another of the same project, as one may start by a
/// timer just before the other ends.
const DEFAULT_WAIT: u64 = 10;

/// Consolidates the memory of AI coding agents into one hub.
#[derive(Debug, Parser)]
#[command(name = "aqe-sync", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// How to sync, when no command is given.
    #[command(flatten)]
    pub(crate) sync: SyncFlags,
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes what changed into the hub (the default)
    Sync(SyncFlags),
    /// Syncs again and again, on a schedule and when a source changes, until it is told to stop
    Watch(WatchFlags),
    /// Has others start syncs: a timer of systemd, cron, git after a commit, an agent after its session
    Schedule(ScheduleFlags),
    /// Shows when each stream was last synced, how much the hub holds, and what needs attention
    Status(StatusFlags),
    /// Tells whom the configuration names what crossed a threshold since the last time, and what is well again
    Alerts,
    /// Lists the last syncs, of all environments, and what failed in them
    History(HistoryFlags),
    /// Makes a page of how the hub is doing and of what was learned, for a browser
    Report(ReportFlags),
    /// Lists records that could not be stored; shows them, tries them again, or drops them
    DeadLetters(DeadLettersFlags),
    /// Compares the sources with the hub, record by record
    Verify(VerifyFlags),
    /// Looks everything over, from file permissions to the hub's clock, and says what to do
    Doctor,
    /// Shows the effective configuration and where each value comes from
    Config,
    /// Takes what other environments learned into this project's own memory
    Pull(PullFlags),
    /// Shows what all environments know together, and whose contributions count
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Lists what conflicted and which rule decided, and puts the other version in force
    Conflicts(ConflictsFlags),
    /// Finds what was learned, in any environment, by meaning and by words
    Search(SearchFlags),
    /// Computes the vectors that searches by meaning go by, of what is new or changed in the hub
    Embed(EmbedFlags),
    /// Prepares a project: the hub with all its tables, and a commented configuration file
    Init(InitFlags),
    /// Gives environments logins of their own, each of which may write that environment only
    #[command(subcommand)]
    Env(EnvCommand),
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Flags that every command takes, before or after its name.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Common")]
pub(crate) struct Global {
    /// The project's folder [default: found by walking up from here]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The configuration file [default: aqe-sync.toml in the root, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// This environment's name in the hub [variable: AQE_ENV] [default: HOST:PROJECT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// The hub, sqlite:PATH or postgres://USER@HOST/DATABASE [variable: AQE_HUB] [default: sqlite:.aqe-sync/hub.db]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) hub: Option<Secret>,
    /// Only these sources: paths, folders, tools, or patterns with *
    #[arg(long, global = true, value_name = "A,B", value_delimiter = ',')]
    pub(crate) sources: Option<Vec<String>>,
    /// Wait so long for another run of this project, then give up; reading commands never wait
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = DEFAULT_WAIT)]
    pub(crate) wait: u64,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How messages are written: for people, or as one JSON object a line
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Say more: one line per stream, and empty ones too
    #[arg(short, long, global = true, action = ArgAction::SetTrue, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

impl Arguments {
    /// The command, with the sync flags that belong to it.
    ///
    /// # Errors
    /// When a flag of sync stands before another command.
    pub(crate) fn take_command(&mut self) -> Result<Command, Failure> {
        match self.command.take() {
            None => Ok(Command::Sync(self.sync)),
            Some(Command::Sync(flags)) => Ok(Command::Sync(self.sync.and(flags)?)),
            Some(other) => match self.sync.first() {
                None => Ok(other),
                Some(flag) => Err(Failure::usage(format!("{flag} changes a sync; other commands do not take it"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use aqe_sync_core::Mode;
    use clap::CommandFactory as _;

    use super::*;

    fn command(line: &str) -> Result<Command, Failure> {
        let mut arguments =
            Arguments::try_parse_from(line.split(' ')).map_err(|error| Failure::usage(error.to_string()))?;
        arguments.take_command()
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_is_an_incremental_sync() {
        for line in ["aqe-sync", "aqe-sync sync", "aqe-sync --json", "aqe-sync sync -v"] {
            let Ok(Command::Sync(flags)) = command(line) else { panic!("{line}") };
            assert_eq!((flags.mode(), flags.dry_run), (Mode::Incremental, false));
        }
    }

    #[test]
    fn sync_flags_stand_before_or_after_the_command() {
        for line in ["aqe-sync --full", "aqe-sync --full sync", "aqe-sync sync --full"] {
            let Ok(Command::Sync(flags)) = command(line) else { panic!("{line}") };
            assert_eq!(flags.mode(), Mode::Full);
        }
    }

    #[test]
    fn a_comparison_can_be_deep_and_repair_what_it_finds() {
        let flags = |line| match command(line) {
            Ok(Command::Verify(flags)) => (flags.deep, flags.repair, flags.allow_mass_delete),
            other => panic!("{line}: {:?}", other.map_err(|failure| failure.message)),
        };
        assert_eq!(flags("aqe-sync verify"), (false, false, false));
        assert_eq!(flags("aqe-sync verify --deep"), (true, false, false));
        assert_eq!(flags("aqe-sync verify --repair --deep --allow-mass-delete"), (true, true, true));
    }

    #[test]
    fn common_flags_stand_before_or_after_the_command() {
        for line in
            ["aqe-sync --env ci status --json", "aqe-sync status --json --env ci", "aqe-sync --json --env=ci status"]
        {
            let arguments = Arguments::try_parse_from(line.split(' ')).expect(line);
            assert!(arguments.global.json);
            assert_eq!(arguments.global.env.as_deref(), Some("ci"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "aqe-sync --full --append",
            "aqe-sync --full sync --append",
            "aqe-sync --full status",
            "aqe-sync status --dry-run",
            "aqe-sync verify --full",
            "aqe-sync verify --allow-mass-delete",
            "aqe-sync status --repair",
            "aqe-sync --bidirectional --append",
            "aqe-sync --bidirectional status",
            "aqe-sync fleet",
            "aqe-sync env",
            "aqe-sync env create",
            "aqe-sync --full env list",
            "aqe-sync -v -q",
            "aqe-sync nonsense",
            "aqe-sync --env",
        ] {
            assert!(command(line).is_err(), "{line}");
        }
    }
}
