//! The sink: deliveries of the fleet into one agent's file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aqe_sync_core::fleet::Kept;
use aqe_sync_core::meet::Settled;
use aqe_sync_core::redact::Redact;
use aqe_sync_core::{
    Applied, Change, Checkpoint, Committed, DeadLetter, Environment, Error, ErrorKind, Key, KnownRow, Report, Result,
    Sink, SinkTxn, StreamId, StreamState, TableSpec, failpoint, tables,
};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::lock::{Mutex, OwnedMutexGuard};
use futures::stream::BoxStream;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::format::Formats;
use super::layout::{self, Place};
use super::state::PullState;
use super::txn::file_error;
use super::work::{Open, Work, over};
use super::{notes, number};
use crate::sqlite::header::Magic;
use crate::sqlite::introspect;
use crate::sqlite::layout::plan;
use crate::worker::Worker;
use crate::{SourceFile, stat};

/// How long to wait for the agent's own transactions.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// So long is waited between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Takes what was written into a file to the hub, before the file shows it: see
/// [`aqe_sync_core::fleet::FleetHub::keep`].
pub trait Keeper: Send + Sync {
    /// Makes entries durable.
    ///
    /// # Errors
    /// When they are not: then nothing is written to the file.
    fn keep(&self, entries: Vec<Kept>, floor: i64) -> BoxFuture<'_, Result<()>>;
}

/// A table of the hub, and what of it the file has no place for.
#[derive(Clone, Debug)]
pub struct PulledTable {
    /// The hub table.
    pub table: Arc<TableSpec>,
    /// The local tables that take its records.
    pub local: Vec<String>,
    /// Its columns that none of them has.
    pub left_out: Vec<String>,
}

/// A file that is older than what pulls wrote to it last.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// The keys, by hub table, of which the file shows less than was written: what this
    /// environment itself counted of them is at least what the hub has as its own.
    pub keys: Vec<(String, Key)>,
}

/// One SQLite file of an agent, as the sink of a pull.
pub struct LocalSink {
    worker: Arc<Worker<Work>>,
    /// One transaction at a time: there is one connection.
    turn: Arc<Mutex<()>>,
    keeper: Option<Arc<dyn Keeper>>,
    state: Arc<PullState>,
    file: SourceFile,
    identity: String,
    tables: Vec<PulledTable>,
    constants: Vec<Constants>,
    without_place: Vec<String>,
    restored: Option<Restored>,
    retracted: Arc<AtomicU64>,
}

/// A hub table, and what the keys have to be that one of its local tables takes.
type Constants = (String, Vec<(usize, aqe_sync_core::Value)>);

impl LocalSink {
    /// Opens a file to pull into. With a [`PullState::scratch`] nothing durable is written
    /// anywhere: every transaction is rolled back.
    ///
    /// # Errors
    /// When the file is no SQLite database, cannot be written, carries another program's
    /// `application_id`, or when the notes on earlier pulls into it are lost.
    pub fn open(
        file: SourceFile,
        state: Arc<PullState>,
        environment: Environment,
        keeper: Option<Arc<dyn Keeper>>,
        backups: PathBuf,
    ) -> Result<Self> {
        let mut file = file;
        // SQLite keeps WAL and journal beside the target of a symbolic link.
        if let Ok(path) = std::fs::canonicalize(&file.path) {
            file.path = path;
        }
        let connection = connect(&file)?;
        let failed = |error| file_error(&file, error);
        let found = introspect::tables(&connection).map_err(failed)?;
        let (mut places, mut without_place) = (Vec::new(), Vec::new());
        for plan in plan(&file, &found).0 {
            let name = plan.spec.name.clone();
            match Place::of(plan) {
                Some(Ok(place)) => places.push(place),
                Some(Err(reason)) => {
                    without_place.push(format!("{}: nothing is pulled into {name}: {reason}", file.name));
                }
                None => {}
            }
        }
        let places = parents_first(&connection, places).map_err(failed)?;
        let numbers = number::check(&state, &file.name, number::read(&connection, &file.name)?)?;
        let restored = (numbers.current < numbers.committed).then(|| restore(&state, &file, numbers.current));
        let restored = restored.transpose()?;
        for place in places.iter().filter(|place| place.makes_keys()) {
            name_keys(&state, &connection, &file, place)?;
        }
        let retracted = Arc::new(AtomicU64::new(0));
        let tables = summary(&places);
        let constants = places.iter().map(|place| (place.hub.name().to_string(), place.constants())).collect();
        let identity = format!("{} {}", state.id()?, file.name);
        let work = Work {
            connection,
            file: file.clone(),
            environment,
            state: Arc::clone(&state),
            places,
            formats: Formats::default(),
            redact: None,
            backups,
            backed_up: state.scratch,
            later: restored
                .iter()
                .flat_map(|restored| &restored.keys)
                .map(|(table, key)| (table.clone(), key.hash()))
                .collect(),
            retracted: Arc::clone(&retracted),
            open: None,
        };
        let worker = Arc::new(Worker::spawn("pull", work)?);
        let turn = Arc::default();
        Ok(Self { worker, turn, keeper, state, file, identity, tables, constants, without_place, restored, retracted })
    }

