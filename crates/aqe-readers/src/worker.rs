//! A blocking driver on a thread of its own, behind an asynchronous face.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use futures::channel::oneshot;

use crate::emit::panic_text;

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Owns a `T` on a named thread and runs jobs on it, one after the other.
///
/// Dropping the worker drops the `T` and ends the thread.
pub(crate) struct Worker<T> {
    /// Taken when the worker is dropped: an end of the jobs ends the thread.
    jobs: Option<mpsc::Sender<Job<T>>>,
    thread: Option<thread::JoinHandle<()>>,
    name: String,
}

impl<T> Drop for Worker<T> {
    /// Waits for the thread, so that a database is closed when its owner is gone.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Jobs cannot panic through: nothing to learn from the result.
            let _ = thread.join();
        }
    }
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
            Ok(thread) => Ok(Self { jobs: Some(jobs), thread: Some(thread), name: name.to_owned() }),
            Err(cause) => Err(no_thread(cause)),
        }
    }

    /// Runs a job and waits for its result. A panic becomes an error.
    pub(crate) fn call<R, F>(&self, job: F) -> impl Future<Output = Result<R>> + Send + use<T, R, F>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> Result<R> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let sent = self.send(Box::new(move |state: &mut T| {
            let result = catch_unwind(AssertUnwindSafe(|| job(state)));
            let result = result.unwrap_or_else(|panic| Err(Error::internal(panic_text(panic.as_ref()).to_owned())));
            // Whoever asked may have gone: then nobody needs the answer.
            let _ = reply.send(result);
        }));
        let name = self.name.clone();
        async move {
            let gone = || Error::internal(format!("the thread {name} is gone"));
            if !sent {
                return Err(gone());
            }
            answer.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    /// Runs a job without waiting.
    pub(crate) fn post(&self, job: impl FnOnce(&mut T) + Send + 'static) {
        // A thread that is gone has nothing left to tidy up.
        self.send(Box::new(job));
    }

    fn send(&self, job: Job<T>) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

/// The operating system refuses another thread.
pub(crate) fn no_thread(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("no thread could be started ({cause})"))
        .advice("free some memory or raise the limit on threads, then sync again")
        .retry(Retry::Later)
        .caused_by(cause)
}

/// Runs one blocking job on a thread of its own.
pub(crate) async fn run<R, F>(name: &str, job: F) -> Result<R>
where
    R: Send + 'static,
    F: FnOnce() -> Result<R> + Send + 'static,
{
    Worker::spawn(name, ())?.call(move |()| job()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_thread_there_is_advice() {
        let error = no_thread(std::io::ErrorKind::OutOfMemory.into()).to_string();
        assert!(error.contains("no thread could be started") && error.contains("raise the limit"), "{error}");
    }
}
