//! What happens when two versions of one record meet: pure, deterministic rules.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::hash::{same, same_json};
use crate::record::{Key, Row};
use crate::schema::Role;
use crate::{ContentHash, Contributor, Error, ErrorKind, Result, TableSpec, Value};

/// One of the two sides.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// Its content.
    pub row: &'a Row,
    /// Which stream it comes from.
    pub contributor: &'a Contributor,
    /// The rank of that stream among the environment's; higher goes first.
    pub priority: i32,
}

/// How the two versions came to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Two streams of one environment hold the same key.
    Meeting,
    /// The stored row is not the one the change was based on.
    Diverged {
        /// What the change was based on; `None` when the writer had seen nothing.
        base: Option<ContentHash>,
    },
}

/// Two versions of one record, of which one row has to come.
#[derive(Clone, Copy, Debug)]
pub struct Conflict<'a> {
    /// The table.
    pub table: &'a TableSpec,
    /// The record's key.
    pub key: &'a Key,
    /// The version that arrives.
    pub incoming: Version<'a>,
    /// The version that is stored.
    pub existing: Version<'a>,
    /// How they came to differ.
    pub kind: ConflictKind,
}

/// What a policy makes of a conflict.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// The arriving version replaces the stored one.
    Incoming(RuleName),
    /// The stored version stays.
    Existing(RuleName),
    /// A new row takes both into account.
    Merged(RuleName, Row),
    /// This policy has nothing to say (equal confidence, no times…).
    Undecided,
}

/// The rule that decided, as shown in plans and kept in `conflict_log`.
pub type RuleName = Cow<'static, str>;

/// Decides conflicts.
///
/// Must be pure and deterministic: the same conflict always has the same
/// resolution, and neither clock nor randomness takes part.
///
/// Closures are policies too:
/// ```
/// use aqe_sync_core::{Conflict, ConflictPolicy, Resolution};
///
/// let policy = |conflict: &Conflict<'_>| match conflict.table.name().as_str() {
///     "notes" => Resolution::Incoming("notes are mine".into()),
///     _ => Resolution::Undecided,
/// };
/// fn takes(_: impl ConflictPolicy) {}
/// takes(policy);
/// ```
pub trait ConflictPolicy: Send + Sync {
    /// Decides one conflict.
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution;
}

impl<F> ConflictPolicy for F
where
    F: Fn(&Conflict<'_>) -> Resolution + Send + Sync,
{
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        self(conflict)
    }
}

/// The built-in policies, by the names that the configuration uses.
///
/// ```
/// use aqe_sync_core::PolicySpec;
///
/// let policy: PolicySpec = "first_of(higher_confidence, newer_wins)".parse()?;
/// assert_eq!(policy.to_string(), "first_of(higher_confidence, newer_wins)");
/// # Ok::<(), aqe_sync_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicySpec {
    /// The later update time wins, failing that the later creation time.
    NewerWins,
    /// What arrives wins.
    LocalWins,
    /// What is stored stays.
    HubWins,
    /// The higher confidence wins.
    HigherConfidence,
    /// Counters add up, rates are averaged with their counters as weights, the
    /// rest comes from the more confident, then newer, then higher-ranking side.
    /// Only for [`ConflictKind::Meeting`]: adding up two versions of one and the
    /// same stream would count its history twice.
    WeightedMerge,
    /// What was written once stays.
    Immutable,
    /// The stream with the higher priority wins.
    SourcePriority,
    /// Where no column is filled on both sides with different values, the union.
    Complement,
    /// The first of several that decides.
    FirstOf(Vec<PolicySpec>),
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self::FirstOf(vec![Self::NewerWins, Self::SourcePriority])
    }
}

