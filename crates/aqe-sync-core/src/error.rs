//! The one error of this crate, shared by every source and sink.

use std::error::Error as StdError;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarsely: enough to decide what to do, not more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file, table or hub that was asked for is not there.
    NotFound,
    /// The operating system or the database denied access.
    PermissionDenied,
    /// Somebody else holds a lock on it.
    Locked,
    /// What was read is not what the format promises (torn, truncated, garbage).
    Malformed,
    /// The source changed while it was being read.
    Changed,
    /// The configuration or an argument is wrong.
    Invalid,
    /// A hub was written by a newer version, or belongs to something else.
    Incompatible,
    /// A safety brake stopped the operation.
    Refused,
    /// An input or output operation failed.
    Io,
    /// A promise of this library was broken: a defect, please report it.
    Internal,
}

/// Whether trying the same again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call will fail again until somebody changes something.
    Never,
    /// The cause is likely to pass by itself: the next run will do.
    Later,
    /// It was already retried as often as makes sense.
    Exhausted,
}

/// What happened, to what, and what to do next.
///
/// Displays as `operation: message (context…); advice`. The underlying cause,
/// if any, is reachable through [`std::error::Error::source`].
///
/// ```
/// use aqe_sync_core::{Error, ErrorKind, Retry};
///
/// let error = Error::new(ErrorKind::Malformed, "not valid JSON at line 812")
///     .during("reading .claude-flow/memory/store.json")
///     .advice("the file may have been caught half-written; the next sync retries")
///     .retry(Retry::Later);
/// assert!(error.to_string().starts_with("reading .claude-flow"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: Option<String>,
    message: String,
    context: Vec<(&'static str, String)>,
    advice: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error that says what happened, without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: Retry::Never,
            operation: None,
            message: message.into(),
            context: Vec::new(),
            advice: None,
            source: None,
        }))
    }

    /// A broken promise of this library.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message).advice("this is a defect in aqe-sync: please report it")
    }

    /// Says what was being done (`reading …`, `writing …`).
    #[must_use]
    pub fn during(mut self, operation: impl Into<String>) -> Self {
        self.0.operation = Some(operation.into());
        self
    }

    /// Adds a named fact: file, table, row. One that is there already is not said twice.
    #[must_use]
    pub fn context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        let fact = (name, value.to_string());
        if !self.0.context.contains(&fact) {
            self.0.context.push(fact);
        }
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Says whether a retry can help.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a retry can help.
    pub fn can_retry(&self) -> Retry {
        self.0.retry
    }

    /// The message alone, without operation, context and advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = &self.0.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&self.0.message)?;
        for (index, (name, value)) in self.0.context.iter().enumerate() {
            f.write_str(if index == 0 { " (" } else { ", " })?;
            write!(f, "{name}: {value}")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(advice) = &self.0.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("message", &self.to_string())
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|cause| cause as _)
    }
}
