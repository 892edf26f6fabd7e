//! Sets of rows compared by what they add up to: a few numbers instead of all rows.
//!
//! The content hashes of a stream's rows are spread evenly over 64 bits, so ranges
//! of hashes ([`HashRange`]) cut a stream into parts of nearly equal size, the same
//! on both sides of a link. Of each part three numbers are taken ([`Bucket`]). Where
//! they are equal, the part is taken to hold the same rows: the hash covers the key
//! columns too, so equal sets of hashes are equal sets of keys and contents.
//!
//! Two *different* sets of hashes give equal numbers by accident only if the XOR of
//! all hashes that just one side has is zero: for hashes that behave as if drawn at
//! random that is once in 2^64 comparisons, and count and sum would have to agree as
//! well. The sum is there for sets that are not random: rows whose hashes are each
//! other's complement, or occur in pairs, cancel out in an XOR.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ContentHash, StreamId, TableSpec};

/// All content hashes that begin with the same bits.
///
/// ```
/// use aqe_sync_core::digest::HashRange;
///
/// let (first, last) = HashRange::new(4, 0b1000).bounds();
/// assert_eq!((first, last), (i64::MIN, i64::MIN + (1 << 60) - 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    bits: u32,
    prefix: u64,
}

impl HashRange {
    /// Every hash there is.
    pub const ALL: Self = Self { bits: 0, prefix: 0 };

    /// The hashes, as unsigned numbers, whose top `bits` (at most 32 count) are
    /// the number `prefix`; more bits of the prefix than that do not count.
    pub fn new(bits: u32, prefix: u64) -> Self {
        let bits = bits.min(32);
        Self { bits, prefix: prefix & ((1 << bits) - 1) }
    }

    /// The range of that many bits that a hash is in.
    pub fn of(hash: ContentHash, bits: u32) -> Self {
        let bits = bits.min(32);
        Self { bits, prefix: hash.to_i64().cast_unsigned().checked_shr(u64::BITS - bits).unwrap_or(0) }
    }

    /// How many top bits its hashes share.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// The shared bits as a number.
    pub fn prefix(self) -> u64 {
        self.prefix
    }

    /// Its first and last hash as the signed numbers that databases store
    /// ([`ContentHash::to_i64`]), both included: `content_hash BETWEEN first AND last`.
    pub fn bounds(self) -> (i64, i64) {
        if self.bits == 0 {
            return (i64::MIN, i64::MAX);
        }
        let first = self.prefix << (u64::BITS - self.bits);
        (first.cast_signed(), (first | u64::MAX >> self.bits).cast_signed())
    }

    /// Whether a hash is in it.
    pub fn contains(self, hash: ContentHash) -> bool {
        Self::of(hash, self.bits) == self
    }
}

/// What the rows of one range add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Which hashes.
    pub range: HashRange,
    /// How many rows.
    pub count: u64,
    /// The XOR of their hashes, as signed numbers. SQL: `bit_xor(h)`.
    pub xor: i64,
    /// The sum of the hashes' upper halves, each taken as a signed 32-bit number:
    /// exact for more rows than fit anywhere. SQL: `sum((h >> 32)::int)`.
    pub sum: i64,
}

/// What is asked of one stream; see [`crate::Sink::digests`].
#[derive(Clone, Debug)]
pub struct DigestRequest {
    /// Whose rows.
    pub stream: StreamId,
    /// The table they are in.
    pub table: Arc<TableSpec>,
    /// Only hashes in these ranges: disjoint, all of the same width, at most `bits`
    /// wide. [`HashRange::ALL`] alone asks for everything.
    pub within: Vec<HashRange>,
    /// How many bits the hashes of one bucket of the answer share: 0 to 32.
    pub bits: u32,
}

/// Disjoint ranges, of any widths, made for looking hashes up.
#[derive(Clone, Debug)]
pub struct HashRanges(Vec<HashRange>);

impl HashRanges {
    /// Takes ranges that do not overlap.
    pub fn new(mut ranges: Vec<HashRange>) -> Self {
        ranges.sort_by_key(|range| range.bounds());
        Self(ranges)
    }

