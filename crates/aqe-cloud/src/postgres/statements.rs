//! The SQL for one table of the hub.
//!
//! A batch is put into a temporary table first, then merged set by set. Its columns
//! have names of ours (`c0`, `c1`, …), so that no table can have one that clashes.
//!
//! Parameters are the same everywhere: `$1` environment, `$2` source, `$3` stream,
//! `$4` the moment, `$5` the table's name.

use std::fmt::Write as _;

use aqe_sync_core::{ColumnType, Identifier, TableSpec};

use super::vectors::Vectors;

/// What comes before a table's own columns in its staging table.
pub(crate) const LEADING: usize = 8;

/// So many parameters every statement has before any arrays.
pub(crate) const TABLE_PARAMETERS: usize = 5;

/// SQL text for one table.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Creates the staging table.
    pub(crate) stage: String,
    /// Empties it.
    pub(crate) clear: String,
    /// Fills it by `COPY`: the leading columns, then the table's own.
    pub(crate) stage_copy: String,
    /// Fills it from arrays, one per column in the same order: `$1` and so on.
    pub(crate) stage_arrays: String,
    /// For what merges a batch without a staging table.
    small: Small,
    /// Copies new rows straight into the table.
    pub(crate) direct_copy: String,
    /// Draws the next version of this environment and table; gives it.
    pub(crate) bump: String,
    /// As `bump`; fails with a division by zero unless the version is that of parameter 6.
    pub(crate) bump_to: String,
    /// Overwrites live rows that are this stream's alone and have the hash that the
    /// change is based on.
    pub(crate) update: String,
    /// Marks such rows as deleted.
    pub(crate) tombstone: String,
    /// Inserts keys that are not there.
    pub(crate) insert: String,
    /// Fails with a division by zero when a staged change found another row in its way.
    pub(crate) guard: String,
    /// Gives those rows, locked: position of the change, source, stream, whether
    /// deleted, hash, `merged_from`, `extra`, then the columns.
    pub(crate) contested: String,
    /// Writes staged decisions whatever the row says; those that are gone become tombstones.
    pub(crate) settle: String,
    /// As `settle`, for tombstones.
    pub(crate) settle_tombstones: String,
}

/// The parts of a statement that merges a whole batch from arrays, `$6` and so on.
#[derive(Debug)]
struct Small {
    rows: String,
    update: String,
    tombstone: String,
    insert: String,
    settled: String,
}

impl Statements {
    /// Does at once what `update`, `tombstone`, `insert` and `guard` do one after the
    /// other: gives how many rows were updated, deleted and inserted, and fails with a
    /// division by zero unless these, and the rows that already are as they should be,
    /// are all there are.
    pub(crate) fn merge_arrays(&self, updates: bool, deletes: bool) -> String {
        let Small { rows, update, tombstone, insert, settled } = &self.small;
        let part =
            |wanted: bool, sql: &str| if wanted { format!("({sql} RETURNING 1)") } else { "(SELECT 1 LIMIT 0)".into() };
        format!(
            "WITH s AS MATERIALIZED ({rows}), u AS {}, d AS {}, i AS {}, \
             c AS (SELECT (SELECT count(*) FROM u) AS u, (SELECT count(*) FROM d) AS d, (SELECT count(*) FROM i) AS i, \
             ({settled}) AS n, (SELECT count(*) FROM s) AS rows) \
             SELECT u, d, i, 1 / CASE WHEN u + d + i + n = rows THEN 1 ELSE 0 END FROM c",
            part(updates, update),
            part(deletes, tombstone),
            part(true, insert),
        )
    }
}

/// What begins and ends one delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brackets {
    pub(crate) begin: &'static str,
    /// As `begin`, for what only reads: one snapshot, also on a standby.
    pub(crate) read: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) rollback: &'static str,
    /// Whether a failure undoes itself when `commit` follows it.
    pub(crate) undoes_itself: bool,
}

impl Brackets {
    /// A transaction, whatever the server's defaults are.
    pub(crate) const TRANSACTION: Self = Self {
        begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        read: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        commit: "COMMIT",
        rollback: "ROLLBACK",
        undoes_itself: true,
    };

    /// A part of one transaction around everything, which nobody ever commits: a dry
    /// run sees what it wrote, and nobody else does.
    pub(crate) const DRY_RUN: Self = Self {
        begin: "SAVEPOINT delivery",
        read: "SAVEPOINT delivery",
        commit: "RELEASE SAVEPOINT delivery",
        rollback: "ROLLBACK TO SAVEPOINT delivery; RELEASE SAVEPOINT delivery",
        undoes_itself: false,
    };
}

