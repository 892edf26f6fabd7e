//! Connecting, and what is said when that fails or the connection ends.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqe_cloud::postgres::link::{AddressParts, Budget, Direct, Link, Secret, connect, retry};
use aqe_cloud::secret::PasswordSource;
use aqe_sync_core::{Error, ErrorKind, Result, Retry};
use aqe_sync_workspace::postgres::Cluster;
use futures::future::BoxFuture;
use tokio_postgres::SimpleQueryMessage;

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) async fn open(url: &str) -> Result<Link> {
    let address = AddressParts::parse(url)?.system_user("nobody").build()?;
    connect(&address, &Direct).await
}

/// Fails to connect, and checks what every such error must be.
pub(crate) fn refusal(url: &str) -> Error {
    let error = run(open(url)).err().unwrap_or_else(|| panic!("{url} should have been refused"));
    let all = format!("{error} {error:?}");
    assert!(!all.contains("hunter2"), "{all}");
    assert!(error.to_string().starts_with("connecting to postgres://"), "{error}");
    error
}

pub(crate) async fn ask(link: &Link, sql: &str) -> Result<String> {
    let answer = link.simple_query(sql).await.map_err(|error| link.fault("asking", error))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}

/// A server with a user whose password is asked for, at a port that no test stops.
fn guarded() -> &'static Cluster {
    static CLUSTER: std::sync::OnceLock<Cluster> = std::sync::OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder()
            .access("host all guarded 127.0.0.1/32 scram-sha-256")
            .access("host all barred 127.0.0.1/32 reject")
            .start();
        cluster.psql("CREATE ROLE guarded LOGIN PASSWORD 'hunter2'");
        cluster.psql("CREATE ROLE barred LOGIN");
        cluster.psql("CREATE ROLE single LOGIN CONNECTION LIMIT 1");
        cluster
    })
}

fn at(user: &str, rest: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{}/{rest}", guarded().port())
}

#[test]
fn a_session_is_set_up_by_the_startup_packet() {
    run(async {
        let url = at("postgres", "postgres?statement_timeout=7s&options=-c%20geqo%3Doff%20-c%20TimeZone%3DAsia/Tokyo");
        let link = open(&url).await.unwrap();
        for (setting, value) in [
            ("application_name", "aqe-sync"),
            ("statement_timeout", "7s"),
            ("lock_timeout", "1min"),
            ("idle_in_transaction_session_timeout", "10min"),
            ("geqo", "off"),
            ("TimeZone", "UTC"),
            ("client_encoding", "UTF8"),
            ("extra_float_digits", "1"),
        ] {
            assert_eq!(ask(&link, &format!("SHOW {setting}")).await.unwrap(), value, "{setting}");
        }
        assert_eq!(link.address().database(), "postgres");
    });
}

#[test]
fn a_unix_socket_will_do() {
    let database = guarded().database();
    run(async {
        let link = open(&database.socket_url()).await.unwrap();
        assert_eq!(ask(&link, "SELECT inet_client_addr() IS NULL").await.unwrap(), "t");
        assert_eq!(ask(&link, "SELECT current_database()").await.unwrap(), database.name());
        // TLS is not to be had there, and not needed either.
        open(&format!("{}&sslmode=require", database.socket_url())).await.unwrap();
    });
    let error = refusal("postgres://guarded:hunter2@/x?host=/nowhere/at/all&port=1");
    assert!(error.message().contains("/nowhere/at/all/.s.PGSQL.1"), "{error}");
}

#[test]
fn a_password_is_used_wherever_it_comes_from_and_asked_for_where_it_is_missing() {
    run(open(&at("guarded:hunter2", "postgres"))).unwrap();
    let address = AddressParts::parse(&at("guarded", "postgres")).unwrap();
    let address = address.default_password(Secret::new("hunter2")).build().unwrap();
    run(connect(&address, &Direct)).unwrap();
    let error = refusal(&at("guarded", "postgres"));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::PermissionDenied, Retry::Never));
    assert!(error.to_string().contains("none is given") && error.to_string().contains("PGPASSWORD"), "{error}");
}

