//! Connections that write, each with what it has prepared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};
use tokio_postgres::Statement;

use super::failure::Failure;
use super::link::Link;

/// One connection. Transactions on it follow one another in the order in which its
/// turn is taken; a transaction that is sent as a whole gives the turn back as soon as
/// everything is on its way.
#[derive(Default)]
pub(super) struct Lane {
    turn: Arc<Mutex<Session>>,
    waiting: AtomicUsize,
}

/// What the connection knows.
#[derive(Default)]
pub(super) struct Session {
    link: Option<Arc<Link>>,
    copies: HashMap<String, Statement>,
}

impl Lane {
    /// Over a connection that is there already.
    pub(super) fn of(link: Link) -> Self {
        let session = Session { link: Some(Arc::new(link)), copies: HashMap::new() };
        Self { turn: Arc::new(Mutex::new(session)), ..Self::default() }
    }

    /// Waits for the turn.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Session> {
        self.turn.lock().await
    }

    /// As [`Self::turn`], to keep it beyond a borrow.
    pub(super) async fn own_turn(&self) -> OwnedMutexGuard<Session> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Bytes that are on their way over it.
    pub(super) fn load(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn add_load(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_load(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Session {
    /// Whether there ever was a connection.
    pub(super) fn was_open(&self) -> bool {
        self.link.is_some()
    }

    /// The connection, if it is alive.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.link.clone().filter(|link| !link.is_closed())
    }

    /// Replaces a connection that is lost.
    pub(super) fn replace(&mut self, link: Link) -> Arc<Link> {
        let link = Arc::new(link);
        self.link = Some(Arc::clone(&link));
        self.copies.clear();
        link
    }

    /// A `COPY`, prepared once per connection.
    pub(super) async fn copy(&mut self, link: &Link, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.copies.get(sql) {
            return Ok(statement.clone());
        }
        let statement = link.prepare(sql).await?;
        self.copies.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}
