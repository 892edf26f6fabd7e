//! This environment's own part of a local row that shows what the fleet knows.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::contribution::{Contribution, counts_only, is_counts_only};
use super::merge::{FleetRecord, merge};
use super::source::Pulled;
use crate::hash::partial_hash;
use crate::rowjson::{row_from_json, row_to_json};
use crate::{ColumnType, Environment, Error, ErrorKind, KeyHash, Result, Role, Row, TableSpec, Timestamp, Value};

/// What was last written into a local row, and which part of it is this environment's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Absorbed {
    /// This environment's own part then; `None` when it had none.
    pub own: Option<Row>,
    /// What the local file shows of the key.
    pub shown: Shown,
}

/// What the local file shows of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// A row that was written by a pull.
    Written(Box<Written>),
    /// Nothing: who contributes its content is not trusted. The own part is kept.
    Withheld,
    /// Nothing: it was deleted here, and does not come back.
    Declined,
}

/// A row as its file gave it back right after it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// A number for all that is neither counted nor a moment.
    content: u64,
    /// Counters, rates and moments; all else is null.
    counts: Row,
}

impl Written {
    /// Remembers a row, as read back.
    pub fn of(table: &TableSpec, row: &Row) -> Self {
        let values = table.columns().iter().zip(&row.values).map(|(column, value)| {
            let kept = is_counted(&column.role) || column.kind == ColumnType::Timestamp;
            if kept { value.clone() } else { Value::Null }
        });
        Self { content: content(table, row), counts: Row::new(table, values.collect(), None) }
    }
}

fn is_counted(role: &Role) -> bool {
    matches!(role, Role::Counter | Role::Rate { .. })
}

/// Unlike [`super::content_digest`] this tells every edit, except to moments.
fn content(table: &TableSpec, row: &Row) -> u64 {
    partial_hash(table, row, |column| !is_counted(&column.role) && column.kind != ColumnType::Timestamp)
}

/// What a pull does about one key of the local file.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Leave,
    /// The file has to show the record. What it gives back then is remembered, beside the
    /// own part: see [`Written::of`].
    Write {
        /// The record.
        record: Box<FleetRecord>,
        /// This environment's own part of it.
        own: Option<Row>,
    },
    /// The file has to show nothing, and this is remembered.
    Clear(Option<Absorbed>),
}

impl Absorbed {
    /// This environment's own part of a local row, from what was last written into it.
    ///
    /// A counter has grown by what it is larger than what was written; one that is smaller
    /// has not grown. A rate's sum (rate·weight) has changed by the difference of the sums;
    /// within the rounding error of doubles it is taken to be a whole number, so that
    /// successes out of uses stay exact. A record that was made anew (another creation
    /// time) is this environment's own altogether. Content is its own once it edited it;
    /// until then it is what it was. `None` when it has no part.
    pub fn own(&self, table: &TableSpec, local: &Row) -> Option<Row> {
        let Shown::Written(written) = &self.shown else {
            // The file shows a row that nobody wrote there but its own tool.
            return Some(grown(table, local, local, None, self.own.as_ref()));
        };
        let before = &written.counts;
        if made_anew(table, local, before) {
            return Some(local.clone());
        }
        if content(table, local) != written.content {
            return Some(grown(table, local, local, Some(before), self.own.as_ref()));
        }
        let moved = table
            .columns()
            .iter()
            .zip(local.values.iter().zip(&before.values))
            .any(|(column, (now, then))| is_counted(&column.role) && !crate::hash::same(now, then));
        match &self.own {
            Some(own) if moved || times_differ(table, local, before) => {
                let mut content = own.clone();
                for (position, column) in table.columns().iter().enumerate() {
                    let own_time = column.kind == ColumnType::Timestamp && column.role != Role::CreatedAt;
                    if own_time && !crate::hash::same(&local.values[position], &before.values[position]) {
                        content.values[position] = local.values[position].clone();
                    }
                }
                Some(grown(table, &content, local, Some(before), Some(own)))
            }
            Some(own) => Some(own.clone()),
            None if moved => {
                let counted = grown(table, local, local, Some(before), None);
                Some(counts_only(table, counted.values))
            }
            None => None,
        }
    }

