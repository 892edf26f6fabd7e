//! A timer of the user's own systemd, and the service that it starts.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::place::Place;
use super::{Edit, Task, calendar};
use crate::exit::Failure;
use crate::output::{Terminal, plain};
use crate::watch::schedule::Schedule;

/// The first line of what is written says what stands below it.
const MARK: &str = "# Written by aqe-sync schedule, and removed by it as long as nothing below is changed: ";

/// Service and timer of the project.
pub(super) fn edits(task: &Task, install: bool) -> Result<Vec<Edit>, Failure> {
    let folder = folder()?;
    let mut edits = Vec::new();
    for (suffix, content) in [("service", service(task)), ("timer", timer(task)?)] {
        let place = Place::File { path: folder.join(format!("{}.{suffix}", task.name())), program: false };
        let before = place.read()?;
        if before.as_deref().is_some_and(|text| !is_as_written(text)) {
            return Err(Failure::failed(format!("{place} was edited since it was written: remove it by hand")));
        }
        let after = install.then(|| marked(&content));
        if before != after {
            edits.push(Edit { place, before, after });
        }
    }
    Ok(edits)
}

fn folder() -> Result<PathBuf, Failure> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let config = config.ok_or_else(|| Failure::failed("there is no home folder: set XDG_CONFIG_HOME"))?;
    Ok(config.join("systemd/user"))
}

fn sum(text: &str) -> String {
    format!("{:016x}", aqe_sync_core::hash::fields_hash([("text", &aqe_sync_core::Value::from(text))]))
}

fn marked(content: &str) -> String {
    format!("{MARK}{}\n{content}", sum(content))
}

fn is_as_written(text: &str) -> bool {
    let told = text.strip_prefix(MARK).and_then(|rest| rest.split_once('\n'));
    told.is_some_and(|(told, content)| told == sum(content))
}

/// A word of a command line (<https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html#Command%20lines>).
fn word(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn service(task: &Task) -> String {
    let command: Vec<String> = task.words().iter().map(|one| word(one)).collect();
    let root = task.root.display().to_string().replace('%', "%%");
    format!(
        "[Unit]\nDescription=aqe-sync of {root}\n\n[Service]\nType=oneshot\nExecStart={}\n\
         # 1 says that something needs attention: the sync itself is done.\nSuccessExitStatus=1\n",
        command.join(" ")
    )
}

fn timer(task: &Task) -> Result<String, Failure> {
    let root = task.root.display().to_string().replace('%', "%%");
    let (at, when, delay) = match &task.schedule {
        Schedule::Every(span) => {
            let seconds = span.0.as_secs();
            (format!("every {span}"), format!("OnActiveSec=10s\nOnUnitActiveSec={seconds}s\n"), (seconds / 10).min(30))
        }
        Schedule::Cron(cron) => {
            let events = calendar::events(cron.as_str()).ok_or_else(|| {
                Failure::usage(format!(
                    "systemd cannot say {cron}: give another expression or a span with --interval, or let aqe-sync watch keep the time"
                ))
            })?;
            let lines: Vec<String> = events.iter().map(|event| format!("OnCalendar={event}\n")).collect();
            // What the machine slept or was switched off through is made up for once.
            (format!("at {cron}"), format!("{}Persistent=true\n", lines.concat()), 30)
        }
    };
    Ok(format!(
        "[Unit]\nDescription=aqe-sync of {root}, {at}\n\n[Timer]\n{when}\
         RandomizedDelaySec={delay}s\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
    ))
}

/// Has systemd read the files and start the timer; says what to do where it cannot.
pub(super) fn start(terminal: &Terminal, task: &Task) {
    let timer = format!("{}.timer", task.name());
    systemctl(terminal, &["daemon-reload"]);
    systemctl(terminal, &["enable", "--now", &timer]);
}

/// Has systemd stop the timer, before its files go.
pub(super) fn stop(terminal: &Terminal, task: &Task) {
    systemctl(terminal, &["disable", "--now", &format!("{}.timer", task.name())]);
}

fn systemctl(terminal: &Terminal, arguments: &[&str]) {
    let mut command = Command::new("systemctl");
    let output = command.arg("--user").args(arguments).stdin(Stdio::null()).output();
    let line = format!("systemctl --user {}", arguments.join(" "));
    let why = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    terminal.warning(&plain(&format!("{line}: {why}; run it where systemd serves this user")));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::task;
    use super::*;

    #[test]
    fn what_was_written_is_known_again_and_what_was_edited_is_not() {
        let text = marked("[Unit]\nDescription=x\n");
        assert!(is_as_written(&text));
        assert!(!is_as_written(&text.replace("=x", "=y")));
        assert!(!is_as_written("[Unit]\n") && !is_as_written(""));
    }

    #[test]
    fn the_command_is_one_that_systemd_takes_word_by_word() {
        let service = service(&task(Path::new("/tmp/a \"b\" $c"), "5m"));
        let line = r#"ExecStart="/opt/it's 100%%/aqe-sync" "--root" "/tmp/a \"b\" $$c" "--env" "lap top" "--quiet""#;
        assert!(service.lines().any(|found| found == line), "{service}");
        let timer_of = |schedule| timer(&task(Path::new("/tmp"), schedule));
        assert!(timer_of("10m").expect("a timer").contains("OnUnitActiveSec=600s\nRandomizedDelaySec=30s"));
        let nightly = timer_of("0 3 * * MON-FRI").expect("a timer");
        assert!(nightly.contains("OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 3:0:0\nPersistent=true\n"), "{nightly}");
        assert!(timer_of("0 3 L * *").is_err());
    }
}
