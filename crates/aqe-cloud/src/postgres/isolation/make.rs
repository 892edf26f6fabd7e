//! Carries out what was planned.

use aqe_sync_core::{Error, Identifier, Quoted, Result};
use postgres_types::Type;
use tokio_postgres::Client;

use super::Authority;
use super::plan::EnvironmentPlan;
use crate::postgres::connections::Connections;
use crate::postgres::hub::PostgresHub;
use crate::postgres::link::Secret;

impl PostgresHub {
    /// Says whether this login may give environments logins and take them away.
    ///
    /// # Errors
    /// When it is not the hub's owner, or may not make logins.
    pub fn check_makes_environments(&self) -> Result<()> {
        let connections = self.connections.clone();
        futures::executor::block_on(self.run(async move {
            let link = connections.asking().await?;
            Authority::require(&link, &connections.dialect).await
        }))
    }

    /// Gives an environment its login, as planned: all of it, or nothing. Says what a
    /// person should know about it.
    ///
    /// From the first one on, the hub keeps environments apart: logins that are none of
    /// them, the owner's excepted, write nothing any more.
    ///
    /// # Errors
    /// When this login is not the hub's owner, may not make logins, or the server refuses;
    /// when the plan gives a password and there is none.
    pub fn make_environment(&self, plan: &EnvironmentPlan, password: Option<&Secret>) -> Result<Vec<String>> {
        if plan.gives_password() && password.is_none() {
            return Err(Error::internal("a login was to get a password, and none was given"));
        }
        let (connections, plan, password) = (self.connections.clone(), plan.clone(), password.cloned());
        futures::executor::block_on(self.run(async move { make(&connections, &plan, password.as_ref()).await }))
    }
}

async fn make(connections: &Connections, plan: &EnvironmentPlan, password: Option<&Secret>) -> Result<Vec<String>> {
    let link = connections.asking().await?;
    let failed = |error| link.fault("making the environment's login", error);
    Authority::require(&link, &connections.dialect).await?;
    if !plan.is_done() {
        link.batch_execute(&plan.sql(password)).await.map_err(failed)?;
    }
    notes(&link, &connections.dialect.schema, plan.login().as_str()).await.map_err(failed)
}

/// What the database allows or refuses beside our own tables.
async fn notes(client: &Client, schema: &Identifier, login: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let sql = "SELECT current_database()::text, \
               pg_catalog.has_database_privilege($1, current_database(), 'CONNECT'), \
               pg_catalog.has_database_privilege($1, current_database(), 'TEMPORARY'), \
               coalesce((SELECT pg_catalog.has_schema_privilege($1, n.oid, 'CREATE') FROM pg_catalog.pg_namespace n \
               WHERE n.nspname = 'public'), false), \
               (SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'everybody' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END, ', ') \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a \
               WHERE n.nspname = $2 AND c.relkind = 'r' AND a.grantee <> c.relowner \
               AND a.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES'))";
    let row = client.query_typed_one(sql, &[(&login, Type::TEXT), (&schema.as_str(), Type::TEXT)]).await?;
    let database: String = row.try_get(0)?;
    let (database, grantee) = (Quoted(&database), Quoted(login));
    let mut notes = Vec::new();
    for (position, privilege) in [(1, "CONNECT"), (2, "TEMPORARY")] {
        if !row.try_get::<_, bool>(position)? {
            notes.push(format!(
                "login {login} lacks {privilege} on the database; have its owner run GRANT {privilege} ON DATABASE \
                 {database} TO {grantee}"
            ));
        }
    }
    if row.try_get(3)? {
        notes.push(
            "everybody may make functions in schema public of this database, also such as are taken for the server's \
             own by others; have its owner run REVOKE CREATE ON SCHEMA public FROM PUBLIC"
                .to_owned(),
        );
    }
    if let Some(grantees) = row.try_get::<_, Option<String>>(4)? {
        notes.push(format!(
            "{grantees} may empty tables of the hub or put triggers on them, which row-level security does not concern; \
             run REVOKE TRUNCATE, TRIGGER, REFERENCES ON ALL TABLES IN SCHEMA {} FROM each",
            schema.quoted()
        ));
    }
    Ok(notes)
}
