//! Looking up what was learned before acting, from inside an agent.
//!
//! `AQE_MODEL_DIR=FOLDER cargo run --example recall [-- QUESTION]`: consolidates the sample project,
//! embeds it, and asks. Without a model it asks by words alone.

use std::error::Error;
use std::path::{Path, PathBuf};

use aqe_embed::{MiniLm, ModelFolder};
use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::embed::{Filling, VectorHub, fill};
use aqe_sync_core::search::{Hit, Query, search};
use aqe_sync_core::{Embedder, Engine, Environment, Options, Silent, Sink as _, tables};
use futures::executor::block_on;

/// What an agent asks before it acts: what the whole fleet learned about a task, the best first.
/// Takes any hub; the embedder is the agent's own, or none.
async fn recall<H: VectorHub>(hub: &H, embedder: Option<&dyn Embedder>, task: &str) -> aqe_sync_core::Result<Vec<Hit>> {
    let query = Query { count: 3, ..Query::text(task) };
    Ok(search(hub, tables::all(), embedder, &query).await?.hits)
}

fn main() -> Result<(), Box<dyn Error>> {
    let task = std::env::args().nth(1).unwrap_or_else(|| "a test passes only now and then".to_owned());
    let model = open_model(std::env::var_os("AQE_MODEL_DIR").map(PathBuf::from).as_deref())?;
    let state = tempfile::tempdir()?;
    let hub = consolidated(state.path())?;
    // Vectors are kept in the hub: an agent that only asks need not compute them.
    let (kept, words): (&dyn Embedder, _) = (&model, None::<&dyn Embedder>);
    let filled = block_on(fill(&hub, tables::all(), kept, &Filling::default(), |_| {}))?;
    println!("{} rows have vectors", filled.embedded());
    for (how, embedder) in [("by meaning and words", Some(kept)), ("by words alone", words)] {
        println!("{how}:");
        for hit in block_on(recall(&hub, embedder, &task))? {
            let line = hit.text.lines().collect::<Vec<_>>().join(", ");
            println!("  {:.2}  {}  {line}", hit.similarity.unwrap_or(0.0), hit.place.table);
        }
    }
    Ok(())
}

fn open_model(folder: Option<&Path>) -> aqe_sync_core::Result<MiniLm> {
    MiniLm::open(&ModelFolder::find(folder)?)
}

/// The sample project in a hub of its own.
fn consolidated(state: &Path) -> Result<EmbeddedHub, Box<dyn Error>> {
    let hub = EmbeddedHub::open(&state.join("hub.db"))?;
    let ledger = LedgerFile::open(&state.join("ledger.db"), &block_on(hub.identity())?)?;
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sample-project");
    let sources: Vec<_> = discover(Path::new(project))?.found.into_iter().map(|found| found.source).collect();
    block_on(Engine::new(&hub, &ledger, &Silent, Options::new(Environment::parse("example")?)).run(&sources))?;
    Ok(hub)
}
