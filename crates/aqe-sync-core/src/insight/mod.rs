//! What a fleet has learned, for people to look at: what is new, what is used most, where
//! environments disagree, and how its knowledge lies in the space of its embeddings.

mod map;
mod plane;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;

pub use map::{Map, POINTS, Point};

use crate::embed::{VectorHub, text_of};
use crate::fleet::{Contribution, FleetRecord, VersionVector, is_counts_only, merge};
use crate::{ColumnType, Result, Role, Row, TableSpec, Timestamp, Value};

/// Each list is at most so long.
pub const LISTED: usize = 20;
/// So many letters of a name are kept.
const NAME: usize = 160;
/// So many keys are asked for at once.
const KEYS: usize = 500;

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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    let mut found = Insight { excluded: excluded.iter().map(ToString::to_string).collect(), ..Insight::default() };
    let mut samples = map::Samples::default();
    let looked_at: Vec<&Arc<TableSpec>> = tables.iter().filter(|table| says_something(table)).collect();
    for table in &looked_at {
        // Nobody is called nothing: every key counts as somebody else's.
        let mut keys = hub.changed(table, &VersionVector::default(), &"".into(), None);
        while let Some(batch) = keys.next().await {
            for some in batch?.chunks(KEYS) {
                for mut all in hub.contributions(table, some.to_vec()).await? {
                    all.retain(|one| !one.deleted && !excluded.contains(&one.environment));
                    if let Some(record) = merge(table, &all) {
                        samples.look(table, &record);
                        found.count(table, &all, &record, now);
                    }
                }
            }
        }
    }
    for list in [Order::Lately, Order::Used, Order::Disputed] {
        found.shorten(list, LISTED);
    }
    found.maps = map::maps(hub, tables, &excluded, samples).await?;
    Ok(found)
}

/// Whether a table's records say something that somebody can be more or less sure of, or read.
fn says_something(table: &TableSpec) -> bool {
    is_judged(table) || !table.text_columns().is_empty()
}

/// Whether environments say how sure they are.
fn is_judged(table: &TableSpec) -> bool {
    table.position_of_role(&Role::Confidence).is_some()
}

#[derive(Clone, Copy)]
enum Order {
    Lately,
    Used,
    Disputed,
}

impl Insight {
    /// Counts one key, of which these are the environments' parts.
    fn count(&mut self, table: &TableSpec, all: &[Contribution], record: &FleetRecord, now: Timestamp) {
        let saying = all.iter().filter(|one| !is_counts_only(&one.row)).count();
        let disputed = saying.saturating_sub(record.agreeing);
        self.records += 1;
        self.shared += u64::from(saying > 1);
        self.disputed += u64::from(disputed > 0);
        let of_role = |role: &Role| table.position_of_role(role).map(|position| &record.row.values[position]);
        let created = match of_role(&Role::CreatedAt) {
            // A clock that was wrong does not make a record the newest for ever.
            Some(Value::Timestamp(moment)) if *moment <= now => Some(*moment),
            _ => None,
        };
        let uses = uses(table, &record.row);
        let confidence = match of_role(&Role::Confidence) {
            Some(Value::Float(sure)) => Some(*sure),
            _ => None,
        };
        let useful = is_judged(table) && uses.is_some_and(|uses| uses > 0);
        if created.is_none() && !useful && disputed == 0 {
            return;
        }
        let learned = Learned {
            table: table.name().to_string(),
            key: record.row.key(table).to_string(),
            name: name(table, &record.row),
            domain: domain(table, &record.row),
            confidence,
            uses,
            created,
            winner: record.winner.to_string(),
            environments: saying,
            agreeing: record.agreeing,
        };
        if created.is_some() {
            self.keep(Order::Lately, learned.clone());
        }
        if useful {
            self.keep(Order::Used, learned.clone());
        }
        if disputed > 0 {
            self.keep(Order::Disputed, learned);
        }
    }

    fn list(&mut self, order: Order) -> &mut Vec<Learned> {
        match order {
            Order::Lately => &mut self.lately,
            Order::Used => &mut self.most_used,
            Order::Disputed => &mut self.most_disputed,
        }
    }

    fn keep(&mut self, order: Order, learned: Learned) {
        let list = self.list(order);
        list.push(learned);
        if list.len() >= 16 * LISTED {
            self.shorten(order, LISTED);
        }
    }

    /// Puts a list in its order and keeps its beginning.
    fn shorten(&mut self, order: Order, length: usize) {
        let list = self.list(order);
        list.sort_by(|a, b| {
            let disputing = |one: &Learned| one.environments - one.agreeing;
            match order {
                Order::Lately => b.created.cmp(&a.created),
                Order::Used => b.uses.cmp(&a.uses),
                Order::Disputed => disputing(b)
                    .cmp(&disputing(a))
                    // What somebody is sure of before what somebody noted.
                    .then_with(|| b.confidence.is_some().cmp(&a.confidence.is_some()))
                    .then_with(|| b.uses.cmp(&a.uses)),
            }
            .then_with(|| a.table.cmp(&b.table))
            .then_with(|| a.key.cmp(&b.key))
        });
        list.truncate(length);
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

/// How often a record was used: the first of its counters that is there.
pub(crate) fn uses(table: &TableSpec, row: &Row) -> Option<i64> {
    let mut counters = table.columns().iter().zip(&row.values).filter(|(column, _)| column.role == Role::Counter);
    counters.find_map(|(_, value)| match value {
        Value::Int(uses) => Some(*uses),
        _ => None,
    })
}

/// What a record is about, where its table says it.
pub(crate) fn domain(table: &TableSpec, row: &Row) -> Option<String> {
    let columns = ["domain", "qe_domain"].into_iter().filter_map(|name| table.position(name));
    let mut texts = columns.filter_map(|position| match &row.values[position] {
        Value::Text(text) if !text.trim().is_empty() => Some(text.trim().to_lowercase()),
        _ => None,
    });
    texts.next()
}
