//! A whole custom sink: rows, checkpoints and dead letters in one map, which stands for your store.
use std::{collections::BTreeMap, sync::Arc};

use aqe_sync_core::meet::{Contested, Settled, Stored};
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, DeadLetter, Environment, Key, KnownRow, Operation, Report, Result, Sink,
    SinkTxn, StreamId, StreamState, TableSpec,
};
use futures::lock::{Mutex, OwnedMutexGuard};
use futures::stream::{self, BoxStream, StreamExt as _};

/// Everything that a commit makes durable.
#[derive(Clone, Debug, Default)]
pub struct Store {
    rows: BTreeMap<(Environment, String, u128), (Key, Stored)>,
    states: BTreeMap<StreamId, StreamState>,
    letters: BTreeMap<(StreamId, String), DeadLetter>,
}

/// Clones share one store.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Store>>);

/// Works on a draft; dropping it rolls back.
pub struct ShelfTxn {
    store: OwnedMutexGuard<Store>,
    draft: Store,
    stream: StreamId,
    table: Arc<TableSpec>,
}

impl Shelf {
    /// All that is stored, for whoever checks that a rollback left no trace.
    pub async fn census(&self) -> String {
        format!("{:#?}", self.0.lock().await)
    }
}

impl Sink for Shelf {
    type Txn = ShelfTxn;

    fn name(&self) -> &'static str {
        "shelf"
    }

    async fn identity(&self) -> Result<String> {
        Ok("the one shelf".to_owned())
    }

    async fn prepare(&self, _: &Arc<TableSpec>) -> Result<()> {
        Ok(()) // A map takes any table.
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        let store = self.0.lock().await;
        Ok(store.states.values().filter(|state| state.stream.environment == *environment).cloned().collect())
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let (store, stream, table) = (Arc::clone(&self.0), stream.clone(), table.name().to_string());
        let rows = async move {
            let store = store.lock().await;
            let mine = store.rows.iter().filter(|((who, of, _), _)| (who, of) == (&stream.environment, &table));
            let known = mine.filter_map(|(_, (key, stored))| {
                contribution(stored, &stream).map(|hash| KnownRow { key: key.clone(), hash, sound: true })
            });
            Ok(known.collect())
        };
        stream::once(rows).boxed()
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<ShelfTxn> {
        let store = Arc::clone(&self.0).lock_owned().await;
        Ok(ShelfTxn { draft: store.clone(), store, stream: stream.clone(), table: Arc::clone(table) })
    }

    async fn finish(&self, _: &Report) -> Result<()> {
        Ok(()) // Keeps no history of runs.
    }
}

/// What a stream contributes to a live row.
fn contribution(stored: &Stored, stream: &StreamId) -> Option<aqe_sync_core::ContentHash> {
    let writer = stream.contributor();
    match stored.merged_from.iter().find(|one| one.contributor == writer) {
        _ if stored.deleted => None,
        Some(one) => Some(one.row.hash),
        None => (stored.merged_from.is_empty() && stored.contributor == writer).then_some(stored.row.hash),
    }
}

impl ShelfTxn {
    fn put(&mut self, key: Key, stored: Stored) {
        let id = (self.stream.environment.clone(), self.table.name().to_string(), key.hash().0);
        self.draft.rows.insert(id, (key, stored));
    }

    fn apply_one(&mut self, change: Change, applied: &mut Applied) {
        let contributor = self.stream.contributor();
        let id = (self.stream.environment.clone(), self.table.name().to_string(), change.key.hash().0);
        let existing = self.draft.rows.get(&id).map(|(_, stored)| stored.clone());
        match (existing, change.operation) {
            (None, Operation::Upsert(row)) => {
                self.put(change.key, Stored { row, contributor, merged_from: Vec::new(), deleted: false });
                applied.inserted += 1;
            }
            (None, Operation::Delete) => {} // Nothing to delete, nothing to count.
            (Some(stored), operation) => {
                let alone = stored.merged_from.is_empty() && stored.contributor == contributor;
                let ours = alone && !stored.deleted;
                let on_base = ours && change.base == Some(stored.row.hash);
                match operation {
                    Operation::Upsert(row) if on_base => {
                        self.put(change.key, Stored { row, ..stored });
                        applied.updated += 1;
                    }
                    Operation::Upsert(row) if ours && row.hash == stored.row.hash => applied.unchanged += 1,
                    Operation::Delete if alone && stored.deleted => {} // The same.
                    Operation::Delete if on_base => {
                        self.put(change.key, Stored { deleted: true, ..stored });
                        applied.deleted += 1;
                    }
                    operation => {
                        let change = Change { operation, ..change };
                        applied.contested.push(Contested { change, existing: stored });
                    }
                }
            }
        }
    }
}

impl SinkTxn for ShelfTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        let mut applied = Applied::default();
        for change in changes {
            self.apply_one(change, &mut applied);
        }
        Ok(applied)
    }

    async fn resolve(&mut self, settled: Vec<Settled>) -> Result<()> {
        for one in settled {
            if let Some(stored) = one.write {
                self.put(one.key, stored);
            }
        }
        Ok(())
    }

    async fn reject(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        for letter in letters {
            self.draft.letters.insert((self.stream.clone(), letter.record.as_str().to_owned()), letter);
        }
        Ok(())
    }

    async fn commit(mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let sequence = self.draft.states.get(&self.stream).map_or(1, |state| state.sequence + 1);
        let (stream, table) = (self.stream.clone(), self.table.name().to_string());
        let state = StreamState { stream: stream.clone(), sequence, table, checkpoint };
        self.draft.states.insert(stream, state);
        *self.store = std::mem::take(&mut self.draft);
        Ok(Committed { sequence })
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    use aqe_sync_core::{Engine, MemoryLedger, Options, Silent};
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sample-project");
    let sources: Vec<_> = aqe_readers::discover(sample.as_ref())?.found.into_iter().map(|found| found.source).collect();
    let (shelf, ledger) = (Shelf::default(), MemoryLedger::new());
    let engine = Engine::new(&shelf, &ledger, &Silent, Options::new("laptop".into()));
    println!("{} records on the shelf", futures::executor::block_on(engine.run(&sources))?.totals.inserted);
    Ok(())
}
