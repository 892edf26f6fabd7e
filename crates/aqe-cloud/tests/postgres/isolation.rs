//! Logins of environments: how they come and go, and what they can do.

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::isolation::{NewEnvironment, random_password, suggested_login};
use aqe_cloud::postgres::link::AddressParts;
use aqe_sync_core::fleet::FleetHub as _;
use aqe_sync_core::{ColumnType, Error, ErrorKind, Identifier, Sink as _, TableSpec, Value, tables};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;

use crate::isolation_world::World;
use crate::schema_world::{connect, run};
use crate::sink_world::{LARGE, committed, counts, delivery, push, sound, stream, upsert};

fn wanted(environment: &str) -> NewEnvironment {
    NewEnvironment::new(environment.into())
}

fn named(environment: &str, login: &str) -> NewEnvironment {
    wanted(environment).login(Identifier::new(login).unwrap())
}

fn refusal<T>(result: Result<T, Error>) -> String {
    let error = result.err().expect("it should have been refused");
    assert!(
        matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Refused | ErrorKind::NotFound),
        "{error:?}"
    );
    error.to_string()
}

fn notes() -> std::sync::Arc<TableSpec> {
    TableSpec::builder("notes").key("id", ColumnType::Text).column("text", ColumnType::Text).build().unwrap()
}

fn note(id: &str, text: &str) -> Vec<Value> {
    vec![Value::from(id), Value::from(text)]
}

#[test]
fn a_plan_changes_nothing_and_doing_it_again_has_no_effect() {
    let world = World::new();
    let hub = world.hub();
    let plan = hub.plan_environment(&wanted("ci")).unwrap();
    assert!(plan.begins() && plan.gives_password() && !plan.is_done());
    assert_eq!(world.database.psql("SELECT count(*) FROM pg_policies WHERE tablename <> 'environments'"), "0");
    let password = random_password().unwrap();
    assert!(hub.make_environment(&plan, Some(&password)).unwrap().is_empty(), "nothing to remark");
    assert!(plan.login().as_str().starts_with("aqe_ci_"), "{}", plan.login());
    let verifier = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", plan.login());
    let first = world.database.psql(&verifier);
    assert!(first.starts_with("SCRAM-SHA-256$"), "{first}");
    drop(hub);
    let hub = world.hub();
    let again = hub.plan_environment(&wanted("ci")).unwrap();
    assert!(again.is_done() && !again.gives_password(), "{}", again.script());
    hub.make_environment(&again, None).unwrap();
    assert_eq!(world.database.psql(&verifier), first);
    let rotated = world.make(&wanted("ci").rotate()).unwrap();
    assert_eq!(rotated, plan.login().as_str());
    assert_ne!(world.database.psql(&verifier), first);
    world.make(&wanted("other")).unwrap();
    assert!(!world.hub().plan_environment(&wanted("third")).unwrap().begins());
}

#[test]
fn a_login_pushes_its_own_rows_whole_and_others_not_at_all() {
    let world = World::new();
    let (ci, owner) = (world.login("ci"), world.owner.clone());
    let table = &notes();
    block_on(world.hub().prepare(table)).unwrap();
    let row = |id: &str, text: String| upsert(table, note(id, &text), None);
    let hub = world.open(&ci);
    for (source, size) in [("small", 10), ("large", LARGE + 1)] {
        let id = stream("ci", source, "entries");
        let rows = vec![row(&format!("{source}1"), "x".repeat(size)), row(&format!("{source}2"), "y".repeat(10))];
        let (applied, _) = committed(push(&hub, &id, table, rows.clone()));
        assert_eq!(counts(&applied), [2, 0, 0, 0, 0, 0], "{source}");
        let (applied, _) = committed(push(&hub, &id, table, rows));
        assert_eq!(counts(&applied), [0, 0, 2, 0, 0, 0], "{source}");
        assert_eq!(sound(&hub, &id, table).len(), 2);
    }
    let id = stream("laptop", "a.db", "entries");
    for size in [10, LARGE + 1] {
        let said = refusal(block_on(hub.push(&id, table, delivery(vec![row("stolen", "x".repeat(size))]))));
        assert!(
            said.contains(&format!("login {ci} may write only environment ci")) && said.contains("laptop"),
            "{said}"
        );
    }
    assert!(refusal(block_on(hub.begin(&id, table)).map(drop)).contains("--env ci"));
    assert!(
        refusal(block_on(hub.keep(&"laptop".into(), &"a.db".into(), Vec::new(), 0))).contains("only environment ci")
    );
    assert!(refusal(block_on(hub.exclude(&"laptop".into(), true))).contains("concerns all environments"));
    assert_eq!(world.database.psql("SELECT count(*) FROM aqe.notes WHERE source_env <> 'ci'"), "0");
    // The owner goes on as before, for any environment, with what is large as well.
    let hub = world.open(&owner);
    let rows = vec![row("one", "x".repeat(LARGE + 1)), row("two", "y".to_owned())];
    assert_eq!(counts(&committed(push(&hub, &id, table, rows)).0), [2, 0, 0, 0, 0, 0]);
    assert!(block_on(hub.exclude(&"laptop".into(), true)).unwrap());
}

