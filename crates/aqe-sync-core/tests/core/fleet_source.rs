//! What a pull reads of a hub.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aqe_sync_core::fleet::{
    Contribution, FleetHub, FleetSource, Kept, PullRequest, Pulled, Standing, Trust, VersionVector, fleet_table, seen,
};
use aqe_sync_core::{
    Batch, BatchLimits, Environment, Error, ErrorKind, Key, ReadRequest, Result, Row, Source as _, SourceName,
    StreamSpec, TableSpec, Timestamp, Value,
};
use futures::StreamExt as _;
use futures::executor::block_on;
use futures::stream::{self, BoxStream};

use crate::support::note::{at_second, notes, table};

/// What a hub was asked for: since when, as whom, after which moment.
type Asked = (VersionVector, Environment, Option<Timestamp>);

/// A hub that has what a test put there, and remembers what it was asked.
#[derive(Default)]
struct Fleet {
    standing: Standing,
    rows: BTreeMap<String, Vec<Contribution>>,
    asked: Mutex<Vec<Asked>>,
    /// The keys that contributions were asked for, one list per question.
    keys: Mutex<Vec<Vec<String>>>,
    fails: Option<&'static str>,
}

fn failure(what: &str) -> Error {
    Error::new(ErrorKind::Io, format!("no {what}"))
}

impl FleetHub for Fleet {
    async fn standing(&self) -> Result<Standing> {
        Ok(self.standing.clone())
    }

    fn changed(
        &self,
        _: &Arc<TableSpec>,
        since: &VersionVector,
        own: &Environment,
        after: Option<Timestamp>,
    ) -> BoxStream<'static, Result<Vec<Key>>> {
        self.asked.lock().expect("sound").push((since.clone(), own.clone(), after));
        if self.fails == Some("changed") {
            return stream::iter([Err(failure("changed"))]).boxed();
        }
        let keys: Vec<Key> = self.rows.keys().map(|id| Key::new(vec![id.as_str().into()])).collect();
        let parts: Vec<_> = keys.chunks(7).map(|part| Ok(part.to_vec())).collect();
        stream::iter(parts).boxed()
    }

    async fn contributions(&self, _: &Arc<TableSpec>, keys: Vec<Key>) -> Result<Vec<Vec<Contribution>>> {
        if self.fails == Some("contributions") {
            return Err(failure("contributions"));
        }
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let found = names.iter().map(|name| self.rows[name].clone()).collect();
        self.keys.lock().expect("sound").push(names);
        Ok(found)
    }

    async fn keep(&self, _: &Environment, _: &SourceName, _: Vec<Kept>, _: i64) -> Result<()> {
        Err(failure("notes"))
    }

    fn kept(&self, _: &Environment, _: &SourceName) -> BoxStream<'static, Result<Vec<Kept>>> {
        stream::empty().boxed()
    }

    async fn exclude(&self, _: &Environment, _: bool) -> Result<bool> {
        Err(failure("exclusion"))
    }
}

fn row(id: &str, body: &str) -> Row {
    let mut values = vec![Value::Null; 7];
    (values[0], values[1]) = (id.into(), body.into());
    Row::new(&table(notes()), values, None)
}

fn of(environment: &str, id: &str, body: &str) -> Contribution {
    Contribution { environment: environment.into(), version: 3, deleted: false, row: row(id, body) }
}

fn gone(contribution: Contribution) -> Contribution {
    Contribution { deleted: true, ..contribution }
}

fn versions(of: &[(&str, i64)]) -> VersionVector {
    let mut vector = VersionVector::default();
    for (environment, version) in of {
        vector.set((*environment).into(), *version);
    }
    vector
}

fn standing(of: &[(&str, i64)]) -> Standing {
    Standing { epoch: "first".into(), versions: [("notes".to_owned(), versions(of))].into(), excluded: BTreeSet::new() }
}

/// A hub with these contributions, where environment a is at version 3.
fn fleet(contributions: Vec<Contribution>) -> Fleet {
    let mut rows: BTreeMap<String, Vec<Contribution>> = BTreeMap::new();
    for one in contributions {
        rows.entry(one.row.key(&table(notes())).to_string()).or_default().push(one);
    }
    Fleet { standing: standing(&[("a", 3)]), rows, ..Fleet::default() }
}

fn request() -> PullRequest {
    PullRequest {
        environment: "me".into(),
        tables: vec![table(notes())],
        trust: Trust { min_environments: 1, ..Trust::default() },
        since: None,
        after: None,
        restore: false,
    }
}

fn open(fleet: Fleet, request: PullRequest) -> (Arc<Fleet>, FleetSource<Fleet>) {
    let fleet = Arc::new(fleet);
    let source = block_on(FleetSource::open(Arc::clone(&fleet), request)).expect("it answers");
    (fleet, source)
}

