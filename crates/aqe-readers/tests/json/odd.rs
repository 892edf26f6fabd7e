//! Valid JSON that is not as the tools write it: nothing of it is lost.

use aqe_readers::{JsonLayout, JsonSource};
use aqe_sync_core::{BatchLimits, ReadRequest, Source as _, Value};
use futures::StreamExt as _;
use futures::executor::block_on;

use crate::reading::{Folder, Streams, read, read_only, read_within};

fn of(text: &str, layout: JsonLayout) -> Streams {
    read(&Folder::new().json(text, layout)).unwrap_or_else(|error| panic!("{error}"))
}

/// The rejects of a stream, as key and record.
fn rejects(streams: &Streams, stream: &str) -> Vec<(Option<String>, String)> {
    let letter = |reject: &aqe_sync_core::Reject| {
        (reject.key.as_ref().map(ToString::to_string), reject.letter.record.as_str().to_owned())
    };
    streams[stream].rejects.iter().map(letter).collect()
}

#[test]
fn of_a_repeated_key_the_last_counts_and_the_others_are_kept_as_dead_letters() {
    let text = r#"{"entries":{"a":{"value":1},"b":{"value":2},"\u0061":{"value":3},"a":{"value":4}}}"#;
    let streams = of(text, JsonLayout::Store);
    let entries = &streams["entries"];
    assert_eq!(
        (entries.texts("key"), entries.texts("value")),
        (vec!["b".to_owned(), "a".to_owned()], vec!["2".to_owned(), "4".to_owned()])
    );
    let key = Some(r#"["","default","a"]"#.to_owned());
    assert_eq!(
        rejects(&streams, "entries"),
        [
            (key.clone(), r#"{"key":"a","value":{"value":1}}"#.to_owned()),
            (key, r#"{"key":"\u0061","value":{"value":3}}"#.to_owned()),
        ]
    );
    assert!(entries.rejects[0].letter.reason.contains("occurs again later"));
}

#[test]
fn replaced_entries_come_in_a_later_batch_than_the_record_with_their_key() {
    let folder = Folder::new();
    let source = folder.json(r#"{"entries":{"a":{"value":1},"a":{"value":4}}}"#, JsonLayout::Store);
    let streams = block_on(source.streams()).expect("valid");
    let batches = source.read(ReadRequest { streams, limits: BatchLimits::default() });
    let batches: Vec<_> = block_on(batches.collect::<Vec<_>>());
    let shape: Vec<_> = batches
        .iter()
        .map(|batch| batch.as_ref().map(|batch| (batch.records.len(), batch.rejects.len(), batch.last)))
        .collect();
    let shape: Vec<_> = shape.into_iter().map(|batch| batch.expect("no error")).collect();
    assert_eq!(shape, [(1, 0, false), (0, 1, true)], "rejects of a batch are seen before its records");
}

#[test]
fn a_repeated_key_is_one_within_its_namespace() {
    let memory =
        |key: &str, value: &str| format!(r#"{{"key":"{key}","value":"{value}","namespace":"x","timestamp":1}}"#);
    let text = format!(
        r#"{{"x":[{},{},{}],"y":[{}],"count":3}}"#,
        memory("k", "old"),
        memory("j", "other"),
        memory("k", "new"),
        memory("k", "elsewhere"),
    );
    let streams = of(&text, JsonLayout::MemoryStore);
    let memories = &streams["memories"];
    assert_eq!(memories.texts("value"), [r#""other""#, r#""new""#, r#""elsewhere""#]);
    assert_eq!(memories.rejects.len(), 1);
    let extra = memories.rows[2].extra.as_ref().map(|json| json.as_str()).unwrap_or_default();
    assert!(extra.contains(r#""namespace":"x""#), "a differing namespace is kept: {extra}");
    assert_eq!(streams["(values)"].texts("record_key"), ["count"]);
}

#[test]
fn of_a_repeated_part_the_last_is_read_and_the_others_are_archived() {
    let text = r#"{"entries":{"old":{"value":1}},"entries":{"new":{"value":2}},"x":{"a":1},"x":{"a":2},"v":1,"v":2}"#;
    let streams = of(text, JsonLayout::Store);
    assert_eq!(streams["entries"].texts("key"), ["new"]);
    assert_eq!(streams["entries#2"].texts("record_key"), ["old"]);
    assert_eq!(
        (streams["x"].texts("record"), streams["x"].texts("part")),
        (vec!["2".to_owned()], vec!["x".to_owned()])
    );
    assert_eq!(streams["x#2"].texts("part"), ["x#2"], "the same part would be the same records");
    assert_eq!(streams["(values)"].texts("record"), ["2"]);
    assert_eq!(streams["(values)"].rejects.len(), 1);
}

#[test]
fn entries_of_a_wrong_shape_are_rejected_with_their_key() {
    let streams = of(r#"{"entries":{"a":5,"b":{"value":1},"c":null}}"#, JsonLayout::Store);
    assert_eq!(streams["entries"].texts("key"), ["b"]);
    assert_eq!(
        rejects(&streams, "entries"),
        [
            (Some(r#"["","default","a"]"#.to_owned()), r#"{"key":"a","value":5}"#.to_owned()),
            (Some(r#"["","default","c"]"#.to_owned()), r#"{"key":"c","value":null}"#.to_owned()),
        ]
    );
    let streams = of(r#"{"memories":[7,{"content":"x"}],"patterns":[1]}"#, JsonLayout::Intelligence);
    assert_eq!(rejects(&streams, "memories"), [(None, r#"{"key":null,"value":7}"#.to_owned())]);
    assert_eq!(streams["patterns"].texts("record"), ["1"], "patterns that are no map are archived");
}

#[test]
fn a_store_without_entries_offers_none_and_says_so() {
    let folder = Folder::new();
    for text in ["{}", r#"{"entries":[]}"#, r#"{"version":"3"}"#, "[]", "null"] {
        let source = folder.json(text, JsonLayout::Store);
        let streams = read(&source).expect("valid");
        assert!(streams.values().all(|stream| stream.spec.table.name().as_str() == "archive_records"), "{text}");
        assert!(source.notes()[0].contains("file.json: an object `entries` is expected"), "{:?}", source.notes());
    }
    let source = folder.json(r#"{"entries":{}}"#, JsonLayout::Store);
    assert_eq!(read(&source).expect("valid")["entries"].rows.len(), 0);
    assert!(source.notes().is_empty());
    for layout in [JsonLayout::MemoryStore, JsonLayout::DaemonState] {
        let source = folder.json(r#"{"x":1}"#, layout);
        assert_eq!(read(&source).expect("valid")["(values)"].rows.len(), 1);
        assert_eq!(source.notes().len(), 1);
    }
}

#[test]
fn keys_that_no_hub_can_hold_become_dead_letters_with_the_whole_record() {
    let text = r#"{"entries":{"\ud800":{"value":1},"a\u0000b":{"value":2},"ok":{"value":"x"}}}"#;
    let streams = of(text, JsonLayout::Store);
    let entries = &streams["entries"];
    assert_eq!((entries.texts("key"), entries.dead.len()), (vec!["ok".to_owned()], 2));
    assert!(entries.dead[0].record.as_str().contains("ud800"), "{:?}", entries.dead[0]);
    let streams = of(r#"{"\ud800":{"a":1},"b":{"\u0000":1}}"#, JsonLayout::Archive);
    assert_eq!(streams.values().map(|stream| stream.dead.len()).sum::<usize>(), 2);
}

#[test]
fn values_that_jsonb_cannot_keep_go_to_extra_as_they_are_written() {
    let text = r#"{"entries":{"nul":{"value":"a\u0000b"},"twice":{"value":{"x":1,"x":2}},"lone":{"value":"\udc00"},
        "big":{"value":123456789012345678901234567890.10,"accessCount":1e400}}}"#;
    let streams = of(text, JsonLayout::Store);
    let entries = &streams["entries"];
    assert_eq!(entries.rows.len(), 4);
    for (key, kept) in [("nul", r"a\\u0000b"), ("twice", r#"{\"x\":1,\"x\":2}"#), ("lone", r"\\udc00")] {
        let row = entries.row("key", key);
        assert_eq!(*entries.value(row, "value"), Value::Null);
        let extra = row.extra.as_ref().map(|json| json.as_str()).unwrap_or_default();
        assert!(extra.contains(kept), "{key}: {extra}");
    }
    let big = entries.row("key", "big");
    assert_eq!(entries.text(big, "value"), "123456789012345678901234567890.10", "no digit is lost");
    assert_eq!(entries.set_aside.len(), 4);
}

#[test]
fn depth_has_no_limit_that_stops_a_file() {
    const DEPTH: usize = 200_000;
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let streams =
        of(&format!(r#"{{"entries":{{"deep":{{"value":{deep}}},"flat":{{"value":1}}}}}}"#), JsonLayout::Store);
    let entries = &streams["entries"];
    assert_eq!(entries.texts("key"), ["deep", "flat"]);
    assert!(entries.rows[0].extra.as_ref().is_some_and(|json| json.as_str().contains(&deep)), "kept as text");
    assert_eq!(of(&deep, JsonLayout::Archive)["(elements)"].rows.len(), 1);
    assert_eq!(of(&format!(r#"{{"a":{deep}}}"#), JsonLayout::Archive)["a"].rows.len(), 1);
}

#[test]
fn a_value_of_fifty_megabytes_arrives_whole() {
    let folder = Folder::new();
    let value = "0123456789".repeat(5_000_000);
    let text = format!(r#"{{"entries":{{"huge":{{"value":"{value}"}},"small":{{"value":1}}}}}}"#);
    let source = folder.json(text, JsonLayout::Store);
    let streams = read(&source).expect("valid");
    let entries = &streams["entries"];
    assert_eq!(entries.texts("key"), ["huge", "small"]);
    let Value::Json(kept) = entries.value(&entries.rows[0], "value") else { panic!("not JSON") };
    assert_eq!(kept.as_str().len(), value.len() + 2);
    assert_eq!(entries.batches, 2, "a batch ends when it is full");
}

#[test]
fn batches_stay_within_their_limits_whatever_the_size_of_the_file() {
    let folder = Folder::new();
    let entries: Vec<String> = (0..2_000).map(|n| format!(r#""k{n}":{{"value":"{}"}}"#, "x".repeat(1_000))).collect();
    let source = folder.json(format!(r#"{{"entries":{{{}}}}}"#, entries.join(",")), JsonLayout::Store);
    let limits = BatchLimits { rows: 5_000, bytes: 20_000 };
    let by_bytes = read_within(&source, limits).expect("valid");
    assert!(by_bytes["entries"].batches > 100, "{}", by_bytes["entries"].batches);
    let by_rows = read_within(&source, BatchLimits { rows: 7, bytes: 1 << 20 }).expect("valid");
    assert_eq!((by_rows["entries"].rows.len(), by_rows["entries"].batches), (2_000, 2_000 / 7 + 1));
}

#[test]
fn only_the_streams_asked_for_come_in_the_order_asked_for() {
    let folder = Folder::new();
    let text = r#"{"patterns":{},"memories":[],"errors":{"e":1},"stats":{"s":2}}"#;
    let source = folder.json(text, JsonLayout::Intelligence);
    let mut specs = block_on(source.streams()).expect("valid");
    specs.retain(|spec| ["errors", "stats", "memories"].contains(&spec.name.as_str()));
    specs.reverse();
    let streams = read_only(&source, specs, BatchLimits::default()).expect("valid");
    assert_eq!(streams.keys().collect::<Vec<_>>(), ["errors", "memories", "stats"]);
    assert_eq!(streams["errors"].texts("record_key"), ["e"]);
}

#[test]
fn a_part_with_the_name_of_another_stream_has_a_name_of_its_own() {
    let text = r#"{"(values)":{"a":1},"patterns (other shapes)":{"b":2},"":[3],"n":4,"patterns":{}}"#;
    let streams = of(text, JsonLayout::Intelligence);
    let names: Vec<_> = streams.iter().map(|(name, stream)| (name.as_str(), stream.rows.len())).collect();
    assert_eq!(
        names,
        [
            ("(unnamed)", 1),
            ("(values)", 1),
            ("(values)#2", 1),
            ("patterns", 0),
            ("patterns (other shapes)", 0),
            ("patterns (other shapes)#2", 1),
        ]
    );
}

#[test]
fn a_q_value_under_another_key_keeps_that_key() {
    let text = r#"{"patterns":{"x":{"state":"s","action":"a","q_value":1,"mood":2},"s|b":{"state":"s","action":"b","q_value":0.5}}}"#;
    let streams = of(text, JsonLayout::Intelligence);
    let patterns = &streams["patterns"];
    let extra = |row: usize| patterns.rows[row].extra.as_ref().map(|json| json.as_str().to_owned());
    assert_eq!((extra(0).as_deref(), extra(1)), (Some(r#"{"mood":2,"key":"x"}"#), None));
}

#[test]
fn the_same_source_can_be_read_again() {
    let folder = Folder::new();
    let source: JsonSource = folder.json(r#"{"a":[1,2]}"#, JsonLayout::Archive);
    for _ in 0..2 {
        assert_eq!(read(&source).expect("valid")["a"].rows.len(), 2);
    }
}
