//! Reading, hashing and diffing; and "nothing changed".
//!
//! `cargo bench --bench local_side [-- ROWS]` (default 500,000). Writes a dataset
//! to a temporary folder, loads it once, then measures incremental runs: with
//! one row touched, so that everything is read again, and untouched. Prints
//! minimum, median and maximum. Findings are in `benches/README.md`.

mod dataset;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::{Engine, Options, Report, Silent, Sink as _};
use futures::executor::block_on;

const RUNS: usize = 7;

/// 26 % of the records carry an embedding: 376 MB for 500,000.
const MIXED: dataset::Shares = [20, 30, 10, 20, 10, 7, 3];

fn main() -> Result<(), Box<dyn Error>> {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(500_000);
    let folder = tempfile::tempdir()?;
    let project = folder.path();
    std::fs::create_dir(project.join(".git"))?;
    std::fs::create_dir(project.join(".agentic-qe"))?;
    let database = project.join(".agentic-qe/memory.db");
    dataset::write(&database, rows, MIXED)?;
    println!("{rows} rows, {} MB", std::fs::metadata(&database)?.len() >> 20);

    let begun = Instant::now();
    let report = sync(project)?;
    let took = begun.elapsed();
    println!("first load             {} rows/s  ({took:.2?})", rate(report.totals.read, took));

    let mut changed = Vec::new();
    for run in 0..RUNS {
        touch(&database, run)?;
        let begun = Instant::now();
        let report = sync(project)?;
        changed.push(begun.elapsed());
        assert_eq!((report.totals.updated, report.totals.unchanged), (1, report.totals.read - 1));
    }
    let [least, median, most] = spread(&mut changed);
    println!(
        "read, hash, diff       {} rows/s  (min {least:.2?}, median {median:.2?}, max {most:.2?})",
        rate(report.totals.read, median)
    );

    // Lets the fingerprint of the last change settle (the file's clock is coarse).
    while sync(project)?.totals.read > 0 {}
    let mut unchanged = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let report = sync(project)?;
        unchanged.push(begun.elapsed());
        assert!(report.streams.iter().all(|stream| stream.skipped_unchanged));
    }
    let [least, median, most] = spread(&mut unchanged);
    println!("nothing changed        min {least:.2?}, median {median:.2?}, max {most:.2?}");
    Ok(())
}

/// A whole run, as the command makes it: discovery and opening included.
fn sync(project: &Path) -> Result<Report, Box<dyn Error>> {
    let discovery = discover(project)?;
    let hub = EmbeddedHub::open(&project.join(".aqe-sync/hub.db"))?;
    let ledger = LedgerFile::open(&project.join(".aqe-sync/ledger.db"), &block_on(hub.identity())?)?;
    let sources: Vec<_> = discovery.found.into_iter().map(|found| found.source).collect();
    let options = Options::new("bench".into());
    Ok(block_on(Engine::new(&hub, &ledger, &Silent, options).run(&sources))?)
}

/// Changes one row, as an agent would.
fn touch(database: &Path, run: usize) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(database)?;
    connection.execute("UPDATE goap_plans SET total_cost = ?1 WHERE rowid = 1", [run as f64 + 10.0])?;
    Ok(())
}

fn rate(rows: u64, took: Duration) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display")]
    let rate = (rows as f64 / took.as_secs_f64()) as u64;
    rate
}

fn spread(times: &mut [Duration]) -> [Duration; 3] {
    times.sort_unstable();
    [times[0], times[times.len() / 2], times[times.len() - 1]]
}
