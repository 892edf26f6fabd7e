//! `aqe-sync alerts`: tells somebody of thresholds that were crossed since the last time, and of those that
//! are not crossed any more: each once.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aqe_cloud::webhook::Webhook;
use aqe_sync_core::Timestamp;
use aqe_sync_core::monitor::{Finding, Kind, Level};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::facts::gather;
use crate::output::{counted, plain};
use crate::project::STATE_FOLDER;

/// A command that is told something has so long.
const LIMIT: Duration = Duration::from_secs(60);

/// What is told: the body of the webhook, and the input of the command. It only grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Alert<'a> {
    /// `crossed`, or `recovered`.
    event: &'static str,
    /// How bad it is, or was.
    level: Level,
    kind: Kind,
    #[serde(flatten)]
    subject: &'a Subject,
    /// What, and what to do.
    message: &'a str,
    /// Since when it is so, as far as anybody looked.
    since: Timestamp,
    at: Timestamp,
    /// Which hub, without secrets.
    hub: String,
    /// The environment that looked.
    told_by: String,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Subject {
    environment: Option<String>,
    stream: Option<String>,
}

/// A threshold of which somebody was told that it is crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    kind: Kind,
    subject: Subject,
    level: Level,
    message: String,
    since: Timestamp,
}

/// Tells what changed.
///
/// # Errors
/// When the configuration is wrong; when somebody could not be told, who then is the next time.
pub(crate) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let alerts = &context.settings.alerts;
    let all = alerts.all_environments.as_ref().is_some_and(|all| all.value);
    let only = (!all).then(|| context.settings.environment.value.as_str());
    let Some(facts) = gather(context.settings, only)? else {
        // Nothing is known to be well.
        context.terminal.json(&serde_json::json!({ "status": "ok", "told": [], "crossed": 0 }))?;
        return context.terminal.result("there is no hub yet").map(|()| Exit::Ok);
    };
    let least = alerts.level.as_ref().map_or(Level::Warning, |level| level.value);
    let now: Vec<Finding> = facts.findings.into_iter().filter(|finding| finding.level >= least).collect();
    let before = remembered(context)?;
    let (changes, after) = compared(&before, &now, Timestamp::now());
    let mut failed = None;
    let mut kept = after;
    let mut told = Vec::new();
    for change in &changes {
        match tell(context, change) {
            Ok(()) => told.push(change),
            Err(failure) => {
                // As it was before, so that it is a change again.
                undo(&mut kept, &before, change);
                failed = Some(failure);
            }
        }
    }
    remember(context, &kept)?;
    context.terminal.json(&serde_json::json!({
        "status": if failed.is_some() { "partial" } else { "ok" },
        "told": told.iter().map(|change| change.alert(context)).collect::<Vec<_>>(),
        "crossed": kept.len(),
    }))?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    context.terminal.result(&format!(
        "{} crossed, {} told",
        counted(kept.len() as u64, "threshold"),
        counted(told.len() as u64, "change")
    ))?;
    Ok(Exit::Ok)
}

/// Calls the dead-man's switch after a sync that went well, if there is one.
pub(crate) fn beat(context: &Context<'_>) {
    let Some(heartbeat) = &context.settings.alerts.heartbeat else { return };
    if let Err(error) = heartbeat.value.send(None) {
        context.terminal.warning(&plain(&format!("the heartbeat was not heard: {error}")));
    }
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    event: &'static str,
    told: Told,
    at: Timestamp,
}

