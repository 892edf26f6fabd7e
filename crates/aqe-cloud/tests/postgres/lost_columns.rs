//! Columns that a hub had and lost: their extension was dropped, or somebody dropped them.

use std::path::{Path, PathBuf};

use aqe_cloud::postgres::link::AddressParts;
use aqe_cloud::postgres::schema::{Setup, VectorKind};
use aqe_cloud::postgres::{HubBuilder, PostgresHub};
use aqe_sync_core::{Error, ErrorKind, Mode, Options, Verdict, tables, verify};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors::Extension;
use futures::executor::block_on;

use crate::projects::{content, sources, sync, verdict, workspace};

fn builder(database: &Database, vectors: VectorKind) -> HubBuilder {
    let address = AddressParts::parse(&database.url()).unwrap().build().unwrap();
    PostgresHub::builder(address).setup(Setup { vectors: Some(vectors), ..Setup::default() })
}

/// How many values every embedding of the hub has.
fn vectors(database: &Database) -> String {
    let sql = "SELECT string_agg(format('SELECT %L, count(%I) FROM aqe.%I', relname, attname, relname), ' UNION ALL ' \
               ORDER BY relname) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE attname = 'embedding' \
               AND relnamespace = 'aqe'::regnamespace AND relkind = 'r' AND NOT attisdropped";
    database.psql(&database.psql(sql))
}

/// Every way that would write or compare without the columns.
fn refusals(database: &Database, vectors: VectorKind) -> Vec<Error> {
    let ways = [builder(database, vectors), builder(database, vectors).existing()];
    ways.map(|way| way.open().err().expect("it should have been refused")).into()
}

struct Filled {
    root: PathBuf,
    folder: tempfile::TempDir,
    database: Database,
    kind: VectorKind,
}

impl Filled {
    fn new(database: Database, kind: VectorKind) -> Self {
        let filled =
            Self { root: workspace("examples/sample-project"), folder: tempfile::tempdir().unwrap(), database, kind };
        let hub = builder(&filled.database, kind).open().unwrap();
        assert_eq!(sync(&hub, &filled.root, &filled.ledger(), Mode::Incremental).totals.inserted, 814);
        filled
    }

    fn ledger(&self) -> PathBuf {
        Path::new(self.folder.path()).join("ledger.db")
    }

    /// What `init` does.
    fn restore(&self) -> PostgresHub {
        let hub = builder(&self.database, self.kind).restore().open().unwrap();
        assert!(hub.warnings().iter().any(|warning| warning.contains("every environment")), "{:?}", hub.warnings());
        assert!(block_on(hub.prepare_all(tables::all())).unwrap());
        hub
    }
}

#[test]
fn vectors_come_back_after_their_extension_was_dropped() {
    for (kind, extension) in [(VectorKind::Pgvector, Extension::Pgvector), (VectorKind::Ruvector, Extension::Ruvector)]
    {
        let Some(cluster) = extension.cluster() else { continue };
        let filled = Filled::new(cluster.database(), kind);
        let database = &filled.database;
        let (before, counted) = (content(&builder(database, kind).open().unwrap(), &filled.root), vectors(database));
        assert!(counted.lines().any(|line| !line.ends_with("|0")), "{counted}");

        for round in 0..2 {
            database.psql(&format!("DROP EXTENSION {} CASCADE", extension.name()));
            for error in refusals(database, kind) {
                assert_eq!(error.kind(), ErrorKind::Incompatible);
                let said = error.to_string();
                assert!(said.contains("qe_patterns.embedding") && said.contains("was dropped"), "{said}");
                assert!(
                    said.contains(&format!("CREATE EXTENSION {}, then run aqe-sync init", extension.name())),
                    "{said}"
                );
            }
            assert!(builder(database, kind).restore().open().is_err(), "without the type nothing can be made anew");
            let seen = builder(database, kind).inspect().open().unwrap().overview().unwrap();
            assert!(seen.warnings.iter().any(|warning| warning.contains("has lost columns")), "{:?}", seen.warnings);

            database.psql(&format!("CREATE EXTENSION {}", extension.name()));
            for error in refusals(database, kind) {
                assert!(error.to_string().contains("run aqe-sync init"), "{error}");
            }
            let hub = filled.restore();
            let report = block_on(verify(&hub, &sources(&filled.root), &Options::new("env".into()))).unwrap();
            assert_eq!(report.status, Verdict::Differ, "nobody takes the rows for whole");
            if round == 0 {
                // Dropped again before anybody synced: what was wrong must not look right.
                continue;
            }
            let report = sync(&hub, &filled.root, &filled.ledger(), Mode::Incremental);
            assert_eq!((report.totals.inserted, report.totals.conflicts), (0, 0), "{:?}", report.totals);
            assert_eq!(content(&hub, &filled.root), before);
            assert_eq!(vectors(database), counted);
            assert_eq!(verdict(&hub, &filled.root), Verdict::Match);
        }
    }
}

#[test]
fn a_column_that_somebody_dropped_is_filled_again() {
    let filled = Filled::new(Cluster::shared().database(), VectorKind::None);
    let before = content(&builder(&filled.database, filled.kind).open().unwrap(), &filled.root);
    filled.database.psql("ALTER TABLE aqe.qe_patterns DROP COLUMN name CASCADE");
    for error in refusals(&filled.database, filled.kind) {
        assert!(error.to_string().contains("lost columns: qe_patterns.name; somebody dropped them"), "{error}");
    }
    let hub = filled.restore();
    sync(&hub, &filled.root, &filled.ledger(), Mode::Incremental);
    assert_eq!(content(&hub, &filled.root), before);
    drop(hub);
    let hub = builder(&filled.database, filled.kind).open().unwrap();
    assert_eq!(hub.warnings(), Vec::<String>::new());
}
