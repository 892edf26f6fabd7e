//! The notes on one file, as the engine and [`OwnSource`](aqe_sync_core::fleet::OwnSource)
//! ask for them.

use std::sync::Arc;

use aqe_sync_core::fleet::{Absorbed, AbsorbedStore};
use aqe_sync_core::ledger::{LedgerEntry, LedgerStream, SourceState};
use aqe_sync_core::{
    Checkpoint, DeadLetter, Environment, Error, ErrorKind, KeyHash, Ledger, Result, Row, SourceName, StreamId,
    StreamState, TableSpec, Timestamp,
};
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::number;
use super::state::PullState;
use crate::{SourceFile, synced};

/// The part of a [`PullState`] that is about one file: what was absorbed there, for pushes,
/// and the ledger of pulls to it.
pub struct FileNotes {
    state: Arc<PullState>,
    file: SourceName,
    /// The entries up to this number hold.
    current: i64,
}

impl FileNotes {
    /// Looks which entries hold for a file, by the number that it carries.
    ///
    /// # Errors
    /// When a pull wrote to the file and the notes on that are lost: rebuild them first.
    pub fn of(state: Arc<PullState>, file: &SourceFile) -> Result<Self> {
        let marked = number::carried(file)?;
        let current = number::check(&state, &file.name, marked)?.current;
        Ok(Self { state, file: file.name.clone(), current })
    }
}

impl AbsorbedStore for FileNotes {
    fn concerns(&self, table: &TableSpec) -> Result<bool> {
        self.state.read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM entries WHERE file = ?1 AND hub_table = ?2 LIMIT 1")?
                .exists([self.file.as_str(), table.name().as_str()])
        })
    }

    fn find(&self, table: &TableSpec, key: KeyHash) -> Result<Option<Absorbed>> {
        let found: Option<Option<String>> = self.state.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT entry FROM entries WHERE file = ?1 AND hub_table = ?2 AND local = ?3 AND generation <= ?4 \
                     ORDER BY generation DESC LIMIT 1",
                )?
                .query_row(
                    params![self.file.as_str(), table.name().as_str(), key.0.to_le_bytes(), self.current],
                    |row| row.get(0),
                )
                .optional()
        })?;
        found.flatten().map(|entry| Absorbed::from_json(table, &entry)).transpose()
    }

    fn withheld(&self, table: &TableSpec) -> Result<Vec<Row>> {
        let entries: Vec<String> = self.state.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT e.entry FROM entries AS e WHERE e.file = ?1 AND e.hub_table = ?2 AND e.shown = 'withheld' \
                 AND e.generation = (SELECT max(h.generation) FROM entries AS h WHERE h.file = e.file \
                  AND h.hub_table = e.hub_table AND h.local = e.local AND h.generation <= ?3)",
            )?;
            let found = statement
                .query_map(params![self.file.as_str(), table.name().as_str(), self.current], |row| row.get(0))?;
            found.collect()
        })?;
        let own = entries.iter().map(|entry| Ok(Absorbed::from_json(table, entry)?.own));
        Ok(own.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

/// A pull compares with the file itself: only sequences and fingerprints are kept.
impl Ledger for FileNotes {
    fn load(&self, stream: &StreamId) -> Result<Option<LedgerStream>> {
        let sequence = sequence(&self.state, &self.file, stream)?;
        Ok(sequence.map(|sequence| LedgerStream { sequence, entries: Vec::new() }))
    }

    fn append(&self, _: &StreamId, _: u64, _: &[LedgerEntry]) -> Result<()> {
        Ok(())
    }

    fn replace(&self, _: &StreamId, _: &LedgerStream) -> Result<()> {
        Ok(())
    }

    fn source(&self, environment: &Environment, source: &SourceName) -> Result<Option<SourceState>> {
        let found: Option<(Vec<u8>, String)> = self.state.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT fingerprint, streams FROM sources WHERE file = ?1 AND source_env = ?2 AND source = ?3",
                )?
                .query_row([self.file.as_str(), environment.as_str(), source.as_str()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
        })?;
        let Some((fingerprint, streams)) = found else { return Ok(None) };
        Ok(synced::read(environment, source, fingerprint, &streams))
    }

    fn set_source(&self, environment: &Environment, source: &SourceName, state: Option<&SourceState>) -> Result<()> {
        let of = [self.file.as_str(), environment.as_str(), source.as_str()];
        self.state.write(|transaction| {
            transaction.execute("DELETE FROM sources WHERE file = ?1 AND source_env = ?2 AND source = ?3", of)?;
            let Some(state) = state else { return Ok(()) };
            let streams = synced::written(state);
            transaction.execute(
                "INSERT INTO sources VALUES (?1, ?2, ?3, ?4, ?5)",
                params![of[0], of[1], of[2], state.fingerprint, streams],
            )?;
            Ok(())
        })
    }
}

