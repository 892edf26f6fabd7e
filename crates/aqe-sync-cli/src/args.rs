//! The command line. Each flag carries its own help.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts, shown as they are")]

use std::path::PathBuf;

use aqe_cloud::secret::Secret;
use aqe_sync_core::Mode;
use clap::{ArgAction, Args, Parser, Subcommand};

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
    fn and(self, other: Self) -> Result<Self, Failure> {
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

    fn first(self) -> Option<&'static str> {
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

/// Flags of `init`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct InitFlags {
    /// Print the hub's SQL, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
}

/// What about environments' logins.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Makes a login that may write one environment's rows, and read everybody's
    Create(CreateFlags),
    /// Lists environments: their logins, when they were last synced, how many rows they have
    List,
    /// Takes an environment's login away and ends its sessions; its rows stay
    Revoke {
        /// The environment's name
        name: String,
        /// Remove the role from the server as well
        #[arg(long)]
        drop: bool,
    },
}

/// Flags of `env create`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct CreateFlags {
    /// The environment's name, as it says it with --env
    pub(crate) name: String,
    /// The login; one that is there is taken with the password that it has [default: named after the environment]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Give the login a new password if it has one already
    #[arg(long)]
    pub(crate) rotate: bool,
    /// Write the password to this new file, in the format of .pgpass, and do not show it
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Print the SQL, without a password, and change nothing
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) print: bool,
}

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
