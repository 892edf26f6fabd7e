//! Embedding and searching on every kind of hub: all give the same answers.

use std::collections::BTreeSet;

use aqe_cloud::postgres::PostgresHub;
use aqe_readers::EmbeddedHub;
use aqe_sync_core::embed::{Filled, Filling, Nearest, VectorHub, fill, pending};
use aqe_sync_core::search::{Answer, Query, Similar, recall, search, similar};
use aqe_sync_core::{Embedder, ErrorKind, Key, Sink, Value, tables};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::vectors;
use futures::executor::block_on;

use crate::isolation_world::World;
use crate::search_world::{WordCounts, delete, embed, filled, memory, pattern, patterns, put};
use crate::sink_world::hub;

fn ask<H: VectorHub>(hub: &H, query: &Query) -> Answer {
    block_on(search(hub, tables::all(), Some(&WordCounts::new()), query)).unwrap()
}

/// An answer as far as hubs may not differ: which rows, how near, in which order.
fn essence(answer: &Answer) -> Vec<String> {
    let hits = answer.hits.iter().map(|hit| {
        let similarity = hit.similarity.map(|similarity| format!("{similarity:.6}"));
        format!(
            "{} {} {} {similarity:?} {:.9} {} {:?} {:?} {:?}",
            hit.place.table,
            hit.place.environment,
            hit.place.key,
            hit.score,
            hit.has_words,
            hit.confidence,
            hit.uses,
            hit.text
        )
    });
    hits.collect()
}

fn queries() -> Vec<Query> {
    let text = Query::text;
    let like = |key: &str| Query::like(Some("qe_patterns"), Key::new(vec![Value::from(key)]));
    let of = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    vec![
        text("retry the login page"),
        text("fuzz boundary checkout"),
        text("rotateKeys42"),
        text("refreshJwtToken"),
        text("run/müller/7"),
        text("'; DROP TABLE aqe.vectors; --"),
        text("😀"),
        text("the"),
        text("nothing of this kind occurs anywhere"),
        Query { count: 3, ..text("mock the cart") },
        Query { count: 200, ..text("snapshot") },
        Query { min_confidence: Some(0.8), ..text("coverage of the report page") },
        Query { min_confidence: Some(1.0), ..text("coverage") },
        Query { environments: of(&["laptop"]), ..text("isolation upload") },
        Query { environments: of(&["nobody"]), ..text("isolation upload") },
        Query { tables: BTreeSet::from(["memory_entries".to_owned()]), ..text("checkout failed at 17") },
        Query { exact: true, ..text("invoice fuzz") },
        like("pat-3-4"),
        Query { environments: of(&["ci"]), count: 5, ..like("pat-0-0") },
    ]
}

fn embedded() -> (tempfile::TempDir, EmbeddedHub) {
    let folder = tempfile::tempdir().unwrap();
    let hub = EmbeddedHub::open(&folder.path().join("hub.db")).unwrap();
    (folder, hub)
}

/// What the embedded hub says, having looked at every vector.
fn expected() -> Vec<Vec<String>> {
    let (_folder, hub) = embedded();
    filled(&hub);
    embed(&hub, &WordCounts::new());
    queries().iter().map(|query| essence(&ask(&hub, &Query { exact: true, ..query.clone() }))).collect()
}

fn answers_as_expected<H: Sink + VectorHub>(hub: &H, name: &str) {
    filled(hub);
    let done = embed(hub, &WordCounts::new());
    // Two of the three environments say the same in their 56 patterns.
    assert_eq!((done.looked_at, done.embedded(), done.without_text), (3 * 96 + 3, 3 * 96 + 3, 0), "{name}");
    assert!((done.shared, done.computed) == (56, 235), "{name}: {done:?}");
    for (query, expected) in queries().iter().zip(expected()) {
        let answer = ask(hub, query);
        assert_eq!(essence(&answer), expected, "{name}: {query:?}");
    }
    let found = ask(hub, &Query::text("rotateKeys42"));
    assert_eq!(found.hits[0].place.key.to_string(), "[\"\",\"default\",\"notes/refreshJwtToken\"]", "{name}");
    let words = block_on(search(hub, tables::all(), None, &Query::text("refreshJwtToken"))).unwrap();
    assert_eq!(words.hits.len(), 1, "{name}: words alone find an identifier");
    assert_eq!((words.model, words.hits[0].similarity), (None, None), "{name}");
}

