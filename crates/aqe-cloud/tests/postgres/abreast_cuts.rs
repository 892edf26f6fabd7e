//! Deliveries of one stream side by side over links that break, beside readers, and by chance:
//! in the end the hub holds what one delivery after the other would have stored.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqe_cloud::postgres::PostgresHub;
use aqe_readers::LedgerFile;
use aqe_sync_core::fleet::{FleetHub as _, VersionVector};
use aqe_sync_core::ledger::LedgerEntry;
use aqe_sync_core::{
    DynSource, Engine, Key, Ledger as _, Options, Report, Result, Silent, Sink as _, Status, StreamId,
};
use aqe_sync_workspace::latency::{LatencyProxy, Link as Line};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::proxy::Proxy;
use futures::TryStreamExt as _;
use futures::executor::block_on;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use crate::abreast_world::{
    COPIED, Gate, ROWS, Started, WIDE, assert_quiet, batch, changed, cluster, id, notes, open, start, try_open,
    version, versions, wait_for, within_limit,
};
use crate::faults_world::{errors, noise, records, source};
use crate::sink_world::{committed, stream};

const BATCHES: u32 = 3;

/// Where a link breaks.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The connection that was opened first, or the next one.
    first: bool,
    to_server: bool,
    bytes: u64,
}

impl Cut {
    fn plan(self, proxy: &Proxy) {
        if self.to_server { proxy.cut_once_after(self.bytes) } else { proxy.cut_once_after_from_server(self.bytes) }
    }
}

fn versions_in_order(database: &Database, environment: &str) {
    let given = versions(database, environment);
    let given: Vec<(u32, i64)> = given
        .split(' ')
        .map(|one| {
            one.split_once(':').map(|(batch, version)| (batch.parse().unwrap(), version.parse().unwrap())).unwrap()
        })
        .collect();
    assert_eq!(given.len(), BATCHES as usize, "each batch has one version: {given:?}");
    assert!(given.is_sorted_by_key(|(_, version)| *version), "{given:?}");
    assert!(version(database, environment).parse::<i64>().unwrap() >= given[BATCHES as usize - 1].1);
}

/// Sends three batches, and says whether anything was cut.
fn survives(database: &Database, port: u16, number: usize, cut: Cut, size: usize, staged: bool) -> bool {
    let environment = format!("{number} {cut:?} {size} {staged}");
    let id = stream(&environment, "a.db", "notes");
    if staged {
        let hub = open(&database.url(), 2);
        (0..BATCHES).for_each(|number| drop(committed(block_on(start(&hub, &id, batch(number, size))).unwrap())));
    }
    let proxy = Proxy::new(port);
    if cut.first {
        cut.plan(&proxy);
    }
    // A link that is cut while the hub is opened is another matter.
    let Ok(hub) = try_open(&database.url_through(proxy.port()), 2) else { return false };
    if block_on(hub.prepare(&notes())).is_err() {
        return false;
    }
    if !cut.first {
        cut.plan(&proxy);
    }
    let given = (0..BATCHES).map(|number| if staged { changed(number, size) } else { batch(number, size) });
    let pushed: Vec<_> = given.map(|changes| start(&hub, &id, changes)).collect();
    let done: Vec<u64> =
        block_on(join_all(pushed)).into_iter().map(|pushed| committed(pushed.unwrap()).1.sequence).collect();
    assert!(done.is_sorted_by(|one, next| one < next), "{environment}: {done:?}");
    let rows =
        format!("SELECT count(*), count(DISTINCT left(body, 1)) FROM aqe.notes WHERE source_env = '{environment}'");
    assert_eq!(database.psql(&rows), format!("{}|1", BATCHES * ROWS), "{environment}");
    versions_in_order(database, &environment);
    proxy.cuts() > 0
}

/// Bytes to and from the server at the beginning, and at the end.
fn traffic(database: &Database, port: u16, size: usize) -> [[u64; 2]; 2] {
    // The first one makes the tables.
    drop(open(&database.url(), 1));
    let proxy = Proxy::new(port);
    let (hub, id) = (open(&database.url_through(proxy.port()), 1), stream("measured", "a.db", "notes"));
    let bytes = || [proxy.bytes_to_server(), proxy.bytes_from_server()];
    let opened = bytes();
    join_committed(&hub, &id, size);
    [opened, bytes()]
}

fn join_committed(hub: &PostgresHub, id: &StreamId, size: usize) {
    let pushed: Vec<_> = (0..BATCHES).map(|number| start(hub, id, batch(number, size))).collect();
    for pushed in block_on(join_all(pushed)) {
        committed(pushed.unwrap());
    }
}

