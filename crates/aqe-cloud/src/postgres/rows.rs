//! What the hub has of a stream: keys with hashes, or sums of them.

use std::sync::Arc;

use aqe_sync_core::digest::{Bucket, DigestRequest, HashRange};
use aqe_sync_core::{ContentHash, Key, KnownRow, Row, StreamId, TableSpec};
use futures::TryStreamExt as _;
use futures::future::join_all;
use postgres_types::{ToSql, Type};
use tokio_postgres::{Client, Row as SqlRow};

use super::bookkeeping::{Param, names};
use super::failure::Failure;
use super::statements::Dialect;
use super::wire::{Array, Wire, columns, json};

/// Which rows of a stream are wanted.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// All of them.
    All,
    /// All, with hashes computed anew from their columns.
    Recomputed,
    /// Those whose hash is in one of these ranges.
    In(Vec<HashRange>),
    /// Those with one of these hashes.
    Of(Vec<ContentHash>),
}

/// The hash of a stream's contribution to a row `t`, null where it has no part in it.
/// Who changed `merged_from` by hand leaves a row that nobody can attribute: it counts
/// as the row of whom it names, with a hash that nothing matches.
/// Nothing in it is named without its relation: a bare name would be a column of the
/// table first.
const CONTRIBUTION: &str = "CASE WHEN t.merged_from IS NULL THEN t.content_hash ELSE coalesce((\
    SELECT ('x' || (m.part->>'hash'))::bit(64)::bigint FROM jsonb_array_elements(\
    CASE jsonb_typeof(t.merged_from) WHEN 'array' THEN t.merged_from ELSE '[]' END) AS m(part) \
    WHERE m.part->>'source' = $2 AND m.part->>'stream' = $3 AND m.part->>'hash' ~ '^[0-9a-f]{16}$' LIMIT 1), \
    CASE WHEN t.source = $2 AND t.stream = $3 AND NOT EXISTS (SELECT FROM jsonb_array_elements(\
    CASE jsonb_typeof(t.merged_from) WHEN 'array' THEN t.merged_from ELSE '[]' END) AS m(part) \
    WHERE m.part->>'hash' ~ '^[0-9a-f]{16}$') THEN ~t.content_hash END) END";

/// Live rows that a stream may contribute to.
const MINE: &str = "t.source_env = $1 AND t.deleted_at IS NULL \
    AND ((t.source = $2 AND t.stream = $3) OR t.merged_from IS NOT NULL)";

/// The rows of a stream, in batches, given to `each`; `false` ends it.
pub(super) async fn known<F, R>(
    client: &Client,
    dialect: &Dialect,
    stream: &StreamId,
    table: &Arc<TableSpec>,
    wanted: &Wanted,
    mut each: F,
) -> Result<(), Failure>
where
    F: FnMut(Vec<KnownRow>) -> R,
    R: Future<Output = bool>,
{
    const ROWS: usize = 5_000;
    let (environment, source, from) = names(stream);
    let deep = matches!(wanted, Wanted::Recomputed);
    let (condition, arrays) = condition(wanted);
    let columns = if deep { table.columns() } else { table.key_columns() };
    let columns = columns.iter().map(|column| format!("t.{}", column.name.quoted())).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT c.h, t.content_hash, t.merged_from IS NOT NULL, {}, {columns} \
         FROM {} t CROSS JOIN LATERAL (SELECT {CONTRIBUTION} AS h) c WHERE {MINE} AND c.h IS NOT NULL{condition}",
        if deep { "t.extra" } else { "NULL::jsonb" },
        dialect.table(table.name()),
    );
    let mut types = vec![Type::TEXT; 3];
    types.resize(3 + arrays.len(), Type::INT8_ARRAY);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&environment, &source, &from];
    parameters.extend(arrays.iter().map(|array| array as &(dyn ToSql + Sync)));
    // Prepared, since the driver may have to ask what type an extension's columns have:
    // once the rows are coming it cannot.
    let statement = client.prepare_typed(&sql, &types).await?;
    let mut rows = std::pin::pin!(client.query_raw(&statement, parameters).await?);
    let mut batch = Vec::with_capacity(ROWS);
    while let Some(row) = rows.try_next().await? {
        batch.push(known_row(dialect, table, &row, deep)?);
        if batch.len() == ROWS && !each(std::mem::take(&mut batch)).await {
            return Ok(());
        }
    }
    each(batch).await;
    Ok(())
}