fn new_hub(database: &Database) -> PostgresHub {
    hub(&database.url())
}

#[test]
fn the_embedded_hub_answers_by_its_codes_as_by_all_vectors() {
    let (_folder, hub) = embedded();
    answers_as_expected(&hub, "embedded");
}

#[test]
fn plain_postgresql_answers_the_same() {
    let database = Cluster::shared().database();
    answers_as_expected(&new_hub(&database), "real[]");
}

#[test]
fn ruvector_answers_the_same() {
    let Some(cluster) = vectors::ruvector() else { return };
    let database = cluster.database();
    database.psql("CREATE EXTENSION ruvector");
    let hub = new_hub(&database);
    answers_as_expected(&hub, "ruvector");
    assert!(!hub.index_vectors("word-counts/1", WordCounts::DIMENSION).unwrap(), "its index loses rows");
}

#[test]
fn pgvector_answers_the_same_without_an_index_and_with_one() {
    for cluster in [vectors::pgvector(), vectors::old_pgvector()].into_iter().flatten() {
        let database = cluster.database();
        database.psql("CREATE EXTENSION vector");
        let hub = new_hub(&database);
        answers_as_expected(&hub, "pgvector");
        assert!(hub.index_vectors("word-counts/1", WordCounts::DIMENSION).unwrap());
        assert!(!hub.index_vectors("word-counts/1", WordCounts::DIMENSION).unwrap(), "there is one");
        let query = Nearest {
            model: "word-counts/1".to_owned(),
            vector: WordCounts::new().embed(&["retry the login page"]).unwrap().remove(0),
            filter: aqe_sync_core::embed::Filter::default(),
            limit: 10,
            exact: false,
        };
        assert_eq!(block_on(hub.nearest(query)).unwrap().len(), 10);
        let found = block_on(recall(&hub, 40)).unwrap();
        assert_eq!((found.len(), found[0].sampled, found[0].vectors), (1, 40, 291));
        assert!(found[0].recall > 0.9 && found[0].remembered, "{found:?}");
        for (query, expected) in queries().iter().zip(expected()).filter(|(query, _)| query.exact) {
            assert_eq!(essence(&ask(&hub, query)), expected, "whatever the index");
        }
    }
}

#[test]
fn an_index_that_finds_too_little_is_not_used() {
    let Some(cluster) = vectors::pgvector() else { return };
    let database = cluster.database();
    database.psql("CREATE EXTENSION vector");
    let hub = new_hub(&database);
    filled(&hub);
    embed(&hub, &WordCounts::new());
    assert!(ask(&hub, &Query::text("retry login")).notes.is_empty());
    assert!(block_on(hub.remember_recall("word-counts/1", 0.5)).unwrap());
    let answer = ask(&hub, &Query::text("retry login"));
    assert!(answer.notes[0].contains("searched exactly"), "{:?}", answer.notes);
    assert_eq!(essence(&answer), expected_of("retry login"));
    let found = block_on(recall(&hub, 10)).unwrap();
    assert!(found[0].enough, "{found:?}");
    assert!(ask(&hub, &Query::text("retry login")).notes.is_empty(), "until it does better");
}

fn expected_of(text: &str) -> Vec<String> {
    let (_folder, hub) = embedded();
    filled(&hub);
    embed(&hub, &WordCounts::new());
    essence(&ask(&hub, &Query::text(text)))
}

