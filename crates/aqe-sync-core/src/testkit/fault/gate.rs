//! Holding an answer back until the test lets it go, without any waiting for time to pass.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Closed at first. Clones are the same gate.
///
/// ```
/// use aqe_sync_core::testkit::Gate;
///
/// let gate = Gate::new();
/// assert_eq!(gate.arrived(), 0);
/// gate.open();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
    wakers: Vec<Waker>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything through that waits, and that comes later.
    pub fn open(&self) {
        let wakers = {
            let mut state = self.lock();
            state.open = true;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many answers have come to the gate so far.
    pub fn arrived(&self) -> usize {
        self.lock().arrived
    }

    /// Waits until an answer has come to the gate.
    pub async fn reached(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.arrived > 0 {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Comes to the gate, and waits until it is open.
    pub(super) async fn pass(&self) {
        let mut first = true;
        poll_fn(|context| {
            let mut state = self.lock();
            if std::mem::take(&mut first) {
                state.arrived += 1;
                state.wakers.drain(..).for_each(Waker::wake);
            }
            if state.open {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
