//! Wherever the password comes from, nothing that a run leaves behind or shows holds it.

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use aqe_cloud::testkit::relay::Relay;
use aqe_sync_workspace::answers::{answer, serve};
use aqe_sync_workspace::postgres::{Cluster, Database};
use tempfile::TempDir;

use crate::program::{contents, folder, json, program, said, sample};

/// All secrets of these tests begin so, and in base64 so.
const NEEDLES: [&str; 2] = ["Zq7Xw9", "WnE3WHc5"];
const PASSWORD: &str = "Zq7Xw9-pass-Kp4";
const IN_BASE64: &str = "WnE3WHc5LXBhc3MtS3A0";
const TOKEN: &str = "Zq7Xw9-token";

/// How the program ends.
const OK: i32 = 0;
const FAILED: i32 = 2;
const USAGE: i32 = 3;

/// How the program is told the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Nothing,
    UrlInVariable,
    UrlInFile,
    Variable,
    PasswordFile,
    Program,
    SecretManager,
    SecretManagerInVariable,
    BehindTheRelay,
}

const WAYS: [Way; 8] = [
    Way::UrlInVariable,
    Way::UrlInFile,
    Way::Variable,
    Way::PasswordFile,
    Way::Program,
    Way::SecretManager,
    Way::SecretManagerInVariable,
    Way::BehindTheRelay,
];

/// A server that lets `keeper` in with the password, and nobody without.
struct Server {
    cluster: Cluster,
}

impl Server {
    fn start() -> Self {
        let cluster = Cluster::builder().access("host all keeper 127.0.0.1/32 scram-sha-256").start();
        cluster.psql(&format!("CREATE USER keeper PASSWORD '{PASSWORD}'"));
        Self { cluster }
    }

    fn database(&self) -> Database {
        let database = self.cluster.database();
        database.psql(&format!("GRANT CREATE ON DATABASE {} TO keeper", database.name()));
        database
    }
}

/// A project that is told the password in one of the ways.
struct Project {
    way: Way,
    folder: TempDir,
    /// What stands elsewhere on the machine: the secrets themselves are here, and nowhere else.
    home: TempDir,
    port: u16,
    database: String,
    secret_manager: u16,
    relay: Option<Relay>,
    produced: Mutex<String>,
}

