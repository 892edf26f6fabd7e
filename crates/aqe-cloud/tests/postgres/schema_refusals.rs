//! What is refused, and how it is said.

use aqe_cloud::postgres::schema::{self, Mode, Setup};
use aqe_sync_core::{ColumnType, ErrorKind, TableSpec, tables};
use aqe_sync_workspace::postgres::{Cluster, Database};

use crate::schema_world::{connect, create, message, name, notes, run};

#[test]
fn without_a_hub_the_message_says_how_to_make_one() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        for mode in [Mode::Inspect, Mode::Existing] {
            let error = schema::open(&client, &name("aqe"), mode).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains("aqe-sync init"), "{error}");
        }
        assert_eq!(database.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'aqe'"), "0");
    });
}

#[test]
fn a_newer_hub_is_refused_and_the_message_names_the_version_to_install() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        create(&client, "aqe").await.unwrap();
        database.psql("INSERT INTO aqe.schema_migrations VALUES (7, 'later', 'x', now(), 'aqe-sync 9.8.7')");
        for mode in [Mode::Inspect, Mode::Existing, Mode::Create(&Setup::default())] {
            let error = schema::open(&client, &name("aqe"), mode).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains("install aqe-sync 9.8.7 or newer"), "{error}");
        }
    });
}

#[test]
fn an_upgrade_with_another_text_is_refused() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        create(&client, "aqe").await.unwrap();
        database.psql("UPDATE aqe.schema_migrations SET checksum = 'other', applied_by = 'fork' WHERE number = 1");
        let said = message(schema::open(&client, &name("aqe"), Mode::Existing).await);
        assert!(said.contains("upgrade 1 (progress)") && said.contains("fork"), "{said}");
    });
}

#[test]
fn tables_of_somebody_else_are_left_alone() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        database.psql("CREATE SCHEMA aqe; CREATE TABLE aqe.sync_state (id int)");
        let said = message(create(&client, "aqe").await);
        assert!(said.contains("sync_state") && said.contains("another schema"), "{said}");
        assert_eq!(database.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'aqe'"), "1");

        let mut hub = create(&client, "hub").await.unwrap();
        database.psql("CREATE TABLE hub.notes (source_env text, id text); CREATE VIEW hub.view AS SELECT 1");
        let said = message(hub_again(&client).await.prepare(&client, &[notes(&[])]).await);
        assert!(said.contains("column source is missing") && said.contains("\"hub\".\"notes\""), "{said}");
        let view = TableSpec::builder("view").key("id", ColumnType::Text).build().unwrap();
        let said = message(hub_again(&client).await.prepare(&client, &[view]).await);
        assert!(said.contains("a view has the name"), "{said}");
        let own = TableSpec::builder("dead_letters").key("id", ColumnType::Text).build().unwrap();
        let said = message(hub.prepare(&client, &[own]).await);
        assert!(said.contains("the hub itself"), "{said}");
    });
}

async fn hub_again(client: &tokio_postgres::Client) -> schema::Hub {
    schema::open(client, &name("hub"), Mode::Existing).await.unwrap()
}

#[test]
fn a_column_of_another_type_is_refused_by_name_with_both_types() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        let mut hub = create(&client, "aqe").await.unwrap();
        hub.prepare(&client, &[notes(&[("mood", ColumnType::Text)])]).await.unwrap();
        let changed = notes(&[("new", ColumnType::Text), ("mood", ColumnType::Json)]);
        let said = message(hub.prepare(&client, &[changed]).await);
        assert!(said.contains("column mood is text, and should be jsonb") && said.contains("notes"), "{said}");
        assert!(
            !database.psql("SELECT attname FROM pg_attribute WHERE attrelid = 'aqe.notes'::regclass").contains("new")
        );
        let rekeyed =
            TableSpec::builder("notes").key("id", ColumnType::Text).key("n", ColumnType::Int).build().unwrap();
        let said = message(hub.prepare(&client, &[rekeyed]).await);
        assert!(said.contains("key column n is missing"), "{said}");
    });
}

