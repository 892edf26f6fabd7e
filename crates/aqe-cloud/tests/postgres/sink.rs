//! The sink's contract: values come back bit for bit, counts are exact, names do no harm.

use std::sync::Arc;

use aqe_cloud::postgres::schema::MAX_KEY_BYTES;
use aqe_sync_core::digest::{DigestRequest, HashRange};
use aqe_sync_core::testkit::values::table_of_everything;
use aqe_sync_core::{
    Change, ColumnType, Json, Row, Sink, SinkTxn as _, StreamId, TableSpec, Timestamp, Value, conflict, meet,
};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors;
use futures::executor::block_on;

use crate::sink_world::{
    LARGE, checkpoint, committed, counts, deletion, delivery, hash_of, hub, push, recomputed, sound, stream, undecided,
    upsert,
};

const COLUMNS: usize = 10;

fn everything(name: &str) -> Arc<TableSpec> {
    table_of_everything(name).unwrap()
}

/// One value per row, so that a wrong one is known by its key.
fn hostile() -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    let mut add = |column: usize, value: Value| {
        let mut values = vec![Value::Null; COLUMNS];
        values[0] = format!("{column}-{}", rows.len()).into();
        values[1] = i64::try_from(rows.len()).unwrap().into();
        values[column] = value;
        rows.push(values);
    };
    for value in [true, false] {
        add(2, value.into());
    }
    for value in [i64::MIN, i64::MAX, -1, 0] {
        add(3, value.into());
    }
    let floats = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 5e-324, f64::MAX, 0.1 + 0.2];
    for value in floats {
        add(4, value.into());
    }
    add(4, f64::from_bits(0x7ff8_0000_0000_0123).into());
    let long = "a\u{301}🦀".repeat(100_000);
    let texts = ["", "'; DROP TABLE x; --", "\"", "\\", "\\N", "a\tb\r\nc", "\u{ffff}\u{feff}", "$1 {,} NULL", &long];
    for value in texts {
        add(5, value.into());
    }
    for bytes in [vec![], vec![0, 255, b'\\', b'\''], vec![7; 70_000]] {
        add(6, Value::Bytes(bytes));
    }
    let documents = [
        "{}",
        "null",
        "\"\"",
        "-0",
        "-0.0",
        "1e300",
        "123456789012345678901234567890.000000000000000000001",
        r#"{"b":[1.0,1e2],"a":{"\\u0000":"\\u0000 \u0001 \ud83e\udd80"}}"#,
        "[[[[]]]]",
    ];
    for text in documents {
        add(7, Value::Json(Json::from_text(text)));
    }
    for text in
        ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z", "2000-01-01T00:00:00Z"]
    {
        add(8, Timestamp::parse(text).unwrap().into());
    }
    for v in [[1.0, -2.5, 1e-30], [f32::MAX, f32::MIN_POSITIVE, 0.1]] {
        add(9, v.to_vec().into());
    }
    let keys = ["", "'", "\"", "\\", "$1", "a;b", "ключ", "\n", " ", "\u{1f}", "null"];
    for key in keys {
        let mut values = vec![Value::Null; COLUMNS];
        (values[0], values[1]) = (key.into(), i64::MIN.into());
        rows.push(values);
    }
    rows
}

fn rows(table: &TableSpec, large: bool) -> Vec<Change> {
    let mut changes: Vec<Change> = hostile().into_iter().map(|values| upsert(table, values, None)).collect();
    if large {
        let mut values = vec![Value::Null; COLUMNS];
        (values[0], values[1], values[5]) = ("large".into(), 0.into(), "x".repeat(LARGE).into());
        changes.push(upsert(table, values, None));
    }
    changes
}

