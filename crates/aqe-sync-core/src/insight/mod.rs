//! What a fleet has learned, for people to look at: what is new, what is used most, where
//! environments disagree, and how its knowledge lies in the space of its embeddings.

mod best;
mod map;
mod plane;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;

pub use map::{Map, POINTS, Point};

use best::Best;

use crate::embed::{VectorHub, text_of};
use crate::fleet::{Contribution, FleetRecord, is_counts_only, known, merge};
use crate::said::{confidence, domain, is_judged, uses};
use crate::{ColumnType, Result, Role, Row, TableSpec, Timestamp, Value};

/// Each list is at most so long.
pub const LISTED: usize = 20;
/// So many letters of a name are kept.
const NAME: usize = 160;
/// What a fleet has learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Insight {
    /// How many records there are that say something, whoever has them.
    pub records: u64,
    /// How many of them several environments have.
    pub shared: u64,
    /// How many of these environments say different things about.
    pub disputed: u64,
    /// Environments that the fleet does not listen to; nothing here is from them.
    pub excluded: BTreeSet<String>,
    /// What was made last, the newest first.
    pub lately: Vec<Learned>,
    /// What was used most, that first.
    pub most_used: Vec<Learned>,
    /// What most environments disagree on, that first.
    pub most_disputed: Vec<Learned>,
    /// Embeddings on a plane, one for each model.
    pub maps: Vec<Map>,
}

/// One record of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Learned {
    /// Its table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// What it says, in a line.
    pub name: String,
    /// What it is about, where its table says it.
    pub domain: Option<String>,
    /// How sure its winner is of it, 0 to 1.
    pub confidence: Option<f64>,
    /// How often it was used, everywhere together: the first of its counters that is there.
    pub uses: Option<i64>,
    /// When it was made first.
    pub created: Option<Timestamp>,
    /// Whose content it has.
    pub winner: String,
    /// How many environments say something about it.
    pub environments: usize,
    /// How many of them say what the winner says.
    pub agreeing: usize,
}

/// Looks over all that the environments of a fleet know. Every record is read once: a million
/// take about as long as a pull of all of them; little of it is kept in memory.
///
/// # Errors
/// When the hub cannot be read.
pub async fn insight<H: VectorHub>(hub: &H, tables: &[Arc<TableSpec>], now: Timestamp) -> Result<Insight> {
    let excluded = hub.standing().await?.excluded;
    let mut found = Found::default();
    for table in tables.iter().filter(|table| says_something(table)) {
        let mut all = known(hub, table, &excluded);
        while let Some(some) = all.next().await {
            for (_, mut contributions) in some? {
                contributions.retain(|one| !one.deleted);
                if let Some(record) = merge(table, &contributions) {
                    found.count(table, &contributions, &record, now);
                }
            }
        }
    }
    Ok(Insight {
        excluded: excluded.iter().map(ToString::to_string).collect(),
        lately: found.lately.listed(),
        most_used: found.most_used.listed(),
        most_disputed: found.most_disputed.listed(),
        maps: map::maps(hub, tables, &excluded, found.samples).await?,
        ..found.counted
    })
}

/// Whether a table's records say something that somebody can be more or less sure of, or read.
fn says_something(table: &TableSpec) -> bool {
    is_judged(table) || !table.text_columns().is_empty()
}

/// What is found while one record after the other goes by.
#[derive(Default)]
struct Found {
    counted: Insight,
    lately: Best,
    most_used: Best,
    most_disputed: Best,
    samples: map::Samples,
}

impl Found {
    /// Counts one key, of which these are the environments' parts.
    fn count(&mut self, table: &TableSpec, all: &[Contribution], record: &FleetRecord, now: Timestamp) {
        self.samples.look(table, record);
        let saying = all.iter().filter(|one| !is_counts_only(&one.row)).count();
        let disputing = saying.saturating_sub(record.agreeing);
        self.counted.records += 1;
        self.counted.shared += u64::from(saying > 1);
        self.counted.disputed += u64::from(disputing > 0);
        let created = table.position_of_role(&Role::CreatedAt).and_then(|position| match record.row.values[position] {
            // A clock that was wrong does not make a record the newest for ever.
            Value::Timestamp(moment) if moment <= now => Some(moment),
            _ => None,
        });
        let uses = uses(table, &record.row);
        let learned = || learned(table, record, saying, created);
        if let Some(created) = created {
            self.lately.offer((created.as_micros(), 0, 0), learned);
        }
        if let Some(uses) = uses.filter(|uses| is_judged(table) && *uses > 0) {
            self.most_used.offer((uses, 0, 0), learned);
        }
        if disputing > 0 {
            // What somebody is sure of before what somebody noted.
            let judged = i64::from(confidence(table, &record.row).is_some());
            let disputing = i64::try_from(disputing).unwrap_or(i64::MAX);
            self.most_disputed.offer((disputing, judged, uses.unwrap_or(i64::MIN)), learned);
        }
    }
}

fn learned(table: &TableSpec, record: &FleetRecord, saying: usize, created: Option<Timestamp>) -> Learned {
    Learned {
        table: table.name().to_string(),
        key: record.row.key(table).to_string(),
        name: name(table, &record.row),
        domain: domain(table, &record.row),
        confidence: confidence(table, &record.row),
        uses: uses(table, &record.row),
        created,
        winner: record.winner.to_string(),
        environments: saying,
        agreeing: record.agreeing,
    }
}

/// What a record says, in a line: its texts for searches, else its text, else its first word.
fn name(table: &TableSpec, row: &Row) -> String {
    let texts = |wanted: &dyn Fn(&Role, ColumnType) -> bool| {
        let columns = table.columns().iter().zip(&row.values).skip(table.key_columns().len());
        let texts =
            columns.filter(|(column, _)| wanted(&column.role, column.kind)).filter_map(|(_, value)| match value {
                Value::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                _ => None,
            });
        texts.collect::<Vec<_>>()
    };
    let mut said = texts(&|role, kind| *role == Role::SearchText && kind == ColumnType::Text);
    said.dedup();
    if said.is_empty() {
        said.extend(text_of(table, row));
    }
    if said.is_empty() {
        said.extend(texts(&|_, kind| kind == ColumnType::Text).into_iter().next());
    }
    let said = if said.is_empty() { row.key(table).to_string() } else { said.join(": ") };
    in_a_line(&said)
}

/// The beginning of a text, without breaks.
fn in_a_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(NAME) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}
