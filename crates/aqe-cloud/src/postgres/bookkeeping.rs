//! Checkpoints, dead letters and conflicts: what is written beside the rows.

use std::collections::BTreeMap;

use aqe_sync_core::meet::ConflictRecord;
use aqe_sync_core::rowjson::row_to_json;
use aqe_sync_core::{Checkpoint, DeadLetter, StreamId, TableSpec, Timestamp};
use postgres_types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::statements::Dialect;
use super::wire::{Array, Wire};

/// A parameter with its type.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Keeps dead letters; again is once.
pub(super) async fn write_letters(
    client: &Client,
    dialect: &Dialect,
    stream: &StreamId,
    table: &TableSpec,
    letters: &[DeadLetter],
    run: &str,
    now: Timestamp,
) -> Result<(), Error> {
    if letters.is_empty() {
        return Ok(());
    }
    // One statement cannot meet the same letter twice.
    let letters: BTreeMap<String, &DeadLetter> = letters.iter().map(|letter| (letter.id(stream), letter)).collect();
    let columns = texts(letters.iter().map(|(id, letter)| {
        [id.clone(), storable(&letter.key), storable(&letter.reason), storable(letter.record.as_str())]
    }));
    let sql = format!(
        "INSERT INTO {} (id, source_env, source, stream, table_name, key, reason, record, run_id, first_seen_at, \
         last_seen_at) SELECT l.id, $1, $2, $3, $4, l.key, l.reason, l.record, $5, $6, $6 \
         FROM unnest($7, $8, $9, $10) AS l(id, key, reason, record) ON CONFLICT (source_env, id) DO UPDATE \
         SET last_seen_at = excluded.last_seen_at, reason = excluded.reason, settled_at = NULL, run_id = excluded.run_id",
        dialect.own("dead_letters")
    );
    let (environment, source, from) = names(stream);
    let [id, key, reason, record] = &columns;
    let parameters: [Param<'_>; 10] = [
        (&environment, Type::TEXT),
        (&source, Type::TEXT),
        (&from, Type::TEXT),
        (&table.name().as_str(), Type::TEXT),
        (&run, Type::TEXT),
        (&Wire::Timestamp(now), Type::TIMESTAMPTZ),
        (id, Type::TEXT_ARRAY),
        (key, Type::TEXT_ARRAY),
        (reason, Type::TEXT_ARRAY),
        (record, Type::TEXT_ARRAY),
    ];
    client.execute_typed(&sql, &parameters).await.map(drop)
}

/// Text as PostgreSQL keeps it: U+0000 is shown as its picture. Keys, reasons and errors
/// are for people; the record itself is JSON, which writes U+0000 as an escape.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// After a whole reading, letters that this run did not meet are of records that were
/// corrected: settled, and kept.
pub(super) async fn settle_letters(
    client: &Client,
    dialect: &Dialect,
    stream: &StreamId,
    checkpoint: &Checkpoint,
) -> Result<(), Error> {
    if !checkpoint.complete {
        return Ok(());
    }
    let sql = format!(
        "UPDATE {} SET settled_at = $5 WHERE source_env = $1 AND source = $2 AND stream = $3 \
         AND settled_at IS NULL AND run_id <> $4",
        dialect.own("dead_letters")
    );
    let (environment, source, from) = names(stream);
    let parameters: [Param<'_>; 5] = [
        (&environment, Type::TEXT),
        (&source, Type::TEXT),
        (&from, Type::TEXT),
        (&checkpoint.run_id, Type::TEXT),
        (&Wire::Timestamp(checkpoint.at), Type::TIMESTAMPTZ),
    ];
    client.execute_typed(&sql, &parameters).await.map(drop)
}

/// Writes the checkpoint; gives the new sequence.
pub(super) async fn write_checkpoint(
    client: &Client,
    dialect: &Dialect,
    stream: &StreamId,
    table: &TableSpec,
    checkpoint: &Checkpoint,
) -> Result<u64, Error> {
    let sql = format!(
        "INSERT INTO {} AS s (source_env, source, stream, table_name, sequence, run_id, complete, synced_at, instance) \
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8) ON CONFLICT (source_env, source, stream) DO UPDATE \
         SET sequence = s.sequence + 1, table_name = excluded.table_name, run_id = excluded.run_id, \
         complete = excluded.complete, synced_at = excluded.synced_at, instance = excluded.instance \
         RETURNING sequence",
        dialect.own("sync_state")
    );
    let (environment, source, from) = names(stream);
    let parameters: [Param<'_>; 8] = [
        (&environment, Type::TEXT),
        (&source, Type::TEXT),
        (&from, Type::TEXT),
        (&table.name().as_str(), Type::TEXT),
        (&checkpoint.run_id, Type::TEXT),
        (&checkpoint.complete, Type::BOOL),
        (&Wire::Timestamp(checkpoint.at), Type::TIMESTAMPTZ),
        (&checkpoint.instance.as_str(), Type::TEXT),
    ];
    let row = client.query_typed_one(&sql, &parameters).await?;
    let sequence: i64 = row.try_get(0)?;
    Ok(sequence.unsigned_abs())
}