fn assert_stored(database: &Database, stream: &StreamId, table: &Arc<TableSpec>, changes: &[Change]) {
    let hub = hub(&database.url());
    let wanted = changes.iter().map(|change| (change.key.to_string(), hash_of(change))).collect();
    assert_eq!(sound(&hub, stream, table), wanted);
    let name = table.name().as_str();
    let bits = |what: &str, wanted: &str| {
        assert_eq!(database.psql(&format!("SELECT count(id) FROM aqe.{name} WHERE {what}")), wanted, "{what}");
    };
    bits("encode(float8send(f), 'hex') = '8000000000000000'", "1");
    bits("encode(float8send(f), 'hex') = '7ff8000000000123'", "1");
    bits("f = 5e-324", "1");
    bits("i = -9223372036854775808", "1");
    bits("m = '0001-01-01 00:00:00+00' OR m = '9999-12-31 23:59:59.999999+00'", "2");
    bits("t = '' OR t = E'\\\\N'", "2");
    bits("y = ''", "1");
    bits("length(t) = 300000", "1");
}

fn every_path_keeps_every_value(database: &Database) {
    let first = || hub(&database.url());
    let (small, direct, staged, open) =
        (everything("small"), everything("direct"), everything("staged"), everything("open"));
    let id = stream("env", "a.db", "all");
    let hub = first();
    for table in [&small, &direct, &staged, &open] {
        block_on(hub.prepare(table)).unwrap();
    }
    // As parameters of one statement; then again, and everything is there already.
    let id_small = stream("env", "a.db", "small");
    let changes = rows(&small, false);
    let count = changes.len() as u64;
    for wanted in [[count, 0, 0, 0, 0, 0], [0, 0, count, 0, 0, 0]] {
        assert_eq!(counts(&committed(push(&hub, &id_small, &small, changes.clone())).0), wanted);
    }
    assert_stored(database, &id_small, &small, &changes);
    // By COPY into the table, as nothing of the stream is there; then into the staging table.
    let id_direct = stream("env", "a.db", "direct");
    let changes = rows(&direct, true);
    let count = changes.len() as u64;
    for wanted in [[count, 0, 0, 0, 0, 0], [0, 0, count, 0, 0, 0], [0, 0, count, 0, 0, 0]] {
        assert_eq!(counts(&committed(push(&hub, &id_direct, &direct, changes.clone())).0), wanted);
    }
    assert_stored(database, &id_direct, &direct, &changes);
    // By COPY into the staging table.
    let changes = rows(&staged, true);
    committed(push(&hub, &id, &staged, changes[..1].to_vec()));
    block_on(hub.states(&id.environment)).unwrap();
    let wanted = [changes.len() as u64 - 1, 0, 1, 0, 0, 0];
    assert_eq!(counts(&committed(push(&hub, &id, &staged, changes.clone())).0), wanted);
    assert_stored(database, &id, &staged, &changes);
    // In a transaction that stays open.
    for (large, wanted) in [(false, count - 1), (true, 1)] {
        let changes = rows(&open, large);
        let mut txn = block_on(hub.begin(&id, &open)).unwrap();
        let applied = block_on(txn.apply(changes.clone())).unwrap();
        assert_eq!(counts(&applied), [wanted, 0, changes.len() as u64 - wanted, 0, 0, 0]);
        block_on(txn.commit(checkpoint("run"))).unwrap();
        assert_stored(database, &id, &open, &changes);
    }
}

#[test]
fn every_value_comes_back_bit_for_bit_by_every_path() {
    every_path_keeps_every_value(&Cluster::shared().database());
}

#[test]
fn every_value_comes_back_bit_for_bit_with_ruvector() {
    let Some(cluster) = vectors::ruvector() else { return };
    let database = cluster.database();
    database.psql("CREATE EXTENSION ruvector");
    every_path_keeps_every_value(&database);
    assert_eq!(database.psql("SELECT ruvector_dims(v) FROM aqe.small WHERE v IS NOT NULL LIMIT 1"), "3");
}

#[test]
fn every_value_comes_back_bit_for_bit_with_pgvector() {
    for cluster in [vectors::pgvector(), vectors::old_pgvector()].into_iter().flatten() {
        let database = cluster.database();
        database.psql("CREATE EXTENSION vector");
        every_path_keeps_every_value(&database);
        assert_eq!(database.psql("SELECT vector_dims(v) FROM aqe.small WHERE v IS NOT NULL LIMIT 1"), "3");
    }
}

