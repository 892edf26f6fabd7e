//! Real files, every rule of `docs/TYPE_MAPPING.md`, and environments side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqe_readers::{EmbeddedHub, LedgerFile, discover};
use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::{
    Change, ColumnType, DynSource, Engine, Mode, Operation, Options, Record, Report, Schema, Silent, Sink, StreamId,
    TableSpec, Value, Verdict, verify_deep,
};
use aqe_sync_workspace::postgres::{Cluster, Database};
use aqe_sync_workspace::type_mapping::{Section, sections};
use aqe_sync_workspace::vectors;
use futures::TryStreamExt as _;
use futures::executor::block_on;

use crate::faults_world::errors;
use crate::sink_world::{committed, deletion, hash_of, hub, push, sound, stream, upsert};

pub(crate) fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn sources(root: &Path) -> Vec<Box<dyn DynSource>> {
    discover(root).unwrap().found.into_iter().map(|found| found.source).collect()
}

pub(crate) fn sync(hub: &impl Sink, root: &Path, ledger: &Path, mode: Mode) -> Report {
    let ledger = LedgerFile::open(ledger, &block_on(hub.identity()).unwrap()).unwrap();
    let options = Options::new("env".into()).mode(mode);
    block_on(Engine::new(hub, &ledger, &Silent, options).run(&sources(root))).unwrap()
}

/// The hash of every row of every stream, made anew from what is stored.
pub(crate) fn content(hub: &impl Sink, root: &Path) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for source in sources(root) {
        // A file that cannot be read has no streams to ask for.
        for spec in block_on(source.streams_dyn()).unwrap_or_default() {
            let id = StreamId { environment: "env".into(), source: source.name().clone(), stream: spec.name.clone() };
            let rows: Vec<_> = block_on(hub.recomputed(&id, &spec.table).try_collect::<Vec<_>>()).unwrap();
            for row in rows.into_iter().flatten() {
                assert!(row.sound, "{id} {}", row.key);
                all.insert(format!("{id} {}", row.key), row.hash.to_i64());
            }
        }
    }
    all
}

/// Every row of every table, the account of runs aside.
fn dump(database: &Database) -> String {
    let tables = database.psql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'aqe' ORDER BY 1");
    // A checkpoint moves with every run that reads.
    let content = tables.lines().filter(|table| !["sync_history", "sync_state"].contains(table));
    let hash = |table| format!("SELECT '{table}', md5(string_agg(t::text, '' ORDER BY t::text)) FROM aqe.{table} t");
    database.psql(&content.map(hash).collect::<Vec<_>>().join(" UNION ALL "))
}

fn both_hubs_hold_the_same(root: &Path, database: &Database) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedHub::open(&folder.path().join("hub.db")).unwrap();
    let postgres = hub(&database.url());
    let ledger = folder.path().join("postgres.ledger");
    let report = sync(&postgres, root, &ledger, Mode::Incremental);
    let wanted = sync(&embedded, root, &folder.path().join("embedded.ledger"), Mode::Incremental);
    // Some of the files are damaged, for either hub alike.
    let account = |report: &Report| (report.status, report.totals, errors(report));
    assert_eq!(account(&report), account(&wanted), "{}", root.display());
    let rows = content(&postgres, root);
    assert_eq!(rows, content(&embedded, root), "{}", root.display());
    assert_eq!(verdict(&postgres, root), verdict(&embedded, root), "{}", root.display());
    let before = dump(database);
    for mode in [Mode::Incremental, Mode::Full] {
        sync(&postgres, root, &ledger, mode);
        assert_eq!(dump(database), before, "{}: again, {mode:?}", root.display());
    }
    rows.len()
}

/// What a deep comparison says; nothing differs but what cannot be read.
pub(crate) fn verdict(hub: &impl Sink, root: &Path) -> Verdict {
    let report = block_on(verify_deep(hub, &sources(root), &Options::new("env".into()))).unwrap();
    let unlike = report.streams.iter().filter(|stream| !stream.matches() && stream.error.is_none());
    assert_eq!(unlike.count(), 0, "{}: {report:?}", root.display());
    report.status
}