/// Restricts `c.h`, with the arrays that follow the stream's names.
fn condition(wanted: &Wanted) -> (&'static str, Vec<Array>) {
    match wanted {
        Wanted::All | Wanted::Recomputed => ("", Vec::new()),
        Wanted::In(ranges) => {
            (" AND EXISTS (SELECT FROM unnest($4, $5) AS r(a, b) WHERE c.h BETWEEN r.a AND r.b)", bounds(ranges))
        }
        Wanted::Of(hashes) => {
            let mut array = Array::new(Type::INT8.oid());
            for hash in hashes {
                array.push(Wire::Int(hash.to_i64()));
            }
            (" AND c.h = ANY($4)", vec![array])
        }
    }
}

fn bounds(ranges: &[HashRange]) -> Vec<Array> {
    let (mut first, mut last) = (Array::new(Type::INT8.oid()), Array::new(Type::INT8.oid()));
    for range in ranges {
        let (from, to) = range.bounds();
        first.push(Wire::Int(from));
        last.push(Wire::Int(to));
    }
    vec![first, last]
}

/// Columns that no source can have written count as null, and the row as unsound.
fn known_row(dialect: &Dialect, table: &TableSpec, row: &SqlRow, deep: bool) -> Result<KnownRow, Failure> {
    const OWN: usize = 4;
    let (found, recorded, shared): (i64, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let keys = table.key_columns().len();
    let wanted = if deep { table.columns() } else { table.key_columns() };
    let (values, readable) = columns(row, wanted, OWN, dialect.vectors.kind())?;
    let key = Key::new(values[..keys].to_vec());
    let unmatched = || ContentHash::from_i64(!recorded).or(ContentHash::from_i64(1));
    let mut hash = ContentHash::from_i64(found);
    let mut sound = hash.is_some();
    if deep {
        let now = Row::new(table, values, json(row, 3)?).hash;
        sound &= readable && Some(now) == ContentHash::from_i64(recorded);
        if !shared {
            hash = Some(now);
        }
    }
    if !readable {
        hash = unmatched();
    }
    // Zero is no hash: nobody but a person can have written it.
    let hash = hash.or_else(unmatched).ok_or_else(|| aqe_sync_core::Error::internal("a row has no hash"))?;
    Ok(KnownRow { key, hash, sound })
}

/// What the rows of streams add up to; everything is asked at once.
pub(super) async fn digests(
    client: &Client,
    dialect: &Dialect,
    wanted: &[DigestRequest],
) -> Result<Vec<Vec<Bucket>>, Failure> {
    // Whole tables are read here, not single rows by their keys.
    let opening = format!(
        "{}; SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on",
        dialect.brackets.read
    );
    let (begun, digests, ended) = futures::join!(
        client.batch_execute(&opening),
        join_all(wanted.iter().map(|request| digest(client, dialect, request))),
        client.batch_execute(dialect.brackets.commit),
    );
    begun?;
    let digests = digests.into_iter().collect::<Result<Vec<_>, _>>()?;
    ended?;
    Ok(digests)
}

async fn digest(
    client: &Client,
    dialect: &Dialect,
    request: &DigestRequest,
) -> Result<Vec<Bucket>, tokio_postgres::Error> {
    let (environment, source, from) = names(&request.stream);
    let bits = request.bits.min(32);
    // A shift by 64 is one by nothing.
    let bucket =
        if bits == 0 { "0::bigint".to_owned() } else { format!("(c.h >> {}) & {}", 64 - bits, (1_u64 << bits) - 1) };
    let everything = request.within == [HashRange::ALL];
    let wanted = if everything { Wanted::All } else { Wanted::In(request.within.clone()) };
    let (condition, arrays) = condition(&wanted);
    let key = request
        .table
        .key_columns()
        .first()
        .map_or_else(|| "source_env".to_owned(), |column| column.name.quoted().to_string());
    // Counting a column, since an index of ruvector breaks counting rows.
    let sql = format!(
        "SELECT {bucket}, count(t.{key}), bit_xor(c.h), sum((c.h >> 32)::int) \
         FROM {} t CROSS JOIN LATERAL (SELECT {CONTRIBUTION} AS h) c WHERE {MINE} AND c.h IS NOT NULL{condition} \
         GROUP BY 1",
        dialect.table(request.table.name()),
    );
    let mut parameters: Vec<Param<'_>> = vec![(&environment, Type::TEXT), (&source, Type::TEXT), (&from, Type::TEXT)];
    parameters.extend(arrays.iter().map(|array| (array as _, Type::INT8_ARRAY)));
    let rows = client.query_typed(&sql, &parameters).await?;
    let buckets = rows.iter().map(|row| {
        let prefix: i64 = row.try_get(0)?;
        let count: i64 = row.try_get(1)?;
        Ok(Bucket {
            range: HashRange::new(bits, prefix.cast_unsigned()),
            count: count.cast_unsigned(),
            xor: row.try_get(2)?,
            sum: row.try_get(3)?,
        })
    });
    buckets.collect()
}
