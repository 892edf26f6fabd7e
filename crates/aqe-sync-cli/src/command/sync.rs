//! `aqe-sync`, `aqe-sync sync`: takes what the sources hold into the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqe_sync_core::history::RunRecord;
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{
    ConflictPolicy, DynSource, Engine, Ledger, Mode, Options, Report, Sink, SourceName, Status, Transform,
};
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use super::embed::Embedded;
use crate::args::SyncFlags;
use crate::config::{Origin, Setting, Settings};
use crate::exit::{Exit, Failure};
use crate::hub::{self, OpenHub, Purpose, with_hub};
use crate::output::{Progress, Verbosity, account, counted, plan};
use crate::{attempts, project, sources};
use aqe_readers::{LedgerFile, Skipped};

/// A report for programs, with what discovery left out and the mark of a dry run.
#[derive(Serialize)]
struct Account<'a> {
    #[serde(flatten)]
    report: &'a Report,
    skipped: Vec<LeftOut<'a>>,
    /// Credentials in what was read that the hub has markers for.
    redacted: u64,
    #[serde(skip_serializing_if = "is_false")]
    dry_run: bool,
    /// What was taken from the fleet afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pull: Option<&'a Report>,
    /// What was embedded afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    embed: Option<&'a Embedded>,
}

/// What followed the sync itself.
#[derive(Default)]
struct Afterwards {
    pulled: Option<Report>,
    embedded: Option<Embedded>,
}

/// A file that was found and is not read, because another stands for it.
#[derive(Serialize)]
struct LeftOut<'a> {
    source: &'a str,
    reason: &'a str,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Syncs once.
///
/// # Errors
/// When nothing could be tried at all; what failed on the way is in the account.
pub(crate) fn run(context: &Context<'_>, flags: SyncFlags) -> Result<Exit, Failure> {
    let mut skipped = Vec::new();
    let mut afterwards = Afterwards::default();
    let redact = context.settings.redact()?;
    let report = account(context, flags, redact.clone(), &mut skipped, &mut afterwards)?;
    let skipped = skipped.iter().map(|left| LeftOut { source: left.name.as_str(), reason: &left.reason }).collect();
    let (pull, embed) = (afterwards.pulled.as_ref(), afterwards.embedded.as_ref());
    let redacted = redact.map_or(0, |redact| redact.replaced().load(Ordering::Relaxed));
    context.terminal.json(&Account { report: &report, skipped, redacted, dry_run: flags.dry_run, pull, embed })?;
    tell(context, flags, &report)?;
    let mut status = report.status;
    if let Some(pulled) = pull {
        context.terminal.result("")?;
        super::pull::tell(context, pulled, flags.dry_run)?;
        status = status.max(pulled.status);
    }
    if let Some(embedded) = embed.filter(|embedded| embedded.rows > 0) {
        context.terminal.result(&format!("{} embedded", counted(embedded.rows, "row")))?;
    }
    if status == Status::Ok && !flags.dry_run {
        super::alerts::beat(context);
    }
    Ok(status.into())
}

/// Syncs, and remembers here how it ended: also what never reached the hub.
fn account(
    context: &Context<'_>,
    flags: SyncFlags,
    redact: Option<Arc<Redact>>,
    skipped: &mut Vec<Skipped>,
    afterwards: &mut Afterwards,
) -> Result<Report, Failure> {
    let report = match sync(context, flags, redact, skipped, afterwards) {
        Ok(report) => report,
        Err(failure) if failure.exit == Exit::Usage => return Err(failure),
        Err(failure) => failed(context, flags, failure.message),
    };
    if !flags.dry_run {
        attempts::remember(context.root(), &context.hub_shown(), &RunRecord::from(&report));
    }
    Ok(report)
}

/// Reads some sources whatever is known of them, and sends what the hub does not have. Says
/// which of them are here and could be read.
pub(super) fn read_again(context: &Context<'_>, names: &BTreeSet<&str>) -> Result<BTreeSet<String>, Failure> {
    let mut settings = context.settings.clone();
    let here = sources::choose(&settings, context.terminal)?.found;
    let here: Vec<String> =
        here.iter().map(|found| found.file.name.to_string()).filter(|name| names.contains(name.as_str())).collect();
    if here.is_empty() {
        return Ok(BTreeSet::new());
    }
    settings.include = Setting::new(here, Origin::Flag("dead-letters retry"));
    settings.exclude = Setting::new(Vec::new(), Origin::Flag("dead-letters retry"));
    let context = Context { settings: &settings, ..*context };
    let redact = settings.redact()?;
    let flags = SyncFlags::full();
    let report = account(&context, flags, redact, &mut Vec::new(), &mut Afterwards::default())?;
    if let Some(error) = report.error {
        return Err(Failure::failed(error));
    }
    let read = report.streams.iter().filter(|stream| stream.status != Status::Failed);
    Ok(read.map(|stream| stream.source.to_string()).collect())
}

