//! Faults on demand: what breaks, where, and whether it did.

mod gate;
mod sink;
mod source;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

pub use gate::Gate;
pub use sink::{FaultySink, FaultyTxn, SinkStep};
pub use source::{FaultySource, SourceStep};

use crate::{Error, ErrorKind, Result, Retry};

/// How a step goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails before it has any effect.
    Reject,
    /// It takes effect, then fails: a lost acknowledgement. Of a reading, the batch
    /// arrives and an error follows.
    FailAfterWrite,
    /// It takes effect, and answers when the test opens the gate.
    HoldResponse(Gate),
    /// It takes effect, and answers after it gave way to others so many times.
    Slow(usize),
    /// Half of the batch takes effect, then the link is cut. Of a reading, half of the
    /// records arrive, and then nothing more. Where there is no batch: as [`Self::Reject`].
    CutMidBatch,
}

/// What a step has to do besides its own work.
enum Duty {
    None,
    Reject,
    FailAfter,
    Wait(Gate),
    GiveWay(usize),
    Cut,
}

#[derive(Debug)]
struct Planned<P> {
    step: P,
    /// So many steps of this kind still go well.
    spare: usize,
    fault: Fault,
}

/// The faults that a wrapper has in store; clones share them.
#[derive(Debug)]
struct Faults<P>(Arc<Mutex<State<P>>>);

#[derive(Debug)]
struct State<P> {
    planned: Vec<Planned<P>>,
    fired: usize,
}

/// Something with faults at its steps: see [`FaultySink`] and [`FaultySource`].
#[derive(Debug)]
pub struct Faulty<T, P> {
    inner: T,
    faults: Faults<P>,
}

impl<T, P: Copy + PartialEq + fmt::Debug + Sync> Faulty<T, P> {
    /// Wraps it; no fault is planned.
    pub fn new(inner: T) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// Lets a step go wrong once, after `spare` more of its kind went well.
    pub fn inject(&self, step: P, spare: usize, fault: Fault) {
        self.faults.plan(step, spare, fault);
    }

    /// How many faults have struck. Assert it: a fault that never struck tested nothing.
    pub fn fired(&self) -> usize {
        self.faults.fired()
    }

    /// How many faults have not struck yet.
    pub fn waiting(&self) -> usize {
        self.faults.waiting()
    }

    /// What is wrapped.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<P> Clone for Faults<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> Default for Faults<P> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { planned: Vec::new(), fired: 0 })))
    }
}

impl<P: Copy + PartialEq + fmt::Debug + Sync> Faults<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, step: P, spare: usize, fault: Fault) {
        self.lock().planned.push(Planned { step, spare, fault });
    }

    fn fired(&self) -> usize {
        self.lock().fired
    }

    fn waiting(&self) -> usize {
        self.lock().planned.len()
    }

    fn waits_at(&self, steps: &[P]) -> bool {
        self.lock().planned.iter().any(|planned| steps.contains(&planned.step))
    }

    /// The fault whose turn it is, if any. It counts as fired.
    fn at(&self, step: P) -> Duty {
        let mut state = self.lock();
        let mut due = None;
        for (position, planned) in state.planned.iter_mut().enumerate().filter(|(_, planned)| planned.step == step) {
            match planned.spare.checked_sub(1) {
                Some(spare) => planned.spare = spare,
                None => due = due.or(Some(position)),
            }
        }
        let Some(position) = due else { return Duty::None };
        state.fired += 1;
        match state.planned.remove(position).fault {
            Fault::Reject => Duty::Reject,
            Fault::FailAfterWrite => Duty::FailAfter,
            Fault::HoldResponse(gate) => Duty::Wait(gate),
            Fault::Slow(times) => Duty::GiveWay(times),
            Fault::CutMidBatch => Duty::Cut,
        }
    }

    /// Runs a step that has no batch to cut.
    async fn around<T>(&self, step: P, work: impl Future<Output = Result<T>>) -> Result<T> {
        let duty = self.at(step);
        if matches!(duty, Duty::Reject | Duty::Cut) {
            return Err(injected(&step));
        }
        let result = work.await;
        duty.afterwards(&step, result).await
    }
}

impl Duty {
    /// What is left to do when the step has taken effect.
    async fn afterwards<T>(self, step: &(impl fmt::Debug + Sync), result: Result<T>) -> Result<T> {
        match self {
            Self::FailAfter | Self::Cut => result.and(Err(injected(step))),
            Self::Wait(gate) => {
                gate.pass().await;
                result
            }
            Self::GiveWay(times) => {
                give_way(times).await;
                result
            }
            Self::None | Self::Reject => result,
        }
    }
}

fn injected(step: &impl fmt::Debug) -> Error {
    Error::new(ErrorKind::Io, format!("injected fault at {step:?}")).retry(Retry::Later)
}

/// Lets others run, so many times, and takes no time itself.
pub(super) async fn give_way(times: usize) {
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
