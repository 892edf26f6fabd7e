//! What an examination finds, and what it says to do.

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::doctor::{Check, Severity, Thresholds, examine, examine_with};
use aqe_cloud::postgres::link::AddressParts;
use aqe_cloud::postgres::schema::{self, Setup};
use aqe_sync_core::tables;
use aqe_sync_workspace::postgres::{Cluster, Database};
use std::time::Duration;

use crate::login::Login;
use crate::schema_world::{connect, create, name, run};

fn builder(url: &str) -> aqe_cloud::postgres::HubBuilder {
    PostgresHub::builder(AddressParts::parse(url).unwrap().build().unwrap())
}

fn of<'c>(checks: &'c [Check], name: &str) -> &'c Check {
    let mut found: Vec<&Check> = checks.iter().filter(|check| check.name == name).collect();
    found.sort_by_key(|check| std::cmp::Reverse(check.severity));
    found.first().unwrap_or_else(|| panic!("nothing about {name} in {checks:#?}"))
}

fn seen(url: &str, name: &str) -> (Severity, String, String) {
    let checks = examine(builder(url));
    let check = of(&checks, name);
    (check.severity, check.found.clone(), check.advice.clone().unwrap_or_default())
}

fn init(database: &Database) {
    run(async {
        let client = connect(&database.url()).await;
        schema::init(&client, &name("aqe"), &Setup::default(), tables::all()).await.unwrap();
    });
}

/// May do all that a sync needs.
fn writer(database: &Database) -> Login<'_> {
    let login = Login::new(database);
    login.grant("USAGE ON SCHEMA aqe");
    login.grant("SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA aqe");
    login
}

#[test]
fn a_hub_that_is_in_order_has_no_findings_for_its_owner_and_its_writers() {
    let database = Cluster::shared().database();
    init(&database);
    let writer = writer(&database);
    for url in [database.url(), writer.url()] {
        let checks = examine(builder(&url));
        // Sessions of other tests may be in a transaction of theirs.
        assert!(checks.iter().all(|check| check.severity == Severity::Ok), "{checks:#?}");
        assert!(of(&checks, "size").found.contains("B on the server"), "{checks:#?}");
    }
}

