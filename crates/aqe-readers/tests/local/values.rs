//! Values that no column expects: kept whole, named with their row.

use aqe_sync_core::{Report, Status, StreamReport};
use rusqlite::params;
use rusqlite::types::Value;

use crate::project::{Project, ROOT_DB, V2, V3, V3_DB, assert_says, query, stream, text};

/// Syncs a project of which one stream has remarks, and gives its account.
fn partial(project: &Project, name: &str) -> (Report, StreamReport) {
    let report = project.sync();
    assert_eq!(report.status, Status::Partial, "{report:#?}");
    assert_eq!(report.totals.deleted, 0);
    let of_stream = report.streams.iter().find(|stream| stream.stream.as_str() == name).expect("the stream").clone();
    assert_eq!(of_stream.status, Status::Partial);
    let others = report.streams.iter().filter(|stream| stream.stream.as_str() != name);
    for other in others {
        assert_eq!(other.status, Status::Ok, "{other:?}");
    }
    (report, of_stream)
}

#[test]
fn a_value_of_the_wrong_type_is_set_aside_and_its_column_left_empty() {
    let project = Project::with(V2, ROOT_DB);
    let id = "7289a38d-302a-41da-90c5-d1326f1027b8";
    project.edit(
        ROOT_DB,
        "UPDATE patterns SET confidence = 'high', usage_count = 'often', ttl = 1.5, pattern = x'00ff', \
         created_at = 'yesterday', metadata = x'01' WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8'",
    );
    let (_, account) = partial(&project, "patterns");
    assert_eq!((account.counters.inserted, account.counters.set_aside), (20, 6));
    for column in ["confidence", "usage_count", "ttl", "pattern", "created_at", "metadata"] {
        let warning = account.warnings.iter().find(|warning| warning.contains(&format!("column {column}:")));
        let warning = warning.unwrap_or_else(|| panic!("{column} in {:?}", account.warnings));
        assert_says(
            warning,
            &[".agentic-qe/memory.db, table patterns, row", id, "extra column", "correct it at its source"],
        );
    }
    let nulls = "SELECT confidence, usage_count, ttl, pattern, created_at, metadata FROM patterns WHERE id = ";
    assert_eq!(project.rows(&format!("{nulls}'{id}'")), [vec![Value::Null; 6]]);
    let kept = |path: &str| project.value(&format!("SELECT extra ->> '{path}' FROM patterns WHERE id = '{id}'"));
    assert_eq!(
        ["$.confidence", "$.usage_count", "$.ttl", "$.pattern.base64", "$.created_at", "$.metadata.base64"].map(kept),
        [text("high"), text("often"), Value::Real(1.5), text("AP8="), text("yesterday"), text("AQ==")]
    );
}

#[test]
fn text_in_a_blob_column_is_set_aside() {
    let project = Project::with(V3, V3_DB);
    project.edit(V3_DB, "UPDATE qe_pattern_embeddings SET embedding = 'soon' WHERE pattern_id = 'pattern-0-cache'");
    let (_, account) = partial(&project, "qe_patterns");
    assert_says(&account.warnings[0], &[V3_DB, "table qe_patterns", "row pattern-0-cache", "column embedding"]);
    let row = project.rows("SELECT embedding, extra ->> '$.embedding' FROM qe_patterns WHERE id = 'pattern-0-cache'");
    assert_eq!(row, [[Value::Null, text("soon")]]);
}

#[test]
fn an_embedding_with_a_broken_component_or_length_is_set_aside_with_all_its_bytes() {
    let project = Project::with(V3, V3_DB);
    let database = project.open(V3_DB);
    let with = |number: f32| [number.to_le_bytes().to_vec(), vec![0; 1532]].concat();
    let broken = [with(f32::NAN), with(f32::INFINITY), vec![1; 1535], vec![2; 3]];
    let ids = query(&database, "SELECT id FROM sona_patterns ORDER BY id LIMIT 4");
    for (id, bytes) in ids.iter().zip(&broken) {
        let sql = "UPDATE sona_patterns SET state_embedding = ?2 WHERE id = ?1";
        assert_eq!(database.execute(sql, params![id[0], bytes]), Ok(1));
    }
    drop(database);
    let (_, account) = partial(&project, "sona_patterns");
    assert_eq!((account.counters.inserted, account.counters.set_aside), (15, 4), "{account:?}");
    for (id, bytes) in ids.iter().zip(&broken) {
        let sql = "SELECT state_embedding, extra ->> '$.state_embedding.base64' FROM sona_patterns WHERE id = ?1";
        let (column, base64): (Value, String) =
            project.hub().query_row(sql, [&id[0]], |row| Ok((row.get(0)?, row.get(1)?))).expect("a row");
        assert_eq!(column, Value::Null);
        assert_eq!(aqe_sync_core::aside::from_base64(&base64).as_deref(), Some(bytes.as_slice()));
    }
}