impl ConflictPolicy for PolicySpec {
    fn resolve(&self, conflict: &Conflict<'_>) -> Resolution {
        let rule = || Cow::Owned(self.to_string());
        match self {
            Self::NewerWins => [Role::UpdatedAt, Role::CreatedAt]
                .iter()
                .map(|role| larger(conflict, rule(), |row| role_value(conflict.table, row, role).and_then(moment)))
                .find(|resolution| *resolution != Resolution::Undecided)
                .unwrap_or(Resolution::Undecided),
            Self::LocalWins => Resolution::Incoming(rule()),
            Self::HubWins | Self::Immutable => Resolution::Existing(rule()),
            Self::HigherConfidence => larger(conflict, rule(), |row| {
                role_value(conflict.table, row, &Role::Confidence).and_then(Value::as_f64)
            }),
            Self::WeightedMerge => match conflict.kind {
                ConflictKind::Meeting => Resolution::Merged(rule(), weighted_merge(conflict)),
                ConflictKind::Diverged { .. } => Resolution::Undecided,
            },
            Self::SourcePriority => match conflict.incoming.priority.cmp(&conflict.existing.priority) {
                std::cmp::Ordering::Greater => Resolution::Incoming(rule()),
                std::cmp::Ordering::Less => Resolution::Existing(rule()),
                std::cmp::Ordering::Equal => Resolution::Undecided,
            },
            Self::Complement => match complement(conflict) {
                Some(row) => Resolution::Merged(rule(), row),
                None => Resolution::Undecided,
            },
            Self::FirstOf(policies) => policies
                .iter()
                .map(|policy| policy.resolve(conflict))
                .find(|resolution| *resolution != Resolution::Undecided)
                .unwrap_or(Resolution::Undecided),
        }
    }
}

/// Asks `policy`, and decides what it leaves open: a diverged change wins, as
/// newer local beats older hub; of two streams that meet, the higher-ranking
/// one, then the smaller content hash, so that no order of arrival matters.
/// Never [`Resolution::Undecided`].
pub fn decide(policy: &dyn ConflictPolicy, conflict: &Conflict<'_>) -> Resolution {
    match policy.resolve(conflict) {
        Resolution::Undecided => {}
        decided => return decided,
    }
    if matches!(conflict.kind, ConflictKind::Diverged { .. }) {
        return PolicySpec::LocalWins.resolve(conflict);
    }
    match PolicySpec::SourcePriority.resolve(conflict) {
        Resolution::Undecided if conflict.incoming.row.hash < conflict.existing.row.hash => {
            Resolution::Incoming("content_hash".into())
        }
        Resolution::Undecided => Resolution::Existing("content_hash".into()),
        decided => decided,
    }
}

fn role_value<'r>(table: &TableSpec, row: &'r Row, role: &Role) -> Option<&'r Value> {
    table.position_of_role(role).map(|position| &row.values[position])
}

fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Timestamp(moment) => Some(moment.as_micros()),
        _ => None,
    }
}

/// A side that has a value beats one that has none.
fn larger<T: PartialOrd>(conflict: &Conflict<'_>, rule: RuleName, measure: impl Fn(&Row) -> Option<T>) -> Resolution {
    match (measure(conflict.incoming.row), measure(conflict.existing.row)) {
        (Some(incoming), Some(existing)) if incoming > existing => Resolution::Incoming(rule),
        (Some(incoming), Some(existing)) if incoming < existing => Resolution::Existing(rule),
        (Some(_), None) => Resolution::Incoming(rule),
        (None, Some(_)) => Resolution::Existing(rule),
        _ => Resolution::Undecided,
    }
}

fn weighted_merge(conflict: &Conflict<'_>) -> Row {
    let content = PolicySpec::FirstOf(vec![PolicySpec::HigherConfidence, PolicySpec::NewerWins]);
    let (winner, other) = match decide(&content, conflict) {
        Resolution::Incoming(_) => (conflict.incoming.row, conflict.existing.row),
        _ => (conflict.existing.row, conflict.incoming.row),
    };
    let table = conflict.table;
    let mut values = winner.values.clone();
    for (position, column) in table.columns().iter().enumerate() {
        let pair = (&winner.values[position], &other.values[position]);
        values[position] = match &column.role {
            Role::Counter => add(pair),
            Role::Rate { weight } => {
                let weight = table.position(weight.as_str());
                let weigh = |row: &Row| weight.and_then(|weight| row.values[weight].as_f64()).unwrap_or(0.0);
                average(pair, weigh(winner), weigh(other))
            }
            Role::CreatedAt => earlier(pair),
            Role::UpdatedAt => later(pair),
            Role::Content | Role::Confidence | Role::Embedding | Role::SearchText => pair.0.clone(),
        };
    }
    Row::new(table, values, winner.extra.clone())
}

fn add((one, other): (&Value, &Value)) -> Value {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Value::Int(one.saturating_add(*other)),
        (Value::Null, other) => other.clone(),
        (one, _) => one.clone(),
    }
}

