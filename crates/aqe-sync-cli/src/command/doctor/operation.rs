//! Whether syncs happen by themselves, and whether anybody hears when they do not.

use std::path::Path;
use std::time::Duration;

use aqe_cloud::postgres::doctor::Check;
use aqe_readers::RunLock;
use aqe_sync_core::Status;

use super::super::Context;
use super::super::schedule;
use crate::attempts;
use crate::project::STATE_FOLDER;

pub(super) fn checks(context: &Context<'_>) -> Vec<Check> {
    let mut checks = vec![started(context)];
    checks.extend(last_run(context));
    if let Err(failure) = context.settings.monitor.rules() {
        checks.push(Check::critical("thresholds", failure.message, "correct [monitor] in the configuration"));
    }
    checks.push(told(context));
    checks
}

/// Who starts syncs: a daemon that runs, or a schedule.
fn started(context: &Context<'_>) -> Check {
    let lock = context.root().join(STATE_FOLDER).join("watch.lock");
    if lock.exists()
        && let Err(error) = RunLock::acquire(&lock, "aqe-sync doctor", Duration::ZERO, &mut |_| ())
        && error.kind() == aqe_sync_core::ErrorKind::Locked
    {
        return Check::ok("automation", "aqe-sync watch is running".to_owned());
    }
    let installed = schedule::installed(context);
    let found = if installed.is_empty() {
        "syncs are started by hand; aqe-sync watch, or aqe-sync schedule install, would do it".to_owned()
    } else {
        format!("syncs are started by {}", installed.join(", "))
    };
    Check::ok("automation", found)
}

/// What was, for whoever wonders: whether all is well now, the other checks say.
fn last_run(context: &Context<'_>) -> Option<Check> {
    let environment = context.settings.environment.value.as_str();
    let runs = attempts::remembered(context.root(), &context.hub_shown());
    let last = runs.into_iter().rfind(|run| run.environment == environment)?;
    let how = match last.status {
        Status::Ok => "ok",
        Status::Partial => "done in part; aqe-sync history says why",
        Status::Failed => "failed; aqe-sync history says why",
    };
    Some(Check::ok("last sync", format!("{}: {how}", last.started_at)))
}

/// Whether who is to be told can be.
fn told(context: &Context<'_>) -> Check {
    let alerts = &context.settings.alerts;
    if let Some(words) = &alerts.command
        && let Some(program) = words.value.first()
        && !is_there(program, context.root())
    {
        let found = format!("there is no program {program} ({})", words.origin);
        return Check::warning("alerts", found, "correct alerts.command: its first item is a program");
    }
    let webhook = alerts.webhook.as_ref().map(|webhook| webhook.value.shown().to_owned());
    let command = alerts.command.as_ref().and_then(|words| words.value.first().cloned());
    let whom: Vec<String> = webhook.into_iter().chain(command).collect();
    if whom.is_empty() {
        let found = "only the log is told of crossed thresholds; [alerts] names a webhook or a command";
        return Check::ok("alerts", found.to_owned());
    }
    Check::ok(
        "alerts",
        format!(
            "{} told of crossed thresholds",
            if whom.len() == 1 { format!("{} is", whom[0]) } else { format!("{} are", whom.join(" and ")) }
        ),
    )
}

/// As the system looks for it: a path is one from the project's folder.
fn is_there(program: &str, root: &Path) -> bool {
    if program.contains('/') {
        return root.join(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}
