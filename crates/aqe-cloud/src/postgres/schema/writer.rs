//! Whose rows the connected login may write.

use aqe_sync_core::{Environment, Error, ErrorKind, Result};

use super::present::{Rules, Server};

/// Which environments a login may write to a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Any: the login is the hub's owner, or the hub's environments are not kept apart.
    Any,
    /// This one, which the login was made for.
    Only(Environment),
    /// None any more: the environment that the login was made for was revoked.
    Revoked(Environment),
    /// None: the hub's environments are kept apart, and the login was made for none of them.
    Nobody,
}

impl Writer {
    /// `own` is what the hub says of the login: its environment, and whether that was revoked.
    pub(super) fn of(server: &Server, own: Option<(String, bool)>) -> Self {
        if server.rules != Rules::Other {
            return Self::Any;
        }
        match own {
            Some((environment, false)) => Self::Only(Environment::new(environment)),
            Some((environment, true)) => Self::Revoked(Environment::new(environment)),
            None => Self::Nobody,
        }
    }

    /// Whether the login may write an environment's rows; says it before the server does.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, login: &str, environment: &Environment) -> Result<()> {
        let (what, advice) = match self {
            Self::Any => return Ok(()),
            Self::Only(own) if own == environment => return Ok(()),
            Self::Only(own) => (
                format!("login {login} may write only environment {own}, and this is environment {environment}"),
                format!("say --env {own} (or AQE_ENV={own}), or use the login that belongs to {environment}"),
            ),
            Self::Revoked(own) => (
                format!("login {login} may write nothing any more: its environment {own} was revoked"),
                format!("have the hub's owner run aqe-sync env create {own}"),
            ),
            Self::Nobody => (
                format!("login {login} belongs to no environment of this hub, and so may write nothing"),
                format!("have the hub's owner run aqe-sync env create {environment}, and use the login that it makes"),
            ),
        };
        Err(refused(what, advice))
    }

    /// Whether the login may do what concerns all environments.
    ///
    /// # Errors
    /// When it is an environment's.
    pub fn check_owner(&self, login: &str, what: &str) -> Result<()> {
        match self {
            Self::Any => Ok(()),
            Self::Only(own) | Self::Revoked(own) => Err(refused(
                format!("{what} concerns all environments, and login {login} is environment {own}'s"),
                "have the hub's owner do it".to_owned(),
            )),
            Self::Nobody => Err(refused(
                format!("{what} concerns all environments, and login {login} is not the hub's owner"),
                "use the owner's login".to_owned(),
            )),
        }
    }
}

fn refused(what: String, advice: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, what).advice(advice)
}
