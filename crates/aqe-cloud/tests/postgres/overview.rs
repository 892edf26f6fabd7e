//! What a status shows, and to whom.

use std::sync::Arc;

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::AddressParts;
use aqe_sync_core::{ColumnType, ErrorKind, Sink as _, TableSpec, Value, tables};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;

use crate::login::Login;
use crate::sink_world::{committed, deletion, hash_of, hub, push, stream, upsert};

fn inspecting(url: &str) -> aqe_sync_core::Result<Option<PostgresHub>> {
    PostgresHub::builder(AddressParts::parse(url).unwrap().build().unwrap()).inspect().open_if_there()
}

#[test]
fn rows_and_tombstones_are_counted_for_somebody_who_may_only_read() {
    let database = Cluster::shared().database();
    assert!(inspecting(&database.url()).unwrap().is_none(), "there is no hub yet");
    let writing = hub(&database.url());
    let table: &Arc<TableSpec> = tables::find("mincut_history").unwrap_or_else(|| &tables::all()[0]);
    let values = |id: &str| {
        let columns = table.columns().iter().enumerate();
        let value = |(position, kind)| if position == 0 && kind == ColumnType::Text { id.into() } else { Value::Null };
        columns.map(|(position, column)| value((position, column.kind))).collect::<Vec<_>>()
    };
    let stream = stream("here", "a.db", "rows");
    block_on(writing.prepare(table)).unwrap();
    let gone = upsert(table, values("gone"), None);
    let base = Some(hash_of(&gone));
    committed(push(&writing, &stream, table, vec![upsert(table, values("stays"), None), gone]));
    committed(push(&writing, &stream, table, vec![deletion(table, values("gone"), base)]));

    let login = Login::new(&database);
    let denied = inspecting(&login.url()).err().expect("it may not look into the schema");
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    assert!(denied.to_string().contains("GRANT USAGE ON SCHEMA"), "{denied}");
    login.grant("USAGE ON SCHEMA aqe");
    login.grant("SELECT ON ALL TABLES IN SCHEMA aqe");
    let seen = inspecting(&login.url()).unwrap().expect("a hub").overview().unwrap();
    assert_eq!(seen.environments[0].streams[0].rows, 1);
    assert_eq!((seen.tables[0].rows, seen.tables[0].tombstones), (1, 1));
    assert!(seen.bytes > 0);
}
