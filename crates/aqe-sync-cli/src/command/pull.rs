//! `aqe-sync pull`: what other environments learned, into this project's own memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aqe_readers::{Pull, PullState, SourceFile, state_file};
use aqe_sync_core::fleet::{FleetHub, Trust};
use aqe_sync_core::{DynSource, Mode, Report, Status, Timestamp, tables};
use futures::executor::block_on;
use serde::Serialize;

use super::Context;
use crate::args::PullFlags;
use crate::exit::{Exit, Failure};
use crate::hub::{self, Purpose, with_hub};
use crate::output::{Progress, Verbosity, account, counted};
use crate::project::STATE_FOLDER;
use crate::sources::{self, Chosen};

/// A report for programs, with the mark of a dry run.
#[derive(Serialize)]
struct Account<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// Pulls once.
///
/// # Errors
/// When nothing could be tried at all; what failed on the way is in the account.
pub(crate) fn run(context: &Context<'_>, flags: &PullFlags) -> Result<Exit, Failure> {
    let wanted = wanted(context, flags)?;
    let report = match opened(context, flags, &wanted) {
        Ok(report) => report,
        Err(failure) if failure.exit == Exit::Usage => return Err(failure),
        Err(failure) => {
            let mode = if flags.full { Mode::Full } else { Mode::Incremental };
            let empty = Report::new(context.settings.environment.value.clone(), mode, "");
            Report { status: Status::Failed, error: Some(failure.message), ..empty }
        }
    };
    context.terminal.json(&Account { report: &report, dry_run: flags.dry_run })?;
    if flags.dry_run {
        context.terminal.result("dry run: nothing is written")?;
    }
    tell(context, &report, flags.dry_run)?;
    Ok(report.status.into())
}

fn opened(context: &Context<'_>, flags: &PullFlags, wanted: &Pull) -> Result<Report, Failure> {
    hub::check(context.settings)?;
    let chosen = sources::choose(context.settings, context.terminal)?;
    let files = targets(context, &chosen, flags.target.as_deref())?;
    let _lock = if flags.dry_run { None } else { Some(context.lock("pull")?) };
    let hub = context.existing_hub(Purpose::Mend)?;
    with_hub!(hub, hub => pull(context, &Arc::new(hub), &files, wanted, flags.dry_run))
}

/// Pulls into files, with the lock held.
pub(super) fn pull<H: FleetHub>(
    context: &Context<'_>,
    hub: &Arc<H>,
    files: &[SourceFile],
    wanted: &Pull,
    dry_run: bool,
) -> Result<Report, Failure> {
    let path = state_file(&context.root().join(STATE_FOLDER));
    let state = if dry_run { PullState::scratch(&path)? } else { PullState::open(&path)? };
    let progress = Progress::new(context.terminal);
    Ok(block_on(aqe_readers::pull(hub, &state, files, wanted, &progress))?)
}

/// Gives files that were restored from a backup what this environment sent of them before:
/// else it would seem deleted, or counted back.
pub(super) fn give_back<H: FleetHub>(
    context: &Context<'_>,
    hub: &Arc<H>,
    files: &[SourceFile],
    dry_run: bool,
) -> Result<(), Failure> {
    let state = PullState::look(&state_file(&context.root().join(STATE_FOLDER)))?;
    let restored = aqe_readers::restored(&state, files)?;
    drop(state);
    if restored.is_empty() || dry_run {
        return Ok(());
    }
    let report = pull(context, hub, &restored, &settled(context, false)?, false)?;
    account::remarks(&report, context.terminal);
    match report.error {
        Some(error) => Err(Failure::failed(error)),
        None => Ok(()),
    }
}

/// What the settings alone say of a pull.
///
/// # Errors
/// As [`crate::config::Settings::redact`].
pub(super) fn settled(context: &Context<'_>, full: bool) -> Result<Pull, Failure> {
    let settings = context.settings;
    let pull = &settings.pull;
    Ok(Pull {
        environment: settings.environment.value.clone(),
        instance: crate::project::instance(&settings.root.value),
        backups: context.root().join(STATE_FOLDER).join("backups"),
        tables: pull.tables.as_ref().map(|tables| tables.value.iter().cloned().collect()),
        trust: Trust {
            min_confidence: pull.min_confidence.as_ref().map(|least| least.value),
            min_environments: pull.min_environments.as_ref().map_or(0, |least| least.value),
            ..Trust::default()
        },
        full,
        after: None,
        limits: settings.limits(),
        redact: settings.redact()?,
    })
}

/// What the settings and the flags say.
fn wanted(context: &Context<'_>, flags: &PullFlags) -> Result<Pull, Failure> {
    let mut pull = settled(context, flags.full)?;
    if let Some(names) = &flags.tables {
        pull.tables = Some(known_tables(names)?);
    }
    if let Some(names) = &flags.from {
        let named = names.iter().map(|name| aqe_sync_core::Environment::parse(name));
        pull.trust.only = Some(named.collect::<Result<BTreeSet<_>, _>>()?);
    }
    if let Some(text) = &flags.since {
        pull.after = Some(since(text, Timestamp::now())?);
    }
    Ok(pull)
}