/// A fresh user, and a URL to connect as that user.
fn user(database: &Database) -> (String, String) {
    let user = format!("user_{}", database.name());
    database.psql(&format!("CREATE USER {user}; REVOKE CREATE ON DATABASE {} FROM PUBLIC", database.name()));
    let url = format!("{}{}user={user}", database.url(), if database.url().contains('?') { '&' } else { '?' });
    (user, url)
}

#[test]
fn a_missing_privilege_is_named_with_the_grant_that_helps() {
    run(async {
        let database = Cluster::shared().database();
        let (user, url) = user(&database);
        let client = connect(&url).await;
        let said = message(create(&client, "aqe").await);
        let grant = format!("GRANT CREATE ON DATABASE \"{}\" TO \"{user}\"", database.name());
        assert!(said.contains(&grant), "{said}");

        database.psql("CREATE SCHEMA aqe");
        let said = message(create(&client, "aqe").await);
        let grant = format!("GRANT USAGE ON SCHEMA \"aqe\" TO \"{user}\"");
        assert!(said.contains(&grant), "{said}");
        database.psql(&grant);
        let said = message(create(&client, "aqe").await);
        let grant = format!("GRANT CREATE ON SCHEMA \"aqe\" TO \"{user}\"");
        assert!(said.contains(&grant), "{said}");
        database.psql(&grant);
        schema::init(&client, &name("aqe"), &Setup::default(), tables::all()).await.unwrap();
        drop(client);
        database.psql(&format!("DROP OWNED BY {user}; DROP USER {user}"));
    });
}

#[test]
fn one_who_may_only_write_rows_opens_a_complete_hub_and_is_told_what_an_incomplete_one_needs() {
    run(async {
        let database = Cluster::shared().database();
        let owner = connect(&database.url()).await;
        create(&owner, "aqe").await.unwrap().prepare(&owner, &[notes(&[])]).await.unwrap();
        let (user, url) = user(&database);
        let client = connect(&url).await;
        database.psql(&format!("GRANT USAGE ON SCHEMA aqe TO {user}"));
        let said = message(create(&client, "aqe").await);
        assert!(said.contains("permission denied") && said.contains("grants SELECT, INSERT"), "{said}");
        database.psql(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA aqe TO {user}"));
        let mut hub = create(&client, "aqe").await.unwrap();
        hub.prepare(&client, &[notes(&[])]).await.unwrap();
        let error = hub.prepare(&client, &[notes(&[("more", ColumnType::Text)])]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("must be owner of table notes"), "{error}");
        drop(client);
        database.psql(&format!("DROP OWNED BY {user}; DROP USER {user}"));
    });
}

#[test]
fn a_read_only_server_is_read_and_never_written() {
    run(async {
        let database = Cluster::shared().database();
        let writing = connect(&database.url()).await;
        database.psql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name()));
        let reading = connect(&database.url()).await;
        let said = message(create(&reading, "aqe").await);
        assert!(said.contains("read-only") && said.contains("primary"), "{said}");
        create(&writing, "aqe").await.unwrap().prepare(&writing, &[notes(&[])]).await.unwrap();

        let mut hub = schema::open(&reading, &name("aqe"), Mode::Existing).await.unwrap();
        assert!(hub.is_read_only());
        hub.prepare(&reading, &[notes(&[])]).await.unwrap();
        let said = message(hub.prepare(&reading, &[notes(&[("more", ColumnType::Text)])]).await);
        assert!(said.contains("the server is read-only"), "{said}");
    });
}

#[test]
fn a_failed_upgrade_leaves_nothing_behind() {
    run(async {
        let database = Cluster::shared().database();
        let client = connect(&database.url()).await;
        // An index of that name is not looked for beforehand: the upgrade itself stumbles.
        database.psql("CREATE SCHEMA aqe; CREATE TABLE aqe.other (n int); CREATE INDEX dead_letters ON aqe.other (n)");
        let said = message(create(&client, "aqe").await);
        assert!(said.contains("dead_letters"), "{said}");
        assert_eq!(database.psql("SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'aqe'"), "other");
        database.psql("DROP TABLE aqe.other");
        create(&client, "aqe").await.unwrap();
    });
}
