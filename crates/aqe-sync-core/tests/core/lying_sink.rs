//! Sinks that say what is not so: the run fails and names the numbers.

use std::sync::Arc;

use aqe_sync_core::{
    Applied, BatchLimits, Change, Delivery, DynSource, Engine, Environment, Key, KnownRow, MemoryLedger, Operation,
    Options, Pushed, Record, Report, Result, Row, Silent, Sink, SinkTxn as _, Status, StreamId, StreamState, TableSpec,
    Value,
};
use futures::executor::block_on;
use futures::stream::BoxStream;

use crate::support::memory_sink::MemorySink;
use crate::support::memory_source::{Ending, MemorySource};
use crate::support::memory_txn::MemoryTxn;
use crate::support::note::{With as _, note, notes, spec};

/// What becomes of the truth about one delivery.
type Lie = fn(&mut Applied);

/// A hub in memory whose account is not to be trusted.
struct LyingSink {
    sink: MemorySink,
    lie: Lie,
    /// Commits although changes were to be settled first.
    hasty: bool,
    /// Hands back no letters.
    loses_letters: bool,
    /// Keys of records that it has no room for.
    full_for: &'static [&'static str],
    ledger: MemoryLedger,
}

impl Sink for LyingSink {
    type Txn = MemoryTxn;

    fn name(&self) -> &'static str {
        "lying"
    }

    async fn identity(&self) -> Result<String> {
        self.sink.identity().await
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.sink.prepare(table).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.sink.states(environment).await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.sink.known(stream, table)
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<MemoryTxn> {
        self.sink.begin(stream, table).await
    }

    async fn push(&self, stream: &StreamId, table: &Arc<TableSpec>, delivery: Delivery) -> Result<Pushed<MemoryTxn>> {
        let Delivery { changes, mut letters, checkpoint } = delivery;
        let too_much = |change: &Change| self.full_for.contains(&change.key.to_string().as_str());
        let (refused, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(too_much);
        let mut txn = self.sink.begin(stream, table).await?;
        let mut applied = txn.apply(changes).await?;
        applied.refused = refused.into_iter().map(|change| (change, "no room".to_owned())).collect();
        (self.lie)(&mut applied);
        if self.loses_letters {
            letters.clear();
        }
        if !self.hasty && (!applied.contested.is_empty() || !applied.refused.is_empty()) {
            return Ok(Pushed::Contested { txn, applied, letters, checkpoint });
        }
        txn.reject(letters).await?;
        let committed = txn.commit(checkpoint).await?;
        Ok(Pushed::Committed(applied, committed))
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        self.sink.finish(report).await
    }
}

impl LyingSink {
    fn new(lie: Lie) -> Self {
        let (sink, ledger) = (MemorySink::default(), MemoryLedger::new());
        Self { sink, lie, hasty: false, loses_letters: false, full_for: &[], ledger }
    }

    fn run(&self, sources: &[&MemorySource]) -> Report {
        self.run_by(BatchLimits::default().rows, sources)
    }

    fn run_by(&self, rows: usize, sources: &[&MemorySource]) -> Report {
        let sources: Vec<Box<dyn DynSource>> = sources.iter().map(|source| Box::new((*source).clone()) as _).collect();
        let mut options = Options::new("laptop".into());
        options.limits.rows = rows;
        block_on(Engine::new(self, &self.ledger, &Silent, options).run(&sources)).expect("it answers")
    }
}

fn three() -> Vec<Record> {
    ["1", "2", "3"].map(|id| note(id, "text")).into()
}

fn source(records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), records)
}

/// A run that failed, its account in order, and what it says.
fn failed(report: &Report) -> String {
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    report.totals.balance().expect("what is counted is so");
    let error = report.error.clone().expect("said");
    let json = serde_json::to_value(report).expect("JSON");
    assert_eq!((&json["status"], &json["error"]), (&"failed".into(), &error.as_str().into()));
    error
}

fn made_up(id: &str) -> Change {
    Change { key: Key::new(vec![Value::from(id)]), operation: Operation::Delete, base: None }
}

#[test]
fn counts_that_do_not_add_up_fail_the_run_with_their_numbers() {
    let lies: [(Lie, &str); 8] = [
        (|applied| applied.inserted -= 1, "given 3 records and 0 deletes, and says: 2 inserted, 0 updated"),
        (|applied| applied.inserted += 1, "4 inserted"),
        (|applied| applied.updated += 3, "3 inserted, 3 updated"),
        (|applied| applied.unchanged = u64::MAX, "18446744073709551615 unchanged"),
        // In 64 bits these wrap around to the three that were sent.
        (|applied| (applied.updated, applied.unchanged) = (u64::MAX, 1), "18446744073709551615 updated"),
        (|applied| applied.deleted = 1, "1 deleted"),
        (|applied| applied.refused.push((made_up("9"), "full".to_owned())), "1 refused"),
        (|applied| *applied = Applied::default(), "0 inserted, 0 updated, 0 unchanged"),
    ];
    for (lie, numbers) in lies {
        let error = failed(&LyingSink::new(lie).run(&[&source(three())]));
        assert!(error.contains(numbers) && error.contains("does not add up"), "{numbers}: {error}");
    }
}

