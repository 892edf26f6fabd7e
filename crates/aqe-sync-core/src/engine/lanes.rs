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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Bell {
        fn rung(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn ask<F: Future>(future: std::pin::Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
    }

    fn table(name: &str) -> Identifier {
        Identifier::new(name).expect("a name")
    }

    #[test]
    fn streams_of_one_table_take_turns_and_others_pass() {
        let lanes = Lanes::new(2);
        let (first, second, other) =
            (lanes.stand(&table("one")), lanes.stand(&table("one")), lanes.stand(&table("two")));
        let (bell, second_bell) = (Arc::default(), Arc::default());
        let mut waiting = pin!(second.lane(0));
        assert!(ask(waiting.as_mut(), &second_bell).is_pending(), "the first has not even asked yet");
        let Poll::Ready(passing) = ask(pin!(other.lane(0)), &bell) else { panic!("another table waits for nobody") };
        let Poll::Ready(_lane) = ask(pin!(first.lane(0)), &bell) else { panic!("the second lane is free") };
        drop(passing);
        assert!(ask(waiting.as_mut(), &second_bell).is_pending(), "the first is not through");
        assert_eq!(second_bell.rung(), 0, "nor told that it is");
        drop(first);
        assert_eq!(second_bell.rung(), 1);
        assert!(ask(waiting.as_mut(), &second_bell).is_ready());
    }

    #[test]
    fn deliveries_of_a_stream_leave_in_the_order_in_which_they_asked() {
        let lanes = Lanes::new(1);
        let place = lanes.stand(&table("one"));
        let (bell, bells) = (Arc::default(), [Arc::<Bell>::default(), Arc::default()]);
        let Poll::Ready(taken) = ask(pin!(place.lane(0)), &bell) else { panic!("a lane is free") };
        let (mut one, mut two) = (pin!(place.lane(0)), pin!(place.lane(0)));
        assert!(ask(one.as_mut(), &bells[0]).is_pending());
        assert!(ask(two.as_mut(), &bells[1]).is_pending());
        place.unload(0);
        assert_eq!(bells.each_ref().map(|bell| bell.rung()), [0, 0], "nobody is woken for nothing");
        drop(taken);
        assert_eq!(bells.each_ref().map(|bell| bell.rung()), [1, 0]);
        assert!(ask(two.as_mut(), &bells[1]).is_pending());
        let Poll::Ready(lane) = ask(one.as_mut(), &bells[0]) else { panic!("it is its turn") };
        assert!(ask(two.as_mut(), &bells[1]).is_pending(), "the only lane is taken");
        drop(lane);
        assert!(ask(two.as_mut(), &bells[1]).is_ready());
    }

    #[test]
    fn there_is_room_while_less_than_that_waits_or_travels() {
        let lanes = Lanes::new(1);
        let place = lanes.stand(&table("one"));
        let bell = Arc::<Bell>::default();
        let mut room = pin!(lanes.room(10));
        place.load(16);
        assert!(ask(room.as_mut(), &bell).is_pending());
        place.unload(6);
        assert_eq!(bell.rung(), 1, "it is told of what no longer waits");
        assert!(ask(room.as_mut(), &bell).is_pending(), "as much as that is too much");
        let Poll::Ready(lane) = ask(pin!(place.lane(9)), &bell) else { panic!("a lane is free") };
        assert_eq!(bell.rung(), 2);
        assert!(ask(room.as_mut(), &bell).is_pending(), "what travels counts, too");
        drop(lane);
        assert!(ask(room.as_mut(), &bell).is_ready(), "one waits");
        place.load(9);
        assert!(ask(pin!(lanes.room(10)), &bell).is_pending());
        drop(place);
        assert!(ask(pin!(lanes.room(0)), &bell).is_ready(), "a limit of nothing lets one through");
    }
}
