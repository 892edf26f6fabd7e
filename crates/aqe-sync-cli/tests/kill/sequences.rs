//! Whatever may happen, in any order: in the end the hub holds what the machines hold.
//!
//! Two machines write, sync, are ended at any failpoint, lose their ledger or get an old one back,
//! while the hub's server crashes. Then each syncs once more, and once to another hub, which saw
//! nothing of all that: both hubs hold the same.

use std::fmt::Write as _;
use std::time::Instant;

use aqe_sync_workspace::postgres::Cluster;
use fastrand::Rng;

use crate::every_failpoint::same;
use crate::hub::Hub;
use crate::program::{self, End};
use crate::project::Project;
use crate::scenario::{AGENTIC, SWARM};
use crate::{budget, listed};

/// A machine, with what it keeps.
struct Machine {
    project: Project,
    environment: &'static str,
    ledgers: usize,
}

/// Where the machines sync to.
enum Server {
    None,
    Cluster(Box<Cluster>),
}

/// What was done in all sequences.
#[derive(Default, Debug)]
struct Done {
    sequences: usize,
    syncs: usize,
    ends: usize,
    crashes: usize,
    ledgers: usize,
}

struct Sequence<'a> {
    random: Rng,
    machines: [Machine; 2],
    hub: Hub,
    server: &'a Server,
    done: &'a mut Done,
    /// So many rows were written; each gets a number.
    rows: usize,
}

impl Machine {
    fn new(environment: &'static str) -> Self {
        let project = Project::new();
        let settings = format!(
            "env = \"{environment}\"\nallow_mass_delete = true\n[batch]\nrows = 200\n[postgres]\nfar = false\n"
        );
        std::fs::write(project.root().join("aqe-sync.toml"), settings).expect("written");
        Self { project, environment, ledgers: 0 }
    }

    fn sync(&self, hub: &str) -> program::Run {
        program::run(&self.project.root(), hub, &[])
    }
}

