//! One side of a comparison: what a source holds, converted and hashed anew.

use std::collections::HashSet;
use std::sync::Arc;

use crate::coerce::Coercer;
use crate::hash::KeyHash;
use crate::record::{Key, Record};
use crate::report::describe;
use crate::source::{Batch, BatchLimits, DynSource, ReadRequest, StreamSpec};
use crate::transform::apply_all;
use crate::walk::{Failure, Turn, Walk};
use crate::{ContentHash, Error, Options, StreamId, Transform};

use super::report::StreamVerification;

/// What a stream holds of one key: its first record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: KeyHash,
    pub(super) content: ContentHash,
    /// Where its name ends; it begins where the one before it ends.
    name_end: usize,
}

/// What a stream holds, as far as it could be read.
pub(super) struct LocalSide {
    pub(super) id: StreamId,
    pub(super) spec: StreamSpec,
    /// In the order of the source.
    pub(super) entries: Vec<Entry>,
    names: String,
    /// Records whose key occurred before.
    pub(super) repeated: u64,
    /// Records that no hub can hold as rows.
    pub(super) unstorable: u64,
    /// The keys of such records, as far as they have one.
    pub(super) rejected: HashSet<KeyHash>,
    /// Keys of which a record that can be stored came after one that cannot: if the
    /// hub has the key, they repeat it.
    pub(super) after_reject: HashSet<KeyHash>,
    /// Whether a record came whose key cannot be told: it may be any key.
    pub(super) nameless: bool,
    pub(super) error: Option<String>,
}

impl LocalSide {
    /// The entries and their keys as people read them.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Entry, &str)> {
        let starts = std::iter::once(0).chain(self.entries.iter().map(|entry| entry.name_end));
        self.entries.iter().zip(starts).map(|(entry, start)| (entry, &self.names[start..entry.name_end]))
    }
}

/// One or the other side of a source's streams: what can be compared, and what failed before that.
pub(super) enum Side {
    Read(LocalSide),
    Failed(StreamVerification),
}

impl Side {
    pub(super) fn read(&self) -> Option<&LocalSide> {
        match self {
            Self::Read(side) => Some(side),
            Self::Failed(_) => None,
        }
    }
}

/// Reads a whole source. What fails is one of the sides.
pub(super) async fn read_source(source: &dyn DynSource, options: &Options) -> Vec<Side> {
    let specs = match source.streams_dyn().await {
        Ok(specs) => specs,
        Err(error) => return vec![Side::Failed(StreamVerification::failed(source.name(), &error))],
    };
    let mut walk = Walk::new(source, ReadRequest { streams: specs, limits: BatchLimits::default() });
    let mut sides = Vec::new();
    let mut current: Option<Reading> = None;
    loop {
        match walk.next().await {
            Turn::Begins(spec) => current = Some(Reading::new(source, spec, options)),
            Turn::Batch(batch) => {
                if let Some(reading) = current.as_mut() {
                    reading.take(batch);
                }
            }
            Turn::Ends(error) => sides.extend(current.take().map(|reading| reading.close(error.as_ref()))),
            Turn::Over(None) => return sides,
            Turn::Over(Some(Failure { error, unread })) => {
                let attributed = current.is_some() || !unread.is_empty();
                sides.extend(current.take().map(|reading| reading.close(Some(&error))));
                sides.extend(unread.into_iter().map(|spec| unread_side(source, &spec, &error)));
                if !attributed {
                    sides.push(Side::Failed(StreamVerification::failed(source.name(), &error)));
                }
                return sides;
            }
        }
    }
}

fn unread_side(source: &dyn DynSource, spec: &StreamSpec, error: &Error) -> Side {
    let mut unread = StreamVerification::new(source.name().clone(), spec.name.clone(), spec.table.name().as_str());
    unread.error = Some(describe(error));
    Side::Failed(unread)
}

/// A stream while it is read.
struct Reading {
    side: LocalSide,
    seen: HashSet<KeyHash>,
    transforms: Vec<Arc<dyn Transform>>,
    coercer: Option<Coercer>,
}

impl Reading {
    fn new(source: &dyn DynSource, mut spec: StreamSpec, options: &Options) -> Self {
        if let Some(deletes) = options.deletes.get(spec.table.name().as_str()) {
            spec.deletes = *deletes;
        }
        let id = StreamId {
            environment: options.environment.clone(),
            source: source.name().clone(),
            stream: spec.name.clone(),
        };
        let side = LocalSide {
            id,
            spec,
            entries: Vec::new(),
            names: String::new(),
            repeated: 0,
            unstorable: 0,
            rejected: HashSet::new(),
            after_reject: HashSet::new(),
            nameless: false,
            error: None,
        };
        Self { side, seen: HashSet::new(), transforms: options.transforms.clone(), coercer: None }
    }

    fn take(&mut self, batch: Batch) {
        for record in batch.records {
            self.transformed(record);
        }
        if let Some(packed) = batch.packed {
            for position in 0..packed.len() {
                self.transformed(packed.record(position));
            }
        }
        // Last, as the engine does it: a record of the same key counts first.
        for reject in batch.rejects {
            self.unstorable(reject.key.as_ref());
        }
    }

    /// A record that is there, though the hub can have it as a dead letter only.
    fn unstorable(&mut self, key: Option<&Key>) {
        self.side.unstorable += 1;
        match key.map(Key::hash) {
            Some(key) => drop(self.side.rejected.insert(key)),
            None => self.side.nameless = true,
        }
    }

    fn transformed(&mut self, record: Record) {
        match apply_all(&self.transforms, &self.side.spec, record) {
            Ok(records) => records.into_iter().for_each(|record| self.record(record)),
            Err(_) => self.unstorable(None),
        }
    }

    fn record(&mut self, record: Record) {
        let (schema, table) = (record.schema(), &self.side.spec.table);
        let coercer = match self.coercer.take() {
            Some(coercer) if coercer.fits(schema) => coercer,
            _ => Coercer::new(Arc::clone(table), Arc::clone(schema)),
        };
        let converted = coercer.row(record);
        self.coercer = Some(coercer);
        let Ok(converted) = converted else { return self.unstorable(None) };
        let key = converted.row.key(table);
        self.enter(&key, converted.row.hash);
    }

    fn enter(&mut self, key: &Key, content: ContentHash) {
        let (side, hash) = (&mut self.side, key.hash());
        if !self.seen.insert(hash) {
            side.repeated += 1;
            return;
        }
        if side.rejected.contains(&hash) {
            side.after_reject.insert(hash);
        }
        side.names.push_str(&key.to_string());
        side.entries.push(Entry { key: hash, content, name_end: side.names.len() });
    }

    fn close(mut self, error: Option<&Error>) -> Side {
        self.side.error = error.map(describe);
        Side::Read(self.side)
    }
}
