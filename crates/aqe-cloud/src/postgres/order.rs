//! Deliveries of one stream that are on their way at once: they travel abreast, and
//! become durable one after the other.
//!
//! Whoever holds a connection and waits for the delivery before it must not wait for
//! ever: a delivery that does not get through at once goes [`astray`](Order::astray)
//! before it asks for a connection again, and all that follow it let go of theirs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aqe_sync_core::{Error, ErrorKind, Result, Retry, StreamId};
use tokio::sync::watch;

use super::connections::lock;

/// The last delivery of each stream.
#[derive(Default)]
pub(super) struct Orders {
    last: Mutex<HashMap<StreamId, Given>>,
    count: AtomicU64,
}

/// A delivery that was given, as seen by the one after it.
#[derive(Clone)]
pub(super) struct Given {
    number: u64,
    line: Option<usize>,
    progress: watch::Receiver<Progress>,
}

/// A delivery's place behind the one before it.
pub(super) struct Order {
    number: u64,
    line: Option<usize>,
    before: Option<Given>,
    /// One of another stream that is to come first.
    after: Option<Given>,
    own: Arc<watch::Sender<Progress>>,
}

/// Keeps a delivery in mind until whoever gave it hears of its end: before that it may
/// be followed by another one, which has to fail with it.
pub(super) struct Unheard {
    _own: Arc<watch::Sender<Progress>>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It does not have a connection, or has given it up.
    Waiting,
    /// It has a connection, and, once that is known, draws this version.
    Underway(Option<i64>),
    Durable,
    /// It was dropped before it was durable.
    Failed,
}

/// What a delivery that may start begins beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: all before it is durable.
    Nothing,
    /// A delivery that draws this version, if it is known.
    Another(Option<i64>),
}

/// What a delivery has to know of the one before it before it may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// That it is durable.
    Durable,
    /// That it has a connection.
    Underway,
    /// Which version it draws.
    Version,
}

impl Orders {
    /// Whether a delivery of a stream is on its way.
    pub(super) fn any(&self, stream: &StreamId) -> bool {
        lock(&self.last).get(stream).is_some_and(Given::is_on_way)
    }

    /// Takes the place behind the last delivery of a stream. `line` is the connection of
    /// a delivery that is sent as a whole: the next one may be sent right behind it. `after`
    /// is one of another stream that it must not overtake.
    pub(super) fn join(&self, stream: &StreamId, line: Option<usize>, after: Option<Given>) -> Order {
        let own = Arc::new(watch::Sender::new(Progress::Waiting));
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut order = Order { number, line, before: None, after, own };
        order.before = lock(&self.last).insert(stream.clone(), order.given()).filter(Given::is_on_way);
        order
    }
}

impl Given {
    /// What is over, well or not, is nobody's concern any more.
    fn is_on_way(&self) -> bool {
        self.progress.has_changed().is_ok() && *self.progress.borrow() != Progress::Durable
    }
}

impl Order {
    /// As seen by those after it.
    pub(super) fn given(&self) -> Given {
        Given { number: self.number, line: self.line, progress: self.own.subscribe() }
    }

    /// To be kept until whoever gave the delivery hears of its end.
    pub(super) fn unheard(&self) -> Unheard {
        Unheard { _own: Arc::clone(&self.own) }
    }

    /// What tells this delivery from the others of its hub.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The number of the delivery that this one may be sent right behind.
    pub(super) fn in_line_behind(&self) -> Option<u64> {
        let before = self.before.as_ref().filter(|before| before.line.is_some() && before.line == self.line)?;
        Some(before.number)
    }

    /// Waits until the delivery may start.
    ///
    /// # Errors
    /// When the one before it failed: then this one must not become durable either.
    pub(super) async fn start(&self, needs: Needs) -> Result<Beside> {
        if let Some(mut after) = self.after.clone() {
            // Its connection is asked for next; whether it gets through is its own affair.
            let _ = after.progress.wait_for(|progress| *progress != Progress::Waiting).await;
        }
        let Some(mut before) = self.before.clone() else { return Ok(Beside::Nothing) };
        let known = before.progress.wait_for(|progress| match (progress, needs) {
            (Progress::Durable | Progress::Failed, _) | (Progress::Underway(_), Needs::Underway) => true,
            (Progress::Underway(version), Needs::Version) => version.is_some(),
            _ => false,
        });
        match known.await.as_deref() {
            Ok(Progress::Underway(version)) => Ok(Beside::Another(*version)),
            Ok(Progress::Durable) => Ok(Beside::Nothing),
            _ => Err(Error::new(ErrorKind::Io, "the batch before this one was not written")
                .during("writing to the hub")
                .advice("sync again: it goes on from what is there")
                .retry(Retry::Exhausted)),
        }
    }

    /// Waits until everything before it is durable; `false` if it is not going to be
    /// without giving way.
    pub(super) async fn is_next(&self) -> bool {
        let Some(mut before) = self.before.clone() else { return true };
        let over = before.progress.wait_for(|progress| !matches!(progress, Progress::Underway(_)));
        over.await.is_ok_and(|progress| *progress == Progress::Durable)
    }

    /// It has a connection; `version` is what it draws, if that is known.
    pub(super) fn underway(&self, version: Option<i64>) {
        self.own.send_replace(Progress::Underway(version));
    }