/// Builds statements for tables of one hub.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    pub(crate) schema: Identifier,
    pub(crate) vectors: Vectors,
    pub(crate) brackets: Brackets,
}

impl Dialect {
    /// A table of the hub, qualified and quoted.
    pub(crate) fn table(&self, name: &Identifier) -> String {
        format!("{}.{}", self.schema.quoted(), name.quoted())
    }

    /// A bookkeeping table.
    pub(crate) fn own(&self, name: &'static str) -> String {
        format!("{}.{name}", self.schema.quoted())
    }

    pub(crate) fn statements(&self, table: &TableSpec) -> Statements {
        let target = self.table(table.name());
        // Two shapes of one table, before and after an upgrade, must not share a name.
        let stage = format!(
            "pg_temp.aqe_stage_{:016x}",
            xxhash_rust::xxh3::xxh3_64(format!("{:016x}{}", table.digest(), table.name()).as_bytes())
        );
        let join = join(table);
        // Fenced off by OFFSET, the environment is no constant to the planner: it would
        // take all of its rows first, by whichever index begins with it, and compare
        // each with every staged row. So it looks up one row per staged row by the key.
        let staged_rows = format!("(SELECT *, $1 AS env FROM {stage} OFFSET 0) s");
        let own = "t.source = $2 AND t.stream = $3 AND t.merged_from IS NULL";
        let versions = self.own("sync_versions");
        let version = format!("(SELECT version FROM {versions} WHERE source_env = $1 AND table_name = $5)");
        let clashes = format!(
            "FROM {staged_rows} JOIN {target} t ON {join} WHERE NOT ({own} AND CASE WHEN s.gone THEN t.deleted_at IS NOT NULL \
             ELSE t.deleted_at IS NULL AND t.content_hash = s.hash END)"
        );
        let on_base = format!("{join} AND {own} AND t.deleted_at IS NULL AND t.content_hash = s.base");
        let columns = list(table, "");
        let update = |rows: &str| {
            format!(
                "UPDATE {target} t SET source = $2, stream = $3, {}, sync_version = {version}, synced_at = $4 \
                 FROM {rows} WHERE NOT s.gone AND {on_base}",
                assignments(table)
            )
        };
        let tombstone = |rows: &str| {
            format!(
                "UPDATE {target} t SET sync_version = {version}, deleted_at = $4, synced_at = $4 FROM {rows} \
                 WHERE s.gone AND {on_base}"
            )
        };
        let insert = |rows: &str| {
            format!(
                "INSERT INTO {target} (source_env, source, stream, extra, content_hash, sync_version, synced_at, {columns}) \
                 SELECT $1, $2, $3, s.extra, s.hash, {version}, $4, {} FROM {rows} WHERE NOT s.gone \
                 AND NOT EXISTS (SELECT FROM {target} t WHERE {join}) ON CONFLICT DO NOTHING",
                staged(table)
            )
        };
        // Rows that are left as they are, and deletes of what is not there.
        let settled = format!(
            "SELECT count(*) FROM s LEFT JOIN {target} t ON {join} WHERE CASE WHEN t.source_env IS NULL THEN s.gone \
             ELSE {own} AND CASE WHEN s.gone THEN t.deleted_at IS NOT NULL ELSE t.deleted_at IS NULL \
             AND t.content_hash = s.hash AND s.base IS DISTINCT FROM s.hash END END"
        );
        let bump = format!(
            "INSERT INTO {versions} AS v (source_env, table_name, version) VALUES ($1, $5, 1) \
             ON CONFLICT (source_env, table_name) DO UPDATE SET version = v.version + 1 RETURNING version"
        );
        let small = Small {
            rows: format!("SELECT a.*, $1 AS env FROM ({}) a", self.unnested(table, TABLE_PARAMETERS + 1)),
            update: update("s"),
            tombstone: tombstone("s"),
            insert: insert("s"),
            settled,
        };
        Statements {
            small,
            clear: format!("TRUNCATE {stage}"),
            stage_copy: format!("COPY {stage} FROM STDIN (FORMAT binary)"),
            direct_copy: format!(
                "COPY {target} (source_env, source, stream, extra, content_hash, sync_version, synced_at, {columns}) \
                 FROM STDIN (FORMAT binary)"
            ),
            bump_to: format!("WITH b AS ({bump}) SELECT 1 / CASE WHEN version = $6 THEN 1 ELSE 0 END FROM b"),
            bump,
            update: update(&staged_rows),
            tombstone: tombstone(&staged_rows),
            insert: insert(&staged_rows),
            guard: format!("SELECT 1 / CASE WHEN EXISTS (SELECT {clashes}) THEN 0 ELSE 1 END"),
            contested: format!(
                "SELECT s.position, t.source, t.stream, t.deleted_at IS NOT NULL, t.content_hash, t.merged_from, t.extra, {} \
                 {clashes} ORDER BY s.position FOR UPDATE OF t",
                list(table, "t.")
            ),
            settle: format!(
                "UPDATE {target} t SET source = s.source, stream = s.stream, merged_from = s.merged_from, {}, \
                 deleted_at = NULL, sync_version = {version}, synced_at = $4 FROM {staged_rows} WHERE NOT s.gone AND {join}",
                assignments(table)
            ),
            settle_tombstones: format!(
                "UPDATE {target} t SET sync_version = {version}, deleted_at = $4, synced_at = $4, merged_from = NULL \
                 FROM {staged_rows} WHERE s.gone AND {join}"
            ),
            stage_arrays: format!("INSERT INTO {stage} {}", self.unnested(table, 1)),
            stage: self.stage(table, &stage),
        }
    }

