//! What the program says of how a hub is doing, and of what could not be stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use aqe_sync_workspace::postgres::Cluster;
use rusqlite::Connection;
use serde_json::Value;

use crate::program::{json, run, said, sample, swarm_project, text};

const SOURCE: &str = ".swarm/memory.db";
const BAD: &str = "INSERT INTO patterns (id, name, pattern_type, condition, action) \
                   VALUES ('nul' || char(0), 'n', 'code-pattern', 'c', 'a')";
/// Nothing listens there.
const NOWHERE: &str = "postgres://nobody@127.0.0.1:1/x?connect_timeout=1";

fn edit(root: &Path, sql: &str) {
    Connection::open(root.join(SOURCE)).and_then(|db| db.execute_batch(sql)).expect("edited");
}

fn ends_with(code: i32, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    text(&output.stdout)
}

/// The same in an embedded hub and in PostgreSQL.
fn in_each_hub(test: impl Fn(&dyn Fn(&Path, &[&str]) -> Output)) {
    test(&|root, arguments| run(root, arguments));
    let database = Cluster::shared().database();
    let url = database.url();
    test(&|root, arguments| run(root, &[arguments, &["--hub", &url]].concat()));
}

/// Samples by name and labels.
fn metrics(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_figure_is_the_same_in_the_table_for_people_in_json_and_in_the_metrics() {
    in_each_hub(|run| {
        let project = sample();
        let root = project.path();
        edit(root, BAD);
        ends_with(1, &run(root, &[]));
        edit(root, "DELETE FROM memory_entries WHERE id IN (SELECT id FROM memory_entries LIMIT 3)");
        ends_with(1, &run(root, &[]));
        let status = json(&run(root, &["status", "--json"]));
        let metrics = metrics(&ends_with(1, &run(root, &["status", "--prometheus"])));
        let people = ends_with(1, &run(root, &["status"]));
        let runs = json(&run(root, &["history", "--json"]));
        let runs = runs["runs"].as_array().expect("a list");

        let own = &status["environments"][0];
        let of = |name: &str| metrics[&format!("{name}{{environment=\"laptop\"}}")];
        let total = |name: &str| -> f64 { runs.iter().map(|run| number(&run["totals"][name])).sum() };
        assert_eq!(runs.len(), 2);
        for (metric, key, sum) in [
            ("aqe_sync_recent_runs", "runs", 2.0),
            ("aqe_sync_recent_records", "read", total("read")),
            ("aqe_sync_recent_conflicts", "conflicts", total("conflicts")),
            ("aqe_sync_recent_changed_rows", "changed", total("inserted") + total("updated") + total("deleted")),
            ("aqe_sync_recent_records_per_run", "records_per_run", total("read") / 2.0),
        ] {
            assert!((of(metric) - number(&own[key])).abs() < 1e-9 && (of(metric) - sum).abs() < 1e-9, "{metric}");
        }
        assert!((of("aqe_sync_last_duration_seconds") - number(&runs[0]["duration_ms"]) / 1_000.0).abs() < 1e-9);
        let tables = status["tables"].as_array().expect("a list");
        assert!(tables.len() > 15, "{status}");
        for table in tables {
            let name = table["table"].as_str().expect("a name");
            let of = |metric: &str| metrics[&format!("{metric}{{table=\"{name}\"}}")];
            for (metric, key) in [
                ("aqe_sync_table_rows", "rows"),
                ("aqe_sync_table_tombstones", "tombstones"),
                ("aqe_sync_table_size_bytes", "bytes"),
                ("aqe_sync_table_recent_growth_rows", "growth"),
            ] {
                assert!((of(metric) - number(&table[key])).abs() < 1e-9, "{metric} {name}");
            }
            // All of it is new.
            assert_eq!(table["growth"], table["rows"], "{name}");
            assert!(number(&table["bytes"]) > 0.0, "{name}");
            let line = people.lines().find(|line| line.starts_with(&format!("{name} "))).expect("a line");
            let rows = table["rows"].to_string();
            assert!(line.split_whitespace().any(|word| word == rows), "{line}");
        }
        assert!((metrics["aqe_sync_dead_letters"] - 1.0).abs() < 1e-9 && status["dead_letters"] == 1);
        assert!((metrics["aqe_sync_hub_size_bytes"] - number(&status["bytes"])).abs() < 1e-9);
        let streams: f64 =
            own["streams"].as_array().expect("a list").iter().map(|stream| number(&stream["rows"])).sum();
        let rows: f64 = tables.iter().map(|table| number(&table["rows"])).sum();
        assert!((streams - rows).abs() < 1e-9, "{streams} {rows}");
    });
}

#[test]
fn a_letter_is_listed_shown_tried_again_and_dropped() {
    in_each_hub(|run| {
        let project = swarm_project();
        let root = project.path();
        edit(root, BAD);
        ends_with(1, &run(root, &[]));
        let listed = json(&run(root, &["dead-letters", "--json"]));
        assert_eq!(listed["total"], 1, "{listed}");
        let id = listed["dead_letters"][0]["id"].as_str().expect("an id").to_owned();
        let people = ends_with(0, &run(root, &["dead-letters", "list"]));
        assert!(people.contains(&id[..12]) && people.contains("1 dead letter"), "{people}");
        let shown = ends_with(0, &run(root, &["dead-letters", "show", &id[..6].to_uppercase()]));
        assert!(shown.contains("code-pattern") && shown.contains("patterns"), "{shown}");
        let record = &json(&run(root, &["dead-letters", "show", &id, "--json"]))["record"];
        assert!(record.to_string().contains("code-pattern"), "{record}");

        // Nothing became better: it stays, and the reason is said again.
        let again = run(root, &["dead-letters", "retry", &id]);
        assert!(said(&again).contains("1 still open") && said(&again).contains("still "), "{}", said(&again));
        ends_with(1, &again);
        // Corrected at its source.
        edit(root, "UPDATE patterns SET id = 'whole' WHERE name = 'n'");
        let again = json(&run(root, &["dead-letters", "retry", "--json"]));
        assert_eq!((&again["status"], &again["stored"][0]), (&Value::from("ok"), &Value::from(id.as_str())), "{again}");
        assert_eq!(json(&run(root, &["dead-letters", "--json"]))["total"], 0);
        assert_eq!(json(&run(root, &["dead-letters", "--settled", "--json"]))["total"], 1);

        // Its source is gone: it cannot be tried again, and is said to be kept.
        edit(root, BAD);
        ends_with(1, &run(root, &[]));
        std::fs::remove_file(root.join(SOURCE)).expect("removed");
        std::fs::create_dir_all(root.join(".agentic-qe")).expect("created");
        let without = run(root, &["dead-letters", "retry"]);
        assert!(said(&without).contains("the source is not here"), "{}", said(&without));
        ends_with(1, &without);

        let nothing = run(root, &["dead-letters", "drop", "ffffffffffffff"]);
        assert!(said(&nothing).contains("has no dead letter ffffffffffffff"), "{}", said(&nothing));
        ends_with(2, &nothing);
        ends_with(3, &run(root, &["dead-letters", "drop"]));
        let others = run(root, &["dead-letters", "drop", &id, "--env", "somebody-else"]);
        assert!(said(&others).contains("of somebody-else"), "{}", said(&others));
        ends_with(2, &others);
        assert!(ends_with(0, &run(root, &["dead-letters", "drop", "--all"])).contains(" dropped"));
        assert_eq!(json(&run(root, &["dead-letters", "--settled", "--json"]))["total"], 0);
    });
}

#[test]
fn without_its_hub_an_installation_says_what_it_knows_and_counts_the_attempts_that_failed() {
    let project = sample();
    let root = project.path();
    // A hub that is there, and then is not: a database that is renamed meanwhile.
    let database = Cluster::shared().database();
    let url = database.url();
    ends_with(0, &run(root, &["--hub", &url]));
    let name = url.rsplit('/').next().expect("a database").split('?').next().expect("a name").to_owned();
    let away = |from: &str, to: &str| {
        Cluster::shared().psql(&format!("ALTER DATABASE \"{from}\" RENAME TO \"{to}\""));
    };
    away(&name, &format!("{name}_away"));
    ends_with(2, &run(root, &["--hub", &url]));
    let status = run(root, &["status", "--json", "--hub", &url]);
    let seen = json(&status);
    ends_with(2, &status);
    let own = &seen["environments"][0];
    assert_eq!(
        (&own["runs"], &own["failed_runs"], &own["last_status"]),
        (&2.into(), &1.into(), &"failed".into()),
        "{seen}"
    );
    let rows: f64 = own["streams"].as_array().expect("a list").iter().map(|stream| number(&stream["rows"])).sum();
    assert!((rows - 814.0).abs() < 1e-9, "{rows}");
    assert!(seen["error"].as_str().is_some_and(|error| error.contains(&name)), "{seen}");
    assert!(seen["findings"].as_array().expect("a list").iter().any(|one| one["kind"] == "unreachable"), "{seen}");
    let history = run(root, &["history", "--failed", "--hub", &url]);
    assert!(
        said(&history).contains("failed") && said(&history).contains("1 sync of this installation"),
        "{}",
        said(&history)
    );

    away(&format!("{name}_away"), &name);
    ends_with(0, &run(root, &["--hub", &url]));
    let seen = json(&run(root, &["status", "--json", "--hub", &url]));
    let own = &seen["environments"][0];
    assert_eq!(
        (&own["runs"], &own["failed_runs"], &own["last_status"]),
        (&3.into(), &1.into(), &"ok".into()),
        "{seen}"
    );
    assert!(seen.get("error").is_none(), "{seen}");
    // Another installation knows of the failed attempt nothing.
    let other = sample();
    let runs = json(&run(other.path(), &["history", "--json", "--hub", &url]));
    assert_eq!(runs["runs"].as_array().expect("a list").len(), 2);
}

#[test]
fn a_project_that_never_reached_a_hub_says_so_too() {
    let project = swarm_project();
    let output = run(project.path(), &["status", "--hub", NOWHERE]);
    assert!(
        said(&output).contains("nothing answers") && said(&output).contains("critical: 0 records here"),
        "{}",
        said(&output)
    );
    ends_with(2, &output);
    let output = run(project.path(), &["status", "--prometheus", "--hub", NOWHERE]);
    assert!(ends_with(2, &output).contains("aqe_sync_threshold_crossed{kind=\"unreachable\"} 2"));
}

#[test]
fn thresholds_come_from_the_configuration_for_all_and_for_some_streams() {
    let project = swarm_project();
    let root = project.path();
    ends_with(0, &run(root, &[]));
    let with = |text: &str| {
        std::fs::write(root.join("aqe-sync.toml"), text).expect("written");
        run(root, &["status"])
    };
    let hub = Connection::open(root.join(crate::program::HUB)).expect("opened");
    let hours_ago = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-5 hours')";
    hub.execute_batch(&format!(
        "UPDATE sync_history SET started_at = {hours_ago}; UPDATE sync_state SET synced_at = {hours_ago}"
    ))
    .expect("aged");
    drop(hub);
    std::fs::remove_file(root.join(".aqe-sync/runs.jsonl")).expect("removed");
    ends_with(0, &with(""));
    let aged = with("[monitor]\nage_warning = \"4h\"");
    assert!(said(&aged).contains("5 hours ago"), "{}", said(&aged));
    ends_with(1, &aged);
    ends_with(2, &with("[monitor]\nage_critical = \"4h\""));
    ends_with(1, &with("[monitor.streams.claude_flow_memory]\nage_warning = \"1h\""));
    ends_with(0, &with("[monitor]\nage_warning = \"4h\"\n[monitor.streams.\"*\"]\nage_warning = \"6h\""));
    for (wrong, told) in [
        ("[monitor]\nage_warning = \"4\"", "no span of time"),
        ("[monitor]\nage_warning = \"4h\"\nage_critical = \"3h\"", "monitor.age_critical is lower"),
        ("[monitor]\nfailure_rate_warning = 5", "from 0 to 1"),
        ("[monitor.streams.events]\nage = \"1h\"", "unknown key"),
    ] {
        let output = with(wrong);
        assert!(said(&output).contains(told), "{wrong}: {}", said(&output));
        ends_with(3, &output);
    }
    let shown = {
        with("[monitor]\nduration_warning = \"90s\"\n[monitor.streams.events]\nage_warning = \"2h\"");
        ends_with(0, &run(root, &["config"]))
    };
    assert!(shown.contains("monitor.duration_warning") && shown.contains("1m30s"), "{shown}");
    assert!(shown.contains("monitor.streams.events.age_warning"), "{shown}");
}
