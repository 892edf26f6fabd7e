//! The views of both hubs say what `fleet::merge` says of the same rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aqe_readers::EmbeddedHub;
use aqe_sync_core::fleet::{Contribution, FleetHub, FleetRecord, counts_only, merge};
use aqe_sync_core::{
    Change, ColumnSpec, ColumnType, Environment, Json, Key, Operation, Pushed, Role, Row, Sink, TableSpec, Timestamp,
    Value, tables,
};
use aqe_sync_workspace::postgres::{Cluster, Database};
use fastrand::Rng;
use futures::executor::block_on;
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use crate::sink_world::{delivery, hub, stream};

const ENVIRONMENTS: [&str; 5] = ["Zeta", "ci", "laptop", "müller", "ci2"];

/// Tables of which there are merged views.
fn counting() -> Vec<&'static Arc<TableSpec>> {
    let counts = |column: &ColumnSpec| matches!(column.role, Role::Counter | Role::Rate { .. });
    tables::all().iter().filter(|table| table.columns().iter().any(counts)).collect()
}

fn shown(table: &TableSpec) -> Vec<&ColumnSpec> {
    table.columns().iter().filter(|column| !matches!(column.kind, ColumnType::Vector(_))).collect()
}

fn any_double(random: &mut Rng) -> f64 {
    const ODD: [f64; 12] = [
        0.0,
        -0.0,
        1.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e-280,
        1e280,
        -1e280,
        f64::MAX,
        f64::MIN_POSITIVE,
        9.9e-281,
    ];
    match random.u8(..4) {
        0 => ODD[random.usize(..ODD.len())],
        1 => f64::from(random.u8(..4)) / 4.0,
        2 => -random.f64() * 1e6,
        _ => random.f64(),
    }
}

fn any_number(random: &mut Rng) -> i64 {
    const ODD: [i64; 6] = [i64::MAX, i64::MIN, 0, -1, 1 << 53, (1 << 53) + 1];
    match random.u8(..8) {
        0 => ODD[random.usize(..ODD.len())],
        1 => random.i64(..),
        _ => random.i64(0..50),
    }
}

fn any_value(random: &mut Rng, column: &ColumnSpec) -> Value {
    const TEXTS: [&str; 5] = ["", "a", "it's", "ö\n\"", "b"];
    const DOCUMENTS: [&str; 3] = ["{}", "[1, \"x\"]", "{\"a\": 1.5}"];
    if random.u8(..5) == 0 {
        return Value::Null;
    }
    match column.kind {
        ColumnType::Bool => Value::Bool(random.bool()),
        ColumnType::Int => Value::Int(any_number(random)),
        ColumnType::Float => Value::Float(any_double(random)),
        ColumnType::Text => Value::from(TEXTS[random.usize(..TEXTS.len())]),
        ColumnType::Bytes => Value::Bytes(vec![random.u8(..3)]),
        ColumnType::Json => Value::Json(Json::from_text(DOCUMENTS[random.usize(..DOCUMENTS.len())])),
        ColumnType::Timestamp => Value::Timestamp(Timestamp::from_micros(random.i64(-3..3) * 1_234_567).unwrap()),
        ColumnType::Vector(_) => Value::Null,
    }
}

fn any_row(random: &mut Rng, table: &TableSpec, number: i64) -> Row {
    let keys = table.key_columns().len();
    let counted = |column: &ColumnSpec| matches!(column.role, Role::Counter | Role::Rate { .. } | Role::Confidence);
    let values = table.columns().iter().enumerate().map(|(position, column)| match column.kind {
        ColumnType::Int if position < keys => Value::Int(number),
        _ if position < keys => Value::from(format!("key {number}'")),
        // Of every second key most say the same, so that some agree.
        _ if number % 2 == 0 && !counted(column) && random.u8(..40) > 0 => Value::Null,
        _ => any_value(random, column),
    });
    let values = values.collect();
    match random.u8(..8) {
        0 => counts_only(table, values),
        1 => Row::new(table, values, Some(Json::from_text("{\"more\": 1}"))),
        _ => Row::new(table, values, None),
    }
}

