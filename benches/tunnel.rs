//! Through a relay on this machine against straight to the server.
//!
//! `cargo bench --bench tunnel [-- MEGABYTES [RUNS]]` (default 500 MB, 5 runs). Bytes into a
//! server that drops them, and a first sync into PostgreSQL; both ways take turns. Prints medians
//! and ratios; findings are in `benches/README.md`.

#[path = "dataset/mod.rs"]
mod dataset;

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::{AddressParts, Secret, Wire};
use aqe_cloud::testkit::relay::Relay;
use aqe_cloud::tunnel::iap::Iap;
use aqe_cloud::tunnel::{FixedToken, Instance};
use aqe_readers::discover;
use aqe_sync_core::{Engine, MemoryLedger, Options, Silent};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MEGABYTE: usize = 1_000_000;
/// 70 % of the records carry an embedding.
const WIDE: dataset::Shares = [50, 8, 30, 5, 4, 2, 1];
const ROWS_PER_MEGABYTE: u64 = 500;

fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (megabytes, runs) = (numbers.next().unwrap_or(500), numbers.next().unwrap_or(5));
    bytes(usize::try_from(megabytes)?, runs)?;
    sync(megabytes * ROWS_PER_MEGABYTE / 2, runs)
}

fn tunnel(relay: &Relay) -> Outcome<Iap> {
    let token = FixedToken::new(Secret::new("made-up"))?;
    Ok(Iap::new(Instance::new("p", "z", "vm"), Arc::new(token)).relay(&relay.url())?)
}

/// Reads all that it is told to, and then says so.
fn drain() -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || swallow(stream));
        }
    });
    Ok(port)
}

fn swallow(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut length, mut piece) = ([0; 8], vec![0; 1 << 18]);
    stream.read_exact(&mut length)?;
    let mut left = u64::from_be_bytes(length);
    while left > 0 {
        left = left.saturating_sub(stream.read(&mut piece)? as u64);
    }
    stream.write_all(b"!")
}

fn bytes(megabytes: usize, runs: u64) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let port = drain()?;
    let relay = Relay::start(port);
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        direct.push(runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            push(Box::new(stream), megabytes).await
        })?);
        relayed.push(runtime.block_on(async {
            push(Box::new(tunnel(&relay)?.connect(Duration::from_secs(10)).await?), megabytes).await
        })?);
    }
    show("bytes", megabytes, direct, relayed);
    Ok(())
}

async fn push(mut stream: Box<dyn Wire>, megabytes: usize) -> Outcome<Duration> {
    let piece = vec![7; MEGABYTE];
    let begun = Instant::now();
    stream.write_all(&((megabytes * MEGABYTE) as u64).to_be_bytes()).await?;
    for _ in 0..megabytes {
        stream.write_all(&piece).await?;
    }
    stream.flush().await?;
    stream.read_exact(&mut [0]).await?;
    Ok(begun.elapsed())
}

fn sync(rows: u64, runs: u64) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(folder.path().join(".agentic-qe"))?;
    std::fs::create_dir(folder.path().join(".git"))?;
    let file = folder.path().join(".agentic-qe/memory.db");
    dataset::write(&file, rows, WIDE)?;
    let megabytes = usize::try_from(std::fs::metadata(&file)?.len())? / MEGABYTE;
    let cluster = Cluster::start();
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    for run in 0..2 * runs {
        let database = cluster.database();
        let address = AddressParts::parse(&database.url())?.build()?;
        let relay = Relay::start(address.port());
        let builder = PostgresHub::builder(address).far(false);
        let through = run % 2 == 1;
        let hub = if through { builder.connector(Arc::new(tunnel(&relay)?)).open()? } else { builder.open()? };
        let sources: Vec<_> = discover(folder.path())?.found.into_iter().map(|found| found.source).collect();
        let begun = Instant::now();
        let ledger = MemoryLedger::new();
        let report = block_on(Engine::new(&hub, &ledger, &Silent, Options::new("bench".into())).run(&sources))?;
        let taken = begun.elapsed();
        assert!(report.error.is_none() && report.totals.inserted >= rows, "{report:#?}");
        if through { relayed.push(taken) } else { direct.push(taken) }
    }
    show("first sync", megabytes, direct, relayed);
    Ok(())
}

fn show(what: &str, megabytes: usize, direct: Vec<Duration>, relayed: Vec<Duration>) {
    let rate = |mut times: Vec<Duration>| {
        times.sort();
        megabytes as f64 / times[times.len() / 2].as_secs_f64()
    };
    let (direct, relayed) = (rate(direct), rate(relayed));
    println!("{what}: {megabytes} MB, direct {direct:.0} MB/s, relay {relayed:.0} MB/s, {:.2} of it", relayed / direct);
}
