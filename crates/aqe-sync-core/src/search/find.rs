//! Asking a hub.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::rank::{cosine, fused, order, relevance, rounded, tells};
use super::recall::{ENOUGH, index_is_good};
use super::words::words_of_question;
use crate::embed::{Embedder, Filter, Nearest, Place, VectorHub, Worded, text_of};
use crate::said::{confidence, uses};
use crate::{Environment, Error, ErrorKind, Key, KeyHash, Result, Row, TableSpec};

/// A list is at least so long before two are put together.
const DEPTH: usize = 50;
/// Words that stand in so many rows say nothing about one of them.
const COMMON: u64 = 1_000;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// A text: what is near to it in meaning, and what has its words.
    Text(String),
    /// A record: what is near to it.
    Like {
        /// Its table; where it is not said, the first one that has the key.
        table: Option<String>,
        /// Its key.
        key: Key,
    },
}

/// A question and what its answers have to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is asked.
    pub question: Question,
    /// So many answers at most.
    pub count: usize,
    /// Only rows of these tables; of all where there is none.
    pub tables: BTreeSet<String>,
    /// Only rows of these environments; where there is none, of all that the fleet listens to.
    pub environments: BTreeSet<Environment>,
    /// Only rows whose confidence is at least this, 0 to 1; rows without one are none of them.
    pub min_confidence: Option<f64>,
    /// Look at every vector, whatever index there is.
    pub exact: bool,
}

impl Query {
    /// Asks for the ten rows that fit a text best.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Question::Text(text.into()))
    }

    /// Asks for the ten rows that are most like a record.
    pub fn like(table: Option<&str>, key: Key) -> Self {
        Self::of(Question::Like { table: table.map(str::to_owned), key })
    }

    fn of(question: Question) -> Self {
        let (tables, environments) = (BTreeSet::new(), BTreeSet::new());
        Self { question, count: 10, tables, environments, min_confidence: None, exact: false }
    }
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Which row.
    pub place: Place,
    /// The cosine between its vector and the question's, -1 to 1; `None` where no model was asked.
    pub similarity: Option<f64>,
    /// What the order goes by: more is better, and means nothing else.
    pub score: f64,
    /// Whether it has words of the question.
    pub has_words: bool,
    /// How sure its environment is of it, 0 to 1.
    pub confidence: Option<f64>,
    /// How often its environment used it: the first of its counters that is there.
    pub uses: Option<i64>,
    /// The text that was searched.
    pub text: String,
    /// Its content.
    pub row: Row,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The rows, the best first.
    pub hits: Vec<Hit>,
    /// The model whose vectors were compared; `None` where none were.
    pub model: Option<String>,
    /// What a person should know about the answer.
    pub notes: Vec<String>,
}

/// Finds the rows of a hub that fit a question best.
///
/// With an embedder, rows are found by meaning and by words; without one, by words only.
/// Vectors of another model than the embedder's are not compared. The answer to a question is
/// the same whatever kind of hub it is asked of, except where a hub's index is approximate and
/// [good enough](super::recall) to be used.
///
/// # Errors
/// When the hub or the model fails; when a table has no text; when the record that others are
/// to be like has no vector.
pub async fn search<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    embedder: Option<&dyn Embedder>,
    query: &Query,
) -> Result<Answer> {
    if let Some(name) =
        query.tables.iter().find(|name| spec(tables, name).is_none_or(|spec| spec.text_columns().is_empty()))
    {
        return Err(crate::embed::no_text(tables, name));
    }
    let mut answer = Answer::default();
    let filter = filter(hub, query).await?;
    let asked = asked(hub, tables, embedder, query, &mut answer).await?;
    let Some(asked) = asked else { return Ok(answer) };
    let exact = query.exact || {
        let good = index_is_good(hub, &asked.model).await?;
        if !good {
            answer.notes.push(format!(
                "the hub's index of vectors finds less than {:.0} % of what an exact search finds: searched exactly; \
                 rebuild it (REINDEX), then run aqe-sync verify --vectors",
                ENOUGH * 100.0
            ));
        }
        !good
    };
    let by_words = by_words(hub, &asked, &filter, &query.question).await?;
    let mut depth = DEPTH.max(query.count.saturating_mul(4));
    loop {
        let (near, all) = match &asked.vector {
            Some(vector) => nearest(hub, &asked, vector, &filter, depth, exact).await?,
            None => (Vec::new(), true),
        };
        let found = put_together(near, &by_words);
        let hits = looked_up(hub, tables, query, found).await?;
        if all || hits.by_meaning >= query.count {
            answer.model = asked.vector.is_some().then_some(asked.model);
            answer.hits = hits.ordered(query.count);
            return Ok(answer);
        }
        depth = depth.saturating_mul(4);
    }
}

fn spec<'a>(tables: &'a [Arc<TableSpec>], name: &str) -> Option<&'a Arc<TableSpec>> {
    tables.iter().find(|table| table.name().as_str() == name)
}