/// Says one password after the other, the last one again and again.
struct Rotating {
    passwords: Mutex<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Rotating {
    fn new(passwords: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { passwords: Mutex::new(passwords.to_vec()), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl PasswordSource for Rotating {
    fn password(&self) -> BoxFuture<'_, Result<Secret>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut passwords = self.passwords.lock().unwrap();
        let next = if passwords.len() > 1 { passwords.remove(0) } else { passwords[0] };
        Box::pin(async move { Ok(Secret::new(next)) })
    }

    fn origin(&self) -> String {
        "the rotating vault".to_owned()
    }
}

#[test]
fn whoever_has_the_password_is_asked_once_and_again_when_it_is_not_accepted_any_more() {
    let server = Cluster::builder().access("host all rotated 127.0.0.1/32 scram-sha-256").start();
    let change = |to: &str| server.psql(&format!("ALTER USER rotated PASSWORD '{to}'"));
    server.psql("CREATE USER rotated PASSWORD 'first'");
    let parts = AddressParts::parse(&format!("postgres://rotated@127.0.0.1:{}/postgres", server.port())).unwrap();
    let vault = Rotating::new(&["first", "second", "wrong"]);
    let address = parts.clone().password_source(vault.clone()).build().unwrap();
    assert_eq!((address.has_password(), vault.asked()), (true, 0), "not before it is needed");
    run(async {
        drop(connect(&address, &Direct).await.unwrap());
        drop(connect(&address.clone(), &Direct).await.unwrap());
        assert_eq!(vault.asked(), 1, "the answer is kept");
        change("second");
        drop(connect(&address, &Direct).await.unwrap());
        assert_eq!(vault.asked(), 2);
        change("third");
        let error = connect(&address, &Direct).await.err().expect("there is no third");
        assert!(error.to_string().contains("came from the rotating vault"), "{error}");
        assert_eq!((error.kind(), vault.asked()), (ErrorKind::PermissionDenied, 3));
    });
    let vault = Rotating::new(&["wrong"]);
    let address = parts.clone().password_source(vault.clone()).build().unwrap();
    run(connect(&address, &Direct)).err().expect("it is wrong");
    assert_eq!(vault.asked(), 1, "a fresh answer that is wrong stays wrong");
    let given = parts.default_password(Secret::new("third")).password_source(vault.clone()).build().unwrap();
    run(connect(&given, &Direct)).unwrap();
    assert_eq!(vault.asked(), 1, "a password that is there is used first");
}

#[test]
fn a_login_that_is_refused_says_whose_and_why() {
    for (url, kind, says) in [
        (at("guarded:hunter2hunter2", "postgres"), ErrorKind::PermissionDenied, "password of user \"guarded\""),
        (at("barred:hunter2", "postgres"), ErrorKind::PermissionDenied, "pg_hba.conf"),
        (at("stranger:hunter2", "postgres"), ErrorKind::PermissionDenied, "\"stranger\""),
        (at("guarded:hunter2", "nosuch"), ErrorKind::NotFound, "no database \"nosuch\""),
    ] {
        let error = refusal(&url);
        assert_eq!((error.kind(), error.can_retry()), (kind, Retry::Never), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains(&format!("@127.0.0.1:{}/", guarded().port())), "{error}");
    }
}

#[test]
fn a_server_that_is_full_may_be_tried_again() {
    run(async {
        let url = at("single", "postgres");
        let _first = open(&url).await.unwrap();
        let error = open(&url).await.err().expect("one is the limit");
        assert_eq!(error.can_retry(), Retry::Later, "{error}");
        assert!(error.to_string().contains("no more connections"), "{error}");
    });
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refusal(&format!("postgres://me:hunter2@127.0.0.1:{port}/fleet"));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later));
    assert!(error.to_string().contains(&format!("127.0.0.1 port {port}: connection refused")), "{error}");
}

#[test]
fn a_host_that_nobody_knows_is_named() {
    let error = refusal("postgres://me:hunter2@no-such-host.invalid/fleet");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.message().contains("\"no-such-host.invalid\" cannot be found"), "{error}");
}

#[test]
fn a_listener_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for mode in ["disable", "prefer", "require"] {
        let error = refusal(&format!("postgres://me:hunter2@127.0.0.1:{port}/fleet?connect_timeout=1&sslmode={mode}"));
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later));
        assert!(error.message().contains("no answer within 1 s"), "{error}");
    }
}

#[test]
fn something_else_that_listens_is_not_taken_for_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let other = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 512]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
    });
    let error = refusal(&format!("postgres://me:hunter2@127.0.0.1:{port}/fleet?sslmode=disable"));
    assert!(
        error.to_string().contains("host and port") || error.to_string().contains("broke the connection off"),
        "{error}"
    );
    other.join().unwrap();
}

