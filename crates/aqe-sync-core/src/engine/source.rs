//! One source: skip it, or read its streams in one snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::finish::Closed;
use super::jobs::{Job, Jobs};
use super::stream::StreamRun;
use super::{Run, Sink};
use crate::event::Event;
use crate::failpoint;
use crate::ledger::{SourceState, SyncedStream};
use crate::report::{Mode, Status, StreamReport, describe};
use crate::source::{Batch, DynSource, Fingerprint, ReadRequest, StreamSpec};
use crate::walk::{Failure, Turn, Walk};
use crate::{Error, Result, SourceName, StreamId, StreamName, TableSpec};
use xxhash_rust::xxh3::xxh3_64;

/// What one source adds to the report.
#[derive(Default)]
pub(super) struct SourceOutcome {
    pub(super) streams: Vec<StreamReport>,
    pub(super) notes: Vec<String>,
    /// What went wrong on the other side: no fault of the source.
    pub(super) sink_error: Option<String>,
}

/// What all sources add to the report.
pub(super) struct Read {
    pub(super) outcomes: Vec<SourceOutcome>,
    /// What to tell when another installation wrote before this one.
    pub(super) takeover: Option<String>,
}

/// A source that was read, whose streams may still be on their way.
#[derive(Default)]
struct Underway {
    streams: Vec<Job<Closed>>,
    notes: Vec<String>,
    sink_error: Option<String>,
    /// What to remember if all goes well.
    seen: Option<(Fingerprint, Vec<StreamSpec>)>,
}

/// Reads one source after the other.
pub(super) struct Reader<'r, S> {
    pub(super) run: &'r Run<'r, S>,
    jobs: Jobs<'r>,
    prepared: BTreeSet<String>,
    /// Whether it was said that two installations use one name.
    clash: bool,
    takeover: Option<String>,
}

impl<'r, S: Sink> Reader<'r, S> {
    pub(super) fn new(run: &'r Run<'r, S>, jobs: Jobs<'r>) -> Self {
        Self { run, jobs, prepared: BTreeSet::new(), clash: false, takeover: None }
    }

