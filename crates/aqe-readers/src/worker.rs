//! A blocking driver on a thread of its own, behind an asynchronous face.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use aqe_sync_core::{Error, ErrorKind, Result};
use futures::channel::oneshot;

use crate::emit::panic_text;

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Owns a `T` on a named thread and runs jobs on it, one after the other.
///
/// The thread ends, and the `T` is dropped, when the worker is dropped.
pub(crate) struct Worker<T> {
    jobs: mpsc::Sender<Job<T>>,
    name: String,
}

impl<T: Send + 'static> Worker<T> {
    pub(crate) fn spawn(name: &str, mut state: T) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job<T>>();
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in queue {
                job(&mut state);
            }
        });
        match spawned {
            Ok(_) => Ok(Self { jobs, name: name.to_owned() }),
            Err(cause) => Err(Error::new(ErrorKind::Io, "no thread could be started").caused_by(cause)),
        }
    }

    /// Runs a job and waits for its result. A panic becomes an error.
    pub(crate) fn call<R, F>(&self, job: F) -> impl Future<Output = Result<R>> + Send + use<T, R, F>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> Result<R> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.send(Box::new(move |state| {
            let result = catch_unwind(AssertUnwindSafe(|| job(state)));
            let result = result.unwrap_or_else(|panic| Err(Error::internal(panic_text(panic.as_ref()).to_owned())));
            // Whoever asked may have gone: then nobody needs the answer.
            let _ = reply.send(result);
        }));
        let name = self.name.clone();
        async move {
            let gone = || Error::internal(format!("the thread {name} is gone"));
            sent.map_err(|_| gone())?;
            answer.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    /// Runs a job without waiting.
    pub(crate) fn post(&self, job: impl FnOnce(&mut T) + Send + 'static) {
        // A thread that is gone has nothing left to tidy up.
        let _ = self.jobs.send(Box::new(job));
    }
}

/// Runs one blocking job on a thread of its own.
pub(crate) async fn run<R, F>(name: &str, job: F) -> Result<R>
where
    R: Send + 'static,
    F: FnOnce() -> Result<R> + Send + 'static,
{
    Worker::spawn(name, ())?.call(move |()| job()).await
}