    /// Has the file keep what these rules take out of it where the hub has the marker.
    pub fn keep_redacted(&self, redact: Arc<Redact>) {
        self.worker.post(|work| work.redact = Some(redact));
    }

    /// The hub tables that the file has a place for.
    pub fn tables(&self) -> &[PulledTable] {
        &self.tables
    }

    /// Whether the file has a place for a key: for
    /// [`FleetSource::only_where`](aqe_sync_core::fleet::FleetSource::only_where).
    pub fn places(&self) -> impl Fn(&TableSpec, &Key) -> bool + Send + Sync + 'static {
        let all = self.constants.clone();
        move |table, key| {
            let of_table = all.iter().filter(|(name, _)| name == table.name().as_str());
            of_table.into_iter().any(|(_, constants)| layout::takes(constants, key))
        }
    }

    /// Whether the file is older than what pulls wrote to it.
    pub fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// What is worth knowing, for people.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.without_place.clone();
        if let Some(restored) = &self.restored {
            notes.push(format!(
                "{}: the file is older than what was pulled into it ({} records differ): it was restored from a backup, \
                 or replaced; what is missing in it does not count as deleted",
                self.file.name,
                restored.keys.len()
            ));
        }
        let retracted = self.retracted.load(Ordering::Relaxed);
        if retracted > 0 {
            notes.push(format!(
                "{}: {retracted} records were taken out again: nobody who is trusted has them any more",
                self.file.name
            ));
        }
        notes
    }
}

