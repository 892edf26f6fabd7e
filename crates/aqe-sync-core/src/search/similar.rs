//! Records of different environments that say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::TryStreamExt as _;

use super::rank::{cosine, order, rounded};
use crate::embed::{Filter, Near, Place, VectorHub, text_of};
use crate::said::{domain, is_judged};
use crate::{Environment, Error, ErrorKind, Key, Result, Row, TableSpec};

/// Which pairs are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Similar {
    /// Vectors whose cosine is at least this, 0 to 1, say the same.
    pub least: f64,
    /// Only in these tables; in all whose records say how sure anybody is where there is none.
    pub tables: BTreeSet<String>,
    /// So many pairs at most, the most similar ones.
    pub limit: usize,
}

impl Default for Similar {
    fn default() -> Self {
        Self { least: 0.9, tables: BTreeSet::new(), limit: 50 }
    }
}

/// Two records that say the same: a proposal, for a person to judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The cosine between them.
    pub similarity: f64,
    /// The domain both belong to.
    pub domain: Option<String>,
    /// The two, in the order of their names.
    pub places: [Place; 2],
    /// What they say.
    pub texts: [String; 2],
}

/// Lists records of one table that different environments have under different keys, that belong
/// to the same domain and whose texts mean the same. Nothing is merged.
///
/// Every vector is compared with every other one of its table: ten thousand take seconds.
///
/// # Errors
/// When the hub fails, or a table has no text.
pub async fn similar<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    model: Option<&str>,
    wanted: &Similar,
) -> Result<Vec<Pair>> {
    if !(0.0..=1.0).contains(&wanted.least) {
        return Err(Error::new(ErrorKind::Invalid, format!("a similarity of {} is none", wanted.least))
            .advice("say a number between 0 and 1, such as 0.9"));
    }
    for name in &wanted.tables {
        if tables.iter().find(|table| table.name().as_str() == name).is_none_or(|table| table.text_columns().is_empty())
        {
            return Err(crate::embed::no_text(tables, name));
        }
    }
    let models = hub.models().await?;
    let Some(model) = model.map(str::to_owned).or_else(|| models.into_iter().next().map(|(model, _)| model)) else {
        return Err(Error::new(ErrorKind::NotFound, "the hub has no vectors yet").advice("run aqe-sync embed"));
    };
    let without = hub.standing().await?.excluded;
    let mut pairs = Vec::new();
    for table in tables.iter().filter(|table| is_wanted(table, wanted)) {
        let name = table.name().as_str();
        let filter = Filter {
            tables: BTreeSet::from([name.to_owned()]),
            environments: BTreeSet::new(),
            without: without.clone(),
        };
        let vectors: Vec<Near> = hub.vectors(&model, filter).try_concat().await?;
        let close = close(&vectors, wanted.least);
        pairs.extend(same_domain(hub, table, &vectors, close).await?);
    }
    pairs.sort_by(|a, b| {
        order((a.similarity, &a.places[0]), (b.similarity, &b.places[0]))
            .then_with(|| order((0.0, &a.places[1]), (0.0, &b.places[1])))
    });
    pairs.truncate(wanted.limit);
    Ok(pairs)
}

fn is_wanted(table: &TableSpec, wanted: &Similar) -> bool {
    if wanted.tables.is_empty() {
        return !table.text_columns().is_empty() && is_judged(table);
    }
    wanted.tables.contains(table.name().as_str())
}

/// Which two are near enough, of different environments and keys.
fn close(vectors: &[Near], least: f64) -> Vec<(f64, usize, usize)> {
    let hashes: Vec<u128> = vectors.iter().map(|near| near.place.key.hash().0).collect();
    let mut found = Vec::new();
    for (a, near) in vectors.iter().enumerate() {
        for (b, other) in vectors.iter().enumerate().skip(a + 1) {
            if near.place.environment == other.place.environment || hashes[a] == hashes[b] {
                continue;
            }
            // Quickly first, with room for what rounding takes.
            if f64::from(dot(&near.vector, &other.vector)) < least - 1e-3 {
                continue;
            }
            let similarity = rounded(cosine(&near.vector, &other.vector));
            if similarity >= least {
                found.push((similarity, a, b));
            }
        }
    }
    found
}

/// The product of two vectors of length one, several numbers at a time.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest = a.chunks_exact(8).remainder().iter().zip(b.chunks_exact(8).remainder()).map(|(a, b)| a * b);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

async fn same_domain<H: VectorHub>(
    hub: &H,
    table: &Arc<TableSpec>,
    vectors: &[Near],
    close: Vec<(f64, usize, usize)>,
) -> Result<Vec<Pair>> {
    let mut keys: BTreeMap<u128, Key> = BTreeMap::new();
    for place in close.iter().flat_map(|(_, a, b)| [&vectors[*a].place, &vectors[*b].place]) {
        keys.entry(place.key.hash().0).or_insert_with(|| place.key.clone());
    }
    let mut rows: HashMap<(Environment, u128), Row> = HashMap::new();
    let keys: Vec<Key> = keys.into_values().collect();
    for keys in keys.chunks(1_000) {
        for contribution in hub.contributions(table, keys.to_vec()).await?.into_iter().flatten() {
            if !contribution.deleted {
                let hash = contribution.row.key(table).hash().0;
                rows.insert((contribution.environment, hash), contribution.row);
            }
        }
    }
    let row = |place: &Place| rows.get(&(place.environment.clone(), place.key.hash().0));
    let mut pairs = Vec::new();
    for (similarity, a, b) in close {
        let mut places = [&vectors[a].place, &vectors[b].place];
        places.sort_by(|a, b| order((0.0, a), (0.0, b)));
        let [Some(first), Some(second)] = places.map(row) else { continue };
        let (about, other) = (domain(table, first), domain(table, second));
        let [Some(a), Some(b)] = [text_of(table, first), text_of(table, second)] else { continue };
        if about == other {
            pairs.push(Pair { similarity, domain: about, places: places.map(Clone::clone), texts: [a, b] });
        }
    }
    Ok(pairs)
}
