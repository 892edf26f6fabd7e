//! ruvector's vector stores: redb files (<https://docs.rs/redb>), format 2.
//!
//! redb has no reading without writing: opening repairs and grows the file. So
//! a private copy is opened, never the file itself. A vector is bincode: a
//! length (one byte below 251, else `fb` u16, `fc` u32, `fd` u64), then float32,
//! all little-endian.

mod header;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use ::redb::{Builder, Database, ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _};
use aqe_sync_core::aside::{self, vector_from_bytes};
use aqe_sync_core::{
    BatchStream, Deletes, Error, ErrorKind, Fingerprint, Json, ReadRequest, Record, Result, Schema, Source, SourceName,
    StreamSpec, Value, tables,
};

use self::header::check_header;
use crate::SourceFile;
use crate::emit::{self, Emitter, Stop, panic_text};
use crate::json::lock;
use crate::snapshot::{caught, stable_copy};
use crate::stat::{Stat, io_error};
use crate::worker;

/// See [`crate::json`]: another number makes every file be read again.
const READER_VERSION: u32 = 1;

/// redb would otherwise keep up to 1 GiB of pages.
const CACHE_BYTES: usize = 8 << 20;

/// The table whose values are vectors.
const VECTORS: &str = "vectors";

const fn of_bytes(name: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

const fn of_text(name: &str) -> TableDefinition<'_, &'static str, &'static str> {
    TableDefinition::new(name)
}

/// A redb file as a source.
///
/// Its `vectors` become the embeddings of the patterns of the same id; they
/// only ever add to those. Everything else is kept in `archive_records`.
#[derive(Debug)]
pub struct RedbSource {
    file: SourceFile,
    /// What [`Source::streams`] looked at, for the read that follows.
    taken: Mutex<Option<Taken>>,
    notes: Mutex<Vec<String>>,
}

impl RedbSource {
    /// The file as a source.
    pub fn new(file: SourceFile) -> Self {
        Self { file, taken: Mutex::new(None), notes: Mutex::new(Vec::new()) }
    }
}

/// What a table holds under its text keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vectors,
    Bytes,
    Text,
}

/// The tables that can be read, by name.
type Tables = Vec<(String, Kind)>;

/// An open copy with what it holds.
struct Taken {
    database: Database,
    tables: Tables,
    notes: Vec<String>,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl Taken {
    fn of(file: &SourceFile) -> Result<Self> {
        let (copy, _) = stable_copy(&file.path, &file.name, tempfile::tempfile, check_header)?;
        guarded(file, || {
            let (database, sound) = open(copy)?;
            let (tables, mut notes) = list(&database.begin_read().map_err(damaged)?, file)?;
            if !sound {
                notes.push(format!("{}: the file is damaged; what was read is its last sound state", file.name));
            }
            Ok(Self { database, tables, notes })
        })
    }

    fn streams(&self) -> Vec<StreamSpec> {
        let spec = |(name, kind): &(String, Kind)| {
            let table = if *kind == Kind::Vectors { "patterns" } else { "archive_records" };
            let table = tables::find(table).expect("the catalogue has both tables");
            let spec = StreamSpec::new(name.as_str(), Arc::clone(table));
            if *kind == Kind::Vectors { spec.deletes(Deletes::Ignore) } else { spec }
        };
        self.tables.iter().map(spec).collect()
    }

    fn emit(&self, file: &SourceFile, request: &ReadRequest, emitter: &mut Emitter) -> Result<(), Stop> {
        let reading = self.database.begin_read().map_err(damaged)?;
        for spec in &request.streams {
            let table = self.tables.iter().find(|(name, _)| name == spec.name.as_str());
            let (name, kind) = table
                .ok_or_else(|| caught(ErrorKind::Changed, format!("the table {} is no longer there", spec.name)))?;
            emitter.start(&spec.name);
            match kind {
                Kind::Vectors => vectors(&reading, emitter)?,
                Kind::Bytes | Kind::Text => archive(&reading, file, name, *kind, emitter)?,
            }
            emitter.end()?;
        }
        Ok(())
    }
}

/// Runs what redb may panic in: it does on files that are damaged.
fn guarded<T, E: From<Error>>(file: &SourceFile, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = panic_text(panic.as_ref()).lines().next().unwrap_or_default().to_owned();
        Err(E::from(damaged(reason).during(format!("reading {}", file.name))))
    })
}

fn damaged(cause: impl std::fmt::Display) -> Error {
    caught(ErrorKind::Malformed, format!("not a whole redb file ({cause})"))
}

/// Opens the copy, which repairs it, and compares all its checksums; says
/// whether they were right.
fn open(copy: File) -> Result<(Database, bool)> {
    let mut database = Builder::new().set_cache_size(CACHE_BYTES).create_file(copy).map_err(damaged)?;
    let sound = database.check_integrity().map_err(damaged)?;
    Ok((database, sound))
}

/// The tables that can be read, and a note on those that cannot.
fn list(reading: &ReadTransaction, file: &SourceFile) -> Result<(Tables, Vec<String>)> {
    let (mut tables, mut unknown) = (Vec::new(), Vec::new());
    for handle in reading.list_tables().map_err(damaged)? {
        let name = handle.name().to_owned();
        if reading.open_table(of_bytes(&name)).is_ok() {
            let kind = if name == VECTORS { Kind::Vectors } else { Kind::Bytes };
            tables.push((name, kind));
        } else if reading.open_table(of_text(&name)).is_ok() {
            tables.push((name, Kind::Text));
        } else {
            unknown.push(name);
        }
    }
    unknown.extend(reading.list_multimap_tables().map_err(damaged)?.map(|table| {
        use ::redb::MultimapTableHandle as _;
        table.name().to_owned()
    }));
    let note = |names: Vec<String>| {
        format!("{}: left out tables of types that no reader knows: {}", file.name, names.join(", "))
    };
    let notes = if unknown.is_empty() { Vec::new() } else { vec![note(unknown)] };
    Ok((tables, notes))
}

