//! A whole pull: which files take which tables, and the engine between hub and files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use aqe_sync_core::fleet::{Absorbed, FleetHub, FleetSource, Kept, OwnSource, PullRequest, Trust, seen};
use aqe_sync_core::redact::Redact;
use aqe_sync_core::report::describe;
use aqe_sync_core::{
    BatchLimits, BatchStream, DynSource, Engine, Environment, ErrorKind, Fingerprint, Instance, Ledger as _, Mode,
    Observer, Options, ReadRequest, Report, Result, Source, SourceName, StreamSpec, TableSpec, Timestamp, tables,
};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::notes::{FileNotes, lost};
use super::number;
use super::sink::{Keeper, LocalSink};
use super::state::PullState;
use crate::SourceFile;
use crate::sqlite::header::Magic;

/// What to pull, and into what.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Who pulls.
    pub environment: Environment,
    /// From which installation.
    pub instance: Instance,
    /// Where copies of files are kept before they are written to.
    pub backups: PathBuf,
    /// Only these hub tables; all that the files have a place for if `None`.
    pub tables: Option<BTreeSet<String>>,
    /// Whose contributions count, and which records.
    pub trust: Trust,
    /// Whether to look at everything, whatever the last pull saw.
    pub full: bool,
    /// Only what was written to the hub after this moment.
    pub after: Option<Timestamp>,
    /// How large batches and transactions may get.
    pub limits: BatchLimits,
    /// What this environment takes out of what it sends, so that pulls neither send it nor
    /// take the marker that stands for it in the hub.
    pub redact: Option<Arc<Redact>>,
}

/// Where the notes of pulls are in a project's state folder.
pub fn state_file(state_folder: &Path) -> PathBuf {
    state_folder.join("pull.db")
}

/// Pulls from a hub into the files that have a place for what it holds.
///
/// Tables whose keys carry a scope go to each package's own file; all others to the first
/// file that has a place for them. A file that cannot be written fails by itself. With a
/// [`PullState::scratch`] nothing is written.
///
/// # Errors
/// When the hub cannot be asked: then nothing was done.
pub async fn pull<H: FleetHub>(
    hub: &Arc<H>,
    state: &Arc<PullState>,
    files: &[SourceFile],
    pull: &Pull,
    observer: &dyn Observer,
) -> Result<Report> {
    let begun = Instant::now();
    let mode = if pull.full { Mode::Full } else { Mode::Incremental };
    let mut report = Report::new(pull.environment.clone(), mode, "");
    let mut taken = BTreeSet::new();
    let mut targets = Vec::new();
    for file in files.iter().filter(|file| is_sqlite(file)) {
        let run = Target { hub, state, file, pull };
        match run.run(&mut taken, observer).await {
            Ok(None) => {}
            Ok(Some(of_file)) => {
                targets.push(file.name.to_string());
                report.streams.extend(of_file.streams);
                report.notes.extend(of_file.notes);
                report.error = report.error.take().or(of_file.error);
            }
            Err(error) => {
                report.error.get_or_insert_with(|| describe(&error));
            }
        }
    }
    report.hub = targets.join(", ");
    report.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.close();
    Ok(report)
}

/// One file that is pulled into.
struct Target<'a, H> {
    hub: &'a Arc<H>,
    state: &'a Arc<PullState>,
    file: &'a SourceFile,
    pull: &'a Pull,
}

impl<H: FleetHub> Target<'_, H> {
    /// `None` when the file has no place for anything that is wanted.
    async fn run(&self, taken: &mut BTreeSet<(String, String)>, observer: &dyn Observer) -> Result<Option<Report>> {
        let Self { hub, state, file, pull } = self;
        let notes = notes(hub.as_ref(), state, &pull.environment, file).await?;
        let keeper = Arc::new(HubKeeper {
            hub: Arc::clone(hub),
            environment: pull.environment.clone(),
            file: file.name.clone(),
            redact: pull.redact.clone(),
        });
        let (state, environment) = (Arc::clone(state), pull.environment.clone());
        let sink = LocalSink::open((*file).clone(), state, environment, Some(keeper), pull.backups.clone())?;
        if let Some(redact) = &pull.redact {
            sink.keep_redacted(Arc::clone(redact));
        }
        let tables: Vec<Arc<TableSpec>> = sink
            .tables()
            .iter()
            .map(|known| Arc::clone(&known.table))
            .filter(|table| self.wants(table, taken))
            .collect();
        if tables.is_empty() {
            return Ok(None);
        }
        let source: SourceName = "fleet".into();
        let known = notes.source(&pull.environment, &source)?.filter(|_| !pull.full && sink.restored().is_none());
        let since = known.and_then(|known| seen(&known.fingerprint, &tables, &pull.trust));
        let request = PullRequest {
            environment: pull.environment.clone(),
            tables,
            trust: pull.trust.clone(),
            since,
            after: pull.after,
            restore: sink.restored().is_some(),
        };
        let fleet = FleetSource::open(Arc::clone(hub), request).await?.only_where(sink.places());
        let mut options = Options::new(pull.environment.clone());
        options.instance = pull.instance.clone();
        options.limits = pull.limits;
        options.mode = if pull.full { Mode::Full } else { Mode::Incremental };
        let sources: Vec<Box<dyn DynSource>> = vec![Box::new(fleet)];
        let engine = Engine::new(&sink, &notes, observer, options);
        let mut report = Box::pin(engine.run(&sources)).await?;
        report.notes.extend(sink.notes());
        Ok(Some(report))
    }

    /// Whether a table is to go into this file; then it goes to no other of its scope.
    fn wants(&self, table: &TableSpec, taken: &mut BTreeSet<(String, String)>) -> bool {
        let name = table.name().as_str();
        let scoped = table.key_columns().iter().any(|key| key.name.as_str() == "scope");
        let scope = if scoped { self.file.scope.clone() } else { String::new() };
        self.pull.tables.as_ref().is_none_or(|tables| tables.contains(name)) && taken.insert((name.to_owned(), scope))
    }
}

