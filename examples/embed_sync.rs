//! Syncing a project from inside another program, with an observer.
//!
//! `cargo run --example embed_sync [-- FOLDER]`: finds what agent tools left in
//! the folder (default: the sample project), and puts it into a hub beside a
//! ledger, both in a temporary folder here.

use std::error::Error;
use std::path::PathBuf;

use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::{Engine, Environment, Event, Options, Sink as _};
use futures::executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sample-project");
    let project = std::env::args().nth(1).map_or_else(|| PathBuf::from(sample), PathBuf::from);
    let state = tempfile::tempdir()?;

    let hub = EmbeddedHub::open(&state.path().join("hub.db"))?;
    let ledger = LedgerFile::open(&state.path().join("ledger.db"), &block_on(hub.identity())?)?;
    let sources: Vec<_> = discover(&project)?.found.into_iter().map(|found| found.source).collect();

    let observer = |event: &Event<'_>| match event {
        Event::StreamFinished { report } if report.counters.read > 0 => {
            println!("{} [{}]: {} records", report.source, report.stream, report.counters.read);
        }
        Event::SourceFailed { error, .. } => println!("{error}"),
        _ => {}
    };
    let options = Options::new(Environment::parse("example")?);
    let first = block_on(Engine::new(&hub, &ledger, &observer, options.clone()).run(&sources))?;
    let again = block_on(Engine::new(&hub, &ledger, &observer, options).run(&sources))?;
    println!("first: {} inserted; again: {} inserted", first.totals.inserted, again.totals.inserted);
    Ok(())
}
