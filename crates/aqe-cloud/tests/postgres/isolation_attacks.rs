//! Attempts of one environment's login to get at what is not its own.
//!
//! Each must fail or change nothing; what counts is the rows afterwards.

use tokio_postgres::Client;

use crate::isolation_world::{World, dummy};
use crate::schema_world::{connect, run};

/// What gives everything that the attacker must not change: others' rows, what concerns
/// everybody, the rules themselves, and who may do what.
fn state_of(world: &World) -> String {
    let rows = |table: &String, which: &str| {
        format!("SELECT string_agg('{table}: ' || t::text, '|' ORDER BY t::text) FROM {table} t WHERE {which}")
    };
    let mut parts: Vec<String> =
        world.tables(true).iter().map(|table| rows(table, "source_env <> 'attacker'")).collect();
    parts.extend(world.tables(false).iter().map(|table| rows(table, "true")));
    parts.extend(
        [
            "SELECT string_agg(p::text, '|' ORDER BY p::text) FROM pg_policies p WHERE schemaname = 'aqe'",
            "SELECT string_agg(format('%s %s %s %s %s', relname, relowner, relacl, relrowsecurity, relforcerowsecurity), \
             '|' ORDER BY relname) FROM pg_class WHERE relnamespace = 'aqe'::regnamespace",
            "SELECT count(*) FROM pg_proc WHERE pronamespace IN ('aqe'::regnamespace, 'public'::regnamespace)",
            "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT count(*) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class \
             WHERE c.relnamespace = 'aqe'::regnamespace",
            "SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent \
             WHERE c.relnamespace = 'aqe'::regnamespace",
        ]
        .map(str::to_owned),
    );
    parts.push(format!(
        "SELECT string_agg(format('%s %s %s %s %s %s', rolname, rolsuper, rolbypassrls, rolcreaterole, rolcanlogin, \
         ARRAY(SELECT roleid FROM pg_auth_members WHERE member = r.oid ORDER BY 1)), '|' ORDER BY rolname) \
         FROM pg_roles r WHERE rolname LIKE '%{}'",
        world.database.name()
    ));
    parts.iter().map(|part| format!("SELECT ({part})::text")).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Tries something; a statement that the server does not even understand proves nothing.
async fn attempt(client: &Client, sql: &str) {
    let tried = client.batch_execute(sql).await;
    let _ = client.batch_execute("ROLLBACK; RESET ALL; RESET ROLE").await;
    if let Err(error) = tried {
        let code = error.code().expect("the server's answer").code().to_owned();
        assert!(!["42601", "42703", "42P01", "42883", "42P10", "22P02"].contains(&code.as_str()), "{sql}: {error:?}");
    }
}

/// What is tried with every table; `row` are a new row's columns and values.
fn at_table(table: &str, with_environment: bool, names: &str, values: &str) -> Vec<String> {
    let mut attempts = vec![
        format!("INSERT INTO {table} ({names}) VALUES ({values})"),
        format!("INSERT INTO {table} SELECT * FROM {table} ON CONFLICT DO NOTHING"),
        format!("UPDATE {table} SET {} = DEFAULT", names.rsplit(", ").next().unwrap_or(names)),
        format!("DELETE FROM {table}"),
        format!("WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone"),
        format!("TRUNCATE {table}"),
        format!("COPY {table} ({names}) FROM PROGRAM 'echo'"),
        format!("COPY {table} TO PROGRAM 'cat'"),
        format!("MERGE INTO {table} t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE"),
        format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT * FROM {table}; FETCH c; DELETE FROM {table} WHERE CURRENT OF c; COMMIT"
        ),
        format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"),
        format!("DROP POLICY aqe_read ON {table}"),
        format!("CREATE POLICY mine ON {table} USING (true) WITH CHECK (true)"),
        format!("ALTER POLICY aqe_read ON {table} USING (false)"),
        format!("ALTER TABLE {table} OWNER TO CURRENT_USER"),
        format!("ALTER TABLE {table} ADD COLUMN mine int"),
        format!("DROP TABLE {table}"),
        format!("GRANT ALL ON {table} TO CURRENT_USER"),
        format!("CREATE INDEX ON {table} ((1))"),
        format!("CREATE RULE mine AS ON UPDATE TO {table} DO INSTEAD NOTHING"),
        format!("CREATE TEMP TABLE heir () INHERITS ({table})"),
        format!(
            "CREATE FUNCTION pg_temp.trap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER mine BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION pg_temp.trap()"
        ),
        format!("CREATE TEMP VIEW window_to AS SELECT * FROM {table}; DELETE FROM window_to"),
        format!("SET row_security = off; DELETE FROM {table}"),
    ];
    if with_environment {
        attempts.extend([
            format!("UPDATE {table} SET source_env = 'attacker'"),
            format!("UPDATE {table} SET source_env = 'victim' WHERE source_env = 'attacker'"),
            format!("UPDATE {table} SET source_env = 'nobody' WHERE source_env = 'attacker'"),
            format!("UPDATE {table} SET source_env = source_env WHERE source_env = 'victim'"),
            format!("SET row_security = off; UPDATE {table} SET source_env = 'attacker'"),
            format!("INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING"),
            format!("MERGE INTO {table} t USING (SELECT 1) s ON t.source_env = 'victim' WHEN MATCHED THEN UPDATE SET source_env = 'attacker'"),
            format!(
                "MERGE INTO {table} t USING (SELECT 1) s ON false WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
            ),
        ]);
    }
    attempts
}

