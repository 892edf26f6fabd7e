//! Faults strike where they were told to, count themselves, and leave nothing wrong behind.

use std::sync::Arc;

use aqe_sync_core::testkit::{Fault, FaultySink, FaultySource, Gate, SinkStep, SourceStep};
use aqe_sync_core::{DynSource, Engine, MemoryLedger, Options, Report, Result, Silent, Status};
use futures::executor::block_on;
use futures::future::join;

use crate::support::memory_sink::MemorySink;
use crate::support::memory_source::MemorySource;
use crate::support::note::{note, notes, spec};

fn source(bodies: &[(&str, &str)]) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), bodies.iter().map(|(id, body)| note(id, *body)).collect())
}

async fn run(sink: &FaultySink<MemorySink>, ledger: &MemoryLedger, sources: &[Box<dyn DynSource>]) -> Result<Report> {
    let mut options = Options::new("laptop".into());
    options.limits.rows = 2;
    let engine = Engine::new(sink, ledger, &Silent, options);
    Box::pin(engine.run(sources)).await
}

fn boxed(source: impl aqe_sync_core::Source + 'static) -> [Box<dyn DynSource>; 1] {
    [Box::new(source)]
}

const FIRST: [(&str, &str); 4] = [("1", "one"), ("2", "two"), ("3", "three"), ("4", "four")];
const THEN: [(&str, &str); 4] = [("1", "uno"), ("2", "two"), ("4", "four"), ("5", "five")];

fn faults() -> [Fault; 4] {
    [Fault::Reject, Fault::FailAfterWrite, Fault::Slow(5), Fault::CutMidBatch]
}

#[test]
fn whatever_breaks_at_the_sink_fires_and_the_next_run_finishes_the_job() {
    let sound = FaultySink::new(MemorySink::default());
    let ledger = MemoryLedger::new();
    block_on(run(&sound, &ledger, &boxed(source(&FIRST)))).expect("sound");
    block_on(run(&sound, &ledger, &boxed(source(&THEN)))).expect("sound");
    assert_eq!((sound.fired(), sound.waiting()), (0, 0));
    let wanted = sound.inner().hub().rows;
    let steps = [
        SinkStep::States,
        SinkStep::Prepare,
        SinkStep::Push,
        SinkStep::Begin,
        SinkStep::Apply,
        SinkStep::Commit,
        SinkStep::Known,
        SinkStep::Finish,
    ];
    for step in steps {
        for fault in faults() {
            let sink = FaultySink::new(MemorySink::default());
            let ledger = MemoryLedger::new();
            block_on(run(&sink, &ledger, &boxed(source(&FIRST)))).expect("sound");
            // A lost ledger makes the run ask what is known.
            let ledger = if step == SinkStep::Known { MemoryLedger::new() } else { ledger };
            sink.inject(step, 0, fault.clone());
            let broken = block_on(run(&sink, &ledger, &boxed(source(&THEN))));
            assert_eq!((sink.fired(), sink.waiting()), (1, 0), "{step:?} {fault:?}");
            let well = broken.is_ok_and(|report| report.status == Status::Ok);
            assert_eq!(well, matches!(fault, Fault::Slow(_)), "{step:?} {fault:?}");
            let report = block_on(run(&sink, &ledger, &boxed(source(&THEN)))).expect("sound");
            assert_eq!(report.status, Status::Ok, "{step:?} {fault:?}: {report:?}");
            assert_eq!(sink.inner().hub().rows, wanted, "{step:?} {fault:?}");
        }
    }
}

