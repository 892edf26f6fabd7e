//! Tables of odd shapes and names: every row of them arrives somewhere.

use std::fmt::Write as _;

use aqe_sync_core::Status;
use rusqlite::types::Value;

use crate::project::{Project, ROOT_DB, stream, text};

fn synced(sql: &str) -> Project {
    let project = Project::empty();
    project.edit(ROOT_DB, sql);
    let report = project.sync();
    assert_eq!((report.status, report.totals.dead_lettered), (Status::Ok, 0), "{report:#?}");
    project
}

#[test]
fn tables_and_columns_of_any_name_are_archived() {
    let long = "n".repeat(100);
    let names = ["q\"uo'te", "semi;colon--", &long, "", "späße 日本", "%s\\", "hub_info", "sync_state", "select"];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut sql = String::new();
    for name in names {
        let (table, column) = (quoted(name), quoted(&format!("c{name}")));
        let _ = write!(sql, "CREATE TABLE {table} (id TEXT PRIMARY KEY, {column} TEXT);");
        let _ = write!(sql, "INSERT INTO {table} VALUES ('k', 'v');");
    }
    let project = synced(&sql);
    for name in names {
        let sql = "SELECT record FROM archive_records WHERE part = ?1 AND record_key = 'k'";
        let record: String =
            project.hub().query_row(sql, [name], |row| row.get(0)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut expected = serde_json::json!({"id": "k"});
        expected[format!("c{name}")] = "v".into();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&record).expect("JSON"), expected);
    }
    assert!(!project.sync().totals.changed_anything());
}

#[test]
fn a_column_of_no_name_is_kept() {
    let project = synced("CREATE TABLE t (id TEXT PRIMARY KEY, \"\" TEXT); INSERT INTO t VALUES ('k', 'v')");
    assert_eq!(project.text("SELECT record FROM archive_records"), r#"{"id":"k","":"v"}"#);
}

#[test]
fn a_table_named_like_one_of_the_hub_but_with_other_columns_is_archived() {
    let project = synced(
        "CREATE TABLE qe_patterns (code TEXT PRIMARY KEY, n INTEGER); INSERT INTO qe_patterns VALUES ('a', 1);
         CREATE TABLE events (id TEXT PRIMARY KEY); INSERT INTO events VALUES ('e');
         CREATE TABLE archive_records (id TEXT PRIMARY KEY); INSERT INTO archive_records VALUES ('r')",
    );
    let rows = project.rows("SELECT part, record_key FROM archive_records ORDER BY part");
    let row = |part: &str, key: &str| [text(part), text(key)];
    assert_eq!(rows, [row("archive_records", "r"), row("events", "e"), row("qe_patterns", "a")]);
}

#[test]
fn columns_named_like_the_hubs_own_go_to_extra() {
    let project = synced(
        "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, source TEXT, stream TEXT, extra TEXT, source_env TEXT,
           content_hash INTEGER, merged_from TEXT, sync_version INTEGER, deleted_at TEXT, synced_at TEXT);
         INSERT INTO patterns VALUES ('p', 'x', 's', 't', '{\"a\":1}', 'e', 7, 'm', 8, 'd', 'y')",
    );
    let row = project.rows("SELECT source_env, source, stream, deleted_at, merged_from, sync_version FROM patterns");
    let expected = [text("test"), text(ROOT_DB), text("patterns"), Value::Null, Value::Null, Value::Integer(1)];
    assert_eq!(row, [expected]);
    let extra: serde_json::Value = serde_json::from_str(&project.text("SELECT extra FROM patterns")).expect("JSON");
    let expected = serde_json::json!({
        "source": "s", "stream": "t", "extra": "{\"a\":1}", "source_env": "e", "content_hash": 7, "merged_from": "m",
        "sync_version": 8, "deleted_at": "d", "synced_at": "y",
    });
    assert_eq!(extra, expected);
}

#[test]
fn columns_that_take_the_name_of_a_renamed_or_computed_one_are_kept_beside_it() {
    let project = synced(
        "CREATE TABLE kv_store (key TEXT, namespace TEXT, partition TEXT, scope TEXT, value TEXT,
           PRIMARY KEY (namespace, key));
         INSERT INTO kv_store VALUES ('k', 'one', 'p', 's', '1'), ('k', 'two', 'p', 's', '2')",
    );
    assert_eq!(
        project.rows("SELECT scope, partition, value FROM memory_entries ORDER BY 2"),
        [[text(""), text("one"), text("1")], [text(""), text("two"), text("2")],]
    );
}

