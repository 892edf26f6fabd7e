//! What row-level security costs the hub's owner, and an environment's login.

use aqe_cloud::postgres::isolation::{NewEnvironment, random_password};
use aqe_sync_workspace::postgres::{Cluster, Database};
use futures::executor::block_on;

use super::{Figures, Outcome, Project, median, open, ours, ratio, spread};

/// Who syncs: the owner of a hub that keeps nobody apart, of one that does, and a login.
const WHO: [&str; 3] = ["owner, all in one", "owner, kept apart", "login of its own"];

/// All take turns in every run, each with an empty database.
pub(crate) fn run(cluster: &Cluster, rows: u64, runs: u64) -> Outcome<()> {
    cluster.psql("CREATE USER boss CREATEROLE");
    let project = Project::new(rows)?;
    let mut figures: [Figures; 3] = Default::default();
    for run in 0..runs {
        for (position, figures) in figures.iter_mut().enumerate() {
            let database = cluster.database();
            let url = prepared(&database, position)?;
            ours(&url, &project, run * 10 + position as u64, figures)?;
        }
    }
    for (name, times) in [
        ("first load", (|of| &of.first) as fn(&Figures) -> &Vec<std::time::Duration>),
        ("sent again, unchanged", |of| &of.again),
        ("1 % changed", |of| &of.changed),
        ("nothing changed", |of| &of.unchanged),
    ] {
        let floor = median(times(&figures[0]));
        for (who, figures) in WHO.iter().zip(&figures) {
            println!("{name:<22} {who:<18} {}  ratio {:.2}", spread(times(figures)), ratio(times(figures), floor));
        }
    }
    Ok(())
}

/// Makes the hub; gives the URL of who syncs.
fn prepared(database: &Database, position: usize) -> Outcome<String> {
    database.psql(&format!("GRANT CREATE ON DATABASE {} TO boss", database.name()));
    let owner = format!("{}?user=boss", database.url());
    let hub = open(&owner)?;
    block_on(hub.prepare_all(aqe_sync_core::tables::all()))?;
    if position == 0 {
        return Ok(owner);
    }
    let plan = hub.plan_environment(&NewEnvironment::new("bench".into()))?;
    hub.make_environment(&plan, Some(&random_password()?))?;
    Ok(if position == 1 { owner } else { format!("{}?user={}", database.url(), plan.login()) })
}
