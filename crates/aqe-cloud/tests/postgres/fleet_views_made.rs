//! The fleet's views by name, and when hubs get them.

use std::sync::Arc;

use aqe_cloud::postgres::schema;
use aqe_readers::EmbeddedHub;
use aqe_sync_core::fleet::FleetHub as _;
use aqe_sync_core::{ColumnSpec, Sink, TableSpec, Value, tables};
use aqe_sync_workspace::postgres::{Binaries, Cluster, Database};
use futures::executor::block_on;
use rusqlite::Connection;

use crate::schema_world::{self, dump};
use crate::sink_world::{delivery, hub, open, stream, upsert};

/// A row of a table from a few of its columns.
fn row(table: &TableSpec, columns: &[(&str, Value)]) -> Vec<Value> {
    let given = |column: &ColumnSpec| columns.iter().find(|(name, _)| *name == column.name.as_str());
    table.columns().iter().map(|column| given(column).map_or(Value::Null, |(_, value)| value.clone())).collect()
}

fn send<H: Sink>(hub: &H, environment: &str, table: &str, values: &[(&str, Value)]) {
    let table: &Arc<TableSpec> = tables::find(table).unwrap();
    block_on(hub.prepare(table)).unwrap();
    let id = stream(environment, "a.db", table.name().as_str());
    block_on(hub.push(&id, table, delivery(vec![upsert(table, row(table, values), None)]))).unwrap();
}

/// A pattern in each table of patterns, and a Q-value, by two environments.
fn fill<H: Sink>(hub: &H) {
    for (environment, uses) in [("ci", 1), ("laptop", 3)] {
        for table in ["patterns", "qe_patterns", "sona_patterns"] {
            let rate = Value::Float(uses as f64 / 4.0);
            let values = [
                ("id", "p".into()),
                ("domain", "tests".into()),
                ("usage_count", Value::Int(uses)),
                ("success_rate", rate),
            ];
            send(hub, environment, table, &values);
        }
        let key = ["scope", "algorithm", "agent_id", "state", "action"].map(|name| (name, Value::from("s")));
        let values = [("visits", Value::Int(uses)), ("q_value", Value::Float(2.5))];
        send(hub, environment, "qlearning_patterns", &[key.as_slice(), &values].concat());
    }
}

const PATTERNS: &str = "SELECT hub_table || ' ' || domain || ' ' || usage_count || ' ' || \
                        coalesce(success_rate, 9.5) || ' ' || winner || ' ' || environment_count \
                        FROM fleet_patterns ORDER BY 1";
const Q_VALUES: &str = "SELECT visits || ' ' || q_value || ' ' || winner FROM fleet_qvalues";
const ENVIRONMENTS: &str = "SELECT environment || ' ' || live_rows || ' ' || deleted_rows || ' ' || \
                            CASE WHEN last_sync IS NULL THEN 'never' ELSE 'synced' END || \
                            CASE WHEN excluded THEN ' excluded' ELSE '' END FROM fleet_environments ORDER BY 1";
const COUNTS: &str = "SELECT tables FROM fleet_environments WHERE environment = 'ci'";

#[test]
fn the_named_views_show_the_fleet_in_both_hubs() {
    let (database, folder) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let (postgres, path) = (hub(&database.url()), folder.path().join("hub.db"));
    let embedded = EmbeddedHub::open(&path).unwrap();
    fill(&postgres);
    fill(&embedded);
    block_on(postgres.exclude(&"gone".into(), true)).unwrap();
    block_on(embedded.exclude(&"gone".into(), true)).unwrap();
    let connection = Connection::open(&path).unwrap();
    let in_sqlite = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let in_postgres = |sql: &str| -> Vec<String> {
        database.psql(&format!("SET search_path = aqe; {sql}")).lines().map(str::to_owned).collect()
    };
    for look in [&in_sqlite as &dyn Fn(&str) -> Vec<String>, &in_postgres] {
        // (1·0.25 + 3·0.75) ÷ 4
        let patterns =
            ["patterns tests 4 0.625 ci 2", "qe_patterns tests 4 0.625 ci 2", "sona_patterns tests 4 9.5 ci 2"];
        assert_eq!(look(PATTERNS), patterns);
        assert_eq!(look(Q_VALUES), ["4 2.5 ci"]);
        assert_eq!(look(ENVIRONMENTS), ["ci 4 0 synced", "gone 0 0 never excluded", "laptop 4 0 synced"]);
        let counts: serde_json::Value = serde_json::from_str(&look(COUNTS).concat()).unwrap();
        assert_eq!(counts["qe_patterns"], serde_json::json!({"live": 1, "deleted": 0}));
    }
}

