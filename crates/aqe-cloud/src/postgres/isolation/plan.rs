//! What it takes to give an environment its login.

use std::fmt::Write as _;

use aqe_sync_core::{Environment, Error, ErrorKind, Identifier, Result};
use postgres_types::Type;
use tokio_postgres::Client;

use super::login::{suggested_login, verifier};
use crate::postgres::connections::Connections;
use crate::postgres::hub::PostgresHub;
use crate::postgres::link::Secret;
use crate::postgres::schema::guard::{self, ENVIRONMENTS};
use crate::postgres::schema::{self, literal};

/// An environment that is to have a login of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEnvironment {
    environment: Environment,
    login: Option<Identifier>,
    rotate: bool,
}

impl NewEnvironment {
    /// An environment, with a login named after it.
    pub fn new(environment: Environment) -> Self {
        Self { environment, login: None, rotate: false }
    }

    /// Names the login. One that is there is taken as it is, password included, unless it
    /// may do more than an environment's login should.
    #[must_use]
    pub fn login(mut self, name: Identifier) -> Self {
        self.login = Some(name);
        self
    }

    /// Gives a login that is there a new password.
    #[must_use]
    pub fn rotate(mut self) -> Self {
        self.rotate = true;
        self
    }
}

/// What happens to the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// It logs in again, with a new password.
    Restore,
    Rotate,
    Keep,
}

/// What would be done to give an environment its login; nothing is done yet.
#[derive(Clone, Debug)]
pub struct EnvironmentPlan {
    environment: Environment,
    login: Identifier,
    schema: Identifier,
    group: Identifier,
    /// What keeps environments apart, as far as it is missing.
    guard: String,
    begins: bool,
    step: Step,
    joins: bool,
    maps: bool,
}

impl EnvironmentPlan {
    /// The environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The login that it gets, or has.
    pub fn login(&self) -> &Identifier {
        &self.login
    }

    /// Whether all of it is done already.
    pub fn is_done(&self) -> bool {
        self.guard.is_empty() && self.step == Step::Keep && !self.joins && !self.maps
    }

    /// Whether the login gets a new password.
    pub fn gives_password(&self) -> bool {
        self.step != Step::Keep
    }

    /// Whether this is what begins to keep the hub's environments apart.
    pub fn begins(&self) -> bool {
        self.begins
    }

    /// The SQL for a person, who sets the password another way: it is not in it.
    pub fn script(&self) -> String {
        let mut sql = format!("-- Environment {} of a hub, for its owner.\nBEGIN;\n", commented(&self.environment));
        sql.push_str(&self.sql(None));
        sql.push_str("COMMIT;\n");
        if self.gives_password() {
            // psql makes the verifier itself, so that the password does not reach the server.
            let _ = writeln!(sql, "-- Then, in psql, give the login its password: \\password {}", self.login.quoted());
        }
        sql
    }

    /// The statements, for one transaction.
    pub(super) fn sql(&self, password: Option<&Secret>) -> String {
        let (login, schema) = (self.login.quoted(), self.schema.quoted());
        let mut sql = schema::lock(&self.schema) + &self.guard;
        let password = password.map(|password| format!(" PASSWORD '{}'", verifier(password))).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = match self.step {
            Step::Create => writeln!(sql, "CREATE ROLE {login} LOGIN{password};"),
            Step::Restore => writeln!(sql, "ALTER ROLE {login} LOGIN{password};"),
            Step::Rotate if !password.is_empty() => writeln!(sql, "ALTER ROLE {login}{password};"),
            Step::Rotate | Step::Keep => Ok(()),
        };
        if self.joins {
            let _ = writeln!(sql, "GRANT {} TO {login};", self.group.quoted());
        }
        if self.maps {
            let _ = writeln!(
                sql,
                "INSERT INTO {schema}.{ENVIRONMENTS} (environment, role, created_at) VALUES ({}, {}, now())\n  \
                 ON CONFLICT (environment) DO UPDATE SET role = excluded.role, revoked_at = NULL;",
                literal(self.environment.as_str()),
                literal(self.login.as_str())
            );
        }
        sql
    }
}

