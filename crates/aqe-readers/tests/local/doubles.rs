//! Hubs of versions that kept doubles in REAL columns, and so lost the sign of -0.0.

use aqe_readers::EmbeddedHub;
use aqe_sync_core::verify::Depth;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::project::{Project, ROOT_DB};

/// Patterns with every kind of double, one of them a zero with a sign.
fn synced() -> Project {
    let project = Project::empty();
    // Without a type the column keeps what it is given.
    project.edit(ROOT_DB, "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, confidence)");
    let source = project.open(ROOT_DB);
    for (id, confidence) in [("a", Some(-0.0)), ("b", Some(0.0)), ("c", Some(2.0)), ("d", Some(0.1)), ("e", None)] {
        let values = params![id, id, confidence];
        source.execute("INSERT INTO patterns VALUES (?1, ?2, ?3)", values).expect("inserted");
    }
    drop(source);
    project.sync();
    project
}

/// The tables that upgrades after that of the doubles make.
const MADE_LATER: [&str; 6] =
    ["fleet_excluded", "fleet_kept", "vector_places", "vectors", "vector_blocks", "vector_words"];

/// Makes the hub what the version before made of it: the same tables with REAL columns.
fn make_old(project: &Project) {
    let hub = Connection::open(project.hub_path()).expect("a hub");
    let views =
        "SELECT coalesce(group_concat(format('DROP VIEW %w', name), ';'), '') FROM sqlite_schema WHERE type = 'view'";
    let views: String = hub.query_row(views, [], |row| row.get(0)).expect("asked");
    hub.execute_batch(&views).expect("dropped");
    let mut tables = hub.prepare("SELECT name, sql FROM sqlite_schema WHERE sql LIKE '%\" ANY%'").expect("prepared");
    let tables = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("asked");
    let tables: Vec<(String, String)> = tables.collect::<Result<_, _>>().expect("read");
    assert!(!tables.is_empty());
    for (name, sql) in tables {
        let sql = sql.replace("\" ANY", "\" REAL").replacen(&format!("\"{name}\""), "\"old\"", 1);
        let moved = "INSERT INTO old SELECT * FROM";
        hub.execute_batch(&format!(
            "{sql}; {moved} \"{name}\"; DROP TABLE \"{name}\"; ALTER TABLE old RENAME TO \"{name}\""
        ))
        .expect("made old");
    }
    for table in MADE_LATER {
        hub.execute_batch(&format!("DROP TABLE {table}")).expect("dropped");
    }
    hub.execute_batch("ALTER TABLE sync_history DROP COLUMN streams; PRAGMA user_version = 3").expect("set");
}

fn columns(project: &Project) -> Vec<Vec<Value>> {
    project.rows(
        "SELECT tables.name, columns.name, columns.type, columns.\"notnull\", columns.pk, columns.cid
         FROM pragma_table_list AS tables, pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' ORDER BY 1, 6",
    )
}

fn open(project: &Project) -> Result<EmbeddedHub, aqe_sync_core::Error> {
    EmbeddedHub::open(&project.hub_path())
}

const REAL_COLUMNS: &str = "SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%\" REAL%'";

#[test]
fn an_old_hub_gets_the_tables_of_a_new_one_and_keeps_every_row() {
    let project = synced();
    let (new_columns, new_version) = (columns(&project), project.count("SELECT user_version FROM pragma_user_version"));
    make_old(&project);
    assert_ne!(columns(&project), new_columns);
    let before = project.dump();
    drop(open(&project).expect("upgraded"));
    assert_eq!(columns(&project), new_columns);
    assert_eq!(project.dump(), before);
    assert_eq!(project.count("SELECT user_version FROM pragma_user_version"), new_version);
    assert!(!project.sync().totals.changed_anything());
}

#[test]
fn a_sign_that_was_lost_is_found_by_a_deep_look_and_mended() {
    let project = synced();
    make_old(&project);
    let different = |depth| {
        let found = project.compare(depth);
        found.streams.into_iter().flat_map(|stream| stream.different).collect::<Vec<_>>()
    };
    assert_eq!(different(Depth::Recorded), [""; 0]);
    assert_eq!(different(Depth::Stored), ["a"]);
    assert!(project.repair(Depth::Stored).matches());
    let Value::Real(zero) = project.value("SELECT confidence FROM patterns WHERE id = 'a'") else {
        panic!("no double")
    };
    assert!(zero == 0.0 && zero.is_sign_negative());
    assert!(project.compare(Depth::Stored).matches());
}

#[test]
fn what_somebody_added_to_a_table_stays() {
    let project = synced();
    make_old(&project);
    project.edit_hub(
        "ALTER TABLE patterns ADD COLUMN remark TEXT NOT NULL DEFAULT 'none';
         ALTER TABLE patterns ADD COLUMN share REAL DEFAULT 0.5;
         CREATE INDEX by_confidence ON patterns (confidence);
         CREATE VIEW sure AS SELECT id FROM patterns WHERE confidence > 1;
         CREATE TRIGGER watch AFTER UPDATE ON patterns BEGIN UPDATE patterns SET remark = 'seen' WHERE id = new.id; END",
    );
    drop(open(&project).expect("upgraded"));
    assert_eq!(project.rows("SELECT id FROM sure"), [[Value::Text("c".to_owned())]]);
    project.edit_hub("UPDATE patterns SET pattern = 'p' WHERE id = 'c'");
    let rows = project.rows("SELECT id, remark, share FROM patterns INDEXED BY by_confidence WHERE confidence > 0.05");
    let row = |id: &str, remark: &str| vec![Value::Text(id.into()), Value::Text(remark.into()), Value::Real(0.5)];
    assert_eq!(rows, [row("d", "none"), row("c", "seen")]);
    assert_eq!(project.count(REAL_COLUMNS), 0);
}

#[test]
fn an_upgrade_that_fails_leaves_the_hub_as_it_was() {
    let project = synced();
    make_old(&project);
    // The last of them by name, so that others were made anew before.
    let last = project.text("SELECT max(name) FROM sqlite_schema WHERE sql LIKE '%\" REAL%'");
    project.edit_hub(&format!("CREATE TABLE \"{last} with signs\" (id)"));
    let before = (project.dump(), columns(&project));
    assert!(open(&project).is_err());
    assert_eq!((project.dump(), columns(&project)), before);
    assert_eq!(project.count("SELECT user_version FROM pragma_user_version"), 3);
    project.edit_hub(&format!("DROP TABLE \"{last} with signs\""));
    drop(open(&project).expect("upgraded"));
    assert_eq!(project.count(REAL_COLUMNS), 0);
}
