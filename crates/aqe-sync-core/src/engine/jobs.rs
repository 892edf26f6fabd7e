//! Work that goes on while sources are read.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::future::{BoxFuture, RemoteHandle};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

/// Where work is started. Clones share one list.
#[derive(Clone)]
pub(super) struct Jobs<'r> {
    new: Arc<Mutex<Vec<BoxFuture<'r, ()>>>>,
    one_by_one: bool,
}

/// Work that was started, and what becomes of it.
pub(super) enum Job<T> {
    /// It is over.
    Done(T),
    /// It goes on.
    Underway(RemoteHandle<T>),
}

impl<'r> Jobs<'r> {
    /// `one_by_one` says that whoever starts work waits for its end.
    pub(super) fn new(one_by_one: bool) -> Self {
        Self { new: Arc::default(), one_by_one }
    }

    /// Starts work, and sees to it that its first step is taken now.
    pub(super) async fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'r) -> Job<T> {
        if self.one_by_one {
            return Job::Done(work.await);
        }
        let (work, handle) = work.remote_handle();
        self.new.lock().unwrap_or_else(PoisonError::into_inner).push(work.boxed());
        self.give_way().await;
        Job::Underway(handle)
    }

    /// Lets the work underway take its next steps.
    pub(super) async fn give_way(&self) {
        if self.one_by_one {
            return;
        }
        let mut waited = false;
        let once = |context: &mut std::task::Context<'_>| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        };
        poll_fn(once).await;
    }

    /// Does `main`, and all that it starts along with it. Ends with `main`, which
    /// is to wait for what it started.
    pub(super) async fn along<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let mut underway = FuturesUnordered::new();
        let step = |context: &mut std::task::Context<'_>| {
            let result = main.as_mut().poll(context);
            underway.extend(self.new.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
            while let Poll::Ready(Some(())) = underway.poll_next_unpin(context) {}
            result
        };
        poll_fn(step).await
    }
}

impl<T: 'static> Job<T> {
    /// Waits for its end.
    pub(super) async fn result(self) -> T {
        match self {
            Self::Done(result) => result,
            Self::Underway(handle) => handle.await,
        }
    }

    /// Waits for nothing: `Err` when it goes on.
    pub(super) fn try_result(self) -> Result<T, Self> {
        match self {
            Self::Done(result) => Ok(result),
            Self::Underway(mut handle) => match (&mut handle).now_or_never() {
                Some(result) => Ok(result),
                None => Err(Self::Underway(handle)),
            },
        }
    }
}
