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

/// What a run is about to ask of the sink for one stream: written down before it is
/// sent, so that after a lost acknowledgement it can be told from what others did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The run.
    pub run_id: String,
    /// The sink's sequence when the run began with the stream.
    pub since: u64,
    /// How many commits it has asked for since then, this one included.
    pub commits: u64,
}

impl Intent {
    /// The sink's sequence once all that was asked for is durable.
    pub fn last(&self) -> u64 {
        self.since.saturating_add(self.commits)
    }
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

    /// Writes down what is about to be sent, as the entries that [`Ledger::append`] will
    /// be given if it becomes durable; those without content are deletes. Adds to what
    /// the same run intended, and takes the place of what another run did. Entries and
    /// sequence of the stream stay; one that is not known yet begins, at
    /// [`Intent::since`], without entries.
    ///
    /// A ledger that keeps none of this (the default) takes a row that changed in the
    /// hub between a lost acknowledgement and the next run for its writer's own.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn intend(&self, stream: &StreamId, intent: &Intent, entries: &[LedgerEntry]) -> Result<()> {
        let _ = (stream, intent, entries);
        Ok(())
    }

    /// What the last run intended, in the order in which it was written down: nothing
    /// where that is not sound as a whole, or was fulfilled.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn intended(&self, stream: &StreamId) -> Result<Vec<(Intent, Vec<LedgerEntry>)>> {
        let _ = stream;
        Ok(Vec::new())
    }

    /// Forgets what was intended: all of it was acknowledged.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    fn fulfilled(&self, stream: &StreamId) -> Result<()> {
        let _ = stream;
        Ok(())
    }

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
    intents: BTreeMap<StreamId, Vec<(Intent, Vec<LedgerEntry>)>>,
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

    fn intend(&self, stream: &StreamId, intent: &Intent, entries: &[LedgerEntry]) -> Result<()> {
        let mut inner = self.lock();
        inner.streams.entry(stream.clone()).or_insert_with(|| (intent.since, BTreeMap::new()));
        let intended = inner.intents.entry(stream.clone()).or_default();
        intended.retain(|(earlier, _)| earlier.run_id == intent.run_id);
        intended.push((intent.clone(), entries.to_vec()));
        Ok(())
    }

    fn intended(&self, stream: &StreamId) -> Result<Vec<(Intent, Vec<LedgerEntry>)>> {
        Ok(self.lock().intents.get(stream).cloned().unwrap_or_default())
    }

    fn fulfilled(&self, stream: &StreamId) -> Result<()> {
        self.lock().intents.remove(stream);
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