/// What is tried once.
fn at_large(world: &World) -> Vec<String> {
    let (owner, attacker) = (&world.owner, format!("attacker_{}", world.database.name()));
    let group = world.database.psql(
        "SELECT rolname FROM pg_roles WHERE rolname LIKE 'aqe\\_hub\\_%' AND has_schema_privilege(oid, 'aqe', 'USAGE')",
    );
    let write = "UPDATE aqe.patterns SET source_env = source_env";
    let shadow = "CREATE TEMP TABLE environments (environment text, role text, revoked_at timestamptz); \
                  INSERT INTO environments VALUES ('victim', current_user, NULL)";
    let lie = "CREATE FUNCTION pg_temp.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'";
    vec![
        format!("SET ROLE {owner}; {write}"),
        format!("SET ROLE postgres; {write}"),
        format!("SET ROLE {group}; {write}"),
        format!("SET SESSION AUTHORIZATION {owner}; {write}"),
        format!("GRANT {owner} TO {attacker}"),
        format!("GRANT {group} TO {owner}"),
        format!("ALTER ROLE {attacker} BYPASSRLS"),
        format!("ALTER ROLE {attacker} CREATEROLE"),
        format!("ALTER ROLE {attacker} SUPERUSER"),
        format!("ALTER ROLE {attacker} RENAME TO victim_{}x", world.database.name()),
        "CREATE ROLE mine_of_attacker SUPERUSER".to_owned(),
        format!("{shadow}; SET search_path = pg_temp, aqe, pg_catalog; {write}"),
        format!("{lie}; SET search_path = pg_temp, pg_catalog; {write}"),
        "CREATE FUNCTION aqe.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'".to_owned(),
        "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT $1'".to_owned(),
        "CREATE TABLE aqe.mine (id int)".to_owned(),
        "CREATE TABLE public.mine (id int)".to_owned(),
        "CREATE VIEW aqe.mine AS SELECT 1".to_owned(),
        "CREATE SCHEMA mine".to_owned(),
        "CREATE TEMP TABLE probe (env text, id text, FOREIGN KEY (env, id) REFERENCES aqe.patterns ON DELETE CASCADE)"
            .to_owned(),
        "ALTER SCHEMA aqe RENAME TO mine".to_owned(),
        "DROP SCHEMA aqe CASCADE".to_owned(),
        "ALTER DEFAULT PRIVILEGES IN SCHEMA aqe GRANT ALL ON TABLES TO PUBLIC".to_owned(),
        "SELECT pg_read_file('/etc/passwd')".to_owned(),
        "SELECT set_config('role', 'postgres', false)".to_owned(),
        format!("DO $$ BEGIN EXECUTE 'SET LOCAL row_security = off'; {write}; END $$"),
        "CREATE FUNCTION pg_temp.mine() RETURNS void LANGUAGE sql SECURITY DEFINER AS \
         'UPDATE aqe.patterns SET source_env = source_env'; SELECT pg_temp.mine()"
            .to_owned(),
        "INSERT INTO aqe.environments VALUES ('victim2', current_user, now(), NULL)".to_owned(),
        "UPDATE aqe.environments SET environment = 'victim' WHERE role = current_user".to_owned(),
        "UPDATE aqe.environments SET revoked_at = now() WHERE role <> current_user".to_owned(),
        "INSERT INTO aqe.fleet_excluded VALUES ('victim', now(), 'me') ON CONFLICT DO NOTHING".to_owned(),
        "INSERT INTO aqe.hub_info VALUES ('hub_id', 'mine') ON CONFLICT (key) DO UPDATE SET value = 'mine'".to_owned(),
        "INSERT INTO aqe.sync_versions VALUES ('victim', 'patterns', 0) ON CONFLICT (source_env, table_name) \
         DO UPDATE SET version = 0"
            .to_owned(),
        "INSERT INTO aqe.sync_versions (source_env, table_name, version) SELECT source_env, table_name, 0 \
         FROM aqe.sync_versions WHERE source_env = 'victim' ON CONFLICT (source_env, table_name) \
         DO UPDATE SET source_env = 'attacker'"
            .to_owned(),
    ]
}