#[test]
fn real_projects_arrive_as_in_the_embedded_hub_and_again_is_without_effect() {
    let mut rows = 0;
    for folder in std::fs::read_dir(workspace("tests/fixtures")).unwrap() {
        let root = folder.unwrap().path();
        if root.is_dir() {
            rows += both_hubs_hold_the_same(&root, &Cluster::shared().database());
        }
    }
    assert!(rows > 500, "only {rows} rows were found: where are the projects?");
}

/// The table of a section, with one change per rule.
fn table_of(section: &Section) -> (Arc<TableSpec>, Vec<Change>) {
    let table = TableSpec::builder(section.name).key("id", ColumnType::Int);
    // Fields without a column end up in `extra`, whatever the columns are.
    let table = table.column("v", section.column.unwrap_or(ColumnType::Int)).build().unwrap();
    let schema = Schema::new(["id", if section.column.is_some() { "v" } else { "w" }]);
    let coercer = Coercer::new(Arc::clone(&table), Arc::clone(&schema));
    let changes = (0..).zip(&section.rules).map(|(number, rule)| {
        let record = Record::new(Arc::clone(&schema), vec![Value::Int(number), rule.source.clone()]);
        let row = coercer.row(record).unwrap().row;
        Change { key: row.key(&table), operation: Operation::Upsert(row), base: None }
    });
    let changes = changes.collect();
    (table, changes)
}

/// The core's own test walks the same rules from records to rows; this one goes on to the server and back.
fn every_rule_survives_the_server(database: &Database) {
    let hub = hub(&database.url());
    for section in sections() {
        let name = section.name;
        let (table, changes) = table_of(&section);
        block_on(hub.prepare(&table)).unwrap();
        let id = stream("env", "a.db", name);
        let wanted = changes.iter().map(|change| (change.key.to_string(), hash_of(change))).collect();
        let count = changes.len();
        assert_eq!(committed(push(&hub, &id, &table, changes)).0.inserted, count as u64, "{name}");
        assert_eq!(sound(&hub, &id, &table), wanted, "{name}");
    }
}

#[test]
fn every_rule_of_the_type_mapping_survives_the_server() {
    every_rule_survives_the_server(&Cluster::shared().database());
    for (cluster, extension) in [(vectors::ruvector(), "ruvector"), (vectors::pgvector(), "vector")] {
        let Some(cluster) = cluster else { continue };
        let database = cluster.database();
        database.psql(&format!("CREATE EXTENSION {extension}"));
        every_rule_survives_the_server(&database);
    }
}

#[test]
fn environments_with_the_same_ids_do_not_touch_each_others_rows() {
    let database = Cluster::shared().database();
    let hub = hub(&database.url());
    let table =
        TableSpec::builder("notes").key("id", ColumnType::Text).column("body", ColumnType::Text).build().unwrap();
    block_on(hub.prepare(&table)).unwrap();
    let [one, two] = ["one", "two"].map(|environment| stream(environment, "a.db", "notes"));
    let change = |body: &str, base| upsert(&table, vec!["same".into(), body.into()], base);
    let theirs = change("theirs", None);
    for (id, change) in [(&two, &theirs), (&one, &change("ours", None))] {
        assert_eq!(committed(push(&hub, id, &table, vec![change.clone()])).0.inserted, 1);
    }
    let untouched = database.psql("SELECT * FROM aqe.notes WHERE source_env = 'two'");
    let ours = hash_of(&change("ours", None));
    let later = change("later", Some(ours));
    assert_eq!(committed(push(&hub, &one, &table, vec![later.clone()])).0.updated, 1);
    let gone = deletion(&table, vec!["same".into(), "".into()], Some(hash_of(&later)));
    assert_eq!(committed(push(&hub, &one, &table, vec![gone])).0.deleted, 1);
    assert_eq!(database.psql("SELECT * FROM aqe.notes WHERE source_env = 'two'"), untouched);
    assert_eq!(sound(&hub, &two, &table)["same"], hash_of(&theirs));
    assert!(sound(&hub, &one, &table).is_empty());
}
