//! The diff: which records are new, changed or gone, against what the ledger knows.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::hash::{KeyHash, LocalHash};
use crate::ledger::LedgerEntry;
use crate::{ContentHash, Error, ErrorKind, Result};

/// What the ledger says about a record that was just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Never seen.
    New,
    /// Seen, and its source holds the very same.
    Same,
    /// Seen, and its source holds something else, or it is not known what it held.
    Different {
        /// What the hub held of this stream.
        content: ContentHash,
    },
    /// The key occurred earlier in this very run, with this content.
    Repeated {
        /// Whether the earlier one was the same.
        same: bool,
    },
}

/// The ledger of one stream during one run.
#[derive(Debug)]
pub struct Diff {
    entries: Vec<LedgerEntry>,
    /// Per value of the key hash's top bits, where its entries begin.
    starts: Vec<u32>,
    /// So many top bits: the index pays for large streams only.
    bits: u32,
    seen: Vec<bool>,
    new: HashMap<u128, LocalHash, BuildHasherDefault<Spread>>,
    missing: usize,
}

impl Diff {
    /// Takes the stream's entries, in any order.
    pub fn new(mut entries: Vec<LedgerEntry>) -> Self {
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            entries.sort_by_key(|entry| entry.key);
            entries.dedup_by_key(|entry| entry.key);
        }
        let bits = if entries.len() < 1 << 10 { 0 } else { 16 };
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for entry in &entries {
            starts[bucket(entry.key, bits) + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let (seen, missing) = (vec![false; entries.len()], entries.len());
        Self { entries, starts, bits, seen, new: HashMap::default(), missing }
    }

    /// How many keys the ledger knew.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the ledger knew nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many known keys have not been read so far.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Looks a record up and marks its key as read.
    pub fn look(&mut self, key: KeyHash, local: LocalHash) -> Known {
        let Some(position) = self.position(key) else {
            return match self.new.insert(key.0, local) {
                None => Known::New,
                Some(earlier) => {
                    self.new.insert(key.0, earlier);
                    Known::Repeated { same: earlier == local }
                }
            };
        };
        if std::mem::replace(&mut self.seen[position], true) {
            // Until the run ends the entry holds what was read first.
            return Known::Repeated { same: self.entries[position].local == Some(local) };
        }
        self.missing -= 1;
        let entry = &mut self.entries[position];
        let before = entry.local.replace(local);
        match entry.content {
            Some(_) if before == Some(local) => Known::Same,
            Some(content) => Known::Different { content },
            None => Known::New,
        }
    }

    /// Whether the source holds the very same as last time; then marks the key as
    /// read. `false` leaves everything to [`Self::look`].
    pub fn same(&mut self, key: KeyHash, local: LocalHash) -> bool {
        let Some(position) = self.position(key) else { return false };
        let entry = &self.entries[position];
        if self.seen[position] || entry.local != Some(local) || entry.content.is_none() {
            return false;
        }
        self.seen[position] = true;
        self.missing -= 1;
        true
    }

    /// What the ledger knew of a key's content, whether it was read or not.
    pub fn content(&self, key: KeyHash) -> Option<ContentHash> {
        self.position(key).and_then(|position| self.entries[position].content)
    }

    /// Marks a key as read without comparing: it exists, but could not be converted.
    pub fn keep(&mut self, key: KeyHash) {
        if let Some(position) = self.position(key)
            && !std::mem::replace(&mut self.seen[position], true)
        {
            self.missing -= 1;
        }
    }

    /// Whether a key is known but was not read.
    pub fn is_missing(&self, key: KeyHash) -> bool {
        self.position(key).is_some_and(|position| !self.seen[position])
    }

    /// The entries of all keys that were not read.
    pub fn missing_entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.entries.iter().zip(&self.seen).filter(|(_, seen)| !**seen).map(|(entry, _)| entry)
    }

