//! JSON files of every layout, and every file as if it were of another.

use std::collections::HashSet;
use std::path::Path;

use aqe_readers::{JsonLayout, JsonSource};
use aqe_sync_core::{Record, Value};
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target, fixtures};
use serde::de::IgnoredAny;

use crate::files::{Lone, Stream, assert_converts};
use crate::real_values::strings;

const LAYOUTS: [JsonLayout; 6] = [
    JsonLayout::Store,
    JsonLayout::MemoryStore,
    JsonLayout::DaemonState,
    JsonLayout::Metrics,
    JsonLayout::Intelligence,
    JsonLayout::Archive,
];

fn layout_of(path: &Path) -> u8 {
    let path = path.to_string_lossy();
    match () {
        () if path.ends_with(".claude-flow/memory/store.json") => 0,
        () if path.ends_with("memory-store.json") => 1,
        () if path.ends_with("daemon-state.json") => 2,
        () if path.contains("/metrics/") => 3,
        () if path.ends_with("intelligence.json") => 4,
        () => 5,
    }
}

/// The first byte chooses the layout, the others are the file.
fn corpus() -> Corpus {
    let mut corpus = Corpus::new().text().with_past_failures("json_layouts");
    let mut seen = HashSet::new();
    for path in fixtures().iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "json")) {
        let bytes = std::fs::read(path).expect("a fixture");
        let layout = layout_of(path);
        seen.insert(layout);
        let input = [[layout].as_slice(), &bytes].concat();
        let whole = !bytes.is_empty() && !path.to_string_lossy().contains("-torn");
        let name = path.display().to_string();
        corpus = if whole { corpus.with(name, input) } else { corpus.with_any(name, input) };
    }
    assert_eq!(seen.len(), LAYOUTS.len(), "a layout without a real file");
    corpus.words([
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "null",
        "{}",
        "[]",
        "\"key\":",
        "\"entries\":{",
        "\"workers\":{",
        "\"config\":{\"workers\":[",
        "\"type\":",
        "\"id\":",
        "\"patterns\":{",
        "\"memories\":[",
        "\"namespace\":",
        "\"timestamp\":",
        "\"metadata\":{",
        "\"state\":",
        "\"q_value\":",
        "\\u0000",
        "\\ud800",
        "1e400",
        "\u{feff}",
        "\"trajectories\":[",
    ])
}

#[test]
fn json_layouts() {
    Target::new("json_layouts", corpus()).share_past(5).run(|bytes| {
        let Some((layout, bytes)) = bytes.split_first() else { return Reached::Refused };
        let layout = LAYOUTS[usize::from(*layout) % LAYOUTS.len()];
        let file = Lone::new("store.json", bytes);
        let read = file.read(&JsonSource::new(file.source(), layout));
        let valid = std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let streams = match read {
            Ok(streams) => streams,
            Err(error) => {
                assert!(!valid, "a sound document is refused: {error}");
                return Reached::Refused;
            }
        };
        assert!(valid, "half a document is read as if it were whole");
        streams.iter().for_each(assert_converts);
        assert_nothing_is_lost(bytes, &streams);
        let again = file.read(&JsonSource::new(file.source(), layout)).expect("as before");
        assert!(records(&again) == records(&streams), "read twice, read alike");
        Reached::Past
    });
}

fn records(streams: &[Stream]) -> Vec<&Record> {
    streams.iter().flat_map(|stream| &stream.records).collect()
}

/// Every text of the document is in a record or in a dead letter.
fn assert_nothing_is_lost(bytes: &[u8], streams: &[Stream]) {
    // Of repeated keys this keeps the last; lone surrogates it refuses.
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let mut given = Vec::new();
    strings(&document, &mut given);
    if given.iter().any(|text| text.contains('\0')) {
        return;
    }
    let mut kept = HashSet::new();
    for stream in streams {
        for record in &stream.records {
            let extra = record.extra.iter().map(|(_, value)| value);
            record.values().iter().chain(extra).for_each(|value| keep(value, &mut kept));
        }
        for reject in &stream.rejects {
            keep_json(reject.letter.record.as_str(), &mut kept);
        }
    }
    for text in given {
        assert!(kept.contains(&text), "{text:?} is nowhere");
    }
}

fn keep(value: &Value, kept: &mut HashSet<String>) {
    match value {
        Value::Text(text) => {
            kept.insert(text.clone());
        }
        Value::Json(json) => keep_json(json.as_str(), kept),
        _ => {}
    }
}

fn keep_json(text: &str, kept: &mut HashSet<String>) {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(text) else { return };
    let mut found = Vec::new();
    strings(&document, &mut found);
    wrapped(&document, kept);
    kept.extend(found);
}

/// What `jsonb` would not keep is wrapped as text.
fn wrapped(document: &serde_json::Value, kept: &mut HashSet<String>) {
    match document {
        serde_json::Value::Object(members) if members.get("$aqe").is_some_and(|kind| kind == "json") => {
            keep_json(members.get("text").and_then(serde_json::Value::as_str).unwrap_or_default(), kept);
        }
        serde_json::Value::Object(members) => members.values().for_each(|member| wrapped(member, kept)),
        serde_json::Value::Array(elements) => elements.iter().for_each(|element| wrapped(element, kept)),
        _ => {}
    }
}
