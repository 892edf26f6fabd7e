//! Whether everything arrived, and as what.

use crate::{Outcome, Place};

/// The source's tables, and the columns of their keys.
pub(crate) const KEYS: [(&str, &str); 8] = [
    ("qe_patterns", "id"),
    ("qe_pattern_embeddings", "pattern_id"),
    ("kv_store", "namespace, key"),
    ("sona_patterns", "id"),
    ("rl_q_values", "id"),
    ("captured_experiences", "id"),
    ("routing_outcomes", "id"),
    ("goap_plans", "id"),
];

/// What became of an embedding, of JSON, of a time as text, and of one in milliseconds.
const SAMPLES: [(&str, &str); 4] = [
    ("qe_pattern_embeddings", "embedding"),
    ("qe_patterns", "template_json"),
    ("qe_patterns", "created_at"),
    ("kv_store", "created_at"),
];

/// The same in the hub's tables.
const HUB_SAMPLES: [(&str, &str); 4] = [
    ("qe_patterns", "embedding"),
    ("qe_patterns", "template_json"),
    ("qe_patterns", "created_at"),
    ("memory_entries", "created_at"),
];

/// Compares a copy of the source's tables with the source: rows, embeddings' bytes, changes.
pub(crate) fn tables(place: &Place, schema: &str) -> Outcome<String> {
    let source = rusqlite::Connection::open(place.file())?;
    for (table, _) in KEYS {
        let wanted: i64 = source.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        same(
            &format!("rows of {table}"),
            wanted,
            &place.server.psql(&format!("SELECT count(*) FROM {schema}.{table}")),
        )?;
    }
    let touched = "SELECT count(*) FROM {}qe_patterns WHERE description = '\"touched\"'";
    let wanted: i64 = source.query_row(&touched.replace("{}", ""), [], |row| row.get(0))?;
    same("changed patterns", wanted, &place.server.psql(&touched.replace("{}", &format!("{schema}."))))?;
    let kind = kinds(place, schema, SAMPLES);
    let keys = place.server.psql(&format!(
        "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND connamespace = '{schema}'::regnamespace \
         AND conrelid::regclass::text NOT LIKE '%\\_dlt\\_%'"
    ));
    let whole = if kind.starts_with("bytea") {
        let wanted = "SELECT sum(length(embedding)) FROM {}qe_pattern_embeddings";
        let bytes: i64 = source.query_row(&wanted.replace("{}", ""), [], |row| row.get(0))?;
        same("bytes of embeddings", bytes, &place.server.psql(&wanted.replace("{}", &format!("{schema}."))))?;
        ""
    } else {
        " (embeddings are not bytes)"
    };
    Ok(format!("all rows; embedding, JSON, time, milliseconds: {kind}{whole}; {keys} of 8 primary keys"))
}

/// Counts the hub's rows: each record with its embedding is one.
pub(crate) fn hub(place: &Place) -> Outcome<String> {
    let source = rusqlite::Connection::open(place.file())?;
    let mut wanted = 0;
    for (table, _) in KEYS.iter().filter(|(table, _)| *table != "qe_pattern_embeddings") {
        wanted += source.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))?;
    }
    let counts = place.server.psql(
        "SELECT string_agg(format('SELECT %L, count(*) FROM aqe.%I', table_name, table_name), ' UNION ALL ') \
         FROM information_schema.columns WHERE table_schema = 'aqe' AND column_name = 'content_hash' AND table_name <> 'events'",
    );
    let counts = place.server.psql(&counts);
    let found: i64 = counts.lines().filter_map(|line| line.rsplit('|').next()?.parse::<i64>().ok()).sum();
    same(&format!("rows of the hub\n{counts}\n"), wanted, &found.to_string())?;
    let kind = kinds(place, "aqe", HUB_SAMPLES);
    Ok(format!("all rows, verified; embedding, JSON, time, milliseconds: {kind}; keys by environment"))
}

fn same(what: &str, wanted: i64, found: &str) -> Outcome<()> {
    let equal = found.trim() == wanted.to_string();
    equal.then_some(()).ok_or_else(|| format!("{what}: {} of {wanted}", found.trim()).into())
}

fn kinds(place: &Place, schema: &str, columns: [(&str, &str); 4]) -> String {
    let kinds = columns.map(|(table, column)| {
        let kind = place.server.psql(&format!(
            "SELECT udt_name FROM information_schema.columns WHERE table_schema = '{schema}' \
             AND table_name = '{table}' AND column_name = '{column}'"
        ));
        if kind.trim().is_empty() { "nothing".to_owned() } else { kind.trim().to_owned() }
    });
    kinds.join(", ")
}
