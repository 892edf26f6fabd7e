//! Whoever is asked for the hub's password, where it is in no URL and no variable.

use std::path::Path;
use std::sync::Arc;

use aqe_cloud::secret::{PasswordCommand, PasswordSource, SecretManager, SecretName};
use aqe_cloud::tunnel::GoogleCredentials;

use crate::config::{Origin, Settings};
use crate::exit::Failure;

/// What `postgres.password_command` or `postgres.password` names.
///
/// # Errors
/// A usage error when a command comes from a file that somebody else may write.
pub(crate) fn source(settings: &Settings) -> Result<Option<Arc<dyn PasswordSource>>, Failure> {
    if let Some(words) = &settings.postgres.password_command {
        if let (Origin::File { .. }, Some(file)) = (&words.origin, &settings.file) {
            ours(file)?;
        }
        let command = PasswordCommand::new(words.value.iter().cloned())?.folder(&settings.root.value);
        return Ok(Some(Arc::new(command)));
    }
    settings.postgres.password.as_ref().map(|name| in_manager(settings, name.value.clone())).transpose()
}

/// A secret in Google Secret Manager.
///
/// # Errors
/// A usage error when the service's address is none.
pub(crate) fn in_manager(settings: &Settings, name: SecretName) -> Result<Arc<dyn PasswordSource>, Failure> {
    let tokens = Arc::new(GoogleCredentials::discover(settings.google.clone()));
    let manager = SecretManager::new(name, tokens);
    Ok(Arc::new(match &settings.gcp.secret_manager {
        Some(url) => manager.endpoint(&url.value)?,
        None => manager,
    }))
}

/// Nothing is run because of a file that another user could have written.
#[cfg(unix)]
fn ours(file: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let shown = file.display();
    let failed = |why: String, advice: String| {
        Err(Failure::usage(format!("postgres.password_command of {shown} is not run: {why}; {advice}")))
    };
    let facts = std::fs::metadata(file).map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    if facts.mode() & 0o002 != 0 {
        return failed("anybody on this machine may change it".to_owned(), format!("run chmod o-w {shown}"));
    }
    let we = rustix::process::geteuid().as_raw();
    if facts.uid() != we && facts.uid() != 0 {
        return failed(
            format!("it belongs to user {}", facts.uid()),
            format!("read it, and have it if it does what you want: chown {we} {shown}"),
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn ours(_: &Path) -> Result<(), Failure> {
    Ok(())
}
