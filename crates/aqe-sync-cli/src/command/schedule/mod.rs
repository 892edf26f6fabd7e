//! `aqe-sync schedule`: has others start a sync: a timer, cron, git, an agent at the end of its session.
//!
//! Each way is a function from what stands somewhere to what is to stand there; nothing is
//! written before it was shown, and what is removed is what was written.

mod agent;
mod block;
mod calendar;
mod place;
mod systemd;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Context;
use crate::args::{ScheduleCommand, ScheduleFlags, ScheduleKind};
use crate::config::{FILE_NAME, Origin};
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::watch::schedule::Schedule;
use place::Place;

/// One change of one place.
struct Edit {
    place: Place,
    /// What stands there; `None` where nothing does.
    before: Option<String>,
    /// What is to stand there; `None` where nothing is to.
    after: Option<String>,
}

/// What to run, and how it is known.
struct Task {
    root: PathBuf,
    program: PathBuf,
    /// The environment's name, where it is not the default.
    environment: Option<String>,
    /// The configuration, where it is not the project's own file.
    config: Option<PathBuf>,
    schedule: Schedule,
}

impl Task {
    fn of(context: &Context<'_>, interval: Option<&str>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program's own file: {error}")))?;
        let environment = &context.settings.environment;
        let named = matches!(environment.origin, Origin::Flag(_) | Origin::Variable(_));
        if matches!(context.settings.hub.origin, Origin::Flag(_) | Origin::Variable(_)) {
            // Who starts syncs later has neither, and would fill another hub.
            return Err(Failure::usage(format!(
                "the hub comes from {}, which a schedule does not have: set hub in {FILE_NAME}",
                context.settings.hub.origin
            )));
        }
        let schedule = match interval {
            Some(text) => Schedule::parse(text).map_err(|error| Failure::usage(format!("flag --interval: {error}")))?,
            None => context.settings.watch.schedule().value,
        };
        let root = context.root().to_owned();
        if [&root, &program].iter().any(|path| path.to_str().is_none_or(|text| text.contains(['\n', '\r']))) {
            return Err(Failure::failed(
                "a path with line breaks, or that is no UTF-8, cannot be written into a schedule",
            ));
        }
        let environment = named.then(|| environment.value.to_string());
        let own = root.join(FILE_NAME);
        let config = context.settings.file.clone().filter(|file| *file != own);
        let config = config.map(|file| file.canonicalize().unwrap_or(file));
        Ok(Self { root, program, environment, config, schedule })
    }

    /// The words of the command line.
    fn words(&self) -> Vec<String> {
        let mut words = vec![shown(&self.program), "--root".to_owned(), shown(&self.root)];
        if let Some(config) = &self.config {
            words.extend(["--config".to_owned(), shown(config)]);
        }
        if let Some(name) = &self.environment {
            words.extend(["--env".to_owned(), name.clone()]);
        }
        words.push("--quiet".to_owned());
        words
    }