    fn position(&self, key: KeyHash) -> Option<usize> {
        let bucket = bucket(key, self.bits);
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        self.entries[start..end].binary_search_by_key(&key, |entry| entry.key).ok().map(|offset| start + offset)
    }
}

fn bucket(key: KeyHash, bits: u32) -> usize {
    // At most the top 16 of 128 bits: always fits.
    usize::try_from(key.0.checked_shr(u128::BITS - bits).unwrap_or(0)).unwrap_or(0)
}

/// Key hashes are spread already: folds their halves together, and no more.
#[derive(Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
}

/// Stops a stream that would lose most of its rows in the hub at once.
///
/// More than [`MASS_DELETE_ROWS`] rows and more than half of what is known: as
/// a rule that is a truncated file or a wrong folder, not a decision.
///
/// # Errors
/// [`ErrorKind::Refused`], saying how to allow it.
pub fn check_mass_delete(missing: usize, known: usize, allowed: bool) -> Result<()> {
    if allowed || missing <= MASS_DELETE_ROWS || missing * 2 <= known {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Refused, format!("{missing} of {known} known records are gone from the source"))
        .advice("nothing was deleted in the hub; if they are really meant to go, run again with --allow-mass-delete"))
}

/// So many rows may always go.
pub const MASS_DELETE_ROWS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: u128, local: u64) -> LedgerEntry {
        LedgerEntry { key: KeyHash(key), local: Some(LocalHash(local)), content: ContentHash::from_i64(7) }
    }

    #[test]
    fn each_record_is_new_same_different_or_repeated_and_the_rest_is_missing() {
        let spread = |n: u128| n << 112 | n;
        let mut diff = Diff::new((1..=4).map(|n| entry(spread(n), 10)).collect());
        let content = ContentHash::from_i64(7).expect("not zero");
        assert_eq!(diff.look(KeyHash(spread(1)), LocalHash(10)), Known::Same);
        assert_eq!(diff.look(KeyHash(spread(2)), LocalHash(11)), Known::Different { content });
        assert_eq!(diff.look(KeyHash(spread(2)), LocalHash(11)), Known::Repeated { same: true });
        assert_eq!(diff.look(KeyHash(spread(2)), LocalHash(12)), Known::Repeated { same: false });
        assert_eq!(diff.look(KeyHash(spread(9)), LocalHash(1)), Known::New);
        assert_eq!(diff.look(KeyHash(spread(9)), LocalHash(1)), Known::Repeated { same: true });
        diff.keep(KeyHash(spread(3)));
        assert_eq!(diff.missing(), 1);
        assert!(diff.is_missing(KeyHash(spread(4))));
        assert_eq!(diff.missing_entries().count(), 1);
    }

    #[test]
    fn what_the_hub_does_not_hold_is_new_even_if_its_source_did_not_change() {
        let gone = LedgerEntry { content: None, ..entry(1, 10) };
        let mut diff = Diff::new(vec![gone]);
        assert!(!diff.same(KeyHash(1), LocalHash(10)));
        assert_eq!(diff.look(KeyHash(1), LocalHash(10)), Known::New);
    }

    #[test]
    fn keys_are_found_by_their_top_bits_and_spread_by_all_of_them() {
        assert_eq!(bucket(KeyHash(0xabcd << 112 | 1), 16), 0xabcd);
        assert_eq!(bucket(KeyHash(u128::MAX), 0), 0);
        let mut spread = Spread::default();
        spread.write(&(0b0011_u128 << 64 | 0b0101).to_le_bytes());
        assert_eq!(spread.finish(), 0b0110);
    }

    #[test]
    fn the_brake_needs_both_many_rows_and_most_of_them() {
        assert!(check_mass_delete(100, 100, false).is_ok());
        assert!(check_mass_delete(101, 202, false).is_ok());
        assert!(check_mass_delete(101, 101, true).is_ok());
        let error = check_mass_delete(102, 203, false).expect_err("more than half and more than 100");
        assert!(error.to_string().contains("--allow-mass-delete"));
    }
}
