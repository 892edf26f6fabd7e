//! What a sink says it did, against what it was given: an account that does not add up
//! must not look like success, however the rest of the run goes.

use std::collections::HashMap;

use crate::hash::KeyHash;
use crate::record::{Change, Operation};
use crate::sink::Applied;
use crate::{Error, Result};

/// What a delivery holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) upserts: u64,
    pub(super) deletes: u64,
    pub(super) letters: u64,
}

impl Tally {
    pub(super) fn of<'c>(changes: impl IntoIterator<Item = &'c Change>, letters: usize) -> Self {
        let mut tally = Self { letters: letters as u64, ..Self::default() };
        for change in changes {
            match change.operation {
                Operation::Upsert(_) => tally.upserts += 1,
                Operation::Delete => tally.deletes += 1,
            }
        }
        tally
    }

    /// Checks the sums. `sent` are the keys, with whether each is of an upsert; they are
    /// looked at only when something came back.
    ///
    /// # Errors
    /// Names what was given and what the sink says.
    pub(super) fn check(self, applied: &Applied, sent: impl Iterator<Item = (KeyHash, bool)>) -> Result<()> {
        let mut back = Self::of(applied.contested.iter().map(|contested| &contested.change), 0);
        let refused = Self::of(applied.refused.iter().map(|(change, _)| change), 0);
        back.upserts += refused.upserts;
        back.deletes += refused.deletes;
        // In 128 bits, so that no number that a sink makes up wraps around to a right one.
        let sum = |counts: &[u64]| counts.iter().map(|count| u128::from(*count)).sum::<u128>();
        let upserts = sum(&[applied.inserted, applied.updated, applied.unchanged, back.upserts]);
        let deletes = sum(&[applied.deleted, back.deletes]);
        // A delete that finds nothing to delete counts nowhere.
        if upserts != u128::from(self.upserts) || deletes > u128::from(self.deletes) {
            return Err(self.lie(applied, "which does not add up"));
        }
        if applied.contested.is_empty() && applied.refused.is_empty() {
            return Ok(());
        }
        let mut sent: HashMap<KeyHash, bool> = sent.collect();
        let contested = applied.contested.iter().map(|contested| &contested.change);
        for change in contested.chain(applied.refused.iter().map(|(change, _)| change)) {
            let upsert = matches!(change.operation, Operation::Upsert(_));
            if sent.remove(&change.key.hash()) != Some(upsert) {
                let what = format!("and gives {} back, which it was not given, or twice", change.key);
                return Err(self.lie(applied, &what));
            }
        }
        Ok(())
    }

    /// A delivery whose sink says that it is done, and leaves changes unsettled.
    pub(super) fn check_settled(self, applied: &Applied) -> Result<()> {
        if applied.contested.is_empty() && applied.refused.is_empty() {
            return Ok(());
        }
        Err(self.lie(applied, "and committed without having these settled"))
    }

    /// The letters that a sink hands back to be kept with what else there is.
    pub(super) fn check_letters(self, letters: usize) -> Result<()> {
        if letters as u64 == self.letters {
            return Ok(());
        }
        Err(Error::internal(format!("the sink was given {} dead letters, and hands back {letters}", self.letters)))
    }

    fn lie(self, applied: &Applied, wrong: &str) -> Error {
        let Applied { inserted, updated, unchanged, deleted, contested, refused } = applied;
        Error::internal(format!(
            "the sink was given {} records and {} deletes, and says: {inserted} inserted, {updated} updated, {unchanged} \
             unchanged, {deleted} deleted, {} contested, {} refused, {wrong}",
            self.upserts,
            self.deletes,
            contested.len(),
            refused.len(),
        ))
    }
}
