//! The local index of what was last synced: a cache, rebuildable from the hub.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::hash::{KeyHash, LocalHash};
use crate::{ContentHash, Environment, Result, SourceName, StreamId};

/// What was last synced of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Which key.
    pub key: KeyHash,
    /// What the source held; `None` when only the hub's side is known.
    pub local: Option<LocalHash>,
    /// What the stream's next change is based on; `None` when the key is gone.
    pub content: Option<ContentHash>,
}

/// All that is known of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerStream {
    /// The sink's [`crate::StreamState::sequence`] that the entries belong to.
    pub sequence: u64,
    /// One entry per live key, ordered by key.
    pub entries: Vec<LedgerEntry>,
}

/// What a source looked like when it was last read to its end without a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// See [`crate::Fingerprint::bytes`].
    pub fingerprint: Vec<u8>,
    /// Its streams then.
    pub streams: Vec<SyncedStream>,
}

/// One stream of a [`SourceState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedStream {
    /// Which stream.
    pub stream: StreamId,
    /// The hub table it goes to.
    pub table: String,
    /// The sink's sequence after that run.
    pub sequence: u64,
}

/// Remembers, per hub, what each stream held at its last sync.
///
/// Calls are short and may block. An implementation that loses or garbles data
/// must notice and answer `None`: the engine then asks the hub.
pub trait Ledger: Send + Sync {
    /// What is known of a stream.
    ///
    /// # Errors
    /// When the ledger is not accessible.
    fn load(&self, stream: &StreamId) -> Result<Option<LedgerStream>>;

    /// Adds what one committed batch changed; a later entry replaces an earlier
    /// one of the same key, an entry without content removes it.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn append(&self, stream: &StreamId, sequence: u64, entries: &[LedgerEntry]) -> Result<()>;

    /// Replaces all that is known of a stream; `entries` are ordered by key.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn replace(&self, stream: &StreamId, known: &LedgerStream) -> Result<()>;

    /// What a source looked like.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn source(&self, environment: &Environment, source: &SourceName) -> Result<Option<SourceState>>;

    /// Remembers, or with `None` forgets, what a source looks like.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn set_source(&self, environment: &Environment, source: &SourceName, state: Option<&SourceState>) -> Result<()>;
}

/// A ledger that lives as long as the process: for tests and one-off copies.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    streams: BTreeMap<StreamId, (u64, BTreeMap<KeyHash, LedgerEntry>)>,
    sources: BTreeMap<(Environment, SourceName), SourceState>,
}

impl MemoryLedger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every operation leaves the maps whole, so a panic elsewhere does no harm.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn load(&self, stream: &StreamId) -> Result<Option<LedgerStream>> {
        let inner = self.lock();
        Ok(inner.streams.get(stream).map(|(sequence, entries)| LedgerStream {
            sequence: *sequence,
            entries: entries.values().copied().collect(),
        }))
    }

    fn append(&self, stream: &StreamId, sequence: u64, entries: &[LedgerEntry]) -> Result<()> {
        let mut inner = self.lock();
        let (known_sequence, known) = inner.streams.entry(stream.clone()).or_default();
        *known_sequence = sequence;
        for entry in entries {
            if entry.content.is_some() {
                known.insert(entry.key, *entry);
            } else {
                known.remove(&entry.key);
            }
        }
        Ok(())
    }

    fn replace(&self, stream: &StreamId, known: &LedgerStream) -> Result<()> {
        let entries = known.entries.iter().map(|entry| (entry.key, *entry)).collect();
        self.lock().streams.insert(stream.clone(), (known.sequence, entries));
        Ok(())
    }

    fn source(&self, environment: &Environment, source: &SourceName) -> Result<Option<SourceState>> {
        Ok(self.lock().sources.get(&(environment.clone(), source.clone())).cloned())
    }

    fn set_source(&self, environment: &Environment, source: &SourceName, state: Option<&SourceState>) -> Result<()> {
        let key = (environment.clone(), source.clone());
        match state {
            Some(state) => self.lock().sources.insert(key, state.clone()),
            None => self.lock().sources.remove(&key),
        };
        Ok(())
    }
}