#[test]
fn no_name_is_anything_but_a_name() {
    let database = Cluster::shared().database();
    let names = ["a\"; DROP SCHEMA aqe CASCADE; --", "$1", "back\\slash'", "select", "Ünïcødé", "c0", &"x".repeat(63)];
    for name in names {
        let hub = hub(&database.url());
        let table = TableSpec::builder(name)
            .key(name, ColumnType::Text)
            .column("t\"; --", ColumnType::Text)
            .column("position", ColumnType::Int)
            .column("h", ColumnType::Vector(2))
            .columns(ColumnType::Text, &["bucket", "hash", "c", "m", "r", "s", "part", "version", "a"])
            .build()
            .unwrap();
        block_on(hub.prepare(&table)).unwrap();
        let id = stream(&format!("env {name}'"), &format!("'{name}"), &format!("{name};"));
        let values = |body: &str| {
            let mut values = vec![name.into(), body.into(), 1.into(), vec![1.0, 2.0].into()];
            values.resize(table.columns().len(), Value::Null);
            values
        };
        let first = upsert(&table, values("one"), None);
        assert_eq!(counts(&committed(push(&hub, &id, &table, vec![first.clone()])).0)[0], 1, "{name}");
        let second = upsert(&table, values("two"), Some(hash_of(&first)));
        assert_eq!(counts(&committed(push(&hub, &id, &table, vec![second.clone()])).0)[1], 1, "{name}");
        // The base is gone: one is contested, and settled.
        let third = upsert(&table, values("three"), Some(hash_of(&first)));
        settle(push(&hub, &id, &table, vec![third]), &id, &table);
        assert_eq!(sound(&hub, &id, &table).len(), 1, "{name}");
        let known = recomputed(&hub, &id, &table);
        let all =
            DigestRequest { stream: id.clone(), table: Arc::clone(&table), within: vec![HashRange::ALL], bits: 4 };
        let digests = block_on(hub.digests(vec![all])).unwrap();
        assert_eq!((digests[0].len(), digests[0][0].count), (1, 1), "{name}");
        let gone = deletion(&table, values(""), Some(known[0].hash));
        assert_eq!(counts(&committed(push(&hub, &id, &table, vec![gone])).0)[3], 1, "{name}");
        let states = block_on(hub.states(&id.environment)).unwrap();
        assert_eq!((states.len(), &states[0].stream, states[0].sequence), (1, &id, 4), "{name}");
        let large = upsert(&table, values(&"y".repeat(LARGE)), None);
        let other = stream("env", name, name);
        assert_eq!(counts(&committed(push(&hub, &other, &table, vec![large])).0)[0], 1, "{name}");
    }
}

fn settle(pushed: aqe_sync_core::Pushed<aqe_cloud::postgres::PostgresTxn>, id: &StreamId, table: &TableSpec) {
    let (mut txn, applied) = undecided(pushed);
    let ranking = meet::Ranking { writer: id.contributor(), priority_of: &|_| None };
    let policy = conflict::PolicySpec::LocalWins;
    let settled = applied.contested.into_iter().map(|one| meet::settle(table, &policy, &ranking, one)).collect();
    block_on(txn.resolve(settled)).unwrap();
    block_on(txn.commit(checkpoint("run"))).unwrap();
}

fn notes() -> Arc<TableSpec> {
    TableSpec::builder("notes").key("id", ColumnType::Text).column("body", ColumnType::Text).build().unwrap()
}

fn note(id: &str, body: &str) -> Vec<Value> {
    vec![id.into(), body.into()]
}