/// Syncs, and says in `skipped` what was left out, however it ends, and in `afterwards` what
/// followed.
fn sync(
    context: &Context<'_>,
    flags: SyncFlags,
    redact: Option<Arc<Redact>>,
    skipped: &mut Vec<Skipped>,
    afterwards: &mut Afterwards,
) -> Result<Report, Failure> {
    hub::check(context.settings)?;
    let mut chosen = sources::choose(context.settings, context.terminal)?;
    chosen.tell(context.root(), context.terminal);
    *skipped = std::mem::take(&mut chosen.skipped);
    if chosen.found.is_empty() {
        return Ok(empty(context, flags));
    }
    let options = options(context.settings, flags, redact, chosen.priorities.clone());
    let targets = super::pull::targets(context, &chosen, None)?;
    let ledger_file = project::ledger(context.root());
    let purpose = if flags.dry_run { Purpose::DryRun } else { Purpose::Write };
    let _lock = if flags.dry_run { None } else { Some(context.lock("sync")?) };
    with_hub!(opened(context, purpose)?, hub => {
        let identity = block_on(hub.identity())?;
        let ledger = if flags.dry_run {
            LedgerFile::scratch(&ledger_file, &identity)?
        } else {
            LedgerFile::open(&ledger_file, &identity)?
        };
        let hub = Arc::new(hub);
        super::pull::give_back(context, &hub, &targets, flags.dry_run)?;
        let sources = super::pull::own_sources(context, hub.as_ref(), chosen)?;
        let report = push(context, hub.as_ref(), &ledger, options, &sources)?;
        if flags.bidirectional && report.error.is_none() {
            let wanted = super::pull::settled(context, flags.mode() == Mode::Full)?;
            afterwards.pulled = Some(super::pull::pull(context, &hub, &targets, &wanted, flags.dry_run)?);
        }
        if !flags.dry_run && report.error.is_none() {
            afterwards.embedded = super::embed::after_sync(context, hub.as_ref());
        }
        Ok(report)
    })
}

fn opened(context: &Context<'_>, purpose: Purpose) -> Result<OpenHub, Failure> {
    let hub = hub::open(context.settings, purpose)?;
    let hub = hub.ok_or_else(|| Failure::failed(format!("there is no hub at {}", context.hub_shown())))?;
    if let OpenHub::Postgres(hub) = &hub {
        hub.warnings().iter().for_each(|warning| context.terminal.warning(warning));
    }
    Ok(hub)
}

fn push<S: Sink>(
    context: &Context<'_>,
    hub: &S,
    ledger: &dyn Ledger,
    options: Options,
    sources: &[Box<dyn DynSource>],
) -> Result<Report, Failure> {
    let progress = Progress::new(context.terminal);
    let engine = Engine::new(hub, ledger, &progress, options);
    Ok(block_on(engine.run(sources))?)
}

fn options(
    settings: &Settings,
    flags: SyncFlags,
    redact: Option<Arc<Redact>>,
    priorities: BTreeMap<SourceName, i32>,
) -> Options {
    let mut options = settled(settings, redact).mode(flags.mode());
    options.instance = project::instance(&settings.root.value);
    options.allow_mass_delete |= flags.allow_mass_delete;
    options.priorities = priorities;
    options
}

/// What the settings alone say of a run, with what takes credentials out.
pub(super) fn settled(settings: &Settings, redact: Option<Arc<Redact>>) -> Options {
    let mut options = Options::new(settings.environment.value.clone());
    options.transforms.extend(redact.map(|redact| redact as Arc<dyn Transform>));
    options.limits = settings.limits();
    options.allow_mass_delete = settings.allow_mass_delete.value;
    for (name, table) in &settings.tables {
        if let Some(policy) = &table.policy {
            let policy: Arc<dyn ConflictPolicy> = Arc::new(policy.value.clone());
            options.policies.insert(name.clone(), policy);
        }
        if let Some(deletes) = &table.deletes {
            options.deletes.insert(name.clone(), deletes.value);
        }
    }
    options
}

/// The account of a run that had nothing to do.
fn empty(context: &Context<'_>, flags: SyncFlags) -> Report {
    Report::new(context.settings.environment.value.clone(), flags.mode(), context.hub_shown())
}

/// The account of a run that could not begin.
fn failed(context: &Context<'_>, flags: SyncFlags, error: String) -> Report {
    Report { status: Status::Failed, error: Some(error), ..empty(context, flags) }
}

fn tell(context: &Context<'_>, flags: SyncFlags, report: &Report) -> Result<(), Failure> {
    let terminal = context.terminal;
    let empty_too = terminal.verbosity == Verbosity::Verbose;
    if flags.dry_run {
        terminal.result(plan::NOTHING_WRITTEN)?;
    }
    let draw = if flags.dry_run { plan::table } else { account::table };
    let table = draw(report, empty_too, terminal.paint);
    if !table.is_empty() {
        terminal.result(&format!("{table}\n"))?;
    }
    account::remarks(report, terminal);
    let hub = context.hub_shown();
    let line = if flags.dry_run { plan::summary(report, &hub) } else { account::summary(report, &hub) };
    terminal.result(&line)
}
