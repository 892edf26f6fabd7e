//! Gives every row of a hub the vector of its text.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;

use super::hub::{Candidate, Embedded, VectorHub};
use super::text::{TextHash, text_of};
use super::{Embedder, Standing};
use crate::search::words_of;
use crate::{Environment, Error, ErrorKind, Result, TableSpec};

/// So many rows are embedded and kept at once: what is lost when the process ends.
const BATCH: usize = 256;

/// Which rows are given vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Only rows of these environments; of all that this login may write where there is none.
    pub environments: BTreeSet<Environment>,
    /// Only rows of these tables; of all with text where there is none.
    pub tables: BTreeSet<String>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Rows that changed since the last time, tombstones included.
    pub looked_at: u64,
    /// Texts that the model computed a vector for.
    pub computed: u64,
    /// Rows that got the vector of a row with the same text.
    pub shared: u64,
    /// Rows whose text is still the one their vector is of.
    pub unchanged: u64,
    /// Rows that have no text.
    pub without_text: u64,
    /// Tombstones, whose vectors are gone.
    pub removed: u64,
}

impl Filled {
    /// Rows that have a new vector.
    pub fn embedded(&self) -> u64 {
        self.computed + self.shared
    }

    fn add(&mut self, other: &Self) {
        self.looked_at += other.looked_at;
        self.computed += other.computed;
        self.shared += other.shared;
        self.unchanged += other.unchanged;
        self.without_text += other.without_text;
        self.removed += other.removed;
    }
}

/// How far it is: told after every batch that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The table.
    pub table: &'a str,
    /// Whose rows.
    pub environment: &'a Environment,
    /// All that was done so far.
    pub filled: Filled,
}

/// Gives every row of the hub that lacks one, or whose text changed, the vector of its text, and
/// takes the vectors of deleted rows away.
///
/// It goes by the rows' versions, so that only what changed is read; batch by batch, each in one
/// transaction with how far it is, so that whoever is interrupted goes on there. Rows with the
/// same text share one vector, across tables and environments.
///
/// # Errors
/// When the hub or the model fails. What was kept before stays.
pub async fn fill<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    embedder: &dyn Embedder,
    filling: &Filling,
    mut told: impl FnMut(&Progress<'_>),
) -> Result<Filled> {
    let mut all = Filled::default();
    for work in work(hub, tables, embedder.model_id(), filling).await? {
        let Work { table, environment, since, until } = work;
        let mut changed = hub.changed_rows(embedder.model_id(), &table, &environment, since);
        while let Some(batch) = changed.next().await {
            let batch = batch?;
            // Rows come in the order of their versions: all before the last one's were seen.
            let reached = batch.last().map(|last| last.version - 1).filter(|reached| *reached > since);
            for (position, rows) in batch.chunks(BATCH).enumerate() {
                let (kept, filled) = embedded(hub, &table, embedder, rows).await?;
                let last = (position + 1) * BATCH >= batch.len();
                hub.keep_vectors(embedder.model_id(), &table, &environment, kept, reached.filter(|_| last)).await?;
                all.add(&filled);
                told(&Progress { table: table.name().as_str(), environment: &environment, filled: all });
            }
        }
        hub.keep_vectors(embedder.model_id(), &table, &environment, Vec::new(), Some(until)).await?;
    }
    Ok(all)
}

/// Counts what [`fill`] would do, without a model and without writing. Rows of the same text count
/// once as computed; that the hub may have the vector of that text already is not looked up.
///
/// # Errors
/// When the hub fails.
pub async fn pending<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    model: &str,
    filling: &Filling,
) -> Result<Filled> {
    let mut all = Filled::default();
    let mut seen = HashSet::new();
    for Work { table, environment, since, .. } in work(hub, tables, model, filling).await? {
        let mut changed = hub.changed_rows(model, &table, &environment, since);
        while let Some(batch) = changed.next().await {
            for row in batch? {
                all.looked_at += 1;
                match plan(&table, &row) {
                    Plan::Remove => all.removed += 1,
                    Plan::NoText => all.without_text += 1,
                    Plan::Same => all.unchanged += 1,
                    Plan::Embed(_, hash) if seen.insert(hash) => all.computed += 1,
                    Plan::Embed(..) => all.shared += 1,
                }
            }
        }
    }
    Ok(all)
}

/// Rows of one table and environment that nobody has looked at.
struct Work {
    table: Arc<TableSpec>,
    environment: Environment,
    since: i64,
    until: i64,
}