#[test]
fn no_statement_of_one_environments_login_changes_what_is_not_its_own() {
    let world = World::new();
    let attacker = world.login("attacker");
    world.login("victim");
    world.fill("victim");
    // PostgreSQL 14 has no MERGE.
    let merges = world.database.psql("SELECT current_setting('server_version_num')::int >= 150000") == "t";
    let state = state_of(&world);
    let before = world.database.psql(&state);
    assert!(before.matches("of victim").count() > 20, "there is something to lose: {before}");
    run(async {
        let url = world.url_of(&attacker);
        let client = connect(&url).await;
        for with_environment in [true, false] {
            for table in world.tables(with_environment) {
                let columns = world.required(&table);
                let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let new =
                    |name: &str, kind: &str| dummy(name, kind, "victim").replace("'of victim'", "'new of victim'");
                let values: Vec<String> = columns.iter().map(|(name, kind)| new(name, kind)).collect();
                let attempts = at_table(&table, with_environment, &names.join(", "), &values.join(", "));
                for sql in attempts.into_iter().filter(|sql| merges || !sql.starts_with("MERGE")) {
                    attempt(&client, &sql).await;
                }
                let copy = format!("COPY {table} ({}) FROM STDIN", names.join(", "));
                let copying = connect(&url).await.copy_in::<_, bytes::Bytes>(&copy).await.map(drop);
                let refusal = copying.expect_err(&copy);
                assert!(refusal.code().is_some(), "it is the server that refuses {copy}: {refusal:?}");
            }
            let now = world.database.psql(&state);
            assert!(now == before, "somewhere in the tables:\n{before}\n\n{now}");
        }
        for sql in at_large(&world) {
            attempt(&client, &sql).await;
            let now = world.database.psql(&state);
            assert!(now == before, "{sql}:\n{before}\n\n{now}");
        }
        assert!(client.query("SELECT rolpassword FROM pg_authid", &[]).await.is_err(), "no verifier is readable");
        // What a login may do works, so that it was no accident that all of that did not.
        let seen: i64 = client.query_one("SELECT count(source_env) FROM aqe.patterns", &[]).await.unwrap().get(0);
        assert_eq!(seen, 1, "others' rows are there to be read");
    });
}

#[test]
fn a_login_adds_and_changes_its_own_rows_and_deletes_none_but_its_notes() {
    let world = World::new();
    let own = world.login("own");
    world.login("other");
    world.fill("other");
    run(async {
        let client = connect(&world.url_of(&own)).await;
        for table in world.tables(true).iter().filter(|table| *table != "aqe.fleet_excluded") {
            let columns = world.required(table);
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let values: Vec<String> = columns.iter().map(|(name, kind)| dummy(name, kind, "own")).collect();
            let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
            assert_eq!(client.execute(&insert, &[]).await.unwrap(), 1, "{table}");
            let update = client.execute(&format!("UPDATE {table} SET source_env = source_env"), &[]).await;
            let delete = client.execute(&format!("DELETE FROM {table}"), &[]).await;
            let appended = ["aqe.sync_history", "aqe.conflict_log"].contains(&table.as_str());
            assert_eq!(update.ok(), (!appended).then_some(1), "{table}: of all rows its own");
            assert_eq!(
                delete.ok(),
                ["aqe.fleet_kept", "aqe.vectors", "aqe.dead_letters"].contains(&table.as_str()).then_some(1),
                "{table}: of all rows its own"
            );
        }
    });
}

/// Whoever knew the key of somebody's letter or run before could have taken it.
#[test]
fn nobody_is_in_the_way_of_anothers_letters_and_runs() {
    let world = World::new();
    let (attacker, victim) = (world.login("attacker"), world.login("victim"));
    run(async {
        for (login, environment) in [(attacker, "attacker"), (victim, "victim")] {
            let client = connect(&world.url_of(&login)).await;
            for (table, key) in [("dead_letters", "id"), ("sync_history", "run_id")] {
                let columns = world.required(&format!("aqe.{table}"));
                let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let value =
                    |name: &str, kind: &str| if name == key { "'same'".into() } else { dummy(name, kind, environment) };
                let values: Vec<String> = columns.iter().map(|(name, kind)| value(name, kind)).collect();
                let (names, values) = (names.join(", "), values.join(", "));
                let sql = format!("INSERT INTO aqe.{table} ({names}) VALUES ({values})");
                client.batch_execute(&sql).await.unwrap();
            }
        }
    });
}