#[test]
fn what_comes_back_is_what_was_given_and_once() {
    let invented: Lie = |applied| {
        applied.inserted -= 1;
        let Change { key, base, .. } = made_up("9");
        let table = spec(notes()).table;
        let row = Row::new(&table, vec![Value::Null; table.columns().len()], None);
        applied.refused.push((Change { key, operation: Operation::Upsert(row), base }, "full".to_owned()));
    };
    let sink = LyingSink::new(invented);
    let error = failed(&sink.run(&[&source(three())]));
    assert!(error.contains("gives 9 back, which it was not given"), "{error}");
    assert!(sink.sink.hub().rows.is_empty(), "it was noticed before the commit");
}

#[test]
fn what_was_contested_is_not_committed_without_being_settled() {
    let honest = LyingSink::new(|_| ());
    honest.run(&[&source(three())]);
    let other = MemorySource::new("b.db", spec(notes()), vec![note("1", "other")]);
    let hasty = LyingSink { hasty: true, sink: honest.sink.clone(), ..LyingSink::new(|_| ()) };
    let error = failed(&hasty.run(&[&other]));
    assert!(error.contains("without having these settled"), "{error}");
}

#[test]
fn dead_letters_are_counted_as_the_sink_was_given_them() {
    let nameless = || note("", "nameless").with("id", Value::Null);
    let sink = LyingSink::new(|_| ());
    let report = sink.run(&[&source(vec![note("1", "text"), nameless()])]);
    assert_eq!((report.status, report.totals.dead_lettered), (Status::Partial, 1));
    // A row of another source is in the way, so that the letters come back.
    let losing = LyingSink { loses_letters: true, sink: sink.sink.clone(), ..LyingSink::new(|_| ()) };
    let other = MemorySource::new("b.db", spec(notes()), vec![note("1", "other"), nameless()]);
    let error = failed(&losing.run(&[&other]));
    assert!(error.contains("was given 1 dead letters, and hands back 0"), "{error}");
}

#[test]
fn letters_are_stored_with_a_delivery_that_had_to_be_settled_first() {
    let nameless = note("", "nameless").with("id", Value::Null);
    let sink = LyingSink::new(|_| ());
    sink.run(&[&source(vec![note("1", "text")])]);
    let other = MemorySource::new("b.db", spec(notes()), vec![note("1", "other"), nameless]);
    let report = sink.run(&[&other]);
    assert_eq!((report.totals.conflicts, report.totals.dead_lettered), (1, 1));
    assert_eq!(sink.sink.hub().letters.len(), 1);
}

#[test]
fn what_a_sink_cannot_store_is_a_dead_letter_and_is_tried_again() {
    let mut sink = LyingSink::new(|_| ());
    sink.run(&[&source(three())]);
    let later = source(["1", "2", "3", "4"].map(|id| note(id, "later")).into());
    sink.full_for = &["2", "4"];
    let report = sink.run(&[&later]);
    let totals = report.totals;
    assert_eq!((report.status, totals.read, totals.updated, totals.dead_lettered), (Status::Partial, 4, 2, 2));
    assert!(report.streams[0].warnings.iter().any(|warning| warning.contains("row 2: no room")), "{report:?}");
    let letters: Vec<_> = sink.sink.hub().letters.into_values().collect();
    let kept: Vec<_> = letters.iter().map(|letter| (letter.key.as_str(), letter.reason.as_str())).collect();
    assert_eq!(kept, [("2", "no room"), ("4", "no room")]);
    assert!(letters[0].record.as_str().contains("later"), "{letters:?}");

    sink.full_for = &[];
    sink.sink.take_journal();
    let totals = sink.run(&[&later]).totals;
    assert_eq!((totals.unchanged, totals.updated, totals.inserted, totals.conflicts), (2, 1, 1, 0));
    assert_eq!(sink.sink.take_journal().applied, 2, "the ledger knows of the others");
}

#[test]
fn a_source_that_fails_does_not_hide_what_the_sink_says() {
    let broken = source(three()).ending(Ending::Error);
    let error = failed(&LyingSink::new(|applied| applied.inserted += 1).run_by(1, &[&broken]));
    assert!(error.contains("2 inserted"), "{error}");
    let honest = LyingSink::new(|_| ()).run_by(1, &[&broken]);
    assert_eq!((honest.status, honest.totals.inserted > 0), (Status::Partial, true));
    honest.totals.balance().expect("adds up");
}
