//! Records of one file into another of the same layout, or of another one.

use std::collections::{BTreeMap, BTreeSet};

use aqe_sync_core::{Row, Value as Hub, tables};
use rusqlite::types::Value;

use crate::world::{AgentFile, FLOW_2, FLOW_3, Fleet, V2, V2_GOAP_FIRST, V3, V3_ON_V2};

/// Everything that a row says, but for the ids that files give.
fn content(table: &str, rows: &[Row]) -> BTreeSet<String> {
    let spec = tables::find(table).expect("a table");
    let per_file = ["learning_experiences", "mincut_history"].contains(&table);
    let say = |row: &Row| {
        let mut values = row.values.clone();
        for (column, value) in spec.columns().iter().zip(&mut values) {
            let id = column.name.as_str() == "local_id" || (per_file && column.name.as_str() == "id");
            match value {
                // The tool's default where another file has nothing.
                _ if id || column.name.as_str() == "embedding_model" => *value = Hub::Null,
                // Some columns keep whole seconds.
                Hub::Timestamp(moment) => *value = Hub::Int(moment.as_micros() / 1_000_000),
                Hub::Json(json) => {
                    let canonical: serde_json::Value = serde_json::from_str(json.as_str()).expect("JSON");
                    *value = Hub::from(canonical.to_string());
                }
                _ => {}
            }
        }
        format!("{values:?}")
    };
    rows.iter().map(say).collect()
}

/// The types and shapes of all values of a column: letters and digits stand for all.
fn spellings(file: &AgentFile, table: &str, column: &str) -> BTreeSet<String> {
    let rows = file.query(&format!("SELECT \"{column}\" FROM \"{table}\""));
    let shape = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Integer(number) if number.abs() > 1_000_000_000 => {
            format!("integer of {} digits", number.to_string().len())
        }
        Value::Integer(_) => "integer".to_owned(),
        Value::Real(_) => "real".to_owned(),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        Value::Text(text) if text.len() <= 30 && text.starts_with("20") && text.contains(':') => {
            text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect()
        }
        Value::Text(_) => "text".to_owned(),
    };
    rows.iter().map(|row| shape(&row[0])).collect()
}

