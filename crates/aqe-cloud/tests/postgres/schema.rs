//! Making, upgrading and completing a hub.

use std::sync::Arc;

use aqe_cloud::postgres::schema::{self, Flavour, MAX_KEY_BYTES, Mode, Setup, VectorKind, key_fits};
use aqe_sync_core::{ColumnType, Environment, Identifier, Key, TableSpec, Value, tables};
use aqe_sync_workspace::postgres::{Binaries, Cluster, Database};
use tokio_postgres::Client;

use crate::schema_world::{connect, create, dump, name, notes, run};

#[test]
fn initialising_again_changes_nothing() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let hub = schema::init(&client, &name("aqe"), &Setup::default(), tables::all()).await.unwrap();
        assert!(hub.was_created());
        let before = dump(&database, &Binaries::find(), "--schema=aqe");
        let again = schema::init(&client, &name("aqe"), &Setup::default(), tables::all()).await.unwrap();
        assert!(!again.was_created());
        assert_eq!(again.id(), hub.id());
        assert_eq!(dump(&database, &Binaries::find(), "--schema=aqe"), before);
        assert_eq!(again.present().tables().count(), tables::all().len() + 12);
    });
}

#[test]
fn the_printed_script_makes_what_initialising_makes() {
    run(async {
        let (made, printed) = (Cluster::shared().database(), Cluster::shared().database());
        let setup = Setup { embedding_model: Some("it's \\ a model".to_owned()), ..Setup::default() };
        let client = connect(&made.url()).await;
        let hub = schema::init(&client, &name("a'\"qe"), &setup, tables::all()).await.unwrap();
        assert_eq!(hub.embedding_model(), setup.embedding_model.as_deref());
        let script = schema::script(&name("a'\"qe"), hub.flavour(), &setup, tables::all());
        printed.psql(&script);
        let before = dump(&printed, &Binaries::find(), "--no-owner");
        printed.psql(&script);
        assert_eq!(dump(&printed, &Binaries::find(), "--no-owner"), before);
        let structure = |database| dump(database, &Binaries::find(), "--schema-only");
        assert_eq!(structure(&printed), structure(&made));
        let opened = schema::open(&connect(&printed.url()).await, &name("a'\"qe"), Mode::Inspect).await.unwrap();
        assert_eq!(opened.embedding_model(), setup.embedding_model.as_deref());
        assert_eq!(opened.flavour().kind(), hub.flavour().kind());
    });
}

#[test]
fn an_older_hub_is_upgraded_and_its_rows_stay() {
    run(async {
        let (old, new) = (Cluster::shared().database(), Cluster::shared().database());
        let client = connect(&old.url()).await;
        let made = create(&client, "aqe").await.unwrap();
        old.psql(
            "DROP TABLE aqe.conflict_log, aqe.dead_letters, aqe.fleet_excluded, aqe.fleet_kept, aqe.environments, aqe.vectors, \
             aqe.vector_progress; \
             ALTER TABLE aqe.sync_history DROP CONSTRAINT sync_history_pkey, ADD PRIMARY KEY (run_id), \
             DROP COLUMN streams; \
             DELETE FROM aqe.schema_migrations WHERE number >= 2; \
             INSERT INTO aqe.sync_versions VALUES ('laptop', 'patterns', 7)",
        );
        let looked = schema::open(&client, &name("aqe"), Mode::Inspect).await.unwrap();
        assert!(looked.warnings().iter().any(|warning| warning.contains("older")), "{:?}", looked.warnings());
        assert!(looked.present().table("dead_letters").is_none());

        let upgraded = schema::open(&client, &name("aqe"), Mode::Existing).await.unwrap();
        assert_eq!(upgraded.id(), made.id());
        assert_eq!(old.psql("SELECT version FROM aqe.sync_versions"), "7");
        assert_eq!(old.psql("SELECT number FROM aqe.schema_migrations ORDER BY 1"), "1\n2\n3\n4\n5\n6");
        create(&connect(&new.url()).await, "aqe").await.unwrap();
        let structure = |database| dump(database, &Binaries::find(), "--schema-only");
        assert_eq!(structure(&old), structure(&new));
    });
}

