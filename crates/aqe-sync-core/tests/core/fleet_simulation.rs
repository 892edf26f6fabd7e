//! Environments that work, push and pull in any order come to the same numbers, and the
//! numbers are how often something really happened. Everything in memory: what a sink and
//! a hub do is a few lines here, what they compute is the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqe_sync_core::fleet::{Absorbed, Contribution, Pulled, Shown, Step, Written, merge};
use aqe_sync_core::{ColumnType, Environment, Role, Row, TableSpec, Timestamp, Value};
use proptest::prelude::*;

use crate::support::cases;

const KEYS: usize = 4;

pub(crate) fn table() -> Arc<TableSpec> {
    let table = TableSpec::builder("lessons")
        .key("id", ColumnType::Text)
        .column("body", ColumnType::Text)
        .role(Role::SearchText)
        .column("confidence", ColumnType::Float)
        .role(Role::Confidence)
        .counters(&["uses", "successes"])
        .rate("rate", "uses")
        .column("created_at", ColumnType::Timestamp)
        .role(Role::CreatedAt)
        .column("updated_at", ColumnType::Timestamp)
        .role(Role::UpdatedAt);
    table.build().expect("a table")
}

pub(crate) const BODY: usize = 1;
pub(crate) const CONFIDENCE: usize = 2;
pub(crate) const USES: usize = 3;
pub(crate) const SUCCESSES: usize = 4;
pub(crate) const RATE: usize = 5;
pub(crate) const UPDATED: usize = 7;

#[derive(Clone, Debug)]
enum Work {
    Insert { key: usize, confidence: u8 },
    Use { key: usize, success: bool },
    Edit { key: usize, confidence: u8 },
    Delete { key: usize },
    Push,
    Pull,
}

fn work() -> impl Strategy<Value = Work> {
    let key = 0..KEYS;
    prop_oneof![
        2 => (key.clone(), 0..10_u8).prop_map(|(key, confidence)| Work::Insert { key, confidence }),
        8 => (key.clone(), any::<bool>()).prop_map(|(key, success)| Work::Use { key, success }),
        1 => (key.clone(), 0..10_u8).prop_map(|(key, confidence)| Work::Edit { key, confidence }),
        1 => key.prop_map(|key| Work::Delete { key }),
        3 => Just(Work::Push),
        3 => Just(Work::Pull),
    ]
}

/// What really happened to a key in one environment, since it last made or took it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Life {
    uses: i64,
    successes: i64,
}

#[derive(Default)]
struct Place {
    rows: BTreeMap<usize, Row>,
    remembered: BTreeMap<usize, Absorbed>,
    /// What this environment did: keys that it deleted and did not make again are not here.
    lives: BTreeMap<usize, Life>,
    seen: BTreeMap<(usize, usize), i64>,
    /// Keys that this environment had, deleted and did not make again.
    deleted: BTreeSet<usize>,
    /// What had happened when a pull took a row away because its content was gone.
    withheld: BTreeMap<usize, Life>,
}

struct World {
    table: Arc<TableSpec>,
    places: Vec<Place>,
    hub: BTreeMap<(usize, usize), Contribution>,
    clock: i64,
}

impl World {
    fn new(places: usize) -> Self {
        Self {
            table: table(),
            places: (0..places).map(|_| Place::default()).collect(),
            hub: BTreeMap::new(),
            clock: 1_800_000_000_000_000,
        }
    }

    fn name(place: usize) -> Environment {
        Environment::new(format!("env-{place}"))
    }

    fn tick(&mut self) -> Value {
        self.clock += 1_000_000;
        Value::Timestamp(Timestamp::from_micros(self.clock).expect("in range"))
    }

    fn act(&mut self, place: usize, work: &Work) {
        let now = self.tick();
        match work {
            Work::Push => return self.push(place),
            Work::Pull => return self.pull(place),
            _ => {}
        }
        let table = Arc::clone(&self.table);
        let place_name = place;
        let place = &mut self.places[place];
        match work {
            Work::Insert { key, confidence } if !place.rows.contains_key(key) => {
                let values = vec![
                    Value::from(format!("k{key}").as_str()),
                    Value::from(format!("lesson {key} of {place_name}").as_str()),
                    Value::Float(f64::from(*confidence) / 10.0),
                    Value::Int(0),
                    Value::Int(0),
                    Value::Float(0.0),
                    now.clone(),
                    now,
                ];
                place.rows.insert(*key, Row::new(&table, values, None));
                // What it did with others' record, which is gone here, still happened.
                place.lives.entry(*key).or_default();
                place.deleted.remove(key);
            }
            Work::Use { key, success } => {
                let Some(row) = place.rows.get_mut(key) else { return };
                let mut values = row.values.clone();
                let (Value::Int(uses), Value::Int(successes)) = (&values[USES], &values[SUCCESSES]) else {
                    panic!("counters are numbers")
                };
                let (uses, successes) = (uses + 1, successes + i64::from(*success));
                values[USES] = Value::Int(uses);
                values[SUCCESSES] = Value::Int(successes);
                values[RATE] = Value::Float(successes as f64 / uses as f64);
                values[UPDATED] = now;
                *row = Row::new(&table, values, None);
                let life = place.lives.entry(*key).or_default();
                life.uses += 1;
                life.successes += i64::from(*success);
            }
            Work::Edit { key, confidence } => {
                let Some(row) = place.rows.get_mut(key) else { return };
                let mut values = row.values.clone();
                values[CONFIDENCE] = Value::Float(f64::from(*confidence) / 10.0 + 0.01);
                values[BODY] = Value::from(format!("{key} as {place_name} sees it, {confidence}").as_str());
                values[UPDATED] = now;
                *row = Row::new(&table, values, None);
                place.lives.entry(*key).or_default();
            }
            Work::Delete { key } if place.rows.remove(key).is_some() => {
                place.lives.remove(key);
                if let Some(Absorbed { shown: Shown::Withheld, .. }) = place.remembered.get(key) {
                    // Made and gone again between two syncs: as if it had never been.
                    place.lives.extend(place.withheld.get(key).map(|life| (*key, *life)));
                    return;
                }
                // What no sync ever saw nobody can tell from what was never there.
                if place.remembered.contains_key(key) || self.hub.contains_key(&(place_name, *key)) {
                    place.deleted.insert(*key);
                }
            }
            _ => {}
        }
    }

