//! Putting right what differs, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compare::Found;
use super::report::{RepairReport, StreamVerification, VerifyReport};
use super::{Depth, compare};
use crate::event::Observer;
use crate::ledger::Ledger;
use crate::report::Mode;
use crate::sink::Sink;
use crate::source::DynSource;
use crate::{Engine, Options, Result, SourceName, StreamId};

/// What a comparison found of the streams that differ.
#[derive(Clone, Debug, Default)]
pub struct Findings(BTreeMap<StreamId, Found>);

impl Findings {
    pub(super) fn insert(&mut self, stream: StreamId, found: Found) {
        self.0.insert(stream, found);
    }

    pub(crate) fn of(&self, stream: &StreamId) -> Option<&Found> {
        self.0.get(stream)
    }

    /// Whether one of a source's streams differs.
    pub(crate) fn concern(&self, source: &SourceName) -> bool {
        self.0.keys().any(|stream| stream.source == *source)
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Compares, sends exactly what differs, and compares again.
///
/// Rows that the hub lacks or has otherwise are written as the source has them, over
/// what the hub has of this stream; where several streams share a row, their policy
/// decides as always. Rows that the source lacks become tombstones, unless the stream
/// leaves deletes alone, and not most of a stream at once (see
/// [`crate::plan::check_mass_delete`]): that is this stream's error in the report.
/// Rows that are the same are not written; streams and sources without a difference
/// are not read again. What changed in a source meanwhile is sent with the rest.
///
/// # Errors
/// When the hub cannot be read; what went wrong in writing is in the report.
pub async fn repair<S: Sink>(
    sink: &S,
    ledger: &dyn Ledger,
    observer: &dyn Observer,
    sources: &[Box<dyn DynSource>],
    options: &Options,
    depth: Depth,
) -> Result<RepairReport> {
    let (before, findings) = compare(sink, sources, options, depth).await?;
    if findings.is_empty() {
        return Ok(RepairReport { after: before.clone(), before, run: None });
    }
    // Full: what ledger and fingerprints say is what did not hold.
    let mut options = options.clone().mode(Mode::Full);
    options.repair = Some(Arc::new(findings));
    let run = Engine::new(sink, ledger, observer, options.clone()).run(sources).await?;
    options.repair = None;
    let (mut after, _) = compare(sink, sources, &options, depth).await?;
    for stream in &mut after.streams {
        stream.repaired = repaired(&before, stream);
    }
    Ok(RepairReport { after, before, run: Some(run) })
}

fn repaired(before: &VerifyReport, now: &StreamVerification) -> u64 {
    let alike = |then: &&StreamVerification| then.source == now.source && then.stream == now.stream;
    let then = before.streams.iter().find(alike).map_or(0, StreamVerification::differences);
    if now.error.is_some() { 0 } else { then.saturating_sub(now.differences()) }
}
