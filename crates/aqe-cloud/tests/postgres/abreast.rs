//! Deliveries of one stream side by side, held in the middle: what happens to one of them
//! must not make the other one durable out of turn, nor keep it waiting for ever.

use aqe_cloud::postgres::PostgresTxn;
use aqe_sync_core::conflict::PolicySpec;
use aqe_sync_core::meet::{Ranking, settle};
use aqe_sync_core::{Applied, Contributor, DeadLetter, Pushed, Sink as _, SinkTxn as _};
use aqe_sync_workspace::latency::{LatencyProxy, Link as Line};
use aqe_sync_workspace::postgres::Database;
use aqe_sync_workspace::proxy::Proxy;
use futures::executor::block_on;
use std::time::Duration;

use crate::abreast_world::{
    ARRAYS, COPIED, COPIES, Gate, MERGES, ROWS, STAGED, Started, WIDE, all_committed, assert_quiet, batch, changed,
    cluster, id, is_waiting, notes, open, rows, start, terminate, version, versions, wait_for, within_limit,
};
use crate::sink_world::{checkpoint, committed, push, stream, undecided};

/// Decides for what comes in.
fn decide(mut txn: PostgresTxn, applied: Applied, letters: Vec<DeadLetter>) -> u64 {
    let writer = id().contributor();
    let priority = |_: &Contributor| Some(1);
    let ranking = Ranking { writer, priority_of: &priority };
    let contested = applied.contested.into_iter();
    let settled = contested.map(|one| settle(&notes(), &PolicySpec::LocalWins, &ranking, one)).collect();
    block_on(txn.resolve(settled)).unwrap();
    block_on(txn.reject(letters)).unwrap();
    block_on(txn.commit(checkpoint("run"))).unwrap().sequence
}

fn contested(pushed: Started<'_>) -> (PostgresTxn, Applied) {
    undecided(block_on(pushed).unwrap())
}

fn assert_failed_behind(pushed: Started<'_>) {
    let error = block_on(pushed).err().expect("it must not become durable");
    assert!(error.to_string().contains("the batch before this one was not written"), "{error}");
}

fn count(database: &Database) -> String {
    database.psql("SELECT count(*) FROM aqe.notes WHERE source = 'a.db'")
}