/// The notes on a file; made anew from the hub's copy where they are lost.
async fn notes<H: FleetHub>(
    hub: &H,
    state: &Arc<PullState>,
    environment: &Environment,
    file: &SourceFile,
) -> Result<FileNotes> {
    match FileNotes::of(Arc::clone(state), file) {
        Err(error) if error.kind() == ErrorKind::Refused => {
            let kept: Vec<Kept> = hub.kept(environment, &file.name).try_concat().await?;
            state.rebuild(&file.name, &kept)?;
            FileNotes::of(Arc::clone(state), file)
        }
        notes => notes,
    }
}

/// Of these files, those that are older than what was pulled into them: before anything of
/// them is sent, a pull has to give them back what this environment sent already.
///
/// # Errors
/// When the notes cannot be read.
pub fn restored(state: &PullState, files: &[SourceFile]) -> Result<Vec<SourceFile>> {
    let mut restored = Vec::new();
    for file in files.iter().filter(|file| is_sqlite(file)) {
        if !state.knows(&file.name)? {
            continue;
        }
        // What cannot be looked at, or has lost its notes, is said where it is used.
        let Ok(marked) = number::carried(file) else { continue };
        if state.numbers(&file.name, marked)?.is_some_and(|numbers| numbers.current < numbers.committed) {
            restored.push(file.clone());
        }
    }
    Ok(restored)
}

/// Sources as this environment sends them: of files that pulls wrote to, its own part.
///
/// # Errors
/// When notes on earlier pulls are lost, and the hub cannot be asked for its copy.
pub async fn own_sources<H: FleetHub>(
    hub: &H,
    state: &Arc<PullState>,
    environment: &Environment,
    sources: Vec<(SourceFile, Box<dyn DynSource>)>,
) -> Result<Vec<Box<dyn DynSource>>> {
    let mut own = Vec::with_capacity(sources.len());
    for (file, source) in sources {
        // What cannot be looked at its own reader says.
        let pulled =
            is_sqlite(&file) && (state.knows(&file.name)? || number::carried(&file).is_ok_and(|it| it.is_some()));
        if !pulled {
            own.push(source);
            continue;
        }
        match notes(hub, state, environment, &file).await {
            Ok(notes) => own.push(Box::new(OwnSource::new(source, Arc::new(notes)))),
            Err(error) if error.kind() == ErrorKind::Refused => own.push(Box::new(WithoutNotes(file.name))),
            Err(error) => return Err(error),
        }
    }
    Ok(own)
}

fn is_sqlite(file: &SourceFile) -> bool {
    Magic::at(&file.path).is_ok_and(|magic| magic == Magic::Sqlite)
}

/// A file whose own part cannot be told: an error of that source, while others go on.
struct WithoutNotes(SourceName);

impl Source for WithoutNotes {
    fn name(&self) -> &SourceName {
        &self.0
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        Err(lost(&self.0))
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        Err(lost(&self.0))
    }

    fn read(&self, _: ReadRequest) -> BatchStream {
        futures::stream::iter([Err(lost(&self.0))]).boxed()
    }
}

/// Takes entries to the hub.
struct HubKeeper<H> {
    hub: Arc<H>,
    environment: Environment,
    file: SourceName,
    redact: Option<Arc<Redact>>,
}

impl<H> HubKeeper<H> {
    /// An entry as it may leave this machine: without the credentials of the own part.
    fn redacted(&self, mut kept: Kept) -> Result<Kept> {
        if let (Some(redact), Some(json), Some(table)) = (&self.redact, &kept.entry, tables::find(&kept.table)) {
            let mut entry = Absorbed::from_json(table, json)?;
            if let Some(own) = entry.own.as_ref().and_then(|own| redact.row(table, own)) {
                entry.own = Some(own);
                kept.entry = Some(entry.to_json(table));
            }
        }
        Ok(kept)
    }
}

impl<H: FleetHub> Keeper for HubKeeper<H> {
    fn keep(&self, entries: Vec<Kept>, floor: i64) -> BoxFuture<'_, Result<()>> {
        let entries = match entries.into_iter().map(|kept| self.redacted(kept)).collect() {
            Ok(entries) => entries,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        self.hub.keep(&self.environment, &self.file, entries, floor).boxed()
    }
}