fn read(source: &FleetSource<Fleet>, rows: usize) -> Result<Vec<Batch>> {
    let streams = block_on(source.streams()).expect("offered");
    let limits = BatchLimits { rows, ..BatchLimits::default() };
    block_on(source.read(ReadRequest { streams, limits }).collect::<Vec<_>>()).into_iter().collect()
}

/// What the records say, by key.
fn pulled(batches: &[Batch]) -> BTreeMap<String, Pulled> {
    let (me, table) = ("me".into(), table(notes()));
    let records = batches.iter().flat_map(|batch| &batch.records);
    let all = records.map(|record| {
        let values = record.values().to_vec();
        let row = Row::new(&fleet_table(&table).expect("a table"), values, None);
        (Key::new(vec![record.get("id").clone()]).to_string(), Pulled::of(&me, &table, &row).expect("contributions"))
    });
    all.collect()
}

fn names(others: &[Contribution]) -> Vec<&str> {
    others.iter().map(|one| one.environment.as_str()).collect()
}

#[test]
fn a_record_says_what_others_contribute_and_whether_there_is_a_part_of_ones_own() {
    let all =
        vec![of("a", "1", "x"), of("b", "1", "y"), of("a", "2", "x"), of("me", "2", "z"), gone(of("me", "3", "z"))];
    let (fleet, source) = open(fleet(all), request());
    let found = pulled(&read(&source, 10).expect("read"));
    assert_eq!(names(&found["1"].others), ["a", "b"]);
    assert_eq!((found["1"].others[1].version, &found["1"].others[1].row), (3, &row("1", "y")));
    assert_eq!((names(&found["2"].others), found["2"].declined), (vec!["a"], true));
    assert_eq!((names(&found["3"].others), found["3"].declined), (Vec::new(), true), "deleted here");
    assert!(!found["1"].declined && found.values().all(|one| one.restored.is_none()));
    assert_eq!(fleet.asked.lock().expect("sound")[..], [(VersionVector::default(), "me".into(), None)]);
}

#[test]
fn who_restored_a_backup_gets_the_own_part_back() {
    let all = vec![of("a", "1", "x"), of("me", "1", "mine"), of("me", "2", "mine"), gone(of("me", "3", "mine"))];
    let (fleet, source) = open(fleet(all), PullRequest { restore: true, ..request() });
    let found = pulled(&read(&source, 10).expect("read"));
    assert_eq!((names(&found["1"].others), &found["1"].restored), (vec!["a"], &Some(row("1", "mine"))));
    assert_eq!((found["2"].others.len(), &found["2"].restored), (0, &Some(row("2", "mine"))));
    assert_eq!((found["3"].declined, &found["3"].restored), (true, &None));
    assert!(!found["1"].declined && !found["2"].declined);
    assert_eq!(fleet.asked.lock().expect("sound")[0].1, "".into(), "its own changes are news as well");
}

#[test]
fn batches_are_no_larger_than_asked_for_and_the_last_one_says_so() {
    for (keys, rows, sizes) in [
        (0, 10, vec![0]),
        (20, 10, vec![10, 10, 0]),
        (21, 10, vec![10, 10, 1]),
        (3, 0, vec![1, 1, 1, 0]),
        (1_001, 5_000, vec![500, 500, 1]),
        (1_000, 5_000, vec![500, 500, 0]),
    ] {
        let all = (0..keys).map(|number| of("a", &format!("{number:04}"), "x")).collect();
        let (fleet, source) = open(fleet(all), request());
        let batches = read(&source, rows).expect("read");
        let found: Vec<usize> = batches.iter().map(|batch| batch.records.len()).collect();
        assert_eq!(found, sizes, "{keys} keys, {rows} at once");
        let last: Vec<bool> = batches.iter().map(|batch| batch.last).collect();
        assert_eq!((last.iter().filter(|last| **last).count(), last.last()), (1, Some(&true)));
        assert_eq!(fleet.keys.lock().expect("sound").len(), sizes.iter().filter(|size| **size > 0).count());
    }
}

#[test]
fn keys_without_a_place_are_not_asked_for() {
    let all = (0..6).map(|number| of("a", &number.to_string(), "x")).collect();
    let (fleet, source) = open(fleet(all), request());
    let source = source.only_where(|_, key| key.to_string() != "3");
    assert_eq!(pulled(&read(&source, 10).expect("read")).len(), 5);
    assert!(fleet.keys.lock().expect("sound").iter().flatten().all(|key| key != "3"));
}