    /// It did not get through: whoever follows has to give way.
    pub(super) fn astray(&self) {
        self.own.send_replace(Progress::Waiting);
    }

    /// It got through.
    pub(super) fn durable(&self) {
        self.own.send_replace(Progress::Durable);
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        self.own.send_if_modified(|progress| {
            let failed = *progress != Progress::Durable;
            if failed {
                *progress = Progress::Failed;
            }
            failed
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn stream() -> StreamId {
        StreamId { environment: "laptop".into(), source: "memory.db".into(), stream: "patterns".into() }
    }

    #[test]
    fn the_first_delivery_waits_for_nothing() {
        let order = Orders::default().join(&stream(), None, None);
        assert_eq!(order.start(Needs::Durable).now_or_never().unwrap().unwrap(), Beside::Nothing);
        assert!(order.is_next().now_or_never().unwrap());
    }

    #[test]
    fn a_second_one_starts_beside_the_first_and_ends_behind_it() {
        let orders = Orders::default();
        let (first, second) = (orders.join(&stream(), None, None), orders.join(&stream(), None, None));
        assert!(second.start(Needs::Underway).now_or_never().is_none());
        first.underway(None);
        assert_eq!(second.start(Needs::Underway).now_or_never().unwrap().unwrap(), Beside::Another(None));
        assert!(second.start(Needs::Version).now_or_never().is_none());
        first.underway(Some(7));
        assert_eq!(second.start(Needs::Version).now_or_never().unwrap().unwrap(), Beside::Another(Some(7)));
        assert!(second.start(Needs::Durable).now_or_never().is_none());
        assert!(second.is_next().now_or_never().is_none());
        first.durable();
        assert_eq!(second.start(Needs::Durable).now_or_never().unwrap().unwrap(), Beside::Nothing);
        assert!(second.is_next().now_or_never().unwrap());
    }

    #[test]
    fn whoever_follows_one_that_went_astray_gives_way_and_starts_again_behind_it() {
        let orders = Orders::default();
        let (first, second) = (orders.join(&stream(), None, None), orders.join(&stream(), None, None));
        first.underway(Some(7));
        first.astray();
        assert!(!second.is_next().now_or_never().unwrap());
        assert!(second.start(Needs::Version).now_or_never().is_none());
        first.durable();
        assert_eq!(second.start(Needs::Version).now_or_never().unwrap().unwrap(), Beside::Nothing);
    }

    #[test]
    fn nothing_follows_one_that_failed_while_it_waited() {
        let orders = Orders::default();
        let (first, second) = (orders.join(&stream(), None, None), orders.join(&stream(), None, None));
        first.underway(Some(7));
        drop(first);
        assert!(!second.is_next().now_or_never().unwrap());
        assert!(second.start(Needs::Durable).now_or_never().unwrap().is_err());
        // A later run begins anew.
        second.underway(Some(8));
        drop(second);
        assert_eq!(
            orders.join(&stream(), None, None).start(Needs::Durable).now_or_never().unwrap().unwrap(),
            Beside::Nothing
        );
    }

    #[test]
    fn only_what_is_on_one_connection_is_sent_in_line() {
        let orders = Orders::default();
        let first = orders.join(&stream(), Some(0), None);
        assert_eq!(orders.join(&stream(), Some(0), None).in_line_behind(), Some(first.number()));
        let third = orders.join(&stream(), Some(0), None);
        assert_eq!(third.in_line_behind(), None, "the second one is gone");
        assert_eq!(orders.join(&stream(), Some(1), None).in_line_behind(), None);
        let fifth = orders.join(&stream(), None, None);
        assert_eq!(orders.join(&stream(), None, None).in_line_behind(), None);
        drop((third, fifth));
    }

    #[test]
    fn other_streams_are_not_concerned() {
        let orders = Orders::default();
        let _first = orders.join(&stream(), None, None);
        let other = orders.join(&StreamId { stream: "events".into(), ..stream() }, None, None);
        assert!(other.is_next().now_or_never().unwrap());
    }

    #[test]
    fn one_that_failed_is_followed_by_nothing_until_whoever_gave_it_has_heard() {
        let orders = Orders::default();
        let first = orders.join(&stream(), None, None);
        let unheard = first.unheard();
        drop(first);
        let second = orders.join(&stream(), None, None);
        assert!(second.start(Needs::Durable).now_or_never().unwrap().is_err());
        assert!(!second.is_next().now_or_never().unwrap());
        drop((second, unheard));
        let third = orders.join(&stream(), None, None);
        assert_eq!(third.start(Needs::Durable).now_or_never().unwrap().unwrap(), Beside::Nothing);
    }

    #[test]
    fn one_of_another_stream_is_not_overtaken_and_takes_nobody_down() {
        let orders = Orders::default();
        let first = orders.join(&stream(), None, None);
        let other = orders.join(&StreamId { stream: "events".into(), ..stream() }, None, Some(first.given()));
        assert!(other.start(Needs::Durable).now_or_never().is_none());
        first.underway(None);
        assert_eq!(other.start(Needs::Durable).now_or_never().unwrap().unwrap(), Beside::Nothing);
        first.astray();
        assert!(other.start(Needs::Durable).now_or_never().is_none());
        drop(first);
        assert_eq!(other.start(Needs::Durable).now_or_never().unwrap().unwrap(), Beside::Nothing);
    }
}
