//! `AQE_SIM_STEPS` says how long (400 unless told), `AQE_SIM_SEED` replays a run.

use std::sync::Arc;

use aqe_readers::EmbeddedHub;
use aqe_sync_core::fleet::{Contribution, FleetHub as _, merge};
use aqe_sync_core::{Key, Value, tables};
use fastrand::Rng;
use futures::executor::block_on;
use tempfile::TempDir;

use crate::place::{Place, Shown};

const KEYS: usize = 5;

struct World {
    _folder: TempDir,
    hub: Arc<EmbeddedHub>,
    places: Vec<Place>,
    rng: Rng,
    clock: u64,
    /// How often each thing happened, so that nothing is tested by not happening.
    happened: [u64; 12],
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let hub = Arc::new(EmbeddedHub::open(&folder.path().join("hub.db")).expect("opened"));
        let places = (0..rng.usize(2..=5)).map(|number| Place::new(&format!("env-{number}"))).collect();
        Self { _folder: folder, hub, places, rng, clock: 0, happened: [0; 12] }
    }

    fn step(&mut self) {
        const KINDS: [usize; 23] = [0, 0, 1, 1, 1, 1, 1, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7, 8, 9, 10, 11];
        let kind = KINDS[self.rng.usize(..KINDS.len())];
        self.clock += 60;
        let (number, moment) = (self.rng.usize(..self.places.len()), self.clock);
        let id = format!("p{}", self.rng.usize(..KEYS));
        let (confidence, success) = (f64::from(self.rng.u8(..10)) / 10.0, self.rng.bool());
        let (push, take, patience) = (self.rng.bool(), self.rng.bool(), self.rng.usize(..60));
        let hub = Arc::clone(&self.hub);
        let sent = self.contributions(&id).iter().any(|one| one.environment == self.places[number].environment);
        let place = &mut self.places[number];
        let mut happened = true;
        match kind {
            0 => place.insert(&id, confidence, moment),
            1 => place.use_it(&id, success, moment),
            2 => place.edit(&id, confidence, moment),
            3 => place.delete(&id, sent),
            4 => happened = place.sync(&hub, true, false, false, usize::MAX),
            5 => happened = place.sync(&hub, false, true, false, usize::MAX),
            6 => happened = place.sync(&hub, true, true, success, usize::MAX),
            // Ended where it stands.
            7 => happened = !place.sync(&hub, push, take || !push, success, patience),
            8 => place.lose_ledger(),
            9 => place.lose_state(),
            10 => place.back_up(),
            _ => happened = place.roll_back(&hub),
        }
        self.happened[kind] += u64::from(happened);
        let place = &self.places[number];
        if number_of("AQE_SIM_SEED").is_some() {
            let (file, truth) = (place.shown(&id), place.truth.lives.get(&id));
            println!("{kind} ({happened}) {}: {id} is {file:?}, truly {truth:?}", place.environment);
        }
    }

    fn contributions(&self, id: &str) -> Vec<Contribution> {
        let table = tables::find("qe_patterns").expect("a table");
        let all = block_on(self.hub.contributions(table, vec![Key::new(vec![id.into()])])).expect("read");
        all.into_iter().flatten().collect()
    }

    /// What every environment has to show of a key.
    fn expected(&self, id: &str) -> Option<Shown> {
        let table = tables::find("qe_patterns").expect("a table");
        let record = merge(table, &self.contributions(id))?;
        let value = |column| &record.row.values[table.position(column).expect("a column")];
        let number = |column| match value(column) {
            Value::Int(number) => *number,
            other => panic!("{column} is {other}"),
        };
        Some(Shown {
            name: value("name").as_text().expect("text").to_owned(),
            confidence: value("confidence").as_f64().expect("a number"),
            uses: number("usage_count"),
            successes: number("successful_uses"),
            rate: value("success_rate").as_f64().expect("a number"),
        })
    }

    fn settle(&mut self) {
        for _ in 0..3 {
            for place in &mut self.places {
                assert!(place.sync(&self.hub, true, true, false, usize::MAX));
            }
        }
    }

    fn check(&self) {
        for number in 0..KEYS {
            let id = format!("p{number}");
            let expected = self.expected(&id);
            for place in &self.places {
                if place.truth.deleted.contains(&id) {
                    assert_eq!(place.shown(&id), None, "{} deleted {id} and it came back", place.environment);
                } else {
                    assert_eq!(place.shown(&id), expected, "{} shows {id}", place.environment);
                }
            }
            let Some(shown) = expected else { continue };
            let lives = self.places.iter().filter_map(|place| place.truth.lives.get(&id));
            let (uses, successes) =
                lives.fold((0, 0), |(uses, successes), life| (uses + life.uses, successes + life.successes));
            assert_eq!((shown.uses, shown.successes), (uses, successes), "what happened to {id}");
            if uses > 0 {
                let truth = successes as f64 / uses as f64;
                let ulps = (shown.rate - truth).abs() / (truth.max(f64::MIN_POSITIVE) * f64::EPSILON);
                assert!(ulps <= self.places.len() as f64, "the rate of {id} is {}, truly {truth}", shown.rate);
            }
        }
        self.places.iter().for_each(Place::is_sound);
    }
}

fn number_of(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "how long to run, and what to replay")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn environments_converge_to_what_really_happened() {
    let steps = number_of("AQE_SIM_STEPS").unwrap_or(400);
    let replayed = number_of("AQE_SIM_SEED");
    let mut happened = [0; 12];
    // The same worlds every time, unless a longer run is asked for.
    let asked = number_of("AQE_SIM_STEPS").is_some();
    let (mut done, mut seeds) = (0, if asked { Rng::new() } else { Rng::with_seed(1) });
    while done < steps {
        let seed = replayed.unwrap_or_else(|| seeds.u64(..));
        println!("AQE_SIM_SEED={seed}");
        let mut world = World::new(seed);
        for round in 0..4 {
            for _ in 0..20 {
                world.step();
            }
            println!("round {round}");
            world.settle();
            world.check();
        }
        done += 80;
        happened.iter_mut().zip(world.happened).for_each(|(all, of_one)| *all += of_one);
        if replayed.is_some() {
            break;
        }
    }
    println!("what happened, by kind: {happened:?}");
    assert!(replayed.is_some() || happened.iter().all(|count| *count > 0), "{happened:?}");
}
