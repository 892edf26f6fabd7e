//! One run: source by source, stream by stream, batch by batch; what is to be sent
//! is on its way while reading goes on.

mod baseline;
mod finish;
mod instances;
mod jobs;
mod lanes;
mod moved;
mod outbox;
mod reconcile;
mod send;
mod source;
mod stream;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::conflict::{ConflictPolicy, PolicySpec};
use crate::event::{Event, Observer};
use crate::failpoint;
use crate::ledger::Ledger;
use crate::report::{Mode, Report, Status};
use crate::schema::Deletes;
use crate::sink::{Checkpoint, Sink, StreamState};
use crate::source::{BatchLimits, DynSource};
use crate::transform::Transform;
use crate::verify::Findings;
use crate::{Contributor, Environment, Instance, Result, SourceName, StreamId, TableSpec, Timestamp};
use jobs::Jobs;
use lanes::Lanes;
use source::Reader;

/// What a run is to do.
#[derive(Clone)]
pub struct Options {
    /// Who writes.
    pub environment: Environment,
    /// From which installation: two that use one environment name are told apart by it.
    pub instance: Instance,
    /// Which records are looked at.
    pub mode: Mode,
    /// How large batches and transactions may get.
    pub limits: BatchLimits,
    /// Whether most of a stream may be tombstoned at once.
    pub allow_mass_delete: bool,
    /// Conflict policies by table name, instead of the tables' own.
    pub policies: BTreeMap<String, Arc<dyn ConflictPolicy>>,
    /// What happens on deletes, by table name, instead of the streams' own.
    pub deletes: BTreeMap<String, Deletes>,
    /// What records pass through, in order.
    pub transforms: Vec<Arc<dyn Transform>>,
    /// Ranks of sources that do not take part in this run but are there, and may
    /// have contributed to rows before.
    pub priorities: BTreeMap<SourceName, i32>,
    /// What a comparison found: then only streams that differ are read, and compared
    /// with that instead of ledger or hub (see [`crate::verify::repair`]).
    pub repair: Option<Arc<Findings>>,
    /// What reads the sources. Another version reads those again that did not change, once: it
    /// may understand what the last one had to make a dead letter. This crate's own, unless
    /// somebody's own sources say more.
    pub version: String,
}

impl Options {
    /// An incremental run with default limits.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment,
            instance: "".into(),
            mode: Mode::Incremental,
            limits: BatchLimits::default(),
            allow_mass_delete: false,
            policies: BTreeMap::new(),
            deletes: BTreeMap::new(),
            transforms: Vec::new(),
            priorities: BTreeMap::new(),
            repair: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Chooses the mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
}

/// Moves what sources hold into a sink.
pub struct Engine<'a, S> {
    sink: &'a S,
    ledger: &'a dyn Ledger,
    observer: &'a dyn Observer,
    options: Options,
}

impl<'a, S: Sink> Engine<'a, S> {
    /// Puts the parts together.
    pub fn new(sink: &'a S, ledger: &'a dyn Ledger, observer: &'a dyn Observer, options: Options) -> Self {
        Self { sink, ledger, observer, options }
    }

    /// Runs once over all sources, in the order given.
    ///
    /// Reading goes on while deliveries are on their way, as many at once as the
    /// sink has lanes: see [`Sink::lanes`]. With one lane each is waited for.
    ///
    /// A source that fails is part of the report; the others go on.
    ///
    /// # Errors
    /// When the sink cannot even be asked for its state: then nothing was done.
    pub async fn run(&self, sources: &[Box<dyn DynSource>]) -> Result<Report> {
        let begun = Instant::now();
        let mut report = Report::new(self.options.environment.clone(), self.options.mode, self.sink.name());
        let states = self.sink.states(&self.options.environment).await?;
        let mut run = Run {
            sink: self.sink,
            ledger: self.ledger,
            observer: self.observer,
            options: &self.options,
            id: report.run_id.clone(),
            states: states.into_iter().map(|state| (state.stream.clone(), state)).collect(),
            priorities: self.options.priorities.clone(),
            lanes: Lanes::new(self.sink.lanes()),
            in_place: crate::transform::in_place(&self.options.transforms),
            abreast: self.sink.abreast().clamp(1, self.sink.lanes().max(1)),
        };
        run.priorities.extend(sources.iter().map(|source| (source.name().clone(), source.priority())));
        report.notes.extend(run.absent());
        let jobs = Jobs::new(self.sink.lanes() <= 1);
        let read = jobs.along(Reader::new(&run, jobs.clone()).read(sources)).await;
        for outcome in read.outcomes {
            report.streams.extend(outcome.streams);
            report.notes.extend(outcome.notes);
            if let Some(error) = outcome.sink_error {
                report.error.get_or_insert(error);
            }
        }
        report.notes.extend(read.takeover);
        report.notes.extend(self.options.transforms.iter().flat_map(|transform| transform.notes()));
        report.duration_ms = millis(begun);
        report.close();
        if let Err(error) = self.sink.finish(&report).await {
            report.error.get_or_insert(crate::report::describe(&error));
            report.status = Status::Failed;
        }
        failpoint!("engine-run-finished");
        self.observer.on_event(&Event::RunFinished { report: &report });
        Ok(report)
    }
}

/// What sources and streams of one run share.
struct Run<'a, S> {
    sink: &'a S,
    ledger: &'a dyn Ledger,
    observer: &'a dyn Observer,
    options: &'a Options,
    id: String,
    /// What the sink knew when the run began.
    states: BTreeMap<StreamId, StreamState>,
    priorities: BTreeMap<SourceName, i32>,
    lanes: Lanes,
    /// How many deliveries of one stream may be on their way.
    abreast: usize,
    /// See [`Transform::in_place`].
    in_place: Option<u64>,
}

impl<S: Sink> Run<'_, S> {
    fn priority_of(&self, contributor: &Contributor) -> Option<i32> {
        self.priorities.get(&contributor.source).copied()
    }

    fn policy<'t>(&'t self, table: &'t TableSpec) -> &'t dyn ConflictPolicy {
        match self.options.policies.get(table.name().as_str()) {
            Some(policy) => policy.as_ref(),
            None => table.policy() as &PolicySpec,
        }
    }

    /// Sources that the hub knows of this environment, and that are not there: a
    /// file that is gone is not taken for a decision to delete what it held.
    fn absent(&self) -> Vec<String> {
        let known: BTreeSet<&SourceName> = self.states.keys().map(|stream| &stream.source).collect();
        let absent = known.into_iter().filter(|source| !self.priorities.contains_key(*source));
        absent
            .map(|source| format!("{source} was synced before and is not there now; its records stay in the hub"))
            .collect()
    }

    /// What goes with a delivery that is sent now.
    fn checkpoint(&self, complete: bool) -> Checkpoint {
        let instance = self.options.instance.clone();
        Checkpoint { run_id: self.id.clone(), at: Timestamp::now(), complete, instance }
    }
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
