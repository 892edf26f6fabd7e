//! Comparing by digests: as exact as comparing everything, and cheaper.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqe_sync_core::digest::{Bucket, DigestRequest, HashRange, HashRanges};
use aqe_sync_core::{
    ContentHash, DeadLetter, Deletes, DynSource, Environment, Json, Key, KnownRow, MemoryLedger, Mode, Record, Reject,
    RepairReport, Report, Result, Silent, Sink, StreamId, StreamState, TableSpec, Value, VerifyReport, repair, verify,
    verify_deep,
};
use futures::StreamExt as _;
use futures::executor::block_on;
use futures::stream::BoxStream;
use proptest::prelude::*;

use crate::support::cases;
use crate::support::memory_sink::{Hub, MemorySink};
use crate::support::memory_source::MemorySource;
use crate::support::memory_txn::MemoryTxn;
use crate::support::note::{note, notes, spec};
use crate::support::world::World;

/// A hub that counts what it has to send.
struct Counting {
    inner: MemorySink,
    digests: AtomicUsize,
    rows: Arc<AtomicUsize>,
    whole: AtomicUsize,
    /// Whether it sends more than it was asked for, as sinks may.
    generous: bool,
}

impl Counting {
    fn of(world: &World) -> Self {
        let counter = AtomicUsize::default;
        Self { inner: world.sink.clone(), digests: counter(), rows: Arc::default(), whole: counter(), generous: false }
    }

    /// Calls of `digests`, rows sent, streams sent whole.
    fn take(&self) -> (usize, usize, usize) {
        let take = |counter: &AtomicUsize| counter.swap(0, Ordering::Relaxed);
        (take(&self.digests), take(&self.rows), take(&self.whole))
    }
}

impl Sink for Counting {
    type Txn = MemoryTxn;

    fn name(&self) -> &'static str {
        "counting"
    }

    async fn identity(&self) -> Result<String> {
        self.inner.identity().await
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        self.inner.prepare(table).await
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        self.inner.states(environment).await
    }

    fn known(&self, stream: &StreamId, table: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        self.whole.fetch_add(1, Ordering::Relaxed);
        self.inner.known(stream, table)
    }

    async fn digests(&self, wanted: Vec<DigestRequest>) -> Result<Vec<Vec<Bucket>>> {
        self.digests.fetch_add(1, Ordering::Relaxed);
        self.inner.digests(wanted).await
    }

    fn known_in(
        &self,
        stream: &StreamId,
        table: &Arc<TableSpec>,
        ranges: Vec<HashRange>,
    ) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        let ranges = if self.generous { vec![HashRange::ALL] } else { ranges };
        let (rows, ranges) = (Arc::clone(&self.rows), HashRanges::new(ranges));
        let known = self.inner.known(stream, table).map(move |batch| {
            let batch: Vec<_> = batch?.into_iter().filter(|row| ranges.contain(row.hash)).collect();
            rows.fetch_add(batch.len(), Ordering::Relaxed);
            Ok(batch)
        });
        known.boxed()
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<MemoryTxn> {
        self.inner.begin(stream, table).await
    }

    async fn finish(&self, report: &Report) -> Result<()> {
        self.inner.finish(report).await
    }
}

fn boxed(sources: &[&MemorySource]) -> Vec<Box<dyn DynSource>> {
    sources.iter().map(|source| Box::new((*source).clone()) as _).collect()
}

fn check<S: Sink>(sink: &S, world: &World, sources: &[&MemorySource]) -> VerifyReport {
    block_on(verify(sink, &boxed(sources), &world.options)).expect("the hub answers")
}

fn mend(world: &World, sources: &[&MemorySource]) -> RepairReport {
    let depth = aqe_sync_core::Depth::Recorded;
    block_on(repair(&world.sink, &world.ledger, &Silent, &boxed(sources), &world.options, depth))
        .expect("the hub answers")
}

fn source(records: Vec<Record>) -> MemorySource {
    MemorySource::new("a.db", spec(notes()), records)
}

fn numbered(count: usize) -> Vec<Record> {
    (0..count).map(|n| note(&format!("{n:05}"), format!("text {n}").as_str())).collect()
}

/// Somebody else writes to the row of a key, or removes it.
fn edit(hub: &mut Hub, key: &str, hash: Option<i64>) {
    match hash {
        None => hub.rows.retain(|_, (known, _)| known.to_string() != key),
        Some(hash) => hub.rows.values_mut().filter(|(known, _)| known.to_string() == key).for_each(|(_, stored)| {
            stored.row.hash = ContentHash::from_i64(hash).expect("not zero");
        }),
    }
}

