//! The connectors of the examples and of the guide: they are sound, and the guide shows what is compiled.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use aqe_sync_core::testkit::{Rule, SinkCase, SourceCase, check_sink, check_source};
use futures::executor::block_on;

#[path = "../../examples/custom_sink.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main, and shows what others use")]
mod custom_sink;
#[path = "../../examples/custom_source.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main, and shows what others use")]
mod custom_source;

// guide: source
#[test]
fn the_source_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    let number = AtomicU32::new(0);
    let write = || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        fs::write(&file, format!("first: {number}\nsecond: same\nthird: {number}\n")).unwrap();
    };
    write();
    let case = SourceCase::new(|| async { custom_source::Notes("notes.txt".into(), file.clone()) })
        .changed_by(|| async { write() });
    let checked = block_on(check_source(&case)).unwrap();
    assert!(checked.of(Rule::OneSnapshot) > 0);
}
// end

// guide: sink
#[test]
fn the_sink_keeps_its_promises() {
    let shelf = custom_sink::Shelf::default();
    let case = SinkCase::new(|| async { shelf.clone() }) // The same store each time.
        .census(|| shelf.census()) // All that a rollback has to leave as it was.
        .reads_wait_for_writes(); // One lock guards it all.
    let checked = block_on(check_sink(&case)).unwrap();
    assert!(checked.of(Rule::ConflictsAreExact) > 0);
}
// end

/// Lines without their indentation, so that a piece may be shown alone.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_guide_shows_what_is_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let compiled = ["examples/custom_source.rs", "examples/custom_sink.rs", "tests/workspace/connectors.rs"];
    let compiled: Vec<String> = compiled.iter().map(|path| trimmed(&read(path))).collect();
    let guide = read("docs/CONNECTOR_GUIDE.md");
    let pieces: Vec<(&str, &str)> = guide
        .split("```rust ")
        .skip(1)
        .filter_map(|rest| rest.split_once('\n').and_then(|(file, rest)| Some((file, rest.split("```").next()?))))
        .collect();
    assert!(pieces.len() > 10, "only {} pieces of code", pieces.len());
    assert!(!guide.contains("```rust\n"), "a piece of code without its file");
    // What only a crate of its own has is compiled by `.ci/guide`, with all the rest.
    let here = pieces.iter().filter(|(file, piece)| *file != "src/lib.rs" && !piece.contains("notes_connector"));
    for (file, piece) in here {
        let shown = trimmed(piece);
        assert!(compiled.iter().any(|code| code.contains(&shown)), "{file}: nothing compiled says:\n{piece}");
    }
}