#[test]
fn a_newer_specification_adds_its_tables_and_columns_and_keeps_the_rows() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let mut hub = create(&client, "aqe").await.unwrap();
        hub.prepare(&client, &[notes(&[("body", ColumnType::Text)])]).await.unwrap();
        database.psql(
            "INSERT INTO aqe.notes (source_env, id, body, source, stream, content_hash, sync_version, synced_at) \
             VALUES ('laptop', 'a', 'text', 's', 't', 1, 1, now()); ALTER TABLE aqe.notes DROP COLUMN merged_from",
        );
        let newer = notes(&[
            ("mood", ColumnType::Json),
            ("body", ColumnType::Text),
            ("at", ColumnType::Timestamp),
            ("embedding", ColumnType::Vector(3)),
        ]);
        let more = TableSpec::builder("more").key("number", ColumnType::Int).build().unwrap();
        let mut hub = schema::open(&client, &name("aqe"), Mode::Existing).await.unwrap();
        hub.prepare(&client, &[newer, more]).await.unwrap();
        assert_eq!(database.psql("SELECT id, body, mood, at, embedding, merged_from FROM aqe.notes"), "a|text||||");
        assert!(hub.present().table("more").is_some());
        assert!(hub.present().table("notes").unwrap().contains_key("embedding"));
    });
}

#[test]
fn several_that_initialise_at_once_make_one_hub() {
    run(async {
        let (raced, alone) = (Cluster::shared().database(), Cluster::shared().database());
        let clients = futures::future::join_all((0..6).map(|_| async { connect(&raced.url()).await })).await;
        let (schema, setup) = (name("aqe"), Setup::default());
        let hubs = clients.iter().map(|client| schema::init(client, &schema, &setup, tables::all()));
        let ids: Vec<String> =
            futures::future::join_all(hubs).await.into_iter().map(|hub| hub.unwrap().id().to_owned()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

        schema::init(&connect(&alone.url()).await, &schema, &setup, tables::all()).await.unwrap();
        let structure = |database| dump(database, &Binaries::find(), "--schema-only");
        assert_eq!(structure(&raced), structure(&alone));
    });
}

#[test]
fn several_that_complete_a_table_at_once_complete_it_once() {
    run(async {
        let database = Cluster::shared().database();
        let first = connect(&database.url()).await;
        let mut hub = create(&first, "aqe").await.unwrap();
        hub.prepare(&first, &[notes(&[])]).await.unwrap();
        let newer = [notes(&[("embedding", ColumnType::Vector(3)), ("body", ColumnType::Text)])];
        let added = (0..5).map(|_| async {
            let client = connect(&database.url()).await;
            hub.clone().prepare(&client, &newer).await
        });
        for result in futures::future::join_all(added).await {
            result.unwrap();
        }
        let checks = database
            .psql("SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'aqe.notes'::regclass");
        assert_eq!(checks, "1");
    });
}

/// Names that break what is pasted together instead of quoted.
fn hostile() -> [String; 8] {
    [
        "a\"b\"; DROP SCHEMA public; --".to_owned(),
        "$aqe$ END; $aqe_$".to_owned(),
        "it's \\' E'".to_owned(),
        "select".to_owned(),
        "{schema} {0} %s :name".to_owned(),
        "two\nlines -- and */ more".to_owned(),
        "ä".repeat(31) + "x",
        "n".repeat(63),
    ]
}

#[test]
fn any_name_serves_for_schemas_tables_and_columns() {
    run(async {
        for vectors in [None, Some(VectorKind::None)] {
            let database = Cluster::shared().database();
            let client = connect(&database.url()).await;
            let setup = Setup { vectors, ..Setup::default() };
            for schema in hostile() {
                store_under_hostile_names(&client, &database, &name(&schema), &setup).await;
            }
            assert_eq!(database.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'"), "1");
        }
    });
}

async fn store_under_hostile_names(client: &Client, database: &Database, schema: &Identifier, setup: &Setup) {
    let spec = |table: &String| {
        let start = TableSpec::builder(table).key("primary", ColumnType::Text).key("user", ColumnType::Int);
        let table = start.column("v\"ec", ColumnType::Vector(2));
        hostile().iter().fold(table, |table, column| table.column(column, ColumnType::Json)).build().unwrap()
    };
    let specs: Vec<Arc<TableSpec>> = hostile().iter().map(spec).collect();
    let hub = schema::init(client, schema, setup, &specs).await.unwrap();
    let vector = if hub.flavour().kind() == VectorKind::None { "{1,2}" } else { "[1,2]" };
    for spec in &specs {
        let columns = hub.present().table(spec.name().as_str()).unwrap();
        assert_eq!(columns.len(), spec.columns().len() + 9, "{}", spec.name());
        let (schema, table) = (schema.quoted(), spec.name().quoted());
        let insert = format!(
            "INSERT INTO {schema}.{table} (source_env, \"primary\", \"user\", \"v\"\"ec\", source, stream, \
             content_hash, sync_version, synced_at) VALUES ('e', 'k', 1, '{vector}', 's', 't', 0, 0, now())"
        );
        client.batch_execute(&insert).await.unwrap();
    }
    database.psql(&schema::script(schema, hub.flavour(), setup, &specs));
}

#[test]
fn tables_whose_long_names_begin_alike_each_get_their_indexes() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let specs: Vec<Arc<TableSpec>> = ["a", "b"]
            .iter()
            .map(|end| TableSpec::builder(&("t".repeat(62) + end)).key("id", ColumnType::Text).build().unwrap())
            .collect();
        schema::init(&client, &name("aqe"), &Setup::default(), &specs).await.unwrap();
        let indexes =
            database.psql("SELECT count(*) FROM pg_indexes WHERE schemaname = 'aqe' AND tablename LIKE 'ttt%'");
        assert_eq!(indexes, "4");
    });
}