/// Names of hub tables, as given.
pub(super) fn known_tables(names: &[String]) -> Result<BTreeSet<String>, Failure> {
    let known: Vec<&str> = tables::all().iter().map(|table| table.name().as_str()).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Failure::usage(format!("there is no hub table {name:?}; there are {}", known.join(", ")))),
        None => Ok(names.iter().cloned().collect()),
    }
}

/// A moment, or so long ago.
pub(super) fn since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "flag --since: {text:?} is neither a moment (2026-01-31, 2026-01-31T12:00:00Z) nor an age (90m, 36h, 7d)"
        ))
    };
    let day = format!("{text}T00:00:00Z");
    if let Some(moment) = Timestamp::parse(text).or_else(|| Timestamp::parse(&day)) {
        return Ok(moment);
    }
    let unit = text.chars().last().filter(char::is_ascii_lowercase).ok_or_else(wrong)?;
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let age = Duration::from_secs(count.checked_mul(seconds).ok_or_else(wrong)?);
    let micros = i64::try_from(age.as_micros()).map_err(|_| wrong())?;
    now.as_micros().checked_sub(micros).and_then(Timestamp::from_micros).ok_or_else(wrong)
}

/// The files to write to: the one that is named, or all that take part.
pub(super) fn targets(
    context: &Context<'_>,
    chosen: &Chosen,
    named: Option<&Path>,
) -> Result<Vec<SourceFile>, Failure> {
    let files = chosen.found.iter().map(|found| found.file.clone());
    let Some(named) = named else { return Ok(files.collect()) };
    let path = context.root().join(named).canonicalize();
    let path = path.or_else(|_| named.canonicalize());
    let found = path.ok().and_then(|path| {
        let same = |file: &SourceFile| file.path.canonicalize().is_ok_and(|it| it == path);
        files.clone().find(same)
    });
    found.map(|file| vec![file]).ok_or_else(|| {
        let all: Vec<String> = files.map(|file| file.name.to_string()).collect();
        let shown = named.display();
        Failure::usage(format!("flag --target: {shown} is none of the sources here: {}", all.join(", ")))
    })
}

/// Tells what a pull did.
pub(super) fn tell(context: &Context<'_>, report: &Report, dry_run: bool) -> Result<(), Failure> {
    let terminal = context.terminal;
    let table = account::table(report, terminal.verbosity == Verbosity::Verbose, terminal.paint);
    if !table.is_empty() {
        terminal.result(&format!("{table}\n"))?;
    }
    account::remarks(report, terminal);
    terminal.result(&summary(report, &context.hub_shown(), dry_run))
}

fn summary(report: &Report, hub: &str, dry_run: bool) -> String {
    let totals = &report.totals;
    let into = if report.hub.is_empty() { "no file here".to_owned() } else { report.hub.clone() };
    let verb = if dry_run { "would be pulled" } else { "pulled" };
    let line = match (report.status, totals.inserted + totals.updated) {
        (Status::Failed, _) => "the pull failed, see above".to_owned(),
        (_, 0) if report.hub.is_empty() => "nothing here has a place for what the hub holds".to_owned(),
        (_, 0) => format!("nothing new for {into}"),
        (_, changed) => {
            let (new, known) = (totals.inserted, totals.updated);
            format!("{} {verb} into {into}: {new} new, {known} changed", counted(changed, "record"))
        }
    };
    format!("{line}; hub {hub}")
}

/// Sources as this environment sends them, of files that pulls write to.
pub(super) fn own_sources<H: FleetHub>(
    context: &Context<'_>,
    hub: &H,
    chosen: Chosen,
) -> Result<Vec<Box<dyn DynSource>>, Failure> {
    let state = PullState::look(&state_file(&context.root().join(STATE_FOLDER)))?;
    let environment = &context.settings.environment.value;
    let sources = chosen.found.into_iter().map(|found| (found.file, found.source)).collect();
    Ok(block_on(aqe_readers::own_sources(hub, &state, environment, sources))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_or_an_age_says_since_when() {
        let now = Timestamp::parse("2026-03-01T00:00:00Z").expect("a moment");
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:30:00Z", "2026-01-31T12:30:00Z"),
            ("36h", "2026-02-27T12:00:00Z"),
            ("7d", "2026-02-22T00:00:00Z"),
            ("90m", "2026-02-28T22:30:00Z"),
        ] {
            assert_eq!(since(text, now).expect(text), Timestamp::parse(expected).expect("a moment"), "{text}");
        }
        for text in ["", "d", "7", "7y", "-1d", "yesterday", "99999999999999999999d", "9999999999999w", "ü"] {
            assert!(since(text, now).is_err(), "{text}");
        }
    }
}
