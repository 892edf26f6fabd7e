//! The fleet as a source: what a pull reads.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::contribution::Contribution;
use super::hub::{FleetHub, Standing, VersionVector};
use super::trust::Trust;
use crate::rowjson::{row_from_json, row_to_json};
use crate::source::{Batch, BatchStream, Fingerprint, ReadRequest, Source, StreamSpec};
use crate::{
    ColumnType, Deletes, Environment, Error, ErrorKind, Key, PolicySpec, Record, Result, Row, Schema, SourceName,
    TableSpec, Timestamp, Value,
};

/// The column of [`fleet_table`] that holds the contributions.
const CONTRIBUTIONS: &str = "contributions";

/// The column that says that this environment has, or had, a record of its own.
const DECLINED: &str = "declined";

/// So many keys are asked for at once.
const KEYS: usize = 500;

/// The table of the records that a [`FleetSource`] yields for a hub table: its key, and
/// what others contribute to it: see [`Pulled`].
///
/// # Errors
/// When the table has a key column named `contributions`.
pub fn fleet_table(table: &TableSpec) -> Result<Arc<TableSpec>> {
    let keys = table.key_columns().iter();
    keys.fold(TableSpec::builder(table.name().as_str()), |builder, key| builder.key(key.name.as_str(), key.kind))
        .column(DECLINED, ColumnType::Bool)
        .column(CONTRIBUTIONS, ColumnType::Text)
        .policy(PolicySpec::LocalWins)
        .deletes(Deletes::Ignore)
        .build()
}

/// What a record of a [`FleetSource`] says of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// What others contribute: nothing when nobody trusted does any more.
    pub others: Vec<Contribution>,
    /// Whether this environment has, or had, a record of its own in the hub: where its file
    /// does not have the key it was deleted there, and nobody's is wanted.
    pub declined: bool,
    /// What this environment itself has in the hub, where its file was restored from a
    /// backup: what it did since then still happened, and what is missing in the file was
    /// not deleted.
    pub restored: Option<Row>,
}

impl Pulled {
    /// Reads a row of [`fleet_table`], for a hub table and who pulls.
    ///
    /// # Errors
    /// When the row is none of a [`FleetSource`].
    pub fn of(environment: &Environment, table: &TableSpec, row: &Row) -> Result<Self> {
        let malformed = || Error::new(ErrorKind::Malformed, "a record of the fleet does not hold contributions");
        let [.., declined, Value::Text(text)] = row.values.as_slice() else { return Err(malformed()) };
        let list: Vec<ContributionJson> = serde_json::from_str(text).map_err(|error| malformed().caused_by(error))?;
        let others = list.into_iter().map(|one| {
            let row = row_from_json(table, one.row.get())?;
            Ok(Contribution { environment: one.env.as_str().into(), version: one.version, deleted: false, row })
        });
        let mut others = others.collect::<Result<Vec<Contribution>>>()?;
        let own = others.iter().position(|one| one.environment == *environment);
        let restored = own.map(|own| others.remove(own).row);
        Ok(Self { others, declined: *declined == Value::Bool(true), restored })
    }
}

#[derive(Serialize, Deserialize)]
struct ContributionJson {
    env: String,
    version: i64,
    row: Box<RawValue>,
}

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Who pulls.
    pub environment: Environment,
    /// Which tables.
    pub tables: Vec<Arc<TableSpec>>,
    /// Whose contributions count.
    pub trust: Trust,
    /// How far the last pull saw the hub: see [`seen`].
    pub since: Option<Standing>,
    /// Only rows that were written to the hub after this moment. Such a pull sees a part.
    pub after: Option<Timestamp>,
    /// Whether the local file is older than what this environment sent: then its own part
    /// comes from the hub, too. See [`Pulled::restored`].
    pub restore: bool,
}

