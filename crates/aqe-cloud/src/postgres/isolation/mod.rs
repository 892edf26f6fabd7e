//! Environments that are kept apart: each has a login of its own, which may write that
//! environment's rows, read everybody's, and nothing else.
//!
//! ```no_run
//! use aqe_cloud::postgres::isolation::{NewEnvironment, random_password};
//! use aqe_cloud::postgres::{PostgresHub, link::AddressParts};
//!
//! # fn main() -> aqe_sync_core::Result<()> {
//! let address = AddressParts::parse("postgres://admin@db.example/memory")?.build()?;
//! let hub = PostgresHub::builder(address).existing().open()?;
//! let plan = hub.plan_environment(&NewEnvironment::new("ci".into()))?;
//! let password = plan.gives_password().then(random_password).transpose()?;
//! let notes = hub.make_environment(&plan, password.as_ref())?;
//! println!("{} logs in as {}; {notes:?}", plan.environment(), plan.login());
//! # Ok(())
//! # }
//! ```
//!
//! The rules are the server's: row-level security on every table. Why they are as they are
//! is in `docs/adr/0017-isolation.md`.

mod list;
mod login;
mod make;
mod plan;
mod revoke;

pub use list::{EnvironmentLogin, Listed};
pub use login::{random_password, suggested_login};
pub use plan::{EnvironmentPlan, NewEnvironment};
pub use revoke::Revoked;

use aqe_sync_core::{Environment, Error, ErrorKind, Result};
use tokio_postgres::Client;

use super::connections::Connections;
use super::hub::PostgresHub;
use super::link::Link;
use super::schema::literal;
use super::statements::Dialect;

impl PostgresHub {
    /// Says whether the login may write an environment's rows, before anything is sent.
    ///
    /// # Errors
    /// When it may not: the hub keeps environments apart, and the login is another one's.
    pub fn check_writer(&self, environment: &Environment) -> Result<()> {
        self.connections.check_writer(environment)
    }
}

impl Connections {
    /// Whether this login may write an environment's rows.
    pub(super) fn check_writer(&self, environment: &Environment) -> Result<()> {
        let checked = self.writer.check(&self.login, environment);
        checked.map_err(|error| error.context("hub", self.dialing.address.shown()))
    }
}

/// What the hub's owner has to be able to do, as the server says.
struct Authority {
    user: String,
    owner: bool,
    makes_roles: bool,
}

impl Authority {
    /// Whether the login is the hub's owner and may make logins, before anything is tried.
    async fn require(link: &Link, dialect: &Dialect) -> Result<()> {
        let authority = Self::of(link, &dialect.own("hub_info")).await;
        authority.map_err(|error| link.fault("asking what this login may do", error))?.check()
    }

    async fn of(client: &Client, owned: &str) -> Result<Self, tokio_postgres::Error> {
        let sql = format!(
            "SELECT current_user::text, pg_catalog.pg_has_role(c.relowner, 'USAGE'), r.rolsuper OR r.rolcreaterole \
             FROM pg_catalog.pg_class c, pg_catalog.pg_roles r \
             WHERE c.oid = {}::pg_catalog.regclass AND r.rolname = current_user",
            literal(owned)
        );
        let row = client.query_typed_one(&sql, &[]).await?;
        Ok(Self { user: row.try_get(0)?, owner: row.try_get(1)?, makes_roles: row.try_get(2)? })
    }

    fn check(&self) -> Result<()> {
        let user = &self.user;
        let (what, advice) = if !self.owner {
            (
                format!("user {user} is not the hub's owner, who alone says which login writes which environment"),
                "use the login that made the hub".to_owned(),
            )
        } else if !self.makes_roles {
            (
                format!("user {user} may not make logins on this server"),
                format!(
                    "have a superuser run ALTER ROLE {} CREATEROLE; or run the SQL that aqe-sync env create NAME --print \
                     shows as somebody who may",
                    aqe_sync_core::Quoted(user)
                ),
            )
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::PermissionDenied, what).advice(advice))
    }
}
