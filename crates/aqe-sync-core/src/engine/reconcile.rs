//! What a ledger would know if the last acknowledgements had come: from what it knew,
//! what was asked for since, and what the hub has.

use std::collections::HashMap;

use crate::hash::KeyHash;
use crate::ledger::LedgerEntry;

/// One entry per key that the ledger knew, or that was sent, and that the hub has;
/// ordered by key, as `known` and `hub` are. `durable` is what was asked for in commits
/// that the hub counts, in its order.
///
/// - The hub has what was last seen of the key: that stands.
/// - It has what was asked for: that became durable.
/// - It has anything else: somebody else's hand. What was last seen stands, so that the
///   next change of the record meets it as a conflict; whether the record itself changed
///   meanwhile is no longer known. A key that was only asked for was never seen, and one
///   that was to be deleted is not there any more, as far as this writer is concerned.
///
/// What the hub lost is forgotten, and so is what nobody here knows of.
pub(super) fn reconcile(
    known: &[LedgerEntry],
    durable: impl Iterator<Item = LedgerEntry>,
    hub: &[LedgerEntry],
) -> Vec<LedgerEntry> {
    let mut asked: HashMap<KeyHash, Vec<LedgerEntry>> = HashMap::new();
    for entry in durable {
        asked.entry(entry.key).or_default().push(entry);
    }
    let entries = hub.iter().filter_map(|row| {
        let seen = known.binary_search_by_key(&row.key, |entry| entry.key).ok().map(|position| known[position]);
        let asked = asked.get(&row.key).map_or(&[][..], Vec::as_slice);
        let same = |entry: &&LedgerEntry| entry.content == row.content;
        if let Some(entry) = seen.as_ref().filter(same).or_else(|| asked.iter().rfind(same)) {
            return Some(*entry);
        }
        let deleted = asked.last().is_some_and(|last| last.content.is_none());
        seen.filter(|_| !deleted).map(|seen| LedgerEntry { local: None, ..seen })
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContentHash;
    use crate::hash::LocalHash;

    fn entry(key: u128, version: u64) -> LedgerEntry {
        let content = ContentHash::from_i64(version.cast_signed());
        LedgerEntry { key: KeyHash(key), local: content.map(|_| LocalHash(version)), content }
    }

    fn of_hub(key: u128, version: u64) -> LedgerEntry {
        LedgerEntry { local: None, ..entry(key, version) }
    }

    #[test]
    fn what_stands_or_was_asked_for_is_known_and_anything_else_is_as_it_was_last_seen() {
        let known = [entry(1, 10), entry(2, 20), entry(3, 30), entry(4, 40), entry(5, 50)];
        // 1 stands, 2 became durable, 3 was edited by somebody, 4 was decided otherwise, 5 is gone.
        let durable = [entry(1, 11), entry(2, 21), entry(3, 31), entry(4, 41), entry(4, 42), entry(5, 0)];
        let hub = [of_hub(1, 10), of_hub(2, 21), of_hub(3, 39), of_hub(4, 42)];
        let last_seen = LedgerEntry { local: None, ..entry(3, 30) };
        assert_eq!(reconcile(&known, durable.into_iter(), &hub), [entry(1, 10), entry(2, 21), last_seen, entry(4, 42)]);
    }

    #[test]
    fn a_new_key_is_known_only_if_the_hub_has_what_was_asked_for() {
        let hub = [of_hub(1, 10), of_hub(2, 29), of_hub(3, 30)];
        assert_eq!(reconcile(&[], [entry(1, 10), entry(2, 20)].into_iter(), &hub), [entry(1, 10)]);
    }

    #[test]
    fn what_was_to_be_deleted_is_deleted_once_more_only_where_it_stayed_as_it_was() {
        let known = [entry(1, 10), entry(2, 20)];
        let durable = [entry(1, 0), entry(2, 0)];
        let hub = [of_hub(1, 10), of_hub(2, 29)];
        assert_eq!(reconcile(&known, durable.into_iter(), &hub), [entry(1, 10)]);
    }
}