async fn work<H: VectorHub>(hub: &H, tables: &[Arc<TableSpec>], model: &str, filling: &Filling) -> Result<Vec<Work>> {
    for name in &filling.tables {
        let known = tables.iter().find(|table| table.name().as_str() == name);
        if known.is_none_or(|table| table.text_columns().is_empty()) {
            return Err(no_text(tables, name));
        }
    }
    let Standing { reached } = hub.embedded(model).await?;
    let versions = hub.standing().await?.versions;
    let mut all = Vec::new();
    for table in tables.iter().filter(|table| !table.text_columns().is_empty()) {
        let name = table.name().as_str();
        if !filling.tables.is_empty() && !filling.tables.contains(name) {
            continue;
        }
        for (environment, until) in versions.get(name).into_iter().flat_map(crate::fleet::VersionVector::iter) {
            let since = reached.get(name).map_or(0, |reached| reached.of(environment));
            let wanted = filling.environments.is_empty() || filling.environments.contains(environment);
            if wanted && until > since && hub.may_embed(environment) {
                all.push(Work { table: Arc::clone(table), environment: environment.clone(), since, until });
            }
        }
    }
    Ok(all)
}

/// The error for a table whose rows have no text.
pub(crate) fn no_text(tables: &[Arc<TableSpec>], name: &str) -> Error {
    let names = tables.iter().filter(|table| !table.text_columns().is_empty()).map(|table| table.name().as_str());
    Error::new(ErrorKind::Invalid, format!("there is no table {name} with text to search"))
        .advice(format!("tables with text: {}", names.collect::<Vec<_>>().join(", ")))
}

enum Plan {
    Remove,
    NoText,
    Same,
    Embed(String, TextHash),
}

fn plan(table: &TableSpec, candidate: &Candidate) -> Plan {
    let Some(row) = &candidate.row else { return Plan::Remove };
    let Some(text) = text_of(table, row) else { return Plan::NoText };
    let hash = TextHash::of(&text);
    if candidate.known == Some(hash) { Plan::Same } else { Plan::Embed(text, hash) }
}

async fn embedded<H: VectorHub>(
    hub: &H,
    table: &TableSpec,
    embedder: &dyn Embedder,
    rows: &[Candidate],
) -> Result<(Vec<Embedded>, Filled)> {
    let mut filled = Filled { looked_at: rows.len() as u64, ..Filled::default() };
    let mut kept = Vec::new();
    let mut wanted = Vec::new();
    for row in rows {
        match plan(table, row) {
            Plan::Same => filled.unchanged += 1,
            Plan::Embed(text, hash) => wanted.push((row, text, hash)),
            gone => {
                match gone {
                    Plan::Remove => filled.removed += 1,
                    _ => filled.without_text += 1,
                }
                if row.known.is_some() {
                    kept.push(Embedded { key: row.key.clone(), content: None, words: Vec::new() });
                }
            }
        }
    }
    let mut texts: Vec<(TextHash, &str)> = wanted.iter().map(|(_, text, hash)| (*hash, text.as_str())).collect();
    texts.sort_unstable();
    texts.dedup();
    let hashes = texts.iter().map(|(hash, _)| *hash).collect();
    let mut vectors =
        if texts.is_empty() { HashMap::new() } else { hub.vectors_of_texts(embedder.model_id(), hashes).await? };
    let missing: Vec<(TextHash, &str)> = texts.into_iter().filter(|(hash, _)| !vectors.contains_key(hash)).collect();
    let only: Vec<&str> = missing.iter().map(|(_, text)| *text).collect();
    let computed = checked(embedder, &only)?;
    filled.computed = only.len() as u64;
    filled.shared = wanted.len() as u64 - filled.computed;
    vectors.extend(missing.iter().map(|(hash, _)| *hash).zip(computed));
    for (row, text, hash) in &wanted {
        let Some(vector) = vectors.get(hash) else {
            return Err(Error::internal("a text was not embedded"));
        };
        let words = words_of(text, &row.key);
        kept.push(Embedded { key: row.key.clone(), content: Some((*hash, vector.clone())), words });
    }
    Ok((kept, filled))
}

/// What the model computes, if it is what a model has to compute: one vector per text, each of
/// its dimension, of length one.
pub(crate) fn checked(embedder: &dyn Embedder, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let mut vectors = embedder.embed(texts)?;
    let wrong = |what: String| {
        Error::new(ErrorKind::Invalid, format!("embedding model {} {what}", embedder.model_id()))
            .advice("nothing of this batch was kept; use another model")
    };
    if vectors.len() != texts.len() {
        return Err(wrong(format!("computed {} vectors for {} texts", vectors.len(), texts.len())));
    }
    for vector in &mut vectors {
        if vector.len() != embedder.dimension() {
            return Err(wrong(format!("computed {} dimensions instead of {}", vector.len(), embedder.dimension())));
        }
        let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() {
            return Err(wrong("computed a vector with numbers that are none".to_owned()));
        }
        if length > 0.0 && (length - 1.0).abs() > 1e-6 {
            #[expect(clippy::cast_possible_truncation, reason = "vectors hold float32")]
            for number in vector {
                *number = (f64::from(*number) / length) as f32;
            }
        }
    }
    Ok(vectors)
}
