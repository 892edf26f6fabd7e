//! Looking a hub over: what is in order, what is not, and what to do about it.

mod contents;
mod server;
mod sessions;
mod thresholds;

use aqe_sync_core::{Identifier, Quoted, Result};
use serde::Serialize;
use tokio_postgres::{Client, Error, Row};

use super::connections::Dialing;
use super::hub::HubBuilder;
use super::link::Link;

pub use thresholds::{
    CLOCK_CRITICAL, CLOCK_WARNING, FREE_CONNECTIONS, LOCK_HELD, LONG_TRANSACTION, SHORTEST_LIMITS, Thresholds,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// This user may not see how it is.
    Unknown,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Critical,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do; nothing when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    /// Says that something is in order.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, severity: Severity::Ok, found: found.into(), advice: None }
    }

    /// Says that this user may not see how something is.
    pub fn unknown(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Unknown, found: found.into(), advice: Some(advice.into()) }
    }

    /// Says that something should be looked at.
    pub fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    /// Says that something does not work.
    pub fn critical(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, severity: Severity::Critical, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Looks a hub over. Changes nothing, and goes on after a problem where it can.
pub fn examine(builder: HubBuilder) -> Vec<Check> {
    examine_with(builder, &Thresholds::default())
}

/// As [`examine`], with other ideas of what takes too long.
pub fn examine_with(builder: HubBuilder, thresholds: &Thresholds) -> Vec<Check> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Check::critical("connection", error.to_string(), "free some memory and threads")],
    };
    let (dialing, schema) = builder.into_parts();
    runtime.block_on(look(&dialing, &schema, thresholds))
}

async fn look(dialing: &Dialing, schema: &Identifier, thresholds: &Thresholds) -> Vec<Check> {
    let address = &dialing.address;
    let mut checks: Vec<Check> = address
        .warnings()
        .iter()
        .map(|warning| Check::warning("password file", warning, "run chmod 600 on it"))
        .collect();
    checks.extend(dialing.connector.examine(address).await);
    let link = match dialing.bare().await {
        Ok(link) => link,
        Err(error) => {
            checks.push(Check::critical("connection", error.to_string(), "nothing else could be looked at"));
            return checks;
        }
    };
    let password = address.password_origin().map(|origin| format!(", with the password from {origin}"));
    checks.push(Check::ok("connection", format!("logged in to {}{}", address.shown(), password.unwrap_or_default())));
    for (name, asked) in [
        ("encryption", server::encryption(&link, address, dialing.connector.protection()).await),
        ("server", server::server(&link).await),
        ("connections", server::connections(&link).await),
        ("clock", server::clock(&link).await),
        ("temporary tables", server::temporary_tables(&link).await),
        ("limits", server::limits(&link).await),
        ("locks", sessions::locks(&link, schema, thresholds).await),
        ("transactions", sessions::transactions(&link, thresholds).await),
    ] {
        checks.extend(answered(&link, name, asked));
    }
    contents::hub(&link, schema, &mut checks).await;
    checks
}

/// What a question brought, or why it could not be asked.
fn answered(link: &Link, name: &'static str, asked: Result<Vec<Check>, Error>) -> Vec<Check> {
    asked.unwrap_or_else(|error| {
        let error = link.fault("asking the server", error);
        vec![Check::unknown(name, error.to_string(), "this could not be looked at")]
    })
}

async fn one(client: &Client, sql: &str) -> Result<Row, Error> {
    client.query_typed_one(sql, &[]).await
}

/// The user as SQL names it.
fn grantee(user: &str) -> String {
    Quoted(user).to_string()
}