    /// Wide rows stay whole there: they are stored for a moment only, so compressing
    /// them or moving values out of line would be for nothing.
    fn stage(&self, table: &TableSpec, stage: &str) -> String {
        let mut sql = format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} (position bigint, gone boolean, base bigint, hash bigint, \
             source text, stream text, merged_from jsonb, extra jsonb",
            stage.trim_start_matches("pg_temp.")
        );
        for (position, column) in table.columns().iter().enumerate() {
            let _ = write!(sql, ", c{position} {}", self.vectors.column_type(column.kind));
        }
        sql.push_str(") WITH (toast_tuple_target = 8160) ON COMMIT DELETE ROWS");
        sql
    }

    /// A batch from arrays, one parameter per column from number `first` on, with the
    /// columns of a staging table.
    fn unnested(&self, table: &TableSpec, first: usize) -> String {
        const LEADING_COLUMNS: [(&str, &str); LEADING] = [
            ("position", "bigint"),
            ("gone", "boolean"),
            ("base", "bigint"),
            ("hash", "bigint"),
            ("source", "text"),
            ("stream", "text"),
            ("merged_from", "jsonb"),
            ("extra", "jsonb"),
        ];
        let leading = LEADING_COLUMNS.iter().zip(first..);
        let mut arrays: Vec<String> = leading.map(|((_, kind), number)| format!("${number}::{kind}[]")).collect();
        let mut names: Vec<String> = LEADING_COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut selected: Vec<String> = names.iter().map(|name| format!("a.{name}")).collect();
        for (position, column) in table.columns().iter().enumerate() {
            let number = first + LEADING + position;
            let is_vector = matches!(column.kind, ColumnType::Vector(_));
            if is_vector && self.vectors.array_type().is_none() {
                arrays.push(format!("${number}::text[]"));
                selected.push(format!("a.c{position}::{} AS c{position}", self.vectors.column_type(column.kind)));
            } else {
                arrays.push(format!("${number}"));
                selected.push(format!("a.c{position}"));
            }
            names.push(format!("c{position}"));
        }
        let (selected, arrays, names) = (selected.join(", "), arrays.join(", "), names.join(", "));
        format!("SELECT {selected} FROM unnest({arrays}) AS a({names})")
    }
}

/// How staged changes find their rows.
fn join(table: &TableSpec) -> String {
    let mut sql = String::from("t.source_env = s.env");
    for (position, column) in table.key_columns().iter().enumerate() {
        let _ = write!(sql, " AND t.{} = s.c{position}", column.name.quoted());
    }
    sql
}

/// What an update sets from the staged row, the key excepted.
fn assignments(table: &TableSpec) -> String {
    let mut sql = String::from("extra = s.extra, content_hash = s.hash");
    for (position, column) in table.columns().iter().enumerate().skip(table.key_columns().len()) {
        let _ = write!(sql, ", {} = s.c{position}", column.name.quoted());
    }
    sql
}

fn staged(table: &TableSpec) -> String {
    (0..table.columns().len()).map(|position| format!("s.c{position}")).collect::<Vec<_>>().join(", ")
}

/// The table's own columns, each with a prefix.
fn list(table: &TableSpec, prefix: &str) -> String {
    let names = table.columns().iter().map(|column| format!("{prefix}{}", column.name.quoted()));
    names.collect::<Vec<_>>().join(", ")
}
