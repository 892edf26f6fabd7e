//! Both sides of a stream, key by key where they differ.

use std::collections::{HashMap, HashSet};

use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::local::LocalSide;
use super::narrow::Narrowed;
use super::report::{StreamVerification, name};
use crate::digest::{HashRange, HashRanges};
use crate::hash::KeyHash;
use crate::ledger::LedgerEntry;
use crate::schema::{Deletes, Mutability};
use crate::sink::Sink;
use crate::{ContentHash, KnownRow, Result};

/// What the hub has of a stream, as a comparison found it: what a repair is based on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Every key that the hub has, with the hash that is recorded there.
    pub(crate) entries: Vec<LedgerEntry>,
    /// Rows whose columns are not what their recorded hash says.
    pub(crate) damaged: HashSet<KeyHash>,
}

/// How a key of the source stands in the hub.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not looked for by key: it is in a part that is the same.
    Equal,
    Missing,
    Same,
    Different,
    KeptByRule,
    Repeated,
}

/// Compares a stream in the parts that differ.
pub(super) async fn by_digest<S: Sink>(
    sink: &S,
    side: &LocalSide,
    narrowed: &Narrowed,
) -> Result<(StreamVerification, Found)> {
    let mut compared = Compared::new(side, HashRanges::new(narrowed.differing.clone()));
    if !narrowed.fetch.is_empty() {
        let rows = sink.known_in(&side.id, &side.spec.table, narrowed.fetch.clone());
        compared.take_all(rows).await?;
    }
    compared.hub = narrowed.hub;
    Ok(compared.close())
}

/// Compares a whole stream with hashes made anew of what the hub has stored.
pub(super) async fn by_content<S: Sink>(
    sink: &S,
    side: &LocalSide,
    known: bool,
) -> Result<(StreamVerification, Found)> {
    let mut compared = Compared::new(side, HashRanges::new(vec![HashRange::ALL]));
    if known {
        compared.take_all(sink.recomputed(&side.id, &side.spec.table)).await?;
        compared.hub = compared.looked_at;
    }
    let (verification, mut found) = compared.close();
    if !found.damaged.is_empty() {
        // A change that is to replace a row has to name the hash that is recorded there.
        let mut recorded = sink.known(&side.id, &side.spec.table);
        let mut hashes = HashMap::new();
        while let Some(rows) = recorded.next().await {
            let rows = rows?.into_iter().map(|row| (row.key.hash(), row.hash));
            hashes.extend(rows.filter(|(key, _)| found.damaged.contains(key)));
        }
        for entry in &mut found.entries {
            entry.content = hashes.get(&entry.key).copied().or(entry.content);
        }
    }
    Ok((verification, found))
}

struct Compared<'a> {
    side: &'a LocalSide,
    /// Only rows with hashes in here are looked at.
    within: HashRanges,
    standings: Vec<Standing>,
    positions: HashMap<KeyHash, usize>,
    hub: u64,
    looked_at: u64,
    extra: Vec<String>,
    extra_count: u64,
    found: Found,
}

impl<'a> Compared<'a> {
    fn new(side: &'a LocalSide, within: HashRanges) -> Self {
        let mut positions = HashMap::new();
        let mut standings = vec![Standing::Equal; side.entries.len()];
        for (position, entry) in side.entries.iter().enumerate() {
            if within.contain(entry.content) {
                positions.insert(entry.key, position);
                standings[position] = Standing::Missing;
            }
        }
        let (extra, found) = (Vec::new(), Found::default());
        Self { side, within, standings, positions, hub: 0, looked_at: 0, extra, extra_count: 0, found }
    }

    async fn take_all(&mut self, mut rows: BoxStream<'static, Result<Vec<KnownRow>>>) -> Result<()> {
        while let Some(batch) = rows.next().await {
            for row in batch? {
                // A sink may send more than it was asked for.
                if self.within.contain(row.hash) {
                    self.take(&row);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, row: &KnownRow) {
        let key = row.key.hash();
        self.looked_at += 1;
        self.found.entries.push(LedgerEntry { key, local: None, content: Some(row.hash) });
        if !row.sound {
            self.found.damaged.insert(key);
        }
        match self.positions.get(&key) {
            Some(position) => self.standings[*position] = self.standing(key, self.side.entries[*position].content, row),
            None if self.side.rejected.contains(&key) => {}
            None => {
                self.extra_count += 1;
                name(&mut self.extra, &row.key);
            }
        }
    }

    fn standing(&self, key: KeyHash, content: ContentHash, row: &KnownRow) -> Standing {
        if self.side.after_reject.contains(&key) {
            Standing::Repeated
        } else if row.sound && row.hash == content {
            Standing::Same
        } else if row.sound && self.side.spec.table.mutability() == Mutability::Immutable {
            Standing::KeptByRule
        } else {
            Standing::Different
        }
    }

    fn close(mut self) -> (StreamVerification, Found) {
        let side = self.side;
        let mut result = opened(side);
        result.hub = self.hub;
        for ((entry, key), standing) in side.named().zip(&self.standings) {
            match standing {
                Standing::Equal => {
                    let content = Some(entry.content);
                    self.found.entries.push(LedgerEntry { key: entry.key, local: None, content });
                }
                Standing::Same => {}
                Standing::Missing => {
                    result.missing_count += 1;
                    name(&mut result.missing, key);
                }
                Standing::Different => {
                    result.different_count += 1;
                    name(&mut result.different, key);
                }
                Standing::KeptByRule => result.kept_by_rule += 1,
                Standing::Repeated => {
                    result.repeated += 1;
                    result.local -= 1;
                }
            }
        }
        // Without a whole reading nobody knows what the source lacks, a nameless record
        // may be any key, and some tables remember on purpose.
        let told = side.error.is_none() && !side.nameless && side.spec.deletes != Deletes::Ignore;
        if told {
            (result.extra, result.extra_count) = (self.extra, self.extra_count);
        }
        (result, self.found)
    }
}

/// The account of a stream of which both sides are the same.
pub(super) fn same(side: &LocalSide, hub: u64) -> StreamVerification {
    StreamVerification { hub, ..opened(side) }
}

fn opened(side: &LocalSide) -> StreamVerification {
    let mut result =
        StreamVerification::new(side.id.source.clone(), side.id.stream.clone(), side.spec.table.name().as_str());
    result.local = side.entries.len() as u64;
    result.repeated = side.repeated;
    result.unstorable = side.unstorable;
    result.error.clone_from(&side.error);
    result
}