fn columns(file: &AgentFile, table: &str) -> Vec<String> {
    let rows = file.query(&format!("SELECT name FROM pragma_table_info('{table}')"));
    rows.into_iter()
        .map(|mut row| match row.remove(0) {
            Value::Text(name) => name,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Pulls all that one file has into an emptied copy of it.
fn round_trip(fixture: &str) -> BTreeMap<String, (usize, usize)> {
    let fleet = Fleet::new();
    let (from, to) = (AgentFile::of("from", fixture), AgentFile::emptied("to", fixture));
    from.push(&fleet);
    let schema = to.schema();
    let report = to.pull(&fleet);
    assert_eq!(to.schema(), schema);
    to.is_sound();
    let letters = report.totals.dead_lettered;
    let (had, got) = (from.shown(), to.shown());
    let mut missing = 0;
    let mut counts = BTreeMap::new();
    for (table, rows) in &had {
        let (had, got) = (content(table, rows), content(table, &got[table]));
        assert!(got.is_subset(&had), "{fixture}, {table}: {:#?}", got.difference(&had).next());
        missing += rows.len() - got.len();
        counts.insert(table.clone(), (rows.len(), got.len()));
    }
    assert!(missing as u64 >= letters, "{fixture}: {counts:?}");
    for table in to.local_tables() {
        if to.number(&format!("SELECT count(*) FROM \"{table}\"")) == 0 {
            continue;
        }
        for column in columns(&to, &table) {
            let (had, got) = (spellings(&from, &table, &column), spellings(&to, &table, &column));
            // What a pull cannot know is one of the forms that the column has.
            assert!(!got.is_empty(), "{table}.{column}: {had:?} {got:?}");
        }
    }
    // Nobody's records are another's own now.
    to.push(&fleet);
    assert!(to.own().values().all(Vec::is_empty));
    let again = to.pull(&fleet).totals;
    assert_eq!((again.inserted, again.updated), (0, 0), "{fixture}");
    counts
}

#[test]
fn a_file_of_3x_arrives_whole_in_another() {
    let counts = round_trip(V3);
    assert!(counts.values().all(|(had, got)| had == got), "{counts:?}");
    assert!(counts["qe_patterns"].1 == 40 && counts["mincut_history"].1 == 20, "{counts:?}");
}

#[test]
fn a_file_of_2x_arrives_whole_in_another() {
    let counts = round_trip(V2);
    assert!(counts.values().all(|(had, got)| had == got), "{counts:?}");
    assert!(counts["learning_experiences"].1 == 40 && counts["patterns"].1 == 20, "{counts:?}");
}

#[test]
fn other_shapes_of_2x_and_mixtures_arrive_in_their_like() {
    for fixture in [V2_GOAP_FIRST, V3_ON_V2, FLOW_2, FLOW_3] {
        let counts = round_trip(fixture);
        let (had, got) = counts.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(got * 10 >= had * 9, "{fixture}: {counts:?}");
    }
}

#[test]
fn what_2x_learned_arrives_in_3x_and_the_other_way_round() {
    for (one, other) in [(V2, V3), (V3, V2), (V2, V3_ON_V2), (V2_GOAP_FIRST, V2)] {
        let fleet = Fleet::new();
        let (from, to) = (AgentFile::of("from", one), AgentFile::of("to", other));
        from.push(&fleet);
        to.push(&fleet);
        let (schema, own) = (to.schema(), to.own());
        let report = to.pull(&fleet);
        assert!(report.totals.inserted > 20, "{one} {other}: {:?}", report.totals);
        assert_eq!(to.schema(), schema);
        to.is_sound();
        for (table, rows) in to.own() {
            assert_eq!(content(&table, &rows), content(&table, &own[&table]), "{one} {other}: {table}");
        }
    }
}

#[test]
fn the_tools_own_queries_give_what_was_pulled() {
    let fleet = Fleet::new();
    let (from, to) = (AgentFile::of("from", V3), AgentFile::emptied("to", V3));
    from.push(&fleet);
    to.pull(&fleet);
    for sql in [
        "SELECT id FROM qe_patterns WHERE qe_domain = 'test-generation' ORDER BY quality_score DESC, id",
        "SELECT p.id FROM qe_patterns p JOIN qe_pattern_embeddings e ON e.pattern_id = p.id WHERE e.dimension = 384 ORDER BY 1",
        "SELECT value FROM kv_store WHERE namespace = 'qe-kernel' ORDER BY key",
        "SELECT name FROM goap_actions WHERE category = 'test' ORDER BY name",
        "SELECT id FROM sona_patterns WHERE datetime(created_at) IS NOT NULL ORDER BY id",
    ] {
        assert_eq!(to.query(sql), from.query(sql), "{sql}");
    }
    assert!(!to.query("SELECT 1 FROM qe_patterns WHERE qe_domain = 'test-generation'").is_empty());
}

#[test]
fn values_are_spelled_as_the_file_spells_them() {
    let fleet = Fleet::new();
    let from = AgentFile::of("from", V2);
    // The other spells its moments as ISO 8601 in one table and as seconds in the other.
    let to = AgentFile::emptied("to", V2);
    to.edit(
        "INSERT INTO patterns (id, pattern, confidence, created_at) VALUES ('mine', 'mine', 0.5, '2026-01-11T13:01:08.000Z');
         INSERT INTO memory_entries (key, partition, value, created_at) VALUES ('mine', 'p', '1', 1768136468);",
    );
    from.push(&fleet);
    to.pull(&fleet);
    assert_eq!(spellings(&to, "patterns", "created_at"), BTreeSet::from(["0000-00-00T00:00:00.000Z".to_owned()]));
    assert_eq!(spellings(&to, "memory_entries", "created_at"), BTreeSet::from(["integer of 10 digits".to_owned()]));
}

#[test]
fn an_update_leaves_what_does_not_differ_as_it_is_spelled() {
    let fleet = Fleet::new();
    let (from, to) = (AgentFile::of("from", V3), AgentFile::of("to", V3));
    let id = "SELECT id FROM qe_patterns WHERE template_json IS NOT NULL LIMIT 1";
    let Value::Text(id) = from.query(id).remove(0).remove(0) else { panic!("no id") };
    to.edit(&format!("UPDATE qe_patterns SET template_json = '  ' || template_json WHERE id = '{id}'"));
    from.edit(&format!("UPDATE qe_patterns SET confidence = 1.0, description = 'better' WHERE id = '{id}'"));
    let of = |column: &str| format!("SELECT {column} FROM qe_patterns WHERE id = '{id}'");
    let template = to.query(&of("template_json"));
    from.push(&fleet);
    to.pull(&fleet);
    assert_eq!(to.query(&of("description")), [[Value::Text("better".to_owned())]]);
    assert_eq!(to.query(&of("template_json")), template);
}

#[test]
fn unknown_columns_are_left_alone() {
    let fleet = Fleet::new();
    let (from, to) = (AgentFile::of("from", V3), AgentFile::of("to", V3));
    to.edit("ALTER TABLE qe_patterns ADD COLUMN mood TEXT DEFAULT 'calm'; UPDATE qe_patterns SET mood = 'curious'");
    from.edit("UPDATE qe_patterns SET confidence = 1.0, description = 'better'");
    from.push(&fleet);
    assert!(to.pull(&fleet).totals.updated > 50);
    assert_eq!(to.number("SELECT count(*) FROM qe_patterns WHERE mood <> 'curious' OR description <> 'better'"), 0);
}