fn vectors(reading: &ReadTransaction, emitter: &mut Emitter) -> Result<(), Stop> {
    let schema = Schema::new(["id", "embedding"]);
    let table = reading.open_table(of_bytes(VECTORS)).map_err(damaged)?;
    for row in table.iter().map_err(damaged)? {
        let (id, bytes) = row.map_err(damaged)?;
        let record = |embedding| Record::new(Arc::clone(&schema), vec![Value::from(id.value()), embedding]);
        let bytes = bytes.value();
        emitter.record(match vector(bytes) {
            Some(numbers) => record(Value::Vector(numbers)),
            // Bytes of such a length could pass for float32 without a header.
            None if bytes.len().is_multiple_of(4) => {
                record(Value::Null).with_extra(vec![("vector".to_owned(), Value::Bytes(bytes.to_vec()))])
            }
            None => record(Value::Bytes(bytes.to_vec())),
        })?;
    }
    Ok(())
}

/// Reads a vector; `None` when its length is not what it says, or a component
/// is not finite.
fn vector(bytes: &[u8]) -> Option<Vec<f32>> {
    let (first, rest) = bytes.split_first()?;
    let wide = |width: usize| {
        let (length, rest) = rest.split_at_checked(width)?;
        let mut padded = [0; 8];
        padded[..width].copy_from_slice(length);
        Some((u64::from_le_bytes(padded), rest))
    };
    let (dimensions, numbers) = match first {
        0..=250 => (u64::from(*first), rest),
        251 => wide(2)?,
        252 => wide(4)?,
        253 => wide(8)?,
        254.. => return None,
    };
    let numbers = vector_from_bytes(numbers).filter(|numbers| numbers.len() as u64 == dimensions)?;
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

fn archive(
    reading: &ReadTransaction,
    file: &SourceFile,
    name: &str,
    kind: Kind,
    emitter: &mut Emitter,
) -> Result<(), Stop> {
    let schema = Schema::new(["file", "part", "record_key", "record"]);
    let mut record = |key: &str, value| {
        let values = vec![Value::from(file.name.as_str()), Value::from(name), Value::from(key), value];
        emitter.record(Record::new(Arc::clone(&schema), values))
    };
    if kind == Kind::Text {
        for row in reading.open_table(of_text(name)).map_err(damaged)?.iter().map_err(damaged)? {
            let (key, value) = row.map_err(damaged)?;
            record(key.value(), Value::from(value.value()))?;
        }
        return Ok(());
    }
    for row in reading.open_table(of_bytes(name)).map_err(damaged)?.iter().map_err(damaged)? {
        let (key, value) = row.map_err(damaged)?;
        let bytes = aside::to_json(&Value::Bytes(value.value().to_vec()));
        record(key.value(), Value::Json(Json::from_text(bytes)))?;
    }
    Ok(())
}

impl Source for RedbSource {
    fn name(&self) -> &SourceName {
        &self.file.name
    }

    fn priority(&self) -> i32 {
        self.file.priority
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        *lock(&self.taken) = None;
        let file = self.file.clone();
        let taken = worker::run("open vectors", move || Taken::of(&file).map_err(|error| named(&file, error)));
        let mut taken = taken.await?;
        *lock(&self.notes) = std::mem::take(&mut taken.notes);
        let streams = taken.streams();
        *lock(&self.taken) = Some(taken);
        Ok(streams)
    }

    async fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        let stat = Stat::at(&self.file.path).map_err(|cause| io_error(&self.file.name, cause))?;
        let mut bytes = format!("redb {READER_VERSION} {:x} ", tables::digest()).into_bytes();
        bytes.extend(stat.bytes());
        Ok(Some(Fingerprint { bytes, settled: stat.settled(SystemTime::now()) }))
    }

    fn read(&self, request: ReadRequest) -> BatchStream {
        let taken = lock(&self.taken).take();
        let file = self.file.clone();
        emit::stream(&self.file.name, request.limits, move |emitter| {
            let taken = match taken {
                Some(taken) => taken,
                None => Taken::of(&file)?,
            };
            guarded(&file, || taken.emit(&file, &request, emitter)).map_err(|stop| match stop {
                Stop::Failed(error) => Stop::Failed(named(&file, error)),
                Stop::Dropped => stop,
            })
        })
    }

    fn notes(&self) -> Vec<String> {
        lock(&self.notes).clone()
    }
}

fn named(file: &SourceFile, error: Error) -> Error {
    error.during(format!("reading {}", file.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(header: &[u8], numbers: &[f32]) -> Vec<u8> {
        [header, &aside::vector_to_bytes(numbers)].concat()
    }

    #[test]
    fn a_length_of_every_width_is_read_and_a_wrong_one_refused() {
        let numbers = [1.0, -2.5];
        for header in [&[2][..], &[251, 2, 0], &[252, 2, 0, 0, 0], &[253, 2, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(vector(&encoded(header, &numbers)).as_deref(), Some(numbers.as_slice()), "{header:?}");
        }
        for wrong in [&[3][..], &[251, 2], &[254, 2], &[255], &[]] {
            assert_eq!(vector(&encoded(wrong, &numbers)), None, "{wrong:?}");
        }
        assert_eq!(vector(&encoded(&[1], &[f32::NAN])), None);
        assert_eq!(vector(&[]), None);
    }
}