fn survives_cuts(port: u16, size: usize, ways: &[bool], parts: u64) {
    let database = cluster().database();
    let [opened, all] = traffic(&database, port, size);
    let mut number = 0;
    for (staged, to_server) in ways.iter().flat_map(|way| [(*way, true), (*way, false)]) {
        let mut cuts = 0;
        for part in 1..parts {
            let direction = usize::from(!to_server);
            let step = (all[direction] - opened[direction]) * part / parts;
            for first in [true, false] {
                let bytes = if first { opened[direction] + step } else { step.max(1) };
                number += 1;
                cuts += u64::from(survives(&database, port, number, Cut { first, to_server, bytes }, size, staged));
            }
        }
        assert!(cuts >= parts / 2, "{cuts} of the connections were cut");
    }
    assert_quiet(&database);
}

#[test]
fn copies_over_links_that_break_anywhere_are_stored_once_and_in_order() {
    within_limit(|| survives_cuts(cluster().port(), WIDE, &[false], 9));
}

#[test]
fn staged_batches_over_links_that_break_anywhere_are_stored_once_and_in_order() {
    within_limit(|| survives_cuts(cluster().port(), WIDE, &[true], 6));
}

#[test]
fn batches_that_follow_one_another_far_away_survive_a_link_that_breaks_anywhere() {
    within_limit(|| {
        let line = Line { round_trip: Duration::from_millis(20), megabits: 1_000.0, slow_start: false };
        let latency = LatencyProxy::new(cluster().port(), line);
        survives_cuts(latency.port(), 3_000, &[false, true], 7);
    });
}

#[test]
fn a_server_that_restarts_while_two_are_on_their_way_stores_both_in_the_end() {
    within_limit(|| {
        let cluster = Cluster::start();
        let database = cluster.database();
        let (hub, id) = (open(&database.url(), 2), id());
        let gate = Gate::of_key(&database, 2);
        let both = [0, 1].map(|number| start(&hub, &id, batch(number, WIDE)));
        wait_for(&database, COPIED);
        cluster.restart();
        drop(gate);
        let done: Vec<u64> =
            block_on(join_all(both)).into_iter().map(|pushed| committed(pushed.unwrap()).1.sequence).collect();
        assert_eq!((done, versions(&database, "env").as_str()), (vec![1, 2], "0:1 1:2"));
    });
}

#[test]
fn a_reader_beside_two_writing_connections_misses_nothing() {
    within_limit(|| {
        let database = cluster().database();
        let (hub, reader, id) = (open(&database.url(), 2), open(&database.url(), 1), id());
        let (over, table) = (AtomicBool::new(false), notes());
        let read = |since: &mut VersionVector, seen: &mut BTreeSet<String>| {
            let standing = block_on(reader.standing()).unwrap();
            let changed = reader.changed(&table, since, &"".into(), None);
            let changed: Vec<Key> = block_on(changed.try_concat()).unwrap();
            seen.extend(changed.iter().map(Key::to_string));
            *since = standing.versions.get(table.name().as_str()).cloned().unwrap_or_default();
        };
        let (seen, reads) = std::thread::scope(|scope| {
            let polling = scope.spawn(|| {
                let (mut since, mut seen, mut reads) = (VersionVector::default(), BTreeSet::new(), 0);
                while !over.load(Ordering::SeqCst) {
                    read(&mut since, &mut seen);
                    reads += 1;
                }
                read(&mut since, &mut seen);
                (seen, reads)
            });
            // As the engine does: two on their way, the next one when the first has arrived.
            let mut on_way = VecDeque::<Started<'_>>::new();
            for number in 0..12 {
                if on_way.len() == 2 {
                    committed(block_on(on_way.pop_front().unwrap()).unwrap());
                }
                on_way.push_back(start(&hub, &id, batch(number, if number % 5 == 4 { 10 } else { WIDE })));
            }
            for pushed in on_way {
                committed(block_on(pushed).unwrap());
            }
            over.store(true, Ordering::SeqCst);
            polling.join().unwrap()
        });
        assert!(reads > 1);
        assert_eq!(seen.len(), 12 * ROWS as usize, "everything that is there was seen");
    });
}

/// What a run is to sync: so many rows of such a size in two sources, which share keys.
#[derive(Clone, Debug)]
struct State {
    rows: u32,
    from: u32,
    size: usize,
    /// Every so-manieth row is another one than before.
    changes: u32,
}

fn states() -> impl Strategy<Value = Vec<State>> {
    let size = prop_oneof![Just(30_usize), Just(9_000), Just(400_000)];
    let state = (1_u32..24, 0_u32..6, size, 1_u32..5);
    prop::collection::vec(state.prop_map(|(rows, from, size, changes)| State { rows, from, size, changes }), 1..4)
}

