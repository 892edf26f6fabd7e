//! What goes wrong inside an operation: the server, or what we were given.

use aqe_sync_core::Error;

use super::link::Link;

/// PostgreSQL's error, or ours.
#[derive(Debug)]
pub(super) enum Failure {
    Server(tokio_postgres::Error),
    Other(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Failure {
    /// Whether it is the fault of a row that was sent: then the other rows of its batch
    /// are worth another try.
    ///
    /// Class 22 are values that a type does not take, 23 are broken constraints, 54 are
    /// limits (an index entry that is too long), XX000 is what ruvector calls all of it
    /// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
    pub(super) fn is_of_data(&self) -> bool {
        let Self::Server(error) = self else { return false };
        let Some(code) = error.code().map(tokio_postgres::error::SqlState::code) else { return false };
        ["22", "23", "54"].iter().any(|class| code.starts_with(class)) || code == "XX000"
    }

    /// Why a row cannot be stored, for its dead letter.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Server(error) => match error.as_db_error() {
                Some(said) => format!("the hub's server refuses it: {}", said.message()),
                None => error.to_string(),
            },
            Self::Other(error) => error.to_string(),
        }
    }

    /// As one of our errors; `operation` says what was being done.
    pub(super) fn into_error(self, link: &Link, operation: &str) -> Error {
        match self {
            Self::Server(error) => link.fault(operation, error),
            Self::Other(error) => error,
        }
    }
}
