//! What goes wrong between here and the server: said plainly, and mended by the next run.

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::AddressParts;
use aqe_sync_core::{ColumnType, Result, Sink as _, Status, TableSpec};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::proxy::Proxy;
use futures::executor::block_on;

use crate::faults_world::{World, errors, undisturbed};
use crate::sink_world::{committed, hub, push, stream, upsert};

/// So many bytes, and a run is in the middle of its writing.
const UNDER_WAY: u64 = 300_000;

fn cluster() -> &'static Cluster {
    static CLUSTER: std::sync::OnceLock<Cluster> = std::sync::OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// A hub over one connection, so that the bytes of a run are those of its first connection.
fn single(database: &Database, proxy: &Proxy) -> Result<PostgresHub> {
    let address = AddressParts::parse(&database.url_through(proxy.port()))?.build()?;
    PostgresHub::builder(address).connections(1).open()
}

/// Bytes that a whole run sends to the server and gets from it.
fn traffic(state: u32) -> [u64; 2] {
    let world = World::new(cluster());
    (1..state).for_each(|state| drop(world.complete(state)));
    let proxy = Proxy::new(cluster().port());
    world.run_with(&single(&world.database, &proxy).unwrap(), state).unwrap();
    [proxy.bytes_to_server(), proxy.bytes_from_server()]
}

/// A run whose connections are cut, then one without faults. Says whether anything was cut.
fn cut(state: u32, arm: impl Fn(&Proxy)) -> bool {
    let world = World::new(cluster());
    (1..state).for_each(|state| drop(world.complete(state)));
    let proxy = Proxy::new(cluster().port());
    arm(&proxy);
    let outcome = single(&world.database, &proxy).and_then(|hub| world.run_with(&hub, state));
    let said = outcome.map_or_else(|error| error.to_string(), |report| errors(&report));
    assert!(said.is_empty() || said.contains("127.0.0.1"), "the hub is named: {said}");
    world.complete(state);
    assert_eq!(world.content(), undisturbed()[state as usize - 1]);
    world.assert_logged_once();
    world.assert_quiet();
    proxy.cuts() > 0
}

#[test]
fn a_connection_that_is_cut_once_costs_nothing_but_time() {
    const PARTS: u64 = 4;
    for state in [1, 2] {
        let [to, from] = traffic(state);
        let mut cuts = 0;
        for part in 1..PARTS {
            cuts += u64::from(cut(state, |proxy| proxy.cut_once_after(to * part / PARTS)));
            cuts += u64::from(cut(state, |proxy| proxy.cut_once_after_from_server(from * part / PARTS)));
        }
        assert!(cuts >= PARTS, "most of the runs were cut: {cuts}");
    }
}

#[test]
fn connections_that_are_always_cut_leave_a_state_from_which_the_next_run_completes() {
    let [to, from] = traffic(2);
    assert!(cut(2, |proxy| proxy.cut_after(to / 2)));
    assert!(cut(2, |proxy| proxy.cut_after_from_server(from / 2)));
}

#[test]
fn a_lost_acknowledgement_of_a_commit_is_sent_again_and_found_unchanged() {
    let database = cluster().database();
    let table = TableSpec::builder("notes").key("id", ColumnType::Text).build().unwrap();
    let id = stream("env", "a.db", "notes");
    block_on(hub(&database.url()).prepare(&table)).unwrap();
    let proxy = Proxy::new(cluster().port());
    let send = |key: &str| {
        let hub = single(&database, &proxy).unwrap();
        committed(push(&hub, &id, &table, vec![upsert(&table, vec![key.into()], None)]))
    };
    let (applied, done) = send("a");
    assert_eq!((applied.inserted, done.sequence), (1, 1));
    // Three bytes short of all that the server said: its last word is on the COMMIT.
    proxy.cut_once_after_from_server(proxy.bytes_from_server() - 3);
    let (applied, done) = send("b");
    assert_eq!((proxy.cuts(), applied.inserted, applied.unchanged, done.sequence), (1, 0, 1, 3));
    assert_eq!(database.psql("SELECT string_agg(id, ',' ORDER BY id) FROM aqe.notes"), "a,b");
}

fn failed(world: &World, url: &str, state: u32, words: &[&str]) {
    let outcome = world.try_run(url, state);
    let said = outcome.map_or_else(
        |error| error.to_string(),
        |report| {
            assert_ne!(report.status, Status::Ok, "{report:?}");
            errors(&report)
        },
    );
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    world.assert_quiet();
}

fn mended(world: &World) {
    world.complete(2);
    assert_eq!(world.content(), undisturbed()[1]);
}

fn with(database: &Database, setting: &str) -> String {
    let url = database.url();
    format!("{url}{}{setting}", if url.contains('?') { '&' } else { '?' })
}