fn use_it(database: &Database) {
    block_on(hub(&database.url()).prepare(tables::find("patterns").unwrap())).unwrap();
}

#[test]
fn views_that_are_older_or_gone_are_made_anew_and_newer_ones_stay() {
    let database = Cluster::shared().database();
    let columns = || {
        database.psql(
            "SELECT count(*) FROM information_schema.columns \
             WHERE table_schema = 'aqe' AND table_name = 'fleet_qvalues'",
        )
    };
    let other_version = |number: u32| {
        database.psql(&format!(
            "DROP VIEW aqe.fleet_qvalues; CREATE VIEW aqe.fleet_qvalues AS SELECT 1 AS one; \
             UPDATE aqe.hub_info SET value = '{number}' WHERE key = 'fleet_views'"
        ));
        use_it(&database);
    };
    use_it(&database);
    let all = columns();
    other_version(0);
    assert_eq!(columns(), all, "columns moved, which they cannot in place");
    other_version(99);
    assert_eq!(columns(), "1", "another program's are newer");
    database
        .psql("UPDATE aqe.hub_info SET value = '1' WHERE key = 'fleet_views'; DROP VIEW aqe.merged_patterns CASCADE");
    use_it(&database);
    assert_eq!(database.psql("SELECT count(*) FROM aqe.fleet_patterns"), "0");
}

#[test]
fn columns_may_come_to_tables_that_views_show() {
    let database = Cluster::shared().database();
    use_it(&database);
    database.psql("ALTER TABLE aqe.patterns ADD COLUMN mine text");
    send(&hub(&database.url()), "ci", "patterns", &[("id", "p".into())]);
    assert_eq!(database.psql("SELECT count(*) FROM aqe.fleet_patterns"), "1");
}

#[test]
fn who_may_not_make_views_does_without_and_is_told() {
    let database = Cluster::shared().database();
    let role = database.psql("SELECT current_database() || '_writer'");
    block_on(hub(&database.url()).prepare_all(tables::all())).unwrap();
    database.psql(&format!(
        "DROP VIEW aqe.fleet_qvalues; CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA aqe TO {role}; \
         GRANT ALL ON ALL TABLES IN SCHEMA aqe TO {role}"
    ));
    let hub = open(&database.url().replace("postgres@", &format!("{role}@"))).unwrap();
    let told = hub.warnings().join("\n");
    assert!(told.contains("the fleet's views are missing") && told.contains("run aqe-sync init"), "{told}");
    block_on(hub.prepare_all(tables::all())).unwrap();
    send(&hub, "ci", "patterns", &[("id", "p".into())]);
    assert_eq!(database.psql("SELECT count(*) FROM aqe.patterns"), "1");
    drop(hub);
    database.psql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn what_depends_on_a_view_stops_init_and_no_sync() {
    let database = Cluster::shared().database();
    use_it(&database);
    database.psql(
        "CREATE VIEW aqe.ours AS SELECT * FROM aqe.fleet_qvalues; \
         UPDATE aqe.hub_info SET value = '0' WHERE key = 'fleet_views'",
    );
    let said = block_on(hub(&database.url()).prepare_all(tables::all())).unwrap_err().to_string();
    assert!(said.contains("making the fleet's views"), "{said}");
    send(&hub(&database.url()), "ci", "patterns", &[("id", "p".into())]);
    assert_eq!(database.psql("SELECT count(*) FROM aqe.fleet_patterns"), "1");
}

#[test]
fn init_and_the_script_that_it_prints_make_the_same_views() {
    let (made, run) = (Cluster::shared().database(), Cluster::shared().database());
    block_on(hub(&made.url()).prepare_all(tables::all())).unwrap();
    let flavour = schema::Flavour::expected(schema::VectorKind::None);
    let script = schema::script(&schema_world::name("aqe"), &flavour, &schema::Setup::default(), tables::all());
    run.psql(&script);
    run.psql(&script);
    let views = |database: &Database| -> Vec<String> {
        let dump = dump(database, &Binaries::find(), "--schema-only");
        dump.split(";\n").filter(|part| part.contains("CREATE VIEW")).map(str::to_owned).collect()
    };
    assert_eq!(views(&made), views(&run));
    assert!(views(&made).iter().any(|view| view.contains("fleet_environments")));
}
