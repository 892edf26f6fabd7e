//! Rows to search, and a model that needs no weights.

use std::sync::Arc;

use aqe_sync_core::embed::{Filled, Filling, VectorHub, fill};
use aqe_sync_core::search::words_of;
use aqe_sync_core::{
    Change, ContentHash, Embedder, Key, Operation, Pushed, Result, Row, Sink, TableSpec, Value, tables,
};
use futures::executor::block_on;

use crate::sink_world::{delivery, stream};

/// Counts words, each in one of 48 places: texts with words in common are near.
pub(crate) struct WordCounts {
    id: &'static str,
}

impl WordCounts {
    pub(crate) const DIMENSION: usize = 48;

    pub(crate) fn new() -> Self {
        Self { id: "word-counts/1" }
    }

    pub(crate) fn named(id: &'static str) -> Self {
        Self { id }
    }
}

impl Embedder for WordCounts {
    fn dimension(&self) -> usize {
        Self::DIMENSION
    }

    fn model_id(&self) -> &str {
        self.id
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let vector = |text: &&str| {
            let mut counts = vec![0.01_f32; Self::DIMENSION];
            for word in words_of(text, &Key::new(Vec::new())) {
                let place = word.bytes().fold(17_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
                counts[place % Self::DIMENSION] += 1.0;
            }
            counts
        };
        Ok(texts.iter().map(vector).collect())
    }
}

pub(crate) fn patterns() -> &'static Arc<TableSpec> {
    tables::find("qe_patterns").expect("it is in the catalogue")
}

/// A pattern with some of its columns.
pub(crate) fn pattern(id: &str, name: &str, description: &str, domain: &str, confidence: f64, uses: i64) -> Row {
    let table = patterns();
    let mut values = vec![Value::Null; table.columns().len()];
    for (column, value) in [
        ("id", Value::from(id)),
        ("name", Value::from(name)),
        ("description", Value::from(description)),
        ("domain", Value::from(domain)),
        ("confidence", Value::Float(confidence)),
        ("usage_count", Value::Int(uses)),
    ] {
        values[table.position(column).expect("a column")] = value;
    }
    Row::new(table, values, None)
}

pub(crate) fn memory(key: &str, text: &str) -> Row {
    let table = tables::find("memory_entries").expect("it is in the catalogue");
    let mut values = vec![Value::Null; table.columns().len()];
    let json = aqe_sync_core::Json::from_text(serde_json::Value::from(text).to_string());
    for (column, value) in
        [("scope", "".into()), ("partition", "default".into()), ("key", key.into()), ("value", Value::Json(json))]
    {
        values[table.position(column).expect("a column")] = value;
    }
    Row::new(table, values, None)
}

/// Writes rows of one environment; with a base they take the place of what is there.
pub(crate) fn put<H: Sink>(hub: &H, environment: &str, table: &str, rows: Vec<(Row, Option<ContentHash>)>) {
    let table = tables::find(table).expect("it is in the catalogue");
    let change = |(row, base): (Row, Option<ContentHash>)| Change {
        key: row.key(table),
        operation: Operation::Upsert(row),
        base,
    };
    send(hub, environment, table, rows.into_iter().map(change).collect());
}

pub(crate) fn delete<H: Sink>(hub: &H, environment: &str, table: &str, row: &Row) {
    let table = tables::find(table).expect("it is in the catalogue");
    let change = Change { key: row.key(table), operation: Operation::Delete, base: Some(row.hash) };
    send(hub, environment, table, vec![change]);
}

fn send<H: Sink>(hub: &H, environment: &str, table: &Arc<TableSpec>, changes: Vec<Change>) {
    block_on(hub.prepare(table)).unwrap();
    let id = stream(environment, "a.db", table.name().as_str());
    match block_on(hub.push(&id, table, delivery(changes))).unwrap() {
        Pushed::Committed(..) => {}
        Pushed::Contested { applied, .. } => panic!("contested: {applied:?}"),
    }
}

pub(crate) fn embed<H: VectorHub>(hub: &H, embedder: &dyn Embedder) -> Filled {
    block_on(fill(hub, tables::all(), embedder, &Filling::default(), |_| {})).unwrap()
}

/// Three environments with patterns and memories, some of which are the same.
pub(crate) fn filled<H: Sink + VectorHub>(hub: &H) {
    const WHAT: [&str; 8] = ["login", "checkout", "search", "cart", "invoice", "profile", "upload", "report"];
    const HOW: [&str; 7] = ["retry", "mock", "snapshot", "boundary", "fuzz", "coverage", "isolation"];
    for (number, environment) in ["ci", "laptop", "müller"].into_iter().enumerate() {
        let mut rows = Vec::new();
        for (a, what) in WHAT.into_iter().enumerate() {
            for (b, how) in HOW.into_iter().enumerate() {
                let id = format!("pat-{a}-{b}");
                let said = format!("{how} the {what} page, step {}", (a * b + number % 2) % 5);
                let confidence = ((a + b + number) % 10) as f64 / 10.0;
                rows.push((
                    pattern(&id, &format!("{how} {what}"), &said, what, confidence, i64::try_from(a * b).unwrap()),
                    None,
                ));
            }
        }
        put(hub, environment, "qe_patterns", rows);
        let memories = (0..40)
            .map(|n| (memory(&format!("run/{environment}/{n}"), &format!("{} failed at {n}", WHAT[n % 8])), None));
        put(hub, environment, "memory_entries", memories.collect());
    }
    put(hub, "laptop", "memory_entries", vec![(memory("notes/refreshJwtToken", "call rotateKeys42 first"), None)]);
    // A row without any text of its own but its key, and one with hostile text.
    put(
        hub,
        "ci",
        "memory_entries",
        vec![(memory("x", ""), None), (memory("'; DROP TABLE aqe.vectors; --", "\"}{,\\ \u{1}\u{feff}😀\n"), None)],
    );
}
