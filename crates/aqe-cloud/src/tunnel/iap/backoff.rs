//! How long to wait before the relay is asked again.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause; each further one is a tenth longer.
const FIRST: Duration = Duration::from_millis(1_500);
const LONGEST: Duration = Duration::from_secs(20);
/// After so long without success it is over.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The pauses between attempts that follow each other without success.
#[derive(Debug)]
pub(super) struct Backoff {
    begun: Instant,
    patience: Duration,
    step: Duration,
}

impl Backoff {
    /// Begins now, and lasts as long as Google's own client tries.
    pub(super) fn new() -> Self {
        Self::within(PATIENCE)
    }

    /// Begins now, and lasts so long.
    pub(super) fn within(patience: Duration) -> Self {
        Self { begun: Instant::now(), patience, step: FIRST }
    }

    /// Returns the next pause; `None` when it would end after the patience has.
    /// `chance`, from 0 to 1, takes off up to a tenth, so that many clients do not come at once.
    pub(super) fn next(&mut self, chance: f64) -> Option<Duration> {
        let pause = self.step.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 10.0);
        self.step = self.step.mul_f64(1.1).min(LONGEST);
        (self.begun.elapsed() + pause < self.patience).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_by_a_tenth_from_one_and_a_half_to_twenty_seconds_for_fifteen_minutes() {
        let (mut backoff, begun) = (Backoff::new(), Instant::now());
        let mut pauses = Vec::new();
        while let Some(pause) = backoff.next(0.0) {
            pauses.push(pause);
            tokio::time::advance(pause).await;
        }
        assert_eq!(pauses[0], Duration::from_millis(1_500));
        assert_eq!(pauses[1], Duration::from_millis(1_650));
        assert_eq!(pauses.last(), Some(&LONGEST));
        let total = begun.elapsed();
        assert!(total < PATIENCE && total + LONGEST > PATIENCE, "{total:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn chance_makes_a_pause_shorter_by_a_tenth_at_most() {
        assert_eq!(Backoff::new().next(1.0), Some(Duration::from_millis(1_350)));
        assert_eq!(Backoff::within(Duration::from_secs(1)).next(1.0), None, "no pause beyond the patience");
    }
}
