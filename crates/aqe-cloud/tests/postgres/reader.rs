//! Reading the hub back: nothing that commits is missed, and all of it comes whole.

use std::sync::Arc;

use aqe_cloud::postgres::{HubRow, PostgresHub, VersionVector};
use aqe_sync_core::{ColumnType, Environment, Key, Sink as _, SinkTxn as _, TableSpec, Value};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors;
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
    let except = except.map(Environment::from);
    let changed = block_on(hub.changed_since(table, since, except.as_ref())).unwrap();
    *since = changed.seen;
    let mut keys: Vec<String> = changed.keys.iter().map(Key::to_string).collect();
    keys.sort();
    keys
}

fn contributions(hub: &PostgresHub, table: &Arc<TableSpec>, n: i64) -> Vec<HubRow> {
    block_on(hub.contributions(table, vec![Key::new(vec!["".into(), n.into()])])).unwrap()
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
    assert!(changed(&hub, &table, &mut since.clone(), Some("two")).is_empty(), "one's own changes are known");
    assert_eq!(changed(&hub, &table, &mut since, Some("one")), ["[\"\",1]"]);
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
