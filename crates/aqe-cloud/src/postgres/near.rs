//! Searching the vectors of rows, and the words of their texts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aqe_sync_core::embed::{Filter, Near, Nearest, Place, WordHits, Worded};
use aqe_sync_core::{ColumnType, Key, Value};
use postgres_types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::failure::Failure;
use super::schema::{VectorKind, literal};
use super::statements::Dialect;
use super::wire::{Raw, read};

/// How many neighbours pgvector's index keeps in sight, at least.
const IN_SIGHT: usize = 200;
/// And at most.
const MOST_IN_SIGHT: usize = 1_000;

/// What a query is made of: SQL and what stands for `$1`, `$2`, ….
#[derive(Default)]
pub(super) struct Question {
    pub(super) sql: String,
    texts: Vec<Text>,
}

enum Text {
    One(String),
    Many(Vec<String>),
    Words(Vec<String>),
    Number(i64),
}

impl Question {
    pub(super) fn text(&mut self, text: impl Into<String>) -> String {
        self.push(Text::One(text.into()))
    }

    pub(super) fn texts(&mut self, texts: impl IntoIterator<Item = String>) -> String {
        self.push(Text::Many(texts.into_iter().collect()))
    }

    fn words(&mut self, words: &[String]) -> String {
        self.push(Text::Words(words.to_vec()))
    }

