//! The terminal: results to standard output, everything else to standard error.

pub(crate) mod account;
#[cfg(feature = "embed")]
mod bar;
mod colour;
mod json;
mod numbers;
pub(crate) mod plan;
mod progress;
mod table;

use std::io::{ErrorKind, IsTerminal as _, Write as _};

#[cfg(feature = "embed")]
pub(crate) use bar::Bar;
pub(crate) use colour::{Colour, Paint};
pub(crate) use json::object;
pub(crate) use numbers::{age, bytes, count, counted, duration};
pub(crate) use progress::Progress;
pub(crate) use table::{Cell, Table};

use crate::exit::Failure;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// The usual.
    Normal,
    /// All.
    Verbose,
}

/// Where everything is written to.
pub(crate) struct Terminal {
    /// How much is said.
    pub(crate) verbosity: Verbosity,
    /// Whether the result is one JSON object.
    pub(crate) json: bool,
    /// How standard output is painted.
    pub(crate) paint: Paint,
    error_paint: Paint,
    /// Whether messages are events for programs.
    logs: bool,
}

impl Terminal {
    /// The process's own.
    pub(crate) fn new(verbosity: Verbosity, json: bool, no_color: bool) -> Self {
        Self {
            verbosity,
            json,
            paint: Paint::new(!no_color && std::io::stdout().is_terminal()),
            error_paint: Paint::new(!no_color && std::io::stderr().is_terminal()),
            logs: false,
        }
    }

    /// The same, with messages as events for programs where that is wanted.
    pub(crate) fn logging(self, logs: bool) -> Self {
        Self { logs, ..self }
    }

    /// Whether people's text is wanted at all.
    pub(crate) fn speaks(&self) -> bool {
        !self.json && self.verbosity > Verbosity::Quiet
    }

    /// Writes people's result to standard output, unless JSON or silence is wanted.
    ///
    /// # Errors
    /// When it cannot be written; a reader that has gone away is no error.
    pub(crate) fn result(&self, text: &str) -> Result<(), Failure> {
        if self.speaks() { write_out(text) } else { Ok(()) }
    }

    /// Writes the one JSON object to standard output, if it is wanted.
    ///
    /// # Errors
    /// As [`Terminal::result`].
    pub(crate) fn json<T: serde::Serialize>(&self, value: &T) -> Result<(), Failure> {
        if self.json { write_out(&object(value)?) } else { Ok(()) }
    }

    /// Writes a document to standard output, whatever else is silent.
    ///
    /// # Errors
    /// As [`Terminal::result`].
    #[allow(clippy::unused_self, reason = "whoever writes has the terminal")]
    pub(crate) fn document(&self, text: &str) -> Result<(), Failure> {
        write_out(text)
    }

    /// Tells something in passing.
    pub(crate) fn say(&self, text: &str) {
        if self.logs {
            tracing::info!("{}", plain(text));
        } else if self.speaks() {
            write_error(text);
        }
    }

    /// Tells what is only wanted with `-v`.
    pub(crate) fn detail(&self, text: &str) {
        if self.logs {
            tracing::debug!("{}", plain(text));
        } else if self.verbosity == Verbosity::Verbose {
            write_error(text);
        }
    }

    /// Tells what is worth knowing.
    pub(crate) fn note(&self, text: &str) {
        if self.logs {
            return tracing::info!("{}", plain(text));
        }
        self.say(&format!("{} {}", self.error_paint.on("note:", Colour::Cyan), plain(text)));
    }

    /// Tells what needs attention.
    pub(crate) fn warning(&self, text: &str) {
        if self.logs {
            return tracing::warn!("{}", plain(text));
        }
        self.say(&format!("{} {}", self.error_paint.on("warning:", Colour::Yellow), plain(text)));
    }

    /// Tells what went wrong; never silent.
    pub(crate) fn error(&self, text: &str) {
        if self.logs {
            return tracing::error!("{}", plain(text));
        }
        write_error(&format!("{} {}", self.error_paint.on("error:", Colour::Red), plain(text)));
    }
}

/// Whether somebody watches standard error.
fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Text from files and databases cannot steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Where even this fails there is nobody left to tell.
fn write_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_names_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
    }
}