impl Change {
    fn alert(&self, context: &Context<'_>) -> Alert<'_> {
        Alert {
            event: self.event,
            level: self.told.level,
            kind: self.told.kind,
            subject: &self.told.subject,
            message: &self.told.message,
            since: self.told.since,
            at: self.at,
            hub: context.hub_shown(),
            told_by: context.settings.environment.value.to_string(),
        }
    }
}

type Known = BTreeMap<(Kind, Subject), Told>;

fn key(told: &Told) -> (Kind, Subject) {
    (told.kind, told.subject.clone())
}

/// What is new, what is at another level, and what is well again; and what is crossed now.
fn compared(before: &Known, now: &[Finding], at: Timestamp) -> (Vec<Change>, Known) {
    let mut after = Known::new();
    for finding in now {
        let subject = Subject { environment: finding.environment.clone(), stream: finding.stream.clone() };
        let told =
            Told { kind: finding.kind, subject, level: finding.level, message: finding.message.clone(), since: at };
        // Of several of one kind the worst.
        let known = after.entry(key(&told)).or_insert_with(|| told.clone());
        if known.level < told.level {
            *known = told;
        }
    }
    let mut changes = Vec::new();
    for (key, told) in &mut after {
        match before.get(key) {
            Some(known) if known.level == told.level => told.since = known.since,
            _ => changes.push(Change { event: "crossed", told: told.clone(), at }),
        }
    }
    let well = before.iter().filter(|(key, _)| !after.contains_key(key));
    changes.extend(well.map(|(_, told)| Change { event: "recovered", told: told.clone(), at }));
    (changes, after)
}

fn undo(after: &mut Known, before: &Known, change: &Change) {
    let key = key(&change.told);
    match before.get(&key) {
        Some(told) => after.insert(key, told.clone()),
        None => after.remove(&key),
    };
}

fn file(context: &Context<'_>) -> PathBuf {
    context.root().join(STATE_FOLDER).join("alerts.json")
}

fn remembered(context: &Context<'_>) -> Result<Known, Failure> {
    let path = file(context);
    match std::fs::read_to_string(&path) {
        // What is not whole was never told to the end.
        Ok(text) => {
            let all: Vec<Told> = serde_json::from_str(&text).unwrap_or_default();
            Ok(all.into_iter().map(|told| (key(&told), told)).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Known::new()),
        Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
    }
}

fn remember(context: &Context<'_>, known: &Known) -> Result<(), Failure> {
    crate::project::create_state_folder(context.root())?;
    let path = file(context);
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let all: Vec<&Told> = known.values().collect();
    let mut new = tempfile::NamedTempFile::new_in(context.root().join(STATE_FOLDER)).map_err(failed)?;
    new.write_all(serde_json::json!(all).to_string().as_bytes()).map_err(failed)?;
    new.persist(&path).map(drop).map_err(|error| failed(error.error))
}

fn tell(context: &Context<'_>, change: &Change) -> Result<(), Failure> {
    let alerts = &context.settings.alerts;
    let body = serde_json::json!(change.alert(context)).to_string();
    let line = match change.event {
        "recovered" => format!("well again: {}", change.told.message),
        _ => change.told.message.clone(),
    };
    if alerts.is_logged() {
        match (change.event, change.told.level) {
            ("recovered", _) => context.terminal.note(&line),
            (_, Level::Critical) => context.terminal.error(&line),
            _ => context.terminal.warning(&line),
        }
    }
    if let Some(webhook) = &alerts.webhook {
        posted(&webhook.value, &body)?;
    }
    if let Some(words) = &alerts.command {
        run_command(context, &words.value, &body).map_err(|why| {
            let program = words.value.first().map_or("", String::as_str);
            Failure::failed(format!("{program} ({}) was not told: {why}; it will be the next time", words.origin))
        })?;
    }
    Ok(())
}

fn posted(webhook: &Webhook, body: &str) -> Result<(), Failure> {
    webhook.send(Some(body)).map_err(|error| Failure::failed(format!("{error}; it is told the next time")))
}

/// Runs a program without a shell, in the project's folder, with JSON as its input.
fn run_command(context: &Context<'_>, words: &[String], body: &str) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(context.root()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read what it is told ends all the same.
        let _ = input.write_all(body.as_bytes());
    }
    let begun = Instant::now();
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("it ended with {status}")),
            None if begun.elapsed() > LIMIT => {
                // It may end at this very moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s", LIMIT.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level, kind: Kind, environment: &str) -> Finding {
        let message = format!("{environment} {level:?}");
        Finding { level, kind, environment: Some(environment.to_owned()), stream: None, message }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000).expect("a moment")
    }

    fn events(changes: &[Change]) -> Vec<(&'static str, Level)> {
        changes.iter().map(|change| (change.event, change.told.level)).collect()
    }

    #[test]
    fn each_change_is_told_once_and_so_is_the_recovery() {
        let late = |level| [finding(level, Kind::Age, "e")];
        let (changes, known) = compared(&Known::new(), &late(Level::Warning), at(1));
        assert_eq!(events(&changes), [("crossed", Level::Warning)]);
        let (changes, known) = compared(&known, &late(Level::Warning), at(2));
        assert_eq!((events(&changes), known.values().next().expect("known").since), (vec![], at(1)));
        let (changes, known) = compared(&known, &late(Level::Critical), at(3));
        assert_eq!(events(&changes), [("crossed", Level::Critical)]);
        let two = [finding(Level::Critical, Kind::Age, "e"), finding(Level::Warning, Kind::Duration, "e")];
        let (changes, known) = compared(&known, &two, at(4));
        assert_eq!(events(&changes), [("crossed", Level::Warning)], "the other one only");
        let (changes, known) = compared(&known, &two[1..], at(5));
        assert_eq!(events(&changes), [("recovered", Level::Critical)]);
        let (changes, known) = compared(&known, &[], at(6));
        assert_eq!((events(&changes), known.len()), (vec![("recovered", Level::Warning)], 0));
    }

    #[test]
    fn of_two_findings_of_a_kind_the_worse_counts_and_what_was_not_told_is_a_change_again() {
        let two = [finding(Level::Warning, Kind::FailureRate, "e"), finding(Level::Critical, Kind::FailureRate, "e")];
        let (changes, mut known) = compared(&Known::new(), &two, at(1));
        assert_eq!(events(&changes), [("crossed", Level::Critical)]);
        undo(&mut known, &Known::new(), &changes[0]);
        assert_eq!(events(&compared(&known, &two, at(2)).0), [("crossed", Level::Critical)]);
        let (_, told) = compared(&Known::new(), &two, at(1));
        let (changes, mut known) = compared(&told, &[], at(2));
        undo(&mut known, &told, &changes[0]);
        assert_eq!(events(&compared(&known, &[], at(3)).0), [("recovered", Level::Critical)]);
    }
}
