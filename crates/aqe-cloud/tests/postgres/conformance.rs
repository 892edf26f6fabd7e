//! The hub against the conformance kit, on every kind of vectors.

use std::fmt::Write as _;

use aqe_cloud::postgres::PostgresHub;
use aqe_sync_core::testkit::{FaultySink, Rule, SinkCase, check_sink};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors;
use futures::executor::block_on;

use crate::sink_world::hub;

/// Opening blocks, which no executor likes.
fn opened(database: &Database) -> PostgresHub {
    std::thread::scope(|scope| scope.spawn(|| hub(&database.url())).join()).unwrap()
}

/// All rows of all tables, as text.
fn census(database: &Database) -> String {
    let mut all = String::new();
    for name in database.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'aqe' ORDER BY 1").lines() {
        let quoted = name.replace('"', "\"\"");
        let rows = database.psql(&format!("SELECT t::text FROM aqe.\"{quoted}\" t ORDER BY 1"));
        writeln!(all, "{name}\n{rows}").unwrap();
    }
    all
}

fn passes(database: &Database) {
    let case = SinkCase::new(|| async { opened(database) }).census(|| async { census(database) });
    let checked = block_on(check_sink(&case)).unwrap();
    for rule in Rule::OF_SINKS {
        assert!(checked.of(rule) > 0, "{rule} was not checked");
    }
}

#[test]
fn the_hub_keeps_every_rule_of_a_sink() {
    passes(&Cluster::shared().database());
}

#[test]
fn the_hub_keeps_every_rule_of_a_sink_with_ruvector() {
    let Some(cluster) = vectors::ruvector() else { return };
    let database = cluster.database();
    database.psql("CREATE EXTENSION ruvector");
    passes(&database);
}

#[test]
fn the_hub_keeps_every_rule_of_a_sink_with_pgvector() {
    for cluster in [vectors::pgvector(), vectors::old_pgvector()].into_iter().flatten() {
        let database = cluster.database();
        database.psql("CREATE EXTENSION vector");
        passes(&database);
    }
}

#[test]
fn a_faulty_hub_that_has_no_faults_keeps_every_rule() {
    let database = Cluster::shared().database();
    let case = SinkCase::new(|| async { FaultySink::new(opened(&database)) });
    assert!(block_on(check_sink(&case)).unwrap().of(Rule::ConcurrentWriters) > 0);
}
