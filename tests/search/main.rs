//! How well searches find what real projects have learned.
//!
//! Needs the model: its folder is named by `AQE_TEST_MODEL`; without it this says so and is
//! skipped, unless `AQE_TEST_REQUIRE_ALL` is set.

mod questions;

use std::path::Path;

use aqe_embed::{MiniLm, ModelFolder};
use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::embed::{Filling, fill};
use aqe_sync_core::search::{Answer, Query, search};
use aqe_sync_core::{Embedder, Engine, Options, Silent, Sink as _, Status, Value, tables};
use aqe_sync_workspace::{environment, folders};
use futures::executor::block_on;

use questions::{QUESTIONS, Question};

/// Projects of two major versions of one tool, and of another one.
const PROJECTS: [&str; 3] = ["agentic-qe-2.8.2", "agentic-qe-3.3.0", "claude-flow-2.7.47"];

/// A hub with what they have learned, embedded.
fn hub(folder: &Path, model: &dyn Embedder) -> EmbeddedHub {
    let hub = EmbeddedHub::open(&folder.join("hub.db")).expect("a hub");
    let identity = block_on(hub.identity()).expect("it has one");
    for project in PROJECTS {
        let root = folder.join(project);
        folders::copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(project), &root);
        let found = discover(&root).expect("discovered");
        let sources: Vec<_> = found.found.into_iter().map(|found| found.source).collect();
        let ledger = LedgerFile::open(&folder.join(format!("{project}.ledger")), &identity).expect("a ledger");
        let engine = Engine::new(&hub, &ledger, &Silent, Options::new(project.into()));
        assert_ne!(block_on(engine.run(&sources)).expect("synced").status, Status::Failed);
    }
    block_on(fill(&hub, tables::all(), model, &Filling::default(), |_| {})).expect("embedded");
    hub
}

fn answers(answer: &Answer, (_, right): &Question) -> bool {
    answer.hits.iter().any(|hit| {
        let Some(Value::Text(key)) = hit.place.key.values().last() else { return false };
        right.iter().any(|right| if right.ends_with('|') { key.starts_with(right) } else { key == right })
    })
}

#[test]
fn nine_of_ten_questions_are_answered_among_the_first_five() {
    let Some(folder) = environment::folder(environment::MODEL) else {
        assert!(environment::read(environment::REQUIRE_ALL).is_none(), "AQE_TEST_MODEL names no folder");
        eprintln!("skipped: AQE_TEST_MODEL names no folder with the model");
        return;
    };
    let model = MiniLm::open(&ModelFolder::find(Some(&folder)).expect("the model")).expect("it opens");
    let place = tempfile::tempdir().expect("a folder");
    let hub = hub(place.path(), &model);
    let ask = |embedder: Option<&dyn Embedder>, question: &Question| {
        // Patterns and actions: what can be applied. The rest are notes about single runs.
        let tables = ["patterns", "qe_patterns", "goap_actions"].map(str::to_owned).into();
        let query = Query { count: 5, tables, ..Query::text(question.0) };
        block_on(search(&hub, aqe_sync_core::tables::all(), embedder, &query)).expect("an answer")
    };
    let (mut found, mut by_words) = (0, 0);
    for question in &QUESTIONS {
        let answer = ask(Some(&model), question);
        if answers(&answer, question) {
            found += 1;
        } else {
            let keys: Vec<String> = answer.hits.iter().map(|hit| hit.place.key.to_string()).collect();
            println!("not answered: {}: {keys:?}", question.0);
        }
        by_words += usize::from(answers(&ask(None, question), question));
    }
    println!("answered among the first five: {found} of {} (by words alone {by_words})", QUESTIONS.len());
    assert!(found * 10 >= QUESTIONS.len() * 9, "{found} of {}", QUESTIONS.len());
    assert!(found > by_words, "{found} against {by_words} by words alone");
}
