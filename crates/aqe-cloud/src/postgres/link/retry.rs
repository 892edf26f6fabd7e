//! Tries again where that can help, and not for ever.

use std::time::Duration;

use aqe_sync_core::{Error, Result, Retry};
use tokio::time::Instant;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);

/// How much trying is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How often the operation may be tried, the first time included.
    pub attempts: u32,
    /// After how long no new attempt begins.
    pub time: Duration,
}

impl Default for Budget {
    /// Six attempts within half a minute.
    fn default() -> Self {
        Self { attempts: 6, time: Duration::from_secs(30) }
    }
}

/// Runs an operation until it succeeds, fails for a reason that no retry mends, or the budget is
/// used up; then the error is marked [`Retry::Exhausted`].
///
/// The operation must be one that may be run twice: a transaction from its `BEGIN`, on a connection
/// that it opens itself if the last one broke. Between attempts it waits with jitter: about 100 ms,
/// then twice as long each time, 5 s at most.
///
/// # Errors
/// The last attempt's.
pub async fn retry<T, F>(budget: Budget, mut operation: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let begin = Instant::now();
    let mut attempt = 1;
    loop {
        let error = match operation().await {
            Err(error) if error.can_retry() == Retry::Later => error,
            settled => return settled,
        };
        let wait = pause(attempt, fastrand::f64());
        if attempt >= budget.attempts || begin.elapsed() + wait >= budget.time {
            return Err(exhausted(error, attempt));
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

fn exhausted(error: Error, attempts: u32) -> Error {
    error.retry(Retry::Exhausted).context("attempts", attempts)
}

/// Between half of the step and all of it: `chance` is from 0 to 1.
fn pause(attempt: u32, chance: f64) -> Duration {
    let step = BASE.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(CAP);
    step.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use aqe_sync_core::ErrorKind;

    use super::*;

    fn passing() -> Error {
        Error::new(ErrorKind::Io, "the link broke").retry(Retry::Later)
    }

    /// Returns the result and when, in milliseconds, each attempt began.
    async fn run(budget: Budget, fail: impl Fn(usize) -> Option<Error>) -> (Result<usize>, Vec<u128>) {
        let start = Instant::now();
        let begun = RefCell::new(Vec::new());
        let result = retry(budget, || {
            begun.borrow_mut().push(start.elapsed().as_millis());
            let number = begun.borrow().len();
            let outcome = fail(number).map_or(Ok(number), Err);
            async move { outcome }
        });
        (result.await, begun.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_until_it_has_passed() {
        let (result, begun) = run(Budget::default(), |number| (number < 4).then(passing)).await;
        assert_eq!(result.expect("it passed"), 4);
        assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= 50), "{begun:?}");
        assert!(begun[3] <= 703, "100, 200 and 400 ms at most, and the clock's grain: {begun:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_tried_once() {
        let (result, begun) = run(Budget::default(), |_| Some(passing().retry(Retry::Never))).await;
        assert_eq!(result.expect_err("never").can_retry(), Retry::Never);
        assert_eq!(begun.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempts_are_counted_and_the_last_error_says_so() {
        let (result, begun) = run(Budget { attempts: 3, ..Budget::default() }, |_| Some(passing())).await;
        let error = result.expect_err("used up");
        assert_eq!((error.can_retry(), begun.len()), (Retry::Exhausted, 3));
        assert!(error.to_string().contains("attempts: 3"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_begins_after_the_time_is_up() {
        let budget = Budget { attempts: 1_000, time: Duration::from_secs(20) };
        let (result, begun) = run(budget, |_| Some(passing())).await;
        assert_eq!(result.expect_err("used up").can_retry(), Retry::Exhausted);
        assert!(begun.iter().all(|begun| *begun < 20_000), "{begun:?}");
        assert!(begun.len() > 6, "the steps stop growing at 5 s: {begun:?}");
    }

    #[test]
    fn pauses_double_up_to_a_cap_and_vary_by_half() {
        let millis = |attempt, chance| pause(attempt, chance).as_millis();
        assert_eq!((millis(1, 1.0), millis(2, 1.0), millis(3, 1.0)), (100, 200, 400));
        assert_eq!((millis(1, 0.0), millis(9, 0.0), millis(u32::MAX, 1.0)), (50, 2_500, 5_000));
    }
}