#[test]
fn what_other_sessions_do_is_unknown_to_those_who_may_not_see_it() {
    let database = Cluster::shared().database();
    init(&database);
    let writer = writer(&database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let holding = runtime.block_on(connect(&database.url()));
    let locks = "BEGIN; LOCK TABLE aqe.sync_state IN EXCLUSIVE MODE; SELECT txid_current()";
    runtime.block_on(holding.batch_execute(locks)).unwrap();
    for check in ["locks", "transactions"] {
        let (severity, found, advice) = seen(&writer.url(), check);
        assert_eq!(severity, Severity::Unknown, "{found}");
        assert!(found.contains("may not see since when"), "{found}");
        assert!(advice.contains(&format!("GRANT pg_read_all_stats TO \"{}\"", writer.name)), "{advice}");
    }
    writer.grant("pg_read_all_stats");
    for check in ["locks", "transactions"] {
        let (severity, found, _) = seen(&writer.url(), check);
        assert_eq!(severity, Severity::Ok, "not long enough to speak of: {found}");
        let hurried = Thresholds::default().lock_held(Duration::ZERO).long_transaction(Duration::ZERO);
        let checks = examine_with(builder(&writer.url()), &hurried);
        let check = of(&checks, check);
        assert_eq!(check.severity, Severity::Warning, "{check:?}");
        assert!(check.advice.as_deref().unwrap().contains("pg_terminate_backend"), "{check:?}");
    }
    let (_, found, _) = seen(&database.url(), "locks");
    assert!(found.contains("over 60 s"), "{found}");
    runtime.block_on(holding.batch_execute("ROLLBACK")).unwrap();
    // Sessions that only are there hold nothing back, whoever may see what they did last.
    let (severity, found, _) = seen(&database.url(), "transactions");
    assert_eq!(severity, Severity::Ok, "{found}");
}

#[test]
fn a_prepared_transaction_that_was_left_is_found() {
    let cluster = Cluster::builder().setting("max_prepared_transactions", "2").start();
    let database = cluster.database();
    database.psql("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'left'");
    let checks = examine_with(builder(&database.url()), &Thresholds::default().long_transaction(Duration::ZERO));
    let check = of(&checks, "transactions");
    assert!(check.found.contains("prepared transaction 'left'"), "{check:?}");
    assert!(check.advice.as_deref().unwrap().contains("ROLLBACK PREPARED 'left'"), "{check:?}");
    database.psql("ROLLBACK PREPARED 'left'");
}

#[test]
fn privileges_that_are_missing_are_named_with_the_grant() {
    let database = Cluster::shared().database();
    let login = Login::new(&database);
    let (severity, found, advice) = seen(&login.url(), "hub");
    assert_eq!(severity, Severity::Critical, "{found}");
    let grant = format!("GRANT CREATE ON DATABASE {} TO \"{}\"", database.name(), login.name);
    assert!(found.contains("may not make it") && advice.contains(&grant), "{found}: {advice}");
    let (severity, found, _) = seen(&database.url(), "hub");
    assert!(severity == Severity::Ok && found.contains("the first sync makes it"), "{found}");

    run(async { create(&connect(&database.url()).await, "aqe").await.unwrap() });
    let (severity, found, _) = seen(&login.url(), "hub");
    assert!(severity == Severity::Critical && found.contains("GRANT USAGE ON SCHEMA"), "{found}");
    login.grant("USAGE ON SCHEMA aqe");
    login.grant("SELECT ON ALL TABLES IN SCHEMA aqe");
    let (severity, found, advice) = seen(&login.url(), "tables");
    assert!(severity == Severity::Critical && found.contains("sync_state"), "{found}");
    assert!(
        advice.contains(&format!("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA \"aqe\" TO \"{}\"", login.name))
    );
    login.grant("INSERT, UPDATE ON ALL TABLES IN SCHEMA aqe");
    let (severity, found, advice) = seen(&login.url(), "tables");
    assert!(severity == Severity::Warning && found.contains("may not make them"), "{found}");
    assert!(advice.contains("aqe-sync init"), "{advice}");
    database.psql(&format!("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", database.name()));
    let (severity, _, advice) = seen(&login.url(), "temporary tables");
    assert!(severity == Severity::Critical && advice.contains("GRANT TEMPORARY ON DATABASE"), "{advice}");
}

#[test]
fn a_newer_hub_and_one_that_lost_columns_are_critical() {
    let database = Cluster::shared().database();
    init(&database);
    database.psql("ALTER TABLE aqe.qe_patterns DROP COLUMN name CASCADE");
    let (severity, found, _) = seen(&database.url(), "hub");
    assert_eq!(severity, Severity::Critical);
    assert!(found.contains("qe_patterns.name") && found.contains("aqe-sync init"), "{found}");
    database.psql("INSERT INTO aqe.schema_migrations VALUES (99, 'later', 'x', now(), 'aqe-sync 9.8.7')");
    let (severity, found, _) = seen(&database.url(), "hub");
    assert!(severity == Severity::Critical && found.contains("install aqe-sync 9.8.7"), "{found}");
}

#[test]
fn connections_that_are_kept_for_others_are_not_free() {
    let cluster = Cluster::builder()
        .setting("max_connections", "12")
        .setting("superuser_reserved_connections", "8")
        .setting("max_wal_senders", "0")
        .start();
    let database = cluster.database();
    let login = Login::new(&database);
    let (severity, found, _) = seen(&database.url(), "connections");
    assert_eq!((severity, found.as_str()), (Severity::Ok, "1 of 12 in use: 11 free"));
    let (severity, found, advice) = seen(&login.url(), "connections");
    assert_eq!((severity, found.as_str()), (Severity::Warning, "1 of 12 in use, 8 reserved for others: 3 free"));
    assert!(advice.contains("max_connections"), "{advice}");
    database.psql(&format!("ALTER USER {} CONNECTION LIMIT 2", login.name));
    let (_, found, _) = seen(&login.url(), "connections");
    assert!(found.ends_with("1 of 2 of this user: 1 free"), "{found}");
}

#[test]
fn limits_that_no_batch_fits_into_are_told() {
    let database = Cluster::shared().database();
    let (severity, found, _) = seen(&database.url(), "limits");
    assert!(severity == Severity::Ok && found.contains("statement_timeout 10min"), "{found}");
    let (severity, found, advice) = seen(&format!("{}?statement_timeout=2s", database.url()), "limits");
    assert!(severity == Severity::Warning && found.contains("statement_timeout is 2s"), "{found}");
    assert!(advice.contains("60s or more"), "{advice}");
    database.psql(&format!("ALTER DATABASE {} SET idle_session_timeout = '1s'", database.name()));
    let (severity, found, _) = seen(&database.url(), "limits");
    assert!(severity == Severity::Warning && found.contains("idle_session_timeout is 1s"), "{found}");
}

#[test]
fn a_standby_can_be_examined_and_is_said_to_be_one() {
    let primary = Cluster::start();
    let database = primary.database();
    init(&database);
    let standby = primary.standby();
    let checks = examine(builder(&standby.server().url(database.name())));
    let critical: Vec<&Check> = checks.iter().filter(|check| check.severity != Severity::Ok).collect();
    assert_eq!(critical.len(), 1, "{critical:#?}");
    assert!(critical[0].found.contains("standby") && critical[0].name == "writing", "{critical:#?}");
}
