//! Schedules, installed for real where a folder can stand for the place: git, systemd's files, an agent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::program::{HUB, json, program, said, swarm_project};

fn run(root: &Path, arguments: &[&str]) -> Output {
    // Nobody's own systemd is asked, and no home is written to.
    let mut command = program(root);
    command
        .env("XDG_CONFIG_HOME", root.join("config"))
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").args(["--env", "laptop", "schedule"]).args(arguments);
    command.output().expect("it runs")
}

fn git(root: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"];
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(identity).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "{}", said(&output));
}

fn ends_with(code: i32, output: &Output) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

#[test]
fn a_commit_starts_a_sync_and_the_hook_that_was_there_stays_as_it_was() {
    let project = swarm_project();
    let root = project.path();
    let outside = run(root, &["install", "git", "--yes"]);
    assert!(said(&outside).contains("not in a git repository"), "{}", said(&outside));
    git(root, &["init", "-q"]);
    let hook = root.join(".git/hooks/post-commit");
    fs::create_dir_all(hook.parent().expect("a folder")).expect("created");
    let own = "#!/bin/sh\necho mine > \"$(git rev-parse --show-toplevel)/mine\"";
    fs::write(&hook, own).expect("written");
    let asked = run(root, &["install", "git"]);
    assert!(said(&asked).contains("+ if [ -x") && said(&asked).contains("--yes"), "{}", said(&asked));
    ends_with(3, &asked);
    ends_with(0, &run(root, &["install", "git", "--dry-run"]));
    assert_eq!(fs::read_to_string(&hook).expect("read"), own, "nothing was written");
    ends_with(0, &run(root, &["install", "git", "--yes"]));
    assert_ne!(fs::metadata(&hook).expect("there").permissions().mode() & 0o111, 0, "a program");
    assert!(said(&run(root, &["install", "git", "--yes"])).contains("nothing to do"));
    assert!(said(&run(root, &["show"])).contains("git         installed"));
    git(root, &["commit", "-q", "--allow-empty", "-m", "x"]);
    assert!(root.join("mine").exists());
    // The commit does not wait for it: here that is done.
    let waiting = std::time::Instant::now();
    while !root.join(HUB).exists() && waiting.elapsed().as_secs() < 30 {
        std::thread::yield_now();
    }
    assert!(root.join(HUB).exists(), "a sync was started");
    ends_with(0, &run(root, &["remove", "git", "--yes"]));
    assert_eq!(fs::read_to_string(&hook).expect("read"), own);
    assert!(said(&run(root, &["remove", "git", "--yes"])).contains("nothing to do"));
}

#[test]
fn an_agents_settings_get_a_hook_and_keep_all_else() {
    let project = swarm_project();
    let root = project.path();
    ends_with(0, &run(root, &["install", "claude-code", "--yes"]));
    let settings = root.join(".claude/settings.json");
    let value: serde_json::Value = serde_json::from_slice(&fs::read(&settings).expect("read")).expect("JSON");
    let line = value["hooks"]["SessionEnd"][0]["hooks"][0]["command"].as_str().expect("a command").to_owned();
    let status = Command::new("sh").args(["-c", &line]).status().expect("it runs");
    assert!(status.success() && root.join(HUB).exists(), "{line}");
    ends_with(0, &run(root, &["remove", "claude-code", "--yes"]));
    assert!(!settings.exists(), "it was made for that");
    fs::write(&settings, "{\"hooks\": []}").expect("written");
    let other = run(root, &["install", "claude-code", "--yes"]);
    assert!(said(&other).contains("something else than expected"), "{}", said(&other));
    ends_with(2, &other);
}

#[test]
fn a_timers_files_are_written_and_only_removed_as_they_were_written() {
    let project = swarm_project();
    let root = project.path();
    let installed = run(root, &["install", "systemd", "--interval", "10m", "--yes", "--json"]);
    ends_with(0, &installed);
    let changes = json(&installed)["changes"].clone();
    let paths: Vec<String> = changes
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["place"].as_str().expect("a path").to_owned())
        .collect();
    assert_eq!(paths.len(), 2, "{changes}");
    let timer = fs::read_to_string(&paths[1]).expect("read");
    assert!(timer.contains("OnUnitActiveSec=600s"), "{timer}");
    fs::write(&paths[1], timer.replace("600s", "60s")).expect("written");
    let edited = run(root, &["remove", "systemd", "--yes"]);
    assert!(said(&edited).contains("was edited since"), "{}", said(&edited));
    ends_with(2, &edited);
    fs::write(&paths[1], timer).expect("written");
    ends_with(0, &run(root, &["remove", "systemd", "--yes"]));
    assert!(paths.iter().all(|path| !Path::new(path).exists()));
}
