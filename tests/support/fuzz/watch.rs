//! Runs inputs on threads of their own and watches them: panics, time, memory.

use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Reached, TRACE, failures};
use crate::environment;

/// A target's function.
pub(super) type Job = Arc<dyn Fn(&[u8]) -> Reached + Send + Sync>;

/// The input of a number; none when there are no more.
pub(super) type Inputs = Arc<dyn Fn(u64) -> Option<Vec<u8>> + Send + Sync>;

/// More memory than any input may make the process take.
const MOST_MEMORY: u64 = 3 << 30;

/// How often time and memory are looked at.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// What was run.
pub(super) struct Ended {
    pub(super) run: u64,
    pub(super) past: u64,
    /// The numbers of the inputs that were refused, as far as they fit.
    pub(super) refused: Vec<u64>,
    pub(super) failure: Option<Failure>,
}

/// An input that must not do what it does.
pub(super) struct Failure {
    pub(super) number: u64,
    pub(super) input: Vec<u8>,
    pub(super) what: String,
}

/// What a thread is at.
type Current = Arc<Mutex<Option<(u64, Arc<Vec<u8>>, Instant)>>>;

/// Runs all inputs, or up to the first failure. A thread that hangs is left behind.
pub(super) fn watch(name: &'static str, threads: u64, limit: Duration, inputs: &Inputs, job: &Job) -> Ended {
    quiet_panics();
    let (sender, results) = mpsc::channel();
    let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let trace = environment::read(TRACE).is_some();
    let mut at_work: Vec<Current> = Vec::new();
    for thread in 0..threads {
        let current = Current::default();
        at_work.push(Arc::clone(&current));
        let (inputs, job, next, stop, sender) =
            (Arc::clone(inputs), Arc::clone(job), Arc::clone(&next), Arc::clone(&stop), sender.clone());
        let work = move || {
            while !stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(input) = inputs(number).map(Arc::new) else { return };
                if trace {
                    let kept = fs::create_dir_all(failures());
                    let path = failures().join(format!("{name}-running-{thread}"));
                    kept.and_then(|()| fs::write(path, input.as_slice())).expect("room for the input");
                }
                set(&current, Some((number, Arc::clone(&input), Instant::now())));
                let outcome = catch_unwind(AssertUnwindSafe(|| job(&input)));
                set(&current, None);
                let outcome = outcome.map_err(|_| Failure {
                    number,
                    input: input.to_vec(),
                    what: PANIC.with_borrow_mut(std::mem::take),
                });
                if sender.send((number, outcome)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name(format!("fuzz {name}")).spawn(work).expect("a thread");
    }
    drop(sender);
    let mut ended = Ended { run: 0, past: 0, refused: Vec::new(), failure: None };
    let mut looked = Instant::now();
    loop {
        match results.recv_timeout(WATCH_EVERY) {
            Ok((number, outcome)) => {
                ended.run += 1;
                match outcome {
                    Ok(Reached::Past) => ended.past += 1,
                    Ok(Reached::Refused) if ended.refused.len() < 10_000 => ended.refused.push(number),
                    Ok(Reached::Refused) => {}
                    Err(failure) => ended.failure = Some(failure),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ended,
        }
        if looked.elapsed() >= WATCH_EVERY {
            looked = Instant::now();
            ended.failure = ended.failure.take().or_else(|| overdue(&at_work, limit));
        }
        if ended.failure.is_some() {
            stop.store(true, Ordering::Relaxed);
            return ended;
        }
    }
}

fn set(current: &Current, to: Option<(u64, Arc<Vec<u8>>, Instant)>) {
    *current.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

/// The input that has run for too long, or the oldest one if memory runs away.
fn overdue(at_work: &[Current], limit: Duration) -> Option<Failure> {
    let memory = resident_memory();
    let running = at_work.iter().filter_map(|current| current.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let (number, input, since) = running.min_by_key(|(_, _, since)| *since)?;
    let what = if since.elapsed() > limit {
        format!("it takes longer than {limit:?}")
    } else if memory > MOST_MEMORY {
        format!("the process takes {} MiB of memory", memory >> 20)
    } else {
        return None;
    };
    Some(Failure { number, input: input.to_vec(), what })
}

/// Linux says so in pages; elsewhere memory is not watched.
fn resident_memory() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the messages of expected panics to their thread: a target's, which is reported with its
/// input, and those of readers, which turn them into errors.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = thread::current();
            let name = thread.name().unwrap_or_default();
            if name.starts_with("fuzz ") {
                PANIC.set(panic.to_string());
            } else if !(name.starts_with("read ") || name.starts_with("open ")) {
                usual(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_input(job: impl Fn(&[u8]) -> Reached + Send + Sync + 'static, limit: Duration) -> Ended {
        let (inputs, job): (Inputs, Job) = (Arc::new(|number| (number < 3).then(|| vec![7])), Arc::new(job));
        watch("one", 1, limit, &inputs, &job)
    }

    #[test]
    fn a_panic_is_a_failure_with_its_input_and_place() {
        let ended = one_input(|input| panic!("met {input:?}"), Duration::from_secs(60));
        let failure = ended.failure.expect("a failure");
        assert!(failure.what.contains("met [7]") && failure.what.contains("watch.rs"), "{}", failure.what);
        assert_eq!((failure.number, failure.input), (0, vec![7]));
    }

    #[test]
    fn an_input_that_never_ends_is_a_failure() {
        let (keep, forever) = mpsc::channel::<()>();
        let forever = Mutex::new(forever);
        let hang = move |_: &[u8]| {
            let _ = forever.lock().expect("alone").recv();
            Reached::Past
        };
        let failure = one_input(hang, Duration::from_millis(60)).failure.expect("a failure");
        assert!(failure.what.contains("takes longer"), "{}", failure.what);
        drop(keep);
    }

    #[test]
    fn what_was_refused_is_told_from_what_was_not() {
        let turn = AtomicU64::new(0);
        let alternating =
            move |_: &[u8]| if turn.fetch_add(1, Ordering::Relaxed) == 1 { Reached::Refused } else { Reached::Past };
        let ended = one_input(alternating, Duration::from_secs(60));
        assert_eq!((ended.run, ended.past, ended.refused), (3, 2, vec![1]));
        assert!(ended.failure.is_none());
    }
}
