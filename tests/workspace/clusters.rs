//! Throwaway servers: they work, they stay apart, and they never stay behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aqe_sync_workspace::environment;
use aqe_sync_workspace::postgres::{Binaries, Cluster, Server};

#[test]
fn two_clusters_run_at_once_and_know_nothing_of_each_other() {
    let (one, other) = (Cluster::start(), Cluster::start());
    one.psql("CREATE TABLE t AS SELECT 1 AS id");
    assert_eq!(one.psql("SELECT id FROM t"), "1");
    assert_eq!(other.psql("SELECT to_regclass('t')"), "");
    assert_ne!(one.port(), other.port());
}

#[test]
fn a_restart_and_a_crash_keep_what_was_committed() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT 1 AS id");
    cluster.restart();
    cluster.psql("INSERT INTO t VALUES (2)");
    cluster.stop_immediately();
    cluster.start_again();
    assert_eq!(cluster.psql("SELECT id FROM t ORDER BY id"), "1\n2");
    assert!(cluster.log().contains("database system was not properly shut down"), "the crash was one");
}

#[test]
fn databases_are_apart_and_go_with_their_value() {
    let server = Cluster::shared();
    let (one, other) = (server.database(), server.database());
    one.psql("CREATE TABLE t (id int)");
    assert_eq!(other.psql("SELECT to_regclass('t')"), "");
    let count = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", one.name());
    assert_eq!(server.psql(&count), "1");
    drop(one);
    assert_eq!(server.psql(&count), "0");
}

#[test]
fn a_database_is_reached_over_tcp_and_over_the_socket() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let ask = |url: &str| {
        let mut psql = Command::new(cluster.binaries().program("psql"));
        let answer = psql.args(["-XAt", "-d", url, "-c", "SELECT inet_server_port()"]).output().expect("psql runs");
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    };
    assert_eq!(ask(&database.url()), cluster.port().to_string());
    assert_eq!(ask(&database.socket_url()), "");
    assert!(database.socket_url().contains(cluster.folder().to_str().expect("ours is text")));
}

#[test]
fn settings_reach_the_server_and_a_failed_statement_tells_why() {
    let cluster = Cluster::builder().setting("max_connections", "7").fsync(true).start();
    assert_eq!(cluster.psql("SHOW max_connections"), "7");
    assert_eq!(cluster.psql("SHOW fsync"), "on");
    assert!(cluster.database().try_psql("SELECT no_such_column").unwrap_err().contains("no_such_column"));
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let start = || Cluster::builder().setting("max_connections", "none").start();
    let panic = std::panic::catch_unwind(start).expect_err("the setting is wrong");
    let said = panic.downcast_ref::<String>().expect("a message");
    assert!(said.contains("max_connections"), "{said}");
}

#[test]
fn access_rules_come_before_trust() {
    let cluster = Cluster::builder().access("host all guarded 127.0.0.1/32 scram-sha-256").start();
    cluster.psql("CREATE ROLE guarded LOGIN PASSWORD 'secret'");
    let ask = |password: &str| {
        let url = format!("postgres://guarded:{password}@127.0.0.1:{}/postgres", cluster.port());
        Command::new(cluster.binaries().program("psql")).args(["-Xc", "SELECT 1", "-d", &url]).output().expect("runs")
    };
    assert!(ask("secret").status.success());
    assert!(!ask("wrong").status.success());
}

#[test]
fn tls_holds_for_its_name_and_its_authority_only() {
    let cluster = Cluster::builder().ssl(true).start();
    let certificates = cluster.certificates();
    let connects = |host: &str, authority: &Path| {
        let root = authority.display();
        let target = format!("host={host} port={} user=postgres dbname=postgres", cluster.port());
        let target = format!("{target} hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={root}");
        let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let answer = Command::new(cluster.binaries().program("psql")).args(["-XAt", "-d", &target, "-c", ask]).output();
        answer.expect("psql runs").stdout == b"t\n"
    };
    assert!(connects("localhost", certificates.ca_file()));
    assert!(!connects("elsewhere.test", certificates.ca_file()));
    assert!(!connects("localhost", certificates.other_ca_file()));
}

