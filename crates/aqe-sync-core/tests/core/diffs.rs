//! The diff against a model, small and beyond the size from which it is indexed.

use std::collections::BTreeMap;

use aqe_sync_core::hash::{ContentHash, KeyHash, LocalHash};
use aqe_sync_core::ledger::LedgerEntry;
use aqe_sync_core::plan::{Diff, Known};
use proptest::prelude::*;

use crate::support::cases;

fn key(number: u16) -> KeyHash {
    // Spread as real hashes are, over the top bits too.
    KeyHash(u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn content(number: u16) -> ContentHash {
    ContentHash::from_i64(i64::from(number) + 1).expect("not zero")
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_diff_agrees_with_its_model(
        known in prop_oneof![
            proptest::collection::btree_map(0..300_u16, 0..3_u64, 0..40),
            proptest::collection::btree_map(0..5000_u16, 0..3_u64, 1500..1800),
        ],
        looks in proptest::collection::vec((0..300_u16, 0..3_u64, any::<bool>()), 0..120),
    ) {
        let entry = |(number, local): (&u16, &u64)| LedgerEntry {
            key: key(*number), local: Some(LocalHash(local + 1)), content: Some(content(*number)),
        };
        let mut diff = Diff::new(known.iter().map(entry).collect());
        let mut seen: BTreeMap<u16, u64> = BTreeMap::new();
        for (number, local, keep) in looks {
            if keep {
                diff.keep(key(number));
                if let Some(before) = known.get(&number) {
                    seen.entry(number).or_insert(*before);
                }
                continue;
            }
            let expected = match (seen.get(&number), known.get(&number)) {
                (Some(first), _) => Known::Repeated { same: *first == local },
                (None, None) => Known::New,
                (None, Some(before)) if *before == local => Known::Same,
                (None, Some(_)) => Known::Different { content: content(number) },
            };
            seen.entry(number).or_insert(local);
            // `same` is the short cut: it must say yes exactly when `look` says Same.
            if diff.same(key(number), LocalHash(local + 1)) {
                prop_assert_eq!(expected, Known::Same);
            } else {
                prop_assert_eq!(diff.look(key(number), LocalHash(local + 1)), expected);
            }
        }
        let missing: Vec<u16> = known.keys().copied().filter(|number| !seen.contains_key(number)).collect();
        prop_assert_eq!(diff.missing(), missing.len());
        prop_assert_eq!(diff.missing_entries().count(), missing.len());
        for number in 0..300 {
            prop_assert_eq!(diff.is_missing(key(number)), missing.contains(&number));
            prop_assert_eq!(diff.content(key(number)), known.get(&number).map(|_| content(number)));
        }
        prop_assert_eq!((diff.len(), diff.is_empty()), (known.len(), known.is_empty()));
    }
}