#[test]
fn a_revoked_login_is_out_at_once_its_rows_stay_and_it_can_come_back() {
    let world = World::new();
    let (ci, bystander) = (world.login("ci"), world.login("bystander"));
    world.fill("ci");
    let rows = "SELECT count(id) FROM aqe.patterns WHERE source_env = 'ci'";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let open = runtime.block_on(connect(&world.url_of(&ci)));
    let staying = runtime.block_on(connect(&world.url_of(&bystander)));
    let members = format!(
        "SELECT roleid::regrole, admin_option FROM pg_auth_members WHERE member = '{}'::regrole ORDER BY 1",
        world.owner
    );
    let before = world.database.psql(&members);
    let revoked = world.hub().revoke_environment(&"ci".into(), false).unwrap();
    assert_eq!((revoked.login.as_str(), revoked.before, revoked.dropped), (ci.as_str(), false, false));
    assert_eq!((revoked.sessions, revoked.notes.len()), (1, 0), "{:?}", revoked.notes);
    assert!(runtime.block_on(open.query("SELECT 1", &[])).is_err());
    assert!(runtime.block_on(staying.query("SELECT 1", &[])).is_ok());
    assert!(world.try_open(&ci).is_err());
    assert_eq!(world.database.psql(rows), "1");
    assert_eq!(world.database.psql(&members), before, "the owner has become a member of nothing");
    let again = world.hub().revoke_environment(&"ci".into(), true).unwrap();
    assert!(again.before && again.dropped);
    assert_eq!(world.database.psql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{ci}'")), "0");
    assert!(refusal(world.hub().revoke_environment(&"unheard of".into(), false)).contains("no login of its own"));

    assert_eq!(world.make(&wanted("ci")).unwrap(), ci, "it has the name that it had");
    let hub = world.open(&ci);
    hub.check_writer(&"ci".into()).unwrap();
    let listed = world.hub().environments().unwrap();
    assert!(listed.isolated);
    let of = |name: &str| listed.environments.iter().find(|each| each.environment == name).unwrap();
    assert!(of("ci").active && of("ci").revoked_at.is_none() && of("ci").created_at.is_some());
    assert_eq!(of("bystander").role.as_deref(), Some(bystander.as_str()));
}

#[test]
fn a_login_that_is_somebody_elses_or_too_mighty_is_not_taken() {
    let world = World::new();
    let name = |name: &str| format!("{name}_{}", world.database.name());
    let ci = world.login("ci");
    let (mighty, quiet, plain) = (name("mighty"), name("quiet"), name("plain"));
    world
        .database
        .psql(&format!("CREATE ROLE {mighty} LOGIN BYPASSRLS; CREATE ROLE {quiet}; CREATE ROLE {plain} LOGIN"));
    let said = |wanted: NewEnvironment| refusal(world.make(&wanted));
    assert!(said(named("other", &ci)).contains("is environment ci's"));
    assert!(said(named("ci", &plain)).contains("has the login"));
    assert!(said(named("other", &mighty)).contains("passes row-level security by"));
    assert!(said(named("other", &world.owner)).contains("may make roles"));
    assert!(said(named("other", "postgres")).contains("is a superuser"));
    assert!(said(named("other", &quiet)).contains("none that can log in"));
    let suggested = suggested_login(&block_on(world.hub().identity()).unwrap(), &"other".into());
    world.database.psql(&format!("CREATE ROLE {suggested} LOGIN"));
    assert!(said(wanted("other")).contains("there is a login"));
    let adopted = world.hub().plan_environment(&named("other", &plain)).unwrap();
    assert!(!adopted.gives_password(), "its password is its own affair");
    world.make(&named("other", &plain)).unwrap();
    world.open(&plain).check_writer(&"other".into()).unwrap();
    world.database.psql(&format!("DROP ROLE {mighty}, {quiet}, {suggested}"));
}

#[test]
fn who_is_not_the_owner_makes_and_revokes_nobody() {
    let world = World::new();
    let ci = world.login("ci");
    let hub = world.open(&ci);
    let plan = hub.plan_environment(&wanted("other")).unwrap();
    let said = refusal(hub.make_environment(&plan, Some(&random_password().unwrap())));
    assert!(said.contains("is not the hub's owner"), "{said}");
    assert!(refusal(hub.revoke_environment(&"ci".into(), true)).contains("is not the hub's owner"));
    world.database.psql(&format!("ALTER ROLE {} NOCREATEROLE", world.owner));
    let said = refusal(world.make(&wanted("other")));
    assert!(said.contains("may not make logins") && said.contains("--print"), "{said}");
}

#[test]
fn tables_that_come_later_are_guarded_and_until_then_closed() {
    let world = World::new();
    let ci = world.login("ci");
    let said = refusal(block_on(world.open(&ci).prepare(&notes())));
    assert!(said.contains("notes") && said.contains("aqe-sync init"), "{said}");
    world.database.psql("DROP TABLE aqe.patterns CASCADE");
    let said = refusal(block_on(world.open(&ci).prepare_all(tables::all())));
    assert!(said.contains("only its owner may make them: patterns"), "{said}");
    let hub = world.hub();
    block_on(hub.prepare_all(tables::all())).unwrap();
    block_on(hub.prepare(&notes())).unwrap();
    let open = "SELECT relname FROM pg_class WHERE relnamespace = 'aqe'::regnamespace AND relkind = 'r' \
                AND NOT (relrowsecurity AND relforcerowsecurity)";
    assert_eq!(world.database.psql(open), "");
    let hub = world.open(&ci);
    block_on(hub.prepare(&notes())).unwrap();
    let id = stream("ci", "a.db", "notes");
    committed(push(&hub, &id, &notes(), vec![upsert(&notes(), note("a", "mine"), None)]));
    assert_eq!(sound(&hub, &id, &notes()).len(), 1);
}

#[test]
fn an_upgrade_is_the_owners_and_nothing_is_half_done_for_anybody_else() {
    let world = World::new();
    let ci = world.login("ci");
    let (upgrades, last) =
        ("SELECT count(*) FROM aqe.schema_migrations", "(SELECT max(number) FROM aqe.schema_migrations)");
    world.database.psql(&format!("DELETE FROM aqe.schema_migrations WHERE number = {last}"));
    let before = world.database.psql(upgrades);
    let said = refusal(world.try_open(&ci).map(drop));
    assert!(said.contains("only its owner may upgrade it") && said.contains("aqe-sync init"), "{said}");
    assert_eq!(world.database.psql(upgrades), before);
}

#[test]
fn a_login_of_nobody_is_told_so_before_anything_is_sent() {
    let world = World::new();
    let stranger = format!("stranger_{}", world.database.name());
    world.database.psql(&format!(
        "CREATE USER {stranger}; GRANT USAGE ON SCHEMA aqe TO {stranger}; \
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA aqe TO {stranger}; \
         GRANT TRUNCATE ON aqe.patterns TO {stranger}"
    ));
    world.open(&stranger).check_writer(&"any".into()).unwrap();
    let hub = world.hub();
    let plan = hub.plan_environment(&wanted("ci")).unwrap();
    let notes = hub.make_environment(&plan, Some(&random_password().unwrap())).unwrap();
    assert!(notes.iter().any(|note| note.contains(&stranger) && note.contains("REVOKE TRUNCATE")), "{notes:?}");
    let hub = world.open(&stranger);
    let said = refusal(hub.check_writer(&"any".into()));
    assert!(said.contains("belongs to no environment of this hub") && said.contains("env create any"), "{said}");
    drop(hub);
    world.database.psql(&format!("DROP OWNED BY {stranger}; DROP ROLE {stranger}"));
}

#[test]
fn a_superuser_isolates_somebody_elses_hub_whose_owner_goes_on() {
    let world = World::new();
    let hub = world.open("postgres");
    let plan = hub.plan_environment(&wanted("ci")).unwrap();
    hub.make_environment(&plan, Some(&random_password().unwrap())).unwrap();
    drop(hub);
    let owner = world.hub();
    owner.check_writer(&"any".into()).unwrap();
    block_on(owner.prepare(&notes())).unwrap();
    committed(push(&owner, &stream("any", "a.db", "notes"), &notes(), vec![upsert(&notes(), note("a", "b"), None)]));
    // What it makes later, such as a view, is there to be read.
    let (url, login) = (world.url_of(&world.owner), plan.login().as_str());
    run(async {
        connect(&url).await.batch_execute("CREATE VIEW aqe.shown AS SELECT id FROM aqe.notes").await.unwrap();
    });
    let seen = run(async {
        let client = connect(&world.url_of(login)).await;
        client.query("SELECT id FROM aqe.shown", &[]).await.unwrap().len()
    });
    assert_eq!(seen, 1);
}

#[test]
fn any_schema_can_be_isolated_whatever_it_is_called() {
    let world = World::new();
    let parts = AddressParts::parse(&world.url_of(&world.owner)).unwrap().build().unwrap();
    let schema = Identifier::new("a'\"$aqe$\\ %s").unwrap();
    let hub = PostgresHub::builder(parts).schema(schema).open().unwrap();
    block_on(hub.prepare_all(tables::all())).unwrap();
    let plan = hub.plan_environment(&named("it's \\ ci", &format!("Odd \"name_{}", world.database.name()))).unwrap();
    hub.make_environment(&plan, Some(&random_password().unwrap())).unwrap();
    assert!(hub.environments().unwrap().environments[0].active);
    assert!(hub.revoke_environment(&"it's \\ ci".into(), true).unwrap().dropped);
}

#[test]
fn two_hubs_on_one_server_have_logins_and_groups_of_their_own() {
    let (one, two) = (World::new(), World::new());
    let (login_one, login_two) = (one.make(&wanted("ci")).unwrap(), two.make(&wanted("ci")).unwrap());
    assert_ne!(login_one, login_two);
    one.open(&login_one).check_writer(&"ci".into()).unwrap();
    assert!(two.try_open(&login_one).is_err(), "the other hub is closed to it");
}

#[test]
fn the_password_logs_in_and_is_in_no_log_of_the_server() {
    let cluster = Cluster::builder()
        .setting("log_statement", "all")
        .setting("log_min_duration_statement", "0")
        .access("host all env_ci 127.0.0.1/32 scram-sha-256")
        .start();
    let database = cluster.database();
    let open = |url: &str, password| {
        let parts = AddressParts::parse(url)?;
        let parts = match password {
            Some(password) => parts.default_password(password),
            None => parts,
        };
        PostgresHub::builder(parts.build()?).open()
    };
    let hub = open(&database.url(), None).unwrap();
    let plan = hub.plan_environment(&named("ci", "env_ci")).unwrap();
    let password = random_password().unwrap();
    hub.make_environment(&plan, Some(&password)).unwrap();
    let url = format!("{}?user=env_ci", database.url());
    open(&url, Some(password.clone())).unwrap().check_writer(&"ci".into()).unwrap();
    assert!(open(&url, Some(random_password().unwrap())).is_err());
    let log = cluster.log();
    assert!(log.contains("CREATE ROLE \"env_ci\""), "it is the log that holds such statements");
    assert!(!log.contains(password.expose()));
}
