//! Where a schedule stands: a file, or the table of cron.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::exit::Failure;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file; whether it is a program.
    File { path: PathBuf, program: bool },
    /// The user's table, as `crontab` has it.
    Crontab,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Crontab => f.write_str("crontab"),
        }
    }
}

impl Place {
    /// What stands there.
    pub(super) fn read(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::File { path, .. } => match fs::read_to_string(path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
            },
            Self::Crontab => crontab(),
        }
    }

    /// Has this stand there, or nothing.
    pub(super) fn write(&self, text: Option<&str>) -> Result<(), Failure> {
        match (self, text) {
            (Self::File { path, program }, Some(text)) => replace(path, text, *program)
                .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display()))),
            (Self::File { path, .. }, None) => fs::remove_file(path)
                .map_err(|error| Failure::failed(format!("cannot remove {}: {error}", path.display()))),
            (Self::Crontab, text) => set_crontab(text),
        }
    }
}

/// All of a file at once, with the permissions that it had; a link stays one.
fn replace(path: &Path, text: &str, program: bool) -> std::io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let usual = if program { 0o755 } else { 0o644 };
        let had = fs::metadata(&target).map_or(usual, |metadata| metadata.permissions().mode());
        let mode = if program { had | 0o111 } else { had };
        new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = program;
    new.persist(&target)?;
    Ok(())
}

fn missing(error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot run crontab: {error}; install cron, or choose another way"))
}

fn crontab() -> Result<Option<String>, Failure> {
    let output = Command::new("crontab").arg("-l").env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(&error))?;
    if output.status.success() {
        let text = String::from_utf8(output.stdout);
        return text.map(Some).map_err(|_| Failure::failed("the crontab is no UTF-8: it is left as it is"));
    }
    // There is none: that is said as an error.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("no crontab") { Ok(None) } else { Err(Failure::failed(format!("crontab -l: {}", said.trim()))) }
}

fn set_crontab(text: Option<&str>) -> Result<(), Failure> {
    let mut command = Command::new("crontab");
    let command = command.arg(if text.is_some() { "-" } else { "-r" }).stderr(Stdio::piped());
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|error| missing(&error))?;
    if let (Some(mut input), Some(text)) = (child.stdin.take(), text) {
        input.write_all(text.as_bytes()).map_err(|error| missing(&error))?;
    }
    let output = child.wait_with_output().map_err(|error| missing(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::failed(format!("crontab: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
