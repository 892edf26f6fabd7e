//! How what was found is ordered.

use std::cmp::Ordering;

use super::words::Asked;
use crate::embed::{Place, Worded};

/// The constant of reciprocal rank fusion (Cormack, Clarke, Büttcher, 2009).
const FUSION: f64 = 60.0;
/// Parameters of Okapi BM25 as most engines set them.
const SATURATION: f64 = 1.2;
const LENGTH_WEIGHT: f64 = 0.75;
/// What BM25 takes for the length of a usual text, in words.
const USUAL_LENGTH: f64 = 40.0;

/// The cosine of the angle between two vectors; 0 for those of different dimensions, and for one
/// without a direction.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return 0.0;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

/// Rows with less than this part of what a question asks for say nothing by their words.
const TELLING: f64 = 0.5;

/// How much a word tells that occurs in so many of all rows.
fn rarity(occurrences: u64, all: u64) -> f64 {
    let rows = occurrences as f64;
    (1.0 + (all as f64 - rows + 0.5).max(0.5) / (rows + 0.5)).ln()
}

/// Whether a row's words are worth something beside its meaning: it has a name that the question
/// has, or words that make up half of what the question's words tell.
pub(super) fn tells(row: &Worded, asked: &[Asked], occurrences: &[u64], all: u64) -> bool {
    let (mut has, mut wants) = (0.0, 0.0);
    for ((count, asked), occurrences) in row.counts.iter().zip(asked).zip(occurrences) {
        let rarity = rarity(*occurrences, all);
        wants += rarity;
        if *count > 0 {
            if asked.name {
                return true;
            }
            has += rarity;
        }
    }
    has >= wants * TELLING
}

/// How well the words of a question fit a row, of `all` rows: Okapi BM25.
pub(super) fn relevance(row: &Worded, occurrences: &[u64], all: u64) -> f64 {
    let length = 1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * f64::from(row.length) / USUAL_LENGTH;
    let each = row.counts.iter().zip(occurrences).map(|(count, occurrences)| {
        let count = f64::from(*count);
        rarity(*occurrences, all) * count * (SATURATION + 1.0) / (count + SATURATION * length)
    });
    each.sum()
}

/// What a place in a list is worth; the first is 1.
pub(super) fn fused(ranks: [Option<usize>; 2]) -> f64 {
    ranks.into_iter().flatten().map(|rank| 1.0 / (FUSION + rank as f64)).sum()
}

/// The higher first; of the same, in the order of their names.
pub(super) fn order(a: (f64, &Place), b: (f64, &Place)) -> Ordering {
    let name = |place: &Place| (place.table.clone(), place.key.to_json(), place.environment.clone());
    b.0.total_cmp(&a.0).then_with(|| name(a.1).cmp(&name(b.1)))
}

/// Similarities that differ by less are the same: hubs round differently.
pub(super) fn rounded(similarity: f64) -> f64 {
    (similarity * 1e6).round() / 1e6
}