fn sequence(state: &PullState, file: &SourceName, stream: &StreamId) -> Result<Option<u64>> {
    let StreamId { environment, source, stream } = stream;
    state.read(|connection| {
        connection
            .prepare_cached(
                "SELECT sequence FROM streams WHERE file = ?1 AND source_env = ?2 AND source = ?3 AND stream = ?4",
            )?
            .query_row([file.as_str(), environment.as_str(), source.as_str(), stream.as_str()], |row| row.get(0))
            .optional()
    })
}

/// Whether there are letters about a table.
pub(super) fn has_letters(state: &PullState, file: &SourceName, table: &str) -> Result<bool> {
    state.read(|connection| {
        connection
            .prepare_cached("SELECT 1 FROM letters WHERE file = ?1 AND hub_table = ?2")?
            .exists([file.as_str(), table])
    })
}

/// All streams of an environment that were pulled into a file.
pub(super) fn streams(state: &PullState, file: &SourceName, environment: &Environment) -> Result<Vec<StreamState>> {
    state.read(|connection| {
        let mut statement = connection.prepare_cached(
            "SELECT source, stream, sequence, hub_table, run_id, complete, synced_at, instance FROM streams \
             WHERE file = ?1 AND source_env = ?2",
        )?;
        let found = statement.query_map([file.as_str(), environment.as_str()], |row| {
            let (source, stream, at): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(6)?);
            Ok(StreamState {
                stream: StreamId {
                    environment: environment.clone(),
                    source: source.as_str().into(),
                    stream: stream.as_str().into(),
                },
                sequence: row.get(2)?,
                table: row.get(3)?,
                checkpoint: Checkpoint {
                    run_id: row.get(4)?,
                    at: Timestamp::parse(&at).unwrap_or_else(Timestamp::now),
                    complete: row.get(5)?,
                    instance: row.get::<_, String>(7)?.as_str().into(),
                },
            })
        })?;
        found.collect()
    })
}

/// What came with a commit of a stream, besides the rows.
pub(super) struct Beside<'a> {
    pub(super) file: &'a SourceName,
    pub(super) stream: &'a StreamId,
    pub(super) table: &'a str,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) letters: &'a [DeadLetter],
    /// The keys of what was written: letters about them are out of date.
    pub(super) written: &'a [String],
}

/// Notes one more commit of a stream.
pub(super) fn checkpoint(transaction: &Transaction<'_>, beside: &Beside<'_>) -> rusqlite::Result<u64> {
    let Beside { file, stream, table, checkpoint, letters, written } = beside;
    let mut outdated =
        transaction.prepare_cached("DELETE FROM letters WHERE file = ?1 AND hub_table = ?2 AND key = ?3")?;
    for key in *written {
        outdated.execute(params![file.as_str(), table, key])?;
    }
    let sequence = transaction
        .prepare_cached(
            "INSERT INTO streams VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT DO UPDATE SET sequence = sequence + 1, hub_table = excluded.hub_table, \
             run_id = excluded.run_id, complete = excluded.complete, synced_at = excluded.synced_at, \
             instance = excluded.instance RETURNING sequence",
        )?
        .query_row(
            params![
                file.as_str(),
                stream.environment.as_str(),
                stream.source.as_str(),
                stream.stream.as_str(),
                table,
                checkpoint.run_id,
                checkpoint.complete,
                checkpoint.at.to_string(),
                checkpoint.instance.as_str(),
            ],
            |row| row.get(0),
        )?;
    let mut statement =
        transaction.prepare_cached("INSERT OR REPLACE INTO letters VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for letter in *letters {
        let (id, at) = (letter.id(stream), checkpoint.at.to_string());
        statement.execute(params![id, file.as_str(), table, letter.key, letter.reason, letter.record.as_str(), at])?;
    }
    Ok(sequence)
}

/// A state that knows less than the file says.
pub(super) fn lost(file: &SourceName) -> Error {
    Error::new(ErrorKind::Refused, "an earlier pull wrote to this file, and the notes on what it wrote are lost")
        .during(format!("looking up what was pulled into {file}"))
        .advice(
            "without them others' counts would be taken for one's own: pull with the hub that was used before, which \
             keeps a copy of them, or restore the state folder (.aqe-sync) from a backup",
        )
}