#[test]
fn whatever_breaks_at_the_source_fires_and_deletes_nothing() {
    for step in [SourceStep::Streams, SourceStep::Fingerprint, SourceStep::Batch] {
        for fault in faults() {
            let sink = FaultySink::new(MemorySink::default());
            let ledger = MemoryLedger::new();
            block_on(run(&sink, &ledger, &boxed(source(&FIRST)))).expect("sound");
            let faulty = Arc::new(FaultySource::new(source(&THEN)));
            let spare = usize::from(step == SourceStep::Batch);
            faulty.inject(step, spare, fault.clone());
            let report = block_on(run(&sink, &ledger, &boxed(Arc::clone(&faulty)))).expect("the hub is well");
            assert_eq!((faulty.fired(), faulty.waiting()), (1, 0), "{step:?} {fault:?}");
            let well = matches!(fault, Fault::Slow(_));
            assert_eq!(report.status == Status::Ok, well, "{step:?} {fault:?}: {report:?}");
            assert_eq!(report.totals.deleted, u64::from(well), "{step:?} {fault:?}");
            let report = block_on(run(&sink, &ledger, &boxed(faulty))).expect("sound");
            assert_eq!(report.status, Status::Ok, "{step:?} {fault:?}");
            let living = sink.inner().hub().rows.into_values().filter(|(_, stored)| !stored.deleted);
            assert_eq!(living.count(), THEN.len(), "{step:?} {fault:?}");
        }
    }
}

#[test]
fn a_held_response_arrives_when_the_gate_opens_and_not_before() {
    let (sink, ledger, gate) = (FaultySink::new(MemorySink::default()), MemoryLedger::new(), Gate::new());
    sink.inject(SinkStep::Push, 0, Fault::HoldResponse(gate.clone()));
    let sources = boxed(source(&FIRST));
    let look = async {
        gate.reached().await;
        let written = sink.inner().hub().rows.len();
        gate.open();
        written
    };
    let (report, written) = block_on(join(run(&sink, &ledger, &sources), look));
    assert_eq!((sink.fired(), gate.arrived(), written), (1, 1, 2), "the first batch was written, and nothing after it");
    assert_eq!(report.expect("sound").totals.inserted, 4);
}

#[test]
fn a_held_batch_holds_the_reading_up() {
    let (sink, ledger, gate) = (FaultySink::new(MemorySink::default()), MemoryLedger::new(), Gate::new());
    let faulty = Arc::new(FaultySource::new(source(&FIRST)));
    faulty.inject(SourceStep::Batch, 2, Fault::HoldResponse(gate.clone()));
    let sources = boxed(Arc::clone(&faulty));
    let look = async {
        gate.reached().await;
        let taken = faulty.inner().taken();
        gate.open();
        taken
    };
    let (report, taken) = block_on(join(run(&sink, &ledger, &sources), look));
    assert_eq!((faulty.fired(), taken), (1, 3));
    assert_eq!(report.expect("sound").totals.inserted, 4);
}

#[test]
fn a_step_of_a_transaction_breaks_too() {
    use aqe_sync_core::{Sink as _, SinkTxn as _};
    let stream = crate::support::world::stream_id("a.db");
    let table = crate::support::note::table(notes());
    for fault in faults() {
        let sink = FaultySink::new(MemorySink::default());
        block_on(sink.prepare(&table)).expect("sound");
        for step in [SinkStep::Resolve, SinkStep::Reject] {
            sink.inject(step, 0, fault.clone());
        }
        let mut txn = block_on(sink.begin(&stream, &table)).expect("sound");
        let outcomes = [block_on(txn.resolve(Vec::new())).is_ok(), block_on(txn.reject(Vec::new())).is_ok()];
        assert_eq!(outcomes, [matches!(fault, Fault::Slow(_)); 2], "{fault:?}");
        assert_eq!((sink.fired(), sink.waiting()), (2, 0), "{fault:?}");
    }
}

#[test]
fn a_fault_that_did_not_strike_says_so() {
    let sink = FaultySink::new(MemorySink::default());
    sink.inject(SinkStep::Push, 99, Fault::Reject);
    block_on(run(&sink, &MemoryLedger::new(), &boxed(source(&FIRST)))).expect("sound");
    assert_eq!((sink.fired(), sink.waiting()), (0, 1));
}
