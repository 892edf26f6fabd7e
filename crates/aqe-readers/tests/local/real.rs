//! What the tools really wrote: every row arrives, with every value as it was.

use aqe_sync_core::Status;
use rusqlite::types::Value;

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB, query, text};

const SWARM_DB: &str = ".swarm/memory.db";
const GOAP_FIRST: &str = "agentic-qe-2.8.2-goapfirst/.agentic-qe/memory.db";
const ON_2X: &str = "agentic-qe-3.3.0-on-2.x-db/.agentic-qe/memory.db";

/// A project of one file, synced without a remark.
fn synced(file: &str, at: &str) -> Project {
    let project = Project::with(file, at);
    let report = project.sync();
    assert_eq!((report.totals.dead_lettered, report.status), (0, Status::Ok), "{report:#?}");
    project
}

fn assert_counts(file: &str, at: &str, expected: &[(&str, i64)]) {
    let expected = expected.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect();
    assert_eq!(synced(file, at).counts(), expected, "{file}");
}

#[test]
fn every_row_of_files_written_by_agentic_qe_arrives() {
    assert_counts(GOAP_FIRST, ROOT_DB, &[("goap_actions", 30), ("goap_plans", 20)]);
    let v2 = [
        ("archive_records", 52),
        ("events", 40),
        ("goap_actions", 30),
        ("goap_plans", 10),
        ("learning_experiences", 40),
        ("memory_entries", 70),
        ("patterns", 20),
        ("qlearning_patterns", 20),
    ];
    assert_counts(V2, ROOT_DB, &v2);
    let v3 = [
        ("archive_records", 40),
        ("goap_actions", 60),
        ("goap_plans", 20),
        ("memory_entries", 45),
        ("mincut_alerts", 6),
        ("mincut_healing_actions", 6),
        ("mincut_history", 20),
        ("mincut_observations", 12),
        ("mincut_snapshots", 10),
        ("mincut_weak_vertices", 6),
        ("qe_patterns", 40),
        ("sona_patterns", 15),
    ];
    assert_counts(V3, V3_DB, &v3);
    assert_counts(ON_2X, ROOT_DB, &[("archive_records", 11), ("goap_actions", 12), ("memory_entries", 20)]);
    let project = "public-agentic-qe-repo-86ccaa6e-2025-11-03/.agentic-qe/memory.db";
    assert_counts(project, ROOT_DB, &[("events", 2), ("memory_entries", 4)]);
    let project = [
        ("archive_records", 23),
        ("events", 6),
        ("goap_actions", 16),
        ("learning_experiences", 7),
        ("memory_entries", 25),
        ("patterns", 5),
        ("qlearning_patterns", 7),
    ];
    assert_counts("public-0xSCADA/.agentic-qe/memory.db", ROOT_DB, &project);
}

#[test]
fn every_row_of_files_written_by_claude_flow_arrives() {
    let second = "claude-flow-2.7.47/.swarm/memory.db";
    assert_counts(second, SWARM_DB, &[("claude_flow_memory", 110), ("patterns", 9)]);
    for (third, memories) in [("3.0.0-alpha.179", 45), ("3.1.0-alpha.2", 45), ("3.0.0-to-3.1.0-migrated", 12)]
        .map(|(v, n)| (v, i64::from(n)))
    {
        let file = format!("claude-flow-{third}/.swarm/memory.db");
        assert_counts(&file, SWARM_DB, &[("archive_records", 10), ("claude_flow_memory", memories)]);
    }
}

#[test]
fn a_live_database_is_read_through_its_wal_and_left_alone() {
    let project = Project::of("agentic-qe-3.3.0-live");
    // `sync` compares names, bytes and times of the whole project.
    let report = project.sync();
    assert_eq!(report.status, Status::Ok, "{report:#?}");
    assert_eq!(project.count("SELECT count(*) FROM memory_entries"), 123);
    assert_eq!(project.read(&format!("{V3_DB}-shm")).len(), 32_768);
}