/// The fleet, as one environment sees it.
pub struct FleetSource<H> {
    hub: Arc<H>,
    name: SourceName,
    request: PullRequest,
    standing: Standing,
    places: Option<Places>,
}

/// Whether the local side has a place for a key.
type Places = Arc<dyn Fn(&TableSpec, &Key) -> bool + Send + Sync>;

impl<H: FleetHub> FleetSource<H> {
    /// Asks the hub how far it is.
    ///
    /// # Errors
    /// When the hub is not reachable.
    pub async fn open(hub: Arc<H>, mut request: PullRequest) -> Result<Self> {
        let standing = hub.standing().await?;
        request.trust.excluded.extend(standing.excluded.iter().cloned());
        Ok(Self { hub, name: "fleet".into(), request, standing, places: None })
    }

    /// Leaves out keys that the local side has no place for.
    #[must_use]
    pub fn only_where(mut self, places: impl Fn(&TableSpec, &Key) -> bool + Send + Sync + 'static) -> Self {
        self.places = Some(Arc::new(places));
        self
    }

    /// How far the hub is.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether everything that passes is read, so that what was seen can be remembered.
    fn sees_all(&self) -> bool {
        self.request.after.is_none() && self.request.trust.only.is_none()
    }

    /// From where a table is read; everything where trust or epoch changed since.
    fn since(&self, table: &TableSpec) -> VersionVector {
        let known = self.request.since.as_ref();
        let known =
            known.filter(|since| since.epoch == self.standing.epoch && since.excluded == self.standing.excluded);
        known.and_then(|since| since.versions.get(table.name().as_str())).cloned().unwrap_or_default()
    }

    fn table(&self, stream: &StreamSpec) -> Result<Arc<TableSpec>> {
        let found = self.request.tables.iter().find(|table| table.name().as_str() == stream.name.as_str());
        found.cloned().ok_or_else(|| Error::internal(format!("stream {}, which was not offered", stream.name)))
    }

    /// Reads one table in batches.
    fn stream(&self, stream: StreamSpec, rows: usize) -> BoxStream<'static, Result<Batch>> {
        let table = match self.table(&stream) {
            Ok(table) => table,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let since = self.since(&table);
        let current = self.standing.versions.get(table.name().as_str()).cloned().unwrap_or_default();
        // To nobody, every key is news.
        let nobody = Environment::new("");
        let own = if self.request.restore { &nobody } else { &self.request.environment };
        let moved = current.iter().any(|(environment, version)| version > since.of(environment));
        let changed =
            if moved { self.hub.changed(&table, &since, own, self.request.after) } else { stream::empty().boxed() };
        let reader = TableReader {
            hub: Arc::clone(&self.hub),
            stream,
            schema: schema(&table),
            table,
            environment: self.request.environment.clone(),
            restore: self.request.restore,
            trust: self.request.trust.clone(),
            places: self.places.clone(),
            changed,
            keys: VecDeque::new(),
            at_once: rows.clamp(1, KEYS),
            done: false,
        };
        stream::try_unfold(reader, TableReader::next).boxed()
    }
}

impl<H: FleetHub> Source for FleetSource<H> {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        let specs = self
            .request
            .tables
            .iter()
            .map(|table| Ok(StreamSpec::new(table.name().as_str(), fleet_table(table)?).deletes(Deletes::Ignore)));
        specs.collect()
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        if !self.sees_all() {
            return Ok(None);
        }
        Ok(Some(Fingerprint { bytes: self.seen()?, settled: true }))
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let streams: Vec<_> =
            request.streams.into_iter().map(|stream| self.stream(stream, request.limits.rows)).collect();
        stream::iter(streams).flatten().boxed()
    }
}

/// What a finished pull saw, as [`FleetSource`]'s fingerprint keeps it.
#[derive(Serialize, Deserialize)]
struct Seen {
    standing: Standing,
    trust: String,
    tables: Vec<String>,
}