    /// What a pull has to do about a key, from what was remembered of it, the row that the
    /// local file shows now, and what the fleet says.
    ///
    /// A row that was written and is not there any more was deleted here, and does not come
    /// back. A row that its tool made again takes part again.
    pub fn step(
        table: &TableSpec,
        environment: &Environment,
        remembered: Option<&Self>,
        local: Option<&Row>,
        pulled: &Pulled,
    ) -> Step {
        let own = match (local, remembered) {
            (Some(_), None) if pulled.others.is_empty() && pulled.restored.is_none() => return Step::Leave,
            (Some(local), None) => both(table, Some(local.clone()), pulled.restored.clone()),
            (Some(local), Some(absorbed)) => both(table, absorbed.own(table, local), pulled.restored.clone()),
            (None, _) if pulled.restored.is_some() => pulled.restored.clone(),
            (None, None) if pulled.declined => return Step::Clear(Some(Self::declined())),
            (None, None) => None,
            (None, Some(absorbed)) => match &absorbed.shown {
                Shown::Written(_) => return Step::Clear(Some(Self::declined())),
                Shown::Declined => return Step::Leave,
                Shown::Withheld => absorbed.own.clone(),
            },
        };
        let others = pulled.others.iter().filter(|other| other.environment != *environment);
        let mut all: Vec<Contribution> = others.cloned().collect();
        all.extend(own.as_ref().map(|row| Contribution {
            environment: environment.clone(),
            version: i64::MAX,
            deleted: false,
            row: row.clone(),
        }));
        match merge(table, &all) {
            Some(record) => Step::Write { record: Box::new(record), own },
            None if local.is_none() && remembered.is_none() && own.is_none() => Step::Leave,
            // Nobody trusted has content for it. What was counted here is kept.
            None => Step::Clear(own.map(|own| Self { own: Some(own), shown: Shown::Withheld })),
        }
    }

    fn declined() -> Self {
        Self { own: None, shown: Shown::Declined }
    }

    /// Writes it as JSON.
    pub fn to_json(&self, table: &TableSpec) -> String {
        let raw = |row: &Row| RawValue::from_string(row_to_json(table, row)).ok();
        let (shown, content, counts) = match &self.shown {
            Shown::Written(written) => ("written", Some(format!("{:016x}", written.content)), raw(&written.counts)),
            Shown::Withheld => ("withheld", None, None),
            Shown::Declined => ("declined", None, None),
        };
        let json = AbsorbedJson { own: self.own.as_ref().and_then(raw), shown: shown.to_owned(), content, counts };
        serde_json::to_string(&json).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(table: &TableSpec, text: &str) -> Result<Self> {
        let malformed = || {
            Error::new(ErrorKind::Malformed, "what was absorbed from the fleet is not what aqe-sync writes")
                .context("table", table.name())
        };
        let json: AbsorbedJson = serde_json::from_str(text).map_err(|error| malformed().caused_by(error))?;
        let row = |raw: Box<RawValue>| row_from_json(table, raw.get());
        let shown = match (json.shown.as_str(), json.content, json.counts) {
            ("written", Some(content), Some(counts)) => {
                let content = u64::from_str_radix(&content, 16).map_err(|error| malformed().caused_by(error))?;
                Shown::Written(Box::new(Written { content, counts: row(counts)? }))
            }
            ("withheld", ..) => Shown::Withheld,
            ("declined", ..) => Shown::Declined,
            _ => return Err(malformed()),
        };
        Ok(Self { own: json.own.map(row).transpose()?, shown })
    }
}

#[derive(Serialize, Deserialize)]
struct AbsorbedJson {
    own: Option<Box<RawValue>>,
    shown: String,
    content: Option<String>,
    counts: Option<Box<RawValue>>,
}

/// The own part of a file that was restored from a backup, and what was sent of it before:
/// of each counter what it had come to, with the rate that belongs to it; the content of
/// whichever was changed last.
fn both(table: &TableSpec, local: Option<Row>, sent: Option<Row>) -> Option<Row> {
    let (local, sent) = match (local, sent) {
        (Some(local), Some(sent)) => (local, sent),
        (one, other) => return one.or(other),
    };
    let content = if newer(table, &sent, &local) { &sent } else { &local };
    let mut values = content.values.clone();
    let count = |row: &Row, position: usize| match row.values[position] {
        Value::Int(number) => Some(number),
        _ => None,
    };
    for (position, column) in table.columns().iter().enumerate() {
        let counter = match &column.role {
            Role::Counter => Some(position),
            Role::Rate { weight } => table.position(weight.as_str()),
            _ => None,
        };
        let Some(counter) = counter else { continue };
        let further = if count(&sent, counter) > count(&local, counter) { &sent } else { &local };
        values[position] = further.values[position].clone();
    }
    let extra = content.extra.clone();
    Some(Row::new(table, values, extra))
}

/// Whether one row was changed after the other; content goes before none.
fn newer(table: &TableSpec, one: &Row, other: &Row) -> bool {
    let time = |row: &Row| {
        let of = |role| table.position_of_role(role).and_then(|at| moment(&row.values[at]));
        of(&Role::UpdatedAt).or_else(|| of(&Role::CreatedAt))
    };
    match (is_counts_only(one), is_counts_only(other)) {
        (true, false) => false,
        (false, true) => true,
        _ => time(one) > time(other),
    }
}

/// Whether the tool deleted the record and made another one with the same key.
fn made_anew(table: &TableSpec, local: &Row, before: &Row) -> bool {
    let created = |row: &Row| table.position_of_role(&Role::CreatedAt).and_then(|at| moment(&row.values[at]));
    matches!((created(local), created(before)), (Some(now), Some(then)) if now != then)
}

fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(moment) => Some(*moment),
        _ => None,
    }
}