impl Sequence<'_> {
    fn run(mut self) {
        for _ in 0..self.random.usize(6..24) {
            let machine = self.random.usize(0..2);
            match self.random.u32(0..20) {
                0..5 => self.write(machine),
                5..8 => self.sync(machine),
                8..15 => self.end(machine),
                15 => self.lose_ledger(machine),
                16 => self.keep_ledger(machine),
                17..19 => self.restore_ledger(machine),
                _ => self.crash(),
            }
        }
        self.compare();
        self.done.sequences += 1;
    }

    /// Rows come, change and go.
    fn write(&mut self, machine: usize) {
        let project = &self.machines[machine].project;
        let (number, part) = (self.rows, self.random.usize(0..5));
        match self.random.u32(0..8) {
            0..3 => {
                let count = self.random.usize(1..60);
                // Rarely more than goes as parameters of one statement.
                let (count, length) = if self.random.u32(0..8) == 0 { (220, 8_500) } else { (count, 40) };
                let mut sql = String::from("BEGIN;");
                for number in number..number + count {
                    let text = "text ".repeat(length / 5);
                    let _ = write!(
                        sql,
                        "INSERT INTO memory_entries (id, key, namespace, content, type) VALUES ('w{number}', \
                         'k{number}', 'written', '{number} {text}', 'semantic');"
                    );
                }
                self.rows += count;
                project.edit(SWARM, &(sql + "COMMIT"));
            }
            3 => {
                self.rows += 1;
                let sql = format!(
                    "INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('w{number}', 'p{number}', 0.5, 1)"
                );
                project.edit(AGENTIC, &sql);
            }
            4 => project.edit(
                SWARM,
                &format!("UPDATE memory_entries SET content = content || ' {number}' WHERE rowid % 5 = {part}"),
            ),
            5 => project.edit(
                AGENTIC,
                &format!(
                    "UPDATE patterns SET usage_count = usage_count + 1 WHERE rowid % 5 = {part};
                     UPDATE goap_goals SET priority = priority + 1 WHERE rowid % 5 = {part}"
                ),
            ),
            6 => project.edit(SWARM, &format!("DELETE FROM memory_entries WHERE rowid % 7 = {part}")),
            // What is deleted here may come again under the same key.
            _ => project.edit(
                AGENTIC,
                &format!(
                    "CREATE TEMP TABLE gone AS SELECT * FROM patterns WHERE rowid % 7 = {part};
                     DELETE FROM patterns WHERE rowid % 7 = {part};
                     INSERT INTO patterns SELECT * FROM gone WHERE rowid % 2 = 0"
                ),
            ),
        }
        self.rows += 1;
    }

    fn sync(&mut self, machine: usize) {
        let machine = &self.machines[machine];
        println!("  {} syncs", machine.environment);
        machine.sync(&self.hub.url()).ended_with(0);
        self.done.syncs += 1;
    }

    /// Ends a run somewhere; one that does not come there ends by itself.
    fn end(&mut self, machine: usize) {
        // Without something to do it comes nowhere.
        self.write(machine);
        let machine = &self.machines[machine];
        let others = if matches!(self.hub, Hub::Embedded { .. }) { "postgres-" } else { "embedded-" };
        let names: Vec<&str> = listed::all().filter(|name| !name.starts_with(others)).collect();
        let end = End { failpoint: names[self.random.usize(..names.len())], time: self.random.usize(1..=3) };
        match program::ended(&machine.project.root(), &self.hub.url(), "", end) {
            Ok(()) => {
                println!("  {} ended at {end:?}", machine.environment);
                self.done.ends += 1;
            }
            Err(run) => {
                println!("  {} syncs", machine.environment);
                run.ended_with(0);
                self.done.syncs += 1;
            }
        }
    }

    fn lose_ledger(&mut self, machine: usize) {
        println!("  {} loses its ledger", self.machines[machine].environment);
        self.machines[machine].project.remove_ledger();
        self.done.ledgers += 1;
    }

    fn keep_ledger(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        machine.project.keep_ledger(machine.ledgers);
        machine.ledgers += 1;
    }

    fn restore_ledger(&mut self, machine: usize) {
        let machine = &self.machines[machine];
        if machine.ledgers > 0 {
            let number = self.random.usize(..machine.ledgers);
            println!("  {} gets its ledger {number} of {} back", machine.environment, machine.ledgers);
            machine.project.remove_ledger();
            machine.project.restore_ledger(number);
            self.done.ledgers += 1;
        }
    }

    fn crash(&mut self) {
        if let Server::Cluster(cluster) = self.server {
            println!("  the hub's server crashes");
            cluster.stop_immediately();
            cluster.start_again();
            self.done.crashes += 1;
        }
    }

    fn compare(&self) {
        let other = tempfile::tempdir().expect("a folder");
        let twin = match self.server {
            Server::None => Hub::Embedded { path: other.path().join("twin.db") },
            Server::Cluster(cluster) => Hub::Postgres { database: cluster.database() },
        };
        for machine in &self.machines {
            machine.sync(&self.hub.url()).ended_with(0);
            let again = machine.sync(&self.hub.url());
            again.ended_with(0);
            again.changed_nothing();
            program::run(&machine.project.root(), &self.hub.url(), &["verify", "--deep"]).ended_with(0);
            machine.sync(&twin.url()).ended_with(0);
        }
        let (found, wanted) = (live(&self.hub), live(&twin));
        assert!(wanted.len() > 200, "the machines hold something: {}", wanted.len());
        same("the hub", &found, &wanted);
    }
}

/// All rows that are not deleted; nobody wrote the same row, so that there are no conflicts.
fn live(hub: &Hub) -> Vec<String> {
    let mut lines = hub.dump();
    lines.retain(|line| !line.contains("deleted_at=a moment") && !line.starts_with("sync_state "));
    lines
}

fn sequences(server: &Server) {
    let begun = Instant::now();
    let mut done = Done::default();
    let mut seeds = Rng::new();
    loop {
        let seed = budget::seed().unwrap_or_else(|| seeds.u64(..));
        println!("AQE_KILL_SEED={seed}");
        let folder = tempfile::tempdir().expect("a folder");
        let hub = match server {
            Server::None => Hub::Embedded { path: folder.path().join("hub.db") },
            Server::Cluster(cluster) => Hub::Postgres { database: cluster.database() },
        };
        let machines = [Machine::new("laptop"), Machine::new("devpod")];
        Sequence { random: Rng::with_seed(seed), machines, hub, server, done: &mut done, rows: 0 }.run();
        if budget::seed().is_some() || begun.elapsed() >= budget::time() {
            break;
        }
    }
    println!("{done:?}");
    assert!(budget::seed().is_some() || done.ends > 0, "nothing was ended: {done:?}");
}

#[test]
fn at_random_over_the_embedded_hub() {
    sequences(&Server::None);
}

#[test]
fn at_random_over_postgresql() {
    sequences(&Server::Cluster(Box::new(Cluster::start())));
}