impl Project {
    fn new(way: Way, port: u16, database: &str) -> Self {
        let (folder, home) = (sample(), folder());
        // The first request is for a token, the others are for the secret.
        let (secret_manager, _) = answer(vec![
            (200, format!(r#"{{"access_token":"{TOKEN}","expires_in":3600,"token_type":"Bearer"}}"#)),
            (200, format!(r#"{{"payload":{{"data":"{IN_BASE64}"}}}}"#)),
        ]);
        let relay = (way == Way::BehindTheRelay).then(|| Relay::start(port));
        let produced = Mutex::default();
        let project = Self { way, folder, home, port, database: database.into(), secret_manager, relay, produced };
        project.write("user.json", &format!(
            r#"{{"type":"authorized_user","client_id":"id","client_secret":"Zq7Xw9-client","refresh_token":"Zq7Xw9-refresh",
                "token_uri":"http://127.0.0.1:{secret_manager}/token"}}"#
        ), 0o600);
        project.write("pgpass", &format!("127.0.0.1:*:*:keeper:{PASSWORD}\n"), 0o600);
        project.write("asked", &format!("#!/bin/sh\necho the store is open >&2\necho {PASSWORD}\n"), 0o700);
        project.write("gcloud", &format!("#!/bin/sh\necho {TOKEN}\n"), 0o700);
        project.configure("");
        project
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn at_home(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.at_home(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    }

    fn url(&self, login: &str) -> String {
        format!("postgres://{login}@127.0.0.1:{}/{}?connect_timeout=20", self.port, self.database)
    }

    /// Writes the configuration that the way needs, with more lines in front.
    fn configure(&self, more: &str) {
        let text = match self.way {
            Way::UrlInFile => format!("hub = \"{}\"\n", self.url(&format!("keeper:{PASSWORD}"))),
            Way::Program => format!("[postgres]\npassword-command = [\"{}\"]\n", self.at_home("asked").display()),
            Way::SecretManager => {
                let gcp = format!("[gcp]\nsecret_manager = \"http://127.0.0.1:{}\"\n", self.secret_manager);
                format!("{gcp}[postgres]\npassword = \"gcp-secret://p-1/hub\"\n")
            }
            Way::BehindTheRelay => {
                let relay = self.relay.as_ref().expect("it runs").url();
                let place = "project = \"p\"\nzone = \"z\"\ninstance = \"i\"\nuser = \"keeper\"";
                format!("[gcp]\nrelay = \"{relay}\"\n{place}\ndatabase = \"{}\"\n", self.database)
            }
            _ => String::new(),
        };
        let path = self.root().join("aqe-sync.toml");
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("new");
        std::io::Write::write_all(&mut file, format!("{more}\n{text}").as_bytes()).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.root());
        command.arg("--root").arg(self.root()).args(arguments).env("AQE_ENV", "laptop").env("HOME", self.home.path());
        command
            .env("GCE_METADATA_HOST", "127.0.0.1:1")
            .env("CLOUDSDK_CONFIG", self.root())
            .env("PATH", "/usr/bin:/bin");
        if !matches!(self.way, Way::UrlInFile | Way::UrlInVariable | Way::BehindTheRelay) {
            command.env("AQE_HUB", self.url("keeper"));
        }
        match self.way {
            Way::UrlInVariable => command.env("AQE_HUB", self.url(&format!("keeper:{PASSWORD}"))),
            Way::Variable => command.env("PGPASSWORD", PASSWORD),
            Way::PasswordFile => command.env("PGPASSFILE", self.at_home("pgpass")),
            Way::SecretManager => command.env("GOOGLE_APPLICATION_CREDENTIALS", self.at_home("user.json")),
            Way::SecretManagerInVariable => command
                .env("PGPASSWORD", "gcp-secret://p-1/hub/latest")
                .env("GOOGLE_APPLICATION_CREDENTIALS", self.at_home("user.json"))
                .env(
                    "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
                    format!("http://127.0.0.1:{}", self.secret_manager),
                ),
            Way::BehindTheRelay => {
                command.env("PGPASSWORD", PASSWORD).env("PATH", format!("{}:/usr/bin:/bin", self.home.path().display()))
            }
            Way::Nothing | Way::UrlInFile | Way::Program => &mut command,
        };
        command
    }

    /// Runs the program; all that it says is kept.
    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("it runs");
        let mut produced = self.produced.lock().expect("nothing panics meanwhile");
        produced.extend(["$ ", &arguments.join(" "), "\n", &said(&output)]);
        output
    }

    fn ends_with(&self, code: i32, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{:?} {arguments:?}: {}", self.way, said(&output));
        output
    }

    fn note(&self, text: &str) {
        self.produced.lock().expect("nothing panics meanwhile").push_str(text);
    }

    /// Looks for the secrets in all that was said, and in all that was left behind.
    fn assert_nothing_shows(&self) {
        let produced = self.produced.lock().expect("nothing panics meanwhile");
        assert!(!produced.is_empty());
        for needle in NEEDLES {
            assert!(!produced.contains(needle), "{:?}: {needle} in {produced}", self.way);
        }
        // The configuration is the user's own; what the program keeps is beside it.
        let mut files = vec![self.root().join(".aqe-sync")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(path.read_dir().expect("readable").map(|entry| entry.expect("readable").path()));
            } else if let Ok(bytes) = std::fs::read(&path) {
                for needle in NEEDLES {
                    let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
                    assert!(!found, "{:?}: {needle} in {}", self.way, path.display());
                }
            }
        }
    }
}

/// Every command that reaches the hub or shows what is configured.
const COMMANDS: [&[&str]; 14] = [
    &["-v"],
    &["-v", "--json", "--full"],
    &["-v", "--dry-run"],
    &["-v", "verify", "--deep"],
    &["-v", "status"],
    &["status", "--json"],
    &["-v", "doctor"],
    &["doctor", "--json"],
    &["config"],
    &["config", "--json"],
    &["-v", "fleet", "conflicts"],
    &["-v", "conflicts"],
    &["-v", "pull", "--dry-run"],
    &["init", "--print"],
];

#[test]
fn each_way_logs_in_and_nothing_shows_what_it_was() {
    let server = Server::start();
    let database = server.database();
    let nobody = Project::new(Way::Nothing, server.cluster.port(), database.name());
    assert!(said(&nobody.ends_with(FAILED, &["-v"])).contains("none is given"));
    for way in WAYS {
        let database = server.database();
        let project = Project::new(way, server.cluster.port(), database.name());
        let first = json(&project.ends_with(OK, &["-v", "--json"]));
        assert!(first["totals"]["inserted"].as_u64() > Some(100), "{way:?}: {first}");
        for arguments in COMMANDS {
            project.run(arguments);
        }
        project.note(&contents(&database));
        project.assert_nothing_shows();
    }
}

#[test]
fn no_failure_shows_it() {
    let server = Server::start();
    server.cluster.psql("ALTER USER keeper PASSWORD 'another'");
    let database = server.database();
    for way in WAYS {
        let refused = Project::new(way, server.cluster.port(), database.name());
        assert!(said(&refused.ends_with(FAILED, &["-v"])).contains("did not accept the password"), "{way:?}");
        refused.ends_with(FAILED, &["-v", "--json"]);
        refused.run(&["-v", "doctor"]);
        for broken in
            ["batch = 7", "[gcp", "env = \"", "password = \"Zq7Xw9-here\"", "[postgres]\npassword = \"Zq7Xw9-here\""]
        {
            refused.configure(broken);
            refused.ends_with(USAGE, &["-v"]);
            refused.run(&["config"]);
        }
        refused.assert_nothing_shows();
        let elsewhere = Project::new(way, server.cluster.port(), "nosuch");
        elsewhere.ends_with(FAILED, &["-v"]);
        elsewhere.run(&["-v", "doctor", "--json"]);
        elsewhere.assert_nothing_shows();
        let unreachable = Project::new(way, 1, database.name());
        unreachable.ends_with(FAILED, &["-v", "--json"]);
        unreachable.assert_nothing_shows();
    }
}

#[test]
fn what_the_source_of_a_password_says_of_its_failure_does_not_show_it() {
    let project = Project::new(Way::Program, 1, "x");
    for script in ["echo Zq7Xw9; echo 'no: Zq7Xw9' >&2; exit 1", "echo Zq7Xw9; echo Zq7Xw9", "printf 'Zq7Xw9\\377'"] {
        project.write("asked", &format!("#!/bin/sh\n{script}\n"), 0o700);
        assert!(said(&project.ends_with(FAILED, &["-v"])).contains("asked"));
    }
    project.assert_nothing_shows();
    for body in
        [format!(r#"{{"error":{{"message":"{TOKEN} may not"}}}}"#), format!(r#"{{"payload":{{"data":"{IN_BASE64}", 7"#)]
    {
        let mut project = Project::new(Way::SecretManager, 1, "x");
        let token = format!(r#"{{"access_token":"{TOKEN}","expires_in":3600,"token_type":"Bearer"}}"#);
        let status = if body.contains("error") { 403 } else { 200 };
        (project.secret_manager, _) = answer(vec![(200, token), (status, body)]);
        let user = std::fs::read_to_string(project.at_home("user.json")).expect("there");
        let (start, _) = user.split_once("http://127.0.0.1:").expect("a place");
        project.write("user.json", &format!("{start}http://127.0.0.1:{}/token\"}}", project.secret_manager), 0o600);
        project.configure("");
        assert!(said(&project.ends_with(FAILED, &["-v"])).contains("gcp-secret://p-1/hub/latest"));
        project.assert_nothing_shows();
    }
}

#[test]
fn the_process_list_does_not_show_it() {
    for way in WAYS {
        // Whoever is connected to looks at the process list, and hangs up.
        let seen = Arc::new(Mutex::new(String::new()));
        let look = Arc::clone(&seen);
        let port = serve(move |stream| {
            let processes = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
            let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
            let lines: Vec<String> = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect();
            *look.lock().expect("nothing panics meanwhile") += &lines.join("\n");
            drop(stream);
        });
        let project = Project::new(way, port, "x");
        project.ends_with(FAILED, &["-v"]);
        let root = project.root().display().to_string();
        let seen = seen.lock().expect("nothing panics meanwhile");
        assert!(seen.contains(&root), "{way:?}: the program was not seen in {seen}");
        project.note(&seen);
        project.assert_nothing_shows();
    }
}

#[test]
fn a_command_is_run_only_for_a_configuration_that_is_ours() {
    let server = Server::start();
    let database = server.database();
    let project = Project::new(Way::Program, server.cluster.port(), database.name());
    let file = project.root().join("aqe-sync.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o602)).expect("ours");
    let refused = said(&project.ends_with(USAGE, &["-v"]));
    assert!(refused.contains("anybody on this machine may change it") && refused.contains("chmod o-w"), "{refused}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("ours");
    project.ends_with(OK, &["-v"]);
}

#[test]
fn doctor_says_who_can_read_a_password_among_the_arguments() {
    let server = Server::start();
    let database = server.database();
    let project = Project::new(Way::Nothing, server.cluster.port(), database.name());
    let url = project.url(&format!("keeper:{PASSWORD}"));
    project.ends_with(OK, &["--hub", &url]);
    let doctor = said(&project.ends_with(OK, &["doctor", "--hub", &url]));
    assert!(doctor.contains("in --hub, where anybody on this machine can read it"), "{doctor}");
    project.note(&doctor);
    assert!(!doctor.contains(PASSWORD));
}
