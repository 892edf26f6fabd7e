//! Ended at every failpoint, and run again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aqe_sync_workspace::postgres::Cluster;

use crate::hub::Hub;
use crate::listed;
use crate::program::{self, End, Run};
use crate::project::Project;
use crate::scenario::{STEPS, Step};
use crate::{budget, ledger, pulls};

/// What a run leaves.
struct Left {
    hub: Vec<String>,
    ledger: Vec<String>,
    verified: Vec<String>,
    codes: [i32; 2],
}

struct World {
    project: Project,
    hub: Hub,
}

impl World {
    fn sync(&self) -> Run {
        program::run(&self.project.root(), &self.hub.url(), &[])
    }

    fn restore(&self, number: usize) {
        self.project.restore(number);
        self.hub.restore(number);
    }

    /// What is there after a run, and that running again changes nothing of it.
    fn left(&self, run: &Run) -> Left {
        let (hub, ledger) = (self.hub.dump(), ledger::dump(&self.project.ledger()));
        let again = self.sync();
        again.changed_nothing();
        same("the hub after one more run", &self.hub.dump(), &hub);
        let verified = program::run(&self.project.root(), &self.hub.url(), &["verify", "--deep"]);
        // Where all was done before the end, nothing is left to warn of again.
        assert!(run.code == again.code || run.code == 1, "{run:?}");
        Left { hub, ledger, verified: verified.streams(), codes: [again.code, verified.code] }
    }
}

/// All lines are the same; says which are not.
pub(crate) fn same(what: &str, found: &[String], wanted: &[String]) {
    if found == wanted {
        return;
    }
    let count = |lines: &[String]| {
        lines.iter().fold(BTreeMap::<String, i64>::new(), |mut counts, line| {
            *counts.entry(line.clone()).or_default() += 1;
            counts
        })
    };
    let (found, wanted) = (count(found), count(wanted));
    let mut told = String::new();
    for (sign, these, others) in [('+', &found, &wanted), ('-', &wanted, &found)] {
        for (line, number) in these.iter().filter(|(line, number)| others.get(*line) != Some(*number)).take(5) {
            let line: String = line.chars().take(700).collect();
            let _ = writeln!(told, "{sign} ({number} times) {line}");
        }
    }
    panic!("{what} is not what an undisturbed run leaves:\n{told}");
}

/// Ends the program at every failpoint of one kind of hub, as often as `times` says.
fn every(world: &World, theirs: &str) {
    let mut reached_at_all: BTreeMap<String, usize> = BTreeMap::new();
    let mut kills = 0;
    for (number, Step { name, prepare, slow, matches }) in STEPS.iter().enumerate() {
        prepare(&world.project, &world.hub);
        world.project.keep(number);
        world.hub.keep(number);
        let sources = world.project.bytes();
        let (run, reached) = program::traced(&world.project.root(), &world.hub.url(), slow);
        let undisturbed = world.left(&run);
        if *matches {
            assert_eq!(undisturbed.codes, [0, 0], "{name}: the hub holds what the sources hold");
        }
        for failpoint in listed::all().filter(|failpoint| reached.contains_key(*failpoint)) {
            let times = reached[failpoint];
            let before = reached_at_all.insert(failpoint.to_owned(), times);
            for time in chosen(times, before.is_some()) {
                let end = End { failpoint, time };
                if !world.ends(number, slow, end) {
                    // Which way a batch goes depends on the one before it: it may not come there that often.
                    assert!(time > 1, "{name}: {end:?} was not reached again");
                    continue;
                }
                kills += 1;
                let again = world.sync();
                let left = world.left(&again);
                let what = |part: &str| format!("{name}, {end:?}: {part}");
                same(&what("the hub"), &left.hub, &undisturbed.hub);
                same(&what("the ledger"), &left.ledger, &undisturbed.ledger);
                same(&what("what verify says"), &left.verified, &undisturbed.verified);
                assert_eq!(left.codes, undisturbed.codes, "{}", what("how it ended"));
                assert!(world.project.bytes() == sources, "{}", what("a source was touched"));
            }
        }
        world.restore(number);
        world.sync().ended_with(run.code);
    }
    world.hub.forget(STEPS.len());
    let missed: Vec<_> = listed::all()
        .filter(|name| !name.starts_with(theirs) && !name.starts_with(pulls::THEIRS))
        .filter(|name| !reached_at_all.contains_key(*name))
        .collect();
    assert!(missed.is_empty(), "no step reaches {missed:?}");
    println!("ended {kills} times at {} failpoints", reached_at_all.len());
}

impl World {
    /// Ends the program there; tries again where it happened to go another way.
    fn ends(&self, number: usize, slow: &str, end: End<'_>) -> bool {
        const TRIES: usize = 4;
        (0..TRIES).any(|_| {
            self.restore(number);
            program::ended(&self.project.root(), &self.hub.url(), slow, end).is_ok()
        })
    }
}

/// The first time and, in the steps after that, the last; many more where there is time.
fn chosen(times: usize, again: bool) -> Vec<usize> {
    let mut chosen: Vec<usize> = match budget::asked() {
        None if again => vec![times],
        None => vec![1],
        Some(_) => (1..=8.min(times)).chain([times / 2, times]).filter(|time| *time > 0).collect(),
    };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[test]
fn over_the_embedded_hub() {
    let project = Project::new();
    let hub = Hub::embedded(&project.root());
    every(&World { project, hub }, "postgres-");
}

#[test]
fn over_postgresql() {
    let hub = Hub::Postgres { database: Cluster::shared().database() };
    every(&World { project: Project::new(), hub }, "embedded-");
}
