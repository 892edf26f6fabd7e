//! How much goes into one delivery.

use aqe_sync_core::{Record, Value};

use crate::support::memory_source::MemorySource;
use crate::support::note::{With as _, note, notes, spec};
use crate::support::world::World;

/// How many changes each delivery held that a first run sends.
fn deliveries(rows: usize, bytes: usize, records: Vec<Record>) -> Vec<usize> {
    let world = World::with(|options| (options.limits.rows, options.limits.bytes) = (rows, bytes));
    world.run(&[&MemorySource::new("a.db", spec(notes()), records)]);
    world.sink.take_journal().pushed.into_iter().map(|(_, keys)| keys.len()).collect()
}

fn large(id: usize) -> Record {
    note(&id.to_string(), "x".repeat(400))
}

#[test]
fn a_delivery_goes_when_it_has_the_rows_or_the_bytes_of_the_limit() {
    let records = || (0..10).map(large).collect::<Vec<_>>();
    assert_eq!(deliveries(100, 1 << 20, records()), [10]);
    assert_eq!(deliveries(3, 1 << 20, records()), [3, 3, 3, 1]);
    assert_eq!(deliveries(100, 1000, records()), [2, 2, 2, 2, 2, 0], "and the last one closes the stream");
    assert_eq!(deliveries(0, 0, vec![large(1), large(2)])[..2], [1, 1], "no limit is below one record");
}

#[test]
fn dead_letters_count_towards_the_limit_of_bytes() {
    let nameless = |id| large(id).with("id", Value::Null);
    assert_eq!(deliveries(100, 1000, (0..9).map(nameless).collect())[..3], [0, 0, 0]);
    assert_eq!(deliveries(100, 1 << 20, (0..9).map(nameless).collect()), [0]);
}
