//! Connections that write, each with what it has prepared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};
use tokio_postgres::{Client, Statement};

use super::fault::Failure;

/// One connection. Transactions on it follow one another in the order in which its
/// turn is taken; a transaction that is sent as a whole gives the turn back as soon as
/// everything is on its way.
#[derive(Debug, Default)]
pub(super) struct Lane {
    turn: Arc<Mutex<Session>>,
    waiting: AtomicUsize,
}

/// What the connection knows.
#[derive(Debug, Default)]
pub(super) struct Session {
    client: Option<Arc<Client>>,
    copies: HashMap<String, Statement>,
}

impl Lane {
    /// Over a connection that is there already.
    pub(super) fn of(client: Client) -> Self {
        let session = Session { client: Some(Arc::new(client)), copies: HashMap::new() };
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
    /// The connection, if it is alive.
    pub(super) fn client(&self) -> Option<Arc<Client>> {
        self.client.clone().filter(|client| !client.is_closed())
    }

    /// Replaces a connection that is lost.
    pub(super) fn set_client(&mut self, client: Client) -> Arc<Client> {
        let client = Arc::new(client);
        self.client = Some(Arc::clone(&client));
        self.copies.clear();
        client
    }

    /// A `COPY`, prepared once per connection.
    pub(super) async fn copy(&mut self, client: &Client, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.copies.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await?;
        self.copies.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}
