//! Pulling what another environment learned, from both kinds of hub.
//!
//! `cargo bench --bench pulls [-- ROWS [RUNS]]` (default 100,000 rows, 3 runs). One
//! environment pushes a dataset; another, whose database has the same tables and no rows,
//! pulls all of it; then the first changes every record, and the other pulls that; then 1 %
//! of them; then nothing is new. Each pull is a process of its own, whose largest resident
//! set is printed. Last, empty pulls over a link with a round trip of 40 ms say how many
//! round trips they cost once connected. Findings are in `benches/README.md`.

mod dataset;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqe_cloud::postgres::PostgresHub;
use aqe_cloud::postgres::link::AddressParts;
use aqe_readers::{EmbeddedHub, LedgerFile, Pull, PullState, discover, state_file};
use aqe_sync_core::fleet::{FleetHub, Trust};
use aqe_sync_core::{BatchLimits, Engine, Options, Report, Silent, Sink};
use aqe_sync_workspace::latency::{LatencyProxy, Link};
use aqe_sync_workspace::postgres::Cluster;
use futures::executor::block_on;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUND_TRIP: Duration = Duration::from_millis(40);

/// 26 % of the records carry an embedding.
const MIXED: dataset::Shares = [20, 30, 10, 20, 10, 7, 3];

/// What this program is called with to pull once, and to say what it took.
const CHILD: &str = "--pull";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, root, hub] = arguments.as_slice()
        && flag == CHILD
    {
        return child(Path::new(root), hub);
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let (rows, runs) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(3));
    let cluster = Cluster::builder().fsync(true).setting("max_wal_size", "8GB").setting("autovacuum", "off").start();
    for run in 0..runs {
        let folder = tempfile::tempdir()?;
        round(&format!("sqlite:{}", folder.path().join("hub.db").display()), rows, run, "embedded")?;
        let database = cluster.database();
        round(&database.url(), rows, run, "PostgreSQL")?;
    }
    distant(&cluster, runs)
}

/// One environment: a project folder with one database.
struct Project {
    name: &'static str,
    folder: tempfile::TempDir,
}

impl Project {
    fn new(name: &'static str, rows: u64) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(".git"))?;
        std::fs::create_dir(folder.path().join(".agentic-qe"))?;
        std::fs::create_dir(folder.path().join(".aqe-sync"))?;
        let project = Self { name, folder };
        dataset::write(&project.database(), rows, MIXED)?;
        Ok(project)
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join(".agentic-qe/memory.db")
    }