/// A name that cannot end a comment.
fn commented(name: &Environment) -> String {
    name.as_str().escape_debug().to_string()
}

impl PostgresHub {
    /// Finds out what it takes to give an environment its login. Changes nothing.
    ///
    /// # Errors
    /// When the hub cannot be read; when the environment has another login, or the login
    /// is another environment's, somebody else's, or may do too much.
    pub fn plan_environment(&self, wanted: &NewEnvironment) -> Result<EnvironmentPlan> {
        let (connections, wanted) = (self.connections.clone(), wanted.clone());
        futures::executor::block_on(self.run(async move { plan(&connections, wanted).await }))
    }
}

async fn plan(connections: &Connections, wanted: NewEnvironment) -> Result<EnvironmentPlan> {
    let NewEnvironment { environment, login, rotate } = wanted;
    let schema = &connections.dialect.schema;
    let (hub, guard, guarded) = {
        let hub = connections.schema.lock().await;
        (hub.id().to_owned(), hub.guard_due(), hub.is_guarded())
    };
    let link = connections.asking().await?;
    let failed = |error| link.fault("looking for the environment's login", error);
    let recorded = recorded(&link, schema, &environment).await.map_err(failed)?;
    let named = login.is_some();
    let login = match (login, &recorded) {
        (Some(login), _) => login,
        (None, Some((role, _))) => Identifier::new(role)?,
        (None, None) => suggested_login(&hub, &environment),
    };
    let refused = |what: String, advice: String| {
        Error::new(ErrorKind::Refused, what).context("environment", &environment).advice(advice)
    };
    let own = recorded.as_ref().is_some_and(|(role, _)| role == login.as_str());
    let active = matches!(recorded, Some((_, false)));
    if let Some((role, false)) = recorded.as_ref().filter(|_| !own) {
        return Err(refused(
            format!("the environment has the login {role} already"),
            format!("use that; or run aqe-sync env revoke {environment} first"),
        ));
    }
    if let Some(other) = holder(&link, schema, &login, &environment).await.map_err(failed)? {
        return Err(refused(
            format!("login {login} is environment {other}'s"),
            "name another login with --role: each writes one environment".to_owned(),
        ));
    }
    let group = guard::group(&hub);
    let role = Role::find(&link, schema, &login, &group).await.map_err(failed)?;
    let step = match &role {
        None => Step::Create,
        Some(role) => {
            role.check(&login, own, named).map_err(|(what, advice)| refused(what, advice))?;
            match (own && !(active && role.can_login), rotate) {
                (true, _) => Step::Restore,
                (false, true) => Step::Rotate,
                (false, false) => Step::Keep,
            }
        }
    };
    Ok(EnvironmentPlan {
        guard: guard.unwrap_or_default(),
        begins: !guarded,
        joins: role.is_none_or(|role| !role.member),
        maps: !own || !active,
        schema: schema.clone(),
        environment,
        login,
        group,
        step,
    })
}