fn average((one, other): (&Value, &Value), one_weight: f64, other_weight: f64) -> Value {
    match (one.as_f64(), other.as_f64()) {
        (Some(a), Some(b)) if one_weight + other_weight > 0.0 => {
            Value::Float(weighted_mean(a, one_weight, b, other_weight))
        }
        (None, Some(_)) => other.clone(),
        _ => one.clone(),
    }
}

/// The mean of two averages, weighed by how many events each stands for; it
/// lies between them. Weights are not negative and not both zero.
pub fn weighted_mean(one: f64, one_weight: f64, other: f64, other_weight: f64) -> f64 {
    // What stands for no event does not count, not even when it is infinite.
    if other_weight <= 0.0 {
        return one;
    }
    if one_weight <= 0.0 {
        return other;
    }
    let sum = one * one_weight + other * other_weight;
    let mean = if sum.is_finite() {
        sum / (one_weight + other_weight)
    } else {
        let total = one_weight + other_weight;
        one * (one_weight / total) + other * (other_weight / total)
    };
    // Opposite infinities have no mean.
    if mean.is_nan() { one } else { mean.clamp(one.min(other), one.max(other)) }
}

fn earlier((one, other): (&Value, &Value)) -> Value {
    timed([one, other]).min_by_key(|value| moment(value)).unwrap_or(one).clone()
}

fn later((one, other): (&Value, &Value)) -> Value {
    timed([one, other]).max_by_key(|value| moment(value)).unwrap_or(one).clone()
}

fn timed(values: [&Value; 2]) -> impl Iterator<Item = &Value> {
    values.into_iter().filter(|value| moment(value).is_some())
}

/// The union, if the two sides contradict each other nowhere.
fn complement(conflict: &Conflict<'_>) -> Option<Row> {
    let (incoming, existing) = (conflict.incoming.row, conflict.existing.row);
    let pairs = existing.values.iter().zip(&incoming.values);
    let values = pairs.map(|(one, other)| match (one, other) {
        (Value::Null, other) => Some(other.clone()),
        (one, Value::Null) => Some(one.clone()),
        (one, other) => same(one, other).then(|| one.clone()),
    });
    let values = values.collect::<Option<Vec<_>>>()?;
    let extra = match (&existing.extra, &incoming.extra) {
        (None, extra) | (extra, None) => extra.clone(),
        (Some(one), Some(other)) => same_json(one, other).then(|| Some(one.clone()))?,
    };
    Some(Row::new(conflict.table, values, extra))
}

const NAMES: [(&str, PolicySpec); 8] = [
    ("newer_wins", PolicySpec::NewerWins),
    ("local_wins", PolicySpec::LocalWins),
    ("hub_wins", PolicySpec::HubWins),
    ("higher_confidence", PolicySpec::HigherConfidence),
    ("weighted_merge", PolicySpec::WeightedMerge),
    ("immutable", PolicySpec::Immutable),
    ("source_priority", PolicySpec::SourcePriority),
    ("complement", PolicySpec::Complement),
];

impl fmt::Display for PolicySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::FirstOf(policies) = self {
            let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
            return write!(f, "first_of({})", names.join(", "));
        }
        let name = NAMES.iter().find(|(_, policy)| policy == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for PolicySpec {
    type Err = Error;

    /// A `first_of` inside another means the same as its members in its place.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let unknown = || {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            Error::new(ErrorKind::Invalid, format!("{text:?} is not a conflict policy"))
                .advice(format!("use one of {}, or first_of(a, b, …)", known.join(", ")))
        };
        let named = |name: &str| NAMES.iter().find(|(known, _)| *known == name).map(|(_, policy)| policy.clone());
        if let Some(policy) = named(text) {
            return Ok(policy);
        }
        let (mut policies, mut depth, mut rest) = (Vec::new(), 0_usize, text);
        loop {
            while let Some(inside) = rest.strip_prefix("first_of(") {
                (rest, depth) = (inside.trim_start(), depth + 1);
            }
            let end = rest.find([',', '(', ')']).unwrap_or(rest.len());
            policies.push(named(rest[..end].trim()).ok_or_else(unknown)?);
            rest = &rest[end..];
            while let Some(after) = rest.strip_prefix(')').filter(|_| depth > 0) {
                (rest, depth) = (after.trim_start(), depth - 1);
            }
            match rest.strip_prefix(',') {
                Some(next) if depth > 0 => rest = next.trim_start(),
                _ if depth == 0 && rest.is_empty() && text.starts_with("first_of(") => {
                    return Ok(Self::FirstOf(policies));
                }
                _ => return Err(unknown()),
            }
        }
    }
}
