//! What is known of a stream before it is read: by the ledger, or by the hub.

use std::collections::HashSet;

use futures::StreamExt as _;

use super::reconcile::reconcile;
use super::{Run, Sink};
use crate::failpoint;
use crate::hash::{KeyHash, LocalHash};
use crate::ledger::{Intent, LedgerEntry, LedgerStream};
use crate::plan::Diff;
use crate::report::Mode;
use crate::sink::StreamState;
use crate::source::StreamSpec;
use crate::verify::Found;
use crate::{ContentHash, Result, StreamId};

/// What the records of a stream are compared with.
pub(super) struct Baseline {
    pub(super) diff: Diff,
    /// Full runs compare with the hub; a change is still based on what this
    /// writer last saw: the ledger's entries, ordered by key.
    seen: Option<Vec<LedgerEntry>>,
    /// Rows whose columns are not what their recorded hash says.
    damaged: HashSet<KeyHash>,
    /// Whether another installation wrote what is compared with: nothing is based
    /// on it, and what only the hub has is not ours to delete.
    pub(super) foreign: bool,
    /// Whether what is damaged is replaced whatever hash is recorded with it.
    forced: bool,
}

/// What a change is based on.
#[derive(Clone, Copy)]
pub(super) struct Base {
    pub(super) content: Option<ContentHash>,
    /// The very same record met the very same row before, and the row stayed.
    pub(super) decided_before: bool,
}

impl Baseline {
    /// Nothing is known.
    pub(super) fn empty() -> Self {
        Self::of(Vec::new(), None)
    }

    /// Asks the ledger, or the hub where the ledger is not to be asked or out of step.
    /// `state` is what the hub last knew of the stream.
    pub(super) async fn load<S: Sink>(
        run: &Run<'_, S>,
        id: &StreamId,
        spec: &StreamSpec,
        state: Option<&StreamState>,
        foreign: bool,
    ) -> Result<Self> {
        let sequence = state.map_or(0, |state| state.sequence);
        if let Some(found) = run.options.repair.as_ref().and_then(|repair| repair.of(id)) {
            return Self::found(run, id, sequence, found, foreign);
        }
        let loaded = run.ledger.load(id)?;
        let out_of_step = loaded.as_ref().is_some_and(|known| known.sequence != sequence);
        let full = run.options.mode == Mode::Full;
        let loaded = match loaded {
            Some(known) if !out_of_step && !full => return Ok(Self::of(known.entries, None)),
            Some(known) if !out_of_step => {
                let hub = ask_hub(run, id, spec, sequence).await?;
                return Ok(Self { damaged: hub.damaged, ..Self::of(hub.entries, Some(known.entries)) });
            }
            loaded => loaded,
        };
        let hub = ask_hub(run, id, spec, sequence).await?;
        let recalled = match (&loaded, state) {
            (Some(known), Some(state)) if !foreign => run.recall(id, known, state, &hub.entries)?,
            _ => None,
        };
        let rebuilt = match &recalled {
            // Keys that turn out to be ours as well are remembered when they are read.
            _ if foreign => Vec::new(),
            Some(recalled) => recalled.clone(),
            None => hub.entries.clone(),
        };
        // A stale ledger goes even if nothing takes its place: what is appended
        // to it from now on would vouch for its old entries.
        if out_of_step || sequence > 0 {
            run.ledger.replace(id, &LedgerStream { sequence, entries: rebuilt })?;
            failpoint!("engine-ledger-replaced");
        }
        let compared = match recalled {
            // As if the acknowledgement had come.
            Some(recalled) if full => Self::of(hub.entries, Some(recalled)),
            Some(recalled) => Self::of(recalled, None),
            None => Self::of(hub.entries, None),
        };
        Ok(Self { damaged: hub.damaged, foreign, ..compared })
    }

    /// What a comparison found in the hub. A ledger in step with it stays, and takes
    /// what is sent; another is begun anew from it.
    fn found<S: Sink>(run: &Run<'_, S>, id: &StreamId, sequence: u64, found: &Found, foreign: bool) -> Result<Self> {
        let mut entries = found.entries.clone();
        entries.sort_by_key(|entry| entry.key);
        if run.ledger.load(id)?.is_none_or(|known| known.sequence != sequence) {
            let entries = if foreign { Vec::new() } else { entries.clone() };
            run.ledger.replace(id, &LedgerStream { sequence, entries })?;
        }
        // What another installation wrote is not overwritten by force either.
        Ok(Self { damaged: found.damaged.clone(), foreign, forced: !foreign, ..Self::of(entries, None) })
    }