/// Rows of several environments, some of them deleted again; gives the keys.
fn fill<H: Sink>(hub: &H, table: &Arc<TableSpec>, random: &mut Rng) -> Vec<Key> {
    block_on(hub.prepare(table)).unwrap();
    let mut keys = BTreeMap::new();
    for environment in &ENVIRONMENTS[..random.usize(2..=ENVIRONMENTS.len())] {
        let id = stream(environment, "a.db", table.name().as_str());
        let (mut rows, mut deleted) = (Vec::new(), Vec::new());
        for number in 0..12 {
            if random.u8(..3) == 0 {
                continue;
            }
            let row = any_row(random, table, number);
            let (key, hash) = (row.key(table), row.hash);
            keys.insert(number, key.clone());
            if random.u8(..10) == 0 {
                deleted.push(Change { key: key.clone(), operation: Operation::Delete, base: Some(hash) });
            }
            rows.push(Change { key, operation: Operation::Upsert(row), base: None });
        }
        for changes in [rows, deleted] {
            let pushed = block_on(hub.push(&id, table, delivery(changes))).unwrap();
            assert!(matches!(pushed, Pushed::Committed(..)));
        }
    }
    keys.into_values().collect()
}

/// What `merge` makes of rows as the hub gives them back, with the rows.
type Wanted = Vec<(FleetRecord, Vec<Contribution>)>;

fn wanted<H: FleetHub>(hub: &H, table: &Arc<TableSpec>, keys: &[Key]) -> Wanted {
    let excluded = block_on(hub.standing()).unwrap().excluded;
    let all = block_on(hub.contributions(table, keys.to_vec())).unwrap();
    let merged = all.into_iter().filter_map(|mut all| {
        all.retain(|one| !one.deleted && !excluded.contains(&one.environment));
        merge(table, &all).map(|record| (record, all))
    });
    merged.collect()
}

/// A view's rows: the columns of the table, then winner, environments, their number, agreeing.
type Seen = Vec<Vec<Cell>>;

const ABOUT: &str = "winner, environments, environment_count, agreeing";

fn in_postgres(database: &Database, table: &TableSpec) -> Seen {
    let columns = shown(table).into_iter().map(|column| match (column.kind, column.name.quoted()) {
        (ColumnType::Float, name) => format!("encode(float8send({name}), 'hex')"),
        (ColumnType::Timestamp, name) => {
            format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        }
        (_, name) => format!("{name}::text"),
    });
    let columns: Vec<String> = columns.collect();
    let about = "winner, to_json(environments)::text, environment_count::text, agreeing::text";
    let sql = format!(
        "SELECT json_build_array({}, {about})::text FROM aqe.merged_{}",
        columns.join(", "),
        table.name().as_str()
    );
    let cell = |(position, text): (usize, Option<String>)| match (text, shown(table).get(position)) {
        (None, _) => Cell::Null,
        (Some(bits), Some(column)) if column.kind == ColumnType::Float => {
            Cell::Real(f64::from_bits(u64::from_str_radix(&bits, 16).unwrap()))
        }
        (Some(text), _) => Cell::Text(text),
    };
    let said = database.psql(&sql);
    let rows = said.lines().map(|line| serde_json::from_str::<Vec<Option<String>>>(line).unwrap());
    rows.map(|row| row.into_iter().enumerate().map(cell).collect()).collect()
}

fn in_sqlite(path: &Path, table: &TableSpec) -> Seen {
    let columns: Vec<String> = shown(table).into_iter().map(|column| column.name.quoted().to_string()).collect();
    let sql = format!("SELECT {}, {ABOUT} FROM merged_{}", columns.join(", "), table.name().as_str());
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(&sql).unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// A value as a view shows it.
fn as_cell(value: &Value, in_sqlite: bool) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Float(number) => Cell::Real(*number),
        Value::Bool(value) if in_sqlite => Cell::Integer(i64::from(*value)),
        Value::Int(number) if in_sqlite => Cell::Integer(*number),
        Value::Bytes(bytes) => Cell::Blob(bytes.clone()),
        Value::Bool(value) => Cell::Text(value.to_string()),
        Value::Int(number) => Cell::Text(number.to_string()),
        Value::Text(text) => Cell::Text(text.clone()),
        Value::Json(json) => Cell::Text(json.as_str().to_owned()),
        Value::Timestamp(moment) => Cell::Text(moment.to_string()),
        other => panic!("no view shows {other:?}"),
    }
}

