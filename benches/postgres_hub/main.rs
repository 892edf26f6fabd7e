//! The PostgreSQL hub against the floor, and over a slow link.
//!
//! `cargo bench --bench postgres_hub [-- ROWS [RUNS]]` (default 500,000 rows, 5 runs).
//! The floor is what `psql` needs to `\copy` ready-made binary files into staging
//! tables and to merge each with one statement. Floor and sync take turns in every
//! run, on the same server. `-- isolation [ROWS [RUNS]]` measures instead what keeping
//! environments apart costs, `-- capacity [ROWS]` how much room rows take. Prints medians and ratios; findings are in
//! `benches/README.md`.

mod capacity;
#[path = "../dataset/mod.rs"]
mod dataset;
mod floor;
mod forgetful;
mod isolation;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::AddressParts;
use aqe_readers::{LedgerFile, discover};
use aqe_sync_core::{Engine, MemoryLedger, Options, Report, Silent, Sink};
use aqe_sync_workspace::latency::{LatencyProxy, Link};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;

use floor::Floor;
use forgetful::Forgetful;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SMALL: u64 = 5_000;
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// 70 % of the records carry an embedding: about 900 MB for 500,000.
const WIDE: dataset::Shares = [50, 8, 30, 5, 4, 2, 1];

fn main() -> Outcome<()> {
    let apart = std::env::args().any(|argument| argument == "isolation");
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (rows, runs) = (numbers.next().unwrap_or(500_000), numbers.next().unwrap_or(5));
    if std::env::args().any(|argument| argument == "capacity") {
        return capacity::run(rows);
    }
    let cluster = Cluster::builder().fsync(true).setting("max_wal_size", "8GB").setting("autovacuum", "off").start();
    if apart {
        return isolation::run(&cluster, rows, runs);
    }
    local(&cluster, rows, runs)?;
    distant(&cluster, runs)
}

/// A project folder with one database, and a ledger.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new(rows: u64) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(".git"))?;
        std::fs::create_dir(folder.path().join(".agentic-qe"))?;
        let project = Self { folder };
        dataset::write(&project.database(), rows, WIDE)?;
        println!("{rows} rows, {} MB", std::fs::metadata(project.database())?.len() / 1_000_000);
        Ok(project)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn database(&self) -> PathBuf {
        self.path().join(".agentic-qe/memory.db")
    }

    /// Changes every hundredth record of each table.
    fn touch(&self, run: u64) -> Outcome<()> {
        let connection = rusqlite::Connection::open(self.database())?;
        for (table, column) in [
            ("qe_patterns", "description"),
            ("kv_store", "value"),
            ("sona_patterns", "action_type"),
            ("rl_q_values", "domain"),
            ("captured_experiences", "task"),
            ("routing_outcomes", "used_agent"),
            ("goap_plans", "status"),
        ] {
            let value = if column == "value" { format!("{{\"run\":{run}}}") } else { format!("touched {run}") };
            connection.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE rowid % 100 = 7"), [value])?;
        }
        Ok(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }

    fn sync(&self, hub: &impl Sink, ledger: &Path) -> Outcome<Report> {
        let ledger = LedgerFile::open(ledger, &block_on(hub.identity())?)?;
        let sources: Vec<_> = discover(self.path())?.found.into_iter().map(|found| found.source).collect();
        let report = block_on(Engine::new(hub, &ledger, &Silent, Options::new("bench".into())).run(&sources))?;
        assert!(report.error.is_none() && report.streams.iter().all(|stream| stream.error.is_none()), "{report:#?}");
        Ok(report)
    }
}

fn open(url: &str) -> Outcome<PostgresHub> {
    Ok(PostgresHub::builder(AddressParts::parse(url)?.build()?).open()?)
}

fn timed<T>(job: impl FnOnce() -> Outcome<T>) -> Outcome<(Duration, T)> {
    let begun = Instant::now();
    let result = job()?;
    Ok((begun.elapsed(), result))
}

#[derive(Default)]
struct Figures {
    floor: Vec<Duration>,
    first: Vec<Duration>,
    floor_again: Vec<Duration>,
    again: Vec<Duration>,
    changed: Vec<Duration>,
    unchanged: Vec<Duration>,
}