    /// Counts on in every record that has a counter, and writes to those that have none.
    fn work(&self, only: &str) -> Outcome<()> {
        let connection = rusqlite::Connection::open(self.database())?;
        for change in [
            "qe_patterns SET usage_count = usage_count + 1",
            "kv_store SET value = json_set(value, '$.run', json_extract(value, '$.run') + 1)",
            "sona_patterns SET usage_count = usage_count + 1",
            "rl_q_values SET visits = visits + 1",
            "goap_plans SET total_cost = total_cost + 1",
        ] {
            connection.execute(&format!("UPDATE {change} WHERE {only}"), [])?;
        }
        Ok(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }

    fn push(&self, hub: &str) -> Outcome<Report> {
        match hub.strip_prefix("sqlite:") {
            Some(path) => self.push_to(&EmbeddedHub::open(Path::new(path))?),
            None => self.push_to(&open(hub)?),
        }
    }

    fn push_to(&self, hub: &impl Sink) -> Outcome<Report> {
        let ledger = LedgerFile::open(&self.folder.path().join(".aqe-sync/ledger.db"), &block_on(hub.identity())?)?;
        let sources: Vec<_> = discover(self.folder.path())?.found.into_iter().map(|found| found.source).collect();
        let report = block_on(Engine::new(hub, &ledger, &Silent, Options::new(self.name.into())).run(&sources))?;
        assert!(report.error.is_none() && report.streams.iter().all(|stream| stream.error.is_none()), "{report:#?}");
        Ok(report)
    }

    /// Pulls in a process of its own, and says what came, how long it took and how large the
    /// process was.
    fn pull(&self, hub: &str) -> Outcome<Taken> {
        let output = Command::new(std::env::current_exe()?).arg(CHILD).arg(self.folder.path()).arg(hub).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<u64> = said.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        match (output.status.success(), numbers.as_slice()) {
            (true, &[inserted, updated, micros, kilobytes]) => {
                Ok(Taken { inserted, updated, took: Duration::from_micros(micros), kilobytes })
            }
            _ => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }
}

struct Taken {
    inserted: u64,
    updated: u64,
    took: Duration,
    kilobytes: u64,
}

impl Taken {
    fn tell(&self, what: &str) {
        let rows = self.inserted + self.updated;
        println!(
            "  {what:<18} {rows:>7} rows in {:>6.2} s, {:>6.0} rows/s, peak {:>3} MB",
            self.took.as_secs_f64(),
            rows as f64 / self.took.as_secs_f64(),
            self.kilobytes / 1_000
        );
    }
}

fn open(url: &str) -> Outcome<PostgresHub> {
    Ok(PostgresHub::builder(AddressParts::parse(url)?.build()?).open()?)
}

fn round(hub: &str, rows: u64, run: u64, kind: &str) -> Outcome<()> {
    let (writer, reader) = (Project::new("writer", rows)?, Project::new("reader", 0)?);
    let pushed = writer.push(hub)?;
    println!("{kind}, run {}: {} rows in the hub", run + 1, pushed.totals.inserted);
    let all = reader.pull(hub)?;
    all.tell("all of it");
    assert!(all.inserted > rows / 2, "what was pushed is pulled");
    writer.work("true")?;
    writer.push(hub)?;
    let changed = reader.pull(hub)?;
    changed.tell("every record");
    assert!(changed.updated > rows / 2, "what changed is pulled");
    writer.work("rowid % 100 = 7")?;
    writer.push(hub)?;
    reader.pull(hub)?.tell("1 % of them");
    let nothing = reader.pull(hub)?;
    nothing.tell("nothing new");
    assert_eq!((nothing.inserted, nothing.updated), (0, 0));
    Ok(())
}

fn child(root: &Path, hub: &str) -> Outcome<()> {
    let (took, report) = match hub.strip_prefix("sqlite:") {
        Some(path) => pulled(root, &Arc::new(EmbeddedHub::open(Path::new(path))?)),
        None => pulled(root, &Arc::new(open(hub)?)),
    }?;
    println!("{} {} {} {}", report.totals.inserted, report.totals.updated, took.as_micros(), peak());
    Ok(())
}

/// Pulls once over a hub that is open.
fn pulled<H: FleetHub>(root: &Path, hub: &Arc<H>) -> Outcome<(Duration, Report)> {
    let begun = Instant::now();
    let state_folder = root.join(".aqe-sync");
    let state = PullState::open(&state_file(&state_folder))?;
    let files: Vec<_> = discover(root)?.found.into_iter().map(|found| found.file).collect();
    let pull = Pull {
        environment: "reader".into(),
        instance: Options::new("reader".into()).instance,
        backups: state_folder.join("backups"),
        tables: None,
        trust: Trust::default(),
        full: false,
        after: None,
        limits: BatchLimits::default(),
        redact: None,
    };
    let report = block_on(aqe_readers::pull(hub, &state, &files, &pull, &Silent))?;
    assert!(report.error.is_none() && report.streams.iter().all(|stream| stream.error.is_none()), "{report:#?}");
    Ok((begun.elapsed(), report))
}

/// The largest resident set of this process, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Far from the server: the time of an empty pull after connecting, in round trips.
fn distant(cluster: &Cluster, runs: u64) -> Outcome<()> {
    let proxy = LatencyProxy::new(cluster.port(), Link::with_round_trip(ROUND_TRIP));
    let database = cluster.database();
    let (writer, reader) = (Project::new("writer", 1_000)?, Project::new("reader", 0)?);
    writer.push(&database.url())?;
    reader.pull(&database.url())?;
    for _ in 0..runs {
        let hub = Arc::new(open(&database.url_through(proxy.port()))?);
        let (took, report) = pulled(reader.folder.path(), &hub)?;
        assert_eq!(report.totals.read, 0);
        let trips = took.as_secs_f64() / ROUND_TRIP.as_secs_f64();
        println!("empty pull, {ROUND_TRIP:?} away: {took:.1?} once connected, {trips:.2} round trips");
    }
    Ok(())
}