/// Letters, checkpoint and the end of the transaction, all at once.
///
/// A `COMMIT` after an error is answered as if all were well, while the server rolls
/// back: whoever gets an `Err` here must not take the transaction for durable.
pub(super) async fn close(
    client: &Client,
    dialect: &Dialect,
    stream: &StreamId,
    table: &TableSpec,
    letters: &[DeadLetter],
    checkpoint: &Checkpoint,
) -> Result<u64, Error> {
    let letters = async {
        write_letters(client, dialect, stream, table, letters, &checkpoint.run_id, checkpoint.at).await?;
        Ok(())
    };
    let settled = settle_letters(client, dialect, stream, checkpoint);
    let end = async {
        let sequence = write_checkpoint(client, dialect, stream, table, checkpoint);
        let (sequence, committed) = futures::join!(sequence, client.batch_execute(dialect.brackets.commit));
        let sequence = sequence?;
        committed.map(|()| sequence)
    };
    let (letters, settled, end, ()) = futures::join!(letters, settled, end, on_the_way());
    letters.and(settled).and(end)
}

/// Polled after all else of a transaction, when all of it is queued and, once the
/// connection's task had its turns, sent; there is no answer to its end yet.
#[cfg(feature = "failpoints")]
async fn on_the_way() {
    aqe_sync_core::failpoint!("postgres-commit-queued");
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    aqe_sync_core::failpoint!("postgres-commit-sent");
}

#[cfg(not(feature = "failpoints"))]
fn on_the_way() -> std::future::Ready<()> {
    std::future::ready(())
}

/// Keeps both images of what differed.
pub(super) async fn write_conflicts(
    client: &Client,
    dialect: &Dialect,
    stream: &StreamId,
    table: &TableSpec,
    conflicts: &[&ConflictRecord],
    now: Timestamp,
) -> Result<(), Error> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let mut incoming = Array::new(Type::TEXT.oid());
    let columns = texts(conflicts.iter().map(|conflict| {
        let image = conflict.incoming.as_ref().map(|row| row_to_json(table, row));
        incoming.push(image.as_deref().map_or(Wire::Null, Wire::Text));
        [
            storable(&conflict.key.to_string()),
            conflict.rule.to_string(),
            conflict.existing_from.source.as_str().to_owned(),
            conflict.existing_from.stream.as_str().to_owned(),
            row_to_json(table, &conflict.existing),
        ]
    }));
    let sql = format!(
        "INSERT INTO {} (source_env, table_name, key, rule, source, stream, incoming, existing_source, \
         existing_stream, existing, logged_at) SELECT $1, $4, c.key, c.rule, $2, $3, c.incoming::jsonb, c.from_source, \
         c.from_stream, c.existing::jsonb, $5 \
         FROM unnest($6, $7, $8, $9, $10, $11) AS c(key, rule, from_source, from_stream, existing, incoming)",
        dialect.own("conflict_log")
    );
    let (environment, source, from) = names(stream);
    let [key, rule, from_source, from_stream, existing] = &columns;
    let parameters: [Param<'_>; 11] = [
        (&environment, Type::TEXT),
        (&source, Type::TEXT),
        (&from, Type::TEXT),
        (&table.name().as_str(), Type::TEXT),
        (&Wire::Timestamp(now), Type::TIMESTAMPTZ),
        (key, Type::TEXT_ARRAY),
        (rule, Type::TEXT_ARRAY),
        (from_source, Type::TEXT_ARRAY),
        (from_stream, Type::TEXT_ARRAY),
        (existing, Type::TEXT_ARRAY),
        (&incoming, Type::TEXT_ARRAY),
    ];
    client.execute_typed(&sql, &parameters).await.map(drop)
}

/// Rows of text as one array per column.
fn texts<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> [Array; N] {
    let mut arrays = [(); N].map(|()| Array::new(Type::TEXT.oid()));
    for row in rows {
        for (array, text) in arrays.iter_mut().zip(&row) {
            array.push(Wire::Text(text));
        }
    }
    arrays
}

/// Environment, source and stream.
pub(super) fn names(stream: &StreamId) -> (&str, &str, &str) {
    (stream.environment.as_str(), stream.source.as_str(), stream.stream.as_str())
}
