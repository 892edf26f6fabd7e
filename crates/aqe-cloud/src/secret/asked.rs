//! Passwords that somebody is asked for when they are needed.

use std::fmt;
use std::sync::Arc;

use aqe_sync_core::Result;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::Secret;

/// Whoever knows a password: a password manager, a vault.
///
/// Asked before the first connection. The answer is kept, and asked for anew when the server does
/// not accept it any more, so passwords may change or expire while a program runs.
///
/// ```
/// use aqe_cloud::postgres::link::AddressParts;
/// use aqe_cloud::secret::{PasswordSource, Secret};
/// use aqe_sync_core::Result;
/// use futures::future::BoxFuture;
///
/// struct Vault;
///
/// impl PasswordSource for Vault {
///     fn password(&self) -> BoxFuture<'_, Result<Secret>> {
///         Box::pin(async { Ok(Secret::new("from the vault")) })
///     }
///
///     fn origin(&self) -> String {
///         "the vault".to_owned()
///     }
/// }
///
/// let address = AddressParts::parse("postgres://me@hub.example/fleet")?
///     .password_source(std::sync::Arc::new(Vault))
///     .build()?;
/// assert!(address.has_password());
/// # Ok::<_, aqe_sync_core::Error>(())
/// ```
pub trait PasswordSource: Send + Sync {
    /// Returns the password.
    ///
    /// # Errors
    /// Why there is none, and what to do; without the password. [`aqe_sync_core::Retry::Later`] where
    /// asking again may help.
    fn password(&self) -> BoxFuture<'_, Result<Secret>>;

    /// Says who is asked, for people: `the command pass`.
    fn origin(&self) -> String;
}

/// A source, and what it said.
pub(crate) struct Asked {
    source: Arc<dyn PasswordSource>,
    kept: Mutex<Option<Secret>>,
}

impl Asked {
    pub(crate) fn new(source: Arc<dyn PasswordSource>) -> Self {
        Self { source, kept: Mutex::default() }
    }

    pub(crate) fn origin(&self) -> String {
        self.source.origin()
    }

    /// The password, and whether that is an answer from before. `refused` is one that the server did
    /// not accept.
    pub(crate) async fn password(&self, refused: Option<&Secret>) -> Result<(Secret, bool)> {
        // Held while asking: connections that are opened at once ask once.
        let mut kept = self.kept.lock().await;
        if let Some(known) = kept.as_ref().filter(|known| Some(*known) != refused) {
            return Ok((known.clone(), true));
        }
        let fresh = self.source.password().await?;
        *kept = Some(fresh.clone());
        Ok((fresh, false))
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({})", self.origin())
    }
}
