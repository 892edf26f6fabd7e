//! A batch as the staging table takes it, by whichever way is cheaper.

use std::pin::Pin;

use aqe_sync_core::meet::{Settled, Stored, contributions_to_json};
use aqe_sync_core::{
    Change, ColumnType, ContentHash, Json, Key, Operation, Result, Row, StreamId, TableSpec, Timestamp, Value,
    failpoint,
};
use bytes::Bytes;
use futures::SinkExt as _;
use postgres_types::Type;
use tokio_postgres::CopyInSink;

use super::failure::Failure;
use super::statements::LEADING;
use super::vectors::Vectors;
use super::wire::{Array, CopyRows, Wire};

/// Up to so many bytes a batch goes as parameters of one statement, with all other
/// statements of its transaction right behind it. More goes by `COPY`, which costs a
/// round trip of its own and is cheaper per row.
pub(super) const SMALL: usize = 1536 << 10;

/// The same where a round trip takes long: arrays of so many bytes cost the server a
/// little more time than a `COPY`, and no round trip at all.
pub(super) const SMALL_FROM_AFAR: usize = 4 << 20;

/// A `COPY` under way.
pub(super) type Copying = Pin<Box<CopyInSink<Bytes>>>;

/// One row of the staging table.
pub(super) struct Staged<'a> {
    position: i64,
    base: Option<ContentHash>,
    content: Content<'a>,
    from: Option<&'a Stored>,
    merged_from: Option<Json>,
}

