//! All that a fleet knows of a table.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Contribution, FleetHub, VersionVector};
use crate::{Environment, Key, Result, TableSpec};

/// So many keys are asked for at once.
pub const KEYS: usize = 500;

/// Keys with what each environment has of them.
pub type Known = Vec<(Key, Vec<Contribution>)>;

/// Reads every key of a table with what each environment has of it, tombstones included, some
/// hundreds at a time; without what excluded environments have.
///
/// # Errors
/// Each item may be one: the hub cannot be read, or lacks the table.
pub fn known<'a, H: FleetHub>(
    hub: &'a H,
    table: &'a Arc<TableSpec>,
    excluded: &'a BTreeSet<Environment>,
) -> BoxStream<'a, Result<Known>> {
    // Nobody is called nothing: every key counts as somebody else's.
    let keys = hub.changed(table, &VersionVector::default(), &"".into(), None);
    let chunks = keys.map_ok(|batch| {
        let chunks: Vec<Vec<Key>> = batch.chunks(KEYS).map(<[Key]>::to_vec).collect();
        stream::iter(chunks.into_iter().map(Ok))
    });
    let contributions = chunks.try_flatten().and_then(move |keys| async move {
        let mut all = hub.contributions(table, keys.clone()).await?;
        for contributions in &mut all {
            contributions.retain(|one| !excluded.contains(&one.environment));
        }
        Ok(keys.into_iter().zip(all).collect())
    });
    contributions.boxed()
}
