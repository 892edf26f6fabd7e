//! What a daemon does next: a function of the time and of what happened, without a clock.
//!
//! Times are those of the wall clock, which goes on while a machine sleeps: what was missed
//! meanwhile is made up for once. Where the clock is set back, nothing waits for it to catch up.

use std::time::Duration;

use chrono::{DateTime, TimeZone};
use fastrand::Rng;

use super::schedule::Schedule;

/// After a failure, the first retry comes that soon, or with the schedule if that is sooner.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// Retries never become rarer than this, or than the schedule.
const RAREST_RETRY: Duration = Duration::from_secs(3_600);
/// A burst of changes is not waited out for longer than so many times the debounce.
const BURST: u32 = 10;

/// How a daemon is set up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// When syncs are due.
    pub(crate) schedule: Schedule,
    /// Each due time is late by a random part of this, so that not all machines come at once.
    pub(crate) jitter: Duration,
    /// So long after a file's last change it is synced; `None` where only the schedule counts.
    pub(crate) debounce: Option<Duration>,
}

/// Why a sync is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The daemon began.
    Start,
    /// It was due.
    Schedule,
    /// A source changed.
    Change,
    /// The last one failed.
    Retry,
}

impl Reason {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Schedule => "schedule",
            Self::Change => "change",
            Self::Retry => "retry",
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin a sync.
    Run(Reason),
    /// Nothing before that much time has passed, unless something happens.
    Wait(Duration),
}

/// Where a daemon stands.
pub(crate) struct Pace<Tz: TimeZone> {
    plan: Plan,
    random: Rng,
    anchor: DateTime<Tz>,
    due: DateTime<Tz>,
    reason: Reason,
    running: bool,
    /// When files changed first and last since the last sync began.
    changed: Option<(DateTime<Tz>, DateTime<Tz>)>,
    /// Failures one after the other.
    failures: u32,
}

impl<Tz: TimeZone> Pace<Tz> {
    /// Begins, with a sync at once.
    pub(crate) fn new(plan: Plan, now: &DateTime<Tz>, random: Rng) -> Self {
        let (anchor, due) = (now.clone(), now.clone());
        Self { plan, random, anchor, due, reason: Reason::Start, running: false, changed: None, failures: 0 }
    }

    /// Goes on by another plan.
    pub(crate) fn set(&mut self, plan: Plan, now: &DateTime<Tz>) {
        if plan == self.plan {
            return;
        }
        (self.plan, self.anchor) = (plan, now.clone());
        if self.reason != Reason::Start {
            self.schedule(now);
        }
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: &DateTime<Tz>) -> Step {
        if self.running {
            return Step::Wait(Duration::MAX);
        }
        // Further away than any plan would have it: the clock was set back.
        let furthest = self.plan.schedule.interval(now).max(RAREST_RETRY) * 2 + self.plan.jitter;
        if until(&self.due, now) > furthest {
            self.anchor = now.clone();
            self.schedule(now);
        }
        let (when, reason) = match self.settled().filter(|when| *when < self.due && self.failures == 0) {
            Some(when) => (when, Reason::Change),
            None => (self.due.clone(), self.reason),
        };
        let wait = until(&when, now);
        if wait.is_zero() { Step::Run(reason) } else { Step::Wait(wait) }
    }

    /// When changes will have come to rest, or have gone on for long enough.
    fn settled(&self) -> Option<DateTime<Tz>> {
        let (first, last) = self.changed.as_ref()?;
        let debounce = self.plan.debounce?;
        let rest = later(last, debounce);
        Some(rest.min(later(first, debounce * BURST)))
    }

    /// A sync has begun.
    pub(crate) fn begun(&mut self) {
        self.running = true;
        self.changed = None;
    }

