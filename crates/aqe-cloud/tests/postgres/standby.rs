//! Reading a hub from a hot standby, and not writing to it.

use std::sync::Arc;

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::AddressParts;
use aqe_sync_core::digest::{DigestRequest, HashRange};
use aqe_sync_core::{ColumnType, ErrorKind, Sink as _, TableSpec, Value};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;

use crate::sink_world::{committed, delivery, hub, open, push, recomputed, stream, upsert};

fn table() -> Arc<TableSpec> {
    TableSpec::builder("notes").key("id", ColumnType::Text).column("body", ColumnType::Text).build().unwrap()
}

#[test]
fn a_standby_is_read_and_a_write_is_refused_with_its_reason() {
    let (table, stream) = (table(), stream("here", "a.db", "notes"));
    let primary = Cluster::start();
    let database = primary.database();
    let writing = hub(&database.url());
    block_on(writing.prepare(&table)).unwrap();
    let row = |id: &str| upsert(&table, vec![Value::from(id), Value::from("text")], None);
    committed(push(&writing, &stream, &table, vec![row("one"), row("two")]));
    drop(writing);
    let standby = primary.standby();
    let url = standby.server().url(database.name());

    let address = || AddressParts::parse(&url).unwrap().build().unwrap();
    let reading = PostgresHub::builder(address()).existing().open().unwrap();
    assert_eq!(reading.overview().unwrap().environments.len(), 1);
    let wanted =
        DigestRequest { stream: stream.clone(), table: Arc::clone(&table), within: vec![HashRange::ALL], bits: 0 };
    assert_eq!(block_on(reading.digests(vec![wanted])).unwrap()[0][0].count, 2);
    assert_eq!(recomputed(&reading, &stream, &table).len(), 2);
    PostgresHub::builder(address()).inspect().open().unwrap().overview().unwrap();

    let error = open(&url).err().expect("nothing can be written there");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("standby") && error.to_string().contains("primary"), "{error}");
    for refused in [
        block_on(reading.push(&stream, &table, delivery(vec![row("three")]))).err(),
        block_on(reading.begin(&stream, &table)).err(),
    ] {
        let error = refused.expect("nothing can be written there");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("standby"), "{error}");
    }
}
