//! Who may send next: as many deliveries at once as the sink has lanes, and those
//! into one table in the order of their streams.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::Identifier;

/// The lanes of a sink.
pub(super) struct Lanes {
    inner: Mutex<Inner>,
}

struct Inner {
    free: usize,
    /// Bytes of the deliveries that have a lane.
    travelling: usize,
    /// Identifies places and those who wait.
    next: u64,
    /// The streams that are not through with sending, in the order in which they are read.
    line: Vec<Standing>,
    /// Who waits for [`Lanes::room`].
    room: Option<Waker>,
}

struct Standing {
    id: u64,
    table: Identifier,
    /// Bytes that wait for a lane.
    bytes: usize,
    /// Who waits for a lane: the deliveries of the stream, in their order.
    wants: VecDeque<(u64, Waker)>,
}

/// A stream's place in the line, until it is dropped.
pub(super) struct Place<'r> {
    lanes: &'r Lanes,
    id: u64,
}

/// One lane, taken until it is dropped.
pub(super) struct Lane<'r> {
    lanes: &'r Lanes,
    bytes: usize,
}

impl Lanes {
    pub(super) fn new(count: usize) -> Self {
        Self { inner: Mutex::new(Inner { free: count.max(1), travelling: 0, next: 0, line: Vec::new(), room: None }) }
    }

    /// Joins the line: whoever sends into the same table later has to wait until
    /// this place is given up.
    pub(super) fn stand(&self, table: &Identifier) -> Place<'_> {
        let mut inner = self.lock();
        let id = inner.number();
        inner.line.push(Standing { id, table: table.clone(), bytes: 0, wants: VecDeque::new() });
        Place { lanes: self, id }
    }

    /// Waits until fewer than so many bytes wait for a lane or are on one.
    pub(super) fn room(&self, bytes: usize) -> impl Future<Output = ()> + Send + '_ {
        poll_fn(move |context| {
            let mut inner = self.lock();
            let waiting: usize = inner.line.iter().map(|standing| standing.bytes).sum();
            if waiting + inner.travelling < bytes.max(1) {
                return Poll::Ready(());
            }
            inner.room = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every operation leaves the line whole, so a panic elsewhere does no harm.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The first in line that wants a lane and has nobody of its table before it.
    fn first(&self) -> Option<&Standing> {
        let before = |position: usize| &self.line[..position];
        self.line.iter().enumerate().find_map(|(position, standing)| {
            let may = !standing.wants.is_empty() && before(position).iter().all(|other| other.table != standing.table);
            may.then_some(standing)
        })
    }

    /// Something changed: tells whoever may go on now.
    fn wake(&mut self) {
        self.room.take().into_iter().for_each(Waker::wake);
        if self.free > 0
            && let Some((_, waker)) = self.first().and_then(|standing| standing.wants.front())
        {
            waker.wake_by_ref();
        }
    }

    fn at(&mut self, id: u64) -> impl Iterator<Item = &mut Standing> {
        self.line.iter_mut().filter(move |standing| standing.id == id)
    }
}

impl<'r> Place<'r> {
    /// So many bytes more wait for a lane.
    pub(super) fn load(&self, bytes: usize) {
        self.lanes.lock().at(self.id).for_each(|standing| standing.bytes += bytes);
    }

    /// So many bytes no longer wait.
    pub(super) fn unload(&self, bytes: usize) {
        let mut inner = self.lanes.lock();
        inner.at(self.id).for_each(|standing| standing.bytes = standing.bytes.saturating_sub(bytes));
        inner.wake();
    }

    /// Waits for a lane, for so many of the bytes that wait. Deliveries get theirs in
    /// the order in which they first asked.
    pub(super) async fn lane(&self, bytes: usize) -> Lane<'r> {
        let mut ticket = None;
        poll_fn(|context| {
            let mut inner = self.lanes.lock();
            let ticket = *ticket.get_or_insert_with(|| inner.number());
            inner.at(self.id).for_each(|standing| standing.want(ticket, context.waker()));
            let is_next = |first: &Standing| first.wants.front().is_some_and(|(next, _)| *next == ticket);
            if inner.free == 0 || !inner.first().is_some_and(is_next) {
                return Poll::Pending;
            }
            inner.at(self.id).for_each(|standing| {
                standing.wants.pop_front();
                standing.bytes = standing.bytes.saturating_sub(bytes);
            });
            inner.travelling += bytes;
            inner.free -= 1;
            inner.wake();
            Poll::Ready(Lane { lanes: self.lanes, bytes })
        })
        .await
    }
}

impl Standing {
    fn want(&mut self, ticket: u64, waker: &Waker) {
        match self.wants.iter_mut().find(|(other, _)| *other == ticket) {
            Some((_, known)) => known.clone_from(waker),
            None => self.wants.push_back((ticket, waker.clone())),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.lanes.lock();
        inner.line.retain(|standing| standing.id != self.id);
        inner.wake();
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let mut inner = self.lanes.lock();
        inner.free += 1;
        inner.travelling -= self.bytes;
        inner.wake();
    }
}