fn connect(file: &SourceFile) -> Result<Connection> {
    let (opened, _) = stat::open(&file.path, &file.name)?;
    drop(opened);
    let magic = Magic::at(&file.path).map_err(|cause| stat::io_error(&file.name, cause))?;
    if magic != Magic::Sqlite {
        return Err(Error::new(ErrorKind::Malformed, "it is no SQLite database")
            .during(format!("pulling into {}", file.name))
            .advice("its tool has to make it first: nothing is created where there is none"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&file.path, flags).and_then(|mut connection| {
        connection.busy_handler(Some(try_again))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    });
    opened.map_err(|error| file_error(file, error))
}

/// Waits for an agent that has its file locked. SQLite's own way looks every tenth of a
/// second: an agent that writes all the time would hardly ever be met between two writes.
fn try_again(tries: i32) -> bool {
    std::thread::sleep(PAUSE);
    u32::try_from(tries).is_ok_and(|tries| PAUSE * tries < BUSY_LIMIT)
}

/// Of a file that is older than the notes: what it lacks. Everything is looked at again.
fn restore(state: &PullState, file: &SourceFile, current: i64) -> Result<Restored> {
    state.forget_sources(&file.name)?;
    let dropped = state.dropped(&file.name, current)?;
    Ok(Restored { keys: dropped.into_iter().map(|pending| (pending.kept.table, pending.kept.key)).collect() })
}

/// After a rebuild only hashes of keys are known that the file made: they are looked up.
fn name_keys(state: &PullState, connection: &Connection, file: &SourceFile, place: &Place) -> Result<()> {
    let wanted = state.unnamed(&file.name, place.hub.name().as_str())?;
    let mut after = i64::MIN;
    while !wanted.is_empty() {
        let page = place.made_keys(connection, file, after).map_err(|error| file_error(file, error))?;
        let Some((mut keys, last)) = page else { break };
        keys.retain(|key| wanted.contains(&key.hash()));
        state.name(&file.name, place.hub.name().as_str(), &keys)?;
        after = last;
    }
    Ok(())
}

/// Tables that others refer to come before those that do.
fn parents_first(connection: &Connection, places: Vec<Place>) -> rusqlite::Result<Vec<Place>> {
    let mut statement = connection.prepare("SELECT \"table\" FROM pragma_foreign_key_list(?1)")?;
    let mut waiting = Vec::with_capacity(places.len());
    for place in places {
        let parents = statement.query_map([place.table()], |row| row.get::<_, String>(0))?;
        waiting.push((parents.collect::<rusqlite::Result<Vec<_>>>()?, place));
    }
    let mut ordered: Vec<Place> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = waiting.iter().position(|(parents, place)| {
            let waits_for = |(_, other): &(Vec<String>, Place)| {
                other.table() != place.table() && parents.iter().any(|parent| parent == other.table())
            };
            !waiting.iter().any(waits_for)
        });
        // Of tables that refer to each other none can be first.
        ordered.push(waiting.remove(free.unwrap_or(0)).1);
    }
    Ok(ordered)
}

fn summary(places: &[Place]) -> Vec<PulledTable> {
    let mut all: Vec<PulledTable> = Vec::new();
    for place in places {
        let lacks: Vec<String> = place.lacks().into_iter().map(str::to_owned).collect();
        match all.iter_mut().find(|known| known.table.name() == place.hub.name()) {
            Some(known) => {
                known.local.push(place.table().to_owned());
                known.left_out.retain(|column| lacks.contains(column));
            }
            None => all.push(PulledTable {
                table: Arc::clone(&place.hub),
                local: vec![place.table().to_owned()],
                left_out: lacks,
            }),
        }
    }
    all
}

impl Sink for LocalSink {
    type Txn = LocalTxn;

    fn name(&self) -> &str {
        self.file.name.as_str()
    }

    async fn identity(&self) -> Result<String> {
        Ok(self.identity.clone())
    }

    async fn prepare(&self, table: &Arc<TableSpec>) -> Result<()> {
        if self.tables.iter().any(|known| known.table.name() == table.name()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Incompatible, "the file has no table for it")
            .during(format!("pulling into {}", self.file.name))
            .context("table", table.name())
            .advice("leave it out with [pull] tables"))
    }

    async fn states(&self, environment: &Environment) -> Result<Vec<StreamState>> {
        notes::streams(&self.state, &self.file.name, environment)
    }

    /// Nothing: a pull compares with the file itself.
    fn known(&self, _: &StreamId, _: &Arc<TableSpec>) -> BoxStream<'static, Result<Vec<KnownRow>>> {
        futures::stream::empty().boxed()
    }

    async fn begin(&self, stream: &StreamId, table: &Arc<TableSpec>) -> Result<LocalTxn> {
        let hub = tables::find(table.name().as_str())
            .ok_or_else(|| Error::internal(format!("table {} is not in the catalogue", table.name())))?;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let open = Open {
            stream: stream.clone(),
            hub: Arc::clone(hub),
            numbers: None,
            pending: Vec::new(),
            wrote: false,
            letters: Vec::new(),
            written: Vec::new(),
        };
        let begun = LocalTxn { worker: Arc::clone(&self.worker), keeper: self.keeper.clone(), open: true, _turn: turn };
        self.worker
            .call(move |work| {
                work.open = Some(open);
                Ok(())
            })
            .await?;
        Ok(begun)
    }

    async fn finish(&self, _: &Report) -> Result<()> {
        Ok(())
    }
}

/// A delivery on its way into an agent's file.
pub struct LocalTxn {
    worker: Arc<Worker<Work>>,
    keeper: Option<Arc<dyn Keeper>>,
    open: bool,
    _turn: OwnedMutexGuard<()>,
}

impl SinkTxn for LocalTxn {
    async fn apply(&mut self, changes: Vec<Change>) -> Result<Applied> {
        self.worker.call(move |work| work.apply(changes)).await
    }

    async fn resolve(&mut self, settled: Vec<Settled>) -> Result<()> {
        if settled.is_empty() {
            return Ok(());
        }
        Err(Error::internal("a pull contests nothing, and was given decisions"))
    }

    async fn reject(&mut self, letters: Vec<DeadLetter>) -> Result<()> {
        self.worker
            .call(move |work| {
                let Some(open) = work.open.as_mut() else { return Err(over()) };
                open.letters.extend(letters);
                Ok(())
            })
            .await
    }

    async fn commit(mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let kept = self.worker.call(Work::prepare).await?;
        if let (Some((entries, floor)), Some(keeper)) = (kept, &self.keeper) {
            keeper.keep(entries, floor).await?;
            failpoint!("pull-kept");
        }
        let sequence = self.worker.call(move |work| work.commit(&checkpoint)).await?;
        self.open = false;
        Ok(Committed { sequence })
    }
}

impl Drop for LocalTxn {
    fn drop(&mut self) {
        if self.open {
            self.worker.post(|work| {
                work.roll_back();
                work.open = None;
            });
        }
    }
}
