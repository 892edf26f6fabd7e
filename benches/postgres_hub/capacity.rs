//! How much room a row takes, by table, in each kind of hub: generated rows of agentic-qe's tables,
//! and the real ones of the tests.

use std::collections::BTreeMap;

use aqe_cloud::postgres::PostgresHub;
use aqe_readers::{EmbeddedHub, discover};
use aqe_sync_core::embed::VectorHub;
use aqe_sync_core::history::History;
use aqe_sync_core::insight::insight;
use aqe_sync_core::overview::Overview;
use aqe_sync_core::{Engine, MemoryLedger, Options, Silent, Sink, Timestamp, tables};
use aqe_sync_workspace::postgres::Cluster;
use aqe_sync_workspace::vectors::Extension;
use futures::executor::block_on;

use super::{Outcome, Project, open, timed};

/// One first load into each.
pub(crate) fn run(rows: u64) -> Outcome<()> {
    let project = Project::new(rows)?;
    let mut hubs: Vec<(&'static str, Overview)> = Vec::new();
    for (name, extension) in [("ruvector", Extension::Ruvector), ("pgvector", Extension::Pgvector)] {
        let Some(cluster) = extension.cluster() else { continue };
        hubs.push((name, in_postgres(name, cluster, &project)?));
    }
    let folder = tempfile::tempdir()?;
    let hub = EmbeddedHub::open(&folder.path().join("hub.db"))?;
    fill(&hub, &project)?;
    hubs.push(("embedded", looked_at("embedded", &hub)?));
    let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, overview) in &hubs {
        for table in overview.tables.iter().filter(|table| table.rows > 0) {
            let each = format!("{name} {}", table.bytes / table.rows);
            tables.entry(&table.table).or_insert_with(|| vec![format!("{} rows", table.rows)]).push(each);
        }
    }
    println!("bytes per row, indexes included");
    for (table, each) in tables {
        println!("{table:<24} {}", each.join("  "));
    }
    for (name, overview) in &hubs {
        println!("{name:<24} {} MB in all", overview.bytes / 1_000_000);
    }
    Ok(())
}

fn in_postgres(name: &str, cluster: &Cluster, project: &Project) -> Outcome<Overview> {
    let database = cluster.database();
    let hub: PostgresHub = open(&database.url())?;
    fill(&hub, project)?;
    looked_at(name, &hub)
}

/// What is in a hub, and how long it takes `status` and `report` to find out.
fn looked_at(name: &str, hub: &(impl VectorHub + History)) -> Outcome<Overview> {
    let (glance, overview) = timed(|| Ok(block_on(hub.glance())?))?;
    let (whole, found) = timed(|| Ok(block_on(insight(hub, tables::all(), Timestamp::now()))?))?;
    println!("{name}: status {glance:.2?}, report {whole:.2?} for {} records", found.records);
    Ok(overview)
}

/// The generated project, and the real ones that the tests have: they have the other tables.
fn fill(hub: &impl Sink, project: &Project) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    project.sync(hub, &folder.path().join("ledger.db"))?;
    for entry in std::fs::read_dir("tests/fixtures")? {
        let entry = entry?;
        let sources: Vec<_> = match discover(&entry.path()) {
            Ok(found) => found.found.into_iter().map(|found| found.source).collect(),
            // A file beside them.
            Err(_) => continue,
        };
        let ledger = MemoryLedger::new();
        let name: String = entry.file_name().to_string_lossy().chars().take(40).collect();
        // Some are torn on purpose: what can be read is.
        block_on(Engine::new(hub, &ledger, &Silent, Options::new(name.as_str().into())).run(&sources))?;
    }
    Ok(())
}
