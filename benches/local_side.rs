//! Reading, hashing and diffing; and "nothing changed".
//!
//! `cargo bench --bench local_side [-- ROWS]` (default 500,000). Writes a dataset
//! to a temporary folder, loads it, then measures incremental runs: with
//! one row touched, so that everything is read again, and untouched; each
//! without looking for credentials and with it, by turns. Prints minimum, median
//! and maximum. Findings are in `benches/README.md`.

mod dataset;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{Engine, Options, Report, Silent, Sink as _};
use futures::executor::block_on;

const LOADS: usize = 3;
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

    // By turns, so that whatever else the machine does meets both alike.
    let mut loads = [Vec::new(), Vec::new()];
    for _ in 0..LOADS {
        for redacts in [false, true] {
            let state = project.join(state(redacts));
            if state.exists() {
                std::fs::remove_dir_all(&state)?;
            }
            let begun = Instant::now();
            let report = sync(project, redacts)?;
            loads[usize::from(redacts)].push(begun.elapsed());
            assert!(report.totals.inserted > 0 && report.totals.inserted == report.totals.read);
        }
    }
    say("first load", rows as u64, &mut loads);

    let mut changed = [Vec::new(), Vec::new()];
    for run in 0..RUNS {
        touch(&database, run)?;
        for redacts in [false, true] {
            let begun = Instant::now();
            let report = sync(project, redacts)?;
            changed[usize::from(redacts)].push(begun.elapsed());
            assert_eq!((report.totals.updated, report.totals.unchanged), (1, report.totals.read - 1));
        }
    }
    say("read, hash, diff", rows as u64, &mut changed);

    // Lets the fingerprint of the last change settle (the file's clock is coarse).
    while sync(project, true)?.totals.read > 0 {}
    let mut unchanged = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let report = sync(project, true)?;
        unchanged.push(begun.elapsed());
        assert!(report.streams.iter().all(|stream| stream.skipped_unchanged));
    }
    let [least, median, most] = spread(&mut unchanged);
    println!("nothing changed        min {least:.2?}, median {median:.2?}, max {most:.2?}");
    Ok(())
}

/// Prints what runs took without looking for credentials and with it, and the ratio.
fn say(what: &str, rows: u64, times: &mut [Vec<Duration>; 2]) {
    let [plain, redacting] = times.each_mut().map(|times| spread(times));
    for (kind, [least, median, most]) in [("as it is", plain), ("redacting", redacting)] {
        println!(
            "{what:<17} {kind}  {} rows/s  (min {least:.2?}, median {median:.2?}, max {most:.2?})",
            rate(rows, median)
        );
    }
    println!("{what:<17} redacting / as it is  {:.2}", redacting[1].as_secs_f64() / plain[1].as_secs_f64());
}

fn state(redacts: bool) -> &'static str {
    if redacts { ".aqe-sync" } else { ".aqe-sync-as-it-is" }
}

/// A whole run, as the command makes it: discovery and opening included.
fn sync(project: &Path, redacts: bool) -> Result<Report, Box<dyn Error>> {
    let discovery = discover(project)?;
    let state = project.join(state(redacts));
    let hub = EmbeddedHub::open(&state.join("hub.db"))?;
    let ledger = LedgerFile::open(&state.join("ledger.db"), &block_on(hub.identity())?)?;
    let sources: Vec<_> = discovery.found.into_iter().map(|found| found.source).collect();
    let mut options = Options::new("bench".into());
    if redacts {
        options.transforms.push(Arc::new(Redact::new()));
    }
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
