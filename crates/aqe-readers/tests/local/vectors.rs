//! Vectors of the embedded hub: what is kept, replaced and removed in any order is what is found.

use std::collections::BTreeMap;

use aqe_readers::EmbeddedHub;
use aqe_sync_core::embed::{Embedded, Filter, Near, Nearest, TextHash, VectorHub as _};
use aqe_sync_core::{Environment, ErrorKind, Key, Value, tables};
use fastrand::Rng;
use futures::executor::block_on;

const MODEL: &str = "test/1";

fn vector(random: &mut Rng, dimension: usize) -> Vec<f32> {
    let vector: Vec<f32> = (0..dimension).map(|_| random.f32() - 0.5).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter().map(|number| number / length).collect()
}

fn key(number: u64) -> Key {
    Key::new(vec![Value::from(format!("pattern-{number}").as_str())])
}

fn keep(hub: &EmbeddedHub, environment: &str, rows: Vec<Embedded>) -> aqe_sync_core::Result<()> {
    let table = tables::find("qe_patterns").expect("it is in the catalogue");
    block_on(hub.keep_vectors(MODEL, table, &Environment::new(environment), rows, None))
}

fn nearest(hub: &EmbeddedHub, vector: &[f32], environment: Option<&str>, limit: usize, exact: bool) -> Vec<Near> {
    let environments = environment.into_iter().map(Environment::new).collect();
    let filter = Filter { environments, ..Filter::default() };
    let (model, vector) = (MODEL.to_owned(), vector.to_vec());
    block_on(hub.nearest(Nearest { model, vector, filter, limit, exact })).expect("an answer")
}

type Kept = BTreeMap<(&'static str, u64), Vec<f32>>;

fn as_kept(found: Vec<Near>) -> BTreeMap<(String, String), Vec<f32>> {
    let name = |near: &Near| (near.place.environment.as_str().to_owned(), near.place.key.to_json());
    found.into_iter().map(|near| (name(&near), near.vector)).collect()
}

fn assert_finds(hub: &EmbeddedHub, kept: &Kept, question: &[f32]) {
    for environment in [None, Some("one"), Some("two")] {
        let wanted = kept.iter().filter(|((name, _), _)| environment.is_none_or(|wanted| wanted == *name));
        let wanted: BTreeMap<_, _> = wanted
            .map(|((environment, number), vector)| {
                (((*environment).to_owned(), key(*number).to_json()), vector.clone())
            })
            .collect();
        for exact in [false, true] {
            let found = nearest(hub, question, environment, kept.len() + 1, exact);
            assert_eq!(as_kept(found), wanted, "{environment:?} {exact}");
        }
        let few = |exact| as_kept(nearest(hub, question, environment, 5, exact));
        assert_eq!(few(false), few(true));
    }
    let models = block_on(hub.models()).expect("known");
    assert_eq!(models.iter().map(|(_, count)| *count).sum::<u64>(), kept.len() as u64);
}

#[test]
fn what_was_kept_replaced_and_removed_in_any_order_is_what_is_found() {
    for seed in 0..6 {
        let folder = tempfile::tempdir().expect("a folder");
        let hub = EmbeddedHub::open(&folder.path().join("hub.db")).expect("a hub");
        let mut random = Rng::with_seed(seed);
        let mut kept = Kept::new();
        for _ in 0..30 {
            let environment = if random.bool() { "one" } else { "two" };
            // At first it grows over several blocks, then shrinks to none.
            let gone = random.f32();
            let rows: BTreeMap<u64, Option<Vec<f32>>> = (0..random.usize(1..40))
                .map(|_| (random.u64(..200), (random.f32() > gone).then(|| vector(&mut random, 16))))
                .collect();
            let embedded = rows.iter().map(|(number, vector)| Embedded {
                key: key(*number),
                content: vector.clone().map(|vector| (TextHash(u128::from(*number)), vector)),
                words: vec![format!("word{number}")],
            });
            keep(&hub, environment, embedded.collect()).expect("kept");
            for (number, vector) in rows {
                match vector {
                    Some(vector) => kept.insert((environment, number), vector),
                    None => kept.remove(&(environment, number)),
                };
            }
            assert_finds(&hub, &kept, &vector(&mut random, 16));
        }
        let all = |environment| {
            let row = |number| Embedded { key: key(number), content: None, words: Vec::new() };
            keep(&hub, environment, (0..200).rev().map(row).collect()).expect("removed");
        };
        all("one");
        all("two");
        assert_finds(&hub, &Kept::new(), &vector(&mut random, 16));
        let blocks = rusqlite::Connection::open(folder.path().join("hub.db")).expect("opened");
        let left: u64 = blocks.query_row("SELECT count(*) FROM vector_blocks", [], |row| row.get(0)).expect("asked");
        assert_eq!(left, 0, "nobody's blocks are kept");
    }
}

#[test]
fn vectors_of_another_length_under_the_same_name_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = EmbeddedHub::open(&folder.path().join("hub.db")).expect("a hub");
    let mut random = Rng::with_seed(1);
    let mut row = |number: u64, dimension| Embedded {
        key: key(number),
        content: Some((TextHash(u128::from(number)), vector(&mut random, dimension))),
        words: Vec::new(),
    };
    keep(&hub, "one", vec![row(1, 16)]).expect("kept");
    let error = keep(&hub, "one", vec![row(2, 16), row(3, 8)]).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("there are 16, this one has 8"), "{error}");
    assert_eq!(nearest(&hub, &vector(&mut Rng::with_seed(2), 16), None, 10, false).len(), 1);
}
