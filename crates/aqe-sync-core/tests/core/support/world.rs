//! One environment with its hub and ledger, and what can be asked of them.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use aqe_sync_core::meet::Stored;
use aqe_sync_core::{
    DynSource, Engine, Environment, MemoryLedger, Mode, Options, Record, Report, Silent, StreamId, StreamReport, Value,
};
use futures::executor::block_on;

use super::memory_sink::MemorySink;
use super::memory_source::MemorySource;
use super::note::{notes, spec};

pub(crate) const ENVIRONMENT: &str = "laptop";

pub(crate) struct World {
    pub(crate) sink: MemorySink,
    pub(crate) ledger: MemoryLedger,
    pub(crate) options: Options,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            sink: MemorySink::default(),
            ledger: MemoryLedger::new(),
            options: Options::new(Environment::new(ENVIRONMENT)),
        }
    }

    pub(crate) fn with(configure: impl FnOnce(&mut Options)) -> Self {
        let mut world = Self::new();
        configure(&mut world.options);
        world
    }

    /// Runs once; whatever happens, the account must add up.
    pub(crate) fn run_as(&self, mode: Mode, sources: &[&MemorySource]) -> Report {
        let boxed: Vec<Box<dyn DynSource>> = sources.iter().map(|source| Box::new((*source).clone()) as _).collect();
        let options = self.options.clone().mode(mode);
        let engine = Engine::new(&self.sink, &self.ledger, &Silent, options);
        let report = block_on(engine.run(&boxed)).expect("the hub answers");
        for stream in &report.streams {
            stream.counters.balance().expect("every record is accounted for");
        }
        report.totals.balance().expect("the totals add up");
        report
    }

    pub(crate) fn run(&self, sources: &[&MemorySource]) -> Report {
        self.run_as(Mode::Incremental, sources)
    }

    /// Runs once with all responses held back; whenever the engine can do nothing
    /// but wait, `choose` says which of the held ones arrives.
    pub(crate) fn run_choosing(
        &self,
        mode: Mode,
        sources: &[&MemorySource],
        mut choose: impl FnMut(&[StreamId]) -> usize,
    ) -> Report {
        let boxed: Vec<Box<dyn DynSource>> = sources.iter().map(|source| Box::new((*source).clone()) as _).collect();
        let engine = Engine::new(&self.sink, &self.ledger, &Silent, self.options.clone().mode(mode));
        let mut run = pin!(engine.run(&boxed));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        self.sink.hold();
        let report = loop {
            if let Poll::Ready(report) = run.as_mut().poll(&mut Context::from_waker(&waker)) {
                break report.expect("the hub answers");
            }
            if !woken.0.swap(false, Ordering::SeqCst) {
                let held = self.sink.held();
                assert!(!held.is_empty(), "the engine waits for nothing");
                self.sink.release(choose(&held) % held.len());
            }
        };
        for stream in &report.streams {
            stream.counters.balance().expect("every record is accounted for");
        }
        report
    }

    /// Throws the ledger away.
    pub(crate) fn forget(&mut self) {
        self.ledger = MemoryLedger::new();
    }

    /// All rows by key, tombstones too.
    pub(crate) fn stored(&self) -> BTreeMap<String, Stored> {
        self.sink.hub().rows.into_values().map(|(key, stored)| (key.to_string(), stored)).collect()
    }

    /// The living rows' bodies by key.
    pub(crate) fn bodies(&self) -> BTreeMap<String, Value> {
        let living = self.stored().into_iter().filter(|(_, stored)| !stored.deleted);
        living.map(|(key, stored)| (key, stored.row.values[1].clone())).collect()
    }

    /// Everything that re-running must not change.
    pub(crate) fn content(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let hub = self.sink.hub();
        let sequences: BTreeMap<StreamId, u64> =
            hub.states.into_iter().map(|(stream, state)| (stream, state.sequence)).collect();
        (hub.rows, hub.letters, hub.conflicts, sequences)
    }
}

/// The report of the first stream.
pub(crate) fn first(report: &Report) -> &StreamReport {
    &report.streams[0]
}

/// What the engine would have stored for a record.
pub(crate) fn stored(record: Record) -> Stored {
    let world = World::new();
    world.run(&[&MemorySource::new("a.db", spec(notes()), vec![record])]);
    world.stored().into_values().next().expect("one row")
}

/// Somebody else's hand in the hub: its row is that of this record now.
pub(crate) fn edit(world: &World, key: &str, record: Record) {
    let by = stored(record);
    world.sink.tamper(|hub| {
        let row = hub.rows.values_mut().find(|(known, _)| known.to_string() == key);
        row.expect("a row").1 = by;
    });
}

pub(crate) fn stream_id(source: &str) -> StreamId {
    StreamId { environment: ENVIRONMENT.into(), source: source.into(), stream: "notes".into() }
}

/// Bodies as a test writes them down.
pub(crate) fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
    pairs.iter().map(|(key, body)| ((*key).to_owned(), Value::from(*body))).collect()
}

pub(crate) fn shared<T: aqe_sync_core::Transform + 'static>(transform: T) -> Arc<dyn aqe_sync_core::Transform> {
    Arc::new(transform)
}

/// Remembers that somebody wants to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
