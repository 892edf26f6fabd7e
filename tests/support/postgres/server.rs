//! A PostgreSQL server that can be reached, and databases on it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::binaries::{Binaries, text_of};

/// A running PostgreSQL, ours or one that `AQE_TEST_PG_URL` names.
#[derive(Debug, Clone)]
pub struct Server {
    /// Everything of the URL before the database's name, without the slash.
    authority: String,
    /// What follows the database's name, with its question mark.
    parameters: String,
    socket: Option<(PathBuf, u16)>,
    psql: PathBuf,
}

impl Server {
    /// A server on this machine that trusts its user `postgres`.
    pub(super) fn local(port: u16, socket_folder: PathBuf, psql: PathBuf) -> Self {
        let authority = format!("postgres://postgres@127.0.0.1:{port}");
        Self { authority, parameters: String::new(), socket: Some((socket_folder, port)), psql }
    }

    /// A server that somebody else runs, from `postgres://user:password@host:port/database?parameters`.
    pub fn at(url: &str) -> Self {
        let (rest, parameters) = url.find('?').map_or((url, ""), |at| url.split_at(at));
        let scheme = rest.find("://").map(|at| at + 3);
        let host = scheme.unwrap_or_else(|| panic!("a PostgreSQL server's address begins with `postgres://`"));
        let end = rest[host..].find('/').map_or(rest.len(), |at| host + at);
        let psql = newest_psql().unwrap_or_else(|| PathBuf::from("psql"));
        Self { authority: rest[..end].to_owned(), parameters: parameters.to_owned(), socket: None, psql }
    }

    /// Returns the URL of a database on this server, over TCP.
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}{}", self.authority, self.parameters)
    }

    /// Creates an empty database with a name of its own; it goes when the value is dropped.
    pub fn database(&self) -> Database {
        self.create("")
    }

    pub(super) fn create(&self, options: &str) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("aqe_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql_in("postgres", &format!("CREATE DATABASE {name} {options}"));
        Database { server: self.clone(), name }
    }

    /// Runs SQL in the database `postgres` as the superuser; see [`Database::psql`].
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    fn psql_in(&self, database: &str, sql: &str) -> String {
        text_of(&mut self.psql_command(&self.url(database), sql))
    }

    fn psql_command(&self, url: &str, sql: &str) -> Command {
        let mut psql = Command::new(&self.psql);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]);
        psql
    }
}

fn newest_psql() -> Option<PathBuf> {
    Binaries::find_quietly().map(|binaries| binaries.program("psql")).filter(|psql| psql.is_file())
}

/// One database of a test's own; dropped with the value.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
}

impl Database {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its URL over TCP, `postgres://postgres@127.0.0.1:PORT/NAME`.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Returns its URL by way of another port of this machine, such as a proxy's.
    pub fn url_through(&self, port: u16) -> String {
        let user = self.server.authority.rfind('@').map_or("postgres://", |at| &self.server.authority[..=at]);
        format!("{user}127.0.0.1:{port}/{}{}", self.name, self.server.parameters)
    }

    /// Returns its URL over the Unix socket. Panics for a server that we did not start.
    pub fn socket_url(&self) -> String {
        let (folder, port) = self.server.socket.as_ref().expect("only a server of our own has a socket folder we know");
        format!("postgres://postgres@/{}?host={}&port={port}", self.name, folder.display())
    }

    /// Returns the server that it is on.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs SQL with the `psql` program and returns its answer: one line per row, columns apart by
    /// `|`, NULL as nothing. For checks that do not depend on our own driver. Panics with the
    /// server's message when a statement fails.
    pub fn psql(&self, sql: &str) -> String {
        self.server.psql_in(&self.name, sql)
    }

    /// Does as [`Database::psql`], and returns the server's message where a statement fails.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let output = self.server.psql_command(&self.url(), sql).output().map_err(|e| e.to_string())?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that is stopped or gone takes its databases along.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = self.server.psql_command(&self.server.url("postgres"), &drop).output();
    }
}
