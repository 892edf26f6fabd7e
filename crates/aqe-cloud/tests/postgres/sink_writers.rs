//! Two writers of one environment, and two streams that share keys, against a model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aqe_cloud::postgres::PostgresHub;
use aqe_sync_core::conflict::PolicySpec;
use aqe_sync_core::meet::{Ranking, Stored, settle};
use aqe_sync_core::{
    Change, ColumnType, ContentHash, Contributor, Operation, Pushed, Row, Sink as _, SinkTxn as _, StreamId, TableSpec,
};
use aqe_sync_workspace::postgres::{Cluster, Database};
use futures::executor::block_on;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::sink_world::{checkpoint, hub, push, sound, stream};

const KEYS: i64 = 5;

/// What a change says it is based on.
#[derive(Clone, Copy, Debug)]
enum Base {
    Nothing,
    Current,
    Itself,
    Stale(u8),
}

#[derive(Clone, Copy, Debug)]
struct Wish {
    key: i64,
    /// `None` is a delete.
    body: Option<u8>,
    base: Base,
}

#[derive(Clone, Debug)]
struct Step {
    second_hub: bool,
    second_stream: bool,
    large: bool,
    wishes: Vec<Wish>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let base = prop_oneof![
        2 => Just(Base::Nothing), 4 => Just(Base::Current), 1 => Just(Base::Itself), 2 => (0..4_u8).prop_map(Base::Stale)
    ];
    let wish = (0..KEYS, prop::option::weighted(0.75, 0..4_u8), base);
    let wish = wish.prop_map(|(key, body, base)| Wish { key, body, base });
    let step =
        (any::<bool>(), prop::bool::weighted(0.3), prop::bool::weighted(0.15), prop::collection::vec(wish, 0..5));
    let step = step.prop_map(|(second_hub, second_stream, large, mut wishes)| {
        wishes.sort_by_key(|wish| wish.key);
        wishes.dedup_by_key(|wish| wish.key);
        Step { second_hub, second_stream, large, wishes }
    });
    prop::collection::vec(step, 1..14)
}

fn table() -> Arc<TableSpec> {
    TableSpec::builder("notes").key("id", ColumnType::Int).column("body", ColumnType::Text).build().unwrap()
}

fn row(table: &TableSpec, key: i64, body: u8, large: bool) -> Row {
    let body = if large { body.to_string().repeat(2 << 20) } else { body.to_string() };
    Row::new(table, vec![key.into(), body.into()], None)
}

/// What has to become of one change.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Inserted,
    Updated,
    Unchanged,
    Deleted,
    Nothing,
    Contested,
}

fn fate(change: &Change, existing: Option<&Stored>, writer: &Contributor) -> Fate {
    let upsert = match &change.operation {
        Operation::Upsert(row) => Some(row.hash),
        Operation::Delete => None,
    };
    let Some(existing) = existing else { return if upsert.is_some() { Fate::Inserted } else { Fate::Nothing } };
    if !existing.merged_from.is_empty() || existing.contributor != *writer {
        return Fate::Contested;
    }
    let on_base = change.base == Some(existing.row.hash);
    match upsert {
        Some(_) if existing.deleted => Fate::Contested,
        Some(_) if on_base => Fate::Updated,
        Some(hash) if hash == existing.row.hash => Fate::Unchanged,
        None if existing.deleted => Fate::Nothing,
        None if on_base => Fate::Deleted,
        _ => Fate::Contested,
    }
}

struct Model {
    table: Arc<TableSpec>,
    rows: BTreeMap<i64, Stored>,
    conflicts: usize,
}

impl Model {
    fn change(&self, wish: &Wish, large: bool) -> Change {
        let key = Row::new(&self.table, vec![wish.key.into(), "".into()], None).key(&self.table);
        let current = self.rows.get(&wish.key).map(|stored| stored.row.hash);
        let content = wish.body.map(|body| row(&self.table, wish.key, body, large && wish.key == 0));
        let base = match wish.base {
            Base::Nothing => None,
            Base::Current => current,
            Base::Itself => content.as_ref().map(|row| row.hash),
            Base::Stale(body) => Some(row(&self.table, wish.key, body, false).hash),
        };
        Change { key, operation: content.map_or(Operation::Delete, Operation::Upsert), base }
    }