    /// Reads all sources, and waits for all that they set going.
    pub(super) async fn read(mut self, sources: &'r [Box<dyn DynSource>]) -> Read {
        let mut jobs = Vec::with_capacity(sources.len());
        let repair = self.run.options.repair.as_ref();
        let concerned = |source: &SourceName| repair.is_none_or(|found| found.concern(source));
        for source in sources.iter().filter(|source| concerned(source.name())) {
            self.run.observer.on_event(&Event::SourceStarted { source: source.name() });
            jobs.push(self.source(source.as_ref()).await);
        }
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(job.result().await);
        }
        // Whoever clashes does not take over.
        Read { outcomes, takeover: self.takeover.filter(|_| !self.clash) }
    }

    /// Syncs one source. Its failures end in the outcome, not in the run.
    async fn source(&mut self, source: &'r dyn DynSource) -> Job<SourceOutcome> {
        let mut underway = Underway::default();
        let result = self.try_source(source, &mut underway).await;
        let run = self.run;
        self.jobs.start(async move { run.conclude(source, underway, result).await }).await
    }

    async fn try_source(&mut self, source: &dyn DynSource, underway: &mut Underway) -> Result<()> {
        let fingerprint = source.fingerprint_dyn().await?;
        if let Some(skipped) = self.run.skip(source, fingerprint.as_ref())? {
            underway.streams.extend(skipped.into_iter().map(|report| Job::Done(Closed::of(report))));
            return Ok(());
        }
        let all = source.streams_dyn().await?;
        underway.notes.extend(self.run.vanished(source, &all));
        let run = self.run;
        let repair = run.options.repair.as_ref();
        let concerned = |spec: &StreamSpec| repair.is_none_or(|found| found.of(&run.stream_id(source, spec)).is_some());
        let streams: Vec<StreamSpec> = all.into_iter().filter(concerned).collect();
        for stream in &streams {
            if let Err(error) = self.prepare(&stream.table).await {
                underway.sink_error = Some(describe(&error));
                return Err(error);
            }
        }
        self.streams(source, &streams, underway).await?;
        failpoint!("engine-source-read");
        // A repair need not have read all of it.
        let fingerprint = fingerprint.filter(|fingerprint| fingerprint.settled && repair.is_none());
        underway.seen = fingerprint.map(|fingerprint| (fingerprint, streams));
        Ok(())
    }

    pub(super) async fn prepare(&mut self, table: &Arc<TableSpec>) -> Result<()> {
        if !self.prepared.contains(table.name().as_str()) {
            self.run.sink.prepare(table).await?;
            self.prepared.insert(table.name().to_string());
        }
        Ok(())
    }

    /// Reads all streams, one after the other.
    async fn streams(&mut self, source: &dyn DynSource, streams: &[StreamSpec], underway: &mut Underway) -> Result<()> {
        let (run, streams) = (self.run, streams.to_vec());
        let mut walk = Walk::new(source, ReadRequest { streams, limits: run.options.limits.for_reading() });
        let mut current: Option<StreamRun<'r>> = None;
        loop {
            match walk.next().await {
                Turn::Begins(spec) => current = Some(self.begin(source, spec).await),
                Turn::Batch(batch) => {
                    failpoint!("engine-batch-read");
                    if let Some(stream) = current.as_mut() {
                        self.batch(stream, batch).await;
                    }
                }
                Turn::Ends(cut_off) => {
                    if let Some(stream) = current.take() {
                        underway.streams.push(self.end(stream, cut_off.as_ref()).await);
                        // So much may be unfinished before reading goes on.
                        run.lanes.room(2 * run.options.limits.bytes).await;
                    }
                }
                Turn::Over(None) => return Ok(()),
                Turn::Over(Some(Failure { error, unread })) => {
                    if let Some(stream) = current.take() {
                        underway.streams.push(self.end(stream, Some(&error)).await);
                    }
                    underway.streams.extend(unread.into_iter().map(|spec| {
                        let mut report =
                            StreamReport::new(source.name().clone(), spec.name, spec.table.name().as_str());
                        report.fail(&error);
                        Job::Done(Closed::of(report))
                    }));
                    return Err(error);
                }
            }
        }
    }

    async fn begin(&mut self, source: &dyn DynSource, spec: StreamSpec) -> StreamRun<'r> {
        let run = self.run;
        let id = run.stream_id(source, &spec);
        run.observer.on_event(&Event::StreamStarted { source: source.name(), stream: &id.stream });
        let (elsewhere, moved) = match run.elsewhere(&id) {
            Ok(elsewhere) => {
                let moved = self.move_out(&id, &spec, elsewhere.is_some()).await;
                (elsewhere, moved)
            }
            Err(error) => (None, Err(error)),
        };
        let mut stream = StreamRun::begin(run, id, spec, moved, elsewhere.is_some()).await;
        if let Some(other) = elsewhere {
            if !other.clash {
                self.takeover.get_or_insert_with(|| run.takeover(&other));
            } else if !std::mem::replace(&mut self.clash, true) {
                stream.report.warn(|| run.clash(&other));
            }
        }
        stream
    }

    async fn batch(&mut self, stream: &mut StreamRun<'r>, batch: Batch) {
        stream.take(self.run, &self.jobs, batch).await;
        self.jobs.give_way().await;
        self.run.observer.on_event(&Event::Progress {
            source: &stream.report.source,
            stream: &stream.report.stream,
            read: stream.report.counters.read,
        });
    }

    /// Reads a stream no more: it was read to its end, or is cut off by an error.
    async fn end(&mut self, stream: StreamRun<'r>, cut_off: Option<&Error>) -> Job<Closed> {
        match cut_off {
            None => self.jobs.start(stream.finish(self.run)).await,
            Some(error) => self.jobs.start(stream.abandon(self.run, describe(error))).await,
        }
    }
}