impl<H> FleetSource<H> {
    fn seen(&self) -> Result<Vec<u8>> {
        let seen = Seen {
            standing: self.standing.clone(),
            trust: trust_key(&self.request.trust),
            tables: self.request.tables.iter().map(|table| table.name().to_string()).collect(),
        };
        serde_json::to_vec(&seen).map_err(|error| Error::internal("what was seen cannot be written").caused_by(error))
    }
}

/// How far the hub was at the pull that left this fingerprint; `None` when it says nothing
/// about a pull with these tables and this trust.
pub fn seen(fingerprint: &[u8], tables: &[Arc<TableSpec>], trust: &Trust) -> Option<Standing> {
    let seen: Seen = serde_json::from_slice(fingerprint).ok()?;
    let all = tables.iter().all(|table| seen.tables.iter().any(|name| name == table.name().as_str()));
    let mut trust = trust.clone();
    trust.excluded.extend(seen.standing.excluded.iter().cloned());
    (all && seen.trust == trust_key(&trust)).then_some(seen.standing)
}

fn trust_key(trust: &Trust) -> String {
    format!("{:?} {:?} {:?}", trust.excluded, trust.min_confidence, trust.min_environments)
}

fn schema(table: &TableSpec) -> Arc<Schema> {
    Schema::new(table.key_columns().iter().map(|key| key.name.as_str()).chain([DECLINED, CONTRIBUTIONS]))
}

/// Reads the contributions of one table.
struct TableReader<H> {
    hub: Arc<H>,
    stream: StreamSpec,
    table: Arc<TableSpec>,
    schema: Arc<Schema>,
    environment: Environment,
    restore: bool,
    trust: Trust,
    places: Option<Places>,
    changed: BoxStream<'static, Result<Vec<Key>>>,
    keys: VecDeque<Key>,
    at_once: usize,
    done: bool,
}

impl<H: FleetHub> TableReader<H> {
    async fn next(mut self) -> Result<Option<(Batch, Self)>> {
        if self.done {
            return Ok(None);
        }
        while self.keys.len() < self.at_once {
            let Some(keys) = self.changed.next().await else { break };
            self.keys.extend(keys?);
        }
        let number = self.keys.len().min(self.at_once);
        let mut keys: Vec<Key> = self.keys.drain(..number).collect();
        // Fewer than wanted are there only once nothing more comes.
        self.done = number < self.at_once;
        if let Some(places) = &self.places {
            keys.retain(|key| places(&self.table, key));
        }
        let all = if keys.is_empty() { Vec::new() } else { self.hub.contributions(&self.table, keys.clone()).await? };
        let records = keys.into_iter().zip(all).map(|(key, contributions)| self.record(&key, contributions));
        let records = records.collect::<Result<Vec<_>>>()?;
        let batch =
            Batch { stream: self.stream.name.clone(), records, packed: None, rejects: Vec::new(), last: self.done };
        Ok(Some((batch, self)))
    }

    fn record(&self, key: &Key, contributions: Vec<Contribution>) -> Result<Record> {
        let own = contributions.iter().find(|one| one.environment == self.environment);
        let declined = own.is_some_and(|own| !self.restore || own.deleted);
        let restored = own.filter(|own| self.restore && !own.deleted).cloned();
        let others = self.trust.others(&self.table, &self.environment, contributions);
        let list = others.into_iter().chain(restored).map(|other| {
            let row = RawValue::from_string(row_to_json(&self.table, &other.row))?;
            Ok(ContributionJson { env: other.environment.to_string(), version: other.version, row })
        });
        let text = list.collect::<Result<Vec<_>, serde_json::Error>>().and_then(|list| serde_json::to_string(&list));
        let text = text.map_err(|error| Error::internal("contributions cannot be written").caused_by(error))?;
        let mut values = key.values().to_vec();
        values.extend([Value::Bool(declined), Value::Text(text)]);
        Ok(Record::new(Arc::clone(&self.schema), values))
    }
}