#[test]
fn moments_in_every_spelling_become_utc_with_microseconds() {
    let v2 = synced(V2, ROOT_DB);
    let at = |local: i64| format!("SELECT created_at FROM learning_experiences WHERE local_id = {local}");
    assert_eq!(v2.text(&at(33)), "2026-11-22T13:59:23.687000Z", "milliseconds");
    assert_eq!(v2.text(&at(2)), "2026-11-22T13:53:51.000000Z", "SQLite's text");
    let swarm = synced("claude-flow-2.7.47/.swarm/memory.db", SWARM_DB);
    let seconds = "SELECT created_at FROM claude_flow_memory WHERE key = 'active_swarm'";
    assert_eq!(swarm.text(seconds), "2026-11-22T13:31:53.000000Z", "seconds");
    let v3 = synced(V3, V3_DB);
    let of_row = "SELECT created_at, updated_at FROM sona_patterns WHERE id = 'qesona-1795356423337-xwe6odq'";
    let expected = [text("2026-11-22T14:07:03.337000Z"), text("2026-11-22T14:07:03.000000Z")];
    assert_eq!(v3.rows(of_row), [expected], "ISO 8601 and SQLite's text in one row");
}

#[test]
fn reals_keep_every_bit() {
    let v2 = synced(V2, ROOT_DB);
    let reward = v2.value("SELECT reward FROM learning_experiences WHERE local_id = 2");
    assert_eq!(reward, Value::Real(1.466_566_666_666_666_6));
    let q = "SELECT q_value FROM qlearning_patterns WHERE agent_id = 'qe-code-reviewer' AND state = 'coverage:low' \
             AND action = 'boundary'";
    assert_eq!(v2.value(q), Value::Real(0.337_499_999_999_999_97));
}

