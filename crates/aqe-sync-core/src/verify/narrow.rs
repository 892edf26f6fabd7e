//! Where two sides differ: digests of both, finer and finer.

use std::collections::BTreeMap;

use super::local::LocalSide;
use crate::Result;
use crate::digest::{Bucket, Digest, DigestRequest, HashRange, HashRanges};
use crate::sink::Sink;

/// Every stream is cut into 16 parts at first.
const FIRST_BITS: u32 = 4;
/// A part of more rows than this is cut again before its rows are asked for.
const SMALL: u64 = 256;
/// After so many looks, what still differs is asked for.
const ROUNDS: usize = 3;

/// One stream's parts that differ.
#[derive(Default)]
pub(super) struct Narrowed {
    /// How many rows the hub has of the stream.
    pub(super) hub: u64,
    /// Parts that differ: rows outside of them are the same on both sides.
    pub(super) differing: Vec<HashRange>,
    /// Those of them of which the hub has rows.
    pub(super) fetch: Vec<HashRange>,
    /// Parts that differ and are to be cut again.
    open: Vec<HashRange>,
    bits: u32,
}

/// Compares what streams add up to; all of them together in a few calls.
/// `known` are the streams that the hub has seen; of others it has nothing.
pub(super) async fn narrow<S: Sink>(sink: &S, sides: &[(&LocalSide, bool)]) -> Result<Vec<Narrowed>> {
    let begin = |(_, known): &(&LocalSide, bool)| {
        let mut narrowed = Narrowed { bits: FIRST_BITS, ..Narrowed::default() };
        if *known {
            narrowed.open.push(HashRange::ALL);
        } else {
            narrowed.differing.push(HashRange::ALL);
        }
        narrowed
    };
    let mut all: Vec<Narrowed> = sides.iter().map(begin).collect();
    for round in 0..ROUNDS {
        let asked: Vec<usize> = (0..all.len()).filter(|position| !all[*position].open.is_empty()).collect();
        if asked.is_empty() {
            break;
        }
        let request = |position: &usize| {
            let (side, narrowed) = (sides[*position].0, &all[*position]);
            let (stream, table) = (side.id.clone(), side.spec.table.clone());
            DigestRequest { stream, table, within: narrowed.open.clone(), bits: narrowed.bits }
        };
        let wanted = asked.iter().map(request).collect();
        let answers = sink.digests(wanted).await?;
        if answers.len() != asked.len() {
            let message = format!("the hub gave {} digests where {} were asked for", answers.len(), asked.len());
            return Err(crate::Error::internal(message));
        }
        for (position, hub) in asked.into_iter().zip(answers) {
            all[position].look(sides[position].0, hub, round);
        }
    }
    Ok(all)
}

impl Narrowed {
    /// Whether all of the stream is known to be the same.
    pub(super) fn is_same(&self) -> bool {
        self.differing.is_empty()
    }

    fn look(&mut self, side: &LocalSide, hub: Vec<Bucket>, round: usize) {
        let within = HashRanges::new(std::mem::take(&mut self.open));
        let mut local = Digest::new(self.bits);
        let contents = side.entries.iter().map(|entry| entry.content);
        contents.filter(|content| within.contain(*content)).for_each(|content| local.add(content));
        if round == 0 {
            self.hub = hub.iter().map(|bucket| bucket.count).sum();
        }
        let mut pairs: BTreeMap<HashRange, (Option<Bucket>, Option<Bucket>)> = BTreeMap::new();
        for bucket in local.into_buckets() {
            pairs.entry(bucket.range).or_default().0 = Some(bucket);
        }
        // An empty bucket may be sent, and is none.
        for bucket in hub.into_iter().filter(|bucket| bucket.count > 0) {
            pairs.entry(bucket.range).or_default().1 = Some(bucket);
        }
        let mut largest = 0;
        for (range, (local, hub)) in pairs.into_iter().filter(|(_, (local, hub))| local != hub) {
            let count = hub.map_or(0, |bucket| bucket.count);
            if count > SMALL && local.is_some() && round + 1 < ROUNDS {
                largest = largest.max(count);
                self.open.push(range);
                continue;
            }
            self.differing.push(range);
            if count > 0 {
                self.fetch.push(range);
            }
        }
        // So many that about half of what is small is left in each.
        let halvings = (largest / (SMALL / 2)).max(1).ilog2() + 1;
        self.bits += halvings.clamp(1, 8);
    }
}
