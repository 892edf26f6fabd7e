//! Whatever happens: the account adds up, and the next sound run finishes the job.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqe_sync_core::ledger::{LedgerEntry, LedgerStream, SourceState};
use aqe_sync_core::{
    DynSource, Engine, Environment, Error, ErrorKind, Ledger, MemoryLedger, Mode, Record, Result, Silent, SourceName,
    Status, StreamId, Value,
};
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_sink::{Step, When};
use crate::support::memory_source::{Ending, MemorySource};
use crate::support::note::{With as _, note, notes, spec};
use crate::support::world::World;

#[derive(Clone, Copy, Debug)]
enum Action {
    Put { source: usize, key: u8, version: u8 },
    Remove { source: usize, key: u8 },
    Repeat { source: usize, key: u8 },
    Break { source: usize, nameless: bool },
    Run { mode: Mode, rows: usize, torn: Option<usize> },
    Fault { step: Step, when: When, spare: usize },
    Forget,
}

fn action() -> impl Strategy<Value = Action> {
    let mode = prop_oneof![3 => Just(Mode::Incremental), 1 => Just(Mode::Full), 1 => Just(Mode::Append)];
    let step = prop_oneof![
        Just(Step::Known),
        Just(Step::Begin),
        Just(Step::Apply),
        Just(Step::Resolve),
        Just(Step::Reject),
        Just(Step::Commit),
        Just(Step::Finish),
        Just(Step::Prepare),
    ];
    let when = prop_oneof![Just(When::Before), Just(When::After)];
    prop_oneof![
        6 => (0..2_usize, 0..6_u8, 0..4_u8).prop_map(|(source, key, version)| Action::Put { source, key, version }),
        2 => (0..2_usize, 0..6_u8).prop_map(|(source, key)| Action::Remove { source, key }),
        1 => (0..2_usize, 0..6_u8).prop_map(|(source, key)| Action::Repeat { source, key }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(source, nameless)| Action::Break { source, nameless }),
        5 => (mode, 1..4_usize, proptest::option::weighted(0.2, 0..2_usize))
            .prop_map(|(mode, rows, torn)| Action::Run { mode, rows, torn }),
        2 => (step, when, 0..3_usize).prop_map(|(step, when, spare)| Action::Fault { step, when, spare }),
        1 => Just(Action::Forget),
    ]
}

#[derive(Default)]
struct Local {
    records: [BTreeMap<u8, u8>; 2],
    repeated: [Vec<u8>; 2],
    nameless: [bool; 2],
}

impl Local {
    fn sources(&self) -> [MemorySource; 2] {
        [0, 1].map(|number| {
            let body = |key: &u8, version: &u8| {
                note(&key.to_string(), format!("{number}: {version}")).with("confidence", f64::from(*version))
            };
            let mut records: Vec<Record> =
                self.records[number].iter().map(|(key, version)| body(key, version)).collect();
            records.extend(self.repeated[number].iter().map(|key| note(&key.to_string(), "once more")));
            if self.nameless[number] {
                records.push(note("", "nameless").with("id", Value::Null));
            }
            MemorySource::new(["a.db", "b.db"][number], spec(notes()), records)
                .priority(i32::try_from(number).expect("small"))
        })
    }
}

fn play(world: &mut World, local: &mut Local, action: Action) {
    match action {
        Action::Put { source, key, version } => {
            local.records[source].insert(key, version);
        }
        Action::Remove { source, key } => {
            local.records[source].remove(&key);
        }
        Action::Repeat { source, key } => local.repeated[source].push(key),
        Action::Break { source, nameless } => local.nameless[source] = nameless,
        Action::Fault { step, when, spare } => world.sink.fail(step, when, spare),
        Action::Forget => world.forget(),
        Action::Run { mode, rows, torn } => {
            world.options.limits.rows = rows;
            let mut sources = local.sources();
            if let Some(torn) = torn {
                sources[torn] = sources[torn].clone().ending(Ending::Error);
            }
            world.run_as(mode, &[&sources[0], &sources[1]]);
        }
    }
}

proptest! {
    #![proptest_config(cases(192))]

    /// `World::run_as` checks every account on the way.
    #[test]
    fn accounts_add_up_and_a_sound_run_ends_as_if_nothing_had_happened(
        actions in proptest::collection::vec(action(), 1..24),
    ) {
        let (mut world, mut local) = (World::new(), Local::default());
        for action in actions {
            play(&mut world, &mut local, action);
        }
        world.sink.heal();
        local.nameless = [false; 2];
        let sources = local.sources();
        let sources = [&sources[0], &sources[1]];
        world.run(&sources);
        let fresh = World::new();
        fresh.run(&sources);
        let living = |world: &World| {
            let living = world.stored().into_iter().filter(|(_, stored)| !stored.deleted);
            living.collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(living(&world), living(&fresh));
        let before = world.sink.hub().rows;
        let report = world.run(&sources);
        prop_assert_ne!(report.status, Status::Failed);
        prop_assert_eq!(report.totals.unchanged + report.totals.dead_lettered, report.totals.read);
        prop_assert_eq!(world.sink.hub().rows, before);
    }
}

/// Fails at its nth append.
struct BrokenLedger {
    inner: MemoryLedger,
    spare: AtomicUsize,
}

impl Ledger for BrokenLedger {
    fn load(&self, stream: &StreamId) -> Result<Option<LedgerStream>> {
        self.inner.load(stream)
    }

    fn append(&self, stream: &StreamId, sequence: u64, entries: &[LedgerEntry]) -> Result<()> {
        if self.spare.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Err(Error::new(ErrorKind::Io, "no space left on device"));
        }
        self.inner.append(stream, sequence, entries)
    }

    fn replace(&self, stream: &StreamId, known: &LedgerStream) -> Result<()> {
        self.inner.replace(stream, known)
    }

    fn source(&self, environment: &Environment, source: &SourceName) -> Result<Option<SourceState>> {
        self.inner.source(environment, source)
    }

    fn set_source(&self, environment: &Environment, source: &SourceName, state: Option<&SourceState>) -> Result<()> {
        self.inner.set_source(environment, source, state)
    }
}

#[test]
fn a_ledger_that_cannot_be_written_costs_neither_rows_nor_the_account() {
    let world = World::new();
    let broken = note("", "nameless").with("id", Value::Null);
    let source = MemorySource::new("a.db", spec(notes()), vec![note("1", "one"), broken]);
    let ledger = BrokenLedger { inner: MemoryLedger::new(), spare: AtomicUsize::new(0) };
    let sources: Vec<Box<dyn DynSource>> = vec![Box::new(source)];
    let run = || {
        let engine = Engine::new(&world.sink, &ledger, &Silent, world.options.clone());
        futures::executor::block_on(engine.run(&sources)).expect("the hub answers")
    };
    let report = run();
    assert_eq!((report.status, report.totals.inserted, report.totals.dead_lettered), (Status::Failed, 1, 1));
    let report = run();
    assert_eq!((report.totals.unchanged, report.totals.inserted, report.totals.dead_lettered), (1, 0, 1));
}