#[test]
fn json_is_kept_as_it_is_spelled_and_plain_text_is_marked() {
    let v2 = synced(V2, ROOT_DB);
    let of = |key: &str, partition: &str| {
        v2.text(&format!("SELECT value FROM memory_entries WHERE key = '{key}' AND partition = '{partition}'"))
    };
    assert_eq!(of("k22", "aqe/test"), "22");
    assert_eq!(of("k34", "goap"), r#""{\"stringified\":true,\"i\":34}""#);
    assert_eq!(of("orders:run:14", "aqe/policies"), r#""multi\nline ✓ ünï 日本語 \"q\"""#);
    let plain = v2.rows("SELECT state, extra FROM learning_experiences WHERE local_id = 493");
    assert_eq!(plain[0][0], text(r#""plain-state-string-0""#));
    let extra = format!("{:?}", plain[0][1]).replace('\\', "");
    assert!(extra.contains(r#""state":{"$aqe":"plain"}"#) && extra.contains(r#""action":{"$aqe":"plain"}"#), "{extra}");

    let swarm = synced("claude-flow-2.7.47/.swarm/memory.db", SWARM_DB);
    assert_eq!(
        swarm.text("SELECT value FROM claude_flow_memory WHERE key = 'auth/run/2'"),
        r#""{not json: 2""#,
        "text that only begins like JSON"
    );
}

#[test]
fn text_that_looks_like_a_moment_or_a_number_stays_text() {
    let project = Project::with(V2, ROOT_DB);
    project.edit(
        ROOT_DB,
        "UPDATE patterns SET pattern = '2026-01-11 13:01:08', agent_id = '1753200000000-aaaa', domain = '1753200000', \
         usage_count = 1000000000 WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8'",
    );
    project.sync();
    let row = project.rows(
        "SELECT pattern, agent_id, domain, usage_count FROM patterns WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8'",
    );
    let expected =
        [text("2026-01-11 13:01:08"), text("1753200000000-aaaa"), text("1753200000"), Value::Integer(1_000_000_000)];
    assert_eq!(row, [expected]);
}

#[test]
fn embeddings_are_the_bytes_of_their_source() {
    let project = synced(V3, V3_DB);
    let source = project.open(V3_DB);
    let pairs = query(&source, "SELECT pattern_id, embedding FROM qe_pattern_embeddings ORDER BY 1");
    assert_eq!(pairs.len(), 25);
    assert!(pairs.iter().all(|row| matches!(&row[1], Value::Blob(bytes) if bytes.len() == 1536)));
    let stored = project.rows("SELECT id, embedding FROM qe_patterns WHERE embedding IS NOT NULL ORDER BY 1");
    assert_eq!(stored, pairs);
    let models = project.rows("SELECT DISTINCT embedding_model FROM qe_patterns WHERE embedding IS NOT NULL");
    assert_eq!(models, [[text("all-MiniLM-L6-v2")]]);
}

#[test]
fn an_embedding_of_another_dimension_is_kept_whole_aside() {
    let project = synced("claude-flow-3.0.0-alpha.179/.swarm/memory.db", SWARM_DB);
    let source = project.open(SWARM_DB);
    let sql = "SELECT key, json_array_length(embedding), embedding FROM memory_entries ORDER BY namespace, key";
    let with_vector = query(&source, sql);
    assert!(with_vector.iter().all(|row| row[1] == Value::Integer(128)));
    let stored = project.rows(
        "SELECT key, embedding_dimensions, json_extract(extra, '$.embedding') FROM claude_flow_memory \
         WHERE embedding IS NULL ORDER BY namespace, key",
    );
    assert_eq!(stored, with_vector, "the very spelling");
}

#[test]
fn actions_with_ids_made_up_per_database_are_keyed_by_name_and_agent() {
    let third = synced(V3, V3_DB);
    let action = third.rows("SELECT id, local_id FROM goap_actions WHERE name = 'measure-coverage'");
    let expected = [text("measure-coverage|qe-coverage-specialist"), text("action-1795356423402-f6cfbe98")];
    assert_eq!(action, [expected]);
    let second = synced(V2, ROOT_DB);
    let action = second.rows("SELECT id, local_id, cost FROM goap_actions WHERE name = 'Generate Missing Tests'");
    assert_eq!(action, [[text("qg-generate-tests"), text("qg-generate-tests"), Value::Real(2.0)]]);
}

#[test]
fn ids_that_count_rows_of_one_file_name_that_file_and_the_content() {
    let project = synced(V2, ROOT_DB);
    let id = project.text("SELECT id FROM learning_experiences WHERE local_id = 33");
    let digest = id.strip_prefix("33@.agentic-qe/memory.db~").unwrap_or_else(|| panic!("{id}"));
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[test]
fn q_values_are_keyed_by_algorithm_agent_state_and_action() {
    let project = Project::with(V2, ROOT_DB);
    project.edit(
        ROOT_DB,
        "CREATE TABLE rl_q_values (id TEXT PRIMARY KEY, algorithm TEXT, agent_id TEXT, state_key TEXT, action_key TEXT,
           q_value REAL, visits INTEGER, updated_at TEXT);
         INSERT INTO rl_q_values VALUES ('a', 'sarsa', 'qe-coverage-analyzer', 'flaky:cache', 'property-based', 0.5, 2, NULL),
           ('b', 'q-learning', 'qe-coverage-analyzer', 'flaky:cache', 'property-based', 0.25, 3, NULL)",
    );
    project.sync();
    let rows = project.rows(
        "SELECT algorithm, q_value, visits FROM qlearning_patterns WHERE agent_id = 'qe-coverage-analyzer' \
         AND state = 'flaky:cache' AND action = 'property-based' ORDER BY 1",
    );
    let row = |algorithm: &str, q: f64, visits: i64| vec![text(algorithm), Value::Real(q), Value::Integer(visits)];
    assert_eq!(rows, [row("", 0.36, 4), row("q-learning", 0.25, 3), row("sarsa", 0.5, 2)]);
}

#[test]
fn unknown_columns_go_to_extra_and_unknown_tables_to_the_archive() {
    let project = Project::with(V3, V3_DB);
    project.edit(
        V3_DB,
        "ALTER TABLE qe_patterns ADD COLUMN mood TEXT; UPDATE qe_patterns SET mood = 'glad' WHERE id = 'pattern-0-cache';
         CREATE TABLE novelty (id TEXT PRIMARY KEY, weight REAL); INSERT INTO novelty VALUES ('n1', 0.5)",
    );
    project.sync();
    let mood = "SELECT json_extract(extra, '$.mood') FROM qe_patterns WHERE id = 'pattern-0-cache'";
    assert_eq!(project.text(mood), "glad");
    let rows = project.rows("SELECT file, part, record_key, record FROM archive_records WHERE part = 'novelty'");
    assert_eq!(rows, [[text(V3_DB), text("novelty"), text("n1"), text(r#"{"id":"n1","weight":0.5}"#)]]);
}

#[test]
fn an_embedding_without_its_pattern_is_archived() {
    let project = Project::with(V3, V3_DB);
    project.edit(V3_DB, "PRAGMA foreign_keys = OFF; DELETE FROM qe_patterns WHERE id = 'pattern-0-cache'");
    project.sync();
    let archived = project.rows(
        "SELECT record_key, json_extract(record, '$.embedding.$aqe') FROM archive_records \
         WHERE part = 'qe_pattern_embeddings'",
    );
    assert_eq!(archived, [[text("pattern-0-cache"), text("bytes")]]);
    assert_eq!(project.count("SELECT count(*) FROM qe_patterns WHERE embedding IS NOT NULL"), 24);
}

#[test]
fn plans_of_all_shapes_fill_the_same_columns() {
    let (orchestration, migration) = (Project::with(V2, ROOT_DB), Project::with(V2, ROOT_DB));
    // As GOAPTaskOrchestration creates it.
    orchestration.edit(
        ROOT_DB,
        "ALTER TABLE goap_plans ADD COLUMN action_sequence TEXT; ALTER TABLE goap_plans ADD COLUMN status TEXT;
         ALTER TABLE goap_plans ADD COLUMN success INTEGER; ALTER TABLE goap_plans ADD COLUMN estimated_duration INTEGER;
         UPDATE goap_plans SET action_sequence = '[{\"id\":\"a\"}]', status = 'completed', success = 1,
           estimated_duration = 120 WHERE id = 'plan-0'",
    );
    // As the migrations create it.
    migration.edit(
        ROOT_DB,
        "DROP TABLE goap_plans; CREATE TABLE goap_plans (id TEXT PRIMARY KEY, goal_id TEXT, actions TEXT NOT NULL,
           created_at INTEGER DEFAULT (strftime('%s','now')));
         INSERT INTO goap_plans VALUES ('plan-0', 'goal-0', '[\"act-1\"]', 1795356189)",
    );
    let of = |project: &Project, columns: &str, id: &str| {
        let report = project.sync();
        assert_eq!(report.status, Status::Ok, "{report:#?}");
        project.rows(&format!("SELECT {columns} FROM goap_plans WHERE id = '{id}'")).remove(0)
    };
    let manager = of(&Project::with(V2, ROOT_DB), "goal_id, sequence, total_cost, created_at", "plan-0");
    let created = text("2026-11-22T14:03:09.981000Z");
    assert_eq!(manager, [text("goal-0"), text(r#"["act-1","act-2"]"#), Value::Real(4.0), created]);
    let row = of(&orchestration, "action_sequence, status, success, estimated_duration_ms", "plan-0");
    assert_eq!(row, [text(r#"[{"id":"a"}]"#), text("completed"), Value::Integer(1), Value::Integer(120)]);
    let row =
        of(&Project::with(GOAP_FIRST, ROOT_DB), "status, success, total_cost, completed_at", "plan-1795356278780-x1");
    let completed = text("2026-11-22T14:05:17.000000Z");
    assert_eq!(row, [text("completed"), Value::Integer(1), Value::Real(6.5), completed]);
    let row = of(&migration, "goal_id, action_sequence, created_at", "plan-0");
    assert_eq!(row, [text("goal-0"), text(r#"["act-1"]"#), text("2026-11-22T14:03:09.000000Z")]);
    let id = "plan-b8933823-ee89-42f9-a617-1640d37bf7e9";
    let row = of(&Project::with(V3, V3_DB), "status, total_cost, estimated_duration_ms", id);
    assert_eq!(row, [text("pending"), Value::Real(2.5), Value::Integer(1000)]);
}