#[test]
fn the_longest_key_is_stored_and_the_next_is_what_the_server_refuses() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let table = TableSpec::builder("t")
            .key("a", ColumnType::Text)
            .key("n", ColumnType::Int)
            .key("b", ColumnType::Text)
            .build()
            .unwrap();
        let plain = TableSpec::builder("plain").key("a", ColumnType::Text).build().unwrap();
        schema::init(&client, &name("aqe"), &Setup::default(), &[table, plain]).await.unwrap();
        let noise = Noise::default();
        let environment = noise.text(Environment::MAX_BYTES);
        let insert = |columns: &str, values: String| {
            database.try_psql(&format!(
                "INSERT INTO aqe.{columns}, source, stream, content_hash, sync_version, synced_at) \
                 VALUES ('{environment}', {values}, 's', 't', 0, 0, now())"
            ))
        };
        let single = |bytes| insert("plain (source_env, a", format!("'{}'", noise.text(bytes)));
        single(MAX_KEY_BYTES).unwrap();
        assert!(single(MAX_KEY_BYTES + 1).unwrap_err().contains("index row size"));

        let fits = |a: &str, b: &str| {
            let values = vec![Value::Text(a.into()), Value::Int(1), Value::Text(b.into())];
            key_fits(&Environment::new(environment.as_str()), &Key::new(values))
        };
        let b = noise.text(200);
        let longest = (2_000..MAX_KEY_BYTES).rev().find(|bytes| fits(&noise.text(*bytes), &b)).unwrap();
        let several = |bytes| insert("t (source_env, a, n, b", format!("'{}', 1, '{b}'", noise.text(bytes)));
        several(longest).unwrap();
        assert!(several(longest + 1).unwrap_err().contains("index row size"));
    });
}

/// Text that does not compress, the same each time.
#[derive(Default)]
struct Noise(std::cell::Cell<u64>);

impl Noise {
    fn text(&self, bytes: usize) -> String {
        let letter = || {
            let next = self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0.set(next);
            // 0 to 9, A to Z, a to z and what lies between, without quotes.
            char::from(b'0' + u8::try_from((next >> 33) % 75).unwrap())
        };
        (0..bytes)
            .map(|_| letter())
            .filter(|letter| *letter != '\\')
            .chain(std::iter::repeat('+'))
            .take(bytes)
            .collect()
    }
}

#[test]
fn a_table_that_is_as_specified_is_left_alone() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let mut hub = create(&client, "aqe").await.unwrap();
        hub.prepare(&client, &[notes(&[])]).await.unwrap();
        // No statement is sent: none could be.
        drop(client);
        let gone = connect(&database.url()).await;
        database.server().psql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            database.name()
        ));
        hub.prepare(&gone, &[notes(&[])]).await.unwrap();
    });
}

#[test]
fn ddl_of_a_table_reads_as_documented() {
    let table = notes(&[("embedding", ColumnType::Vector(3)), ("at", ColumnType::Timestamp)]);
    let sql = schema::create_table(&Identifier::new("aqe").unwrap(), &table, &Flavour::NONE, true);
    assert_eq!(
        sql,
        "CREATE TABLE IF NOT EXISTS \"aqe\".\"notes\" (
  source_env text NOT NULL,
  \"id\" text NOT NULL,
  \"embedding\" real[] CHECK (cardinality(\"embedding\") = 3 AND array_position(\"embedding\", NULL) IS NULL),
  \"at\" timestamp with time zone,
  source text NOT NULL,
  stream text NOT NULL,
  extra jsonb,
  content_hash bigint NOT NULL,
  sync_version bigint NOT NULL,
  merged_from jsonb,
  deleted_at timestamp with time zone,
  synced_at timestamp with time zone NOT NULL,
  PRIMARY KEY (source_env, \"id\")
);
CREATE INDEX IF NOT EXISTS \"notes_changed\" ON \"aqe\".\"notes\" (sync_version, source_env);
"
    );
}