#[test]
fn counts_are_exact_whether_small_or_large() {
    let database = Cluster::shared().database();
    let (hub, table) = (hub(&database.url()), notes());
    block_on(hub.prepare(&table)).unwrap();
    for (name, filler) in [("small", String::new()), ("large", "z".repeat(LARGE))] {
        let id = stream(name, "a.db", "notes");
        let new = |key: &str, body: &str| upsert(&table, note(key, &format!("{body}{filler}")), None);
        let [a, b, c] = [new("a", "1"), upsert(&table, note("b", "1"), None), upsert(&table, note("c", "1"), None)];
        assert_eq!(counts(&committed(push(&hub, &id, &table, vec![a.clone(), b.clone(), c.clone()])).0)[0], 3);
        block_on(hub.states(&id.environment)).unwrap();
        let updated = upsert(&table, note("b", "2"), Some(hash_of(&b)));
        let gone = deletion(&table, note("c", ""), Some(hash_of(&c)));
        let absent = deletion(&table, note("nobody", ""), Some(hash_of(&c)));
        let batch = vec![a.clone(), updated.clone(), gone.clone(), new("d", "1"), absent];
        assert_eq!(counts(&committed(push(&hub, &id, &table, batch.clone())).0), [1, 1, 1, 1, 0, 0], "{name}");
        // Sent again, as after a lost acknowledgement.
        assert_eq!(counts(&committed(push(&hub, &id, &table, batch)).0), [0, 0, 3, 0, 0, 0], "{name}");
        // Something contested does not change what happens to the rest.
        let stale = upsert(&table, note("b", "3"), Some(hash_of(&b)));
        let back = upsert(&table, note("c", "1"), None);
        let batch = vec![a, stale, back, new("e", "1"), deletion(&table, note("d", ""), None)];
        let (txn, applied) = undecided(push(&hub, &id, &table, batch));
        assert_eq!(counts(&applied), [1, 0, 1, 0, 3, 0], "{name}");
        let existing = |at: usize| (applied.contested[at].existing.row.hash, applied.contested[at].existing.deleted);
        assert_eq!((existing(0), existing(1)), ((hash_of(&updated), false), (hash_of(&c), true)), "{name}");
        drop(txn);
        assert_eq!(sound(&hub, &id, &table).len(), 3, "{name}: what was not committed is not there");
    }
    let versions = "SELECT v.version >= max(n.sync_version) AND count(DISTINCT n.sync_version) = 2 FROM aqe.sync_versions v \
         JOIN aqe.notes n USING (source_env) GROUP BY source_env, v.version";
    assert_eq!(database.psql(versions), "t\nt");
}

#[test]
fn a_delete_that_finds_nothing_to_delete_counts_nowhere() {
    let database = Cluster::shared().database();
    let (hub, table) = (hub(&database.url()), notes());
    block_on(hub.prepare(&table)).unwrap();
    let id = stream("env", "a.db", "notes");
    let gone = upsert(&table, note("gone", "1"), None);
    let delete = deletion(&table, note("gone", ""), Some(hash_of(&gone)));
    committed(push(&hub, &id, &table, vec![gone.clone()]));
    assert_eq!(counts(&committed(push(&hub, &id, &table, vec![delete.clone()])).0), [0, 0, 0, 1, 0, 0]);
    let absent = deletion(&table, note("nobody", ""), Some(hash_of(&gone)));
    let again = vec![delete, absent];
    assert_eq!(counts(&committed(push(&hub, &id, &table, again.clone())).0), [0; 6]);
    let mut txn = block_on(hub.begin(&id, &table)).unwrap();
    assert_eq!(counts(&block_on(txn.apply(again)).unwrap()), [0; 6]);
}

#[test]
fn a_change_based_on_its_own_hash_rewrites_what_somebody_edited() {
    let database = Cluster::shared().database();
    let (hub, table) = (hub(&database.url()), notes());
    block_on(hub.prepare(&table)).unwrap();
    for (environment, filler) in [("small", 1), ("large", LARGE)] {
        let id = stream(environment, "a.db", "notes");
        let change = upsert(&table, note("a", &"z".repeat(filler)), None);
        committed(push(&hub, &id, &table, vec![change.clone()]));
        database.psql("UPDATE aqe.notes SET body = 'edited'");
        assert!(!recomputed(&hub, &id, &table)[0].sound);
        let again = Change { base: Some(hash_of(&change)), ..change };
        assert_eq!(counts(&committed(push(&hub, &id, &table, vec![again])).0), [0, 1, 0, 0, 0, 0]);
        sound(&hub, &id, &table);
    }
}