    fn of(entries: Vec<LedgerEntry>, seen: Option<Vec<LedgerEntry>>) -> Self {
        Self { diff: Diff::new(entries), seen, damaged: HashSet::new(), foreign: false, forced: false }
    }

    /// Whether the hub's row has to be written anew whatever it says.
    pub(super) fn is_damaged(&self, key: KeyHash) -> bool {
        self.damaged.contains(&key)
    }

    /// What a change of `key` to `content` is based on, where the comparison found `known`.
    pub(super) fn base(
        &self,
        key: KeyHash,
        local: LocalHash,
        known: Option<ContentHash>,
        content: ContentHash,
    ) -> Base {
        let mut base = self.seen_base(key, local, known);
        if self.is_damaged(key) && !self.forced {
            // To be written anew even if the recorded hash says that it is the same.
            base.content = Some(content);
        }
        base
    }

    fn seen_base(&self, key: KeyHash, local: LocalHash, known: Option<ContentHash>) -> Base {
        if self.foreign {
            return Base { content: None, decided_before: false };
        }
        if self.seen.is_none() {
            return Base { content: known, decided_before: false };
        }
        match self.last_seen(key) {
            Some(entry) if entry.content == known && entry.local == Some(local) => {
                Base { content: None, decided_before: true }
            }
            entry => Base { content: entry.and_then(|entry| entry.content), decided_before: false },
        }
    }

    /// All keys that are gone, with the version that this writer last saw.
    /// What it never saw it does not delete.
    pub(super) fn gone(&self) -> impl Iterator<Item = (KeyHash, Option<ContentHash>)> {
        self.diff.missing_entries().filter_map(|entry| match self.seen {
            None => Some((entry.key, entry.content)),
            Some(_) => self.last_seen(entry.key).map(|seen| (entry.key, seen.content)),
        })
    }

    fn last_seen(&self, key: KeyHash) -> Option<&LedgerEntry> {
        let seen = self.seen.as_deref()?;
        seen.binary_search_by_key(&key, |entry| entry.key).ok().map(|position| &seen[position])
    }
}

/// What the hub knows of a stream, ordered by key.
struct HubSide {
    entries: Vec<LedgerEntry>,
    damaged: HashSet<KeyHash>,
}

async fn ask_hub<S: Sink>(run: &Run<'_, S>, id: &StreamId, spec: &StreamSpec, sequence: u64) -> Result<HubSide> {
    let mut entries = Vec::new();
    let mut damaged = HashSet::new();
    if sequence > 0 {
        let full = run.options.mode == Mode::Full;
        let (sink, table) = (run.sink, &spec.table);
        let mut known = if full { sink.recomputed(id, table) } else { sink.known(id, table) };
        while let Some(rows) = known.next().await {
            let rows = rows?;
            damaged.extend(rows.iter().filter(|row| !row.sound).map(|row| row.key.hash()));
            entries.extend(rows.iter().map(|row| LedgerEntry {
                key: row.key.hash(),
                local: None,
                content: Some(row.hash),
            }));
        }
    }
    entries.sort_by_key(|entry| entry.key);
    Ok(HubSide { entries, damaged })
}

impl<S: Sink> Run<'_, S> {
    /// What a ledger out of step would know if the last acknowledgements had come: where
    /// all commits that it missed are known to be those that its last run asked for.
    fn recall(
        &self,
        id: &StreamId,
        known: &LedgerStream,
        state: &StreamState,
        hub: &[LedgerEntry],
    ) -> Result<Option<Vec<LedgerEntry>>> {
        let intended = self.ledger.intended(id)?;
        let by_that_run = |intent: &Intent| intent.run_id == state.checkpoint.run_id;
        let last =
            intended.iter().map(|(intent, _)| intent).filter(|intent| by_that_run(intent)).map(Intent::last).max();
        if last.is_none_or(|last| last < state.sequence) || known.sequence > state.sequence {
            return Ok(None);
        }
        let durable = intended.into_iter().filter(|(intent, _)| intent.last() <= state.sequence);
        Ok(Some(reconcile(&known.entries, durable.flat_map(|(_, entries)| entries), hub)))
    }
}
