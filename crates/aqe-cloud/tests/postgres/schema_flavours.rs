//! Vectors in ruvector, in pgvector, and in plain arrays.

use aqe_cloud::postgres::schema::{self, Mode, Setup, VectorKind};
use aqe_sync_core::tables;
use aqe_sync_workspace::postgres::{Binaries, Cluster, Database};
use aqe_sync_workspace::vectors::Extension;

use crate::schema_world::{connect, create, dump, message, name, run, with_vectors};

const PLAIN: Setup = Setup { vectors: Some(VectorKind::None), vector_index: false, embedding_model: None };

fn setup(kind: VectorKind) -> Setup {
    Setup { vectors: Some(kind), ..Setup::default() }
}

fn insert(database: &Database, vector: &str) -> Result<String, String> {
    database.try_psql(&format!(
        "INSERT INTO aqe.t (source_env, id, embedding, source, stream, content_hash, sync_version, synced_at) \
         VALUES ('e', gen_random_uuid()::text, {vector}, 's', 't', 0, 0, now())"
    ))
}

/// Every flavour that this machine has, on a fresh database each.
fn flavours() -> Vec<(VectorKind, Database, Binaries)> {
    let mut found = vec![(VectorKind::None, Cluster::shared().database(), Binaries::find())];
    let extensions = [
        (VectorKind::Ruvector, Extension::Ruvector),
        (VectorKind::Pgvector, Extension::Pgvector),
        (VectorKind::Pgvector, Extension::OldPgvector),
    ];
    for (kind, extension) in extensions {
        if let Some(cluster) = extension.cluster() {
            found.push((kind, cluster.database(), cluster.binaries().clone()));
        }
    }
    found
}

#[test]
fn every_flavour_takes_vectors_of_exactly_the_declared_dimension() {
    run(async {
        for (kind, database, _) in flavours() {
            let client = connect(&database.url()).await;
            let hub = schema::init(&client, &name("aqe"), &setup(kind), &[with_vectors("t")]).await.unwrap();
            assert_eq!(hub.flavour().kind(), kind);
            let quote = |vector: &str| {
                if kind == VectorKind::None { format!("'{{{vector}}}'") } else { format!("'[{vector}]'") }
            };
            insert(&database, &quote("1,2,3")).unwrap();
            insert(&database, "NULL").unwrap();
            assert!(insert(&database, &quote("1,2")).is_err(), "{kind:?}");
            assert!(insert(&database, &quote("1,2,3,4")).is_err(), "{kind:?}");
            assert!(insert(&database, &quote("1,NULL,3")).is_err(), "{kind:?}");
            if kind == VectorKind::None {
                assert!(insert(&database, "'{}'").is_err());
            }
        }
    });
}

#[test]
fn every_flavour_initialises_again_without_effect_and_prints_what_it_makes() {
    run(async {
        for (kind, database, binaries) in flavours() {
            let client = connect(&database.url()).await;
            let setup = Setup { vector_index: kind == VectorKind::Pgvector, ..setup(kind) };
            let hub = schema::init(&client, &name("aqe"), &setup, tables::all()).await.unwrap();
            let before = dump(&database, &binaries, "--no-owner");
            let again = schema::init(&client, &name("aqe"), &setup, tables::all()).await.unwrap();
            assert!(again.warnings().is_empty(), "{:?}", again.warnings());
            assert_eq!(dump(&database, &binaries, "--no-owner"), before);

            let printed = database.server().database();
            printed.psql(&schema::script(&name("aqe"), hub.flavour(), &setup, tables::all()));
            let structure = |database| dump(database, &binaries, "--schema-only");
            assert_eq!(structure(&printed), structure(&database));
            let opened = schema::open(&connect(&printed.url()).await, &name("aqe"), Mode::Existing).await.unwrap();
            assert_eq!(opened.flavour().kind(), hub.flavour().kind());
            assert_eq!(opened.vector_index(), setup.vector_index);
        }
    });
}

#[test]
fn the_best_extension_is_installed_when_a_hub_is_made_and_nothing_is_when_it_is_planned() {
    run(async {
        for extension in [Extension::Ruvector, Extension::Pgvector] {
            let Some(cluster) = extension.cluster() else { continue };
            let database = cluster.database();
            let client = connect(&database.url()).await;
            let planned = schema::planned_flavour(&client, &name("aqe"), &Setup::default()).await.unwrap();
            assert_eq!(planned.kind().as_str(), extension.name());
            assert_eq!(database.psql("SELECT count(*) FROM pg_extension WHERE extname LIKE '%vector'"), "0");
            let hub = create(&client, "aqe").await.unwrap();
            assert_eq!(hub.flavour().kind(), planned.kind());
            assert!(!hub.flavour().extension().unwrap().version.is_empty());
            let recorded = database.psql("SELECT value FROM aqe.hub_info WHERE key = 'vector_extension_version'");
            assert_eq!(recorded, hub.flavour().extension().unwrap().version);
        }
    });
}

#[test]
fn an_extension_in_a_schema_of_its_own_is_found_there() {
    run(async {
        for (kind, database, _) in flavours().into_iter().filter(|(kind, ..)| *kind != VectorKind::None) {
            database.psql(&format!("CREATE SCHEMA \"ext's\"; CREATE EXTENSION {} SCHEMA \"ext's\"", kind.as_str()));
            let client = connect(&database.url()).await;
            schema::init(&client, &name("aqe"), &setup(kind), &[with_vectors("t")]).await.unwrap();
            insert(&database, "'[1,2,3]'").unwrap();
            assert!(insert(&database, "'[1,2]'").is_err());
            let again = schema::open(&client, &name("aqe"), Mode::Existing).await.unwrap();
            assert_eq!(again.flavour().extension().unwrap().schema, "ext's");
        }
    });
}