    /// Whether a hash is in one of them.
    pub fn contain(&self, hash: ContentHash) -> bool {
        let above = self.0.partition_point(|range| range.bounds().0 <= hash.to_i64());
        above.checked_sub(1).is_some_and(|position| self.0[position].contains(hash))
    }
}

/// Adds hashes up.
#[derive(Clone, Debug)]
pub struct Digest {
    bits: u32,
    buckets: BTreeMap<HashRange, Bucket>,
}

impl Digest {
    /// With buckets of so many bits.
    pub fn new(bits: u32) -> Self {
        Self { bits, buckets: BTreeMap::new() }
    }

    /// Takes one row's hash into account.
    pub fn add(&mut self, hash: ContentHash) {
        let range = HashRange::of(hash, self.bits);
        let bucket = self.buckets.entry(range).or_insert(Bucket { range, count: 0, xor: 0, sum: 0 });
        let number = hash.to_i64();
        bucket.count += 1;
        bucket.xor ^= number;
        bucket.sum += number >> 32;
    }

    /// All buckets that hold something, ordered by range.
    pub fn into_buckets(self) -> Vec<Bucket> {
        self.buckets.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> ContentHash {
        ContentHash::from_u64(number)
    }

    #[test]
    fn ranges_of_one_width_cut_all_hashes_without_gap_or_overlap() {
        for bits in [0, 1, 4, 12, 32] {
            for number in [1, 1 << 31, 1 << 32, 1 << 60, 1 << 63, u64::MAX / 3, u64::MAX] {
                let range = HashRange::of(hash(number), bits);
                let (first, last) = range.bounds();
                assert!(range.contains(hash(number)));
                assert!((first..=last).contains(&hash(number).to_i64()), "{bits} {number:x}");
                assert_eq!(HashRange::new(bits, range.prefix()), range);
                let next = last.cast_unsigned().wrapping_add(1);
                assert!(next <= 1 || bits == 0 || !range.contains(hash(next)), "{bits} {number:x}");
            }
        }
    }

    #[test]
    fn a_hash_is_looked_up_among_ranges_of_any_width() {
        let ranges = [HashRange::new(4, 15), HashRange::new(8, 0x80), HashRange::new(12, 0x923), HashRange::new(4, 0)];
        let all = HashRanges::new(ranges.to_vec());
        for number in (0..=u64::MAX).step_by(0x0003_7fff_1234_5679) {
            let hash = hash(number);
            assert_eq!(all.contain(hash), ranges.iter().any(|range| range.contains(hash)), "{number:x}");
        }
        assert!(HashRanges::new(vec![HashRange::ALL]).contain(hash(u64::MAX)));
        assert!(!HashRanges::new(Vec::new()).contain(hash(1)));
    }

    #[test]
    fn a_bucket_counts_xors_and_sums_its_hashes() {
        let mut digest = Digest::new(4);
        for number in [0x1000_0003_0000_0005, 0x1000_0001_0000_0003, 0xf000_0000_0000_0001] {
            digest.add(hash(number));
        }
        let one = Bucket { range: HashRange::new(4, 1), count: 2, xor: 0x2_0000_0006, sum: 0x2000_0004 };
        let (xor, sum) = (0xf000_0000_0000_0001_u64.cast_signed(), -0x1000_0000);
        let other = Bucket { range: HashRange::new(4, 15), count: 1, xor, sum };
        assert_eq!(digest.into_buckets(), [one, other]);
    }

    #[test]
    fn the_sum_sees_what_an_xor_does_not() {
        let add = |numbers: [u64; 2]| {
            let mut digest = Digest::new(0);
            for number in numbers {
                digest.add(hash(number));
            }
            digest.into_buckets().remove(0)
        };
        let (one, other) = (add([1 << 40 | 1, 1 << 50 | 2]), add([!(1 << 40 | 1), !(1 << 50 | 2)]));
        assert_eq!((one.count, one.xor), (other.count, other.xor));
        assert_ne!(one.sum, other.sum);
    }
}