#[test]
fn a_second_copy_is_done_beside_the_first_and_durable_after_it() {
    within_limit(|| {
        let database = cluster().database();
        let (hub, id) = (open(&database.url(), 2), id());
        let gate = Gate::of_key(&database, 2);
        let (first, mut second) = (start(&hub, &id, batch(0, WIDE)), start(&hub, &id, batch(1, WIDE)));
        wait_for(&database, COPIES);
        wait_for(&database, COPIED);
        assert!(is_waiting(&mut second));
        gate.open();
        let done = all_committed([first, second]);
        assert_eq!(done.iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((versions(&database, "env").as_str(), version(&database, "env").as_str()), ("0:1 1:2", "2"));
        assert_quiet(&database);
    });
}

#[test]
fn three_connections_take_three_and_one_takes_them_one_by_one() {
    within_limit(|| {
        for connections in [1, 2, 3] {
            let database = cluster().database();
            let proxy = Proxy::new(cluster().port());
            let (hub, id) = (open(&database.url_through(proxy.port()), connections), id());
            assert_eq!(hub.abreast(), connections);
            // More than the hub asks for: it keeps the order all the same.
            let done = all_committed((0..5).map(|number| start(&hub, &id, batch(number, WIDE))).collect::<Vec<_>>());
            assert_eq!(done.iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
            assert_eq!(versions(&database, "env"), "0:1 1:2 2:3 3:4 4:5");
            assert_eq!(proxy.connections(), connections as u64);
            assert_quiet(&database);
        }
    });
}

#[test]
fn three_copies_are_held_by_the_first_and_fail_with_it() {
    within_limit(|| {
        let database = cluster().database();
        let (hub, id) = (open(&database.url(), 3), id());
        let gate = Gate::of_key(&database, 2);
        let first = start(&hub, &id, batch(0, WIDE));
        let (second, third) = (start(&hub, &id, batch(1, WIDE)), start(&hub, &id, batch(2, WIDE)));
        wait_for(&database, &format!("{COPIED} AND 1 < (SELECT count(*) FROM pg_stat_activity WHERE {COPIED})"));
        gate.run("COMMIT");
        let (txn, _) = contested(first);
        drop(txn);
        assert_failed_behind(second);
        assert_failed_behind(third);
        assert_eq!((count(&database).as_str(), versions(&database, "env").as_str()), ("0", "0:0"));
        assert_quiet(&database);
    });
}

#[test]
fn a_first_copy_that_turns_out_contested_is_settled_before_the_second_is_durable() {
    within_limit(|| {
        for settles in [true, false] {
            let database = cluster().database();
            let (hub, id) = (open(&database.url(), 2), id());
            let gate = Gate::of_key(&database, 2);
            let (first, mut second) = (start(&hub, &id, batch(0, WIDE)), start(&hub, &id, batch(1, WIDE)));
            wait_for(&database, COPIED);
            gate.run("COMMIT");
            let (txn, applied) = contested(first);
            assert_eq!((applied.inserted, applied.contested.len()), (4, 1));
            assert!(is_waiting(&mut second));
            if settles {
                assert_eq!(decide(txn, applied, Vec::new()), 1);
                assert_eq!(all_committed([second])[0].sequence, 2);
                assert_eq!(versions(&database, "env"), "0:1 1:2");
            } else {
                drop(txn);
                assert_failed_behind(second);
                assert_eq!(count(&database), "0");
                // Whoever comes later begins anew.
                assert_eq!(all_committed([start(&hub, &id, batch(3, WIDE))])[0].sequence, 1);
            }
            assert_quiet(&database);
        }
    });
}

#[test]
fn a_refused_row_in_the_first_is_told_before_the_second_is_durable() {
    within_limit(|| {
        let database = cluster().database();
        let (hub, id) = (open(&database.url(), 2), id());
        // Looked at when all rows are there.
        database.psql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE ''no'' USING ERRCODE = ''check_violation''; END'; \
             CREATE TRIGGER refuse AFTER INSERT ON aqe.notes FOR EACH ROW WHEN (NEW.id = 3) EXECUTE FUNCTION refuse()",
        );
        let gate = Gate::of_key(&database, 2);
        let (first, mut second) = (start(&hub, &id, batch(0, WIDE)), start(&hub, &id, batch(1, WIDE)));
        wait_for(&database, COPIED);
        gate.open();
        let (txn, applied) = contested(first);
        assert_eq!((applied.inserted, applied.refused.len()), (4, 1));
        assert!(is_waiting(&mut second));
        assert_eq!(decide(txn, applied, Vec::new()), 1);
        assert_eq!(all_committed([second])[0].sequence, 2);
        // The halves in which the row is looked for draw versions of their own.
        let given = versions(&database, "env");
        assert!(count(&database) == "9" && given.starts_with("0:1 ") && given.ends_with(" 1:4"), "{given}");
        assert_quiet(&database);
    });
}

#[test]
fn whichever_of_two_copies_loses_its_connection_both_are_stored_in_order() {
    within_limit(|| {
        for lost in [COPIES, COPIED] {
            let database = cluster().database();
            let (hub, id) = (open(&database.url(), 2), id());
            let gate = Gate::of_key(&database, 2);
            let (first, second) = (start(&hub, &id, batch(0, WIDE)), start(&hub, &id, batch(1, WIDE)));
            wait_for(&database, COPIES);
            wait_for(&database, COPIED);
            terminate(&database, lost);
            gate.open();
            let done = all_committed([first, second]);
            assert_eq!(done.iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 2], "{lost}");
            assert_eq!(versions(&database, "env"), "0:1 1:2", "{lost}");
            assert_quiet(&database);
        }
    });
}

#[test]
fn a_version_that_somebody_else_draws_in_between_is_not_given_twice() {
    within_limit(|| {
        let database = cluster().database();
        let (hub, id) = (open(&database.url(), 2), id());
        let gate = Gate::of_key(&database, 2);
        let (first, second) = (start(&hub, &id, batch(0, WIDE)), start(&hub, &id, batch(1, WIDE)));
        wait_for(&database, COPIED);
        let other = Gate::close(&database, "SELECT 1").begin(
            "INSERT INTO aqe.sync_versions AS v (source_env, table_name, version) VALUES ('env', 'notes', 1) \
             ON CONFLICT (source_env, table_name) DO UPDATE SET version = v.version + 1; COMMIT",
        );
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gate' \
                       AND datname = current_database() AND wait_event_type = 'Lock'";
        while database.psql(waiting) != "1" {}
        gate.open();
        all_committed([first, second]);
        block_on(other).unwrap();
        // Who of the two that wait for the first is next, the server decides.
        let given = versions(&database, "env");
        assert!(matches!(given.as_str(), "0:1 1:2" | "0:1 1:3"), "{given}");
        assert_eq!(version(&database, "env"), "3");
    });
}

