//! `aqe-sync watch`: syncs again and again, until it is told to stop.
//!
//! [`pace`] decides when, [`files`] says what changed, [`job`] runs one sync as a process of its
//! own. Here is what holds them together: events, and what is said.

mod alerting;
mod files;
mod job;
mod metrics;
pub(crate) mod pace;
pub(crate) mod schedule;
mod service;
mod trouble;

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use aqe_readers::RunLock;
use chrono::{DateTime, Local};

use crate::args::{Global, WatchFlags};
use crate::command::Context;
use crate::config::{Settings, watch};
use crate::exit::{Exit, Failure};
use crate::output::plain;
use crate::project;
use files::Files;
use job::{Job, Outcome};
use pace::{Pace, Plan, Reason, Step};
use schedule::Schedule;
use service::State;
use trouble::Trouble;

/// Files are looked at so often.
const LOOK: Duration = Duration::from_secs(2);
/// The clock is looked at so often: a machine that slept does not tell.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A sync that is told to end has so long.
const GRACE: Duration = Duration::from_secs(30);

/// What happens to a daemon.
#[derive(Debug)]
enum Event {
    /// It is to stop.
    Stop,
    /// It is to read its configuration again.
    Reload,
    /// The sync has ended.
    Ended,
    /// Whoever is to be told was.
    Told,
}

/// Watches until a signal says to stop.
///
/// # Errors
/// When another one watches this project, or the configuration is wrong.
pub(crate) fn run(
    context: &Context<'_>,
    flags: &WatchFlags,
    global: &Global,
    load: &dyn Fn() -> Result<Settings, Failure>,
) -> Result<Exit, Failure> {
    let root = &context.settings.root.value;
    crate::hub::check(context.settings)?;
    context.settings.monitor.rules()?;
    project::create_state_folder(root)?;
    let lock = root.join(project::STATE_FOLDER).join("watch.lock");
    let _lock = RunLock::acquire(&lock, "aqe-sync watch", Duration::ZERO, &mut |_| ())?;
    let (sender, events) = channel();
    signals(sender.clone())?;
    let wanted = Wanted::of(context.settings, flags)?;
    let page = served(context.settings, flags, global)?;
    let now = Local::now();
    let mut files = Files::default();
    files.find(root);
    let mut daemon = Daemon {
        pace: Pace::new(wanted.plan.clone(), &now, fastrand::Rng::new()),
        settings: context.settings.clone(),
        wanted,
        flags,
        global,
        sender,
        files,
        looked: Instant::now(),
        job: None,
        alerting: None,
        trouble: Trouble::default(),
        page,
    };
    service::tell(State::Ready);
    tracing::info!(root = %root.display(), hub = daemon.settings.hub_shown(), interval = %daemon.wanted.plan.schedule, "watching");
    daemon.watch(&events, load);
    Ok(Exit::Ok)
}

/// How the daemon is to go about it: what its flags say, else its configuration.
struct Wanted {
    plan: Plan,
    bidirectional: bool,
    limit: Duration,
}

impl Wanted {
    fn of(settings: &Settings, flags: &WatchFlags) -> Result<Self, Failure> {
        let mut layer = settings.watch.clone();
        if let Some(text) = &flags.interval {
            let schedule =
                Schedule::parse(text).map_err(|error| Failure::usage(format!("flag --interval: {error}")))?;
            layer.interval = Some(crate::config::Setting::new(schedule, crate::config::Origin::Flag("--interval")));
        }
        Ok(Self {
            plan: layer.plan(),
            bidirectional: flags.bidirectional || layer.is_bidirectional(),
            limit: layer.limit(),
        })
    }
}

/// Begins to serve metrics, if that is wanted.
fn served(settings: &Settings, flags: &WatchFlags, global: &Global) -> Result<Option<Arc<metrics::Page>>, Failure> {
    let address = match &flags.metrics {
        Some(text) => Some(watch::address(text).map_err(|error| Failure::usage(format!("flag --metrics: {error}")))?),
        None => settings.watch.metrics.as_ref().map(|address| address.value),
    };
    let Some(address) = address else { return Ok(None) };
    let mut command = job::program(settings, global)?;
    command.args(["status", "--prometheus"]);
    let page = Arc::new(metrics::Page::of(command));
    let bound = metrics::serve(address, Arc::clone(&page))?;
    tracing::info!("metrics at http://{bound}/metrics");
    Ok(Some(page))
}

#[cfg(unix)]
fn signals(sender: Sender<Event>) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |error: std::io::Error| Failure::failed(format!("cannot listen to signals: {error}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let listen = move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop).map_err(failed)
}

/// Elsewhere a process that is ended ends; what it did not commit is rolled back.
#[cfg(not(unix))]
fn signals(_: Sender<Event>) -> Result<(), Failure> {
    Ok(())
}

struct Daemon<'a> {
    settings: Settings,
    wanted: Wanted,
    flags: &'a WatchFlags,
    global: &'a Global,
    sender: Sender<Event>,
    pace: Pace<Local>,
    files: Files,
    looked: Instant,
    job: Option<(Job, Reason)>,
    alerting: Option<Job>,
    trouble: Trouble,
    page: Option<Arc<metrics::Page>>,
}

