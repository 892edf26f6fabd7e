//! Lines between two marks in a file that others write to as well: a crontab, a hook of git.

use std::path::PathBuf;
use std::process::Command;

use super::place::Place;
use super::{Edit, Task, shown};
use crate::exit::Failure;
use crate::watch::schedule::Schedule;

/// A shell script begins so.
const SHEBANG: &str = "#!/bin/sh\n";

/// The user's crontab with a line for the project.
pub(super) fn cron(task: &Task, install: bool) -> Result<Vec<Edit>, Failure> {
    let block = if install {
        // A percent sign is a line break in a crontab.
        Some(format!("{} {} >/dev/null 2>&1\n", fields(&task.schedule)?, task.line().replace('%', r"\%")))
    } else {
        None
    };
    edit(task, Place::Crontab, block.as_deref(), "")
}

/// The five fields for a schedule. A span has to come out even.
fn fields(schedule: &Schedule) -> Result<String, Failure> {
    let uneven = |why: &str| {
        Failure::usage(format!("cron cannot run every {schedule}: {why}; give a cron expression with --interval"))
    };
    let span = match schedule {
        Schedule::Cron(cron) if cron.as_str().split_whitespace().count() == 5 || cron.as_str().starts_with('@') => {
            return Ok(cron.as_str().to_owned());
        }
        Schedule::Cron(_) => {
            return Err(Failure::usage(format!("cron knows no seconds: give {schedule} with five fields")));
        }
        Schedule::Every(span) => span.0.as_secs(),
    };
    match span {
        86_400 => Ok("0 0 * * *".to_owned()),
        3_600 => Ok("0 * * * *".to_owned()),
        60 => Ok("* * * * *".to_owned()),
        span if span < 60 => Err(uneven("its shortest span is a minute")),
        span if span.is_multiple_of(60) && 3_600_u64.is_multiple_of(span) => Ok(format!("*/{} * * * *", span / 60)),
        span if span.is_multiple_of(3_600) && 86_400_u64.is_multiple_of(span) => {
            Ok(format!("0 */{} * * *", span / 3_600))
        }
        _ => Err(uneven("it divides neither an hour nor a day")),
    }
}

/// The hook that git runs after a commit; the commit does not wait for it.
pub(super) fn git(task: &Task, install: bool) -> Result<Vec<Edit>, Failure> {
    let program = super::quoted(&shown(&task.program));
    let block = format!("if [ -x {program} ]; then ({} >/dev/null 2>&1 &); fi\n", task.line());
    let place = Place::File { path: hooks(task)?.join("post-commit"), program: true };
    edit(task, place, install.then_some(block.as_str()), SHEBANG)
}

