//! What a run tells while it goes on.

use crate::report::{Report, StreamReport};
use crate::{Error, SourceName, StreamName};

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A source is about to be looked at; deliveries of those before it may still be
    /// on their way.
    SourceStarted {
        /// Which.
        source: &'a SourceName,
    },
    /// A source could not be read; the run goes on with the others.
    SourceFailed {
        /// Which.
        source: &'a SourceName,
        /// Why, and what to do.
        error: &'a Error,
    },
    /// A stream is about to be read.
    StreamStarted {
        /// Of which source.
        source: &'a SourceName,
        /// Which.
        stream: &'a StreamName,
    },
    /// A batch was compared; what changed of it is durable in the sink, on its way
    /// there, or about to be sent.
    Progress {
        /// Of which source.
        source: &'a SourceName,
        /// Which stream.
        stream: &'a StreamName,
        /// Records of the stream read so far.
        read: u64,
    },
    /// A stream is done, well or not.
    StreamFinished {
        /// Its account.
        report: &'a StreamReport,
    },
    /// The run is done.
    RunFinished {
        /// Its account.
        report: &'a Report,
    },
}

/// Watches a run. Closures over `&Event` are observers.
pub trait Observer: Send + Sync {
    /// Takes notice; must be quick.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&self, _: &Event<'_>) {}
}
