//! Pulls ended at every failpoint of their own, and run again: the agent's file shows what an
//! undisturbed pull leaves, and what is sent afterwards is this environment's own part.

use std::path::{Path, PathBuf};

use aqe_sync_workspace::postgres::Cluster;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::every_failpoint::same;
use crate::hub::Hub;
use crate::listed;
use crate::program::{self, End};
use crate::project;

/// What the names of these failpoints begin with.
pub(crate) const THEIRS: &str = "pull-";

const FILE: &str = ".agentic-qe/memory.db";

struct World {
    folder: TempDir,
    hub: Hub,
}

impl World {
    /// Two environments with the same few patterns, of which each has used some and made one.
    fn new(hub: impl FnOnce(&Path) -> Hub) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let hub = hub(folder.path());
        let world = Self { folder, hub };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/agentic-qe-3.3.0/v3");
        for (number, name) in ["one", "two"].into_iter().enumerate() {
            let path = world.root(name).join(FILE);
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("created");
            std::fs::create_dir_all(project::temporary(&world.root(name))).expect("created");
            std::fs::copy(fixtures.join(FILE), &path).expect("copied");
            world.edit(
                name,
                &format!(
                    "PRAGMA foreign_keys = ON; DELETE FROM qe_patterns WHERE rowid > 6; DELETE FROM kv_store; \
                     DELETE FROM goap_actions; DELETE FROM sona_patterns; \
                     UPDATE qe_patterns SET usage_count = usage_count + {number} + 1 WHERE rowid % 2 = {number}; \
                     INSERT INTO qe_patterns (id, pattern_type, qe_domain, domain, name) \
                     VALUES ('of-{name}', 't', 'd', 'd', 'made by {name}')"
                ),
            );
        }
        for name in ["one", "two"] {
            world.run(name, &[]);
        }
        world
    }

    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("project")
    }

    fn edit(&self, name: &str, sql: &str) {
        let file = Connection::open(self.root(name).join(FILE)).expect("opened");
        file.execute_batch(sql).expect("valid SQL");
    }

    fn run(&self, name: &str, arguments: &[&str]) -> program::Run {
        let arguments = [&["--env", name], arguments].concat();
        let run = program::run(&self.root(name), &self.hub.url(), &arguments);
        run.ended_with(0);
        run
    }

    /// What the agent's file shows, row by row.
    fn shown(&self) -> Vec<String> {
        let file = Connection::open(self.root("one").join(FILE)).expect("opened");
        let mut statement = file.prepare("SELECT * FROM qe_patterns ORDER BY id").expect("valid SQL");
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|column| row.get(column)).collect();
            Ok(format!("{:?}", values?))
        });
        rows.and_then(Iterator::collect).expect("readable")
    }

    fn keep(&self) {
        copy(&self.root("one"), &self.folder.path().join("kept"));
        self.hub.keep(0);
    }

    fn restore(&self) {
        std::fs::remove_dir_all(self.root("one")).expect("removed");
        copy(&self.folder.path().join("kept"), &self.root("one"));
        self.hub.restore(0);
    }
}

/// Copies a folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("readable") {
        let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("readable");
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copied");
        }
    }
}

fn every(world: &World) {
    world.keep();
    world.run("one", &["pull"]);
    let undisturbed = world.shown();
    assert!(undisturbed.iter().any(|row| row.contains("of-two")), "something was pulled");
    let mut kills = 0;
    for failpoint in listed::all().filter(|name| name.starts_with(THEIRS)) {
        world.restore();
        let (root, hub) = (world.root("one"), world.hub.url());
        let end = End { failpoint, time: 1 };
        program::command_ended(&root, &hub, &["--env", "one", "pull"], "", end)
            .unwrap_or_else(|run| panic!("{failpoint} was not reached: {run:?}"));
        kills += 1;
        // Its agent goes on meanwhile.
        world.edit("one", "UPDATE qe_patterns SET usage_count = usage_count + 1 WHERE id = 'of-one'");
        world.run("one", &["pull"]);
        world.edit("one", "UPDATE qe_patterns SET usage_count = usage_count - 1 WHERE id = 'of-one'");
        same(&format!("{failpoint}: the agent's file"), &world.shown(), &undisturbed);
        world.run("one", &["--sources", FILE]).changed_nothing();
        world.run("one", &["verify"]);
    }
    assert!(kills >= 7, "{kills}");
    println!("ended {kills} pulls at {kills} failpoints");
}

#[test]
fn pulls_from_the_embedded_hub() {
    every(&World::new(|folder| Hub::Embedded { path: folder.join("one/project/.aqe-sync/shared.db") }));
}

#[test]
fn pulls_from_postgresql() {
    every(&World::new(|_| Hub::Postgres { database: Cluster::shared().database() }));
}