#[test]
fn when_all_is_well_one_question_is_asked_and_no_row_is_sent() {
    let world = World::new();
    let (one, other) = (source(numbered(300)), MemorySource::new("b.db", spec(notes()), numbered(200)));
    world.run(&[&one, &other]);
    let sink = Counting::of(&world);
    let report = check(&sink, &world, &[&one, &other]);
    assert!(report.matches());
    let counts: Vec<_> = report.streams.iter().map(|stream| (stream.local, stream.hub)).collect();
    assert_eq!(counts, [(300, 300), (200, 200)]);
    assert_eq!(sink.take(), (1, 0, 0));
}

#[test]
fn only_rows_of_parts_that_differ_are_sent() {
    let world = World::new();
    let source = source(numbered(12_000));
    world.run(&[&source]);
    world.sink.tamper(|hub| edit(hub, "00007", None));
    let sink = Counting::of(&world);
    let report = check(&sink, &world, &[&source]);
    assert_eq!((&report.streams[0].missing, report.streams[0].hub), (&vec!["00007".to_owned()], 11_999));
    let (digests, rows, whole) = sink.take();
    assert_eq!((digests, whole), (2, 0));
    assert!((1..=256).contains(&rows), "{rows} rows were sent");

    world.sink.tamper(|hub| edit(hub, "00008", Some(1 << 62)));
    let report = check(&sink, &world, &[&source]);
    assert_eq!(report.streams[0].different, ["00008"]);
    assert!(sink.take().1 <= 1_024);
}

#[test]
fn rows_that_nobody_asked_for_are_no_differences() {
    let world = World::new();
    let source = source(numbered(100));
    world.run(&[&source]);
    world.sink.tamper(|hub| edit(hub, "00008", Some(1 << 62)));
    let sink = Counting { generous: true, ..Counting::of(&world) };
    let report = check(&sink, &world, &[&source]);
    assert_eq!((report.streams[0].differences(), &report.streams[0].different), (1, &vec!["00008".to_owned()]));
    assert_eq!((report.streams[0].hub, sink.take().1), (100, 100));
}

#[test]
fn a_hub_that_lacks_a_stream_is_not_asked_about_it() {
    let world = World::new();
    let sink = Counting::of(&world);
    assert_eq!(check(&sink, &world, &[&source(numbered(3))]).streams[0].missing_count, 3);
    assert_eq!(sink.take(), (0, 0, 0));
}

#[test]
fn a_repair_sends_what_differs_and_keeps_the_ledger_in_step() {
    let world = World::new();
    let source = source(numbered(40));
    world.run(&[&source, &MemorySource::new("b.db", spec(notes()), vec![note("b", "b")])]);
    let before = world.stored();
    world.sink.tamper(|hub| {
        edit(hub, "00003", None);
        edit(hub, "00004", Some(77));
        let stored = hub.rows.values().find(|(key, _)| key.to_string() == "00005").expect("there").1.clone();
        let id = (Environment::new("laptop"), "notes".to_owned(), Key::new(vec!["extra".into()]).hash());
        hub.rows.insert(id, (Key::new(vec!["extra".into()]), stored));
    });
    world.sink.take_journal();
    let report = mend(&world, &[&source]);
    assert!(report.matches(), "{report:#?}");
    assert_eq!(world.sink.take_journal().applied, 3);
    let run = report.run.expect("there was something to do");
    run.totals.balance().expect("every record is accounted for");
    assert_eq!((run.totals.inserted, run.totals.updated, run.totals.deleted, run.totals.unchanged), (1, 1, 1, 38));
    assert_eq!((report.before.streams[0].differences(), report.after.streams[0].repaired), (3, 3));
    let mut after = world.stored();
    assert!(after.remove("extra").is_some_and(|stored| stored.deleted));
    assert_eq!(after, before);
    let content = world.content();
    assert_eq!(world.run(&[&source]).totals.unchanged, 40);
    assert_eq!(world.content(), content, "the ledger knows what was sent");
}

#[test]
fn a_repair_of_nothing_writes_nothing() {
    let world = World::new();
    let source = source(numbered(4));
    world.run(&[&source]);
    let before = world.content();
    let report = mend(&world, &[&source]);
    assert!(report.matches() && report.run.is_none() && report.before == report.after);
    assert_eq!(world.content(), before);
}

#[test]
fn a_repair_keeps_what_the_hub_remembers_on_purpose_and_what_was_not_read() {
    let keeping = |records| MemorySource::new("a.db", spec(notes().deletes(Deletes::Ignore)), records);
    let mut world = World::new();
    world.run(&[&keeping(numbered(4))]);
    world.sink.tamper(|hub| edit(hub, "00001", None));
    world.ledger = MemoryLedger::new();
    let report = mend(&world, &[&keeping(numbered(2))]);
    assert!(report.matches() && report.run.is_some_and(|run| (run.totals.inserted, run.totals.deleted) == (1, 0)));
    assert_eq!(world.bodies().len(), 4);
    assert!(!world.run(&[&keeping(numbered(2))]).totals.changed_anything());

    let torn = source(numbered(1)).ending(crate::support::memory_source::Ending::Error);
    let world = World::new();
    world.run(&[&source(numbered(4))]);
    let before = world.content();
    let report = mend(&world, &[&torn]);
    assert!(!report.matches() && report.run.is_none());
    assert_eq!(world.content(), before);
}