/// How far SQLite's compensated sum may be from a plain one: a rounding per environment.
fn tolerance(table: &TableSpec, column: &ColumnSpec, all: &[Contribution]) -> f64 {
    let Role::Rate { weight } = &column.role else { return 0.0 };
    let (rate, weight) = (table.position(column.name.as_str()).unwrap(), table.position(weight.as_str()).unwrap());
    let parts = all.iter().filter_map(|one| {
        let (rate, count) = (one.row.values[rate].as_f64()?.abs(), one.row.values[weight].as_f64()?);
        (count > 0.0 && (rate == 0.0 || (1e-280..=1e280).contains(&rate))).then_some((rate * count, count))
    });
    let (sum, count) = parts.fold((0.0, 0.0), |(sum, count), part| (sum + part.0, count + part.1));
    if count > 0.0 { all.len() as f64 * f64::EPSILON * sum / count } else { 0.0 }
}

fn same(seen: &Cell, wanted: &Cell, within: f64) -> bool {
    match (seen, wanted) {
        (Cell::Real(seen), Cell::Real(wanted)) => {
            seen.to_bits() == wanted.to_bits() || (seen - wanted).abs() <= within && within > 0.0
        }
        (seen, wanted) => seen == wanted,
    }
}

fn compare(table: &TableSpec, seen: &Seen, wanted: &Wanted, in_sqlite: bool) {
    let (columns, keys, name) = (shown(table), table.key_columns().len(), table.name().as_str());
    assert_eq!(seen.len(), wanted.len(), "records of {name}");
    for (record, all) in wanted {
        let cells = columns
            .iter()
            .map(|column| as_cell(&record.row.values[table.position(column.name.as_str()).unwrap()], in_sqlite));
        let cells: Vec<Cell> = cells.collect();
        let row = seen.iter().find(|row| row[..keys] == cells[..keys]);
        let row = row.unwrap_or_else(|| panic!("{:?} of {name} is missing", &cells[..keys]));
        for ((cell, wanted), column) in row.iter().zip(&cells).zip(&columns) {
            let within = if in_sqlite { tolerance(table, column, all) } else { 0.0 };
            let column = column.name.as_str();
            assert!(same(cell, wanted, within), "{name}.{column}: {cell:?}, and merge says {wanted:?} of {all:#?}");
        }
        let environments: Vec<&str> = record.environments.iter().map(Environment::as_str).collect();
        let number = |number: usize| as_cell(&Value::Int(i64::try_from(number).unwrap()), in_sqlite);
        let about = [
            Cell::Text(record.winner.to_string()),
            Cell::Text(serde_json::to_string(&environments).unwrap()),
            number(environments.len()),
            number(record.agreeing),
        ];
        assert_eq!(row[columns.len()..], about, "{ABOUT} of {name} from {all:#?}");
    }
}

#[test]
fn views_say_what_merge_says_of_any_rows() {
    for seed in 0..6 {
        println!("seed {seed}");
        let (database, folder) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
        let (postgres, path) = (hub(&database.url()), folder.path().join("hub.db"));
        let embedded = EmbeddedHub::open(&path).unwrap();
        let mut random = Rng::with_seed(seed);
        let out = ENVIRONMENTS[random.usize(..ENVIRONMENTS.len())].into();
        block_on(postgres.exclude(&out, true)).unwrap();
        block_on(embedded.exclude(&out, true)).unwrap();
        for table in counting() {
            let keys = fill(&postgres, table, &mut random);
            compare(table, &in_postgres(&database, table), &wanted(&postgres, table, &keys), false);
            let keys = fill(&embedded, table, &mut random);
            compare(table, &in_sqlite(&path, table), &wanted(&embedded, table, &keys), true);
        }
    }
}
