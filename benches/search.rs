//! Searching many vectors: `cargo bench --bench search -- [VECTORS] [ROUNDS]`.
//!
//! An embedded hub with so many made-up vectors of 384 numbers, words included, in 20 environments.
//! Vectors lie in bundles, as those of texts do. Measured: the nearest ten by the codes, by all
//! vectors, and a whole search by meaning and words; each for other questions every round.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::Instant;

use aqe_readers::EmbeddedHub;
use aqe_sync_core::embed::{Embedded, Filter, Nearest, TextHash, VectorHub as _};
use aqe_sync_core::search::{Query, search};
use aqe_sync_core::{
    Change, Checkpoint, Delivery, Embedder, Operation, Result, Row, Sink as _, StreamId, TableSpec, Timestamp, Value,
    tables,
};
use fastrand::Rng;
use futures::executor::block_on;

const DIMENSION: usize = 384;
const MODEL: &str = "bench/1";
const BATCH: usize = 5_000;

fn main() {
    let arguments: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let vectors = arguments.first().copied().unwrap_or(200_000);
    let rounds = arguments.get(1).copied().unwrap_or(15);
    let folder = tempfile::tempdir().expect("a folder");
    let hub = EmbeddedHub::open(&folder.path().join("hub.db")).expect("a hub");
    let begun = Instant::now();
    fill(&hub, vectors);
    let size = std::fs::metadata(folder.path().join("hub.db")).map_or(0, |file| file.len());
    println!("{vectors} vectors kept in {:.1} s, {} MB", begun.elapsed().as_secs_f64(), size / 1_000_000);
    let mut random = Rng::with_seed(7);
    let questions: Vec<Vec<f32>> = (0..rounds).map(|_| vector(&mut random, vectors)).collect();
    for (name, exact) in [("nearest ten by the codes", false), ("nearest ten by all vectors", true)] {
        measure(name, &questions, |question| {
            let (model, vector, filter) = (MODEL.to_owned(), question.to_vec(), Filter::default());
            let query = Nearest { model, vector, filter, limit: 10, exact };
            assert_eq!(block_on(hub.nearest(query)).expect("an answer").len(), 10);
        });
    }
    measure("a whole search", &questions, |question| {
        let model = Fixed(question.to_vec());
        let number = question[0].to_bits() as usize % vectors;
        let query = Query::text(format!("what word{} means for w{} on a page", number % 5_000, number % 97));
        let answer = block_on(search(&hub, tables::all(), Some(&model), &query)).expect("an answer");
        assert_eq!(answer.hits.len(), 10);
    });
}

fn measure(name: &str, questions: &[Vec<f32>], mut each: impl FnMut(&[f32])) {
    let mut times: Vec<f64> = questions
        .iter()
        .map(|question| {
            let begun = Instant::now();
            each(question);
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (first, middle, last) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{name}: median {middle:.1} ms ({first:.1} to {last:.1})");
}

/// A model that says one vector, whatever the text.
struct Fixed(Vec<f32>);

impl Embedder for Fixed {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn model_id(&self) -> &'static str {
        MODEL
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        Ok(vec![self.0.clone(); texts.len()])
    }
}

/// Near one of many centres.
fn vector(random: &mut Rng, of: usize) -> Vec<f32> {
    let mut centre = Rng::with_seed(random.u64(..(of as u64 / 50).max(1)));
    let mut vector: Vec<f32> = (0..DIMENSION).map(|_| centre.f32() - 0.5 + (random.f32() - 0.5) * 0.8).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    for number in &mut vector {
        *number /= length;
    }
    vector
}

fn fill(hub: &EmbeddedHub, vectors: usize) {
    let table = tables::find("qe_patterns").expect("it is in the catalogue");
    block_on(hub.prepare(table)).expect("prepared");
    let mut random = Rng::with_seed(1);
    for (batch, begin) in (0..vectors).step_by(BATCH).enumerate() {
        let environment = format!("env-{}", batch % 20);
        let rows: Vec<Row> = (begin..vectors.min(begin + BATCH)).map(|number| row(table, number)).collect();
        let embedded = rows.iter().enumerate().map(|(at, row)| {
            let words = (0..12).map(|word| format!("word{}", (begin + at) * (word + 1) % 5_000));
            let words = words.chain([format!("w{}", at % 97), "page".to_owned()]).collect();
            let content = Some((TextHash((begin + at) as u128), vector(&mut random, vectors)));
            Embedded { key: row.key(table), content, words }
        });
        let embedded = embedded.collect();
        send(hub, &environment, table, rows);
        block_on(hub.keep_vectors(MODEL, table, &environment.as_str().into(), embedded, Some(1))).expect("kept");
    }
}

fn row(table: &TableSpec, number: usize) -> Row {
    let mut values = vec![Value::Null; table.columns().len()];
    values[0] = Value::from(format!("pattern-{number}").as_str());
    values[table.position("name").expect("a column")] = Value::from(format!("pattern number {number}").as_str());
    Row::new(table, values, None)
}

fn send(hub: &EmbeddedHub, environment: &str, table: &Arc<TableSpec>, rows: Vec<Row>) {
    let stream = StreamId { environment: environment.into(), source: "bench".into(), stream: "patterns".into() };
    let change = |row: Row| Change { key: row.key(table), operation: Operation::Upsert(row), base: None };
    let checkpoint =
        Checkpoint { run_id: "bench".into(), at: Timestamp::now(), complete: false, instance: "here".into() };
    let delivery = Delivery { changes: rows.into_iter().map(change).collect(), letters: Vec::new(), checkpoint };
    assert!(block_on(hub.push(&stream, table, delivery)).is_ok(), "sent");
}