/// Where git looks for hooks.
fn hooks(task: &Task) -> Result<PathBuf, Failure> {
    let output = Command::new("git").arg("-C").arg(&task.root).args(["rev-parse", "--git-path", "hooks"]).output();
    let output = output.map_err(|error| Failure::failed(format!("cannot run git: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::failed(format!("{} is not in a git repository: {}", task.root.display(), said.trim())));
    }
    let path = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
    Ok(task.root.join(path))
}

/// A place with this block for the project, or without one. `head` is what a file begins with
/// that is made for it; one that holds nothing else goes with the block.
fn edit(task: &Task, place: Place, block: Option<&str>, head: &str) -> Result<Vec<Edit>, Failure> {
    let before = place.read()?;
    if let (Some(text), false, Some(_)) = (&before, head.is_empty(), block)
        && text.starts_with("#!")
        && !text.lines().next().is_some_and(|line| line.ends_with("sh"))
    {
        return Err(Failure::failed(format!("{place} is no shell script: add a line to it that runs {}", task.line())));
    }
    let after = changed(before.as_deref(), &shown(&task.root), block, head)
        .map_err(|why| Failure::failed(format!("{place}: {why}; correct it by hand")))?;
    Ok(if before == after { Vec::new() } else { vec![Edit { place, before, after }] })
}

/// On the first line of a block that brought a line break along, because the file had none at its end.
const WITH_BREAK: &str = " and the line break before";

fn changed(before: Option<&str>, root: &str, block: Option<&str>, head: &str) -> Result<Option<String>, String> {
    let (begin, end) = (format!("# >>> aqe-sync {root} >>>"), format!("# <<< aqe-sync {root} <<<\n"));
    let text = before.unwrap_or(head);
    let found = [format!("{begin}\n"), format!("{begin}{WITH_BREAK}\n")]
        .into_iter()
        .find_map(|begin| text.split_once(&begin).map(|(ahead, rest)| (ahead, rest, begin)));
    let (ahead, behind) = match &found {
        None => (text, ""),
        Some((ahead, rest, begin)) => {
            let no_end = || format!("the line {:?} has no end {:?}", begin.trim(), end.trim());
            let (_, behind) = rest.split_once(&end).ok_or_else(no_end)?;
            let own = if begin.contains(WITH_BREAK) { ahead.strip_suffix('\n') } else { None };
            (own.unwrap_or(ahead), behind)
        }
    };
    let Some(block) = block else {
        let rest = format!("{ahead}{behind}");
        let made_for_it = found.is_some() && (rest == head || rest.is_empty());
        return Ok(before.filter(|_| !made_for_it).map(|_| rest));
    };
    let (gap, with) = if ahead.is_empty() || ahead.ends_with('\n') { ("", "") } else { ("\n", WITH_BREAK) };
    Ok(Some(format!("{ahead}{gap}{begin}{with}\n{block}{end}{behind}")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::task;
    use super::*;

    #[test]
    fn a_block_is_added_replaced_and_taken_out_and_the_rest_stays() {
        let set = |before: Option<&str>, block| changed(before, "/p", block, SHEBANG).expect("sound");
        let made = set(None, Some("run\n")).expect("a file");
        assert_eq!(made, "#!/bin/sh\n# >>> aqe-sync /p >>>\nrun\n# <<< aqe-sync /p <<<\n");
        assert_eq!(set(Some(&made), Some("run\n")), Some(made.clone()), "again is nothing new");
        assert!(
            set(Some(&made), Some("other\n")).is_some_and(|text| text.contains("\nother\n") && !text.contains("run"))
        );
        assert_eq!(set(Some(&made), None), None, "the file was made for it");
        for own in ["#!/bin/sh\necho mine\n", "#!/bin/sh\necho mine", "#!/bin/bash\n\necho a\n# aqe-sync\necho b\n"] {
            let with = set(Some(own), Some("run\n")).expect("a file");
            assert!(with.starts_with(own) && with != own);
            assert_eq!(set(Some(&with), None).as_deref(), Some(own));
            assert_eq!(set(Some(&with), Some("run\n")), Some(with.clone()), "again is nothing new");
            let between = format!("{with}echo behind\n");
            assert_eq!(set(Some(&between), None), Some(format!("{own}echo behind\n")));
            assert_eq!(set(Some(own), None).as_deref(), Some(own), "there is none");
        }
        // Another project's block is another's.
        let other = changed(Some(&made), "/q", Some("x\n"), SHEBANG).expect("sound").expect("a file");
        assert_eq!(changed(Some(&other), "/q", None, SHEBANG).expect("sound"), Some(made));
        assert!(
            changed(Some("# >>> aqe-sync /p >>>\nrun\n"), "/p", None, "").expect_err("torn").contains("has no end")
        );
        assert_eq!(set(None, None), None);
    }

    #[test]
    fn cron_has_fields_for_spans_that_come_out_even() {
        let of = |text: &str| fields(&Schedule::parse(text).expect("a schedule"));
        for (text, expected) in [
            ("5m", "*/5 * * * *"),
            ("1m", "* * * * *"),
            ("1h", "0 * * * *"),
            ("6h", "0 */6 * * *"),
            ("1d", "0 0 * * *"),
            ("7 3 * * MON", "7 3 * * 1"),
        ] {
            assert_eq!(of(text).expect(text), expected);
        }
        for text in ["30s", "7m", "5h", "2d", "90m", "* * * * * *"] {
            assert!(of(text).is_err(), "{text}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let line = task(folder.path(), "5m").line().replace('%', r"\%");
        assert!(line.contains(r"100\%"), "{line}");
    }
}