    /// It ended: well (in part too), or in failure.
    pub(crate) fn ended(&mut self, now: &DateTime<Tz>, well: bool) {
        self.running = false;
        if well {
            self.failures = 0;
            self.schedule(now);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let first = self.plan.schedule.interval(now).min(FIRST_RETRY);
        let longest = self.plan.schedule.interval(now).max(RAREST_RETRY);
        let wait = first.saturating_mul(1 << (self.failures - 1).min(20)).min(longest);
        self.reason = Reason::Retry;
        self.due = later(now, wait + self.jittered(wait / 10));
    }

    /// A source changed.
    pub(crate) fn changed(&mut self, now: &DateTime<Tz>) {
        let first = self.changed.as_ref().map_or_else(|| now.clone(), |(first, _)| first.clone());
        // A first change in the future is one from before the clock was set back.
        self.changed = Some((first.min(now.clone()), now.clone()));
    }

    fn schedule(&mut self, now: &DateTime<Tz>) {
        self.reason = Reason::Schedule;
        // A clock that was set back left its anchor in the future.
        self.anchor = self.anchor.clone().min(now.clone());
        let due = self.plan.schedule.after(now, &self.anchor);
        self.due = later(&due, self.jittered(self.plan.jitter));
    }

    fn jittered(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }
}

/// How long it is until a moment; nothing when it is past.
fn until<Tz: TimeZone>(moment: &DateTime<Tz>, now: &DateTime<Tz>) -> Duration {
    moment.clone().signed_duration_since(now).to_std().unwrap_or_default()
}

fn later<Tz: TimeZone>(moment: &DateTime<Tz>, by: Duration) -> DateTime<Tz> {
    let by = chrono::Duration::from_std(by).unwrap_or(chrono::Duration::MAX);
    moment.clone().checked_add_signed(by).unwrap_or_else(|| moment.clone())
}

#[cfg(test)]
mod tests {
    use chrono_tz::{Europe::Berlin, Tz};

    use super::*;

    fn at(text: &str) -> DateTime<Tz> {
        let naive = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect("a moment");
        Berlin.from_local_datetime(&naive).earliest().expect("it exists")
    }

    fn plan(schedule: &str, jitter: u64, debounce: u64) -> Plan {
        Plan {
            schedule: Schedule::parse(schedule).expect("a schedule"),
            jitter: Duration::from_secs(jitter),
            debounce: Some(Duration::from_secs(debounce)),
        }
    }

    fn seconds(count: u64) -> chrono::Duration {
        chrono::Duration::seconds(i64::try_from(count).expect("few"))
    }

    /// A daemon in simulated time.
    struct World {
        pace: Pace<Tz>,
        now: DateTime<Tz>,
        runs: Vec<(DateTime<Tz>, Reason)>,
    }

    impl World {
        fn new(plan: Plan, now: &str) -> Self {
            let now = at(now);
            Self { pace: Pace::new(plan, &now, Rng::with_seed(7)), now, runs: Vec::new() }
        }

        /// Goes on until then; each sync takes so many seconds and ends well where `well` says so.
        fn until(&mut self, end: &str, takes: u64, well: impl Fn(&DateTime<Tz>) -> bool) {
            let end = at(end);
            loop {
                match self.pace.next(&self.now) {
                    Step::Run(reason) => {
                        self.runs.push((self.now, reason));
                        self.pace.begun();
                        assert_eq!(self.pace.next(&self.now), Step::Wait(Duration::MAX), "no two at once");
                        self.now += seconds(takes);
                        let well = well(&self.now);
                        self.pace.ended(&self.now, well);
                    }
                    Step::Wait(wait) => {
                        assert!(!wait.is_zero());
                        let next = later(&self.now, wait);
                        if next > end {
                            self.now = end;
                            return;
                        }
                        self.now = next;
                    }
                }
            }
        }

        fn times(&self) -> Vec<String> {
            self.runs.iter().map(|(moment, _)| moment.format("%H:%M:%S").to_string()).collect()
        }
    }