    fn number(&mut self, number: usize) -> String {
        self.push(Text::Number(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn push(&mut self, text: Text) -> String {
        self.texts.push(text);
        format!("${}", self.texts.len())
    }

    /// The conditions that a filter puts on table and environment.
    fn filter(&mut self, filter: &Filter) -> String {
        let mut conditions = String::new();
        let environments = |set: &BTreeSet<aqe_sync_core::Environment>| -> Vec<String> {
            set.iter().map(|environment| environment.as_str().to_owned()).collect()
        };
        // Writing to a String cannot fail.
        if !filter.tables.is_empty() {
            let _ = write!(conditions, " AND table_name = ANY ({})", self.texts(filter.tables.iter().cloned()));
        }
        if !filter.environments.is_empty() {
            let _ = write!(conditions, " AND source_env = ANY ({})", self.texts(environments(&filter.environments)));
        }
        if !filter.without.is_empty() {
            let _ = write!(conditions, " AND source_env <> ALL ({})", self.texts(environments(&filter.without)));
        }
        conditions
    }

    pub(super) async fn ask(&self, client: &Client) -> Result<Vec<Row>, Failure> {
        let kind = |text: &Text| match text {
            Text::One(_) => Type::TEXT,
            Text::Many(_) | Text::Words(_) => Type::TEXT_ARRAY,
            Text::Number(_) => Type::INT8,
        };
        let types: Vec<Type> = self.texts.iter().map(kind).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = self
            .texts
            .iter()
            .map(|text| -> &(dyn ToSql + Sync) {
                match text {
                    Text::One(text) => text,
                    Text::Many(texts) | Text::Words(texts) => texts,
                    Text::Number(number) => number,
                }
            })
            .collect();
        // Prepared, since the driver may have to ask what type an extension's vectors have.
        let statement = client.prepare_typed(&self.sql, &types).await?;
        Ok(client.query(&statement, &parameters).await?)
    }
}

/// A vector as the server reads it from text.
pub(super) fn spelled(vector: &[f32], kind: VectorKind) -> String {
    let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
    match kind {
        VectorKind::None => format!("{{{}}}", numbers.join(",")),
        VectorKind::Pgvector | VectorKind::Ruvector => format!("[{}]", numbers.join(",")),
    }
}

/// The type of vectors of any dimension.
pub(super) fn vector_type(dialect: &Dialect) -> String {
    let typed = dialect.vectors.column_type(ColumnType::Vector(1));
    typed.strip_suffix("(1)").map_or(typed.clone(), str::to_owned)
}

/// How the columns of a [`Near`] are asked for.
pub(super) const NEAR: &str = "table_name, source_env, key, vector";

/// From [`NEAR`]; `None` for what nobody of us wrote.
pub(super) fn near(row: &Row, kind: VectorKind) -> Result<Option<Near>, Failure> {
    let vector = read(row.try_get::<_, Raw<'_>>(3)?, ColumnType::Vector(0), kind);
    let Some(Value::Vector(vector)) = vector else { return Ok(None) };
    Ok(place(row)?.map(|place| Near { place, vector }))
}

/// From `table_name, source_env, key`.
fn place(row: &Row) -> Result<Option<Place>, Failure> {
    let (table, environment, key): (String, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Key::from_json(key).map(|key| Place { table, environment: environment.into(), key }))
}

/// The nearest rows. Only pgvector's index is ever used: that of ruvector loses rows.
pub(super) async fn nearest(client: &Client, dialect: &Dialect, query: &Nearest) -> Result<Vec<Near>, Failure> {
    let kind = dialect.vectors.kind();
    let index = kind == VectorKind::Pgvector
        && !query.exact
        && fits_index(dialect, query)
        && has_index(client, dialect, &query.model).await?;
    let mut question = Question::default();
    let vector = question.text(spelled(&query.vector, kind));
    let model = question.text(&query.model);
    let filter = question.filter(&query.filter);
    let (table, vector_type) = (dialect.own("vectors"), vector_type(dialect));
    let dimensions = query.vector.len();
    let limit = question.number(query.limit);
    let (distance, of_model) = match kind {
        VectorKind::Pgvector if index => {
            sight(client, dialect, query.limit).await?;
            // As the index has it: see `index_sql`.
            let operator = dialect.vectors.operator("<=>");
            let typed = format!("{vector_type}({dimensions})");
            (
                format!("vector::{typed} {operator} {vector}::text::{typed}"),
                format!("model = {}", literal(&query.model)),
            )
        }
        VectorKind::Pgvector => {
            let operator = dialect.vectors.operator("<=>");
            (format!("vector {operator} {vector}::text::{vector_type}"), format!("model = {model}"))
        }
        VectorKind::Ruvector => {
            let function = dialect.vectors.function("ruvector_cosine_distance");
            (format!("{function}(vector, {vector}::text::{vector_type})"), format!("model = {model}"))
        }
        // All are of length one: the product is the cosine.
        VectorKind::None => (
            format!(
                "-(SELECT pg_catalog.sum(n.a::float8 * n.b) FROM unnest(vector, {vector}::text::real[]) AS n(a, b))"
            ),
            format!("model = {model}"),
        ),
    };
    // Both are parameters whether they are used or not.
    question.sql = format!(
        "SELECT {NEAR} FROM {table} WHERE {of_model} AND {model}::text IS NOT NULL{filter} ORDER BY {distance} LIMIT {limit}"
    );
    let rows = question.ask(client).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.extend(near(row, kind)?.filter(|near| near.vector.len() == dimensions));
    }
    Ok(found)
}

/// Whether the index can answer: before version 0.8 it does not go on where filters leave too few.
fn fits_index(dialect: &Dialect, query: &Nearest) -> bool {
    query.limit <= MOST_IN_SIGHT && (query.filter == Filter::default() || goes_on(dialect))
}

fn goes_on(dialect: &Dialect) -> bool {
    let mut parts = dialect.vectors.version().split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (0, 8)
}

/// Lets the index look far enough.
async fn sight(client: &Client, dialect: &Dialect, limit: usize) -> Result<(), Failure> {
    let sight = limit.clamp(IN_SIGHT, MOST_IN_SIGHT);
    let on = if goes_on(dialect) { "; SET hnsw.iterative_scan = strict_order" } else { "" };
    // The settings are there once the extension was used.
    let vector_type = vector_type(dialect);
    client.batch_execute(&format!("SELECT '[1]'::{vector_type}; SET hnsw.ef_search = {sight}{on}")).await?;
    Ok(())
}

/// The statements that build the index for a model's vectors; each is a transaction of its own.
pub(super) fn index_sql(dialect: &Dialect, model: &str, dimensions: usize) -> String {
    let (name, table, vector_type) = (index_name(model), dialect.own("vectors"), vector_type(dialect));
    format!(
        "CREATE INDEX CONCURRENTLY {name} ON {table} USING hnsw ((vector::{vector_type}({dimensions})) {}) \
         WHERE model = {}",
        dialect.vectors.function("vector_cosine_ops"),
        literal(model)
    )
}

/// What the index for a model's vectors is called.
pub(super) fn index_name(model: &str) -> String {
    format!("vectors_near_{:016x}", xxhash_rust::xxh3::xxh3_64(model.as_bytes()))
}

/// Whether there is an index that can be used.
pub(super) async fn has_index(client: &Client, dialect: &Dialect, model: &str) -> Result<bool, Failure> {
    let sql = "SELECT i.indisvalid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let (schema, name) = (dialect.schema.as_str(), index_name(model));
    let found = client.query_typed(sql, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
    Ok(match found.first() {
        Some(row) => row.try_get(0)?,
        None => false,
    })
}

pub(super) async fn with_words(
    client: &Client,
    dialect: &Dialect,
    model: &str,
    words: &[String],
    filter: &Filter,
    limit: u64,
) -> Result<WordHits, Failure> {
    let table = dialect.own("vectors");
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut question = Question::default();
    let (asked, of_model, most) = (question.words(words), question.text(model), question.number(limit));
    question.sql = format!(
        "SELECT (SELECT count(*) FROM (SELECT FROM {table} v WHERE v.words @> ARRAY[w.word] AND v.model = {of_model} \
         LIMIT {most}) AS c) FROM pg_catalog.unnest({asked}) WITH ORDINALITY AS w(word, position) ORDER BY w.position"
    );
    let mut hits = WordHits::default();
    for row in question.ask(client).await? {
        hits.occurrences.push(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0));
    }
    let rare =
        |position: usize| hits.occurrences.get(position).is_some_and(|count| *count < limit as u64 && *count > 0);
    let telling: Vec<String> =
        words.iter().enumerate().filter(|(position, _)| rare(*position)).map(|(_, word)| word.clone()).collect();
    if telling.is_empty() {
        return Ok(hits);
    }
    let mut question = Question::default();
    let (asked, of_model) = (question.words(&telling), question.text(model));
    let filter = question.filter(filter);
    question.sql = format!(
        "SELECT table_name, source_env, key, pg_catalog.cardinality(words), \
         (SELECT pg_catalog.array_agg((SELECT count(*)::int FROM pg_catalog.unnest(words) AS o(word) WHERE o.word = w.word) \
         ORDER BY w.position) FROM pg_catalog.unnest({asked}) WITH ORDINALITY AS w(word, position)) \
         FROM {table} WHERE words && {asked} AND model = {of_model}{filter}"
    );
    for row in question.ask(client).await? {
        let Some(place) = place(&row)? else { continue };
        let (length, found): (i32, Vec<i32>) = (row.try_get(3)?, row.try_get(4)?);
        let mut counts = vec![0; words.len()];
        let positions = words.iter().enumerate().filter(|(position, _)| rare(*position));
        for ((position, _), count) in positions.zip(found) {
            counts[position] = u32::try_from(count).unwrap_or(0);
        }
        hits.rows.push(Worded { place, length: u32::try_from(length).unwrap_or(0), counts });
    }
    Ok(hits)
}