#[test]
fn a_server_that_restarts_during_a_run_is_waited_for() {
    let cluster = Cluster::start();
    let world = World::new(&cluster);
    world.complete(1);
    let proxy = Proxy::new(cluster.port());
    let hub = hub(&world.database.url_through(proxy.port()));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| world.run_with(&hub, 2));
        while proxy.bytes_to_server() < UNDER_WAY && !run.is_finished() {
            std::thread::yield_now();
        }
        cluster.restart();
        // Whether the budget sufficed or not: the next run completes.
        let _ = run.join().unwrap();
    });
    mended(&world);
}

#[test]
fn a_server_that_crashes_says_so_and_the_next_run_completes() {
    let cluster = Cluster::start();
    let world = World::new(&cluster);
    world.complete(1);
    let proxy = Proxy::new(cluster.port());
    let hub = hub(&world.database.url_through(proxy.port()));
    let said = std::thread::scope(|scope| {
        let run = scope.spawn(|| world.run_with(&hub, 2));
        while proxy.bytes_to_server() < UNDER_WAY && !run.is_finished() {
            std::thread::yield_now();
        }
        cluster.stop_immediately();
        let outcome = run.join().unwrap();
        outcome.map_or_else(|error| error.to_string(), |report| errors(&report))
    });
    assert!(said.is_empty() || said.contains("127.0.0.1"), "{said}");
    cluster.start_again();
    mended(&world);
}

#[test]
fn a_table_that_somebody_else_has_locked_is_told_and_stored_later() {
    let world = World::new(cluster());
    world.complete(1);
    let lock = "BEGIN; LOCK TABLE aqe.notes IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)";
    std::thread::scope(|scope| {
        let other = scope.spawn(|| world.database.try_psql(lock));
        while world.database.psql(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'aqe.notes'::regclass",
        ) == "0"
        {}
        failed(&world, &with(&world.database, "lock_timeout=50ms"), 2, &["somebody else holds a lock", "notes"]);
        world.database.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
             AND query LIKE 'BEGIN; LOCK%' AND pid <> pg_backend_pid()",
        );
        other.join().unwrap().unwrap_err();
    });
    mended(&world);
}

#[test]
fn a_statement_that_takes_too_long_is_told_and_stored_later() {
    let world = World::new(cluster());
    world.complete(1);
    world.database.psql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN NULL; END'; \
         CREATE TRIGGER slow AFTER UPDATE ON aqe.pages EXECUTE FUNCTION slow()",
    );
    failed(&world, &with(&world.database, "statement_timeout=300ms"), 2, &["stopped the statement", "pages"]);
    world.database.psql("DROP FUNCTION slow() CASCADE");
    mended(&world);
}

#[test]
fn a_missing_privilege_on_one_table_is_told_and_the_other_tables_are_stored() {
    let world = World::new(cluster());
    world.complete(1);
    let user = format!("user_{}", world.database.name());
    world.database.psql(&format!(
        "CREATE USER {user}; GRANT USAGE ON SCHEMA aqe TO {user}; GRANT ALL ON ALL TABLES IN SCHEMA aqe TO {user}; \
         REVOKE INSERT, UPDATE ON aqe.pages FROM {user}"
    ));
    let url = with(&world.database, &format!("user={user}"));
    failed(&world, &url, 2, &["permission denied for table pages", "doctor"]);
    let changed = "SELECT count(id) FROM aqe.notes WHERE body LIKE '%/2 %'";
    assert_ne!(world.database.psql(changed), "0", "the other table is stored");
    mended(&world);
    world.database.psql(&format!("DROP OWNED BY {user}; DROP USER {user}"));
}

#[test]
fn a_server_that_takes_no_writes_is_told() {
    let cluster = Cluster::start();
    let world = World::new(&cluster);
    world.complete(1);
    let standby = cluster.standby();
    failed(&world, &standby.server().url(world.database.name()), 2, &["standby", "connect to its primary server"]);
    drop(standby);
    mended(&world);
}

#[test]
fn a_default_of_only_reading_does_not_keep_a_run_from_writing() {
    let world = World::new(cluster());
    world.complete(1);
    let name = world.database.name();
    world.database.psql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    mended(&world);
}

#[test]
fn a_full_disk_is_told_and_with_room_the_next_run_completes() {
    let cluster = Cluster::builder().small_tablespace(40).start();
    let world = World::of(cluster.database_on_small_disk());
    world.complete(1);
    world.database.psql("CREATE TABLE filler (body text)");
    let fill = "INSERT INTO filler SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000)";
    while world.database.try_psql(fill).is_ok() {}
    failed(&world, &world.database.url(), 2, &["disk is full", "make room"]);
    cluster.resize_small_disk(200);
    mended(&world);
}

#[test]
fn tables_that_are_gone_are_made_again_by_the_next_run() {
    let world = World::new(cluster());
    world.complete(1);
    let open = hub(&world.database.url());
    world.database.psql("ALTER TABLE aqe.pages RENAME TO elsewhere");
    let _ = world.run_with(&open, 2);
    world.database.psql("DROP TABLE IF EXISTS aqe.pages; ALTER TABLE aqe.elsewhere RENAME TO pages");
    mended(&world);
}
