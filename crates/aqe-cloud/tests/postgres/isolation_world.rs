//! A hub whose environments are kept apart, with an owner who is no superuser.

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::isolation::{NewEnvironment, random_password};
use aqe_cloud::postgres::link::AddressParts;
use aqe_cloud::postgres::schema::Setup;
use aqe_sync_core::{Identifier, tables};
use aqe_sync_workspace::postgres::{Cluster, Database};
use futures::executor::block_on;

/// A database, its hub's owner, and logins; everything goes with the test.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) owner: String,
}

impl World {
    /// With all tables of the catalogue, and nobody kept apart yet.
    pub(crate) fn new() -> Self {
        let database = Cluster::shared().database();
        let owner = format!("owner_{}", database.name());
        database
            .psql(&format!("CREATE USER {owner} CREATEROLE; GRANT CREATE ON DATABASE {} TO {owner}", database.name()));
        let world = Self { database, owner };
        block_on(world.hub().prepare_all(tables::all())).unwrap();
        world
    }

    pub(crate) fn url_of(&self, user: &str) -> String {
        format!("{}?user={user}", self.database.url())
    }

    /// The hub as its owner opens it.
    pub(crate) fn hub(&self) -> PostgresHub {
        self.open(&self.owner)
    }

    pub(crate) fn open(&self, user: &str) -> PostgresHub {
        self.try_open(user).unwrap()
    }

    pub(crate) fn try_open(&self, user: &str) -> aqe_sync_core::Result<PostgresHub> {
        PostgresHub::builder(AddressParts::parse(&self.url_of(user))?.build()?).setup(Setup::default()).open()
    }

    /// Gives an environment its login, named so that no other test has it.
    pub(crate) fn login(&self, environment: &str) -> String {
        let name = format!("{environment}_{}", self.database.name());
        self.make(&NewEnvironment::new(environment.into()).login(Identifier::new(&name).unwrap())).unwrap()
    }

    pub(crate) fn make(&self, wanted: &NewEnvironment) -> aqe_sync_core::Result<String> {
        let hub = self.hub();
        let plan = hub.plan_environment(wanted)?;
        let password = plan.gives_password().then(random_password).transpose()?;
        hub.make_environment(&plan, password.as_ref())?;
        Ok(plan.login().to_string())
    }

    /// One line per row that the query gives.
    pub(crate) fn asked(&self, sql: &str) -> Vec<String> {
        self.database.psql(sql).lines().map(str::to_owned).collect()
    }

    /// Puts a row of that environment into every table that has environments.
    pub(crate) fn fill(&self, environment: &str) {
        for table in self.tables(true) {
            let columns = self.required(&table);
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let values: Vec<String> = columns.iter().map(|(name, kind)| dummy(name, kind, environment)).collect();
            self.database.psql(&format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", ")));
        }
    }

    /// The hub's tables as the server lists them: those with environments, or the others.
    pub(crate) fn tables(&self, with_environment: bool) -> Vec<String> {
        let tables = self.asked(&format!(
            "SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'aqe'::regnamespace AND c.relkind = 'r' \
             AND {with_environment} = EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = \
             'source_env') ORDER BY 1::text"
        ));
        assert!(tables.len() > 2, "{tables:?}");
        tables
    }

    /// Columns of a table that refuse NULL, with their types.
    pub(crate) fn required(&self, table: &str) -> Vec<(String, String)> {
        let columns = self.asked(&format!(
            "SELECT quote_ident(attname) || ' ' || format_type(atttypid, NULL) FROM pg_attribute \
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attnotnull ORDER BY attnum"
        ));
        columns.iter().filter_map(|line| line.split_once(' ')).map(|(name, kind)| (name.into(), kind.into())).collect()
    }
}

/// A value for a column that refuses NULL.
pub(crate) fn dummy(name: &str, kind: &str, environment: &str) -> String {
    match (name, kind) {
        ("source_env", _) => format!("'{environment}'"),
        (_, "text") => format!("'of {environment}'"),
        (_, "bigint" | "integer" | "double precision") => "1".to_owned(),
        (_, "boolean") => "true".to_owned(),
        (_, "jsonb" | "text[]" | "real[]") => "'{}'".to_owned(),
        (_, "bytea") => format!("'{environment}'::bytea"),
        (_, "uuid") => "gen_random_uuid()".to_owned(),
        (_, "timestamp with time zone") => "now()".to_owned(),
        _ => panic!("no value for {name} {kind}"),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let logins = "SELECT r.rolname FROM pg_roles r WHERE r.rolname IN (SELECT role FROM aqe.environments) OR \
                      r.rolname LIKE 'aqe\\_hub\\_%' AND has_schema_privilege(r.oid, 'aqe', 'USAGE')";
        let mut roles: Vec<String> =
            self.database.try_psql(logins).unwrap_or_default().lines().map(str::to_owned).collect();
        roles.push(self.owner.clone());
        let sql: Vec<String> = roles.iter().map(|role| format!("DROP OWNED BY \"{role}\"")).collect();
        let drops: Vec<String> = roles.iter().map(|role| format!("DROP ROLE \"{role}\"")).collect();
        // The database is dropped anyway; what is left of a failed test's roles does no harm.
        let _ = self.database.try_psql(&format!("{}; {}", sql.join("; "), drops.join("; ")));
    }
}
