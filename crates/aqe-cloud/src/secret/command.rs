//! A password that a program prints.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result};
use futures::future::{BoxFuture, Either, select};
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::{LONGEST, PasswordSource, Secret, password_of, told};

/// Somebody may have to touch a key or type a PIN.
const LIMIT: Duration = Duration::from_secs(60);
/// How long complaints are waited for after the program has ended: something that it left behind
/// may hold on to them.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A program that prints the password, as `pass show hub` or `op read op://vault/hub/password`.
///
/// It is run as it is given, without a shell, with an empty standard input. It has to print the
/// password alone; one line break behind it is cut off. What it prints is in no error; what it
/// complains of is, unless it repeats the password.
///
/// ```
/// use aqe_cloud::secret::PasswordCommand;
///
/// let command = PasswordCommand::new(["pass", "show", "hub"])?;
/// # Ok::<_, aqe_sync_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PasswordCommand {
    program: String,
    arguments: Vec<String>,
    folder: Option<PathBuf>,
    limit: Duration,
}

impl PasswordCommand {
    /// Takes a program and its arguments.
    ///
    /// # Errors
    /// When there is no program.
    pub fn new<T: Into<String>>(words: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut words = words.into_iter().map(Into::into);
        let program = words.next().filter(|program| !program.trim().is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "the command for the password names no program")
                .advice("give the program and its arguments as a list: [\"pass\", \"show\", \"hub\"]")
        })?;
        Ok(Self { program, arguments: words.collect(), folder: None, limit: LIMIT })
    }

    /// Sets the folder that it runs in.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets how long it may take; a minute unless said otherwise.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn ask(&self) -> Result<Secret> {
        let failed = |kind, what: String| Error::new(kind, format!("{} {what}", self.origin()));
        let cannot = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Io,
            };
            failed(kind, format!("cannot be run: {error}"))
                .advice("check password_command: the program and its arguments, each an item of the list")
                .caused_by(error)
        };
        let run = timeout(self.limit, self.run()).await.map_err(|_| {
            failed(ErrorKind::Io, format!("gave no password within {} s", self.limit.as_secs_f64()))
                .advice("run it by hand; it gets no standard input, so it cannot ask questions there")
        })?;
        let Run { status, printed, complaints } = run.map_err(cannot)?;
        if printed.len() > LONGEST {
            return Err(failed(ErrorKind::Malformed, "printed more than a password".to_owned())
                .advice("it has to print the password alone"));
        }
        if !status.success() {
            let printed = Zeroizing::new(String::from_utf8_lossy(&printed).into_owned());
            let lines: Vec<&str> = printed.lines().collect();
            let said = told(&String::from_utf8_lossy(&complaints), &lines);
            let said = if said.is_empty() { said } else { format!(": {said}") };
            return Err(failed(ErrorKind::PermissionDenied, format!("gave no password ({status}){said}"))
                .advice("run it by hand and see what it wants"));
        }
        password_of(&printed, &self.origin())
    }

    /// Runs it to its end. It is killed when this is dropped.
    async fn run(&self) -> io::Result<Run> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command.kill_on_drop(true).spawn()?;
        // Both are read at once, so that it never waits for us while we wait for it.
        let (printing, mut complaining) = (printed(child.stdout.take()), Box::pin(said(child.stderr.take())));
        let ending = async {
            let printed = printing.await?;
            Ok::<_, io::Error>((printed, child.wait().await?))
        };
        let ((printed, status), complaints) = match select(Box::pin(ending), &mut complaining).await {
            Either::Left((ended, complaining)) => {
                (ended?, timeout(LAST_WORDS, complaining).await.unwrap_or_else(|_| Ok(Vec::new()))?)
            }
            Either::Right((complaints, ending)) => (ending.await?, complaints?),
        };
        Ok(Run { status, printed, complaints })
    }
}

impl PasswordSource for PasswordCommand {
    fn password(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(self.ask())
    }

    fn origin(&self) -> String {
        format!("the command {}", self.program)
    }
}

/// How it went.
struct Run {
    status: ExitStatus,
    printed: Zeroizing<Vec<u8>>,
    complaints: Vec<u8>,
}

/// All that it prints; no more than one byte too much, and then nobody listens.
async fn printed(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = LONGEST + 1;
    // Not grown: what a growing buffer leaves behind is not zeroed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 64));
    if let Some(pipe) = pipe {
        pipe.take(limit as u64).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What it complains of: the beginning; the rest is read and forgotten.
async fn said(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(LONGEST as u64).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn said_by(script: &str) -> Result<String> {
        let command = PasswordCommand::new(["sh", "-c", script])?.limit(Duration::from_secs(20));
        command.password().await.map(|secret| secret.expose().to_owned())
    }

    #[tokio::test]
    async fn what_it_prints_is_the_password_whatever_it_says_besides() {
        assert_eq!(said_by("echo 'a b'; echo unlocked >&2").await.expect("one"), "a b");
        assert_eq!(said_by("head -c 300000 /dev/zero >&2; echo late").await.expect("one"), "late");
        let folder = tempfile::tempdir().expect("a folder");
        let here = PasswordCommand::new(["pwd"]).expect("one").folder(folder.path());
        let said = here.password().await.expect("one");
        assert_eq!(std::path::Path::new(said.expose()).canonicalize().ok(), folder.path().canonicalize().ok());
    }

    #[tokio::test]
    async fn it_gets_no_input_and_what_it_leaves_behind_does_not_hold_us_up() {
        assert_eq!(said_by("read line; echo \"got:$line\"").await.expect("one"), "got:");
        let before = Instant::now();
        assert_eq!(said_by("sleep 30 >/dev/null & echo now").await.expect("one"), "now");
        assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn failures_say_why_and_never_what_was_printed() {
        for (script, why) in [
            ("echo hunter2; echo 'the store is locked: hunter2' >&2; exit 3", "the store is locked: ********"),
            ("echo hunter2; kill -9 $$", "signal"),
            ("true", "it is empty"),
            ("echo hunter2; echo 'user: me'", "several lines"),
            ("printf 'hunter2\\377'", "not UTF-8"),
            ("while :; do echo hunter2; done", "more than a password"),
        ] {
            let error = said_by(script).await.expect_err(script);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(why) && shown.contains("the command sh"), "{script}: {shown}");
            assert!(!shown.contains("hunter2"), "{script}: {shown}");
        }
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended_and_one_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", file.display());
        let command = PasswordCommand::new(["sh", "-c", &script]).expect("one").limit(Duration::from_millis(500));
        let error = command.password().await.expect_err("it sleeps");
        assert!(error.to_string().contains("within 0.5 s"), "{error}");
        let pid = std::fs::read_to_string(file).expect("it ran");
        let status = std::path::PathBuf::from(format!("/proc/{}/status", pid.trim()));
        // Killed at once; the runtime collects it a little later.
        let is_gone = || std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
        let before = Instant::now();
        while cfg!(target_os = "linux") && !is_gone() && before.elapsed() < Duration::from_secs(10) {
            tokio::task::yield_now().await;
        }
        assert!(cfg!(not(target_os = "linux")) || is_gone(), "it still runs");
        let error = PasswordCommand::new(["no-such-program-7"]).expect("a name").password().await.expect_err("none");
        assert!(error.to_string().contains("no-such-program-7 cannot be run"), "{error}");
        PasswordCommand::new(Vec::<String>::new()).expect_err("no program");
        PasswordCommand::new([" "]).expect_err("no program");
    }
}
