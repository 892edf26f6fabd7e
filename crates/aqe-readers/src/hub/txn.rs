//! One transaction: apply, resolve, reject, commit, as `aqe_sync_core::SinkTxn` says.

use std::sync::Arc;

use aqe_sync_core::audit::AuditRow;
use aqe_sync_core::meet::{
    Contested, Settled, Stored, contribution_hash, contributions_from_json, contributions_to_json,
};
use aqe_sync_core::rowjson::row_to_json;
use aqe_sync_core::{
    Applied, Change, Checkpoint, ColumnSpec, ContentHash, Contributor, DeadLetter, Error, Json, Key, KnownRow,
    Operation, Result, Row, StreamId, TableSpec, Timestamp, Value, failpoint,
};
use rusqlite::{Connection, ToSql, params};

use super::codec::{Param, read};
use super::statements::Statements;

/// What a transaction works on; lives on the hub's thread.
pub(super) struct Transaction {
    stream: StreamId,
    table: Arc<TableSpec>,
    statements: Statements,
    /// Drawn at the first write: a batch that changes nothing bumps nothing.
    version: Option<i64>,
    now: String,
}

/// What stands at a key, as far as deciding needs it.
struct Peek {
    contributor: Contributor,
    hash: i64,
    deleted: bool,
    merged: bool,
}

/// A row as it is stored, and whether all of it could be read.
struct Loaded {
    stored: Stored,
    /// Whether the columns are what the recorded hash says, as far as they can be read.
    columns: bool,
    /// Whether `merged_from` holds what was written there.
    merged_from: bool,
}

type Sql<T> = rusqlite::Result<T>;

impl Transaction {
    pub(super) fn new(stream: StreamId, table: Arc<TableSpec>) -> Self {
        let statements = Statements::new(&table);
        Self { stream, table, statements, version: None, now: Timestamp::now().to_string() }
    }

    pub(super) fn table(&self) -> &TableSpec {
        &self.table
    }

    pub(super) fn apply(&mut self, connection: &Connection, changes: Vec<Change>) -> Result<Applied, Failure> {
        let mut applied = Applied::default();
        for change in changes {
            if self.apply_one(connection, &change, &mut applied)? {
                let Loaded { stored: mut existing, columns, merged_from } = self.load(connection, &change.key)?;
                let writer = self.stream.contributor();
                if let Operation::Upsert(row) = &change.operation {
                    if !merged_from && existing.contributor == writer {
                        // Nobody can tell what others contributed: they meet this row when they are read.
                        self.update(connection, row, &writer, None)?;
                        applied.updated += 1;
                        continue;
                    }
                    if !columns {
                        // As if it came for the first time, so that the row is made anew.
                        existing.merged_from.retain(|other| other.contributor != writer);
                    }
                }
                applied.contested.push(Contested { change, existing });
            }
        }
        failpoint!("embedded-applied");
        Ok(applied)
    }

    /// `true` when the change needs a decision.
    fn apply_one(&mut self, connection: &Connection, change: &Change, applied: &mut Applied) -> Sql<bool> {
        let writer = self.stream.contributor();
        if let Operation::Upsert(row) = &change.operation
            && change.base.is_none()
            && self.insert(connection, row, &writer, None)?
        {
            applied.inserted += 1;
            return Ok(false);
        }
        let Some(peek) = self.peek(connection, &change.key)? else {
            if let Operation::Upsert(row) = &change.operation {
                // The hub lost what the change was based on: the row is new again.
                self.insert(connection, row, &writer, None)?;
                applied.inserted += 1;
            }
            return Ok(false);
        };
        if peek.merged || peek.contributor != writer {
            return Ok(true);
        }
        let on_base = change.base.map(ContentHash::to_i64) == Some(peek.hash);
        match &change.operation {
            Operation::Upsert(_) if peek.deleted => return Ok(true),
            Operation::Upsert(row) if row.hash.to_i64() == peek.hash && !on_base => {
                if self.is_sound(connection, &change.key, row)? {
                    applied.unchanged += 1;
                } else {
                    self.update(connection, row, &writer, None)?;
                    applied.updated += 1;
                }
            }
            Operation::Upsert(row) if on_base => {
                self.update(connection, row, &writer, None)?;
                applied.updated += 1;
            }
            Operation::Delete if peek.deleted => {}
            Operation::Delete if on_base => {
                self.tombstone(connection, &change.key)?;
                applied.deleted += 1;
            }
            Operation::Upsert(_) | Operation::Delete => return Ok(true),
        }
        Ok(false)
    }

