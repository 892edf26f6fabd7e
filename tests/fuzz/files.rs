//! Reading a file as the engine would, and what must hold of that whatever is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aqe_readers::SourceFile;
use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::json::{Examined, examine};
use aqe_sync_core::{
    BatchLimits, DynSource, Error, ErrorKind, Json, Record, Reject, Row, Schema, StreamSpec, Value, rowjson,
};
use futures::StreamExt as _;
use futures::executor::block_on;
use tempfile::TempDir;

/// A stream, read to its end.
pub(crate) struct Stream {
    pub(crate) spec: StreamSpec,
    pub(crate) records: Vec<Record>,
    pub(crate) rejects: Vec<Reject>,
}

/// A folder with one file in it, or a second beside it, which nobody has touched for a while.
pub(crate) struct Lone {
    folder: TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    beside: Option<(PathBuf, Vec<u8>)>,
}

impl Lone {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        write(&path, bytes);
        Self { folder, path, bytes: bytes.to_vec(), beside: None }
    }

    /// Adds the file whose name ends with `suffix` as well.
    pub(crate) fn beside(mut self, suffix: &str, bytes: &[u8]) -> Self {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        write(path.as_ref(), bytes);
        self.beside = Some((path.into(), bytes.to_vec()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn source(&self) -> SourceFile {
        SourceFile::new(self.folder.path(), &self.path)
    }

    /// Reads all streams of a source over this file, and sees that the file is as it was.
    pub(crate) fn read(&self, source: &dyn DynSource) -> Result<Vec<Stream>, Error> {
        let read = read(source);
        assert!(fs::read(&self.path).expect("still there") == self.bytes, "reading changed the file");
        if let Some((path, bytes)) = &self.beside {
            assert!(fs::read(path).expect("still there") == *bytes, "reading changed the file beside it");
        }
        let files = fs::read_dir(self.folder.path()).expect("still there").count();
        assert_eq!(files, 1 + usize::from(self.beside.is_some()), "reading left something beside the file");
        if let Err(error) = &read {
            assert_is_useful(error);
        }
        read
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
    let file = fs::File::options().append(true).open(path).expect("there");
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("settable");
}

fn read(source: &dyn DynSource) -> Result<Vec<Stream>, Error> {
    let specs = block_on(source.streams_dyn())?;
    let request =
        aqe_sync_core::ReadRequest { streams: specs.clone(), limits: BatchLimits { rows: 7, bytes: 64 << 10 } };
    let mut streams = Vec::new();
    let mut open: Option<Stream> = None;
    let mut coming = specs.into_iter();
    let mut batches = source.read_dyn(request);
    while let Some(batch) = block_on(batches.next()) {
        let batch = batch?;
        let stream = open.get_or_insert_with(|| Stream {
            spec: coming.next().expect("no batch after the last stream"),
            records: Vec::new(),
            rejects: Vec::new(),
        });
        assert_eq!(stream.spec.name, batch.stream, "streams come in the order that was asked for");
        stream.records.extend(batch.records);
        if let Some(packed) = batch.packed {
            stream.records.extend((0..packed.len()).map(|position| packed.record(position)));
        }
        stream.rejects.extend(batch.rejects);
        if batch.last {
            streams.extend(open.take());
        }
    }
    // An end without a last batch would pass for a stream whose other records are gone.
    assert!(open.is_none() && coming.next().is_none(), "a stream ended without its end, and without an error");
    Ok(streams)
}

/// An error is for a person: of something outside, with a reason and advice.
pub(crate) fn assert_is_useful(error: &Error) {
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(!error.message().is_empty() && error.to_string().contains("; "), "no reason or no advice: {error}");
}

/// Converts every record; whatever it holds, the row is sound or the record is kept as a dead letter.
pub(crate) fn assert_converts(stream: &Stream) {
    let mut coercer: Option<(Arc<Schema>, Coercer)> = None;
    for record in &stream.records {
        if coercer.as_ref().is_none_or(|(schema, _)| schema != record.schema()) {
            let made = Coercer::new(Arc::clone(&stream.spec.table), Arc::clone(record.schema()));
            coercer = Some((Arc::clone(record.schema()), made));
        }
        let Some((_, coercer)) = &coercer else { continue };
        match coercer.row(record.clone()) {
            Ok(made) => assert_row_is_sound(&stream.spec.table, &made.row),
            Err(letter) => {
                assert!(!letter.reason.is_empty());
                assert_storable(&letter.record);
            }
        }
    }
    for reject in &stream.rejects {
        assert!(!reject.letter.reason.is_empty());
        assert_storable(&reject.letter.record);
    }
}

/// A row is the same when it comes back from the form that conflict logs keep.
pub(crate) fn assert_row_is_sound(table: &aqe_sync_core::TableSpec, row: &Row) {
    if let Some(extra) = &row.extra {
        assert_storable(extra);
    }
    let image = rowjson::row_to_json(table, row);
    let back = rowjson::row_from_json(table, &image).unwrap_or_else(|error| panic!("{error}: {image}"));
    assert_eq!(back.hash, row.hash, "{image}");
    assert_eq!(without_space(back), without_space(row.clone()), "{image}");
}

/// White space around a JSON document is none of it: the form of conflict logs leaves it out.
fn without_space(mut row: Row) -> Row {
    let around = |json: &mut Json| *json = Json::from_text(json.as_str().trim_matches([' ', '\t', '\n', '\r']));
    row.values.iter_mut().for_each(|value| {
        if let Value::Json(json) = value {
            around(json);
        }
    });
    row.extra.iter_mut().for_each(around);
    row
}

pub(crate) fn assert_storable(json: &Json) {
    assert_eq!(examine(json.as_str(), &mut Vec::new()), Examined::Storable, "{}", json.as_str());
}
