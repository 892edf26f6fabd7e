//! Comparing contents, not counts: what sources hold against what a hub has of them.
//!
//! Neither ledger nor fingerprint is asked: every record is read, converted
//! and hashed anew. The hub is asked what its rows add up to ([`crate::digest`]),
//! then, in the parts that differ, for keys and hashes; never for whole rows.
//! Memory holds a key's name and two hashes per record.
//!
//! That takes the hub's recorded hashes at their word. [`verify_deep`] does not:
//! it has every hash made anew of the stored columns, and so finds rows that
//! somebody edited by hand.

mod compare;
mod local;
mod narrow;
mod repair;
mod report;

use crate::sink::Sink;
use crate::source::DynSource;
use crate::{Options, Result};

use local::{LocalSide, Side};

pub(crate) use compare::Found;
pub use repair::{Findings, repair};
pub use report::{RepairReport, StreamVerification, Verdict, VerifyReport};

/// How much of the hub is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The hashes that are recorded with its rows.
    Recorded,
    /// The columns that are stored.
    Stored,
}

/// Compares what sources hold with what the hub has of them, as a run with
/// these options would put it there.
///
/// Nothing is written. A source that cannot be read is part of the report.
///
/// # Errors
/// When the hub cannot be read.
pub async fn verify<S: Sink>(sink: &S, sources: &[Box<dyn DynSource>], options: &Options) -> Result<VerifyReport> {
    Ok(compare(sink, sources, options, Depth::Recorded).await?.0)
}

/// As [`verify`], but has the hub make all hashes anew of what it has stored. That
/// reads every row of these sources there, over a link too.
///
/// # Errors
/// As [`verify`].
pub async fn verify_deep<S: Sink>(sink: &S, sources: &[Box<dyn DynSource>], options: &Options) -> Result<VerifyReport> {
    Ok(compare(sink, sources, options, Depth::Stored).await?.0)
}

/// Compares, and keeps what was found of streams that differ.
async fn compare<S: Sink>(
    sink: &S,
    sources: &[Box<dyn DynSource>],
    options: &Options,
    depth: Depth,
) -> Result<(VerifyReport, Findings)> {
    let states = sink.states(&options.environment).await?;
    // What a stream left in a table that it no longer goes to is not compared.
    let known = |side: &LocalSide| {
        states.iter().any(|state| state.stream == side.id && state.table == side.spec.table.name().as_str())
    };
    let mut sides = Vec::new();
    for source in sources {
        sides.extend(local::read_source(source.as_ref(), options).await);
    }
    let read: Vec<(&LocalSide, bool)> = sides.iter().filter_map(Side::read).map(|side| (side, known(side))).collect();
    let narrowed = if depth == Depth::Recorded { narrow::narrow(sink, &read).await? } else { Vec::new() };
    let mut pairs = read.iter().enumerate();
    let mut streams = Vec::with_capacity(sides.len());
    let mut findings = Findings::default();
    for side in &sides {
        let side = match side {
            Side::Failed(failed) => {
                streams.push(failed.clone());
                continue;
            }
            Side::Read(side) => side,
        };
        // One pair per side that was read, in the same order.
        let Some((position, (_, known))) = pairs.next() else { continue };
        let (verification, found) = match narrowed.get(position) {
            Some(narrowed) if narrowed.is_same() => (compare::same(side, narrowed.hub), Found::default()),
            Some(narrowed) => compare::by_digest(sink, side, narrowed).await?,
            None => compare::by_content(sink, side, *known).await?,
        };
        if verification.differences() > 0 && verification.error.is_none() {
            findings.insert(side.id.clone(), found);
        }
        streams.push(verification);
    }
    Ok((VerifyReport::of(streams), findings))
}
