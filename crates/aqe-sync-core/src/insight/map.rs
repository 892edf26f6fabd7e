//! Which embeddings are on a map, and what they are of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::name;
use super::plane::plane;
use crate::embed::{Filter, VectorHub};
use crate::fleet::{FleetRecord, KEYS};
use crate::said::{domain, has_domain};
use crate::{Environment, Key, Result, Role, TableSpec, Value};

/// A map has so many points at most; of more vectors the same ones are taken each time.
pub const POINTS: usize = 1_500;
/// Fewer make no map.
const FEWEST: usize = 3;
/// So many maps are made at most, of the models with the most vectors.
const MAPS: usize = 4;
/// So many models of tools are told apart.
const GROUPS: usize = 16;
/// Vectors of more dimensions are no embeddings.
const MOST_DIMENSIONS: usize = 8_192;

/// Embeddings of one model on the plane in which they differ most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Map {
    /// The model, as the hub or the tool that computed them calls it.
    pub model: String,
    /// How many dimensions they have.
    pub dimensions: usize,
    /// Of how many records there are such vectors.
    pub vectors: u64,
    /// Which share of the variance of the points the plane shows, 0 to 1: the closer to 1, the
    /// more do distances on the map mean.
    pub explained: f64,
    /// The points.
    pub points: Vec<Point>,
}

/// One record on a map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// To the right, as far as the direction of the greatest difference goes.
    pub x: f64,
    /// Upwards, along the second greatest.
    pub y: f64,
    /// What it says, in a line.
    pub name: String,
    /// What it is about: its domain, or its table where that has none.
    pub domain: String,
    /// Its table.
    pub table: String,
    /// Whose it is.
    pub environment: String,
}

/// Some of very many vectors: those whose keys have the lowest hashes.
struct Sample<T> {
    seen: HashSet<u128>,
    kept: BTreeMap<u128, (T, Vec<f32>)>,
}

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Self { seen: HashSet::new(), kept: BTreeMap::new() }
    }
}

impl<T> Sample<T> {
    /// Takes a record's vector, unless there is one of it; what is not kept is not made.
    fn take(&mut self, table: &str, key: &Key, vector: &[f32], of: impl FnOnce() -> T) {
        let usable =
            !vector.is_empty() && vector.len() <= MOST_DIMENSIONS && vector.iter().all(|part| part.is_finite());
        let name = key.hash().0 ^ xxh3_128(table.as_bytes());
        if !usable || !self.seen.insert(name) {
            return;
        }
        let full = self.kept.len() >= POINTS;
        if full && self.kept.last_key_value().is_some_and(|(last, _)| *last < name) {
            return;
        }
        self.kept.insert(name, (of(), vector.to_vec()));
        if full {
            self.kept.pop_last();
        }
    }

    fn map(self, model: String, point: impl Fn(T) -> Option<Point>) -> Option<Map> {
        let (mut points, mut vectors) = (Vec::new(), Vec::new());
        let mut dimensions = None;
        for (of, vector) in self.kept.into_values() {
            if *dimensions.get_or_insert(vector.len()) != vector.len() {
                continue;
            }
            if let Some(point) = point(of) {
                points.push(point);
                vectors.push(vector);
            }
        }
        if points.len() < FEWEST {
            return None;
        }
        let plane = plane(&vectors);
        for (point, [x, y]) in points.iter_mut().zip(&plane.points) {
            (point.x, point.y) = (*x, *y);
        }
        let (vectors, explained) = (self.seen.len() as u64, plane.explained);
        Some(Map { model, dimensions: dimensions.unwrap_or(0), vectors, explained, points })
    }
}

/// Vectors that the tools themselves computed, by model and dimensions.
#[derive(Default)]
pub(super) struct Samples(BTreeMap<(String, usize), Sample<Point>>);

impl Samples {
    /// Looks at what a fleet says of a key.
    pub(super) fn look(&mut self, table: &TableSpec, record: &FleetRecord) {
        let Some(position) = table.position_of_role(&Role::Embedding) else { return };
        let Value::Vector(vector) = &record.row.values[position] else { return };
        let named = table.position("embedding_model").map(|position| &record.row.values[position]);
        let model = match named {
            Some(Value::Text(model)) if !model.trim().is_empty() => model.trim().to_owned(),
            _ => format!("{}.{}", table.name(), table.columns()[position].name),
        };
        let group = (model, vector.len());
        if self.0.len() >= GROUPS && !self.0.contains_key(&group) {
            return;
        }
        let sample = self.0.entry(group).or_default();
        sample.take(table.name().as_str(), &record.row.key(table), vector, || point(table, record));
    }

    fn maps(self) -> Vec<Map> {
        self.0.into_iter().filter_map(|((model, _), sample)| sample.map(model, Some)).collect()
    }
}

fn point(table: &TableSpec, record: &FleetRecord) -> Point {
    Point {
        x: 0.0,
        y: 0.0,
        name: name(table, &record.row),
        domain: about(table, record),
        table: table.name().to_string(),
        environment: record.winner.to_string(),
    }
}

fn about(table: &TableSpec, record: &FleetRecord) -> String {
    let unknown = || if has_domain(table) { "no domain".to_owned() } else { table.name().to_string() };
    domain(table, &record.row).unwrap_or_else(unknown)
}

/// The maps of a hub: of vectors that it keeps, and of those that tools computed.
pub(super) async fn maps<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    excluded: &BTreeSet<Environment>,
    samples: Samples,
) -> Result<Vec<Map>> {
    let mut maps = Vec::new();
    for (model, _) in hub.models().await?.into_iter().take(MAPS) {
        maps.extend(of_model(hub, tables, excluded, model).await?);
    }
    let mut of_tools = samples.maps();
    of_tools.sort_by_key(|map| std::cmp::Reverse(map.vectors));
    maps.extend(of_tools);
    maps.truncate(MAPS);
    Ok(maps)
}

/// The map of the vectors that a hub keeps of a model: of what has a domain, where there is any.
async fn of_model<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    excluded: &BTreeSet<Environment>,
    model: String,
) -> Result<Option<Map>> {
    let with_domain: BTreeSet<&str> =
        tables.iter().filter(|table| has_domain(table)).map(|table| table.name().as_str()).collect();
    let (mut patterns, mut others) = (Sample::default(), Sample::default());
    let mut vectors = hub.vectors(&model, Filter { without: excluded.clone(), ..Filter::default() });
    while let Some(batch) = vectors.next().await {
        for near in batch? {
            let sample = if with_domain.contains(near.place.table.as_str()) { &mut patterns } else { &mut others };
            sample.take(&near.place.table, &near.place.key, &near.vector, || near.place.clone());
        }
    }
    let sample = if patterns.kept.len() >= FEWEST { patterns } else { others };
    let mut keys: BTreeMap<&str, Vec<Key>> = BTreeMap::new();
    for (place, _) in sample.kept.values() {
        keys.entry(&place.table).or_default().push(place.key.clone());
    }
    let mut points = HashMap::new();
    for (name, keys) in keys {
        let Some(table) = tables.iter().find(|table| table.name().as_str() == name) else { continue };
        for keys in keys.chunks(KEYS) {
            for (key, mut all) in keys.iter().zip(hub.contributions(table, keys.to_vec()).await?) {
                all.retain(|one| !excluded.contains(&one.environment));
                if let Some(record) = crate::fleet::merge(table, &all) {
                    points.insert((name.to_owned(), key.hash().0), point(table, &record));
                }
            }
        }
    }
    Ok(sample.map(model, |place| points.get(&(place.table, place.key.hash().0)).cloned()))
}