#[test]
fn what_cannot_be_had_is_refused_when_asked_for_and_explained_when_not() {
    run(async {
        let Some(cluster) = Extension::Ruvector.cluster() else { return };
        let database = cluster.database();
        let user = format!("user_{}", database.name());
        database.psql(&format!("CREATE USER {user}; GRANT CREATE ON DATABASE {} TO {user}", database.name()));
        let client = connect(&format!("{}?user={user}", database.url())).await;
        let said = message(schema::open(&client, &name("aqe"), Mode::Create(&setup(VectorKind::Ruvector))).await);
        assert!(said.contains("superuser run CREATE EXTENSION ruvector"), "{said}");
        let hub = create(&client, "aqe").await.unwrap();
        assert_eq!(hub.flavour().kind(), VectorKind::None);
        assert!(hub.warnings()[0].contains("CREATE EXTENSION ruvector"), "{:?}", hub.warnings());
        if !cluster.binaries().has_extension("vector") {
            let said = message(schema::open(&client, &name("other"), Mode::Create(&setup(VectorKind::Pgvector))).await);
            assert!(said.contains("does not have the extension vector"), "{said}");
        }
        drop(client);
        database.psql(&format!("DROP OWNED BY {user}; DROP USER {user}"));
    });
}

#[test]
fn the_recorded_flavour_stays_when_extensions_come_and_go() {
    run(async {
        for (kind, database, _) in flavours().into_iter().filter(|(kind, ..)| *kind != VectorKind::None) {
            let client = connect(&database.url()).await;
            let extension = kind.as_str();
            schema::open(&client, &name("arrays"), Mode::Create(&PLAIN)).await.unwrap();
            let other = schema::open(&client, &name("arrays"), Mode::Create(&setup(kind))).await.unwrap();
            assert!(other.warnings().iter().any(|warning| warning.contains("keeps it")), "{:?}", other.warnings());
            schema::init(&client, &name("aqe"), &setup(kind), &[with_vectors("t")]).await.unwrap();
            let arrays = schema::open(&client, &name("arrays"), Mode::Existing).await.unwrap();
            assert_eq!(arrays.flavour().kind(), VectorKind::None);
            assert!(arrays.warnings()[0].contains("installed by now"), "{:?}", arrays.warnings());

            database.psql(&format!("DROP EXTENSION {extension} CASCADE"));
            let mut hub = schema::open(&client, &name("aqe"), Mode::Existing).await.unwrap();
            assert!(!hub.flavour().is_usable());
            assert!(hub.warnings()[0].contains(&format!("CREATE EXTENSION {extension}")), "{:?}", hub.warnings());
            let said = message(hub.prepare(&client, &[with_vectors("t")]).await);
            assert!(said.contains("column embedding cannot be made"), "{said}");
        }
    });
}

#[test]
fn an_index_on_embeddings_is_made_only_when_asked_for() {
    run(async {
        for (kind, database, _) in flavours().into_iter().filter(|(kind, ..)| *kind != VectorKind::None) {
            let client = connect(&database.url()).await;
            let indexes = || database.psql("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'");
            let plain = schema::init(&client, &name("plain"), &setup(kind), tables::all()).await.unwrap();
            assert!(plain.warnings().is_empty(), "{:?}", plain.warnings());
            assert_eq!(indexes(), "0");
            let asked = Setup { vector_index: true, ..setup(kind) };
            let hub = schema::init(&client, &name("aqe"), &asked, &[with_vectors("t")]).await.unwrap();
            assert_eq!(indexes(), "1");
            let warned = hub.warnings().iter().any(|warning| warning.contains("loses rows"));
            assert_eq!(warned, kind == VectorKind::Ruvector);

            let mut again = schema::open(&client, &name("aqe"), Mode::Inspect).await.unwrap();
            let warned =
                again.warnings().iter().any(|warning| warning.contains("DROP INDEX \"aqe\".\"t_embedding_hnsw\""));
            assert_eq!(warned, kind == VectorKind::Ruvector, "{:?}", again.warnings());
            assert!(!again.warnings().iter().any(|warning| warning.contains("there is none")));
            again.prepare(&client, &[with_vectors("later")]).await.unwrap();
            assert_eq!(indexes(), "2", "a table that is made later gets what the hub was made with");
        }
    });
}

#[test]
fn without_an_extension_an_index_on_embeddings_is_not_promised() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let asked = Setup { vector_index: true, ..PLAIN };
        let hub = schema::init(&client, &name("aqe"), &asked, &[with_vectors("t")]).await.unwrap();
        assert!(hub.warnings().iter().any(|warning| warning.contains("there is none")), "{:?}", hub.warnings());
    });
}

#[test]
fn an_embedding_of_another_dimension_is_not_the_column_that_was_asked_for() {
    run(async {
        for (kind, database, _) in flavours().into_iter().filter(|(kind, ..)| *kind != VectorKind::None) {
            let client = connect(&database.url()).await;
            let mut hub = schema::init(&client, &name("aqe"), &setup(kind), &[with_vectors("t")]).await.unwrap();
            let four = aqe_sync_core::TableSpec::builder("t")
                .key("id", aqe_sync_core::ColumnType::Text)
                .column("embedding", aqe_sync_core::ColumnType::Vector(4))
                .build()
                .unwrap();
            let said = message(hub.prepare(&client, &[four]).await);
            assert!(said.contains("(3), and should be") && said.contains("(4)"), "{said}");
        }
    });
}
