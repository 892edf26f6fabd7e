//! What is found in a project, what is left out and why.

use std::fs;

use aqe_readers::{Discovery, discover, find_root};
use aqe_sync_core::Status;

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB, assert_says, failure, stream};

fn look(project: &Project) -> Discovery {
    discover(&project.root()).expect("listed")
}

fn names(discovery: &Discovery) -> Vec<&str> {
    discovery.found.iter().map(|found| found.file.name.as_str()).collect()
}

fn reason<'d>(discovery: &'d Discovery, name: &str) -> &'d str {
    let skipped = discovery.skipped.iter().find(|skipped| skipped.name.as_str() == name);
    &skipped.unwrap_or_else(|| panic!("{name} in {:?}", discovery.skipped)).reason
}

#[test]
fn the_root_is_the_nearest_folder_with_a_marker_else_the_topmost_with_agent_memory() {
    let project = Project::with(V2, "packages/web/.agentic-qe/memory.db");
    project.add(V3, ROOT_DB);
    let deep = project.path("packages/web/src/deep");
    fs::create_dir_all(&deep).expect("created");
    let canonical = |path: std::path::PathBuf| fs::canonicalize(path).expect("there");
    assert_eq!(find_root(&deep), canonical(project.root()), "the topmost with a tool's folder");
    project.write("packages/web/aqe-sync.toml", b"");
    assert_eq!(find_root(&deep), canonical(project.path("packages/web")));
    fs::create_dir(project.path("packages/web/src/.git")).expect("created");
    assert_eq!(find_root(&deep), canonical(project.path("packages/web/src")));
}

#[test]
fn nested_packages_are_found_with_their_scope_and_kept_apart() {
    let project = Project::with(V2, ROOT_DB);
    project.add("public-0xSCADA/.agentic-qe/memory.db", "packages/web/.agentic-qe/memory.db");
    let discovery = look(&project);
    assert_eq!(names(&discovery), [ROOT_DB, "packages/web/.agentic-qe/memory.db"]);
    assert_eq!(discovery.found[1].file.scope, "packages/web");
    assert_eq!(project.sync().status, Status::Ok);
    let scopes = project.rows("SELECT scope, count(*) FROM memory_entries GROUP BY 1 ORDER BY 1");
    let row = |scope: &str, count: i64| vec![scope.to_owned().into(), count.into()];
    assert_eq!(scopes, [row("", 70), row("packages/web", 25)]);
}

#[test]
fn folders_that_hold_no_project_files_are_not_entered() {
    let project = Project::with(V2, ROOT_DB);
    for folder in ["node_modules/x", "target/debug", ".git", "packages/a/node_modules/b", ".venv"] {
        project.add(V2, &format!("{folder}/.agentic-qe/memory.db"));
    }
    let discovery = look(&project);
    assert_eq!((names(&discovery), discovery.skipped.len()), (vec![ROOT_DB], 0));
}

#[cfg(unix)]
#[test]
fn a_file_with_several_names_is_read_once() {
    let project = Project::with(V2, ROOT_DB);
    for name in ["a", "b"] {
        fs::create_dir_all(project.path(&format!("{name}/.agentic-qe"))).expect("created");
    }
    std::os::unix::fs::symlink(project.path(ROOT_DB), project.path("a/.agentic-qe/memory.db")).expect("linked");
    fs::hard_link(project.path(ROOT_DB), project.path("b/.agentic-qe/memory.db")).expect("linked");
    let discovery = look(&project);
    assert_eq!(names(&discovery), [ROOT_DB]);
    for name in ["a/.agentic-qe/memory.db", "b/.agentic-qe/memory.db"] {
        assert_says(reason(&discovery, name), &["the same file as .agentic-qe/memory.db", "read once"]);
    }
}

#[test]
fn a_copy_in_the_same_package_is_read_once_and_one_with_a_wal_is_no_copy() {
    let project = Project::with(V3, V3_DB);
    project.add(V3, ROOT_DB);
    let discovery = look(&project);
    assert_eq!(names(&discovery), [V3_DB]);
    assert_says(reason(&discovery, ROOT_DB), &["a byte-for-byte copy of v3/.agentic-qe/memory.db"]);
    project.write(&format!("{ROOT_DB}-wal"), &[1; 100]);
    assert_eq!(names(&look(&project)), [V3_DB, ROOT_DB]);
}

#[test]
fn the_copy_that_claude_flow_makes_is_skipped_beside_its_original_only() {
    let file = "claude-flow-3.1.0-alpha.2/.swarm/memory.db";
    let project = Project::with(file, ".claude/memory.db");
    assert_eq!(names(&look(&project)), [".claude/memory.db"]);
    project.add("claude-flow-2.7.47/.swarm/memory.db", ".swarm/memory.db");
    let discovery = look(&project);
    assert_eq!(names(&discovery), [".swarm/memory.db"]);
    assert_says(reason(&discovery, ".claude/memory.db"), &["copy", ".swarm/memory.db"]);
}