impl<S: Sink> Run<'_, S> {
    /// Waits for all streams of a source, and remembers what it looked like if all went well.
    async fn conclude(&self, source: &dyn DynSource, underway: Underway, result: Result<()>) -> SourceOutcome {
        let mut outcome =
            SourceOutcome { notes: underway.notes, sink_error: underway.sink_error, ..Default::default() };
        let mut held_back = false;
        let mut synced = Vec::new();
        for job in underway.streams {
            let closed = job.result().await;
            if let Some(error) = closed.sink_error {
                outcome.sink_error.get_or_insert(error);
            }
            outcome.notes.extend(closed.notes);
            held_back |= closed.held_back;
            synced.push((closed.report.stream.clone(), closed.sequence));
            outcome.streams.push(closed.report);
        }
        let failed = |outcome: &SourceOutcome| outcome.streams.iter().any(|stream| stream.status == Status::Failed);
        let result = match underway.seen.filter(|_| !held_back && !failed(&outcome)) {
            Some((fingerprint, specs)) => result.and_then(|()| self.remember(source, &fingerprint, &specs, &synced)),
            None => result,
        };
        if let Err(error) = result {
            self.observer.on_event(&Event::SourceFailed { source: source.name(), error: &error });
            // An error after the last stream has no stream of its own to show up in.
            if !failed(&outcome) {
                let mut report = StreamReport::new(source.name().clone(), "".into(), "");
                report.fail(&error);
                outcome.streams.push(report);
            }
        }
        if failed(&outcome)
            && let Err(error) = self.forget(source)
        {
            outcome.notes.push(describe(&error));
        }
        outcome.notes.extend(source.notes_dyn());
        outcome
    }

    /// Streams that the hub knows of this source, and the source no longer has: a
    /// dropped table is not taken for a decision to delete its rows.
    fn vanished(&self, source: &dyn DynSource, streams: &[StreamSpec]) -> Vec<String> {
        let known = self.states.keys().filter(|known| known.source == *source.name());
        let gone = known.filter(|known| !streams.iter().any(|spec| spec.name == known.stream));
        let note = |gone: &StreamId| {
            format!("{}: table {} is not there any more; its rows stay in the hub", source.name(), gone.stream)
        };
        gone.map(note).collect()
    }

    /// The reports of a source that did not change, without reading it.
    fn skip(&self, source: &dyn DynSource, fingerprint: Option<&Fingerprint>) -> Result<Option<Vec<StreamReport>>> {
        let Some(fingerprint) = fingerprint.filter(|_| self.options.mode != Mode::Full) else {
            return Ok(None);
        };
        let Some(known) = self.ledger.source(&self.options.environment, source.name())? else {
            return Ok(None);
        };
        let sequence = |stream: &StreamId| self.states.get(stream).map_or(0, |state| state.sequence);
        let in_step = known.streams.iter().all(|synced| synced.sequence == sequence(&synced.stream));
        if known.fingerprint != self.seen(fingerprint) || !in_step {
            return Ok(None);
        }
        let reports = known.streams.into_iter().map(|synced| {
            let mut report = StreamReport::new(synced.stream.source, synced.stream.stream, synced.table);
            report.skipped_unchanged = true;
            self.observer.on_event(&Event::StreamFinished { report: &report });
            report
        });
        Ok(Some(reports.collect()))
    }

    /// What is remembered of a source: how it was, what read it, and what its records passed
    /// through. Under other transforms in place an unchanged file is not what the hub has; and a
    /// newer version may understand what an older one could not store.
    fn seen(&self, fingerprint: &Fingerprint) -> Vec<u8> {
        let mut seen = fingerprint.bytes.clone();
        seen.extend_from_slice(&xxh3_64(self.options.version.as_bytes()).to_le_bytes());
        if let Some(transforms) = self.in_place.filter(|transforms| *transforms != 0) {
            seen.extend_from_slice(&transforms.to_le_bytes());
        }
        seen
    }

    fn remember(
        &self,
        source: &dyn DynSource,
        fingerprint: &Fingerprint,
        specs: &[StreamSpec],
        sequences: &[(StreamName, u64)],
    ) -> Result<()> {
        let synced = specs.iter().map(|spec| {
            let sequence =
                sequences.iter().find(|(stream, _)| *stream == spec.name).map_or(0, |(_, sequence)| *sequence);
            SyncedStream { stream: self.stream_id(source, spec), table: spec.table.name().to_string(), sequence }
        });
        let state = SourceState { fingerprint: self.seen(fingerprint), streams: synced.collect() };
        self.ledger.set_source(&self.options.environment, source.name(), Some(&state))?;
        failpoint!("engine-source-remembered");
        Ok(())
    }

    fn forget(&self, source: &dyn DynSource) -> Result<()> {
        self.ledger.set_source(&self.options.environment, source.name(), None)?;
        failpoint!("engine-source-forgotten");
        Ok(())
    }

    fn stream_id(&self, source: &dyn DynSource, spec: &StreamSpec) -> StreamId {
        StreamId {
            environment: self.options.environment.clone(),
            source: source.name().clone(),
            stream: spec.name.clone(),
        }
    }
}