impl Daemon<'_> {
    fn watch(&mut self, events: &Receiver<Event>, load: &dyn Fn() -> Result<Settings, Failure>) {
        let pulse = service::watchdog();
        loop {
            let wait = self.turn().min(pulse.unwrap_or(LONGEST_WAIT));
            match events.recv_timeout(wait) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Ok(Event::Reload) => self.reload(load),
                Ok(Event::Ended) => self.ended(),
                Ok(Event::Told) => self.told(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if pulse.is_some() {
                service::tell(State::Alive);
            }
        }
    }

    /// Does what is due, and says how long nothing else is.
    fn turn(&mut self) -> Duration {
        let now = Local::now();
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.files.changed() {
                tracing::debug!("a source changed");
                self.pace.changed(&now);
            }
        }
        if let Some((job, _)) = &mut self.job
            && job.begun.elapsed() > self.wanted.limit
        {
            job.stop();
        }
        if let Some(job) = &mut self.alerting
            && job.begun.elapsed() > alerting::LIMIT
        {
            job.kill();
        }
        if let Step::Run(reason) = self.pace.next(&now) {
            self.begin(reason, &now);
        }
        let looks = self.wanted.plan.debounce.is_some();
        let until = match self.pace.next(&now) {
            Step::Run(_) => Duration::ZERO,
            Step::Wait(wait) => wait,
        };
        until.min(if looks { LOOK } else { LONGEST_WAIT })
    }

    fn begin(&mut self, reason: Reason, now: &DateTime<Local>) {
        self.pace.begun();
        // What changes from here on is for the next one.
        self.files.changed();
        let begun = self.command().and_then(|command| Job::begin(command, self.sender.clone(), Event::Ended));
        match begun {
            Ok(job) => {
                tracing::debug!(reason = reason.as_str(), "syncing");
                service::tell(State::Doing("syncing"));
                self.job = Some((job, reason));
            }
            Err(failure) => {
                self.trouble.told(&[failure.message], false);
                self.pace.ended(now, false);
            }
        }
    }

    fn command(&self) -> Result<Command, Failure> {
        let mut command = job::program(&self.settings, self.global)?;
        // Somebody who syncs by hand is waited for.
        command.args(["sync", "--json", "--wait", "600"]);
        if self.wanted.bidirectional {
            command.arg("--bidirectional");
        }
        Ok(command)
    }

    fn ended(&mut self) {
        let Some((job, reason)) = self.job.take() else { return };
        let overdue = job.begun.elapsed() > self.wanted.limit;
        let mut outcome = job.outcome();
        if overdue && !outcome.is_well() {
            let limit = crate::config::Span(self.wanted.limit);
            outcome.error = Some(format!("the sync took longer than {limit} and was ended (watch.limit)"));
        }
        self.say(&outcome, reason);
        self.pace.ended(&Local::now(), outcome.is_well());
        self.files.find(&self.settings.root.value);
        if let Some(page) = &self.page {
            page.forget();
        }
        self.alert();
    }

    fn say(&mut self, outcome: &Outcome, reason: Reason) {
        self.trouble.told(&outcome.troubles(), outcome.is_well());
        let totals = &outcome.totals;
        let changed = totals.inserted + totals.updated + totals.merged + totals.deleted;
        let (run, status, reason) = (outcome.run_id.as_str(), outcome.status.as_str(), reason.as_str());
        let (read, duration_ms) = (totals.read, outcome.duration_ms);
        service::tell(State::Doing(&format!("last sync: {status}, {read} records read, {changed} changed")));
        if changed > 0 {
            let (conflicts, dead_letters) = (totals.conflicts, totals.dead_lettered);
            tracing::info!(run, status, reason, read, changed, conflicts, dead_letters, duration_ms, "synced");
        } else {
            tracing::debug!(run, status, reason, read, duration_ms, "synced: nothing changed");
        }
    }

    fn reload(&mut self, load: &dyn Fn() -> Result<Settings, Failure>) {
        service::tell(State::Reloading);
        let loaded = load().and_then(|settings| {
            settings.monitor.rules()?;
            crate::hub::check(&settings)?;
            Ok((Wanted::of(&settings, self.flags)?, settings))
        });
        match loaded {
            Ok((wanted, settings)) => {
                self.pace.set(wanted.plan.clone(), &Local::now());
                tracing::info!(interval = %wanted.plan.schedule, "configuration read again");
                (self.wanted, self.settings) = (wanted, settings);
            }
            Err(failure) => tracing::error!("{}; going on as before", plain(&failure.message)),
        }
        service::tell(State::Ready);
    }

    /// Ends a sync under way: what it committed stays, what it did not is rolled back.
    fn stop(&mut self) {
        service::tell(State::Stopping);
        if let Some(mut job) = self.alerting.take() {
            // What was not told is the next time.
            job.kill();
            job.said();
        }
        let Some((mut job, _)) = self.job.take() else {
            tracing::info!("stopped");
            return;
        };
        job.stop();
        let begun = Instant::now();
        while !job.has_ended() && begun.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !job.has_ended() {
            job.kill();
        }
        job.outcome();
        tracing::info!("stopped, with a sync under way: what it had committed stays, the next one does the rest");
    }
}
