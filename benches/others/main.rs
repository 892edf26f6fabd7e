//! A first load and later ones, beside what one would otherwise use.
//!
//! `cargo bench --bench others [-- ROWS [RUNS [TOOL …]]]` (default 500,000 rows, 3 runs): the
//! command of this workspace, the bare `sqlite3 | psql` pipe, pgloader, sling and dlt,
//! each with the same file into a database of its own on the same server, in turns.
//! Nothing is installed: a tool that is missing is left out, and it is said how to get
//! it. Prints medians and ratios; findings are in `benches/README.md`.

mod check;
#[path = "../dataset/mod.rs"]
mod dataset;
mod tools;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aqe_sync_workspace::postgres::{Cluster, Database};

use tools::{Aqe, Dlt, PgLoader, Pipe, Sling, Tool};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// 70 % of the records carry an embedding: about 900 MB for 500,000.
const WIDE: dataset::Shares = [50, 8, 30, 5, 4, 2, 1];

/// What is measured, in its order.
const STEPS: [&str; 3] = ["first load", "1 % changed", "nothing changed"];

fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (rows, runs) = (numbers.next().unwrap_or(500_000), numbers.next().unwrap_or(3).max(1));
    let only: Vec<String> = std::env::args().skip(1).filter(|name| name.starts_with(char::is_alphabetic)).collect();
    let tools = installed(&only)?;
    let cluster = Cluster::builder().fsync(true).setting("max_wal_size", "8GB").setting("autovacuum", "off").start();
    println!("{}", cluster.binaries().version());
    let folder = tempfile::tempdir()?;
    let original = folder.path().join("original.db");
    dataset::write(&original, rows, WIDE)?;
    println!("{rows} rows, {} MB, {runs} runs", std::fs::metadata(&original)?.len() / 1_000_000);

    let mut figures: Vec<Figures> = tools.iter().map(|_| Figures::default()).collect();
    for run in 0..runs {
        for turn in 0..tools.len() {
            // Nobody always comes first, or always after the same one.
            let position = (turn + usize::try_from(run)?) % tools.len();
            let (tool, figures) = (tools[position].as_ref(), &mut figures[position]);
            if figures.failed {
                continue;
            }
            let place = Place::new(&cluster, &original)?;
            match measure(tool, &place, figures, run == 0) {
                Err(error) if position == 0 => return Err(format!("{}: {error}", tool.name()).into()),
                Err(error) => {
                    println!("{:<12} left out from here on: {error}", tool.name());
                    figures.failed = true;
                }
                Ok(()) => {}
            }
            drop(place);
            // What one has written, the next does not have to carry to the disk.
            cluster.psql("CHECKPOINT");
        }
    }
    report(&tools, &figures);
    Ok(())
}

/// Those that are asked for and there, ours first.
fn installed(only: &[String]) -> Outcome<Vec<Box<dyn Tool>>> {
    let all: [Box<dyn Tool>; 5] = [Box::new(Aqe), Box::new(Pipe), Box::new(PgLoader), Box::new(Sling), Box::new(Dlt)];
    let mut found = Vec::new();
    for tool in all
        .into_iter()
        .filter(|tool| only.is_empty() || tool.name() == "aqe-sync" || only.iter().any(|name| name == tool.name()))
    {
        match tool.version() {
            Some(version) => {
                println!("{:<12} {version}", tool.name());
                found.push(tool);
            }
            None => println!("{:<12} left out: not found; to compare with it: {}", tool.name(), tool.install()),
        }
    }
    match found.first() {
        Some(first) if first.name() == "aqe-sync" => Ok(found),
        _ => Err(format!("without aqe-sync there is nothing to compare with: {}", Aqe.install()).into()),
    }
}

/// A project folder with a database of agents, an empty one on the server, and room
/// for what a tool keeps.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    server: Database,
}

impl Place {
    fn new(cluster: &Cluster, original: &Path) -> Outcome<Self> {
        let place = Self { folder: tempfile::tempdir()?, server: cluster.database() };
        std::fs::create_dir_all(place.root().join(".git"))?;
        std::fs::create_dir(place.root().join(".agentic-qe"))?;
        std::fs::copy(original, place.file())?;
        // Read once: nobody pays for a cold file.
        std::io::copy(&mut std::fs::File::open(place.file())?, &mut std::io::sink())?;
        Ok(place)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.root().join(".agentic-qe/memory.db")
    }

    /// Changes every hundredth record of each table.
    fn touch(&self) -> Outcome<()> {
        let connection = rusqlite::Connection::open(self.file())?;
        for (table, column) in [
            ("qe_patterns", "description"),
            ("kv_store", "value"),
            ("sona_patterns", "action_type"),
            ("rl_q_values", "domain"),
            ("captured_experiences", "task"),
            ("routing_outcomes", "used_agent"),
            ("goap_plans", "status"),
        ] {
            connection.execute(&format!("UPDATE {table} SET {column} = '\"touched\"' WHERE rowid % 100 = 7"), [])?;
        }
        Ok(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?)
    }
}

#[derive(Default)]
struct Figures {
    took: [Vec<Duration>; STEPS.len()],
    /// Kilobytes, of the first load.
    memory: u64,
    /// It could not do what was asked.
    failed: bool,
}

fn measure(tool: &dyn Tool, place: &Place, figures: &mut Figures, tell: bool) -> Outcome<()> {
    for (step, took) in figures.took.iter_mut().enumerate() {
        if step == 1 {
            place.touch()?;
        }
        if step == 2 {
            tool.settle(place)?;
        }
        let command = tool.command(place, step > 0)?;
        let begun = Instant::now();
        let memory = run(command, place)?;
        took.push(begun.elapsed());
        if step == 0 {
            figures.memory = figures.memory.max(memory);
        }
        let facts = tool.check(place)?;
        if tell && step == 0 {
            println!("{:<12} {facts}", tool.name());
        }
    }
    Ok(())
}

/// Runs a command to its end; returns the most memory that one of its processes had.
fn run(command: Command, place: &Place) -> Outcome<u64> {
    let said = place.scratch("peak");
    let mut timed = Command::new("time");
    timed.args(["-q", "-f", "%M", "-o"]).arg(&said).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    // Not every machine has GNU time.
    let (mut chosen, known) =
        if Command::new("time").arg("--version").output().is_ok() { (timed, true) } else { (command, false) };
    let output = chosen.output()?;
    if !output.status.success() {
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        return Err(format!("{chosen:?}: {}\n{out}\n{err}", output.status).into());
    }
    Ok(if known { std::fs::read_to_string(said)?.trim().parse()? } else { 0 })
}

fn report(tools: &[Box<dyn Tool>], figures: &[Figures]) {
    for (step, name) in STEPS.into_iter().enumerate() {
        println!("\n{name}");
        let base = median(&figures[0].took[0]).as_secs_f64();
        for (tool, figures) in tools.iter().zip(figures).filter(|(_, figures)| !figures.failed) {
            let (took, least) = (&figures.took[step], figures.took[step].iter().min().copied().unwrap_or_default());
            let most = took.iter().max().copied().unwrap_or_default();
            println!(
                "{:<12} median {:>9.2?} ({least:.2?} – {most:.2?})  {:.2} of our first load{}",
                tool.name(),
                median(took),
                median(took).as_secs_f64() / base,
                if step == 0 && figures.memory > 0 { format!("  {} MB", figures.memory / 1000) } else { String::new() },
            );
        }
    }
}

/// The one in the middle; of an even number the mean of the two there.
fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let middle = times.len() / 2;
    (times[middle] + times[(times.len() - 1) / 2]) / 2
}