#[test]
fn a_repair_deletes_most_of_a_stream_only_when_that_is_allowed() {
    let mut world = World::new();
    world.run(&[&source(numbered(210))]);
    let few = source(numbered(50));
    let report = mend(&world, &[&few]);
    assert!(!report.matches());
    assert_eq!(world.bodies().len(), 210);
    world.options.allow_mass_delete = true;
    assert!(mend(&world, &[&few]).matches());
    assert_eq!(world.bodies().len(), 50);
}

/// What becomes of one key between the sync and the comparison.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Same,
    Gone,
    Changed,
    Added,
    Twice,
    Rejected,
    LostInHub,
    EditedInHub(i64),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Same),
        1 => Just(Fate::Gone),
        1 => Just(Fate::Changed),
        1 => Just(Fate::Added),
        1 => Just(Fate::Twice),
        1 => Just(Fate::Rejected),
        1 => Just(Fate::LostInHub),
        1 => any::<i64>().prop_map(|hash| Fate::EditedInHub(hash | 1)),
    ];
    prop::collection::vec(fate, 0..60)
}

/// A source as it was synced, and as it is now.
fn stories(fates: &[Fate], nameless: bool, table: fn() -> aqe_sync_core::StreamSpec) -> (MemorySource, MemorySource) {
    let (mut then, mut now, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
    for (number, fate) in fates.iter().enumerate() {
        let key = format!("{number:02}");
        let record = note(&key, "text");
        if !matches!(fate, Fate::Added) {
            then.push(record.clone());
        }
        match fate {
            Fate::Gone => {}
            Fate::Changed => now.push(note(&key, "other")),
            Fate::Twice => now.extend([record, note(&key, "again")]),
            Fate::Rejected => {
                let letter = DeadLetter { key: key.clone(), reason: "torn".into(), record: Json::from_text("{}") };
                rejects.push(Reject { key: Some(Key::new(vec![key.as_str().into()])), letter });
                if number % 2 == 0 {
                    now.push(note(&key, "late"));
                }
            }
            Fate::Same | Fate::Added | Fate::LostInHub | Fate::EditedInHub(_) => now.push(record),
        }
    }
    if nameless {
        let mut record = note("", "nobody");
        assert!(record.set("id", Value::Null));
        now.push(record);
    }
    let then = MemorySource::new("a.db", table(), then);
    (then, MemorySource::new("a.db", table(), now).rejects(rejects))
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn digests_and_a_whole_comparison_find_the_same(fates in fates(), nameless: bool, kind in 0..3_usize) {
        let kinds: [fn() -> aqe_sync_core::StreamSpec; 3] =
            [|| spec(notes()), || spec(notes().immutable()), || spec(notes().deletes(Deletes::Ignore))];
        let (then, now) = stories(&fates, nameless, kinds[kind]);
        let mut world = World::new();
        world.run(&[&then]);
        world.sink.tamper(|hub| {
            for (number, fate) in fates.iter().enumerate() {
                match fate {
                    Fate::LostInHub => edit(hub, &format!("{number:02}"), None),
                    Fate::EditedInHub(hash) => edit(hub, &format!("{number:02}"), Some(*hash)),
                    _ => {}
                }
            }
        });
        let quick = check(&world.sink, &world, &[&now]);
        let whole = block_on(verify_deep(&world.sink, &boxed(&[&now]), &world.options)).expect("the hub answers");
        prop_assert_eq!(&quick, &whole);
        let differences = fates.iter().filter(|fate| match fate {
            Fate::Same | Fate::Twice | Fate::Rejected => false,
            Fate::Gone => kind == 0 && !nameless,
            Fate::Changed | Fate::EditedInHub(_) => kind != 1,
            Fate::Added | Fate::LostInHub => true,
        });
        prop_assert_eq!(quick.streams[0].differences(), differences.count() as u64, "{:#?}", quick);

        // A repair leaves the two sides equal, and the ledger in step.
        world.options.mode = Mode::Incremental;
        world.options.allow_mass_delete = true;
        let report = mend(&world, &[&now]);
        prop_assert!(report.matches(), "{:#?}", report);
        prop_assert_eq!(report.after.streams[0].repaired, quick.streams[0].differences());
        let before = world.stored();
        world.run(&[&now]);
        prop_assert_eq!(world.stored(), before);
    }
}