fn times_differ(table: &TableSpec, local: &Row, before: &Row) -> bool {
    let pairs = table.columns().iter().zip(local.values.iter().zip(&before.values));
    pairs.into_iter().any(|(column, (now, then))| {
        column.kind == ColumnType::Timestamp && column.role != Role::CreatedAt && !crate::hash::same(now, then)
    })
}

/// `content` with the own counters and rates: what they were, and by how much they grew.
fn grown(table: &TableSpec, content: &Row, local: &Row, before: Option<&Row>, own: Option<&Row>) -> Row {
    let mut values = content.values.clone();
    for (position, column) in table.columns().iter().enumerate() {
        let at = |row: Option<&Row>, position: usize| row.map_or(Value::Null, |row| row.values[position].clone());
        match &column.role {
            Role::Counter => {
                let (now, then, own) = (at(Some(local), position), at(before, position), at(own, position));
                values[position] = counter(&now, &then, &own);
            }
            Role::Rate { weight } => {
                let Some(weight) = table.position(weight.as_str()) else { continue };
                let of = |row: Option<&Row>| Part::of(&at(row, position), &at(row, weight));
                values[position] = rate(of(Some(local)), of(before), of(own)).map_or(Value::Null, Value::Float);
            }
            Role::Content
            | Role::Confidence
            | Role::CreatedAt
            | Role::UpdatedAt
            | Role::Embedding
            | Role::SearchText => {}
        }
    }
    let extra = content.extra.clone();
    Row::new(table, values, extra)
}

fn counter(now: &Value, then: &Value, own: &Value) -> Value {
    let number = |value: &Value| match value {
        Value::Int(number) => Some(*number),
        _ => None,
    };
    match (number(now), number(then), number(own)) {
        (None, _, None) => Value::Null,
        (now, then, own) => {
            let growth = now.unwrap_or(0).saturating_sub(then.unwrap_or(0)).max(0);
            // Where nothing was written and nothing was own, the value is the tool's, whatever its sign.
            if then.is_none() && own.is_none() {
                return Value::Int(now.unwrap_or(0));
            }
            Value::Int(own.unwrap_or(0).saturating_add(growth))
        }
    }
}

/// A rate and how many events it stands for.
#[derive(Clone, Copy)]
struct Part {
    rate: Option<f64>,
    count: i64,
}

impl Part {
    fn of(rate: &Value, count: &Value) -> Self {
        let count = match count {
            Value::Int(count) => (*count).max(0),
            _ => 0,
        };
        Self { rate: rate.as_f64(), count }
    }

    /// The product and its rounding error.
    fn sum(self) -> (f64, f64) {
        let (rate, count) = (self.rate.unwrap_or(0.0), self.count as f64);
        let product = rate * count;
        (product, rate.mul_add(count, -product))
    }
}

fn rate(now: Part, then: Part, own: Part) -> Option<f64> {
    let same = now.count == then.count && now.rate.map(f64::to_bits) == then.rate.map(f64::to_bits);
    if same && own.rate.is_some() {
        return own.rate;
    }
    let count = own.count.saturating_add(now.count.saturating_sub(then.count).max(0));
    if count == 0 && then.count > 0 {
        // It stands for others' events only: not its own, and without weight.
        return own.rate.or(now.rate);
    }
    let none_before = then.count == 0 && own.count == 0;
    if none_before || count == 0 || !now.rate.is_some_and(super::merge::takes_part) {
        return now.rate;
    }
    let (parts, mut size) = ([(own, 1.0), (now, 1.0), (then, -1.0)], 0.0);
    let (mut sum, mut error) = (0.0, 0.0);
    for (part, sign) in parts {
        let (product, rounded) = part.sum();
        sum += sign * product;
        error += sign * rounded;
        size += product.abs();
    }
    let sum = sum + error;
    // Each rate is rounded to a double: so far may its sum be from the true one.
    let near = (sum - sum.round()).abs() <= 4.0 * f64::EPSILON * size;
    Some(if near { sum.round() } else { sum } / (count as f64))
}

/// What a local side remembers of rows that pulls wrote, by the key as the file gives it.
///
/// Calls are short and may block.
pub trait AbsorbedStore: Send + Sync {
    /// Whether there is anything for a table.
    ///
    /// # Errors
    /// When the store is not accessible.
    fn concerns(&self, table: &TableSpec) -> Result<bool>;

    /// What was written into the row with this key.
    ///
    /// # Errors
    /// As [`Self::concerns`].
    fn find(&self, table: &TableSpec, key: KeyHash) -> Result<Option<Absorbed>>;

    /// The own parts of rows that the file does not show: see [`Shown::Withheld`].
    ///
    /// # Errors
    /// As [`Self::concerns`].
    fn withheld(&self, table: &TableSpec) -> Result<Vec<Row>>;
}
