//! A sync through Google's relay whose transports break all the time.

use std::fmt::Write as _;
use std::sync::Arc;

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::{AddressParts, Secret};
use aqe_cloud::testkit::relay::Relay;
use aqe_cloud::tunnel::iap::Iap;
use aqe_cloud::tunnel::{FixedToken, Instance};
use aqe_sync_core::{DynSource, Engine, MemoryLedger, Options, Silent, Status};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;

use crate::faults_world::{errors, noise, records, source};

const RECORDS: u64 = 10_000;
const BODY: usize = 10_000;
const CUTS: u64 = 50;

#[test]
fn a_hundred_megabytes_arrive_exactly_over_fifty_cuts_in_one_run() {
    let database = Cluster::shared().database();
    let address = AddressParts::parse(&database.url()).unwrap().build().unwrap();
    let relay = Relay::start(address.port());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..CUTS {
        // 75 MB together; more than what a WebSocket takes to begin.
        relay.cut_after(1_000 + random.u64(..3_000_000));
    }
    let token = Arc::new(FixedToken::new(Secret::new("made-up")).unwrap());
    let tunnel = Iap::new(Instance::new("p", "z", "vm"), token).relay(&relay.url()).unwrap();
    let bodies = || (0..RECORDS).map(|number| (format!("{number:05}"), noise(number, BODY)));
    let sources: Vec<Box<dyn DynSource>> = vec![source("a.db", vec![("pages", records(bodies(), 1_700_000_000))])];
    let hub = PostgresHub::builder(address).connector(Arc::new(tunnel)).open().unwrap();
    let ledger = MemoryLedger::new();
    let report = block_on(Engine::new(&hub, &ledger, &Silent, Options::new("env".into())).run(&sources)).unwrap();
    assert_eq!((report.status, errors(&report)), (Status::Ok, String::new()));
    assert_eq!(report.totals.inserted, RECORDS);
    assert_eq!(relay.cuts(), CUTS);
    let begun = relay.requests().iter().filter(|request| request.target.contains("/connect?")).count();
    assert!(begun <= 4, "{begun} sessions: each connection to the server lasts the whole run");
    let stored = database.psql("SELECT id || ' ' || body FROM aqe.pages ORDER BY id");
    let expected = bodies().fold(String::new(), |mut all, (id, body)| {
        let _ = writeln!(all, "{id} {body}");
        all
    });
    assert!(stored.trim_end() == expected.trim_end(), "{} of {} bytes", stored.len(), expected.len());
}
