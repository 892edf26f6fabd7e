//! What a hub has to offer so that its rows can be embedded and found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;

use futures::stream::BoxStream;

use super::TextHash;
use crate::fleet::{FleetHub, VersionVector};
use crate::{Environment, Key, Result, Row, TableSpec};

/// A row of the hub that a vector is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The hub table.
    pub table: String,
    /// Whose row it is.
    pub environment: Environment,
    /// Its key.
    pub key: Key,
}

/// A row that changed since it was last embedded.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its key.
    pub key: Key,
    /// Its version within environment and table.
    pub version: i64,
    /// Its content; `None` for a tombstone.
    pub row: Option<Row>,
    /// The text that its vector was computed from, where it has one.
    pub known: Option<TextHash>,
}

/// What a hub keeps of an embedded row.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// The row's key.
    pub key: Key,
    /// The text that was embedded, and its vector; `None` takes away what the hub has.
    pub content: Option<(TextHash, Vec<f32>)>,
    /// The words of its text and its key, each as often as it occurs.
    pub words: Vec<String>,
}

/// How far a hub's vectors of one model are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Per table, the version of each environment up to which every row was embedded.
    pub reached: BTreeMap<String, VersionVector>,
}

/// Which rows a search looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these tables; all where there is none.
    pub tables: BTreeSet<String>,
    /// Only these environments; all where there is none.
    pub environments: BTreeSet<Environment>,
    /// Never these environments.
    pub without: BTreeSet<Environment>,
}

impl Filter {
    /// Whether rows of this table and environment are looked at.
    pub fn takes(&self, table: &str, environment: &Environment) -> bool {
        (self.tables.is_empty() || self.tables.contains(table))
            && (self.environments.is_empty() || self.environments.contains(environment))
            && !self.without.contains(environment)
    }
}

/// What is nearest to a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// The model whose vectors are compared.
    pub model: String,
    /// The vector, of length one.
    pub vector: Vec<f32>,
    /// Which rows.
    pub filter: Filter,
    /// So many at most.
    pub limit: usize,
    /// Whether every vector has to be looked at, whatever index there is.
    pub exact: bool,
}

/// A row and its vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Which row.
    pub place: Place,
    /// Its vector.
    pub vector: Vec<f32>,
}

/// How often words occur in the text of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Worded {
    /// The row.
    pub place: Place,
    /// How many words its text has.
    pub length: u32,
    /// How often each of the words that were asked for occurs.
    pub counts: Vec<u32>,
}

/// Rows in which words occur.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordHits {
    /// In how many rows each word occurs, counted up to the limit.
    pub occurrences: Vec<u64>,
    /// Rows with at least one of those words that occur in fewer rows than the limit.
    pub rows: Vec<Worded>,
}

/// A hub that keeps vectors of its rows.
///
/// Implementers write plain `async fn`.
pub trait VectorHub: FleetHub {
    /// How far the vectors of a model are.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn embedded(&self, model: &str) -> impl Future<Output = Result<Standing>> + Send;

    /// Whether this login may keep vectors of an environment's rows.
    fn may_embed(&self, environment: &Environment) -> bool;

    /// Rows of an environment that changed after a version, tombstones included, in the
    /// order of their versions.
    fn changed_rows(
        &self,
        model: &str,
        table: &Arc<TableSpec>,
        environment: &Environment,
        since: i64,
    ) -> BoxStream<'static, Result<Vec<Candidate>>>;

    /// Vectors that the hub has of these texts, whichever row they are of.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn vectors_of_texts(
        &self,
        model: &str,
        texts: Vec<TextHash>,
    ) -> impl Future<Output = Result<HashMap<TextHash, Vec<f32>>>> + Send;

    /// Keeps vectors of one environment's rows, in the place of what it has of them, and how
    /// far that is, in one transaction.
    ///
    /// # Errors
    /// When the hub cannot be written; then nothing of it was kept.
    fn keep_vectors(
        &self,
        model: &str,
        table: &Arc<TableSpec>,
        environment: &Environment,
        rows: Vec<Embedded>,
        reached: Option<i64>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The rows whose vectors are nearest by cosine, the nearest first.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn nearest(&self, query: Nearest) -> impl Future<Output = Result<Vec<Near>>> + Send;

    /// Rows whose texts have at least one of these words; words that occur in `limit` rows or
    /// more say nothing and find none.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn with_words(
        &self,
        model: &str,
        words: Vec<String>,
        filter: Filter,
        limit: u64,
    ) -> impl Future<Output = Result<WordHits>> + Send;

    /// The vectors of records of one table: for each key those of all environments that have it.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn vectors_of(&self, model: &str, table: &str, keys: Vec<Key>) -> impl Future<Output = Result<Vec<Near>>> + Send;

    /// Models of which the hub keeps vectors, with how many, the one with the most first.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn models(&self) -> impl Future<Output = Result<Vec<(String, u64)>>> + Send;

    /// All vectors of a model, in any order.
    fn vectors(&self, model: &str, filter: Filter) -> BoxStream<'static, Result<Vec<Near>>>;

    /// How much of what an exact search finds the index for vectors of a model found when it was
    /// last compared, 0 to 1; `None` where it never was.
    ///
    /// # Errors
    /// When the hub cannot be read.
    fn known_recall(&self, model: &str) -> impl Future<Output = Result<Option<f64>>> + Send;

    /// Remembers that. `false` where this login may not.
    ///
    /// # Errors
    /// When the hub cannot be written.
    fn remember_recall(&self, model: &str, recall: f64) -> impl Future<Output = Result<bool>> + Send;
}
