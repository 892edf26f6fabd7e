//! Environments that are kept apart, from `env create` to `env revoke`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use aqe_sync_workspace::postgres::{Cluster, Database};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::program::{copy_of, folder, json, program, said, text};

const FILE: &str = ".agentic-qe/memory.db";

/// A server that asks two logins for passwords, a hub whose owner is no superuser, and a
/// project for each environment.
struct World {
    cluster: Cluster,
    database: Database,
    folder: TempDir,
    projects: [(&'static str, TempDir); 2],
}

impl World {
    fn new() -> Self {
        let cluster = Cluster::builder()
            .access("host all env_ci 127.0.0.1/32 scram-sha-256")
            .access("host all env_dev 127.0.0.1/32 scram-sha-256")
            .start();
        let database = cluster.database();
        database.psql(&format!("CREATE USER boss CREATEROLE; GRANT CREATE ON DATABASE {} TO boss", database.name()));
        let projects = ["ci", "dev"].map(|name| {
            let project = copy_of("tests/fixtures/agentic-qe-3.3.0/v3");
            edit(
                project.path(),
                &format!(
                    "INSERT INTO qe_patterns (id, pattern_type, qe_domain, domain, name) \
                     VALUES ('of-{name}', 't', 'd', 'd', 'made by {name}')"
                ),
            );
            (name, project)
        });
        Self { cluster, database, folder: folder(), projects }
    }

    fn root(&self, name: &str) -> &Path {
        let project = self.projects.iter().find(|(project, _)| *project == name);
        project.map_or(self.folder.path(), |(_, project)| project.path())
    }

    fn passwords(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pgpass"))
    }

    /// Runs the program in a project as the login that belongs to `name`, or the owner.
    fn output(&self, name: &str, arguments: &[&str]) -> Output {
        let user = if name == "boss" { "boss".to_owned() } else { format!("env_{name}") };
        self.output_as(&user, name, arguments)
    }

    fn output_as(&self, user: &str, name: &str, arguments: &[&str]) -> Output {
        let mut command = program(self.root(name));
        command.env("PGPASSFILE", self.passwords(name)).env("AQE_ENV", name).arg("--root").arg(self.root(name));
        command.args(["--hub", &format!("{}?user={user}", self.database.url())]).args(arguments);
        command.output().expect("the program runs")
    }

    #[track_caller]
    fn ends(&self, code: i32, name: &str, arguments: &[&str]) -> String {
        let output = self.output(name, arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}: {said}");
        said
    }

    /// Makes a login, with its password in a file.
    fn create(&self, name: &str) -> String {
        let (role, file) = (format!("env_{name}"), self.passwords(name));
        let arguments = ["env", "create", name, "--role", &role, "--password-file", file.to_str().expect("text")];
        self.ends(0, "boss", &arguments)
    }

    /// Once more, which changes nothing and needs no place for a password.
    fn create_again(&self, name: &str) -> String {
        let said = self.ends(0, "boss", &["env", "create", name]);
        assert!(said.contains("nothing to do"), "{said}");
        said
    }

    /// One line per environment: how much of everything it has.
    fn rows(&self) -> String {
        self.database.psql(
            "SELECT source_env, count(id), bit_xor(content_hash), (SELECT count(run_id) FROM aqe.sync_history h \
             WHERE h.source_env = p.source_env) FROM aqe.qe_patterns p GROUP BY 1 ORDER BY 1",
        )
    }
}

fn edit(root: &Path, sql: &str) {
    Connection::open(root.join(FILE)).expect("opened").execute_batch(sql).expect("valid SQL");
}

fn names(root: &Path) -> Vec<String> {
    let file = Connection::open(root.join(FILE)).expect("opened");
    let mut statement =
        file.prepare("SELECT name FROM qe_patterns WHERE id LIKE 'of-%' ORDER BY 1").expect("valid SQL");
    statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("readable")
}

#[test]
fn two_environments_with_logins_of_their_own_share_what_they_learned() {
    let world = World::new();
    world.ends(0, "boss", &["init"]);
    assert!(world.ends(0, "boss", &["env", "list"]).contains("not kept apart"));
    assert!(world.create("ci").contains("from now on the hub keeps environments apart"));
    assert!(!world.create_again("ci").contains("from now on"));
    world.create("dev");
    for name in ["ci", "dev"] {
        world.ends(0, name, &[]);
        assert!(world.ends(0, name, &[]).contains("nothing changed"));
        assert!(
            world.ends(0, name, &["init"]).contains("to take this project's agent memory"),
            "the project's own part"
        );
        assert!(world.ends(0, name, &["init"]).contains("nothing to do"));
        assert!(world.ends(0, name, &["doctor"]).contains(&format!("may write environment {name} only")));
    }
    world.ends(0, "ci", &["pull"]);
    assert_eq!(names(world.root("ci")), ["made by ci", "made by dev"]);
    edit(world.root("dev"), "UPDATE qe_patterns SET name = 'better', confidence = 0.9 WHERE id = 'of-dev'");
    world.ends(0, "dev", &["--bidirectional"]);
    assert_eq!(names(world.root("dev")), ["better", "made by ci"]);
    world.ends(0, "ci", &["--bidirectional"]);
    assert_eq!(names(world.root("ci")), ["better", "made by ci"]);
    for arguments in
        [&["verify"][..], &["verify", "--deep"], &["verify", "--repair"], &["status"], &["--full"], &["--dry-run"]]
    {
        world.ends(0, "ci", arguments);
    }
    // What somebody else spoils in the hub, the environment mends itself.
    world.database.psql("UPDATE aqe.qe_patterns SET name = 'edited' WHERE source_env = 'ci' AND id = 'of-ci'");
    world.ends(1, "ci", &["verify", "--deep"]);
    world.ends(0, "ci", &["verify", "--deep", "--repair"]);
    assert!(world.ends(0, "ci", &["fleet", "show", "of-dev", "--table", "qe_patterns"]).contains("better"));
    let said = world.ends(2, "ci", &["fleet", "exclude", "dev"]);
    assert!(said.contains("concerns all environments") && said.contains("the hub's owner"), "{said}");
    world.ends(0, "boss", &["fleet", "exclude", "dev"]);
    let listed = json(&world.output("ci", &["env", "list", "--json"]));
    assert_eq!(listed["isolated"], true);
    let environments = listed["environments"].as_array().expect("a list");
    let of = |name: &str| environments.iter().find(|each| each["environment"] == name).expect("listed");
    assert_eq!((&of("ci")["role"], &of("ci")["active"]), (&"env_ci".into(), &true.into()));
    assert!(of("dev")["rows"].as_u64() > Some(0) && of("dev")["last_synced"].is_string(), "{listed}");
}

#[test]
fn a_login_under_another_environments_name_sends_nothing() {
    let world = World::new();
    world.ends(0, "boss", &["init"]);
    world.create("ci");
    world.ends(0, "ci", &[]);
    assert!(world.output_as("boss", "dev", &[]).status.success(), "the owner writes for any environment, as before");
    let before = world.rows();
    for arguments in [&[][..], &["--dry-run"], &["pull"], &["verify", "--repair"], &["--bidirectional"]] {
        let said = world.ends(2, "ci", &[arguments, &["--env", "dev"]].concat());
        assert!(said.contains("login env_ci may write only environment ci") && said.contains("--env ci"), "{said}");
    }
    assert_eq!(world.rows(), before);
}

#[test]
fn a_table_that_is_missing_is_the_owners_to_make() {
    let world = World::new();
    world.ends(0, "boss", &["init"]);
    world.create("ci");
    world.database.psql("DROP TABLE aqe.qe_patterns CASCADE");
    for arguments in [&[][..], &["init"]] {
        let output = world.output("ci", arguments);
        assert!(!output.status.success());
        assert!(said(&output).contains("have the hub's owner run aqe-sync init"), "{}", said(&output));
    }
    world.ends(0, "boss", &["init"]);
    world.ends(0, "ci", &[]);
    world.ends(0, "ci", &["verify"]);
}

#[test]
fn a_password_is_shown_once_or_kept_in_a_private_file_and_nowhere_else() {
    let world = World::new();
    world.ends(0, "boss", &["init"]);
    let printed = world.ends(0, "boss", &["env", "create", "ci", "--role", "env_ci", "--dry-run"]);
    assert!(printed.contains("CREATE ROLE \"env_ci\" LOGIN;") && !printed.contains("PASSWORD"), "{printed}");
    assert_eq!(world.database.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'env_ci'"), "0");
    let told = world.ends(3, "boss", &["env", "create", "ci", "--role", "env_ci", "--json"]);
    assert!(told.contains("--password-file"), "{told}");
    assert_eq!(world.database.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'env_ci'"), "0");

    let output = world.output("boss", &["env", "create", "ci", "--role", "env_ci", "-v"]);
    let line = text(&output.stdout).lines().find(|line| line.contains("shown this once")).expect("a line").to_owned();
    let password = line.rsplit(' ').next().expect("a word").to_owned();
    assert!(password.len() == 48 && !text(&output.stderr).contains(&password));
    std::fs::write(world.passwords("ci"), format!("*:*:*:env_ci:{password}\n")).expect("written");
    std::fs::set_permissions(world.passwords("ci"), std::fs::Permissions::from_mode(0o600)).expect("set");
    assert!(!world.ends(0, "ci", &[]).contains(&password));
    assert!(!world.cluster.log().contains(&password));

    let file = world.passwords("new");
    let rotate = ["env", "create", "ci", "--rotate", "--json", "--password-file", file.to_str().expect("text")];
    let output = world.output("boss", &rotate);
    assert_eq!(json(&output)["changed"], true);
    let kept = std::fs::read_to_string(&file).expect("written");
    let fresh = kept.trim_end().rsplit(':').next().expect("a field");
    assert!(fresh.len() == 48 && fresh != password && !said(&output).contains(fresh));
    assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let told = world.ends(2, "ci", &["status"]);
    assert!(told.contains("did not accept the password"), "the old one is over: {told}");
    let told = world.ends(2, "boss", &rotate);
    assert!(told.contains("not there yet"), "nothing is overwritten: {told}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), kept);
    std::fs::copy(&file, world.passwords("ci")).expect("copied");
    world.ends(0, "ci", &["status"]);
}

#[test]
fn a_revoked_login_is_over_until_it_is_made_again() {
    let world = World::new();
    world.ends(0, "boss", &["init"]);
    world.create("ci");
    world.ends(0, "ci", &[]);
    let rows = world.rows();
    assert!(world.ends(0, "boss", &["env", "revoke", "ci"]).contains("the rows of ci stay"));
    world.ends(2, "ci", &[]);
    assert!(world.ends(0, "boss", &["env", "list"]).contains("revoked 20"));
    let dropped = json(&world.output("boss", &["env", "revoke", "ci", "--drop", "--json"]));
    assert_eq!((&dropped["changed"], &dropped["dropped"]), (&false.into(), &true.into()));
    assert_eq!(world.rows(), rows);
    let said = world.ends(2, "boss", &["env", "revoke", "nobody"]);
    assert!(said.contains("has no login of its own"), "{said}");
    std::fs::remove_file(world.passwords("ci")).expect("removed");
    world.create("ci");
    assert!(world.ends(0, "ci", &[]).contains("nothing changed"));
    let said = world.ends(2, "ci", &["env", "revoke", "ci"]);
    assert!(said.contains("is not the hub's owner"), "{said}");
}

#[test]
fn a_hub_in_a_file_keeps_nobody_apart_and_says_why() {
    let project = folder();
    for arguments in [&["env", "list"][..], &["env", "create", "ci"], &["env", "revoke", "ci"]] {
        let output = crate::program::run(project.path(), arguments);
        assert_eq!(output.status.code(), Some(3));
        assert!(said(&output).contains("the hub is a local file"), "{}", said(&output));
    }
}