async fn filter<H: VectorHub>(hub: &H, query: &Query) -> Result<Filter> {
    let without = if query.environments.is_empty() { hub.standing().await?.excluded } else { BTreeSet::new() };
    Ok(Filter { tables: query.tables.clone(), environments: query.environments.clone(), without })
}

/// What the hub is asked.
struct Asked {
    model: String,
    /// How many vectors the hub has of it.
    all: u64,
    vector: Option<Vec<f32>>,
    /// The record that was named, which is no answer.
    own: Option<(String, Key)>,
}

async fn asked<H: VectorHub>(
    hub: &H,
    tables: &[Arc<TableSpec>],
    embedder: Option<&dyn Embedder>,
    query: &Query,
    answer: &mut Answer,
) -> Result<Option<Asked>> {
    let models = hub.models().await?;
    let own = embedder.map(Embedder::model_id);
    let kept = |model: &str| models.iter().any(|(name, _)| name == model);
    let count = |model: &str| models.iter().find(|(name, _)| name == model).map_or(0, |(_, count)| *count);
    let model = match (own, models.first()) {
        (Some(own), _) if kept(own) => own.to_owned(),
        (_, None) => {
            answer.notes.push("the hub has no vectors yet: run aqe-sync embed".to_owned());
            return Ok(None);
        }
        (Some(own), Some((other, _))) => {
            answer.notes.push(format!(
                "the hub's vectors are of model {other}, and this is {own}: searched words only; run aqe-sync embed"
            ));
            other.clone()
        }
        (None, Some((model, _))) => model.clone(),
    };
    let all = count(&model);
    match &query.question {
        Question::Text(text) => {
            let vector = match embedder {
                Some(embedder) if embedder.model_id() == model => {
                    crate::embed::checked(embedder, &[text])?.into_iter().next()
                }
                _ => None,
            };
            Ok(Some(Asked { model, all, vector, own: None }))
        }
        Question::Like { table, key } => {
            let with_text = tables.iter().filter(|spec| !spec.text_columns().is_empty());
            let names: Vec<&str> = with_text.map(|spec| spec.name().as_str()).collect();
            let wanted = names.into_iter().filter(|name| table.as_ref().is_none_or(|table| table == name));
            for name in wanted {
                let mut found = hub.vectors_of(&model, name, vec![key.clone()]).await?;
                found.sort_by(|a, b| a.place.environment.cmp(&b.place.environment));
                if let Some(near) = found.into_iter().next() {
                    let own = Some((name.to_owned(), key.clone()));
                    return Ok(Some(Asked { model, all, vector: Some(near.vector), own }));
                }
            }
            let place = table.as_deref().map(|table| format!(" in {table}")).unwrap_or_default();
            Err(Error::new(ErrorKind::NotFound, format!("the hub has no vector of record {key}{place}"))
                .advice("check the key (aqe-sync fleet show KEY), and run aqe-sync embed"))
        }
    }
}

/// A row that has words of the question, and how near it is.
type ByWords = (Place, Option<f64>);

/// Rows found by words, the best first.
async fn by_words<H: VectorHub>(hub: &H, asked: &Asked, filter: &Filter, question: &Question) -> Result<Vec<ByWords>> {
    let Question::Text(text) = question else { return Ok(Vec::new()) };
    let words = words_of_question(text);
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let looked_for = words.iter().map(|asked| asked.word.clone()).collect();
    let mut found = hub.with_words(&asked.model, looked_for, filter.clone(), COMMON).await?;
    if asked.vector.is_some() {
        // Beside meaning; alone, a little is better than nothing.
        found.rows.retain(|row| tells(row, &words, &found.occurrences, asked.all));
    }
    let relevance = |row: &Worded| rounded(relevance(row, &found.occurrences, asked.all));
    let mut rows: Vec<(f64, Place)> = found.rows.iter().map(|row| (relevance(row), row.place.clone())).collect();
    rows.sort_by(|a, b| order((a.0, &a.1), (b.0, &b.1)));
    rows.truncate(DEPTH * 4);
    let rows: Vec<Place> = rows.into_iter().map(|(_, place)| place).collect();
    let Some(vector) = &asked.vector else {
        return Ok(rows.into_iter().map(|place| (place, None)).collect());
    };
    let mut keys: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    for place in &rows {
        keys.entry(place.table.clone()).or_default().push(place.key.clone());
    }
    let mut similarities = HashMap::new();
    for (table, keys) in keys {
        for near in hub.vectors_of(&asked.model, &table, keys).await? {
            similarities.insert(name(&near.place), rounded(cosine(vector, &near.vector)));
        }
    }
    Ok(rows
        .into_iter()
        .map(|place| {
            let near = similarities.get(&name(&place)).copied();
            (place, near)
        })
        .collect())
}

fn name(place: &Place) -> (String, Environment, KeyHash) {
    (place.table.clone(), place.environment.clone(), place.key.hash())
}