enum Content<'a> {
    Row(&'a Row),
    Gone(&'a Key),
}

impl<'a> Staged<'a> {
    /// All changes, known by their positions.
    pub(super) fn changes(changes: &'a [Change]) -> Vec<Self> {
        let staged = (0..).zip(changes).map(|(position, change)| {
            let content = match &change.operation {
                Operation::Upsert(row) => Content::Row(row),
                Operation::Delete => Content::Gone(&change.key),
            };
            Self { position, base: change.base, content, from: None, merged_from: None }
        });
        staged.collect()
    }

    /// The decisions that write anything.
    ///
    /// # Errors
    /// Never in practice: rows are always writable as JSON.
    pub(super) fn decisions(settled: &'a [Settled], table: &TableSpec) -> Result<Vec<Self>> {
        let written = settled.iter().filter_map(|settled| settled.write.as_ref().map(|stored| (&settled.key, stored)));
        let staged = (0..).zip(written).map(|(position, (key, stored))| {
            Ok(if stored.deleted {
                Self { position, base: None, content: Content::Gone(key), from: None, merged_from: None }
            } else {
                let merged_from = contributions_to_json(table, &stored.merged_from)?;
                Self { position, base: None, content: Content::Row(&stored.row), from: Some(stored), merged_from }
            })
        });
        staged.collect()
    }

    /// The values in the order of the staging table's columns.
    fn values(&self, table: &TableSpec, vectors: &Vectors, mut push: impl FnMut(usize, Wire<'_>)) -> Result<()> {
        let hash = |hash: ContentHash| Wire::Int(hash.to_i64());
        let from = self.from.map(|stored| &stored.contributor);
        let row = match self.content {
            Content::Row(row) => Some(row),
            Content::Gone(_) => None,
        };
        let leading: [Wire<'_>; LEADING] = [
            Wire::Int(self.position),
            Wire::Bool(row.is_none()),
            self.base.map_or(Wire::Null, hash),
            row.map_or(Wire::Null, |row| hash(row.hash)),
            from.map_or(Wire::Null, |from| Wire::Text(from.source.as_str())),
            from.map_or(Wire::Null, |from| Wire::Text(from.stream.as_str())),
            Wire::json(self.merged_from.as_ref()),
            Wire::json(row.and_then(|row| row.extra.as_ref())),
        ];
        for (position, value) in leading.into_iter().enumerate() {
            push(position, value);
        }
        let values = match self.content {
            Content::Row(row) => row.values.as_slice(),
            Content::Gone(key) => key.values(),
        };
        columns(values, table, vectors, |position, value| push(LEADING + position, value))
    }
}

/// A table's own columns; what `values` lacks is null.
fn columns(
    values: &[Value],
    table: &TableSpec,
    vectors: &Vectors,
    mut push: impl FnMut(usize, Wire<'_>),
) -> Result<()> {
    for (position, column) in table.columns().iter().enumerate() {
        let value = values.get(position).unwrap_or(&Value::Null);
        let wire = Wire::column(value, column.kind, vectors.kind())
            .map_err(|error| error.context("table", table.name()).context("column", &column.name))?;
        push(position, wire);
    }
    Ok(())
}

/// Rows as one array parameter per column of the staging table.
pub(super) fn arrays(rows: &[Staged<'_>], table: &TableSpec, vectors: &Vectors) -> Result<Vec<(Array, Type)>> {
    const LEADING_TYPES: [Type; LEADING] =
        [Type::INT8, Type::BOOL, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::JSONB, Type::JSONB];
    let own = table.columns().iter().map(|column| column_type(column.kind, vectors));
    let elements: Vec<Type> = LEADING_TYPES.into_iter().chain(own).collect();
    let mut arrays: Vec<Array> = elements.iter().map(|element| Array::new(element.oid())).collect();
    for row in rows {
        row.values(table, vectors, |position, value| {
            let value = match value {
                Wire::Vector(numbers, kind) if vectors.array_type().is_none() => Wire::VectorText(numbers, kind),
                other => other,
            };
            arrays[position].push(value);
        })?;
    }
    let types = elements.iter().map(|element| array_of(element, vectors));
    Ok(arrays.into_iter().zip(types).collect())
}

pub(super) fn column_type(kind: ColumnType, vectors: &Vectors) -> Type {
    match kind {
        ColumnType::Bool => Type::BOOL,
        ColumnType::Int => Type::INT8,
        ColumnType::Float => Type::FLOAT8,
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
        ColumnType::Json => Type::JSONB,
        ColumnType::Timestamp => Type::TIMESTAMPTZ,
        ColumnType::Vector(_) => vectors.element_type().unwrap_or(Type::TEXT),
    }
}

pub(super) fn array_of(element: &Type, vectors: &Vectors) -> Type {
    match *element {
        Type::BOOL => Type::BOOL_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::FLOAT8 => Type::FLOAT8_ARRAY,
        Type::TEXT => Type::TEXT_ARRAY,
        Type::BYTEA => Type::BYTEA_ARRAY,
        Type::JSONB => Type::JSONB_ARRAY,
        Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
        _ => vectors.array_type().unwrap_or(Type::TEXT_ARRAY),
    }
}

/// Sends rows to the staging table; the caller finishes.
pub(super) async fn copy_staged(
    copying: &mut Copying,
    rows: &[Staged<'_>],
    table: &TableSpec,
    vectors: &Vectors,
) -> Result<(), Failure> {
    let mut bytes = CopyRows::new(LEADING + table.columns().len());
    for row in rows {
        bytes.begin_row();
        row.values(table, vectors, |_, value| bytes.push(value))?;
        if let Some(chunk) = bytes.chunk() {
            copying.feed(chunk).await?;
            failpoint!("postgres-stage-chunk-fed");
        }
    }
    Ok(copying.feed(bytes.finish()).await?)
}

/// What the rows of a direct copy have in common.
pub(super) struct Common<'a> {
    pub(super) stream: &'a StreamId,
    pub(super) version: i64,
    pub(super) now: Timestamp,
}

/// Sends new rows straight to their table; the caller finishes.
pub(super) async fn copy_new(
    copying: &mut Copying,
    changes: &[Change],
    table: &TableSpec,
    vectors: &Vectors,
    common: &Common<'_>,
) -> Result<(), Failure> {
    const LEADING: usize = 7;
    let mut bytes = CopyRows::new(LEADING + table.columns().len());
    let StreamId { environment, source, stream } = common.stream;
    for change in changes {
        let Operation::Upsert(row) = &change.operation else { continue };
        bytes.begin_row();
        bytes.push(Wire::Text(environment.as_str()));
        bytes.push(Wire::Text(source.as_str()));
        bytes.push(Wire::Text(stream.as_str()));
        bytes.push(Wire::json(row.extra.as_ref()));
        bytes.push(Wire::Int(row.hash.to_i64()));
        bytes.push(Wire::Int(common.version));
        bytes.push(Wire::Timestamp(common.now));
        columns(&row.values, table, vectors, |_, value| bytes.push(value))?;
        if let Some(chunk) = bytes.chunk() {
            copying.feed(chunk).await?;
            failpoint!("postgres-copy-chunk-fed");
        }
    }
    Ok(copying.feed(bytes.finish()).await?)
}
