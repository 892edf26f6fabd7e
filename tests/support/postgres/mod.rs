//! A throwaway PostgreSQL: a cluster of its own per call, or one shared by a test process.
//!
//! ```no_run
//! use aqe_sync_workspace::postgres::Cluster;
//!
//! let database = Cluster::shared().database();
//! assert_eq!(database.psql("SELECT 1 + 1"), "2");
//! ```

mod binaries;
mod certificates;
mod server;
mod standby;
mod template;
mod watchdog;

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use self::binaries::Binaries;
use self::binaries::RunAs;
pub use self::certificates::Certificates;
pub use self::server::{Database, Server};
use self::watchdog::{Running, SmallDisk};
use crate::environment;

/// The longest that a server may take to become ready, recovery after a crash included.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// The tablespace on the small disk.
const SMALL_TABLESPACE: &str = "small";

/// Says what a cluster shall be like.
#[derive(Debug, Default)]
pub struct Builder {
    binaries: Option<Binaries>,
    settings: Vec<(String, String)>,
    access: Vec<String>,
    fsync: bool,
    ssl: bool,
    small_disk: Option<u32>,
}

impl Builder {
    /// Uses these binaries instead of the default ones.
    #[must_use]
    pub fn binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// Sets a server parameter, such as `("max_connections", "20")`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a line of `pg_hba.conf` before those that trust everybody on this machine, such as
    /// `host all guarded 127.0.0.1/32 scram-sha-256`. The first line that fits decides.
    #[must_use]
    pub fn access(mut self, line: &str) -> Self {
        self.access.push(line.to_owned());
        self
    }

    /// Makes commits wait for the disk, as a real server's do. Off unless asked for.
    #[must_use]
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// Offers TLS with a certificate for `localhost`, and knows those of clients that the same
    /// authority signed; see [`Cluster::certificates`].
    #[must_use]
    pub fn ssl(mut self, on: bool) -> Self {
        self.ssl = on;
        self
    }

    /// Adds a tablespace `small` on a file system of that many megabytes, for tests of a full disk:
    /// a real ENOSPC, not an imitation. An empty database takes about 8. Only the server sees the
    /// file system (a mount namespace of its own); what is on it goes when the server stops. Needs
    /// `unshare` and either root or user namespaces.
    #[must_use]
    pub fn small_tablespace(mut self, megabytes: u32) -> Self {
        self.small_disk = Some(megabytes);
        self
    }

    /// Starts it. Panics where that fails, with the end of the server's log.
    pub fn start(self) -> Cluster {
        let binaries = self.binaries.clone().unwrap_or_else(Binaries::find);
        let run_as = RunAs::find();
        let folder = new_folder();
        run_as.give(&folder);
        template::copy_to(&folder.join("data"), &binaries, run_as);
        let certificates = self.ssl.then(|| Certificates::write(&folder, "localhost"));
        if let Some(certificates) = &certificates {
            run_as.give(certificates.server_key_file());
        }
        if self.small_disk.is_some() {
            fs::create_dir(folder.join("small")).expect("the folder is new");
            run_as.give(&folder.join("small"));
        }
        let mut cluster = Cluster {
            settings: self.all_settings(&folder, certificates.as_ref()),
            server: Server::local(0, folder.clone(), binaries.program("psql")),
            small_disk: self.small_disk,
            running: Mutex::default(),
            port: 0,
            binaries,
            run_as,
            folder,
            certificates,
        };
        cluster.put_access_first(&self.access);
        cluster.start_on_a_free_port();
        if self.small_disk.is_some() {
            let place = cluster.folder.join("small");
            cluster.server.psql(&format!("CREATE TABLESPACE {SMALL_TABLESPACE} LOCATION '{}'", place.display()));
        }
        cluster
    }

    fn all_settings(&self, folder: &Path, certificates: Option<&Certificates>) -> Vec<(String, String)> {
        let durable = if self.fsync { "on" } else { "off" };
        let mut settings = vec![
            ("fsync".to_owned(), durable.to_owned()),
            ("full_page_writes".to_owned(), durable.to_owned()),
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("unix_socket_directories".to_owned(), folder.display().to_string()),
        ];
        if let Some(certificates) = certificates {
            settings.push(("ssl".to_owned(), "on".to_owned()));
            settings.push(("ssl_cert_file".to_owned(), certificates.server_file().display().to_string()));
            settings.push(("ssl_key_file".to_owned(), certificates.server_key_file().display().to_string()));
            settings.push(("ssl_ca_file".to_owned(), certificates.ca_file().display().to_string()));
        }
        settings.extend(self.settings.iter().cloned());
        settings
    }
}

/// Keeps the folder short: the path of a Unix socket may have 107 bytes only.
fn new_folder() -> PathBuf {
    let temporary = std::env::temp_dir();
    let parent = if temporary.as_os_str().len() > 70 { PathBuf::from("/tmp") } else { temporary };
    let folder = tempfile::Builder::new().prefix("aqe-pg-").tempdir_in(&parent);
    // Kept: from now on the watchdog removes it, also when this process does not get to.
    folder.unwrap_or_else(|e| panic!("cannot make a folder in {}: {e}", parent.display())).keep()
}