/// What happens to vectors when rows change.
fn follows_its_rows<H: Sink + VectorHub>(hub: &H) {
    let model = WordCounts::new();
    let first = pattern("p", "wait", "wait for the lock", "db", 0.5, 1);
    put(
        hub,
        "one",
        "qe_patterns",
        vec![(first.clone(), None), (pattern("q", "go", "do not wait", "db", 0.5, 1), None)],
    );
    let dry = block_on(pending(hub, tables::all(), model.model_id(), &Filling::default())).unwrap();
    assert_eq!((dry.looked_at, dry.computed), (2, 2));
    assert_eq!(embed(hub, &model).computed, 2);
    assert_eq!(embed(hub, &model), Filled::default(), "nothing changed");
    // Another count is no other text.
    let used = pattern("p", "wait", "wait for the lock", "db", 0.9, 7);
    put(hub, "one", "qe_patterns", vec![(used.clone(), Some(first.hash))]);
    let done = embed(hub, &model);
    assert_eq!((done.looked_at, done.unchanged, done.embedded()), (1, 1, 0));
    let hit = &ask(hub, &Query::text("wait for the lock")).hits[0];
    assert_eq!((hit.confidence, hit.uses), (Some(0.9), Some(7)), "what is shown is the row of now");
    let other = pattern("p", "wait", "release everything early", "db", 0.9, 7);
    put(hub, "one", "qe_patterns", vec![(other.clone(), Some(used.hash))]);
    assert_eq!(embed(hub, &model).computed, 1);
    assert_eq!(ask(hub, &Query::text("release early")).hits[0].place.key.to_string(), "p");
    assert!(ask(hub, &Query::text("lock")).hits.iter().all(|hit| !hit.has_words), "the old words are gone");
    // A row of another environment with the same text shares the vector.
    put(hub, "two", "qe_patterns", vec![(other.clone(), None)]);
    let done = embed(hub, &model);
    assert_eq!((done.computed, done.shared), (0, 1));
    assert_eq!(
        block_on(hub.vectors_of(model.model_id(), "qe_patterns", vec![other.key(patterns())])).unwrap().len(),
        2
    );
    delete(hub, "one", "qe_patterns", &other);
    let left = ask(hub, &Query::text("release everything early"));
    assert!(left.hits.iter().all(|hit| hit.place.environment.as_str() != "one" || hit.place.key.to_string() != "p"));
    assert_eq!(embed(hub, &model).removed, 1);
    assert_eq!(
        block_on(hub.vectors_of(model.model_id(), "qe_patterns", vec![other.key(patterns())])).unwrap().len(),
        1
    );
    // Nobody listens to it, unless it is asked for by name.
    assert!(block_on(hub.exclude(&"two".into(), true)).unwrap());
    assert!(ask(hub, &Query::text("release")).hits.iter().all(|hit| hit.place.environment.as_str() == "one"));
    let named = Query { environments: BTreeSet::from(["two".into()]), ..Query::text("release") };
    assert_eq!(ask(hub, &named).hits.len(), 1);
}

#[test]
fn vectors_follow_their_rows() {
    follows_its_rows(&embedded().1);
    follows_its_rows(&new_hub(&Cluster::shared().database()));
}

/// A model that fails after so many texts.
struct Failing(std::sync::atomic::AtomicUsize);

impl Embedder for Failing {
    fn dimension(&self) -> usize {
        WordCounts::DIMENSION
    }

    fn model_id(&self) -> &'static str {
        "word-counts/1"
    }

    fn embed(&self, texts: &[&str]) -> aqe_sync_core::Result<Vec<Vec<f32>>> {
        use std::sync::atomic::Ordering;
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(texts.len()));
        match left {
            Ok(_) => WordCounts::new().embed(texts),
            Err(_) => Err(aqe_sync_core::Error::new(ErrorKind::Io, "out of breath")),
        }
    }
}

fn goes_on_where_it_ended<H: Sink + VectorHub>(hub: &H) {
    let rows = (0..1_500).map(|n| (memory(&format!("k{n}"), &format!("text number {n}")), None));
    put(hub, "one", "memory_entries", rows.collect());
    let failing = Failing(700.into());
    let ended = block_on(fill(hub, tables::all(), &failing, &Filling::default(), |_| {}));
    assert_eq!(ended.unwrap_err().message(), "out of breath");
    let kept: u64 = block_on(hub.models()).unwrap().iter().map(|(_, count)| count).sum();
    assert!((445..=700).contains(&kept), "all but one batch was kept: {kept}");
    let done = embed(hub, &WordCounts::new());
    assert_eq!(done.computed, 1_500 - kept, "what was kept is not computed again");
    assert_eq!(block_on(hub.models()).unwrap(), [("word-counts/1".to_owned(), 1_500)]);
    assert_eq!(embed(hub, &WordCounts::new()), Filled::default());
}