    pub(super) fn resolve(&mut self, connection: &Connection, settled: Vec<Settled>) -> Result<(), Failure> {
        for settled in settled {
            if let Some(log) = &settled.conflict {
                self.log(connection, log)?;
                failpoint!("embedded-conflict-logged");
            }
            match &settled.write {
                Some(stored) if stored.deleted => self.tombstone(connection, &settled.key)?,
                Some(stored) => {
                    let merged_from = contributions_to_json(&self.table, &stored.merged_from)?;
                    self.update(connection, &stored.row, &stored.contributor, merged_from.as_ref())?;
                }
                None => {}
            }
        }
        failpoint!("embedded-resolved");
        Ok(())
    }

    pub(super) fn reject(&mut self, connection: &Connection, letters: &[DeadLetter]) -> Sql<()> {
        let sql = "INSERT INTO dead_letters (id, source_env, source, stream, table_name, key, reason, record, \
                   first_seen_at, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9) \
                   ON CONFLICT (id) DO UPDATE SET last_seen_at = excluded.last_seen_at, reason = excluded.reason, \
                   settled_at = NULL, run_id = NULL";
        let mut statement = connection.prepare_cached(sql)?;
        for letter in letters {
            let (environment, source, stream) =
                (self.stream.environment.as_str(), self.stream.source.as_str(), self.stream.stream.as_str());
            let table = self.table.name().as_str();
            statement.execute(params![
                letter.id(&self.stream),
                environment,
                source,
                stream,
                table,
                letter.key,
                letter.reason,
                letter.record.as_str(),
                self.now
            ])?;
            failpoint!("embedded-letter-written");
        }
        Ok(())
    }

    /// Signs the letters of this transaction with its run, which is known only now. After
    /// a whole reading, letters that this run did not meet are of records that were
    /// corrected: settled, and kept.
    fn settle_letters(&self, connection: &Connection, checkpoint: &Checkpoint) -> Sql<()> {
        let (environment, source, stream) =
            (self.stream.environment.as_str(), self.stream.source.as_str(), self.stream.stream.as_str());
        let run = checkpoint.run_id.as_str();
        connection
            .prepare_cached(
                "UPDATE dead_letters SET run_id = ?4 \
                 WHERE source_env = ?1 AND source = ?2 AND stream = ?3 AND run_id IS NULL",
            )?
            .execute([environment, source, stream, run])?;
        if checkpoint.complete {
            connection
                .prepare_cached(
                    "UPDATE dead_letters SET settled_at = ?5 WHERE source_env = ?1 AND source = ?2 AND stream = ?3 \
                     AND settled_at IS NULL AND run_id <> ?4",
                )?
                .execute([environment, source, stream, run, &self.now])?;
        }
        Ok(())
    }

    /// Writes the checkpoint; the caller commits. Gives the new sequence.
    pub(super) fn checkpoint(&self, connection: &Connection, checkpoint: &Checkpoint) -> Sql<u64> {
        self.settle_letters(connection, checkpoint)?;
        failpoint!("embedded-letters-settled");
        connection.query_row(
            "INSERT INTO sync_state (source_env, source, stream, table_name, sequence, run_id, complete, synced_at, \
             instance) VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8) ON CONFLICT (source_env, source, stream) DO UPDATE SET \
             sequence = sequence + 1, table_name = excluded.table_name, run_id = excluded.run_id, \
             complete = excluded.complete, synced_at = excluded.synced_at, instance = excluded.instance RETURNING sequence",
            params![
                self.stream.environment.as_str(),
                self.stream.source.as_str(),
                self.stream.stream.as_str(),
                self.table.name().as_str(),
                checkpoint.run_id,
                checkpoint.complete,
                checkpoint.at.to_string(),
                checkpoint.instance.as_str(),
            ],
            |row| row.get(0),
        )
    }

