//! Who writes what.

use aqe_sync_core::Result;
use aqe_sync_core::overview::EnvironmentOverview;
use serde::Serialize;
use tokio_postgres::Client;

use crate::postgres::connections::Connections;
use crate::postgres::hub::PostgresHub;
use crate::postgres::schema::guard::ENVIRONMENTS;
use crate::postgres::wire::moment;

/// One environment of the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EnvironmentLogin {
    /// Its name.
    pub environment: String,
    /// The login that was made for it; none where only the hub's owner can write it, or anybody.
    pub role: Option<String>,
    /// Whether that login can be used: it is not revoked, and the role is there.
    pub active: bool,
    /// When it first got a login.
    pub created_at: Option<String>,
    /// When its login was revoked.
    pub revoked_at: Option<String>,
    /// When one of its streams was last synced.
    pub last_synced: Option<String>,
    /// How many live rows it has.
    pub rows: u64,
}

/// The environments of a hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Whether the hub keeps them apart.
    pub isolated: bool,
    /// All that have rows, or a login, by name.
    pub environments: Vec<EnvironmentLogin>,
}

impl PostgresHub {
    /// Lists environments with their logins.
    ///
    /// # Errors
    /// When the hub cannot be read.
    pub fn environments(&self) -> Result<Listed> {
        let seen = self.overview()?.environments;
        let connections = self.connections.clone();
        let listed = self.run(async move {
            let isolated = connections.schema.lock().await.is_guarded();
            let logins = logins(&connections).await?;
            Ok(Listed { isolated, environments: joined(seen, logins) })
        });
        futures::executor::block_on(listed)
    }
}

fn joined(seen: Vec<EnvironmentOverview>, mut all: Vec<EnvironmentLogin>) -> Vec<EnvironmentLogin> {
    for overview in seen {
        let position = all.iter().position(|each| each.environment == overview.environment).unwrap_or_else(|| {
            all.push(EnvironmentLogin { environment: overview.environment, ..EnvironmentLogin::default() });
            all.len() - 1
        });
        all[position].rows = overview.streams.iter().map(|stream| stream.rows).sum();
        all[position].last_synced = overview.streams.into_iter().filter_map(|stream| stream.last_synced).max();
    }
    all.sort_by(|one, other| one.environment.cmp(&other.environment));
    all
}

async fn logins(connections: &Connections) -> Result<Vec<EnvironmentLogin>> {
    let table = connections.dialect.own(ENVIRONMENTS);
    let ask = |link: std::sync::Arc<crate::postgres::link::Link>| {
        let table = &table;
        async move { read(&link, table).await.map_err(|error| link.fault("reading the environments' logins", error)) }
    };
    connections.ask(ask).await
}

async fn read(client: &Client, table: &str) -> Result<Vec<EnvironmentLogin>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT e.environment, e.role, e.created_at, e.revoked_at, coalesce(r.rolcanlogin, false) \
         FROM {table} e LEFT JOIN pg_catalog.pg_roles r ON r.rolname = e.role ORDER BY 1"
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let logins = rows.iter().map(|row| {
        let shown = |index| moment(row, index).map(|moment| moment.map(|moment| moment.to_string()));
        let revoked_at = shown(3)?;
        Ok(EnvironmentLogin {
            environment: row.try_get(0)?,
            role: row.try_get(1)?,
            active: revoked_at.is_none() && row.try_get(4)?,
            created_at: shown(2)?,
            revoked_at,
            ..EnvironmentLogin::default()
        })
    });
    logins.collect()
}
