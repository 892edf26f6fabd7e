//! Whether a hub's index of vectors finds what there is.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;

use super::rank::{cosine, rounded};
use crate::Result;
use crate::embed::{Filter, Near, Nearest, VectorHub};

/// An index that finds less than this part of what there is is not used.
pub const ENOUGH: f64 = 0.95;
/// So many neighbours are compared for each vector.
const NEIGHBOURS: usize = 10;

/// How an index did.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    /// The model whose vectors were looked for.
    pub model: String,
    /// How many vectors the hub has of it.
    pub vectors: u64,
    /// For so many of them the nearest ten were looked for.
    pub sampled: usize,
    /// Which part of them the index found, 0 to 1.
    pub recall: f64,
    /// Whether that is enough for searches to use it.
    pub enough: bool,
    /// Whether the hub remembers it, so that searches go by it.
    pub remembered: bool,
}

/// Compares what the hub's index finds with what an exact search finds, for a sample of its own
/// vectors, and has the hub remember the result: one entry for each model. A hub without an
/// index answers both times exactly, and has a recall of 1.
///
/// # Errors
/// When the hub fails.
pub async fn recall<H: VectorHub>(hub: &H, sample: usize) -> Result<Vec<Recall>> {
    let mut all = Vec::new();
    for (model, vectors) in hub.models().await? {
        let sampled = sampled(hub, &model, sample).await?;
        let (mut wanted, mut found) = (0, 0);
        for near in &sampled {
            let query = |exact| Nearest {
                model: model.clone(),
                vector: near.vector.clone(),
                filter: Filter::default(),
                limit: NEIGHBOURS,
                exact,
            };
            let similarity = |other: &Near| rounded(cosine(&near.vector, &other.vector));
            let exact: Vec<f64> = hub.nearest(query(true)).await?.iter().map(similarity).collect();
            // Of several that are equally near, any will do.
            let least = exact.iter().copied().fold(f64::INFINITY, f64::min);
            let by_index = hub.nearest(query(false)).await?;
            let good = by_index.iter().filter(|other| similarity(other) >= least).count();
            wanted += exact.len();
            found += good.min(exact.len());
        }
        let recall =
            if wanted == 0 { 1.0 } else { f64::from(u32::try_from(found).unwrap_or(u32::MAX)) / wanted as f64 };
        let remembered = hub.remember_recall(&model, recall).await?;
        let enough = recall >= ENOUGH;
        all.push(Recall { model, vectors, sampled: sampled.len(), recall, enough, remembered });
    }
    Ok(all)
}

/// Whether searches may go by the index: they may until a comparison said otherwise.
pub(super) async fn index_is_good<H: VectorHub>(hub: &H, model: &str) -> Result<bool> {
    Ok(hub.known_recall(model).await?.is_none_or(|recall| recall >= ENOUGH))
}

/// Vectors of all parts of the hub, the same ones each time: those with the smallest hashes.
async fn sampled<H: VectorHub>(hub: &H, model: &str, count: usize) -> Result<Vec<Near>> {
    let mut least: BTreeMap<(u128, String), Near> = BTreeMap::new();
    let mut vectors = hub.vectors(model, Filter::default());
    while let Some(batch) = vectors.try_next().await? {
        for near in batch {
            least.insert((near.place.key.hash().0, format!("{} {}", near.place.table, near.place.environment)), near);
            if least.len() > count {
                least.pop_last();
            }
        }
    }
    Ok(least.into_values().collect())
}