    /// What the engine sends: own parts that differ from what the hub has.
    fn push(&mut self, number: usize) {
        let place = &self.places[number];
        for key in 0..KEYS {
            let own = match (place.rows.get(&key), place.remembered.get(&key)) {
                (Some(row), Some(absorbed)) => absorbed.own(&self.table, row),
                (Some(row), None) => Some(row.clone()),
                (None, Some(Absorbed { own, shown: Shown::Withheld })) => own.clone(),
                (None, _) => None,
            };
            let known = self.hub.get(&(number, key));
            let version = known.map_or(0, |known| known.version) + 1;
            let (deleted, row) = match (own, known) {
                (Some(row), Some(known)) if !known.deleted && known.row.hash == row.hash => continue,
                (Some(row), _) => (false, row),
                (None, Some(known)) if !known.deleted => (true, known.row.clone()),
                (None, _) => continue,
            };
            self.hub.insert((number, key), Contribution { environment: Self::name(number), version, deleted, row });
        }
    }

    fn pull(&mut self, number: usize) {
        for key in 0..KEYS {
            let place = &mut self.places[number];
            let all: Vec<(usize, &Contribution)> =
                self.hub.iter().filter(|((_, of), _)| *of == key).map(|((env, _), one)| (*env, one)).collect();
            // What it changed itself is news to it when others have the key, too.
            let news = all.iter().any(|(env, one)| one.version > place.seen.get(&(*env, key)).copied().unwrap_or(0));
            let others = all.iter().any(|(env, _)| *env != number);
            if !news || !others {
                continue;
            }
            let others = all.iter().filter(|(env, one)| *env != number && !one.deleted).map(|(_, one)| (*one).clone());
            let pulled =
                Pulled { others: others.collect(), declined: self.hub.contains_key(&(number, key)), restored: None };
            for (env, one) in &all {
                place.seen.insert((*env, key), one.version);
            }
            let local = place.rows.get(&key);
            match Absorbed::step(&self.table, &Self::name(number), place.remembered.get(&key), local, &pulled) {
                Step::Leave => {}
                Step::Write { record, own } => {
                    let shown = Shown::Written(Box::new(Written::of(&self.table, &record.row)));
                    place.remembered.insert(key, Absorbed { own, shown });
                    place.rows.insert(key, record.row);
                }
                Step::Clear(remembered) => {
                    place.withheld.extend(place.lives.get(&key).map(|life| (key, *life)));
                    place.rows.remove(&key);
                    place.remembered.remove(&key);
                    place.remembered.extend(remembered.map(|entry| (key, entry)));
                }
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..4 {
            for place in 0..self.places.len() {
                self.push(place);
                self.pull(place);
            }
        }
    }

    /// What every environment has to show of a key.
    fn expected(&self, key: usize) -> Option<Row> {
        let all: Vec<Contribution> =
            self.hub.iter().filter(|((_, of), _)| *of == key).map(|(_, one)| one.clone()).collect();
        merge(&self.table, &all).map(|record| record.row)
    }

    fn check(&self) {
        for key in 0..KEYS {
            let expected = self.expected(key);
            let (mut uses, mut successes) = (0, 0);
            for place in &self.places {
                let life = place.lives.get(&key).copied().unwrap_or_default();
                (uses, successes) = (uses + life.uses, successes + life.successes);
            }
            for (number, place) in self.places.iter().enumerate() {
                if place.deleted.contains(&key) {
                    assert!(!place.rows.contains_key(&key), "{number} deleted {key} and it came back");
                    continue;
                }
                assert_eq!(place.rows.get(&key), expected.as_ref(), "environment {number}, key {key}");
            }
            if let Some(row) = expected {
                assert_eq!(row.values[USES], Value::Int(uses), "uses of {key}");
                assert_eq!(row.values[SUCCESSES], Value::Int(successes), "successes of {key}");
                if uses > 0 {
                    let Value::Float(rate) = row.values[RATE] else { panic!("a rate") };
                    let truth = successes as f64 / uses as f64;
                    let ulps = (rate - truth).abs() / (truth.max(f64::MIN_POSITIVE) * f64::EPSILON);
                    assert!(ulps <= self.places.len() as f64, "rate of {key}: {rate}, truly {truth}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn environments_converge_to_what_really_happened(
        places in 2..5_usize,
        steps in proptest::collection::vec((0..4_usize, work()), 1..80),
    ) {
        let mut world = World::new(places);
        for (place, work) in &steps {
            world.act(place % places, work);
        }
        world.settle();
        world.check();
        let before: BTreeMap<_, _> = world.hub.iter().map(|(at, one)| (*at, one.version)).collect();
        world.settle();
        let after: BTreeMap<_, _> = world.hub.iter().map(|(at, one)| (*at, one.version)).collect();
        prop_assert_eq!(before, after, "at rest nothing is sent any more");
        let environments: BTreeSet<_> = world.hub.keys().map(|(env, _)| env).collect();
        prop_assert!(environments.len() <= places);
    }
}
