//! What `doctor` finds, and that the next run is whole once its advice was followed.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Output;

use aqe_sync_workspace::postgres::{Cluster, Database};

use serde_json::Value;

use crate::program::{json, program, said, sample};

struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// The sample project.
    fn new() -> Self {
        Self { folder: sample() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Over the hub at that URL, or the embedded one.
    fn run(&self, hub: Option<&str>, arguments: &[&str]) -> Output {
        let mut program = program(self.folder.path());
        program.args(arguments).arg("--root").arg(self.folder.path());
        program.args(hub.iter().flat_map(|hub| ["--hub", hub])).env("AQE_ENV", "test").output().expect("it runs")
    }

    fn ends(&self, code: i32, hub: Option<&str>, arguments: &[&str]) -> String {
        let output = self.run(hub, arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// The worst that is said of one thing: how bad, what was found, what to do.
    fn finds(&self, hub: Option<&str>, name: &str) -> (String, String, String) {
        let answer = json(&self.run(hub, &["doctor", "--json"]));
        let rank = |check: &&Value| {
            ["ok", "unknown", "warning", "critical"].iter().position(|word| check["severity"] == **word)
        };
        let checks = answer["checks"].as_array().expect("a list");
        let check = checks.iter().filter(|check| check["name"] == name).max_by_key(rank);
        let check = check.unwrap_or_else(|| panic!("nothing about {name}: {answer:#}"));
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        (text("severity"), text("found"), text("advice"))
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// Makes a file one that another user wrote; who is not root can only lock it.
fn take_away(path: &Path) {
    if std::fs::metadata(path).expect("it is there").uid() == 0 {
        chown(path, Some(12_345), None).expect("root may");
    } else {
        chmod(path, 0o400);
    }
}

fn with_user(database: &Database, user: &str) -> String {
    format!("{}?user={user}", database.url())
}

#[test]
fn the_state_folder_is_private_and_one_that_is_not_is_told() {
    let project = Project::new();
    project.ends(0, None, &[]);
    assert!(project.ends(0, None, &["doctor"]).contains("all is well"));
    let folder = project.path(".aqe-sync");
    assert_eq!(std::fs::metadata(&folder).expect("it is there").permissions().mode() & 0o777, 0o700);
    chmod(&folder, 0o755);
    chmod(project.folder.path(), 0o700);
    assert_eq!(project.finds(None, "state folder").0, "ok", "nobody gets to the project's folder");
    chmod(project.folder.path(), 0o755);
    let (severity, found, advice) = project.finds(None, "state folder");
    assert!(severity == "warning" && found.contains("anybody on this machine may read it"), "{found}");
    assert!(advice.starts_with("run chmod 700 "), "{advice}");
    std::fs::write(project.path("aqe-sync.toml"), "").expect("written");
    chmod(&project.path("aqe-sync.toml"), 0o666);
    let (severity, found, advice) = project.finds(None, "configuration");
    assert!(severity == "warning" && found.contains("may change it") && advice.contains("chmod go-w"), "{found}");
}

#[test]
fn files_that_belong_to_somebody_else_are_told() {
    for (name, file) in [("hub", ".aqe-sync/hub.db"), ("ledger", ".aqe-sync/ledger.db")] {
        let project = Project::new();
        project.ends(0, None, &[]);
        take_away(&project.path(file));
        let (severity, found, advice) = project.finds(None, name);
        assert!(severity != "ok" && found.contains(file), "{severity}: {found}");
        assert!(advice.contains("chown") || advice.contains("chmod u+rw"), "{advice}");
    }
}

#[test]
fn a_damaged_ledger_is_told_and_the_next_sync_rebuilds_it() {
    let project = Project::new();
    project.ends(0, None, &[]);
    let ledger = project.path(".aqe-sync/ledger.db");
    let whole = std::fs::read(&ledger).expect("readable");
    let half = whole.len() / 2;
    let torn = [&whole[..half], &vec![0x5a; whole.len() - half]].concat();
    for damage in [b"not a database at all, and not short".to_vec(), torn] {
        std::fs::write(&ledger, &damage).expect("written");
        let (severity, found, _) = project.finds(None, "ledger");
        assert!(severity == "warning" && found.contains("the ledger is damaged"), "{severity}: {found}");
        assert!(found.contains("rebuilds it"), "{found}");
        assert_eq!(std::fs::read(&ledger).expect("readable"), damage, "looking changes nothing");
        project.ends(0, None, &["--full"]);
        assert_eq!(project.finds(None, "ledger").0, "ok");
        project.ends(0, None, &["verify", "--deep"]);
    }
}

#[test]
fn a_source_that_cannot_be_read_is_named_with_the_room_on_the_disk() {
    let project = Project::new();
    std::fs::write(project.path(".agentic-qe/memory.db"), [b'x'; 4_096]).expect("written");
    let (severity, found, _) = project.finds(None, "sources");
    assert!(severity == "warning" && found.contains(".agentic-qe/memory.db"), "{severity}: {found}");
    assert!(project.finds(None, "disk").1.contains("free for"));
}

#[test]
fn a_wrong_password_is_told_and_the_right_one_is_enough() {
    let cluster = Cluster::builder().access("host all guarded 127.0.0.1/32 scram-sha-256").start();
    let database = cluster.database();
    database.psql(&format!(
        "CREATE USER guarded PASSWORD 'open sesame'; GRANT CREATE ON DATABASE {} TO guarded",
        database.name()
    ));
    let project = Project::new();
    let url = |password: &str| {
        let place = database.url();
        let (_, place) = place.split_once('@').expect("an address");
        format!("postgres://guarded:{password}@{place}")
    };
    let wrong = url("hunter2");
    let (severity, found, _) = project.finds(Some(&wrong), "connection");
    assert!(severity == "critical" && found.contains("did not accept the password of user \"guarded\""), "{found}");
    for command in ["doctor", "sync", "status", "verify"] {
        let said = project.ends(2, Some(&wrong), &[command]);
        assert!(said.contains("check the password") && !said.contains("hunter2"), "{said}");
    }
    let right = url("open%20sesame");
    project.ends(0, Some(&right), &["doctor"]);
    assert!(project.ends(0, Some(&right), &[]).contains("814 new"));
}

#[test]
fn no_schema_missing_privileges_and_a_newer_schema_each_say_what_to_do() {
    let database = Cluster::shared().database();
    let (project, url) = (Project::new(), database.url());
    let user = format!("syncs_{}", database.name());
    database.psql(&format!("CREATE USER {user}"));
    let limited = with_user(&database, &user);
    let (severity, found, _) = project.finds(Some(&url), "hub");
    assert!(severity == "ok" && found.contains("there is none yet"), "{found}");
    let (severity, _, advice) = project.finds(Some(&limited), "hub");
    assert!(severity == "critical" && advice.contains("GRANT CREATE ON DATABASE"), "{advice}");
    project.ends(2, Some(&limited), &[]);

    project.ends(0, Some(&url), &["init"]);
    database.psql(&format!("GRANT USAGE ON SCHEMA aqe TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA aqe TO {user}"));
    let (severity, _, advice) = project.finds(Some(&limited), "tables");
    assert_eq!(severity, "critical");
    let said = project.ends(2, Some(&limited), &[]);
    assert!(said.contains("may not do this") && said.contains("aqe-sync doctor"), "{said}");
    // Done to the letter.
    database.psql(&advice);
    project.ends(0, Some(&limited), &["doctor"]);
    assert!(project.ends(0, Some(&limited), &[]).contains("814 new"));
    project.ends(0, Some(&limited), &["verify", "--deep"]);

    database.psql("INSERT INTO aqe.schema_migrations VALUES (99, 'later', 'x', now(), 'aqe-sync 9.8.7')");
    let (severity, found, _) = project.finds(Some(&url), "hub");
    assert!(severity == "critical" && found.contains("install aqe-sync 9.8.7 or newer"), "{found}");
    for command in ["sync", "status", "verify"] {
        assert!(project.ends(2, Some(&url), &[command]).contains("install aqe-sync 9.8.7"), "{command}");
    }
    database.psql(&format!("DROP OWNED BY {user}; DROP USER {user}"));
}

#[test]
fn a_standby_is_looked_at_and_not_synced_to() {
    let primary = Cluster::start();
    let (database, project) = (primary.database(), Project::new());
    project.ends(0, Some(&database.url()), &[]);
    let standby = primary.standby();
    let url = standby.server().url(database.name());
    assert!(project.ends(0, Some(&url), &["status"]).contains("814 records"));
    assert!(project.ends(0, Some(&url), &["verify"]).contains("814 records compared"));
    project.ends(0, Some(&url), &["verify", "--deep"]);
    for arguments in [&["sync"][..], &["sync", "--full"], &["init"], &["doctor"]] {
        let said = project.ends(2, Some(&url), arguments);
        assert!(said.contains("the server is a standby") && said.contains("primary"), "{arguments:?}: {said}");
    }
    assert!(project.ends(0, Some(&database.url()), &[]).contains("nothing changed"));
}

#[test]
fn a_column_that_was_dropped_is_told_by_all_and_filled_again() {
    let (database, project) = (Cluster::shared().database(), Project::new());
    let url = database.url();
    project.ends(0, Some(&url), &[]);
    database.psql("ALTER TABLE aqe.qe_patterns DROP COLUMN embedding");
    for arguments in [&["sync"][..], &["verify"], &["verify", "--deep", "--repair"]] {
        let said = project.ends(2, Some(&url), arguments);
        assert!(said.contains("lost columns: qe_patterns.embedding") && said.contains("aqe-sync init"), "{said}");
    }
    assert!(project.ends(1, Some(&url), &["status"]).contains("lost columns"), "and the last sync failed");
    assert_eq!(project.finds(Some(&url), "hub").0, "critical");
    assert!(project.ends(0, Some(&url), &["init"]).contains("every environment"));
    project.ends(1, Some(&url), &["verify"]);
    project.ends(0, Some(&url), &[]);
    project.ends(0, Some(&url), &["verify", "--deep"]);
    project.ends(0, Some(&url), &["doctor"]);
}
