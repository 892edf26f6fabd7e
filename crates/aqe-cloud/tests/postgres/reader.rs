//! Reading the hub back: nothing that commits is missed, and all of it comes whole.

use std::sync::Arc;

use aqe_cloud::postgres::PostgresHub;
use aqe_sync_core::fleet::{Contribution, FleetHub as _, VersionVector};
use aqe_sync_core::{ColumnType, Environment, Key, Sink as _, SinkTxn as _, TableSpec, Value};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors;
use futures::TryStreamExt as _;
use futures::executor::block_on;

use crate::sink_world::{checkpoint, committed, deletion, hash_of, hub, push, stream, upsert};

fn lessons() -> Arc<TableSpec> {
    TableSpec::builder("lessons")
        .key("scope", ColumnType::Text)
        .key("n", ColumnType::Int)
        .column("text", ColumnType::Text)
        .column("v", ColumnType::Vector(3))
        .build()
        .unwrap()
}

fn lesson(n: i64, text: &str) -> Vec<Value> {
    vec!["".into(), n.into(), text.into(), vec![0.1_f32, -0.0, n as f32].into()]
}

fn changed(hub: &PostgresHub, table: &Arc<TableSpec>, since: &mut VersionVector, except: Option<&str>) -> Vec<String> {
    // Asked first, as pulls do: what commits in between is news the next time, too.
    let standing = block_on(hub.standing()).unwrap();
    let own = Environment::from(except.unwrap_or(""));
    let changed: Vec<Key> = block_on(hub.changed(table, since, &own, None).try_concat()).unwrap();
    *since = standing.versions.get(table.name().as_str()).cloned().unwrap_or_default();
    let mut keys: Vec<String> = changed.iter().map(Key::to_string).collect();
    keys.sort();
    keys
}

fn contributions(hub: &PostgresHub, table: &Arc<TableSpec>, n: i64) -> Vec<Contribution> {
    block_on(hub.contributions(table, vec![Key::new(vec!["".into(), n.into()])])).unwrap().remove(0)
}

fn everybody_is_read(database: &Database) {
    let (hub, table) = (hub(&database.url()), lessons());
    block_on(hub.prepare(&table)).unwrap();
    let (one, two) = (stream("one", "a.db", "lessons"), stream("two", "a.db", "lessons"));
    let first = upsert(&table, lesson(1, "by one"), None);
    committed(push(&hub, &one, &table, vec![first.clone(), upsert(&table, lesson(2, "only one"), None)]));
    let mut since = VersionVector::default();
    assert_eq!(changed(&hub, &table, &mut since, None), ["[\"\",1]", "[\"\",2]"]);
    assert!(changed(&hub, &table, &mut since, None).is_empty());
    committed(push(&hub, &two, &table, vec![upsert(&table, lesson(1, "by two"), None)]));
    assert_eq!(changed(&hub, &table, &mut since.clone(), Some("two")), ["[\"\",1]"], "its own, which others have");
    let mut alone = since.clone();
    committed(push(&hub, &two, &table, vec![upsert(&table, lesson(7, "only two"), None)]));
    assert_eq!(changed(&hub, &table, &mut alone, Some("two")), ["[\"\",1]"], "nobody else has the other");
    assert_eq!(changed(&hub, &table, &mut since, Some("one")), ["[\"\",1]", "[\"\",7]"]);
    let rows = contributions(&hub, &table, 1);
    let said: Vec<_> = rows.iter().map(|row| (row.environment.as_str(), row.row.values.clone(), row.deleted)).collect();
    assert_eq!(said, [("one", lesson(1, "by one"), false), ("two", lesson(1, "by two"), false)]);
    committed(push(&hub, &one, &table, vec![deletion(&table, lesson(1, ""), Some(hash_of(&first)))]));
    assert_eq!(changed(&hub, &table, &mut since, None), ["[\"\",1]"], "a tombstone is a change");
    assert!(contributions(&hub, &table, 1)[0].deleted);
    assert!(contributions(&hub, &table, 3).is_empty());
}

#[test]
fn what_everybody_has_of_a_key_comes_whole() {
    everybody_is_read(&Cluster::shared().database());
}

#[test]
fn vectors_of_extensions_come_whole() {
    for cluster in [vectors::ruvector(), vectors::pgvector(), vectors::old_pgvector()].into_iter().flatten() {
        everybody_is_read(&cluster.database());
    }
}

#[test]
fn what_is_not_committed_yet_is_not_passed_over() {
    let (database, table) = (Cluster::shared().database(), lessons());
    let (writer, reader) = (hub(&database.url()), hub(&database.url()));
    block_on(writer.prepare(&table)).unwrap();
    block_on(reader.prepare(&table)).unwrap();
    let one = stream("one", "a.db", "lessons");
    let mut txn = block_on(writer.begin(&one, &table)).unwrap();
    block_on(txn.apply(vec![upsert(&table, lesson(1, "slow"), None)])).unwrap();
    let mut since = VersionVector::default();
    assert!(changed(&reader, &table, &mut since, None).is_empty());
    block_on(txn.commit(checkpoint("run"))).unwrap();
    assert_eq!(changed(&reader, &table, &mut since, None), ["[\"\",1]"]);
}