    fn step(&mut self, hub: &PostgresHub, id: &StreamId, step: &Step) {
        let writer = id.contributor();
        let changes: Vec<Change> = step.wishes.iter().map(|wish| self.change(wish, step.large)).collect();
        let fates: Vec<Fate> = (step.wishes.iter().zip(&changes))
            .map(|(wish, change)| fate(change, self.rows.get(&wish.key), &writer))
            .collect();
        let pushed = push(hub, id, &self.table, changes.clone());
        let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count() as u64;
        let (txn, applied) = match pushed {
            Pushed::Committed(applied, _) => (None, applied),
            Pushed::Contested { txn, applied, .. } => (Some(txn), applied),
        };
        let contested = applied.contested.len() as u64;
        assert_eq!(
            [applied.inserted, applied.updated, applied.unchanged, applied.deleted, contested],
            [Fate::Inserted, Fate::Updated, Fate::Unchanged, Fate::Deleted, Fate::Contested].map(count)
        );
        for ((wish, change), fate) in step.wishes.iter().zip(&changes).zip(&fates) {
            self.apply(wish.key, change, fate, &writer);
        }
        let Some(mut txn) = txn else { return };
        let priority = |other: &Contributor| Some(if other.source.as_str() == "a.db" { 1 } else { 2 });
        let ranking = Ranking { writer, priority_of: &priority };
        let mut all = Vec::new();
        for one in applied.contested {
            let position = changes.iter().position(|change| *change == one.change).expect("it was sent");
            let stored = &self.rows[&step.wishes[position].key];
            assert_eq!(one.existing, *stored, "what is in the way is what is stored");
            let settled = settle(&self.table, &PolicySpec::LocalWins, &ranking, one);
            self.conflicts += usize::from(settled.conflict.is_some());
            if let Some(stored) = &settled.write {
                self.rows.insert(step.wishes[position].key, stored.clone());
            }
            all.push(settled);
        }
        block_on(txn.resolve(all)).unwrap();
        block_on(txn.commit(checkpoint("run"))).unwrap();
    }

    fn apply(&mut self, key: i64, change: &Change, fate: &Fate, writer: &Contributor) {
        match (fate, &change.operation) {
            (Fate::Inserted | Fate::Updated, Operation::Upsert(row)) => {
                let (row, contributor) = (row.clone(), writer.clone());
                self.rows.insert(key, Stored { row, contributor, merged_from: Vec::new(), deleted: false });
            }
            (Fate::Deleted, _) => self.rows.get_mut(&key).expect("it is there").deleted = true,
            _ => {}
        }
    }

    /// The hash that a stream's contribution to a row has.
    fn contribution(stored: &Stored, writer: &Contributor) -> Option<ContentHash> {
        if stored.deleted {
            return None;
        }
        if stored.merged_from.is_empty() {
            return (stored.contributor == *writer).then_some(stored.row.hash);
        }
        stored.merged_from.iter().find(|one| one.contributor == *writer).map(|one| one.row.hash)
    }

    fn assert_stored(&self, hub: &PostgresHub, database: &Database, ids: &[StreamId; 2]) {
        for id in ids {
            let writer = id.contributor();
            let wanted = self
                .rows
                .iter()
                .filter_map(|(key, stored)| Self::contribution(stored, &writer).map(|hash| (key.to_string(), hash)));
            assert_eq!(sound(hub, id, &self.table), wanted.collect::<BTreeMap<_, _>>());
        }
        let environment = &ids[0].environment;
        let of = |what: &str, from: &str| {
            database.psql(&format!("SELECT {what} FROM aqe.{from} WHERE source_env = '{environment}'"))
        };
        let gone = self.rows.values().filter(|stored| stored.deleted).count();
        assert_eq!(of("count(deleted_at) || ' ' || count(id)", "notes"), format!("{gone} {}", self.rows.len()));
        assert_eq!(of("count(id)", "conflict_log"), self.conflicts.to_string());
    }
}

#[test]
fn a_conflict_is_found_exactly_when_the_row_is_not_the_one_a_change_was_based_on() {
    let database = Cluster::shared().database();
    let hubs = [hub(&database.url()), hub(&database.url())];
    block_on(hubs[0].prepare(&table())).unwrap();
    let number = AtomicU32::new(0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() });
    let outcome = runner.run(&steps(), |steps| {
        // An environment of its own for each case, in one database.
        let environment = format!("case {}", number.fetch_add(1, Ordering::Relaxed));
        let ids = ["a.db", "b.db"].map(|source| stream(&environment, source, "notes"));
        let mut model = Model { table: table(), rows: BTreeMap::new(), conflicts: 0 };
        for step in &steps {
            model.step(&hubs[usize::from(step.second_hub)], &ids[usize::from(step.second_stream)], step);
        }
        model.assert_stored(&hubs[0], &database, &ids);
        Ok(())
    });
    outcome.unwrap();
}