fn project(states: &[State], round: usize) -> Vec<Box<dyn DynSource>> {
    let State { rows, from, size, changes } = states[round];
    let of = |range: std::ops::Range<u32>, size: usize| {
        range.map(move |key| {
            let changed = if key % changes == 0 { round } else { 0 };
            (format!("key {key}"), format!("{changed} {}", noise(u64::from(key), size)))
        })
    };
    // One key that no index takes: a dead letter in the middle of others.
    let mut first: Vec<_> = of(from..from + rows, size).collect();
    first.insert(first.len() / 2, (noise(9, 9_000), "a key too long".to_owned()));
    vec![
        source("a.db", vec![("notes", records(first.into_iter(), 1_700_000_000))]),
        source("b.db", vec![("notes", records(of(from + rows / 2..from + 2 * rows, 30), 1_800_000_000))]),
    ]
}

/// A hub with its ledger.
struct Side {
    folder: TempDir,
    database: Database,
}

impl Side {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), database: cluster().database() }
    }

    fn ledger(&self, hub: &PostgresHub) -> LedgerFile {
        LedgerFile::open(&self.folder.path().join("ledger.db"), &block_on(hub.identity()).unwrap()).unwrap()
    }

    fn run(&self, url: &str, connections: usize, sources: &[Box<dyn DynSource>]) -> Result<Report> {
        let hub = try_open(url, connections)?;
        let mut options = Options::new("env".into());
        (options.limits.rows, options.limits.bytes, options.allow_mass_delete) = (7, 2 << 20, true);
        let report = block_on(Engine::new(&hub, &self.ledger(&hub), &Silent, options).run(sources));
        if let Ok(report) = &report {
            report.totals.balance().expect("the account adds up");
        }
        report
    }

    /// Rows, letters and checkpoints, and what the ledger knows; which must be in step.
    fn content(&self) -> String {
        let mut all = self.database.psql(
            "SELECT (to_jsonb(t) - 'sync_version' - 'synced_at' - 'body' || jsonb_build_object('deleted_at', \
             deleted_at IS NOT NULL, 'body', md5(body)))::text FROM aqe.notes t ORDER BY 1",
        );
        for sql in [
            "SELECT md5(key), settled_at IS NULL FROM aqe.dead_letters ORDER BY 1",
            "SELECT source, stream, complete FROM aqe.sync_state WHERE source <> 'aqe-sync' ORDER BY 1, 2",
        ] {
            let _ = writeln!(all, "{}", self.database.psql(sql));
        }
        let hub = try_open(&self.database.url(), 1).unwrap();
        let ledger = self.ledger(&hub);
        for state in block_on(hub.states(&"env".into())).unwrap() {
            let Some(known) = ledger.load(&state.stream).unwrap() else { continue };
            assert_eq!(known.sequence, state.sequence, "{}", state.stream);
            let mut entries: Vec<LedgerEntry> = known.entries;
            entries.sort_by_key(|entry| entry.key.0);
            let _ = writeln!(all, "{} {entries:?}", state.stream);
        }
        all
    }
}

#[test]
fn whatever_breaks_the_hub_and_the_ledger_are_those_of_one_connection() {
    within_limit(|| {
        let cut = (any::<bool>(), any::<bool>(), 1_u64..3_000_000);
        let cut = prop::option::weighted(
            0.7,
            cut.prop_map(|(first, to_server, bytes)| Cut {
                first,
                to_server,
                bytes: if to_server { bytes } else { bytes % 9_000 },
            }),
        );
        let cases = (states(), 2_usize..4, prop::collection::vec(cut, 3));
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 8,
            failure_persistence: None,
            max_shrink_iters: 8,
            ..Default::default()
        });
        let outcome = runner.run(&cases, |(states, connections, cuts)| {
            let (one, many) = (Side::new(), Side::new());
            for (round, cut) in cuts.into_iter().enumerate().take(states.len()) {
                let sources = project(&states, round);
                one.run(&one.database.url(), 1, &sources).unwrap();
                let proxy = Proxy::new(cluster().port());
                if let Some(cut) = cut {
                    cut.plan(&proxy);
                }
                // It completes, or a run without faults does.
                let _ = many.run(&many.database.url_through(proxy.port()), connections, &sources);
                let report = many.run(&many.database.url(), connections, &sources).unwrap();
                prop_assert_eq!(errors(&report), "");
                prop_assert_eq!(report.status, Status::Partial, "there is a letter");
                prop_assert_eq!(many.content(), one.content());
                assert_quiet(&many.database);
            }
            Ok(())
        });
        outcome.unwrap();
    });
}
