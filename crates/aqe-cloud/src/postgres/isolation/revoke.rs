//! Takes an environment's login away; its rows stay.

use std::fmt::Write as _;

use aqe_sync_core::{Environment, Error, ErrorKind, Identifier, Quoted, Result};
use postgres_types::Type;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Authority;
use super::plan::recorded;
use crate::postgres::connections::Connections;
use crate::postgres::hub::PostgresHub;
use crate::postgres::link::Link;
use crate::postgres::schema::guard::{self, ENVIRONMENTS};
use crate::postgres::schema::{self, literal};

/// How long a session may take to end, in milliseconds.
const PATIENCE: i64 = 5_000;

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The login.
    pub login: Identifier,
    /// Whether it was revoked before.
    pub before: bool,
    /// How many of its sessions were ended.
    pub sessions: u64,
    /// Whether the role is gone from the server.
    pub dropped: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl PostgresHub {
    /// Takes an environment's login away: it writes nothing more from this moment on,
    /// cannot log in, has no password, and its sessions are ended. With `drop` the role
    /// goes, too. The environment's rows stay, and so does the record that it had a login.
    ///
    /// # Errors
    /// When the environment never had a login; when this login is not the hub's owner, may
    /// not change roles, or the server refuses. What was revoked stays revoked when the
    /// role cannot be dropped.
    pub fn revoke_environment(&self, environment: &Environment, drop: bool) -> Result<Revoked> {
        let (connections, environment) = (self.connections.clone(), environment.clone());
        futures::executor::block_on(self.run(async move { revoke(&connections, &environment, drop).await }))
    }
}

async fn revoke(connections: &Connections, environment: &Environment, drop: bool) -> Result<Revoked> {
    let schema = &connections.dialect.schema;
    let link = connections.asking().await?;
    let failed = |error| link.fault("revoking the environment's login", error);
    Authority::require(&link, &connections.dialect).await?;
    let Some((role, before)) = recorded(&link, schema, environment).await.map_err(failed)? else {
        return Err(Error::new(ErrorKind::NotFound, format!("environment {environment} has no login of its own"))
            .advice("aqe-sync env list shows those that have"));
    };
    let login = Identifier::new(&role)?;
    let mut sql = schema::lock(schema);
    // Writing to a String cannot fail.
    let _ = writeln!(
        sql,
        "UPDATE {}.{ENVIRONMENTS} SET revoked_at = coalesce(revoked_at, now()) WHERE environment = {};",
        schema.quoted(),
        literal(environment.as_str())
    );
    let there = is_there(&link, &login).await.map_err(failed)?;
    if there {
        let group = guard::group(connections.schema.lock().await.id());
        let _ = writeln!(sql, "REVOKE {} FROM {};", group.quoted(), login.quoted());
    }
    // From here on nothing of the hub is open to it, whatever becomes of the role.
    link.batch_execute(&sql).await.map_err(failed)?;
    let mut revoked = Revoked { login, before, sessions: 0, dropped: !there, notes: Vec::new() };
    if there {
        revoked.lock_out(&link).await?;
        revoked.end_sessions(&link).await?;
    }
    if there && drop {
        let dropped = link.batch_execute(&format!("DROP ROLE {}", revoked.login.quoted())).await;
        dropped.map_err(|error| {
            let error = link.fault("dropping the environment's login", error);
            error.context("login", &revoked.login).advice(
                "it is revoked, and stays so; take from it what it has elsewhere on the server, and revoke it with \
                 --drop again",
            )
        })?;
        revoked.dropped = true;
    }
    Ok(revoked)
}

async fn is_there(client: &Client, login: &Identifier) -> Result<bool, tokio_postgres::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)";
    client.query_typed_one(sql, &[(&login.as_str(), Type::TEXT)]).await?.try_get(0)
}

impl Revoked {
    /// A role that somebody else made may be theirs alone to change.
    async fn lock_out(&mut self, link: &Link) -> Result<()> {
        let sql = format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", self.login.quoted());
        match link.batch_execute(&sql).await {
            Ok(()) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                self.notes.push(format!(
                    "login {} can still log in to the server, though nothing of the hub is open to it; have who made it \
                     run {sql}",
                    self.login
                ));
                Ok(())
            }
            Err(error) => Err(link.fault("taking the login away", error)),
        }
    }

    async fn end_sessions(&mut self, link: &Link) -> Result<()> {
        match end_sessions(link, &self.login).await {
            Ok(sessions) => self.sessions = sessions,
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => self.notes.push(format!(
                "sessions of {} that are open could not be ended, and can neither read nor write the hub any more; a \
                 superuser can end them: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}",
                self.login,
                literal(self.login.as_str()).trim_start()
            )),
            Err(error) => return Err(link.fault("ending the login's sessions", error)),
        }
        Ok(())
    }
}

/// Who may change a role is not therefore a member of it, as ending its sessions takes: so
/// for one transaction, which leaves nothing behind.
async fn end_sessions(client: &Client, login: &Identifier) -> Result<u64, tokio_postgres::Error> {
    // Fenced off by OFFSET: the planner would else be free to end all sessions and then
    // look whose they were.
    let sql = format!(
        "SELECT count(a.pid) FILTER (WHERE pg_catalog.pg_terminate_backend(a.pid, {PATIENCE})) \
         FROM (SELECT pid FROM pg_catalog.pg_stat_activity WHERE usename = $1 OFFSET 0) a"
    );
    let count = async || -> Result<u64, tokio_postgres::Error> {
        let row = client.query_typed_one(&sql, &[(&login.as_str(), Type::TEXT)]).await?;
        Ok(row.try_get::<_, i64>(0)?.unsigned_abs())
    };
    match count().await {
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
        counted => return counted,
    }
    client.batch_execute("BEGIN").await?;
    let granted = client.batch_execute(&format!("GRANT {} TO CURRENT_USER", Quoted(login.as_str()))).await;
    let counted = match granted {
        Ok(()) => count().await,
        Err(error) => Err(error),
    };
    client.batch_execute("ROLLBACK").await?;
    counted
}
