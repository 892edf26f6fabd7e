//! Each layout, over files that the real tools wrote.

use aqe_readers::{JsonLayout, JsonSource};
use aqe_sync_core::{Deletes, Timestamp, Value};

use crate::reading::{Folder, Stream, Streams, fixture, read, read_fixture};

fn moment(text: &str) -> Value {
    Value::Timestamp(Timestamp::parse(text).expect("a moment"))
}

fn extra(stream: &Stream, row: usize) -> &str {
    stream.rows[row].extra.as_ref().map_or("", |json| json.as_str())
}

fn names(streams: &Streams) -> Vec<&str> {
    streams.keys().map(String::as_str).collect()
}

const STORE: &str = "claude-flow-3.0.0-alpha.179/.claude-flow/memory/store.json";

#[test]
fn a_store_gives_its_memories_with_values_of_every_type() {
    let streams = read_fixture(STORE, JsonLayout::Store);
    assert_eq!(names(&streams), ["(values)", "entries"]);
    let entries = &streams["entries"];
    assert_eq!(entries.spec.table.name().as_str(), "claude_flow_memory");
    assert_eq!((entries.rows.len(), entries.set_aside.len()), (327, 0));

    let row = entries.row("key", "adr/auth/1");
    assert_eq!(entries.text(row, "value"), r#""241""#, "a numeric string stays a string");
    assert_eq!(entries.text(row, "category"), "adr-analysis");
    assert_eq!(entries.text(row, "namespace"), "default");
    assert_eq!(entries.text(row, "scope"), "");
    assert_eq!(entries.text(row, "metadata"), "{}");
    for column in ["created_at", "updated_at", "accessed_at"] {
        assert_eq!(*entries.value(row, column), moment("2026-11-22T13:30:33.176Z"), "{column}");
    }
    assert_eq!(*entries.value(row, "access_count"), Value::Int(0));
    assert!(row.extra.is_none(), "the inner key repeats the outer one");

    assert_eq!(entries.text(entries.row("key", "null-value"), "value"), "null", "null is a value");
    assert_eq!(entries.text(entries.row("key", ""), "value"), r#""empty key""#);
    let categories = |wanted: &str| entries.texts("category").iter().filter(|category| *category == wanted).count();
    assert_eq!([categories("adr-analysis"), categories("agent-patterns"), categories("general")], [129, 8, 190]);

    let version = streams["(values)"].row("record_key", "version");
    assert_eq!(streams["(values)"].text(version, "record"), r#""3.0.0""#);
    assert_eq!(streams["(values)"].text(version, "file"), ".claude-flow/memory/store.json");
}

#[test]
fn every_real_store_is_read_whole() {
    for (project, memories) in [
        ("claude-flow-3.0.0-to-3.1.0-migrated", 120),
        ("public-Trading-Engine", 4),
        ("public-UE5-3DGS", 8),
        ("public-databricks-agent-interop", 2),
        ("public-orochi-db-1687f466-2026-02-01", 25),
        ("public-orochi-db-5164db4c-2026-01-17", 3),
    ] {
        let streams = read_fixture(&format!("{project}/.claude-flow/memory/store.json"), JsonLayout::Store);
        assert_eq!(streams["entries"].rows.len(), memories, "{project}");
    }
}

#[test]
fn the_namespace_of_the_metadata_counts_and_unknown_members_are_kept() {
    let folder = Folder::new();
    let text = r#"{"entries":{"k":{"key":"other","value":1,"metadata":{"namespace":"plans"},"storedAt":5,
        "tags":["a"],"mood":{"x":[1.50]}}}}"#;
    let mut file = folder.file("store.json", text);
    file.scope = "packages/web".to_owned();
    let streams = read(&JsonSource::new(file, JsonLayout::Store)).expect("valid");
    let entries = &streams["entries"];
    assert_eq!(entries.texts("namespace"), ["plans"]);
    assert_eq!(entries.texts("scope"), ["packages/web"]);
    assert_eq!(entries.texts("tags"), [r#"["a"]"#], "a column of that name takes it");
    assert_eq!(extra(entries, 0), r#"{"key":"other","mood":{"x":[1.50]}}"#);
}

#[test]
fn an_older_store_holds_text_that_may_be_json() {
    let path = "public-agentic-qe-repo-91603259-2026-01-07/memory/memory-store.json";
    let streams = read_fixture(path, JsonLayout::MemoryStore);
    assert_eq!(names(&streams), ["memories"]);
    let memories = &streams["memories"];
    assert_eq!(memories.rows.len(), 72);
    let of = |wanted: &str| memories.texts("namespace").iter().filter(|name| *name == wanted).count();
    assert_eq!([of("default"), of("aqe"), of("coordination"), of("v1.0.2-release")], [45, 18, 6, 3]);
    let row = memories.row("key", "qe-analysis-2025-10-01/fleet/config");
    assert!(memories.text(row, "value").starts_with(r#"{"topology":"hierarchical""#));
    assert_eq!(*memories.value(row, "created_at"), moment("1759310954428"));
    assert_eq!(*memories.value(row, "updated_at"), moment("1759310954428"));
    let row = memories.row("key", "qe-analysis-2025-10-01/fleet/timestamp");
    assert_eq!(memories.text(row, "value"), r#""2025-10-01T09:29:16+00:00""#);
    assert_eq!(row.extra.as_ref().map(|json| json.as_str()), Some(r#"{"value":{"$aqe":"plain"}}"#));
}

#[test]
fn workers_come_with_their_configuration_and_the_rest_is_archived() {
    let streams = read_fixture("claude-flow-3.0.0-alpha.179/.claude-flow/daemon-state.json", JsonLayout::DaemonState);
    assert_eq!(names(&streams), ["(values)", "config", "workers"]);
    let workers = &streams["workers"];
    assert_eq!((workers.rows.len(), workers.set_aside.len()), (7, 0));
    let map = workers.row("worker_type", "map");
    for (column, value) in [
        ("run_count", Value::Int(3)),
        ("failure_count", Value::Int(0)),
        ("average_duration_ms", Value::Float(0.666_666_666_666_666_6)),
        ("last_run", moment("2026-11-22T13:38:36.854Z")),
        ("next_run", Value::Null),
        ("is_running", Value::Bool(false)),
        ("interval_ms", Value::Int(900_000)),
        ("priority", Value::from("normal")),
        ("enabled", Value::Bool(true)),
    ] {
        assert_eq!(*workers.value(map, column), value, "{column}");
    }
    assert!(workers.rows.iter().all(|row| row.extra.is_none()));
    let mut config = streams["config"].texts("record_key");
    config.sort_unstable();
    assert_eq!(config, ["autoStart", "logDir", "maxConcurrent", "resourceThresholds", "stateFile", "workerTimeoutMs"]);
    assert_eq!(streams["(values)"].texts("record_key"), ["running", "savedAt"]);
}

#[test]
fn a_configuration_that_cannot_be_joined_is_archived_as_well() {
    let folder = Folder::new();
    let text = r#"{"workers":{"map":{"runCount":1,"mood":"ok"},"bad":7},
        "config":{"workers":[{"type":"map","colour":"red"},{"type":"idle","enabled":true},5]}}"#;
    let streams = read(&folder.json(text, JsonLayout::DaemonState)).expect("valid");
    let workers = &streams["workers"];
    assert_eq!(workers.texts("worker_type"), ["map", "idle"], "a worker without state is still configured");
    assert_eq!(extra(workers, 0), r#"{"mood":"ok","config.colour":"red"}"#);
    assert_eq!(workers.rejects.len(), 1);
    assert_eq!(workers.rejects[0].key.as_ref().map(ToString::to_string).as_deref(), Some(r#"["","bad"]"#));
    assert_eq!(streams["config"].texts("record_key"), ["workers"], "the 5 has no other place");
}

#[test]
fn a_metric_of_one_object_is_one_row() {
    let of = |name: &str| {
        read_fixture(&format!("claude-flow-3.0.0-alpha.179/.claude-flow/metrics/{name}"), JsonLayout::Metrics)
    };
    let streams = of("codebase-map.json");
    let metrics = &streams["metrics"];
    assert_eq!(metrics.texts("metric"), ["codebase-map"]);
    assert_eq!(metrics.texts("entry"), [""]);
    assert_eq!(*metrics.value(&metrics.rows[0], "timestamp"), moment("2026-11-22T13:38:36.853Z"));
    assert!(metrics.texts("value")[0].contains("1795354716853"));
    assert_eq!(metrics.spec.deletes, Deletes::Tombstone);

    let older = read_fixture("claude-flow-2.7.47/.claude-flow/metrics/performance.json", JsonLayout::Metrics);
    let metrics = &older["metrics"];
    assert_eq!(*metrics.value(&metrics.rows[0], "timestamp"), moment("1795357062866"));
    let empty = read_fixture("claude-flow-2.7.47/.claude-flow/metrics/agent-metrics.json", JsonLayout::Metrics);
    assert_eq!(empty["metrics"].texts("value"), ["{}"]);
}

#[test]
fn a_rolling_list_of_metrics_is_a_row_each_and_never_deletes() {
    let streams = read_fixture("public-UE5-3DGS/.claude-flow/metrics/system-metrics.json", JsonLayout::Metrics);
    let metrics = &streams["metrics"];
    assert_eq!(metrics.rows.len(), 147);
    assert_eq!(metrics.spec.deletes, Deletes::Ignore);
    assert_eq!(metrics.texts("entry")[0], "1767988303040");

    let folder = Folder::new();
    let text = r#"[{"id":"a","v":1},{"id":"a","v":2},{"timestamp":5},{"timestamp":5,"v":1},7,7,{"v":1}]"#;
    let streams = read(&folder.json(text, JsonLayout::Metrics)).expect("valid");
    let entries = streams["metrics"].texts("entry");
    assert_eq!(entries[..4], ["a", "a#2", "5", "5#2"]);
    assert_eq!(entries[5], format!("{}-1", entries[4]), "what has no name is known by its content");
    assert_eq!(streams["metrics"].rows.len(), 7);
}

#[test]
fn memories_with_the_same_id_are_all_kept_and_known_by_their_content() {
    let path = "public-agentic-qe-repo-7363bb12-2026-01-03/.ruvector/intelligence.json";
    let streams = read_fixture(path, JsonLayout::Intelligence);
    let memories = &streams["memories"];
    assert_eq!((memories.rows.len(), memories.set_aside.len()), (150, 0));
    let distinct = |column| {
        let mut texts = memories.texts(column);
        texts.sort_unstable();
        texts.dedup();
        texts.len()
    };
    assert_eq!([distinct("id"), distinct("local_id")], [150, 113]);
    assert!(
        memories.rows.iter().all(|row| matches!(memories.value(row, "embedding"), Value::Vector(v) if v.len() == 64))
    );

    let q_values = &streams["patterns"];
    let row = q_values.row("state", "cmd_shell_general");
    assert_eq!(*q_values.value(row, "q_value"), Value::Float(0.799_999_717_327_332_1));
    assert_eq!(*q_values.value(row, "visits"), Value::Int(141));
    assert_eq!(*q_values.value(row, "last_update"), moment("1767447748"));
    assert_eq!(q_values.text(row, "action"), "success");
    assert!(row.extra.is_none());
    assert_eq!(streams["trajectories"].rows.len(), 328);
    assert_eq!(streams["trajectories"].spec.deletes, Deletes::Ignore);
}

#[test]
fn an_id_does_not_depend_on_the_place_in_the_file() {
    let folder = Folder::new();
    let memory =
        |n: u32| format!(r#"{{"id":"mem_1","memory_type":"edit","content":"m{n}","timestamp":17000000{n:02}}}"#);
    let ids = |memories: &[u32]| {
        let list: Vec<String> = memories.iter().copied().map(memory).collect();
        let text = format!(r#"{{"memories":[{}]}}"#, list.join(","));
        read(&folder.json(text, JsonLayout::Intelligence)).expect("valid")["memories"].texts("id")
    };
    let all = ids(&[1, 2, 3, 3]);
    assert_eq!(ids(&[3, 3]), all[2..], "the oldest are cut off");
    assert_eq!(all[3], format!("{}-1", all[2]));
}

#[test]
fn entries_of_another_shape_are_archived_beside_the_q_values() {
    let streams = read_fixture("ruvector-0.1.100/.ruvector/intelligence.json", JsonLayout::Intelligence);
    assert_eq!(streams["patterns"].rows.len(), 9);
    let others = &streams["patterns (other shapes)"];
    assert_eq!(others.rows.len(), 5);
    let row = others.row("record_key", "edit:.rs");
    assert_eq!(others.text(row, "part"), "patterns");
    assert!(others.text(row, "record").contains("rust-developer"));

    let memories = &streams["memories"];
    assert_eq!((memories.rows.len(), memories.set_aside.len()), (152, 0));
    let row = &memories.rows[0];
    assert_eq!(memories.text(row, "memory_type"), "project");
    assert_eq!(*memories.value(row, "timestamp"), moment("2026-11-22T13:29:13.614Z"));
    assert_eq!([memories.value(row, "embedding"), memories.value(row, "local_id")], [&Value::Null, &Value::Null]);
    let archived = |name: &str| streams[name].rows.len();
    assert_eq!([archived("trajectories"), archived("errors"), archived("stats"), archived("learning")], [124, 6, 6, 7]);
    assert_eq!(archived("edges"), 0);
}

#[test]
fn an_intelligence_file_of_one_unknown_part_is_archived() {
    let path = "public-RuVector-repo-bbbb4f25-2025-12-31/npm/packages/ruvector/.ruvector/intelligence.json";
    let streams = read_fixture(path, JsonLayout::Intelligence);
    assert_eq!(names(&streams), ["learning"]);
    assert_eq!(streams["learning"].rows.len(), 7);
}

#[test]
fn elements_are_known_by_an_id_that_only_one_of_them_has() {
    let folder = Folder::new();
    let text = r#"{"list":[{"id":"a"},{"id":"b","n":1},{"id":"b","n":2},5,5]}"#;
    let list = &read(&folder.json(text, JsonLayout::Archive)).expect("valid")["list"];
    let keys = list.texts("record_key");
    assert_eq!(keys[0], "a");
    assert_eq!((keys[1].len(), keys[2].len()), (32, 32));
    assert_ne!(keys[1], keys[2]);
    assert_eq!(keys[4], format!("{}-1", keys[3]));
    assert_eq!(list.texts("part"), ["list"; 5]);
}

#[test]
fn files_without_a_mapping_are_archived_part_by_part() {
    let path = "claude-flow-3.0.0-alpha.179/.swarm/sona-patterns.json";
    let streams = read_fixture(path, JsonLayout::Archive);
    let counts: Vec<_> = streams.iter().map(|(name, stream)| (name.as_str(), stream.rows.len())).collect();
    assert_eq!(counts, [("(values)", 1), ("metadata", 2), ("patterns", 8), ("stats", 4)]);

    let folder = Folder::new();
    let of = |text: &str| read(&folder.json(text, JsonLayout::Archive)).expect("valid");
    assert_eq!(of("[1,{\"id\":\"x\"}]")["(elements)"].texts("record_key")[1], "x");
    assert_eq!(of(" \"alone\" ")["(values)"].texts("record"), ["\"alone\""]);
    assert!(of("{}").is_empty());
    let many: Vec<String> = (0..300).map(|n| format!(r#""p{n}":{{}}"#)).collect();
    let streams = of(&format!("{{{}}}", many.join(",")));
    assert_eq!((streams.len(), streams["(values)"].rows.len()), (1, 300), "not a stream for each");
}

#[test]
fn priority_and_name_come_from_the_file() {
    use aqe_sync_core::Source as _;
    let mut file = fixture(STORE);
    file.priority = 7;
    let source = JsonSource::new(file, JsonLayout::Store);
    assert_eq!((source.priority(), source.name().as_str()), (7, ".claude-flow/memory/store.json"));
}
