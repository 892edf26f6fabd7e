//! How each tool is called.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Outcome, Place, check};

/// A way to bring a SQLite database into PostgreSQL.
pub(crate) trait Tool {
    fn name(&self) -> &'static str;

    /// What it says of itself; `None` when it is not there.
    fn version(&self) -> Option<String>;

    /// How to install it.
    fn install(&self) -> &'static str;

    /// Loads everything, or brings up to date what was loaded before.
    fn command(&self, place: &Place, again: bool) -> Outcome<Command>;

    /// Makes sure that the next run finds nothing changed.
    fn settle(&self, _: &Place) -> Outcome<()> {
        Ok(())
    }

    /// Fails unless every row arrived; says as what.
    fn check(&self, place: &Place) -> Outcome<String> {
        check::tables(place, "public")
    }
}

/// Folder of this bench's scripts.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/others")
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// This workspace's command, as `cargo build --release` made it.
pub(crate) struct Aqe;

impl Aqe {
    /// Beside the folder that cargo put this bench into.
    fn program() -> Option<PathBuf> {
        let bench = std::env::current_exe().ok()?;
        bench.ancestors().nth(2).map(|folder| folder.join("aqe-sync")).filter(|program| program.is_file())
    }

    fn call(place: &Place, arguments: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(Self::program().ok_or("aqe-sync is gone")?);
        command.args(["--root", &place.root().to_string_lossy(), "--env", "bench", "--hub", &place.server.url()]);
        command.args(arguments);
        Ok(command)
    }
}

impl Tool for Aqe {
    fn name(&self) -> &'static str {
        "aqe-sync"
    }

    fn version(&self) -> Option<String> {
        first_line(Command::new(Self::program()?).arg("--version"))
    }

    fn install(&self) -> &'static str {
        "cargo build --release -p aqe-sync-cli"
    }

    fn command(&self, place: &Place, _: bool) -> Outcome<Command> {
        Self::call(place, &[])
    }

    /// A file's clock is coarse: what was written just now may be written again unseen.
    fn settle(&self, place: &Place) -> Outcome<()> {
        std::thread::sleep(Duration::from_secs(2));
        Self::call(place, &[])?.output()?;
        Ok(())
    }

    fn check(&self, place: &Place) -> Outcome<String> {
        let output = Self::call(place, &["verify"])?.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stdout).into_owned().into());
        }
        check::hub(place)
    }
}

/// `sqlite3 | psql`, table by table.
pub(crate) struct Pipe;

impl Tool for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn version(&self) -> Option<String> {
        let sqlite = first_line(Command::new("sqlite3").arg("--version"))?;
        let psql = first_line(Command::new("psql").arg("--version"))?;
        Some(format!("sqlite3 {} | {psql}", sqlite.split(' ').next()?))
    }

    fn install(&self) -> &'static str {
        "apt-get install sqlite3 postgresql-client"
    }

    fn command(&self, place: &Place, _: bool) -> Outcome<Command> {
        let mut command = Command::new("bash");
        command.arg(here().join("pipe.sh")).arg(place.file()).arg(place.server.url());
        Ok(command)
    }
}

/// <https://pgloader.io>: drops and makes the tables in every run.
pub(crate) struct PgLoader;

impl Tool for PgLoader {
    fn name(&self) -> &'static str {
        "pgloader"
    }

    fn version(&self) -> Option<String> {
        first_line(Command::new("pgloader").arg("--version"))
    }

    fn install(&self) -> &'static str {
        "apt-get install pgloader"
    }

    fn command(&self, place: &Place, _: bool) -> Outcome<Command> {
        let script = place.scratch("pgloader.load");
        let (from, to) = (place.file(), place.server.url().replacen("postgres://", "postgresql://", 1));
        let (from, options) = (from.display(), "include drop, create tables, create indexes, reset sequences");
        // Its default, 100,000, exhausts its heap on hundreds of megabytes of embeddings.
        let options = format!("{options}, prefetch rows = 10000");
        std::fs::write(&script, format!("LOAD DATABASE FROM sqlite://{from} INTO {to} WITH {options};\n"))?;
        let mut command = Command::new("pgloader");
        // It makes a folder in /tmp otherwise, and exits well when rows fail.
        command.args(["--quiet", "--on-error-stop", "--root-dir"]).arg(place.scratch("pgloader")).arg(script);
        Ok(command)
    }
}

/// <https://slingdata.io>: replaces the tables, then upserts by key.
pub(crate) struct Sling;

impl Tool for Sling {
    fn name(&self) -> &'static str {
        "sling"
    }

    fn version(&self) -> Option<String> {
        first_line(Command::new("sling").arg("--version"))
    }

    fn install(&self) -> &'static str {
        "pip install sling (fetches its program at the first start), or pip install --no-deps sling-linux-amd64 and \
         its bin/sling-linux-amd64 on the path as sling"
    }

    fn command(&self, place: &Place, again: bool) -> Outcome<Command> {
        let mode = if again { "incremental" } else { "full-refresh" };
        let mut replication = format!(
            "source: AGENTS\ntarget: HUB\ndefaults:\n  mode: {mode}\n  object: 'public.{{stream_table}}'\nstreams:\n"
        );
        for (table, key) in check::KEYS {
            let _ = write!(replication, "  main.{table}:\n    primary_key: [{key}]\n");
            // Not told so, it takes bytes for text, and PostgreSQL refuses them.
            let blobs = match table {
                "qe_pattern_embeddings" => "embedding: binary",
                "sona_patterns" => "state_embedding: binary, action_embedding: binary",
                _ => continue,
            };
            let _ = writeln!(replication, "    columns: {{{blobs}}}");
        }
        let file = place.scratch("replication.yaml");
        std::fs::write(&file, replication)?;
        let mut command = Command::new("sling");
        command.args(["run", "-r"]).arg(file);
        command.env("AGENTS", format!("sqlite://{}", place.file().display()));
        command.env("HUB", format!("{}?sslmode=disable", place.server.url()));
        command.env("SLING_HOME_DIR", place.scratch("sling")).env("SLING_DISABLE_TELEMETRY", "true");
        Ok(command)
    }
}

/// <https://dlthub.com>: replaces the tables, then merges by key.
pub(crate) struct Dlt;

impl Tool for Dlt {
    fn name(&self) -> &'static str {
        "dlt"
    }

    fn version(&self) -> Option<String> {
        let import = "import dlt, sqlalchemy, pyarrow, adbc_driver_postgresql; print('dlt', dlt.__version__)";
        first_line(Command::new("python3").args(["-c", import]))
    }

    fn install(&self) -> &'static str {
        "pip install 'dlt[postgres]' 'sqlalchemy<2.1' pyarrow adbc-driver-postgresql, for the python3 on the path"
    }

    fn command(&self, place: &Place, again: bool) -> Outcome<Command> {
        let mut command = Command::new("python3");
        command.arg(here().join("load.py")).arg(place.file()).arg(place.server.url()).arg(place.scratch("dlt"));
        command.arg(if again { "merge" } else { "replace" }).env("RUNTIME__DLTHUB_TELEMETRY", "false");
        Ok(command)
    }

    fn check(&self, place: &Place) -> Outcome<String> {
        check::tables(place, "loaded")
    }
}
