//! A hub of either kind: its content as text, and going back to what it was.
//!
//! Content is compared whole, except for what cannot be the same twice:
//! - moments (`synced_at`, `logged_at`, `first_seen_at`, …): only whether there is one;
//! - names drawn at random (`hub_id`, `run_id`, the ids of `conflict_log`);
//! - `sync_history` and the audit rows in `events`, of which each finished run leaves one;
//! - `sync_version`, `sync_versions` and `sync_state.sequence`: counters of commits, and a run that
//!   was broken off and finished may need more of them. They are checked on their own: no row's
//!   version may be beyond its table's counter.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aqe_sync_workspace::postgres::Database;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// Columns whose value is a moment.
const MOMENTS: [&str; 7] =
    ["synced_at", "logged_at", "first_seen_at", "last_seen_at", "settled_at", "deleted_at", "applied_at"];
/// Columns that differ from run to run.
const DIFFERENT: [&str; 3] = ["run_id", "sync_version", "sequence"];
/// Tables that are not compared, see above.
const UNCOMPARED: [&str; 3] = ["sync_history", "sync_versions", "hub_info"];

pub(crate) enum Hub {
    Embedded { path: PathBuf },
    Postgres { database: Database },
}

impl Hub {
    /// Where the program keeps one that nobody chose.
    pub(crate) fn embedded(root: &Path) -> Self {
        Self::Embedded { path: root.join(".aqe-sync/hub.db") }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Embedded { path } => format!("sqlite:{}", path.display()),
            Self::Postgres { database } => database.url(),
        }
    }

    /// Runs SQL, in which `{table}` names are written as `hub.table`.
    pub(crate) fn execute(&self, sql: &str) {
        match self {
            Self::Embedded { path } => {
                let sql = sql.replace("hub.", "main.");
                Connection::open(path).and_then(|hub| hub.execute_batch(&sql)).expect("valid SQL");
            }
            Self::Postgres { database } => {
                database.psql(&sql.replace("hub.", "aqe."));
            }
        }
    }

    /// Keeps the hub as it is now. The embedded one is kept with the project.
    pub(crate) fn keep(&self, number: usize) {
        if let Self::Postgres { database } = self {
            let (name, server) = (database.name(), database.server());
            server.psql(&format!("CREATE DATABASE {name}_{number} TEMPLATE {name}"));
        }
    }

    /// Makes it what was kept.
    pub(crate) fn restore(&self, number: usize) {
        if let Self::Postgres { database } = self {
            let (name, server) = (database.name(), database.server());
            server.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
            server.psql(&format!("CREATE DATABASE {name} TEMPLATE {name}_{number}"));
        }
    }

    /// Lets go of all that was kept.
    pub(crate) fn forget(&self, count: usize) {
        if let Self::Postgres { database } = self {
            for number in 0..count {
                database.server().psql(&format!("DROP DATABASE IF EXISTS {}_{number} WITH (FORCE)", database.name()));
            }
        }
    }

    /// Every row of every table, ordered.
    pub(crate) fn dump(&self) -> Vec<String> {
        let mut lines = match self {
            Self::Embedded { path } => embedded(path),
            Self::Postgres { database } => postgres(database),
        };
        lines.sort();
        lines
    }
}

fn embedded(path: &Path) -> Vec<String> {
    let hub = Connection::open(path).expect("a hub");
    let mut lines = Vec::new();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut tables = hub.prepare(tables).expect("a hub");
    let tables = tables.query_map([], |row| row.get::<_, String>(0)).expect("a hub");
    for table in tables.map(|table| table.expect("text")).filter(|table| !UNCOMPARED.contains(&table.as_str())) {
        let mut statement = hub.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let versioned = columns.iter().any(|column| column == "sync_version");
        if versioned {
            let beyond = format!(
                "SELECT count(*) FROM \"{table}\" r WHERE NOT EXISTS (SELECT 1 FROM sync_versions v WHERE \
                 v.source_env = r.source_env AND v.table_name = '{table}' AND v.version >= r.sync_version)"
            );
            assert_eq!(hub.query_row(&beyond, [], |row| row.get::<_, u64>(0)).expect("a table"), 0, "{table}");
        }
        let mut rows = statement.query([]).expect("a table");
        while let Some(row) = rows.next().expect("readable") {
            let of_run = columns.iter().position(|column| column == "stream").is_some_and(|position| {
                table == "events" && row.get::<_, String>(position).is_ok_and(|stream| stream == "runs")
            });
            if of_run {
                continue;
            }
            let mut line = table.clone();
            for (position, column) in columns.iter().enumerate() {
                let value = row.get_ref(position).expect("a column");
                let uncompared = DIFFERENT.contains(&column.as_str()) || (column == "id" && table == "conflict_log");
                if uncompared {
                    continue;
                }
                let shown = match value {
                    ValueRef::Null => "NULL".to_owned(),
                    _ if MOMENTS.contains(&column.as_str()) => "a moment".to_owned(),
                    ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
                    other => format!("{other:?}"),
                };
                let _ = write!(line, " {column}={shown}");
            }
            lines.push(line);
        }
    }
    lines
}

fn postgres(database: &Database) -> Vec<String> {
    let tables =
        database.psql("SELECT relname FROM pg_class WHERE relnamespace = 'aqe'::regnamespace AND relkind = 'r'");
    let quoted = |names: &[&str]| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let moments = quoted(&MOMENTS);
    let mut parts = Vec::new();
    let mut beyond = Vec::new();
    for table in tables.lines().filter(|table| !UNCOMPARED.contains(table)) {
        let mut gone: Vec<&str> = DIFFERENT.to_vec();
        gone.extend((table == "conflict_log").then_some("id"));
        let wanted = if table == "events" { "WHERE t.stream <> 'runs'" } else { "" };
        parts.push(format!(
            "SELECT '{table} ' || (SELECT string_agg(key || '=' || CASE WHEN key = ANY (ARRAY[{moments}]) AND value <> \
             'null' THEN 'a moment' WHEN length(value::text) > 400 THEN \
             left(value::text, 80) || md5(value::text) ELSE value::text END, ' ' ORDER BY key) FROM jsonb_each(to_jsonb(t) - \
             ARRAY[{}])) FROM aqe.{table} t {wanted}",
            quoted(&gone)
        ));
        beyond.push(format!(
            "SELECT count(*) FROM aqe.{table} t WHERE (to_jsonb(t) ->> 'sync_version') IS NOT NULL AND NOT EXISTS \
             (SELECT FROM aqe.sync_versions v WHERE v.source_env = t.source_env AND v.table_name = '{table}' AND \
             v.version >= (to_jsonb(t) ->> 'sync_version')::bigint)"
        ));
    }
    let without_environment = ["schema_migrations", "environments"];
    beyond.retain(|sql| !without_environment.iter().any(|table| sql.contains(&format!("aqe.{table} "))));
    let beyond = database.psql(&format!("SELECT sum(count) FROM ({}) c", beyond.join(" UNION ALL ")));
    assert_eq!(beyond, "0", "versions beyond their table's counter");
    database.psql(&parts.join(" UNION ALL ")).lines().map(str::to_owned).collect()
}