#[test]
fn backups_are_skipped_with_a_reason() {
    let project = Project::with(V2, ROOT_DB);
    let backups =
        ["memory.db.backup", "memory-1795356056256.db", "memory-backup.db", "memory.db.bak-1", "memory.bak.db"];
    for name in backups {
        project.add(V3, &format!(".agentic-qe/{name}"));
    }
    let discovery = look(&project);
    assert_eq!(names(&discovery), [ROOT_DB]);
    for name in backups {
        assert_says(
            reason(&discovery, &format!(".agentic-qe/{name}")),
            &["backup", "the tool itself does not read it"],
        );
    }
}

#[test]
fn what_a_db_file_is_follows_from_its_first_bytes() {
    let project = Project::with("agentic-qe-2.8.2/v2/data/ruvector-patterns.db", ".agentic-qe/memory.db");
    project.add(V2, ".agentic-qe/ruvector-cache.db");
    let what: Vec<_> =
        look(&project).found.into_iter().map(|found| (found.file.name.to_string(), found.what)).collect();
    let of = |name: &str, what: &str| (format!(".agentic-qe/{name}"), what.to_owned());
    assert_eq!(what, [of("ruvector-cache.db", "SQLite database"), of("memory.db", "redb vectors")]);
    assert_eq!(project.sync().status, Status::Ok);
}

#[cfg(unix)]
#[test]
fn a_tools_folder_that_cannot_be_listed_is_a_source_that_failed() {
    let project = Project::with(V2, ROOT_DB);
    // A link that leads to itself cannot be listed by anybody, root included.
    std::os::unix::fs::symlink(".swarm", project.path(".swarm")).expect("linked");
    let report = project.sync();
    assert_says(failure(&report, ".swarm"), &["reading .swarm", "stays in the hub"]);
    assert_eq!(stream(&report, ROOT_DB, "memory_entries").counters.inserted, 70);
}

#[cfg(unix)]
#[test]
fn a_tools_folder_without_permission_is_a_source_that_failed() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::with(V2, ROOT_DB);
    let folder = project.path(".swarm");
    fs::create_dir(&folder).expect("created");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).expect("set");
    if fs::read_dir(&folder).is_err() {
        let report = project.try_sync(|options| options).expect("a report");
        assert_says(failure(&report, ".swarm"), &["no permission to read it", "grant read permission"]);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn files_that_hold_credentials_or_settings_are_named_and_never_read() {
    let project = Project::with(V2, ROOT_DB);
    let secret = br#"{"value":"s3cret"}"#;
    let kept_out = [
        ".claude-flow/github-token.json",
        ".claude-flow/auth.json",
        ".claude-flow/my-credentials.json",
        ".claude-flow/api-keys.json",
        ".claude-flow/session-token.json",
        ".claude-flow/apiKeys.json",
        ".claude-flow/GitHubTOKEN.json",
        ".claude-flow/APIKeys.json",
        ".claude-flow/secrets/store.json",
        ".claude-flow/config.json",
        ".agentic-qe/aqe.config.json",
        ".swarm/mcp-servers.json",
    ];
    let learned = [
        ".claude-flow/tasks/store.json",
        ".claude-flow/agents/store.json",
        ".claude-flow/hive-mind/state.json",
        ".claude-flow/sessions/session-123.json",
        ".claude-flow/keyboard.json",
        ".claude-flow/neural/models.json",
        ".swarm/sona-patterns.json",
    ];
    for name in kept_out.into_iter().chain(learned) {
        project.write(name, secret);
    }
    let discovery = look(&project);
    for name in kept_out {
        assert_eq!(reason(&discovery, name), "configuration or credentials, nothing learned", "{name}");
    }
    for name in learned {
        assert!(names(&discovery).contains(&name), "{name} in {:?}", discovery.skipped);
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_a_copy_whose_target_has_a_wal_is_no_copy() {
    let project = Project::with(V3, V3_DB);
    project.add(V3, "elsewhere/real.db");
    fs::create_dir(project.path(".agentic-qe")).expect("created");
    std::os::unix::fs::symlink(project.path("elsewhere/real.db"), project.path(ROOT_DB)).expect("linked");
    assert_eq!(names(&look(&project)), [V3_DB]);
    project.write("elsewhere/real.db-wal", &[1; 100]);
    assert_eq!(names(&look(&project)), [V3_DB, ROOT_DB]);
}

#[test]
fn large_files_are_not_compared_at_every_run() {
    let project = Project::empty();
    let size = |megabytes: u64| {
        for name in [ROOT_DB, ".agentic-qe/other.db"] {
            project.write(name, b"SQLite format 3\0");
            let file = fs::OpenOptions::new().write(true).open(project.path(name)).expect("opened");
            file.set_len(megabytes << 20).expect("grown");
        }
    };
    size(32);
    assert_eq!(look(&project).found.len(), 1);
    size(33);
    assert_eq!(look(&project).found.len(), 2);
}