/// Next to the server.
fn local(cluster: &Cluster, rows: u64, runs: u64) -> Outcome<()> {
    let project = Project::new(rows)?;
    let floor = Floor::prepare(cluster, |database| {
        let ledger = tempfile::tempdir()?;
        project.sync(&open(&database.url())?, &ledger.path().join("ledger.db")).map(drop)
    })?;
    let mut figures = Figures::default();
    for run in 0..runs {
        let database = Floor::empty_hub(cluster)?;
        figures.floor.push(timed(|| floor.load(&database))?.0);
        figures.floor_again.push(timed(|| floor.load(&database))?.0);
        drop(database);
        let database = cluster.database();
        // The tables are there before, as for the floor.
        open(&database.url())?;
        ours(&database.url(), &project, run, &mut figures)?;
    }
    let Figures { floor, first, floor_again, again, changed, unchanged } = figures;
    let (load, reload) = (median(&floor), median(&floor_again));
    println!("floor, first load      {}", spread(&floor));
    println!("first load             {}  ratio {:.2}", spread(&first), ratio(&first, load));
    println!("floor, sent again      {}", spread(&floor_again));
    println!("sent again, unchanged  {}  ratio {:.2}", spread(&again), ratio(&again, reload));
    println!("1 % changed            {}  ratio {:.2}", spread(&changed), ratio(&changed, reload));
    println!("nothing changed        {}", spread(&unchanged));
    Ok(())
}

fn ours(url: &str, project: &Project, run: u64, figures: &mut Figures) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    let (took, report) = timed(|| project.sync(&open(url)?, &ledger))?;
    assert_eq!(report.totals.inserted, report.totals.read);
    figures.first.push(took);
    let (took, report) = timed(|| {
        let sources: Vec<_> = discover(project.path())?.found.into_iter().map(|found| found.source).collect();
        let hub = Forgetful(open(url)?);
        let ledger = MemoryLedger::new();
        Ok(block_on(Engine::new(&hub, &ledger, &Silent, Options::new("bench".into())).run(&sources))?)
    })?;
    assert_eq!(report.totals.unchanged, report.totals.read, "{report:#?}");
    figures.again.push(took);
    project.sync(&open(url)?, &ledger)?;
    project.touch(run)?;
    let (took, report) = timed(|| project.sync(&open(url)?, &ledger))?;
    assert!(report.totals.updated > 0 && report.totals.updated < report.totals.read / 50);
    figures.changed.push(took);
    while project.sync(&open(url)?, &ledger)?.totals.read > 0 {}
    figures.unchanged.push(timed(|| project.sync(&open(url)?, &ledger))?.0);
    Ok(())
}

/// Far from the server: with the time to connect, and without.
fn distant(cluster: &Cluster, runs: u64) -> Outcome<()> {
    let project = Project::new(SMALL)?;
    let proxy = LatencyProxy::new(cluster.port(), Link::with_round_trip(ROUND_TRIP));
    let mut connected: [Vec<Duration>; 3] = Default::default();
    let mut whole: [Vec<Duration>; 3] = Default::default();
    for run in 0..runs {
        let database = cluster.database();
        // Tables are there before: made once, by `init`.
        let warm = tempfile::tempdir()?;
        let hub = open(&database.url())?;
        for table in aqe_sync_core::tables::all() {
            block_on(hub.prepare(table))?;
        }
        drop((hub, warm));
        let folder = tempfile::tempdir()?;
        let ledger = folder.path().join("ledger.db");
        for step in 0..3 {
            if step == 1 {
                project.touch(run)?;
            }
            if step == 2 {
                while project.sync(&open(&database.url())?, &ledger)?.totals.read > 0 {}
            }
            let (all, took) = timed(|| {
                let hub = open(&database.url_through(proxy.port()))?;
                Ok(timed(|| project.sync(&hub, &ledger))?.0)
            })?;
            connected[step].push(took);
            whole[step].push(all);
        }
    }
    for (name, (connected, whole)) in
        ["first load", "1 % changed", "nothing changed"].into_iter().zip(connected.iter().zip(&whole))
    {
        println!("40 ms away: {name:<16} {}  with connecting {:.2?}", spread(connected), median(whole));
    }
    Ok(())
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio(times: &[Duration], to: Duration) -> f64 {
    median(times).as_secs_f64() / to.as_secs_f64()
}

fn spread(times: &[Duration]) -> String {
    let (least, most) = (times.iter().min(), times.iter().max());
    format!("median {:.2?} ({:.2?} – {:.2?})", median(times), least.unwrap_or(&times[0]), most.unwrap_or(&times[0]))
}
