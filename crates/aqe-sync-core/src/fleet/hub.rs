//! What a hub has to offer so that environments can learn from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::contribution::Contribution;
use crate::{Environment, Key, KeyHash, Result, SourceName, TableSpec, Timestamp};

/// Per environment, the version of a table up to which somebody has seen it.
///
/// Versions of one environment and table become visible in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VersionVector(BTreeMap<Environment, i64>);

impl VersionVector {
    /// What was seen of an environment; zero for nothing.
    pub fn of(&self, environment: &Environment) -> i64 {
        self.0.get(environment).copied().unwrap_or(0)
    }

    /// Remembers what was seen of an environment.
    pub fn set(&mut self, environment: Environment, version: i64) {
        self.0.insert(environment, version);
    }

    /// All environments of which something was seen.
    pub fn iter(&self) -> impl Iterator<Item = (&Environment, i64)> {
        self.0.iter().map(|(environment, version)| (environment, *version))
    }
}

/// How far a hub is: all that a pull has to know to see that nothing is new.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Changes when versions that were seen may stand for something else: after the
    /// hub's server was started anew, or the hub was replaced.
    pub epoch: String,
    /// Per table, how far each environment is with it.
    pub versions: BTreeMap<String, VersionVector>,
    /// Environments that the fleet does not listen to: see [`FleetHub::exclude`].
    pub excluded: BTreeSet<Environment>,
}

/// What a pull wrote into one row of one file: [`super::Absorbed`] as a hub keeps it, so
/// that an installation that lost its own notes can tell its part of its rows again.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The hub table.
    pub table: String,
    /// The key in the hub.
    pub key: Key,
    /// The hash of the key as the file gives it.
    pub local: KeyHash,
    /// Grows with every pull that writes to the file; the file carries the number of the
    /// last one. Of several entries of a key the highest one up to that number holds.
    pub generation: i64,
    /// The entry as JSON; `None` when there is none any more.
    pub entry: Option<String>,
}

/// A hub that environments can learn from.
///
/// Implementers write plain `async fn`.
pub trait FleetHub: Send + Sync + 'static {
    /// How far the hub is: one round trip.
    ///
    /// # Errors
    /// When the hub is not reachable.
    fn standing(&self) -> impl Future<Output = Result<Standing>> + Send;

    /// Keys of a table of which `own` has to be told, each once per call of the stream:
    /// those that any other environment changed after `since`, and those that `own` itself
    /// changed and another environment has, too, since what all of them make of it may be
    /// another record now. Tombstones count as changes. With `after` only rows written after
    /// that moment count.
    fn changed(
        &self,
        table: &Arc<TableSpec>,
        since: &VersionVector,
        own: &Environment,
        after: Option<Timestamp>,
    ) -> BoxStream<'static, Result<Vec<Key>>>;

    /// What all environments have of these keys, tombstones included: per key, in the
    /// order of the keys.
    ///
    /// # Errors
    /// When the hub cannot be read, or lacks the table.
    fn contributions(
        &self,
        table: &Arc<TableSpec>,
        keys: Vec<Key>,
    ) -> impl Future<Output = Result<Vec<Vec<Contribution>>>> + Send;

    /// Keeps entries for a file of an environment; an entry of the same table, local key
    /// and generation is replaced. Entries of earlier generations than `floor` that have a
    /// later one up to `floor` may be forgotten.
    ///
    /// # Errors
    /// When the hub is not reachable.
    fn keep(
        &self,
        environment: &Environment,
        file: &SourceName,
        entries: Vec<Kept>,
        floor: i64,
    ) -> impl Future<Output = Result<()>> + Send;

    /// All entries for a file of an environment, in any order.
    fn kept(&self, environment: &Environment, file: &SourceName) -> BoxStream<'static, Result<Vec<Kept>>>;

    /// Takes an environment out of the fleet, or back in; its rows stay. `false` when it
    /// was so already.
    ///
    /// # Errors
    /// When the hub is not reachable.
    fn exclude(&self, environment: &Environment, excluded: bool) -> impl Future<Output = Result<bool>> + Send;
}