    #[test]
    fn due_times_do_not_drift_however_long_syncs_take() {
        let mut world = World::new(plan("5m", 0, 5), "2026-06-01 12:00:00");
        world.until("2026-06-01 12:21:00", 100, |_| true);
        assert_eq!(world.times(), ["12:00:00", "12:05:00", "12:10:00", "12:15:00", "12:20:00"]);
        assert_eq!(world.runs[0].1, Reason::Start);
        assert!(world.runs[1..].iter().all(|(_, reason)| *reason == Reason::Schedule));
        // Longer than the interval: what was missed is left out, and none overlap.
        let mut world = World::new(plan("5m", 0, 5), "2026-06-01 12:00:00");
        world.until("2026-06-01 12:31:00", 420, |_| true);
        assert_eq!(world.times(), ["12:00:00", "12:10:00", "12:20:00", "12:30:00"]);
    }

    #[test]
    fn jitter_makes_each_late_by_less_than_it_says_and_adds_nothing_up() {
        let mut world = World::new(plan("10m", 60, 5), "2026-06-01 12:00:00");
        world.until("2026-06-03 12:00:00", 1, |_| true);
        assert_eq!(world.runs.len(), 288);
        let late: Vec<i64> = world.runs.iter().skip(1).map(|(moment, _)| moment.timestamp() % 600).collect();
        assert!(late.iter().all(|late| *late < 60), "{late:?}");
        assert!(late.iter().max() > Some(&45) && late.iter().min() < Some(&15), "{late:?}");
    }