#[test]
fn a_server_that_goes_away_is_a_lost_connection_and_comes_back_by_retrying() {
    let cluster = Cluster::start();
    let database = cluster.database();
    run(async {
        let link = open(&database.url()).await.unwrap();
        cluster.restart();
        let error = ask(&link, "SELECT 1").await.unwrap_err();
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Io, Retry::Later), "{error}");
        assert!(error.to_string().contains("shutting down"), "the server's farewell: {error}");

        let link = open(&database.url()).await.unwrap();
        cluster.stop_immediately();
        let error = ask(&link, "SELECT 1").await.unwrap_err();
        assert_eq!(error.can_retry(), Retry::Later, "{error}");
        let error = ask(&link, "SELECT 1").await.unwrap_err();
        assert_eq!(error.can_retry(), Retry::Later, "and it stays so: {error}");

        let url = database.url();
        let mut attempts = 0;
        let link = retry(Budget::default(), || {
            attempts += 1;
            if attempts == 3 {
                cluster.start_again();
            }
            open(&url)
        });
        assert_eq!(ask(&link.await.unwrap(), "SELECT 1").await.unwrap(), "1");
        assert_eq!(attempts, 3);
    });
}

#[test]
fn a_call_that_the_server_refuses_says_what_to_do() {
    let database = guarded().database();
    database.psql("CREATE TABLE locked (id int); CREATE TABLE closed (id int); GRANT ALL ON locked TO guarded");
    run(async {
        let parameters = "statement_timeout=200ms&lock_timeout=50ms";
        let link = open(&at("guarded:hunter2", &format!("{}?{parameters}", database.name()))).await.unwrap();
        let holder = open(&database.url()).await.unwrap();
        holder.batch_execute("BEGIN; LOCK TABLE locked").await.unwrap();
        let mut refused = Vec::new();
        for (sql, retry, says) in [
            ("SELECT * FROM closed", Retry::Never, "\"guarded\" may not do this"),
            ("SELECT * FROM aqe.events", Retry::Never, "aqe-sync init"),
            ("SELECT * FROM missing", Retry::Never, "aqe-sync init"),
            ("SELECT missing FROM locked", Retry::Later, "holds a lock"),
            ("SELECT 1::nosuchtype", Retry::Never, "CREATE EXTENSION"),
            ("SELECT pg_sleep(5)", Retry::Never, "statement_timeout=30min"),
            ("SET transaction_read_only = on; CREATE TABLE x ()", Retry::Never, "takes no writes"),
            ("SELECT 1/0", Retry::Never, "division by zero"),
            ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", Retry::Later, "try again"),
            ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", Retry::Later, "try again"),
            ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", Retry::Never, "disk is full"),
            ("DO $$ BEGIN RAISE SQLSTATE '53200'; END $$", Retry::Later, "out of memory"),
            ("DO $$ BEGIN RAISE SQLSTATE '57P03'; END $$", Retry::Later, "starting up"),
        ] {
            let error = ask(&link, sql).await.expect_err(sql);
            assert_eq!(error.can_retry(), retry, "{sql}: {error}");
            let text = error.to_string();
            assert!(text.starts_with("asking: ") && text.contains(says), "{sql}: {text}");
            assert!(text.contains(&link.address().shown()) && text.contains("SQLSTATE"), "{text}");
            refused.push(text);
        }
        assert!(!refused.concat().contains("hunter2"));
        assert_eq!(ask(&link, "SELECT 1").await.unwrap(), "1", "the session goes on");
    });
}

/// The driver tells a call on a connection that has ended no more than that it is closed.
#[test]
fn a_call_after_the_end_still_tells_why_it_ended() {
    let database = guarded().database();
    run(async {
        let link = open(&database.url()).await.unwrap();
        let process = ask(&link, "SELECT pg_backend_pid()").await.unwrap();
        database.psql(&format!("SELECT pg_terminate_backend({process})"));
        until_closed(&link).await;
        let error = ask(&link, "SELECT 1").await.unwrap_err();
        assert_eq!(error.can_retry(), Retry::Later, "{error}");
        assert!(error.to_string().contains("an administrator ended this session"), "{error}");
    });
}

async fn until_closed(link: &Link) {
    let closed = async {
        while !link.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the connection ends");
}

#[test]
fn an_ended_session_tells_who_ended_it() {
    let database = guarded().database();
    run(async {
        let link = open(&database.url()).await.unwrap();
        let process = ask(&link, "SELECT pg_backend_pid()").await.unwrap();
        let pending = ask(&link, "SELECT pg_sleep(60)");
        let killing = async { database.psql(&format!("SELECT pg_terminate_backend({process})")) };
        let (error, _) = tokio::join!(pending, killing);
        let error = error.expect_err("it was ended");
        assert_eq!(error.can_retry(), Retry::Later, "{error}");
        assert!(error.to_string().contains("an administrator ended this session"), "{error}");
        until_closed(&link).await;
    });
}