#[test]
fn indexes_over_other_tables_are_left_out_with_a_note_and_views_too() {
    let project = Project::empty();
    project.edit(
        ROOT_DB,
        "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES ('n', 'hello');
         CREATE VIRTUAL TABLE notes_fts USING fts5 (body, content = 'notes'); INSERT INTO notes_fts VALUES ('hello');
         CREATE VIEW shown AS SELECT * FROM notes",
    );
    let report = project.sync();
    assert_eq!(report.status, Status::Ok);
    assert_eq!(project.rows("SELECT part FROM archive_records"), [[text("notes")]]);
    assert!(report.notes.iter().any(|note| note.contains(ROOT_DB) && note.contains("notes_fts")), "{:?}", report.notes);
}

#[test]
fn what_only_a_full_text_table_holds_is_kept() {
    let project = synced("CREATE VIRTUAL TABLE journal USING fts5 (body); INSERT INTO journal VALUES ('hello')");
    let rows = project.rows("SELECT part, json_extract(record, '$.c0') FROM archive_records");
    assert_eq!(rows, [[text("journal_content"), text("hello")]]);
}

#[test]
fn tables_without_row_ids_and_generated_columns_are_read() {
    let project = synced(
        "CREATE TABLE w (a INTEGER, b TEXT, n INTEGER, twice INTEGER AS (n * 2) STORED, PRIMARY KEY (a, b)) WITHOUT ROWID;
         INSERT INTO w (a, b, n) VALUES (1, 'x', 5)",
    );
    let row = project.rows("SELECT record_key, record FROM archive_records");
    assert_eq!(row, [[text(r#"[1,"x"]"#), text(r#"{"a":1,"b":"x","n":5}"#)]]);
}

#[test]
fn rows_without_a_key_are_told_apart_by_content_and_number() {
    let project = Project::empty();
    project.edit(ROOT_DB, "CREATE TABLE log (line TEXT); INSERT INTO log VALUES ('a'), ('b'), ('a'), (NULL)");
    assert_eq!(project.sync().totals.inserted, 4);
    project.edit(ROOT_DB, "DELETE FROM log WHERE rowid = 1");
    let report = project.sync();
    assert_eq!((report.totals.inserted, report.totals.deleted), (0, 1), "one of the two equal lines is gone");
}

#[test]
fn a_null_primary_key_is_kept_in_the_archive() {
    let project = synced("CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES (NULL, 'a'), (NULL, 'b')");
    assert_eq!(project.rows("SELECT record ->> '$.v' FROM archive_records ORDER BY 1"), [[text("a")], [text("b")]]);
}

#[test]
fn ids_that_count_rows_cannot_overwrite_history_when_a_file_is_made_anew() {
    let project = Project::empty();
    let create =
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT, payload TEXT, timestamp INTEGER);";
    project.edit(ROOT_DB, &format!("{create} INSERT INTO events VALUES (1, 'old', '{{}}', 1795355616000)"));
    project.sync();
    std::fs::remove_file(project.path(ROOT_DB)).expect("removed");
    project.edit(ROOT_DB, &format!("{create} INSERT INTO events VALUES (1, 'new', '{{}}', 1795355617000)"));
    let report = project.sync();
    assert_eq!(stream(&report, ROOT_DB, "events").counters.inserted, 1);
    let events = project.rows("SELECT type FROM events WHERE source <> 'aqe-sync' AND deleted_at IS NULL ORDER BY 1");
    assert_eq!(events, [[text("new")], [text("old")]]);
}

#[test]
fn embeddings_without_their_record_are_archived_whatever_shape_their_table_has() {
    for (columns, ending, orphans) in [
        ("pattern_id TEXT PRIMARY KEY, embedding BLOB", "", 2),
        ("pattern_id TEXT, embedding BLOB", "", 2),
        ("pattern_id TEXT PRIMARY KEY, embedding BLOB", "WITHOUT ROWID", 1),
        ("pattern_id TEXT PRIMARY KEY, embedding BLOB, _ROWID_ INTEGER", "", 2),
    ] {
        let mut sql = format!(
            "CREATE TABLE qe_patterns (id TEXT PRIMARY KEY, name TEXT); \
             CREATE TABLE qe_pattern_embeddings ({columns}) {ending}; \
             INSERT INTO qe_patterns VALUES ('a', 'A'), ('b', 'B'); \
             INSERT INTO qe_pattern_embeddings (pattern_id, embedding) VALUES ('b', zeroblob(1536)), ('gone', x'01');"
        );
        // A key may be null where SQLite does not forbid it.
        if orphans == 2 {
            sql.push_str("INSERT INTO qe_pattern_embeddings (pattern_id, embedding) VALUES (NULL, x'02');");
        }
        let project = synced(&sql);
        let archived = "SELECT count(*) FROM archive_records WHERE part = 'qe_pattern_embeddings'";
        assert_eq!(project.value(archived), Value::Integer(orphans), "{columns} {ending}");
        let embedded = "SELECT group_concat(id) FROM qe_patterns WHERE embedding IS NOT NULL";
        assert_eq!(project.value(embedded), text("b"), "{columns} {ending}");
    }
}