/// A PostgreSQL server with a data folder of its own; stopped and removed when dropped, and also
/// when the test process is killed.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    run_as: RunAs,
    folder: PathBuf,
    settings: Vec<(String, String)>,
    port: u16,
    server: Server,
    certificates: Option<Certificates>,
    small_disk: Option<u32>,
    running: Mutex<Option<Running>>,
}

impl Cluster {
    /// Starts one as it comes.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts one to order.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the server that all tests of this process share: the one at `AQE_TEST_PG_URL`, else
    /// a throwaway cluster, started at the first call.
    pub fn shared() -> &'static Server {
        static EXTERNAL: OnceLock<Server> = OnceLock::new();
        static OWN: OnceLock<Cluster> = OnceLock::new();
        match environment::read(environment::SERVER_URL) {
            Some(url) => EXTERNAL.get_or_init(|| Server::at(&url)),
            None => OWN.get_or_init(Self::start).server(),
        }
    }

    /// Creates an empty database; it goes when the value is dropped.
    pub fn database(&self) -> Database {
        self.server.database()
    }

    /// Creates a database whose tables are on the small disk; see [`Builder::small_tablespace`].
    pub fn database_on_small_disk(&self) -> Database {
        self.server.create(&format!("TABLESPACE {SMALL_TABLESPACE}"))
    }

    /// Returns how to reach it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns its TCP port on 127.0.0.1; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the binaries that it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Returns the folder that holds all of it, the Unix socket included.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns its certificates. Panics unless it was built with [`Builder::ssl`].
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("only a cluster built with ssl(true) has certificates")
    }

    /// Returns the certificate authority's file. Panics unless it was built with [`Builder::ssl`].
    pub fn ca_file(&self) -> &Path {
        self.certificates().ca_file()
    }

    /// Returns everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Runs SQL in the database `postgres` with the `psql` program; see [`Database::psql`].
    pub fn psql(&self, sql: &str) -> String {
        self.server.psql(sql)
    }

    /// Stops it as an administrator does, ending all sessions, and starts it again.
    pub fn restart(&self) {
        self.stop("INT");
        self.start_again();
    }

    /// Stops it as a crash does: sessions end without a word, and the next start recovers.
    pub fn stop_immediately(&self) {
        self.stop("QUIT");
    }

    /// Starts it after [`Cluster::stop_immediately`], on the same port.
    pub fn start_again(&self) {
        if let Err(complaint) = self.try_start() {
            panic!("PostgreSQL did not start again on port {}: {complaint}", self.port);
        }
    }

    /// Changes the size of the small disk while the server runs, as somebody who makes room does.
    pub fn resize_small_disk(&self, megabytes: u32) {
        let process = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        let process = process.lines().next().unwrap_or_default().to_owned();
        let mut remount = Command::new("nsenter");
        match self.run_as {
            // The mount belongs to the outer of the two user namespaces, which only root can enter from here.
            RunAs::Ourselves => panic!("a small disk can be resized by root only"),
            RunAs::Other { .. } => remount.args(["-t", &process, "-m", "mount", "-o"]),
        };
        binaries::text_of(remount.arg(format!("remount,size={megabytes}m")).arg(self.folder.join("small")));
    }

    fn stop(&self, signal: &str) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        running.expect("the server is running").stop(signal);
    }

    fn put_access_first(&self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let file = self.folder.join("data/pg_hba.conf");
        let trusting = fs::read_to_string(&file).expect("initdb wrote pg_hba.conf");
        fs::write(&file, format!("{}\n{trusting}", lines.join("\n"))).expect("the data folder can be written");
    }

    /// Somebody else may take the port between the look and the start: then another one.
    fn start_on_a_free_port(&mut self) {
        let mut complaint = String::new();
        for _ in 0..5 {
            self.port = free_port();
            self.server = Server::local(self.port, self.folder.clone(), self.binaries.program("psql"));
            match self.try_start() {
                Ok(()) => return,
                Err(said) if said.contains("could not create any TCP/IP sockets") => complaint = said,
                Err(said) => panic!("PostgreSQL did not start: {said}"),
            }
        }
        panic!("PostgreSQL found no free port: {complaint}");
    }

    fn try_start(&self) -> Result<(), String> {
        let data = self.folder.join("data");
        let mut command = Command::new(self.binaries.program("postgres"));
        command.arg("-D").arg(&data).arg("-p").arg(self.port.to_string());
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let disk_place = self.folder.join("small");
        let disk = self.small_disk.map(|megabytes| SmallDisk { place: &disk_place, megabytes });
        // A crashed server's file would read as ready before the new one has even begun.
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let running = Running::start(&command, &self.folder, self.run_as, disk);
        let deadline = Instant::now() + START_DEADLINE;
        while !is_ready(&data) {
            if running.has_ended_within(Duration::from_millis(5)) || Instant::now() > deadline {
                let complaint = last_lines(&self.log(), 8);
                running.stop("QUIT");
                return Err(complaint);
            }
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Where the server was stopped before, nobody has removed the folder yet.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The eighth line of the file is the server's state.
fn is_ready(data: &Path) -> bool {
    let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    state.lines().nth(7).is_some_and(|state| state.trim() == "ready")
}

fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Looks below the range from which the system takes the ports of outgoing connections, so that a
/// server which is stopped for a moment finds its port still free.
fn free_port() -> u16 {
    loop {
        let random = RandomState::new().build_hasher().finish() % 20_000;
        let port = 10_000 + u16::try_from(random).expect("below 20,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
