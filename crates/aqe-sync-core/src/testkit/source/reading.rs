//! Reads a source to its end, and compares what was read.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures::{FutureExt as _, StreamExt as _};

use super::super::violation::{Checked, Rule, Violation, done};
use crate::hash::encode_raw;
use crate::{Batch, BatchLimits, BatchStream, ReadRequest, Record, Reject, Source, StreamName, StreamSpec};

/// Bytes that are the same for the same record only.
pub(in super::super) fn print_of(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in record.schema().fields().iter().zip(record.values()) {
        encode_raw(&(&**name).into(), &mut bytes);
        encode_raw(value, &mut bytes);
    }
    for (name, value) in &record.extra {
        encode_raw(&name.as_str().into(), &mut bytes);
        encode_raw(value, &mut bytes);
    }
    bytes
}

/// A record for people.
pub(in super::super) fn shown(record: &Record) -> String {
    let fields = record.schema().fields().iter().zip(record.values()).filter(|(_, value)| !value.is_null());
    let fields = fields.map(|(name, value)| format!("{name}={value}"));
    let extra = record.extra.iter().map(|(name, value)| format!("{name}={value}"));
    format!("the record ({})", fields.chain(extra).take(6).collect::<Vec<_>>().join(", "))
}

fn shown_reject(reject: &Reject) -> String {
    format!("the reject {} ({})", reject.letter.key, reject.letter.reason)
}

/// Everything that a reading gave, as sets in which the same may be several times.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    streams: BTreeMap<StreamName, BTreeMap<Vec<u8>, (usize, String)>>,
    pub(super) batches: usize,
}

impl Reading {
    fn add(&mut self, batch: &Batch) {
        self.batches += 1;
        let stream = self.streams.entry(batch.stream.clone()).or_default();
        let mut put = |print, shown: String| stream.entry(print).or_insert((0, shown)).0 += 1;
        let packed = batch.packed.iter().flat_map(|packed| (0..packed.len()).map(|position| packed.record(position)));
        for record in batch.records.iter().cloned().chain(packed) {
            put(print_of(&record), shown(&record));
        }
        for reject in &batch.rejects {
            let letter = &reject.letter;
            put([b"reject ", letter.record.as_str().as_bytes()].concat(), shown_reject(reject));
        }
    }

    /// How many records, rejects included.
    pub(super) fn count(&self) -> usize {
        self.streams.values().flat_map(BTreeMap::values).map(|(count, _)| count).sum()
    }

    /// One stream alone.
    pub(super) fn only(&self, name: &StreamName) -> Self {
        self.restricted(&[name])
    }

    /// Some streams alone.
    pub(super) fn restricted(&self, names: &[&StreamName]) -> Self {
        let streams = self.streams.iter().filter(|(name, _)| names.contains(name));
        Self { streams: streams.map(|(name, stream)| (name.clone(), stream.clone())).collect(), batches: 0 }
    }

    /// What `other` has less or more, in words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let missing = self.beyond(other).map(|what| format!("lacks {what}"));
        let added = other.beyond(self).map(|what| format!("has {what} too often"));
        let both = [missing, added].into_iter().flatten().collect::<Vec<_>>().join(", ");
        (!both.is_empty()).then_some(both)
    }

    /// The first that is here more often than in `other`.
    pub(super) fn beyond(&self, other: &Self) -> Option<String> {
        self.streams.iter().find_map(|(name, records)| {
            let theirs =
                |print: &Vec<u8>| other.streams.get(name).and_then(|records| records.get(print)).map_or(0, |(n, _)| *n);
            let found = records.iter().find(|(print, (count, _))| *count > theirs(print))?;
            Some(format!("{} of stream {name}", found.1.1))
        })
    }
}

pub(super) async fn specs<S: Source>(source: &S, rule: Rule) -> Result<Vec<StreamSpec>, Violation> {
    let streams = source.streams().await;
    streams.map_err(|error| Violation::new(rule, format!("finding the streams failed: {error}")))
}

/// Reads some streams, or all that there are.
pub(super) async fn read<S: Source>(
    source: &S,
    streams: Option<Vec<StreamSpec>>,
    limits: BatchLimits,
    checked: &mut Checked,
) -> Result<Reading, Violation> {
    let streams = match streams {
        Some(streams) => streams,
        None => specs(source, Rule::Repeatable).await?,
    };
    drain(source.read(ReadRequest { streams: streams.clone(), limits }), &streams, limits, checked).await
}

/// Reads so many batches, then drops the reading.
pub(super) async fn read_part<S: Source>(source: &S, limits: BatchLimits, count: usize) -> Result<Reading, Violation> {
    let streams = specs(source, Rule::ResumesWithTheRemainder).await?;
    let mut batches = source.read(ReadRequest { streams, limits });
    let mut reading = Reading::default();
    for _ in 0..count {
        let Some(batch) = batches.next().await else { break };
        reading.add(&done(Rule::ResumesWithTheRemainder, "reading", batch)?);
    }
    Ok(reading)
}

/// Takes all batches, and sees that they are what was asked for.
pub(super) async fn drain(
    mut batches: BatchStream,
    streams: &[StreamSpec],
    limits: BatchLimits,
    checked: &mut Checked,
) -> Result<Reading, Violation> {
    let rule = Rule::KeepsToTheRequest;
    let mut reading = Reading::default();
    let mut current: Option<StreamName> = None;
    let mut ended: Vec<StreamName> = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = done(Rule::Repeatable, "reading", batch)?;
        let name = &batch.stream;
        checked.hold(rule, streams.iter().any(|spec| spec.name == *name), || {
            format!("a batch of stream {name}, which was not asked for")
        })?;
        checked.hold(rule, !ended.contains(name), || format!("a batch of stream {name} after its last one"))?;
        let in_turn = current.as_ref().is_none_or(|current| current == name);
        checked.hold(rule, in_turn, || format!("a batch of stream {name} before stream {current:?} ended"))?;
        let most = batch.records.len().max(batch.packed.as_ref().map_or(0, crate::PackedRecords::len));
        checked.hold(rule, most <= limits.rows.max(1), || {
            format!("a batch of {most} records of stream {name}, where {} were allowed", limits.rows)
        })?;
        reading.add(&batch);
        current = if batch.last { None } else { Some(name.clone()) };
        ended.extend(batch.last.then(|| name.clone()));
    }
    for spec in streams {
        let name = &spec.name;
        checked.hold(rule, ended.contains(name), || {
            format!("stream {name} stops without the mark that it was read to its end")
        })?;
    }
    Ok(reading)
}

/// Reads a source that panics; `Err` says how that did not become an error.
pub(super) async fn fails<S: Source>(source: &S) -> Result<(), String> {
    let escaped = |what: &str| format!("the panic came through while {what}");
    let streams = AssertUnwindSafe(source.streams()).catch_unwind().await;
    let Ok(streams) = streams.map_err(|_| escaped("finding the streams"))? else { return Ok(()) };
    let limits = super::limits(1);
    let begun = std::panic::catch_unwind(AssertUnwindSafe(|| source.read(ReadRequest { streams, limits })));
    let mut batches = begun.map_err(|_| escaped("beginning to read"))?;
    loop {
        match AssertUnwindSafe(batches.next()).catch_unwind().await {
            Err(_) => return Err(escaped("reading")),
            Ok(Some(Err(_))) => return Ok(()),
            Ok(Some(Ok(_))) => {}
            Ok(None) => return Err("the reading ended after the panic as if nothing had happened".to_owned()),
        }
    }
}