/// The nearest rows, and whether there are no others.
async fn nearest<H: VectorHub>(
    hub: &H,
    asked: &Asked,
    vector: &[f32],
    filter: &Filter,
    depth: usize,
    exact: bool,
) -> Result<(Vec<(f64, Place)>, bool)> {
    let (model, filter) = (asked.model.clone(), filter.clone());
    let near = hub.nearest(Nearest { model, vector: vector.to_vec(), filter, limit: depth, exact }).await?;
    let all = near.len() < depth;
    let mut near: Vec<(f64, Place)> =
        near.into_iter().map(|near| (rounded(cosine(vector, &near.vector)), near.place)).collect();
    near.sort_by(|a, b| order((a.0, &a.1), (b.0, &b.1)));
    if let (false, Some(last)) = (all, near.last().map(|last| last.0)) {
        // Of several that are equally near, which ones came within the limit is chance.
        let clear = near.iter().take_while(|(similarity, _)| *similarity > last).count();
        near.truncate(clear);
    }
    if let Some((table, key)) = &asked.own {
        near.retain(|(_, place)| place.table != *table || place.key != *key);
    }
    Ok((near, all))
}

/// A row that is in at least one of the two lists.
struct Found {
    place: Place,
    similarity: Option<f64>,
    near: bool,
    /// Where it stands among those with words.
    words: Option<usize>,
}

fn put_together(near: Vec<(f64, Place)>, by_words: &[ByWords]) -> Vec<Found> {
    let mut at = HashMap::with_capacity(near.len());
    let mut all = Vec::with_capacity(near.len() + by_words.len());
    for (similarity, place) in near {
        at.insert(name(&place), all.len());
        all.push(Found { place, similarity: Some(similarity), near: true, words: None });
    }
    for (rank, (place, similarity)) in by_words.iter().enumerate() {
        let words = Some(rank);
        match at.get(&name(place)) {
            Some(position) => all[*position].words = words,
            None => {
                all.push(Found { place: place.clone(), similarity: *similarity, near: false, words });
            }
        }
    }
    all
}

struct Hits {
    found: Vec<(Found, Row, String)>,
    by_meaning: usize,
    tables: HashMap<String, Arc<TableSpec>>,
}

/// The rows that are still there and are sure enough.
async fn looked_up<H: VectorHub>(hub: &H, tables: &[Arc<TableSpec>], query: &Query, found: Vec<Found>) -> Result<Hits> {
    let mut keys: BTreeMap<&str, Vec<Key>> = BTreeMap::new();
    let mut asked = HashSet::new();
    for found in &found {
        if asked.insert((found.place.table.as_str(), found.place.key.hash())) {
            keys.entry(&found.place.table).or_default().push(found.place.key.clone());
        }
    }
    let (mut rows, mut specs) = (HashMap::new(), HashMap::new());
    for (name, keys) in keys {
        let Some(spec) = spec(tables, name) else { continue };
        specs.insert(name.to_owned(), Arc::clone(spec));
        let contributions = hub.contributions(spec, keys).await?;
        for contribution in contributions.into_iter().flatten().filter(|contribution| !contribution.deleted) {
            let hash = contribution.row.key(spec).hash();
            rows.insert((name.to_owned(), contribution.environment, hash), contribution.row);
        }
    }
    let mut hits = Hits { found: Vec::new(), by_meaning: 0, tables: specs };
    for found in found {
        let place = &found.place;
        let Some(row) = rows.remove(&(place.table.clone(), place.environment.clone(), place.key.hash())) else {
            continue;
        };
        let Some(spec) = hits.tables.get(&place.table) else { continue };
        let sure = query.min_confidence.is_none_or(|least| confidence(spec, &row).is_some_and(|sure| sure >= least));
        let Some(text) = text_of(spec, &row).filter(|_| sure) else { continue };
        hits.by_meaning += usize::from(found.near);
        hits.found.push((found, row, text));
    }
    Ok(hits)
}

impl Hits {
    fn ordered(self, count: usize) -> Vec<Hit> {
        let Self { found, tables, .. } = self;
        // Ranks are counted anew, without those that are no answers; the nearest are in order already.
        let mut words: Vec<usize> = found.iter().filter_map(|(found, ..)| found.words).collect();
        words.sort_unstable();
        let mut near = 0;
        let mut hits: Vec<Hit> = Vec::with_capacity(found.len());
        for (found, row, text) in found {
            near += usize::from(found.near);
            let by_words = found.words.and_then(|rank| words.binary_search(&rank).ok()).map(|rank| rank + 1);
            let ranks = [found.near.then_some(near), by_words];
            let spec = &tables[&found.place.table];
            hits.push(Hit {
                similarity: found.similarity,
                score: fused(ranks),
                has_words: found.words.is_some(),
                confidence: confidence(spec, &row),
                uses: uses(spec, &row),
                text,
                row,
                place: found.place,
            });
        }
        hits.sort_by(|a, b| {
            let near = |hit: &Hit| hit.similarity.unwrap_or(f64::NEG_INFINITY);
            b.score.total_cmp(&a.score).then_with(|| order((near(a), &a.place), (near(b), &b.place)))
        });
        hits.truncate(count);
        hits
    }
}
