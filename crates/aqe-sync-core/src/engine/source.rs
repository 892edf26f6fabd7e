//! One source: skip it, or read its streams in one snapshot.

use futures::StreamExt as _;

use super::stream::StreamRun;
use super::{Run, Sink};
use crate::event::Event;
use crate::ledger::{SourceState, SyncedStream};
use crate::report::{Mode, Status, StreamReport, describe};
use crate::source::{Batch, DynSource, Fingerprint, ReadRequest, StreamSpec};
use crate::{Error, ErrorKind, Result, Retry, StreamId};

/// What one source adds to the report.
#[derive(Default)]
pub(super) struct SourceOutcome {
    pub(super) streams: Vec<StreamReport>,
    pub(super) notes: Vec<String>,
    /// What went wrong on the other side: no fault of the source.
    pub(super) sink_error: Option<String>,
    /// Whether a later run has something to do even if the source stays as it is.
    held_back: bool,
}

impl<S: Sink> Run<'_, S> {
    /// Syncs one source. Its failures end in the outcome, not in the run.
    pub(super) async fn source(&mut self, source: &dyn DynSource) -> SourceOutcome {
        let mut outcome = SourceOutcome::default();
        if let Err(error) = self.try_source(source, &mut outcome).await {
            self.observer.on_event(&Event::SourceFailed { source: source.name(), error: &error });
            // An error after the last stream has no stream of its own to show up in.
            if !outcome.streams.iter().any(|stream| stream.status == Status::Failed) {
                let mut report = StreamReport::new(source.name().clone(), "".into(), "");
                report.fail(&error);
                outcome.streams.push(report);
            }
        }
        let whole = !outcome.streams.iter().any(|stream| stream.status == Status::Failed);
        if !whole && let Err(error) = self.ledger.set_source(&self.options.environment, source.name(), None) {
            outcome.notes.push(describe(&error));
        }
        outcome.notes.extend(source.notes_dyn());
        outcome
    }

    async fn try_source(&mut self, source: &dyn DynSource, outcome: &mut SourceOutcome) -> Result<()> {
        let fingerprint = source.fingerprint_dyn().await?;
        if let Some(skipped) = self.skip(source, fingerprint.as_ref())? {
            outcome.streams = skipped;
            return Ok(());
        }
        let all = source.streams_dyn().await?;
        outcome.notes.extend(self.vanished(source, &all));
        let repair = self.options.repair.as_ref();
        let concerned =
            |spec: &StreamSpec| repair.is_none_or(|found| found.of(&self.stream_id(source, spec)).is_some());
        let streams: Vec<StreamSpec> = all.into_iter().filter(concerned).collect();
        for stream in &streams {
            if let Err(error) = self.prepare(&stream.table).await {
                outcome.sink_error = Some(describe(&error));
                return Err(error);
            }
        }
        self.read(source, &streams, outcome).await?;
        // A repair need not have read all of it.
        let whole = self.options.repair.is_none()
            && !outcome.held_back
            && outcome.streams.iter().all(|stream| stream.status != Status::Failed);
        if let Some(fingerprint) = fingerprint.filter(|fingerprint| fingerprint.settled && whole) {
            self.remember(source, fingerprint, &streams)?;
        }
        Ok(())
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
        let in_step = known.streams.iter().all(|synced| synced.sequence == self.sequence(&synced.stream));
        if known.fingerprint != fingerprint.bytes || !in_step {
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

    fn remember(&self, source: &dyn DynSource, fingerprint: Fingerprint, streams: &[StreamSpec]) -> Result<()> {
        let synced = streams.iter().map(|spec| {
            let stream = self.stream_id(source, spec);
            let sequence = self.sequence(&stream);
            SyncedStream { stream, table: spec.table.name().to_string(), sequence }
        });
        let state = SourceState { fingerprint: fingerprint.bytes, streams: synced.collect() };
        self.ledger.set_source(&self.options.environment, source.name(), Some(&state))
    }

    fn stream_id(&self, source: &dyn DynSource, spec: &StreamSpec) -> StreamId {
        StreamId {
            environment: self.options.environment.clone(),
            source: source.name().clone(),
            stream: spec.name.clone(),
        }
    }

    async fn read(
        &mut self,
        source: &dyn DynSource,
        streams: &[StreamSpec],
        outcome: &mut SourceOutcome,
    ) -> Result<()> {
        let request = ReadRequest { streams: streams.to_vec(), limits: self.options.limits };
        let mut batches = source.read_dyn(request);
        let mut waiting = streams.to_vec();
        let mut current: Option<StreamRun> = None;
        let failure = loop {
            let batch = match batches.next().await {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => break Some(error),
                None => break None,
            };
            if current.as_ref().is_none_or(|run| run.name() != &batch.stream) {
                if let Some(run) = current.take() {
                    let error = cut_off(source);
                    self.close(run, outcome, Some(&error));
                }
                let Some(position) = waiting.iter().position(|spec| spec.name == batch.stream) else {
                    break Some(Error::internal(format!(
                        "a batch of stream {}, which was not asked for",
                        batch.stream
                    )));
                };
                let spec = waiting.remove(position);
                let id = self.stream_id(source, &spec);
                self.observer.on_event(&Event::StreamStarted { source: source.name(), stream: &id.stream });
                let moved = self.move_out(&id, &spec).await;
                current = Some(StreamRun::begin(self, id, spec, moved).await);
            }
            let Some(run) = current.as_mut() else {
                continue;
            };
            let last = batch.last;
            self.batch(run, batch).await;
            if last && let Some(mut run) = current.take() {
                run.finish(self).await;
                self.close(run, outcome, None);
            }
        };
        let error = match failure {
            Some(error) => error,
            None if current.is_none() && waiting.is_empty() => return Ok(()),
            None => cut_off(source),
        };
        if let Some(run) = current {
            self.close(run, outcome, Some(&error));
        }
        for spec in waiting {
            let mut report = StreamReport::new(source.name().clone(), spec.name, spec.table.name().as_str());
            report.fail(&error);
            outcome.streams.push(report);
        }
        Err(error)
    }

    async fn batch(&mut self, run: &mut StreamRun, batch: Batch) {
        run.take(self, batch).await;
        self.observer.on_event(&Event::Progress {
            source: &run.report.source,
            stream: &run.report.stream,
            read: run.report.counters.read,
        });
    }

    fn close(&mut self, run: StreamRun, outcome: &mut SourceOutcome, error: Option<&Error>) {
        let closed = run.close(error);
        if let Some(error) = closed.sink_error {
            outcome.sink_error.get_or_insert(error);
        }
        outcome.notes.extend(closed.notes);
        outcome.held_back |= closed.held_back;
        self.observer.on_event(&Event::StreamFinished { report: &closed.report });
        outcome.streams.push(closed.report);
    }
}

fn cut_off(source: &dyn DynSource) -> Error {
    Error::new(ErrorKind::Internal, "the source stopped before the end of a stream")
        .during(format!("reading {}", source.name()))
        .advice("nothing counts as deleted; the next sync tries again")
        .retry(Retry::Later)
}
