//! The few of very many that come first.

use super::{LISTED, Learned};

/// What comes first has the greatest; those of the same rank stand by table and key.
pub(super) type Rank = (i64, i64, i64);

/// A list of at most [`LISTED`], of any number that are offered.
#[derive(Default)]
pub(super) struct Best {
    list: Vec<(Rank, Learned)>,
    /// The last one's, once the list was full: what is behind it is not kept.
    least: Option<Rank>,
}

impl Best {
    /// Takes a record, if it may be among the first; only then is it made.
    pub(super) fn offer(&mut self, rank: Rank, learned: impl FnOnce() -> Learned) {
        if self.least.is_some_and(|least| rank < least) {
            return;
        }
        self.list.push((rank, learned()));
        if self.list.len() >= 16 * LISTED {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.list.sort_by(|(rank, one), (other_rank, other)| {
            other_rank.cmp(rank).then_with(|| (&one.table, &one.key).cmp(&(&other.table, &other.key)))
        });
        self.list.truncate(LISTED);
        if self.list.len() == LISTED {
            self.least = self.list.last().map(|(rank, _)| *rank);
        }
    }

    /// The first ones, in order.
    pub(super) fn listed(mut self) -> Vec<Learned> {
        self.shorten();
        self.list.into_iter().map(|(_, learned)| learned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(key: i64) -> Learned {
        Learned { key: format!("{key:06}"), ..Learned::default() }
    }

    #[test]
    fn the_first_ones_are_kept_whatever_order_they_come_in() {
        let many = 10_000_i64;
        // Every seventh has the rank of six others: the key decides between them.
        let rank = |each: i64| (each / 7, 0, 0);
        let mut best = Best::default();
        let mut made = 0;
        for each in (0..many).map(|each| each * 7_919 % many) {
            best.offer(rank(each), || {
                made += 1;
                learned(each)
            });
        }
        let mut all: Vec<i64> = (0..many).collect();
        all.sort_by_key(|each| (std::cmp::Reverse(rank(*each)), *each));
        let listed: Vec<String> = best.listed().into_iter().map(|learned| learned.key).collect();
        assert_eq!(listed, all[..LISTED].iter().map(|each| learned(*each).key).collect::<Vec<_>>());
        assert!(made < 2_000, "{made} were made for a list of {LISTED}");
    }
}