    fn version(&mut self, connection: &Connection) -> Sql<i64> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let version = connection.query_row(
            "INSERT INTO sync_versions (source_env, table_name, version) VALUES (?1, ?2, 1) \
             ON CONFLICT (source_env, table_name) DO UPDATE SET version = version + 1 RETURNING version",
            params![self.stream.environment.as_str(), self.table.name().as_str()],
            |row| row.get(0),
        )?;
        failpoint!("embedded-version-bumped");
        Ok(*self.version.insert(version))
    }

    /// `false` when the key is taken.
    fn insert(&mut self, connection: &Connection, row: &Row, from: &Contributor, merged: Option<&Json>) -> Sql<bool> {
        let version = self.version(connection)?;
        let sql = &self.statements.insert;
        Ok(self.write(connection, sql, version, row, from, merged)? == 1)
    }

    fn update(&mut self, connection: &Connection, row: &Row, from: &Contributor, merged: Option<&Json>) -> Sql<()> {
        let version = self.version(connection)?;
        let sql = &self.statements.update;
        self.write(connection, sql, version, row, from, merged).map(|_| ())
    }

    fn write(
        &self,
        connection: &Connection,
        sql: &str,
        version: i64,
        row: &Row,
        from: &Contributor,
        merged: Option<&Json>,
    ) -> Sql<usize> {
        let mut statement = connection.prepare_cached(sql)?;
        let leading: [&dyn ToSql; super::statements::LEADING] = [
            &self.stream.environment.as_str(),
            &from.source.as_str(),
            &from.stream.as_str(),
            &row.extra.as_ref().map(Json::as_str),
            &row.hash.to_i64(),
            &version,
            &merged.map(Json::as_str),
            &self.now,
        ];
        for (index, value) in leading.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, value)?;
        }
        for (index, value) in row.values.iter().enumerate() {
            statement.raw_bind_parameter(leading.len() + index + 1, Param(value))?;
        }
        let written = statement.raw_execute()?;
        failpoint!("embedded-row-written");
        Ok(written)
    }

    fn tombstone(&mut self, connection: &Connection, key: &Key) -> Sql<()> {
        let version = self.version(connection)?;
        let mut statement = connection.prepare_cached(&self.statements.tombstone)?;
        statement.raw_bind_parameter(1, self.stream.environment.as_str())?;
        statement.raw_bind_parameter(2, version)?;
        statement.raw_bind_parameter(3, &self.now)?;
        bind_key(&mut statement, 4, key)?;
        statement.raw_execute()?;
        failpoint!("embedded-row-tombstoned");
        Ok(())
    }

    fn peek(&self, connection: &Connection, key: &Key) -> Sql<Option<Peek>> {
        let mut statement = connection.prepare_cached(&self.statements.peek)?;
        statement.raw_bind_parameter(1, self.stream.environment.as_str())?;
        bind_key(&mut statement, 2, key)?;
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Peek { contributor: contributor(row)?, hash: row.get(2)?, deleted: row.get(3)?, merged: row.get(4)? }))
    }

    /// Whether the stored columns are what their recorded hash says. Only sent
    /// rows get here, and rarely: after a lost acknowledgement, or because a full
    /// run found columns that somebody edited.
    fn is_sound(&self, connection: &Connection, key: &Key, row: &Row) -> Sql<bool> {
        match self.load(connection, key) {
            Ok(Loaded { stored, columns, merged_from }) => {
                let now = Row::new(&self.table, stored.row.values, stored.row.extra);
                Ok(columns && merged_from && now.hash == row.hash)
            }
            Err(Failure::Sqlite(error)) => Err(error),
            Err(Failure::Other(_)) => Ok(false),
        }
    }

    /// What cannot be read, since somebody else wrote it, is taken as null: the
    /// row is about to be decided on and written anew.
    fn load(&self, connection: &Connection, key: &Key) -> Result<Loaded, Failure> {
        let mut statement = connection.prepare_cached(&self.statements.load)?;
        statement.raw_bind_parameter(1, self.stream.environment.as_str())?;
        bind_key(&mut statement, 2, key)?;
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else {
            return Err(Error::internal(format!("row {key} vanished inside its transaction")).into());
        };
        let (values, mut columns) = read_columns(&self.table, self.table.columns(), row, 6)?;
        let extra: Option<String> = row.get(5).unwrap_or_else(|_| {
            columns = false;
            None
        });
        let contributions = match row.get::<_, Option<String>>(4) {
            Ok(None) => Some(Vec::new()),
            Ok(Some(text)) => contributions_from_json(&self.table, &text).ok(),
            Err(_) => None,
        };
        let hash = ContentHash::from_i64(row.get(2)?);
        let mut content = Row::new(&self.table, values, extra.map(Json::from_text));
        // What was stored counts, not what this version would make of it.
        let recorded = hash.unwrap_or(content.hash);
        columns &= content.hash == recorded;
        content.hash = recorded;
        let deleted: Option<String> = row.get(3)?;
        let merged_from = contributions.is_some();
        let stored = Stored {
            row: content,
            contributor: contributor(row)?,
            merged_from: contributions.unwrap_or_default(),
            deleted: deleted.is_some(),
        };
        Ok(Loaded { stored, columns, merged_from })
    }

    fn log(&self, connection: &Connection, log: &aqe_sync_core::meet::ConflictRecord) -> Sql<()> {
        let sql = "INSERT INTO conflict_log (source_env, table_name, key, rule, source, stream, incoming, \
                   existing_source, existing_stream, existing, logged_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        let incoming = log.incoming.as_ref().map(|row| row_to_json(&self.table, row));
        connection.prepare_cached(sql)?.execute(params![
            self.stream.environment.as_str(),
            self.table.name().as_str(),
            log.key.to_string(),
            log.rule,
            self.stream.source.as_str(),
            self.stream.stream.as_str(),
            incoming,
            log.existing_from.source.as_str(),
            log.existing_from.stream.as_str(),
            row_to_json(&self.table, &log.existing),
            self.now,
        ])?;
        Ok(())
    }
}