#[test]
fn staged_batches_are_copied_side_by_side_and_merged_in_turn() {
    within_limit(|| {
        for lost in [None, Some(MERGES), Some(STAGED)] {
            let database = cluster().database();
            let (hub, id) = (open(&database.url(), 2), id());
            all_committed([0, 1].map(|number| start(&hub, &id, batch(number, WIDE))));
            let gate = Gate::of_row(&database, 2);
            let (first, mut second) = (start(&hub, &id, changed(0, WIDE)), start(&hub, &id, changed(1, WIDE)));
            wait_for(&database, MERGES);
            wait_for(&database, STAGED);
            assert!(is_waiting(&mut second));
            if let Some(lost) = lost {
                terminate(&database, lost);
            }
            gate.open();
            let done = all_committed([first, second]);
            assert_eq!(done.iter().map(|done| done.sequence).collect::<Vec<_>>(), [3, 4], "{lost:?}");
            assert_eq!(versions(&database, "env"), "0:3 1:4", "{lost:?}");
            assert_quiet(&database);
        }
    });
}

#[test]
fn a_staged_batch_that_is_contested_or_given_up_holds_the_one_behind_it() {
    within_limit(|| {
        for settles in [true, false] {
            let database = cluster().database();
            let (hub, id) = (open(&database.url(), 2), id());
            all_committed([0, 1].map(|number| start(&hub, &id, batch(number, WIDE))));
            let gate = Gate::of_row(&database, 2);
            gate.run("UPDATE aqe.notes SET content_hash = 7, body = 'theirs' WHERE id = 2");
            let (first, mut second) = (start(&hub, &id, changed(0, WIDE)), start(&hub, &id, changed(1, WIDE)));
            wait_for(&database, STAGED);
            gate.run("COMMIT");
            let (txn, applied) = contested(first);
            assert_eq!((applied.updated, applied.contested.len()), (4, 1));
            assert!(is_waiting(&mut second));
            if settles {
                assert_eq!(decide(txn, applied, Vec::new()), 3);
                assert_eq!(all_committed([second])[0].sequence, 4);
                assert_eq!(versions(&database, "env"), "0:3 1:4");
            } else {
                drop(txn);
                assert_failed_behind(second);
                assert_eq!(versions(&database, "env"), "0:1 1:2");
            }
            assert_quiet(&database);
        }
    });
}

/// A server that is far away, seen through a proxy that counts.
fn far() -> (LatencyProxy, Proxy) {
    let line = Line { round_trip: Duration::from_millis(24), megabits: 1_000.0, slow_start: false };
    let latency = LatencyProxy::new(cluster().port(), line);
    let proxy = Proxy::new(latency.port());
    (latency, proxy)
}

const SMALL: usize = 20_000;

#[test]
fn far_away_batches_follow_one_another_on_one_connection() {
    within_limit(|| {
        for (lost, settles) in [(false, None), (true, None), (false, Some(true)), (false, Some(false))] {
            let database = cluster().database();
            let (_latency, proxy) = far();
            let (hub, id) = (open(&database.url_through(proxy.port()), 2), id());
            let (before, opened) = (proxy.bytes_to_server(), proxy.connections());
            let gate = Gate::of_key(&database, 2);
            let first = start(&hub, &id, batch(0, SMALL));
            let mut others = [1, 2].map(|number| start(&hub, &id, batch(number, SMALL)));
            wait_for(&database, ARRAYS);
            let all = 3 * u64::from(ROWS) * SMALL as u64;
            while proxy.bytes_to_server() - before < all {}
            assert_eq!(proxy.connections(), opened, "all three are on one connection");
            assert!(others.iter_mut().all(is_waiting));
            if lost {
                terminate(&database, ARRAYS);
            }
            gate.run(if settles.is_some() { "COMMIT" } else { "ROLLBACK" });
            match settles {
                None => {
                    let [second, third] = others;
                    let done = all_committed([first, second, third]);
                    assert_eq!(done.iter().map(|done| done.sequence).collect::<Vec<_>>(), [1, 2, 3], "{lost}");
                    assert_eq!(versions(&database, "env"), "0:1 1:2 2:3", "{lost}");
                }
                Some(true) => {
                    let (txn, applied) = contested(first);
                    assert_eq!(count(&database), "0", "those behind it have failed with it");
                    assert_eq!(decide(txn, applied, Vec::new()), 1);
                    let done = all_committed(others);
                    assert_eq!(done.iter().map(|done| done.sequence).collect::<Vec<_>>(), [2, 3]);
                    assert_eq!(versions(&database, "env"), "0:1 1:2 2:3");
                }
                Some(false) => {
                    drop(contested(first));
                    others.into_iter().for_each(assert_failed_behind);
                    assert_eq!((count(&database).as_str(), versions(&database, "env").as_str()), ("0", "0:0"));
                }
            }
            assert_quiet(&database);
        }
    });
}