#[test]
fn every_unit_of_time_in_one_column_is_told_by_its_magnitude() {
    let project = Project::with(V2, ROOT_DB);
    project.edit(
        ROOT_DB,
        "UPDATE events SET timestamp = CASE rowid % 4 WHEN 0 THEN 1795355616 WHEN 1 THEN 1795355616000
         WHEN 2 THEN 1795355616000000 ELSE '2026-11-22T13:53:36Z' END",
    );
    assert_eq!(project.sync().status, Status::Ok);
    let moments = "SELECT DISTINCT timestamp FROM events WHERE source <> 'aqe-sync'";
    assert_eq!(project.text(moments), "2026-11-22T13:53:36.000000Z");
}

#[test]
fn infinity_is_a_double_and_arrives_as_one() {
    let project = Project::with(V2, ROOT_DB);
    project.edit(ROOT_DB, "UPDATE learning_experiences SET reward = 9e999 WHERE id = 33");
    assert_eq!(project.sync().status, Status::Ok);
    let reward = project.value("SELECT reward FROM learning_experiences WHERE local_id = 33");
    assert_eq!(reward, Value::Real(f64::INFINITY));
    assert!(!project.sync().totals.changed_anything());
}

#[test]
fn text_with_nul_or_without_utf8_is_set_aside_in_a_value() {
    let project = Project::with(V2, ROOT_DB);
    project.edit(
        ROOT_DB,
        "UPDATE patterns SET pattern = 'a' || char(0) || 'b', domain = CAST(x'ff41' AS TEXT)
         WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8'",
    );
    let (_, account) = partial(&project, "patterns");
    assert_says(&account.warnings.join("\n"), &["U+0000", "not UTF-8", "row 7289a38d"]);
    let row = project.rows(
        "SELECT pattern, domain, extra ->> '$.pattern.base64', extra ->> '$.domain.base64' FROM patterns \
         WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8'",
    );
    assert_eq!(row, [[Value::Null, Value::Null, text("YQBi"), text("/0E=")]]);
}

#[test]
fn a_record_whose_key_no_hub_can_hold_is_a_dead_letter_and_nothing_is_deleted() {
    let project = Project::with(V2, ROOT_DB);
    project.sync();
    project.edit(
        ROOT_DB,
        "DELETE FROM patterns WHERE id = '7289a38d-302a-41da-90c5-d1326f1027b8';
         INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('nul' || char(0), 'one', 0.5, 0),
           (CAST(x'fe' AS TEXT), 'two', 0.5, 0), (NULL, 'three', 0.5, 0), (x'0102', 'four', 0.5, 0)",
    );
    let (report, account) = partial(&project, "patterns");
    assert_eq!((account.counters.read, account.counters.unchanged, account.counters.dead_lettered), (23, 19, 4));
    assert_says(
        &account.warnings[0],
        &[ROOT_DB, "table patterns", "row id=", "dead_letters", "correct it at its source"],
    );
    assert_eq!(report.totals.deleted, 0, "the missing row may be one of these");
    let kept = project.rows("SELECT record ->> '$.pattern' FROM dead_letters WHERE table_name = 'patterns' ORDER BY 1");
    assert_eq!(kept, ["four", "one", "three", "two"].map(|word| [text(word)]));
    let base64 = project.rows("SELECT record ->> '$.id.base64' FROM dead_letters ORDER BY 1");
    assert_eq!(base64, [[Value::Null], [text("/g==")], [text("AQI=")], [text("bnVsAA==")]]);
    project.sync();
    assert_eq!(project.count("SELECT count(*) FROM dead_letters"), 4, "met again, kept once");
}

#[test]
fn a_value_of_fifty_megabytes_arrives_whole() {
    let project = Project::with(V2, ROOT_DB);
    let value = format!("{{\"huge\":\"{}\"}}", "x".repeat(50 << 20));
    let database = project.open(ROOT_DB);
    database.execute("UPDATE memory_entries SET value = ?1 WHERE key = 'k22'", [&value]).expect("written");
    drop(database);
    let report = project.sync();
    assert_eq!(report.status, Status::Ok, "{report:#?}");
    assert_eq!(stream(&report, ROOT_DB, "memory_entries").counters.inserted, 70);
    let stored = project.text("SELECT value FROM memory_entries WHERE key = 'k22' AND partition = 'aqe/test'");
    assert!(stored == value, "{} of {} bytes", stored.len(), value.len());
}