/// What goes wrong inside a transaction: SQLite, or what the hub holds.
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Other(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// How a row's hash is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// As it was recorded with the row.
    Recorded,
    /// From the stored columns.
    Recomputed,
}

/// Reads one row of a `known` or `stored` statement.
///
/// A row that cannot be read, since somebody else wrote to it, is one that is not
/// sound and whose hash nothing matches: a full sync writes it anew.
pub(super) fn known_row(
    table: &TableSpec,
    writer: &Contributor,
    row: &rusqlite::Row<'_>,
    hash: Hash,
) -> Result<Option<KnownRow>, Failure> {
    let columns = match hash {
        Hash::Recorded => table.key_columns(),
        Hash::Recomputed => table.columns(),
    };
    let (values, mut readable) = read_columns(table, columns, row, 4)?;
    let key = Key::new(values[..table.key_columns().len()].to_vec());
    let recorded: i64 = row.get(0)?;
    let mut stored = ContentHash::from_i64(recorded);
    if hash == Hash::Recomputed {
        let extra: Option<String> = row.get(2).unwrap_or_else(|_| {
            readable = false;
            None
        });
        stored = Some(Row::new(table, values, extra.map(Json::from_text)).hash);
    }
    let merged_from = row.get::<_, Option<String>>(1);
    let found = match merged_from {
        Ok(None) => stored,
        merged => {
            let contributed = merged.ok().flatten().and_then(|text| contribution_hash(table, &text, writer).ok());
            contributed.unwrap_or_else(|| {
                // Nobody can tell who contributed: it counts as the row of whom it names.
                readable = false;
                matchless(recorded).filter(|_| row.get(3).unwrap_or(false))
            })
        }
    };
    let sound = readable && stored == ContentHash::from_i64(recorded);
    let found = if readable { found } else { found.and(matchless(recorded)) };
    Ok(found.map(|hash| KnownRow { key, hash, sound }))
}

/// A hash other than the recorded one.
fn matchless(recorded: i64) -> Option<ContentHash> {
    ContentHash::from_i64(!recorded).or(ContentHash::from_i64(1))
}

/// Columns from position `first` on, those that cannot be read as null; and
/// whether all could. Without its key a row is nothing to go on.
fn read_columns(
    table: &TableSpec,
    columns: &[ColumnSpec],
    row: &rusqlite::Row<'_>,
    first: usize,
) -> Sql<(Vec<Value>, bool)> {
    let mut readable = true;
    let values = columns.iter().enumerate().map(|(index, column)| match read(row, first + index, column.kind) {
        Err(_) if index >= table.key_columns().len() => {
            readable = false;
            Ok(Value::Null)
        }
        value => value,
    });
    let values = values.collect::<Sql<_>>()?;
    Ok((values, readable))
}

fn contributor(row: &rusqlite::Row<'_>) -> Sql<Contributor> {
    let (source, stream): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(Contributor { source: source.as_str().into(), stream: stream.as_str().into() })
}

fn bind_key(statement: &mut rusqlite::Statement<'_>, first: usize, key: &Key) -> Sql<()> {
    for (index, value) in key.values().iter().enumerate() {
        statement.raw_bind_parameter(first + index, Param(value))?;
    }
    Ok(())
}

/// Writes the audit row of a run.
pub(super) fn write_event(connection: &Connection, event: &AuditRow) -> Sql<()> {
    let mut transaction = Transaction::new(event.stream.clone(), Arc::clone(event.table));
    let writer = event.stream.contributor();
    transaction.insert(connection, &event.row, &writer, None).map(|_| ())
}