#[test]
fn a_dry_run_takes_one_at_a_time_and_leaves_nothing() {
    within_limit(|| {
        let database = cluster().database();
        drop(open(&database.url(), 2));
        let address = aqe_cloud::postgres::link::AddressParts::parse(&database.url()).unwrap().build().unwrap();
        let hub = aqe_cloud::postgres::PostgresHub::builder(address).connections(3).dry_run().open().unwrap();
        assert_eq!((hub.abreast(), hub.lanes()), (1, 1));
        for number in 0..3 {
            committed(push(&hub, &id(), &notes(), batch(number, if number == 1 { SMALL } else { WIDE })));
        }
        committed(push(&hub, &id(), &notes(), changed(0, WIDE)));
        drop(hub);
        assert_eq!(count(&database), "0");
    });
}

#[test]
fn deliveries_that_nobody_waits_for_any_more_leave_no_transaction_open() {
    within_limit(|| {
        for forgotten in [[true, false], [false, true], [true, true]] {
            for contested in [false, true] {
                let database = cluster().database();
                let (hub, id) = (open(&database.url(), 2), id());
                let gate = Gate::of_key(&database, 2);
                let mut both: Vec<_> =
                    [0, 1].map(|number| Some(start(&hub, &id, batch(number, WIDE)))).into_iter().collect();
                wait_for(&database, COPIED);
                for (pushed, forgotten) in both.iter_mut().zip(forgotten) {
                    drop(pushed.take_if(|_| forgotten));
                }
                gate.run(if contested { "COMMIT" } else { "ROLLBACK" });
                for pushed in both.into_iter().flatten() {
                    // What is contested and forgotten takes the other one with it.
                    drop(block_on(pushed));
                }
                assert_quiet(&database);
                // The connections are free, and what is there is in order.
                let pushed = block_on(start(&hub, &id, batch(2, WIDE)));
                if !contested {
                    committed(pushed.unwrap());
                    assert_eq!(versions(&database, "env"), "0:1 1:2 2:3");
                } else if let Ok(Pushed::Committed(..)) = pushed {
                    assert!(matches!(versions(&database, "env").as_str(), "0:0 2:1"), "{}", versions(&database, "env"));
                }
                assert_quiet(&database);
            }
        }
    });
}

#[test]
fn what_is_given_after_a_failure_that_nobody_has_heard_of_fails_too() {
    within_limit(|| {
        for size in [WIDE, SMALL] {
            let database = cluster().database();
            let (hub, id) = (open(&database.url(), 2), id());
            database.psql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'; \
                 CREATE TRIGGER refuse BEFORE INSERT ON aqe.notes FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION refuse()",
            );
            let first = start(&hub, &id, batch(0, size));
            wait_for(&database, "state = 'idle' AND query IN ('ROLLBACK', 'COMMIT') AND backend_xid IS NULL");
            let second = start(&hub, &id, batch(1, size));
            assert_failed_behind(second);
            let error = block_on(first).err().expect("the trigger says no");
            assert!(error.to_string().contains("no"), "{error}");
            assert_eq!(versions(&database, "env"), "");
            // Who has heard of it may go on.
            all_committed([start(&hub, &id, batch(1, size))]);
            assert_quiet(&database);
        }
    });
}

#[test]
fn another_stream_of_the_table_does_not_overtake_the_second_delivery_of_one() {
    within_limit(|| {
        let database = cluster().database();
        let (hub, id, other) = (open(&database.url(), 2), id(), stream("env", "b.db", "notes"));
        let (first, second) = (start(&hub, &id, batch(0, WIDE)), start(&hub, &id, batch(1, WIDE)));
        // The same keys as the second's, and few bytes: it could be the first to write them.
        let third = start(&hub, &other, rows(ROWS..2 * ROWS, "z", 1));
        assert_eq!(all_committed([first, second]).len(), 2);
        let (txn, applied) = contested(third);
        assert_eq!((applied.inserted, applied.contested.len()), (0, ROWS as usize), "who was given first came first");
        drop(txn);
        assert_eq!(count(&database), (2 * ROWS).to_string());
        assert_quiet(&database);
    });
}