#[test]
fn a_table_where_nothing_moved_is_not_asked_about() {
    let all = || vec![of("a", "1", "x")];
    for (since, is_asked) in [
        (standing(&[("a", 3)]), false),
        (standing(&[("a", 4), ("b", 9)]), false),
        (standing(&[("a", 2)]), true),
        (standing(&[]), true),
        (Standing { epoch: "another".into(), ..standing(&[("a", 3)]) }, true),
        (Standing { excluded: ["b".into()].into(), ..standing(&[("a", 3)]) }, true),
        (Standing { versions: BTreeMap::new(), ..standing(&[]) }, true),
    ] {
        let (fleet, source) = open(fleet(all()), PullRequest { since: Some(since.clone()), ..request() });
        let batches = read(&source, 10).expect("read");
        assert_eq!((batches.len(), batches[0].last, batches[0].records.len()), (1, true, usize::from(is_asked)));
        let asked = fleet.asked.lock().expect("sound");
        assert_eq!(asked.len(), usize::from(is_asked), "{since:?}");
        let counts = since.epoch == "first" && since.excluded.is_empty();
        let known = since.versions.get("notes").filter(|_| counts).cloned().unwrap_or_default();
        assert!(asked.iter().all(|(of, ..)| *of == known), "{since:?}: {asked:?}");
    }
}

#[test]
fn whom_the_hub_excludes_has_no_influence_and_a_moment_is_passed_on() {
    let mut hub = fleet(vec![of("a", "1", "x"), of("b", "1", "y")]);
    hub.standing.excluded.insert("a".into());
    let (fleet, source) = open(hub, PullRequest { after: Some(at_second(9)), ..request() });
    assert_eq!(source.standing(), &fleet.standing);
    assert_eq!(names(&pulled(&read(&source, 10).expect("read"))["1"].others), ["b"]);
    assert_eq!(fleet.asked.lock().expect("sound")[0].2, Some(at_second(9)));
}

#[test]
fn what_was_seen_holds_for_the_same_tables_and_the_same_trust() {
    let mut hub = fleet(Vec::new());
    hub.standing.excluded.insert("b".into());
    let (fleet, source) = open(hub, request());
    let fingerprint = block_on(source.fingerprint()).expect("told").expect("it sees all");
    assert!(fingerprint.settled);
    let (tables, trust) = (request().tables, request().trust);
    let of = |tables: &[Arc<TableSpec>], trust: &Trust| seen(&fingerprint.bytes, tables, trust);
    assert_eq!(of(&tables, &trust).as_ref(), Some(&fleet.standing));
    assert_eq!(of(&[], &trust).as_ref(), Some(&fleet.standing), "fewer tables");
    let other = TableSpec::builder("others").key("id", aqe_sync_core::ColumnType::Text).build().expect("a table");
    assert_eq!(of(&[tables[0].clone(), other], &trust), None);
    assert_eq!(of(&tables, &Trust { min_environments: 2, ..trust.clone() }), None);
    assert_eq!(of(&tables, &Trust { min_confidence: Some(0.5), ..trust.clone() }), None);
    assert_eq!(of(&tables, &Trust { excluded: ["c".into()].into(), ..trust.clone() }), None);
    assert_eq!(seen(b"something else", &tables, &trust), None);
    for request in [
        PullRequest { after: Some(at_second(1)), ..request() },
        PullRequest { trust: Trust { only: Some(["a".into()].into()), ..trust }, ..request() },
    ] {
        let (_, part) = open(self::fleet(Vec::new()), request);
        assert_eq!(block_on(part.fingerprint()).expect("told"), None, "who sees a part remembers nothing");
    }
}

#[test]
fn what_goes_wrong_is_said_once_and_ends_the_stream() {
    for what in ["changed", "contributions"] {
        let hub = Fleet { fails: Some(what), ..fleet(vec![of("a", "1", "x")]) };
        let (_, source) = open(hub, request());
        assert_eq!(read(&source, 10).expect_err(what).message(), format!("no {what}"));
    }
    let (_, source) = open(fleet(Vec::new()), request());
    let streams = vec![StreamSpec::new("others", table(notes()))];
    let read = source.read(ReadRequest { streams, limits: BatchLimits::default() });
    let found: Vec<_> = block_on(read.collect());
    assert!(found.len() == 1 && found[0].as_ref().is_err_and(|error| error.message().contains("others")), "{found:?}");
}

#[test]
fn the_source_offers_one_stream_per_table_that_deletes_nothing() {
    let (_, source) = open(fleet(Vec::new()), request());
    assert_eq!(source.name().as_str(), "fleet");
    let streams = block_on(source.streams()).expect("offered");
    assert_eq!(streams.len(), 1);
    let columns: Vec<&str> = streams[0].table.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["id", "declined", "contributions"]);
}

#[test]
fn what_is_no_record_of_a_fleet_is_told() {
    let fleet = fleet_table(&table(notes())).expect("a table");
    for text in [Value::Null, "".into(), "{}".into(), "[{}]".into(), "[{\"env\":\"a\",\"version\":1,\"row\":7}]".into()]
    {
        let row = Row::new(&fleet, vec!["1".into(), Value::Bool(false), text], None);
        let error = Pulled::of(&"me".into(), &table(notes()), &row).expect_err("no contributions");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
}
