//! Vectors in a quarter of their space, for looking at all of them.
//!
//! A code is the vector rounded to 8 bits a number, with what one step is and how far the rounded
//! vector is from the true one. So the product of a question with the code tells the cosine up
//! to that distance, for certain: what may be among the nearest is known without the true
//! vectors, and only of those few are they read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Before the numbers: one step and the distance, each a float32.
const HEAD: usize = 8;

/// The bytes of a code of so many numbers.
pub(super) fn size_of_code(dimension: usize) -> usize {
    HEAD + dimension
}

/// The code of a vector of length one.
#[expect(clippy::cast_possible_truncation, reason = "rounded to what fits in 8 bits")]
pub(super) fn encode(vector: &[f32]) -> Vec<u8> {
    let largest = vector.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    let mut code = vec![0; HEAD];
    let mut away = 0.0_f64;
    for number in vector {
        let rounded = (number / step).round().clamp(-127.0, 127.0);
        code.push((rounded as i8).cast_unsigned());
        away += f64::from(*number - rounded * step).powi(2);
    }
    // Up, so that it is never less than the true distance.
    let away = (away.sqrt() * 1.000_001 + 1e-7) as f32;
    code[..4].copy_from_slice(&step.to_le_bytes());
    code[4..HEAD].copy_from_slice(&away.to_le_bytes());
    code
}

/// A question in 16 bits a number, as products of 16 by 8 bits are what processors do quickly.
pub(super) struct CodedQuestion {
    numbers: Vec<i16>,
    step: f32,
    /// How far it is from the true question, at most.
    away: f32,
    /// What this processor multiplies with.
    processor: pulp::Arch,
}

impl CodedQuestion {
    /// The question of a vector of length one.
    #[expect(clippy::cast_possible_truncation, reason = "rounded to what fits")]
    pub(super) fn new(vector: &[f32]) -> Self {
        // So that a sum of products never leaves 32 bits.
        let most = (f64::from(i32::MAX) / 127.0 / vector.len().max(1) as f64).min(32_767.0) as f32;
        let largest = vector.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let step = if largest > 0.0 { largest / most } else { 1.0 };
        let numbers: Vec<i16> = vector.iter().map(|number| (number / step).round().clamp(-most, most) as i16).collect();
        let away = vector
            .iter()
            .zip(&numbers)
            .map(|(number, rounded)| f64::from(*number - f32::from(*rounded) * step).powi(2));
        let away = (away.sum::<f64>().sqrt() * 1.01 + 1e-6) as f32;
        Self { numbers, step, away, processor: pulp::Arch::new() }
    }

    /// The cosine as the code tells it, and by how much it may be wrong; `None` for a code of
    /// another dimension.
    pub(super) fn compare(&self, code: &[u8]) -> Option<(f32, f32)> {
        let (head, numbers) = code.split_at_checked(HEAD)?;
        if numbers.len() != self.numbers.len() {
            return None;
        }
        let float = |bytes: &[u8]| bytes.try_into().ok().map(f32::from_le_bytes);
        let (step, away) = (float(&head[..4])?, float(&head[4..])?);
        let product = self.processor.dispatch(|| product(&self.numbers, numbers));
        Some((product as f32 * self.step * step, away * 1.001 + self.away * (1.0 + away)))
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the processor at hand")]
fn product(question: &[i16], code: &[u8]) -> i32 {
    let each = |question: &i16, code: &u8| i32::from(*question) * i32::from(i16::from(code.cast_signed()));
    question.iter().zip(code).map(|(question, code)| each(question, code)).sum()
}

/// Which of many may be among the nearest.
pub(super) struct Candidates {
    limit: usize,
    /// The highest of what the cosines are at least.
    least: BinaryHeap<Reverse<Ordered>>,
    all: Vec<(f32, i64)>,
}

/// A number that is one.
#[derive(Clone, Copy, PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Candidates {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, least: BinaryHeap::new(), all: Vec::new() }
    }

    /// Looks at one: about how near it is, and by how much that may be wrong.
    pub(super) fn add(&mut self, near: f32, wrong: f32, id: i64) {
        if near + wrong < self.bound() {
            return;
        }
        self.all.push((near + wrong, id));
        self.least.push(Reverse(Ordered(near - wrong)));
        if self.least.len() > self.limit {
            self.least.pop();
        }
        // What is out by now is forgotten from time to time.
        if self.all.len() > 4 * self.limit + 4_096 {
            let bound = self.bound();
            let before = self.all.len();
            self.all.retain(|(most, _)| *most >= bound);
            if self.all.len() > before / 2 {
                self.all.shrink_to(before * 2);
            }
        }
    }

    /// Those of which no `limit` others are certainly nearer.
    pub(super) fn ids(self) -> Vec<i64> {
        let bound = self.bound();
        self.all.into_iter().filter(|(most, _)| *most >= bound).map(|(_, id)| id).collect()
    }

    fn bound(&self) -> f32 {
        match self.least.peek() {
            Some(Reverse(Ordered(least))) if self.least.len() >= self.limit => *least,
            _ => f32::NEG_INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seed: u64, dimension: usize) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut vector: Vec<f32> = (0..dimension).map(|_| random.f32() - 0.5).collect();
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        for number in &mut vector {
            *number /= length;
        }
        vector
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn a_code_is_never_further_off_than_it_says() {
        for dimension in [1, 3, 64, 384, 4_096] {
            for seed in 0..200 {
                let (question, stored) = (vector(seed, dimension), vector(seed + 1_000, dimension));
                let (near, wrong) =
                    CodedQuestion::new(&question).compare(&encode(&stored)).expect("the same dimension");
                let off = (f64::from(near) - cosine(&question, &stored)).abs();
                assert!(off <= f64::from(wrong), "{dimension} {seed}: {off} {wrong}");
                assert!(wrong < 0.05, "{dimension}: {wrong}");
            }
        }
        let (question, zero) = (CodedQuestion::new(&vector(1, 8)), encode(&[0.0; 8]));
        assert_eq!(question.compare(&zero).map(|(near, _)| near), Some(0.0));
        assert_eq!(question.compare(&encode(&[1.0; 7])), None);
        assert_eq!(question.compare(&[1, 2, 3]), None);
    }

    #[test]
    fn the_nearest_are_always_among_the_candidates() {
        for (seed, count, limit) in [(1, 20_000, 10), (2, 5_000, 1), (3, 30, 50), (4, 9_000, 500)] {
            let question = vector(seed, 32);
            let stored: Vec<Vec<f32>> = (0..count).map(|number| vector(seed * 1_000_000 + number, 32)).collect();
            let coded = CodedQuestion::new(&question);
            let mut candidates = Candidates::new(limit);
            for (id, stored) in (0_i64..).zip(&stored) {
                let (near, wrong) = coded.compare(&encode(stored)).expect("the same dimension");
                candidates.add(near, wrong, id);
            }
            let found: std::collections::HashSet<i64> = candidates.ids().into_iter().collect();
            let mut order: Vec<i64> = (0..i64::try_from(count).expect("few")).collect();
            let near = |id: &i64| cosine(&question, &stored[usize::try_from(*id).expect("small")]);
            order.sort_by(|a, b| near(b).total_cmp(&near(a)));
            assert!(order.iter().take(limit).all(|id| found.contains(id)), "{seed}");
            assert!(found.len() <= (limit * 20).max(30), "{seed}: {} for {limit}", found.len());
        }
    }
}
