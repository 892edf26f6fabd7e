//! A source's batches, each attributed to the stream it belongs to.

use futures::StreamExt as _;

use crate::source::{Batch, BatchStream, DynSource, ReadRequest, StreamSpec};
use crate::{Error, ErrorKind, Retry, StreamName};

/// Reads the streams of a request one after the other, and notices when one breaks off.
pub(crate) struct Walk<'a> {
    source: &'a dyn DynSource,
    batches: BatchStream,
    /// Requested, and not begun.
    waiting: Vec<StreamSpec>,
    current: Option<StreamName>,
    /// Read already; its stream begins before it.
    held: Option<Batch>,
    ended: bool,
}

/// What comes next.
pub(crate) enum Turn {
    /// A stream begins.
    Begins(StreamSpec),
    /// More of the stream under way.
    Batch(Batch),
    /// The stream under way ends: whole, or cut off with an error.
    Ends(Option<Error>),
    /// Nothing comes any more. A failure also ends the stream under way, if any.
    Over(Option<Failure>),
}

/// What ended a walk early.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Streams that did not even begin.
    pub(crate) unread: Vec<StreamSpec>,
}

impl<'a> Walk<'a> {
    /// Begins to read.
    pub(crate) fn new(source: &'a dyn DynSource, request: ReadRequest) -> Self {
        let waiting = request.streams.clone();
        Self { source, batches: source.read_dyn(request), waiting, current: None, held: None, ended: false }
    }

    /// Goes on; after [`Turn::Over`] there is nothing to go on with.
    pub(crate) async fn next(&mut self) -> Turn {
        if std::mem::take(&mut self.ended) {
            self.current = None;
            return Turn::Ends(None);
        }
        if let Some(batch) = self.held.take() {
            return self.belongs(batch);
        }
        match self.batches.next().await {
            Some(Ok(batch)) => self.belongs(batch),
            Some(Err(error)) => self.over(error),
            None if self.current.is_none() && self.waiting.is_empty() => Turn::Over(None),
            None => self.over(cut_off(self.source)),
        }
    }

    fn belongs(&mut self, batch: Batch) -> Turn {
        if self.current.as_ref() == Some(&batch.stream) {
            self.ended = batch.last;
            return Turn::Batch(batch);
        }
        if self.current.take().is_some() {
            self.held = Some(batch);
            return Turn::Ends(Some(cut_off(self.source)));
        }
        let Some(position) = self.waiting.iter().position(|spec| spec.name == batch.stream) else {
            return self.over(Error::internal(format!("a batch of stream {}, which was not asked for", batch.stream)));
        };
        self.current = Some(batch.stream.clone());
        self.held = Some(batch);
        Turn::Begins(self.waiting.remove(position))
    }

    fn over(&mut self, error: Error) -> Turn {
        Turn::Over(Some(Failure { error, unread: std::mem::take(&mut self.waiting) }))
    }
}

fn cut_off(source: &dyn DynSource) -> Error {
    Error::new(ErrorKind::Internal, "the source stopped before the end of a stream")
        .during(format!("reading {}", source.name()))
        .advice("nothing counts as deleted; the next sync tries again")
        .retry(Retry::Later)
}