/// The login that an environment has on record, and whether it was revoked.
pub(super) async fn recorded(
    client: &Client,
    schema: &Identifier,
    environment: &Environment,
) -> Result<Option<(String, bool)>, tokio_postgres::Error> {
    let sql =
        format!("SELECT role, revoked_at IS NOT NULL FROM {}.{ENVIRONMENTS} WHERE environment = $1", schema.quoted());
    let rows = client.query_typed(&sql, &[(&environment.as_str(), Type::TEXT)]).await?;
    rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Which other environment a login belongs to.
async fn holder(
    client: &Client,
    schema: &Identifier,
    login: &Identifier,
    environment: &Environment,
) -> Result<Option<String>, tokio_postgres::Error> {
    let sql =
        format!("SELECT environment FROM {}.{ENVIRONMENTS} WHERE role = $1 AND environment <> $2", schema.quoted());
    let parameters = [(&login.as_str() as _, Type::TEXT), (&environment.as_str() as _, Type::TEXT)];
    client.query_typed(&sql, &parameters).await?.first().map(|row| row.try_get(0)).transpose()
}

/// A role that is there.
struct Role {
    can_login: bool,
    member: bool,
    /// What it may do that would let it around the rules.
    too_much: Option<String>,
}

impl Role {
    /// Whether it can be an environment's login: `own` is this one's already, `named` was
    /// asked for by name. Else what is in the way, and what to do.
    fn check(&self, login: &Identifier, own: bool, named: bool) -> std::result::Result<(), (String, String)> {
        if let Some(too_much) = &self.too_much {
            return Err((
                format!("login {login} may do more than an environment's login should: it {too_much}"),
                "name another login with --role".to_owned(),
            ));
        }
        if !own && !named {
            return Err((
                format!("there is a login {login} already, and it is no environment's of this hub"),
                "name another login with --role; or the same, to take it as it is".to_owned(),
            ));
        }
        if !own && !self.can_login {
            return Err((
                format!("role {login} is none that can log in"),
                "name another with --role; or let it log in with ALTER ROLE … LOGIN".to_owned(),
            ));
        }
        Ok(())
    }

    async fn find(
        client: &Client,
        schema: &Identifier,
        login: &Identifier,
        group: &Identifier,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let sql = format!(
            "SELECT r.rolcanlogin, \
             EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
             WHERE m.member = r.oid AND g.rolname = $2), \
             CASE WHEN r.rolsuper THEN 'is a superuser' WHEN r.rolbypassrls THEN 'passes row-level security by' \
             WHEN r.rolcreaterole THEN 'may make roles' WHEN r.rolreplication THEN 'may replicate the server' \
             WHEN pg_catalog.pg_has_role(r.oid, (SELECT c.relowner FROM pg_catalog.pg_class c \
             WHERE c.oid = {info}::pg_catalog.regclass), 'MEMBER') THEN 'is, or can become, the hub''s owner' \
             ELSE (SELECT 'is a member of ' || min(p.rolname::text) FROM pg_catalog.pg_roles p \
             WHERE p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files') \
             AND pg_catalog.pg_has_role(r.oid, p.oid, 'MEMBER')) END \
             FROM pg_catalog.pg_roles r WHERE r.rolname = $1",
            info = literal(&format!("{}.hub_info", schema.quoted())),
        );
        let parameters = [(&login.as_str() as _, Type::TEXT), (&group.as_str() as _, Type::TEXT)];
        let rows = client.query_typed(&sql, &parameters).await?;
        let role = |row: &tokio_postgres::Row| {
            Ok(Self { can_login: row.try_get(0)?, member: row.try_get(1)?, too_much: row.try_get(2)? })
        };
        rows.first().map(role).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, step: Step) -> EnvironmentPlan {
        let identifier = |name: &str| Identifier::new(name).unwrap();
        EnvironmentPlan {
            environment: name.into(),
            login: identifier("log\"in"),
            schema: identifier("a\"qe"),
            group: identifier("group"),
            guard: String::new(),
            begins: false,
            step,
            joins: true,
            maps: true,
        }
    }

    #[test]
    fn no_statement_and_no_script_holds_the_password() {
        let secret = Secret::new("hunter2");
        for step in [Step::Create, Step::Restore, Step::Rotate, Step::Keep] {
            let plan = plan("ci", step);
            let sql = plan.sql(Some(&secret));
            assert!(!sql.contains("hunter2") && !plan.script().contains("PASSWORD"), "{sql}");
            assert_eq!(sql.contains("PASSWORD 'SCRAM-SHA-256$"), plan.gives_password(), "{sql}");
        }
    }

    #[test]
    fn names_stay_inside_their_quotes() {
        let plan = plan("it's\\'; DROP TABLE x; --", Step::Create);
        let sql = plan.sql(None);
        assert!(sql.contains(r#"CREATE ROLE "log""in" LOGIN;"#), "{sql}");
        assert!(sql.contains(r"E'it''s\\''; DROP TABLE x; --', 'log"), "{sql}");
        assert!(sql.contains(r#"INSERT INTO "a""qe".environments"#), "{sql}");
    }
}