#[test]
fn what_the_server_refuses_is_told_row_by_row_and_the_rest_is_stored() {
    let database = Cluster::shared().database();
    let (hub, table) = (hub(&database.url()), notes());
    block_on(hub.prepare(&table)).unwrap();
    // Nothing that PostgreSQL could compress below the limit.
    let mut random = fastrand::Rng::with_seed(7);
    let key: String = std::iter::repeat_with(|| random.alphanumeric()).take(MAX_KEY_BYTES + 1000).collect();
    for (environment, filler) in [("small", 1), ("large", LARGE)] {
        let id = stream(environment, "a.db", "notes");
        let mut changes: Vec<Change> =
            (0..20).map(|number| upsert(&table, note(&number.to_string(), "x"), None)).collect();
        changes.push(upsert(&table, note("filler", &"z".repeat(filler)), None));
        changes.insert(7, upsert(&table, note(&key, "x"), None));
        changes.insert(13, upsert(&table, note("nul", "a\0b"), None));
        let (txn, applied) = undecided(push(&hub, &id, &table, changes));
        assert_eq!(counts(&applied), [21, 0, 0, 0, 0, 2], "{environment}");
        let reasons: Vec<_> = applied.refused.iter().map(|(_, reason)| reason.as_str()).collect();
        assert!(reasons[0].contains("key") || reasons[0].contains("index row"), "{reasons:?}");
        assert!(reasons[1].contains("0x00"), "{reasons:?}");
        block_on(txn.commit(checkpoint("run"))).unwrap();
        assert_eq!(sound(&hub, &id, &table).len(), 21, "{environment}");
    }
}

#[test]
fn a_dropped_transaction_is_rolled_back_and_its_connection_is_free() {
    let database = Cluster::shared().database();
    let (hub, table) = (hub(&database.url()), notes());
    block_on(hub.prepare(&table)).unwrap();
    let id = stream("env", "a.db", "notes");
    for number in 0..5 {
        let mut txn = block_on(hub.begin(&id, &table)).unwrap();
        let change = upsert(&table, note(&number.to_string(), "x"), None);
        block_on(txn.apply(vec![change])).unwrap();
    }
    committed(push(&hub, &id, &table, vec![upsert(&table, note("kept", "x"), None)]));
    assert_eq!(database.psql("SELECT string_agg(id, ',') FROM aqe.notes"), "kept");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'";
    assert_eq!(database.psql(busy), "0");
}

#[test]
fn a_contested_row_is_locked_until_it_is_decided() {
    let database = Cluster::shared().database();
    let (one, two, table) = (hub(&database.url()), hub(&database.url()), notes());
    let id = stream("env", "a.db", "notes");
    block_on(one.prepare(&table)).unwrap();
    committed(push(&one, &id, &table, vec![upsert(&table, note("a", "first"), None)]));
    let pushed = push(&one, &id, &table, vec![upsert(&table, note("a", "second"), None)]);
    let (waiting, id_two, table_two) = (two, id.clone(), Arc::clone(&table));
    let second = std::thread::spawn(move || {
        let pushed = push(&waiting, &id_two, &table_two, vec![upsert(&table_two, note("a", "third"), None)]);
        let (_, applied) = undecided(pushed);
        applied.contested[0].existing.row.clone()
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    while database.psql(waits) == "0" {
        assert!(!second.is_finished(), "the second writer did not wait");
    }
    let row = Row::new(&table, note("a", "second"), None);
    settle(pushed, &id, &table);
    assert_eq!(second.join().unwrap(), row);
    let images = "SELECT incoming->'columns'->>'body', existing->'columns'->>'body' FROM aqe.conflict_log";
    assert_eq!(database.psql(images), "second|first");
}

#[test]
fn a_delivery_without_changes_moves_the_checkpoint() {
    let database = Cluster::shared().database();
    let (hub, table) = (hub(&database.url()), notes());
    block_on(hub.prepare(&table)).unwrap();
    let id = stream("env", "a.db", "notes");
    for sequence in 1..4 {
        let pushed = block_on(hub.push(&id, &table, delivery(Vec::new()))).unwrap();
        assert_eq!(committed(pushed).1.sequence, sequence);
    }
    assert_eq!(block_on(hub.states(&id.environment)).unwrap()[0].sequence, 3);
}