#[test]
fn an_interrupted_run_loses_one_batch_and_repeats_none() {
    goes_on_where_it_ended(&embedded().1);
    goes_on_where_it_ended(&new_hub(&Cluster::shared().database()));
}

#[test]
fn models_are_never_mixed() {
    let (_folder, hub) = embedded();
    filled(&hub);
    assert!(ask(&hub, &Query::text("retry")).notes[0].contains("no vectors yet"));
    embed(&hub, &WordCounts::named("other/1"));
    let answer = ask(&hub, &Query::text("retry login"));
    assert!(answer.notes[0].contains("other/1") && answer.model.is_none(), "{:?}", answer.notes);
    assert!(answer.hits.iter().all(|hit| hit.similarity.is_none() && hit.has_words));
    embed(&hub, &WordCounts::new());
    let answer = ask(&hub, &Query::text("retry login"));
    assert_eq!(answer.model.as_deref(), Some("word-counts/1"));
    assert_eq!(block_on(hub.models()).unwrap().len(), 2);
    let wrong = Query { tables: BTreeSet::from(["events".to_owned()]), ..Query::text("retry") };
    let error = block_on(search(&hub, tables::all(), None, &wrong)).unwrap_err();
    assert!(error.to_string().contains("qe_patterns"), "{error}");
    let unknown = Query::like(Some("qe_patterns"), Key::new(vec![Value::from("nobody")]));
    let error = block_on(search(&hub, tables::all(), None, &unknown)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_environments_learned_twice_is_proposed_and_not_merged() {
    let (_folder, hub) = embedded();
    let twin = |id: &str, said: &str, domain: &str| (pattern(id, "retry", said, domain, 0.5, 1), None);
    put(&hub, "one", "qe_patterns", vec![twin("a", "wait and call again", "net"), twin("b", "never give up", "net")]);
    put(
        &hub,
        "two",
        "qe_patterns",
        vec![
            twin("c", "call again and wait", "Net"),
            twin("a", "wait and call again", "net"),
            twin("d", "wait and call again", "db"),
        ],
    );
    embed(&hub, &WordCounts::new());
    let pairs = block_on(similar(&hub, tables::all(), None, &Similar::default())).unwrap();
    let shown: Vec<(String, String)> = pairs
        .iter()
        .map(|pair| {
            let [a, b] = &pair.places;
            (format!("{} {}", a.environment, a.key), format!("{} {}", b.environment, b.key))
        })
        .collect();
    // The same key is the same record, another domain another thing, one's own twins one's own.
    assert_eq!(shown, [("one a".to_owned(), "two c".to_owned())]);
    assert_eq!((pairs[0].domain.as_deref(), pairs[0].similarity), (Some("net"), 1.0));
    let wrong = Similar { least: 1.5, ..Similar::default() };
    assert!(block_on(similar(&hub, tables::all(), None, &wrong)).is_err());
}

#[test]
fn an_environments_login_embeds_its_own_rows_only() {
    let world = World::new();
    let owner = world.hub();
    put(&owner, "ci", "qe_patterns", vec![(pattern("p", "wait", "for it", "db", 0.5, 1), None)]);
    put(&owner, "laptop", "qe_patterns", vec![(pattern("q", "go", "at once", "db", 0.5, 1), None)]);
    let login = world.login("ci");
    let ci = world.open(&login);
    let done = embed(&ci, &WordCounts::new());
    assert_eq!((done.looked_at, done.computed), (1, 1));
    assert!(!block_on(ci.remember_recall("word-counts/1", 1.0)).unwrap());
    let table = patterns();
    let error = block_on(ci.keep_vectors("word-counts/1", table, &"laptop".into(), Vec::new(), Some(9))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(embed(&world.hub(), &WordCounts::new()).computed, 1, "the owner does the rest");
    assert_eq!(ask(&ci, &Query::text("go at once")).hits[0].place.environment.as_str(), "laptop");
}
