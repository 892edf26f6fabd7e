//! How the program ends: four codes, and what is said for them.

use std::process::ExitCode;

use aqe_sync_core::report::describe;
use aqe_sync_core::{Error, ErrorKind, Status};

/// The exit codes. They are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything as it should be.
    Ok = 0,
    /// Something needs attention; the rest is done.
    Warning = 1,
    /// It could not be done.
    Failed = 2,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Partial => Self::Warning,
            Status::Failed => Self::Failed,
        }
    }
}

/// Why a command ended early. The message never holds a secret.
#[derive(Debug)]
pub(crate) struct Failure {
    /// [`Exit::Failed`] or [`Exit::Usage`].
    pub(crate) exit: Exit,
    /// What happened and what to do, without a full stop.
    pub(crate) message: String,
}

impl Failure {
    /// The person at the terminal has to say something else.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// The world has to be different.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = if error.kind() == ErrorKind::Invalid { Exit::Usage } else { Exit::Failed };
        Self { exit, message: describe(&error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_contract() {
        assert_eq!([Exit::Ok, Exit::Warning, Exit::Failed, Exit::Usage].map(|exit| exit as u8), [0, 1, 2, 3]);
    }

    #[test]
    fn a_report_ends_with_the_code_of_its_status() {
        let statuses = [Status::Ok, Status::Partial, Status::Failed];
        assert_eq!(statuses.map(Exit::from), [Exit::Ok, Exit::Warning, Exit::Failed]);
    }

    #[test]
    fn an_invalid_argument_is_a_usage_error_and_the_rest_a_failure() {
        assert_eq!(Failure::from(Error::new(ErrorKind::Invalid, "no")).exit, Exit::Usage);
        assert_eq!(Failure::from(Error::new(ErrorKind::Io, "no")).exit, Exit::Failed);
    }
}
