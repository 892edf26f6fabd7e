//! What loading the same rows costs without any program of ours.

use std::fmt::Write as _;
use std::process::Command;

use aqe_sync_workspace::postgres::{Binaries, Cluster, Database};

use crate::{Outcome, open};

/// Binary files of all hub tables that hold anything, and a script that loads them.
pub(crate) struct Floor {
    folder: tempfile::TempDir,
    binaries: Binaries,
}

impl Floor {
    /// Lets `fill` load a database, and takes the files from it.
    pub(crate) fn prepare(cluster: &Cluster, fill: impl FnOnce(&Database) -> Outcome<()>) -> Outcome<Self> {
        let database = cluster.database();
        fill(&database)?;
        let floor = Self { folder: tempfile::tempdir()?, binaries: Binaries::find() };
        let tables = database.psql(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = 'aqe' AND column_name = 'content_hash'",
        );
        let (mut unload, mut load) = (String::new(), String::new());
        for table in tables.lines() {
            let place = floor.folder.path().join(table);
            let place = place.display();
            let _ = writeln!(unload, "\\copy aqe.{table} to '{place}' (format binary)");
            let columns = database.psql(&format!(
                "SELECT string_agg(format('%1$I = excluded.%1$I', column_name), ', ') FROM information_schema.columns \
                 WHERE table_schema = 'aqe' AND table_name = '{table}'"
            ));
            let key = database.psql(&format!(
                "SELECT conname FROM pg_constraint WHERE conrelid = 'aqe.{table}'::regclass AND contype = 'p'"
            ));
            let _ = writeln!(
                load,
                "BEGIN;\nCREATE TEMPORARY TABLE staging (LIKE aqe.{table}) ON COMMIT DROP;\n\
                 \\copy staging from '{place}' (format binary)\n\
                 INSERT INTO aqe.{table} SELECT * FROM staging ON CONFLICT ON CONSTRAINT {key} DO UPDATE SET {columns};\n\
                 COMMIT;",
                key = key.trim(),
                columns = columns.trim(),
            );
        }
        std::fs::write(floor.folder.path().join("unload.sql"), unload)?;
        std::fs::write(floor.folder.path().join("load.sql"), load)?;
        floor.run(&database, "unload.sql")?;
        Ok(floor)
    }

    /// A hub with all tables and no rows.
    pub(crate) fn empty_hub(cluster: &Cluster) -> Outcome<Database> {
        use aqe_sync_core::Sink as _;
        let database = cluster.database();
        let hub = open(&database.url())?;
        for table in aqe_sync_core::tables::all() {
            futures::executor::block_on(hub.prepare(table))?;
        }
        Ok(database)
    }

    /// Loads everything.
    pub(crate) fn load(&self, database: &Database) -> Outcome<()> {
        self.run(database, "load.sql")
    }

    fn run(&self, database: &Database, script: &str) -> Outcome<()> {
        let output = Command::new(self.binaries.program("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &database.url(), "-f"])
            .arg(self.folder.path().join(script))
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}