    #[test]
    fn what_was_missed_while_the_machine_slept_is_made_up_for_once() {
        let mut world = World::new(plan("5m", 0, 5), "2026-06-01 12:00:00");
        world.until("2026-06-01 12:06:00", 1, |_| true);
        world.now = at("2026-06-02 09:02:30");
        world.runs.clear();
        world.until("2026-06-02 09:11:00", 1, |_| true);
        assert_eq!(world.times(), ["09:02:30", "09:05:00", "09:10:00"]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait_for_it() {
        let mut world = World::new(plan("5m", 0, 5), "2026-06-10 12:00:00");
        world.until("2026-06-10 12:01:00", 1, |_| true);
        world.now = at("2026-06-01 08:00:00");
        world.runs.clear();
        world.until("2026-06-01 08:11:00", 1, |_| true);
        assert_eq!(world.times(), ["08:05:00", "08:10:00"]);
    }

    #[test]
    fn a_cron_expression_follows_the_clock_of_the_place_through_its_changes() {
        // At 02:00 it became 03:00.
        let mut world = World::new(plan("30 2 * * *", 0, 5), "2026-03-27 12:00:00");
        world.until("2026-03-31 12:00:00", 1, |_| true);
        let days: Vec<String> = world.runs.iter().map(|(moment, _)| moment.format("%d %H:%M").to_string()).collect();
        assert_eq!(days.len(), 5, "once a day, and at the start: {days:?}");
        assert_eq!((days[1].as_str(), days[3].as_str()), ("28 02:30", "30 02:30"));
        // At 03:00 it became 02:00: half past two came twice.
        let mut world = World::new(plan("30 2 * * *", 0, 5), "2026-10-24 12:00:00");
        world.until("2026-10-26 12:00:00", 1, |_| true);
        let days: Vec<String> = world.runs.iter().map(|(moment, _)| moment.format("%d %H:%M").to_string()).collect();
        assert_eq!(days, ["24 12:00", "25 02:30", "26 02:30"]);
        // An interval is a span of real time: an hour more of it that day.
        let mut world = World::new(plan("1h", 0, 5), "2026-10-25 00:00:00");
        world.until("2026-10-25 23:59:00", 1, |_| true);
        assert_eq!(world.runs.len(), 25);
        let mut world = World::new(plan("*/15 * * * *", 0, 5), "2026-03-29 00:00:00");
        world.until("2026-03-29 23:59:00", 1, |_| true);
        assert_eq!(world.runs.len(), 23 * 4);
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_the_schedule_comes_back_with_success() {
        let mut world = World::new(plan("5m", 0, 5), "2026-06-01 00:00:00");
        let back = at("2026-06-02 00:00:00");
        world.until("2026-06-02 01:30:00", 1, |now| *now >= back);
        let failed: Vec<_> = world.runs.iter().filter(|(moment, _)| *moment < back).collect();
        assert!((25..45).contains(&failed.len()), "{} in a day", failed.len());
        let apart: Vec<i64> = failed.windows(2).map(|two| (two[1].0 - two[0].0).num_seconds()).collect();
        assert!(apart[0] >= 60 && apart[0] < 70, "{apart:?}");
        assert!(apart.windows(2).take(5).all(|two| two[1] > two[0]), "{apart:?}");
        assert!(apart.iter().all(|apart| *apart <= 3_600 * 11 / 10 + 2), "{apart:?}");
        assert!(failed[1..].iter().all(|(_, reason)| *reason == Reason::Retry));
        let after: Vec<_> = world.runs.iter().skip_while(|(moment, _)| *moment < back).collect();
        assert_eq!(after[0].1, Reason::Retry);
        assert!(after.len() >= 6 && after[1..].iter().all(|(moment, _)| moment.timestamp() % 300 == 0), "{after:?}");
    }

    #[test]
    fn changes_are_synced_when_they_have_come_to_rest_and_a_burst_is_not_waited_out() {
        let mut world = World::new(plan("1h", 0, 5), "2026-06-01 12:00:00");
        world.until("2026-06-01 12:10:00", 1, |_| true);
        for second in [0, 3, 6] {
            world.now = at("2026-06-01 12:10:00") + seconds(second);
            world.pace.changed(&world.now);
            assert!(matches!(world.pace.next(&world.now), Step::Wait(wait) if wait == Duration::from_secs(5)));
        }
        world.until("2026-06-01 12:30:00", 1, |_| true);
        assert_eq!(world.times(), ["12:00:00", "12:10:11"]);
        assert_eq!(world.runs[1].1, Reason::Change);
        // Once a second, for minutes.
        let mut times = Vec::new();
        for second in 0..200 {
            world.now = at("2026-06-01 12:40:00") + seconds(second);
            world.pace.changed(&world.now);
            if let Step::Run(reason) = world.pace.next(&world.now) {
                assert_eq!(reason, Reason::Change);
                times.push(second);
                world.pace.begun();
                world.pace.ended(&world.now, true);
            }
        }
        assert_eq!(times, [50, 101, 152]);
    }

    #[test]
    fn a_change_does_not_hurry_what_fails_and_one_during_a_sync_is_not_lost() {
        let mut world = World::new(plan("1h", 0, 5), "2026-06-01 12:00:00");
        world.until("2026-06-01 12:00:30", 1, |_| false);
        world.pace.changed(&world.now);
        assert!(matches!(world.pace.next(&world.now), Step::Wait(wait) if wait > Duration::from_secs(20)));
        world.until("2026-06-01 12:05:00", 1, |_| true);
        world.runs.clear();
        world.pace.changed(&world.now);
        world.until("2026-06-01 12:05:05", 1, |_| true);
        // Begins, and while it runs a file changes.
        world.pace.begun();
        world.pace.changed(&world.now);
        world.pace.ended(&world.now, true);
        world.until("2026-06-01 12:30:00", 1, |_| true);
        assert_eq!(world.runs.last().map(|(_, reason)| *reason), Some(Reason::Change));
    }

    #[test]
    fn another_plan_is_followed_from_then_on() {
        let mut world = World::new(plan("1h", 0, 5), "2026-06-01 12:00:00");
        world.until("2026-06-01 12:10:00", 1, |_| true);
        let now = world.now;
        world.pace.set(plan("5m", 0, 5), &now);
        world.until("2026-06-01 12:21:00", 1, |_| true);
        assert_eq!(world.times(), ["12:00:00", "12:15:00", "12:20:00"]);
        let now = world.now;
        world.pace.set(plan("5m", 0, 5), &now);
        world.until("2026-06-01 12:26:00", 1, |_| true);
        assert_eq!(world.times().last().map(String::as_str), Some("12:25:00"), "the same plan moves nothing");
    }
}