#[test]
fn a_small_disk_runs_full_and_can_be_made_larger() {
    let cluster = Cluster::builder().small_tablespace(24).start();
    let database = cluster.database_on_small_disk();
    database.psql("CREATE TABLE t (body text)");
    let fill = "INSERT INTO t SELECT repeat(md5(i::text), 30) FROM generate_series(1, 30000) i";
    let said = database.try_psql(fill).unwrap_err();
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(database.psql("SELECT count(*) FROM t"), "0");
    if Path::new("/proc/self").metadata().is_ok_and(|us| std::os::unix::fs::MetadataExt::uid(&us) == 0) {
        cluster.resize_small_disk(128);
        database.psql(fill);
        assert_eq!(database.psql("SELECT count(*) FROM t"), "30000");
    }
}

#[test]
fn an_address_from_outside_keeps_its_password_and_parameters() {
    let server = Server::at("postgres://me:p%40ss@db.example:5433/first?sslmode=disable");
    assert_eq!(server.url("x"), "postgres://me:p%40ss@db.example:5433/x?sslmode=disable");
    assert_eq!(Server::at("postgres://db.example").url("x"), "postgres://db.example/x");
}

#[test]
fn the_version_is_read() {
    let binaries = Binaries::find();
    assert!(binaries.version().contains(&binaries.major_version().to_string()));
    assert!(!binaries.has_extension("no_such_extension"));
    assert!(binaries.has_extension("plpgsql"));
}

/// Set in the second process that the test below starts: itself again, to be killed.
const AS_CHILD: &str = "AQE_TEST_AS_CHILD";

fn start_a_cluster_and_wait_to_be_killed() {
    let cluster = Cluster::start();
    println!("\nfolder={}", cluster.folder().display());
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_killed_test_process_leaves_no_server_and_no_folder() {
    if environment::read(AS_CHILD).is_some() {
        return start_a_cluster_and_wait_to_be_killed();
    }
    let ourselves = std::env::current_exe().expect("we run from a file");
    let mut child = Command::new(ourselves)
        .args(["--exact", "--nocapture", "clusters::a_killed_test_process_leaves_no_server_and_no_folder"])
        .env(AS_CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("we can be started again");
    let mut output = std::io::BufReader::new(child.stdout.take().expect("asked for"));
    let folder = std::io::BufRead::lines(&mut output)
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("folder=").map(str::to_owned))
        .expect("the child says where its cluster is");
    let process = std::fs::read_to_string(format!("{folder}/data/postmaster.pid")).expect("it runs");
    let process = format!("/proc/{}", process.lines().next().expect("the first line is the process"));
    assert!(Path::new(&process).exists());
    child.kill().expect("the child is ours");
    child.wait().expect("the child ends");
    // The watchdog works beside us; it is given time, and is not waited for longer than it needs.
    let deadline = Instant::now() + Duration::from_secs(20);
    while (Path::new(&folder).exists() || Path::new(&process).exists()) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(!Path::new(&process).exists(), "the server still runs");
    assert!(!Path::new(&folder).exists(), "{folder} is still there");
}

#[test]
fn a_standby_has_what_was_committed_and_takes_no_writes() {
    let primary = Cluster::start();
    primary.psql("CREATE TABLE t AS SELECT 1 AS id");
    let standby = primary.standby();
    assert_eq!(standby.psql("SELECT id, pg_is_in_recovery() FROM t"), "1|t");
    assert_ne!(primary.port(), standby.port());
    let mut psql = Command::new(standby.binaries().program("psql"));
    psql.args(["-XAt", "-d", &standby.server().url("postgres"), "-c", "INSERT INTO t VALUES (2)"]);
    let refused = psql.output().expect("psql runs");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only"), "a standby takes no writes");
    primary.psql("INSERT INTO t VALUES (2)");
}
