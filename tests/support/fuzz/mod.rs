//! Fuzzing without instrumentation: what parses untrusted bytes, fed with real files and with what
//! becomes of them when bytes go wrong.
//!
//! A target is a function of bytes that asserts what must hold of *every* input. Its corpus runs
//! first, unchanged; then mutations of it, until the time is up. Input number `i` follows from the
//! seed and `i` alone, so that a seed replays a run whatever the machine's speed.
//!
//! A panic, an input that takes too long, and memory that runs away fail the test; the input is kept
//! in `target/fuzz-failures/`, and the message says how to replay it.
//!
//! | variable | meaning |
//! |---|---|
//! | `AQE_FUZZ_SECONDS` | how long each target runs; 2 without it |
//! | `AQE_FUZZ_SEED` | the seed; drawn at random without it, and printed |
//! | `AQE_FUZZ_INPUT` | a file: only this input runs |
//! | `AQE_FUZZ_TRACE` | keeps every input in a file while it runs, for what ends the whole process |

mod corpus;
mod mutate;
mod watch;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use corpus::{Corpus, fixtures};
use mutate::Mutator;
use watch::{Ended, Failure, Inputs, Job, watch};

use crate::environment;

/// How far an input came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The parser refused it, as it must refuse what is no input.
    Refused,
    /// Something came out, and what must hold of it was looked at.
    Past,
}

/// So many inputs have to be expected past the parser before their number tells anything.
const TELLING: u64 = 20;

/// A function of bytes, and what a run of it must amount to.
pub struct Target {
    name: &'static str,
    corpus: Corpus,
    threads: u64,
    least: u64,
    share: u64,
    limit: Duration,
}

impl Target {
    /// Names a target and gives it its corpus.
    pub fn new(name: &'static str, corpus: Corpus) -> Self {
        Self { name, corpus, threads: 1, least: 200, share: 5, limit: Duration::from_secs(30) }
    }

    /// Runs inputs on so many threads: for targets that wait more than they work.
    #[must_use]
    pub fn threads(mut self, threads: u64) -> Self {
        self.threads = threads;
        self
    }

    /// Sets how many mutated inputs must run, however short the time; 200 unless set.
    #[must_use]
    pub fn at_least(mut self, inputs: u64) -> Self {
        self.least = inputs;
        self
    }

    /// Sets how many per cent of the mutated inputs must get past the parser; 5 unless set.
    #[must_use]
    pub fn share_past(mut self, percent: u64) -> Self {
        self.share = percent;
        self
    }

    /// Runs `check` on the corpus and on mutations of it.
    ///
    /// # Panics
    /// When an input makes it panic, hang or take all memory; when an input of the corpus is
    /// refused that should not be; and when too few inputs were run, or got past the parser.
    pub fn run(self, check: impl Fn(&[u8]) -> Reached + Send + Sync + 'static) {
        let seed = environment::read(SEED).map_or_else(drawn_seed, |text| text.parse().expect("a seed is a number"));
        let seconds = environment::read(SECONDS).map_or(2.0, |text| text.parse().expect("seconds are a number"));
        let check: Job = Arc::new(check);
        if let Some(path) = environment::read(INPUT) {
            return self.replay(&PathBuf::from(path), &check);
        }
        println!("fuzz {}: seed {seed}, {seconds} s, {} inputs in the corpus", self.name, self.corpus.len());
        assert!(!self.corpus.is_empty(), "{}: without a corpus nothing is tested", self.name);
        self.corpus_runs(seed, &check);
        let (run, past) = self.mutations_run(seed, Duration::from_secs_f64(seconds), &check);
        println!("fuzz {}: seed {seed}, {run} mutated inputs, {past} past the parser", self.name);
        assert!(run >= self.least, "{}: only {run} inputs were run, not {}", self.name, self.least);
        // Of few inputs chance says how many get past; the corpus itself always does.
        let tells = run * self.share >= 100 * TELLING;
        assert!(
            !tells || past * 100 >= run * self.share,
            "{}: {past} of {run} inputs got past the parser, fewer than {} %: the others test nothing behind it",
            self.name,
            self.share
        );
    }

    fn replay(&self, path: &Path, check: &Job) {
        let input = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let inputs: Inputs = Arc::new(move |number| (number == 0).then(|| input.clone()));
        let ended = watch(self.name, 1, self.limit, &inputs, check);
        self.report(ended.failure, 0, "");
        println!("fuzz {}: {} holds, {} past the parser", self.name, path.display(), ended.past);
    }

    fn corpus_runs(&self, seed: u64, check: &Job) {
        let corpus = self.corpus.clone();
        let inputs: Inputs = Arc::new(move |number| corpus.get(number).map(<[u8]>::to_vec));
        let ended = watch(self.name, self.threads, self.limit, &inputs, check);
        let name = ended.failure.as_ref().map(|failure| self.corpus.name(failure.number)).unwrap_or_default();
        self.report(ended.failure, seed, name);
        let refused = ended.refused.iter().filter(|number| self.corpus.must_parse(**number));
        let refused: Vec<_> = refused.map(|number| self.corpus.name(*number)).collect();
        assert!(refused.is_empty(), "{}: refused, though whole: {}", self.name, refused.join(", "));
    }

    fn mutations_run(&self, seed: u64, budget: Duration, check: &Job) -> (u64, u64) {
        let mutator = Mutator::new(self.corpus.clone(), seed);
        let (start, least) = (Instant::now(), self.least);
        let over = AtomicBool::new(false);
        let inputs: Inputs = Arc::new(move |number| {
            if number >= least && start.elapsed() >= budget {
                over.store(true, Ordering::Relaxed);
            }
            (!over.load(Ordering::Relaxed)).then(|| mutator.input(number))
        });
        let Ended { run, past, failure, .. } = watch(self.name, self.threads, self.limit, &inputs, check);
        self.report(failure, seed, "a mutation");
        (run, past)
    }

    fn report(&self, failure: Option<Failure>, seed: u64, origin: &str) {
        let Some(failure) = failure else { return };
        let path = failures().join(format!("{}-{seed}-{}", self.name, failure.number));
        let kept = fs::create_dir_all(failures()).and_then(|()| fs::write(&path, &failure.input));
        let mut text = format!(
            "{}: {}\ninput {} of seed {seed} ({origin}, {} bytes)",
            self.name,
            failure.what,
            failure.number,
            failure.input.len()
        );
        let _ = match kept {
            Ok(()) => write!(text, " is kept; replay it with\n  {INPUT}={} cargo test {}", path.display(), self.name),
            Err(error) => write!(text, " could not be kept ({error}); replay the run with {SEED}={seed}"),
        };
        panic!("{text}");
    }
}

const SECONDS: &str = "AQE_FUZZ_SECONDS";
const SEED: &str = "AQE_FUZZ_SEED";
const INPUT: &str = "AQE_FUZZ_INPUT";
const TRACE: &str = "AQE_FUZZ_TRACE";

/// Another one for every target of a process, and for every process.
fn drawn_seed() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let fresh = now.as_nanos() ^ u128::from(std::process::id()) << 32;
    (u64::try_from(fresh & u128::from(u64::MAX)).unwrap_or_default() ^ DRAWN.fetch_add(1, Ordering::Relaxed))
        % 1_000_000_000
}

/// `target/fuzz-failures`, wherever the target folder is.
fn failures() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/program
    program.ancestors().nth(3).map_or_else(std::env::temp_dir, PathBuf::from).join("fuzz-failures")
}