    /// The command line for a shell.
    fn line(&self) -> String {
        self.words().iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    /// What names the project in files that serve several.
    fn name(&self) -> String {
        let folder = self.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let letters = folder.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        let hash =
            aqe_sync_core::hash::fields_hash([("root", &aqe_sync_core::Value::from(shown(&self.root).as_str()))]);
        format!("aqe-sync-{}-{:08x}", letters.take(32).collect::<String>(), hash >> 32)
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A word that a POSIX shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

const KINDS: [ScheduleKind; 4] =
    [ScheduleKind::Systemd, ScheduleKind::Cron, ScheduleKind::Git, ScheduleKind::ClaudeCode];

fn edits(kind: ScheduleKind, task: &Task, install: bool) -> Result<Vec<Edit>, Failure> {
    match kind {
        ScheduleKind::Systemd => systemd::edits(task, install),
        ScheduleKind::Cron => block::cron(task, install),
        ScheduleKind::Git => block::git(task, install),
        ScheduleKind::ClaudeCode => agent::edits(task, install),
    }
}

/// Installs, removes or shows.
///
/// # Errors
/// When a way is not there, or something in it was edited since; when nobody said yes.
pub(crate) fn run(context: &Context<'_>, flags: &ScheduleFlags) -> Result<Exit, Failure> {
    match &flags.what {
        ScheduleCommand::Show => show(context),
        ScheduleCommand::Install { kind, interval, yes, dry_run } => {
            let task = Task::of(context, interval.as_deref())?;
            change(context, *kind, &edits(*kind, &task, true)?, (*yes, *dry_run))?;
            if *kind == ScheduleKind::Systemd && !dry_run {
                systemd::start(context.terminal, &task);
            }
            Ok(Exit::Ok)
        }
        ScheduleCommand::Remove { kind, yes, dry_run } => {
            let task = Task::of(context, None)?;
            let edits = edits(*kind, &task, false)?;
            if *kind == ScheduleKind::Systemd && !dry_run && !edits.is_empty() {
                confirmed(context, &edits, *yes)?;
                systemd::stop(context.terminal, &task);
                return written(context, &edits).map(|()| Exit::Ok);
            }
            change(context, *kind, &edits, (*yes, *dry_run))?;
            Ok(Exit::Ok)
        }
    }
}

#[derive(Serialize)]
struct Change<'e> {
    place: String,
    before: Option<&'e str>,
    after: Option<&'e str>,
}

fn change(
    context: &Context<'_>,
    kind: ScheduleKind,
    edits: &[Edit],
    (yes, dry_run): (bool, bool),
) -> Result<(), Failure> {
    if edits.is_empty() {
        context.terminal.json(&serde_json::json!({ "status": "ok", "changes": [] }))?;
        return context.terminal.result(&format!("{}: nothing to do", kind.as_str()));
    }
    if dry_run {
        describe(context, edits);
        return told(context, edits, "would be changed; nothing was written");
    }
    confirmed(context, edits, yes)?;
    written(context, edits)
}

/// Shows what is going to be written, and asks whether it may.
fn confirmed(context: &Context<'_>, edits: &[Edit], yes: bool) -> Result<(), Failure> {
    describe(context, edits);
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || context.terminal.json {
        return Err(Failure::usage("nothing was written: say --yes when that is what you want"));
    }
    eprint!("Write this? [y/N] ");
    // Shown late at worst.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::usage("nothing was written"))
}

fn written(context: &Context<'_>, edits: &[Edit]) -> Result<(), Failure> {
    for edit in edits {
        edit.place.write(edit.after.as_deref())?;
    }
    told(context, edits, "changed")
}

fn told(context: &Context<'_>, edits: &[Edit], what: &str) -> Result<(), Failure> {
    let changes = edits.iter().map(|edit| Change {
        place: edit.place.to_string(),
        before: edit.before.as_deref(),
        after: edit.after.as_deref(),
    });
    let changes: Vec<Change<'_>> = changes.collect();
    context.terminal.json(&serde_json::json!({ "status": "ok", "changes": changes }))?;
    let places: Vec<String> = edits.iter().map(|edit| edit.place.to_string()).collect();
    context.terminal.result(&plain(&format!("{}: {what}", places.join(", "))))
}

/// The lines that go and come, place by place.
fn describe(context: &Context<'_>, edits: &[Edit]) {
    for edit in edits {
        let lines = |text: &Option<String>| -> Vec<String> {
            text.as_deref().unwrap_or_default().lines().map(str::to_owned).collect()
        };
        let (before, after) = (lines(&edit.before), lines(&edit.after));
        let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
        let rest = before[same..].iter().rev().zip(after[same..].iter().rev());
        let tail = rest.take_while(|(a, b)| a == b).count();
        context.terminal.say(&plain(&format!("{}:", edit.place)));
        for line in &before[same..before.len() - tail] {
            context.terminal.say(&plain(&format!("- {line}")));
        }
        for line in &after[same..after.len() - tail] {
            context.terminal.say(&plain(&format!("+ {line}")));
        }
    }
}

/// The ways that start syncs of this project. One that cannot be asked is none.
pub(super) fn installed(context: &Context<'_>) -> Vec<&'static str> {
    let Ok(task) = Task::of(context, None) else { return Vec::new() };
    let is_installed = |kind: &ScheduleKind| edits(*kind, &task, false).is_ok_and(|edits| !edits.is_empty());
    KINDS.into_iter().filter(is_installed).map(ScheduleKind::as_str).collect()
}

/// A way, and whether it starts syncs of this project.
#[derive(Serialize)]
struct Shown {
    kind: &'static str,
    installed: bool,
    /// What stands where; or why that cannot be told.
    what: Vec<String>,
}

fn show(context: &Context<'_>) -> Result<Exit, Failure> {
    let task = Task::of(context, None)?;
    let mut all = Vec::new();
    for kind in KINDS {
        let shown = match edits(kind, &task, false) {
            Ok(edits) => Shown {
                kind: kind.as_str(),
                installed: !edits.is_empty(),
                what: edits.iter().map(|edit| edit.place.to_string()).collect(),
            },
            Err(failure) => Shown { kind: kind.as_str(), installed: false, what: vec![failure.message] },
        };
        all.push(shown);
    }
    context.terminal.json(&serde_json::json!({ "schedules": all }))?;
    for one in &all {
        let word = if one.installed { "installed" } else { "not installed" };
        let what = if one.what.is_empty() { String::new() } else { format!(": {}", one.what.join(", ")) };
        context.terminal.result(&plain(&format!("{:12}{word}{what}", one.kind)))?;
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A task in a folder whose name wants quoting everywhere.
    pub(super) fn task(root: &Path, schedule: &str) -> Task {
        Task {
            root: root.to_owned(),
            program: PathBuf::from("/opt/it's 100%/aqe-sync"),
            environment: Some("lap top".to_owned()),
            config: None,
            schedule: Schedule::parse(schedule).expect("a schedule"),
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_have_to_be() {
        assert_eq!(quoted("/usr/bin/aqe-sync"), "/usr/bin/aqe-sync");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("a b;$c"), "'a b;$c'");
        assert_eq!(quoted(""), "''");
        let line = task(Path::new("/tmp/a b"), "5m").line();
        assert_eq!(line, r"'/opt/it'\''s 100%/aqe-sync' --root '/tmp/a b' --env 'lap top' --quiet");
    }

    #[test]
    fn projects_of_one_name_have_different_names() {
        let name = |root: &str| task(Path::new(root), "5m").name();
        assert!(name("/a/My Project").starts_with("aqe-sync-my-project-"));
        assert_ne!(name("/a/project"), name("/b/project"));
    }
}
