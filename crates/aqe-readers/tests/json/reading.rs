//! Reads a source to its end, as the engine would, and shows what arrives in the columns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aqe_readers::{JsonLayout, JsonSource, SourceFile};
use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::{BatchLimits, DeadLetter, ReadRequest, Reject, Result, Row, Source, StreamSpec, Value};
use futures::StreamExt as _;
use futures::executor::block_on;

/// What one stream held.
pub(crate) struct Stream {
    pub(crate) spec: StreamSpec,
    pub(crate) rows: Vec<Row>,
    pub(crate) rejects: Vec<Reject>,
    /// Records whose key no hub can hold.
    pub(crate) dead: Vec<DeadLetter>,
    /// Values that did not fit their column.
    pub(crate) set_aside: Vec<String>,
    pub(crate) batches: usize,
}

impl Stream {
    pub(crate) fn texts(&self, column: &str) -> Vec<String> {
        self.rows.iter().map(|row| self.text(row, column)).collect()
    }

    pub(crate) fn value<'a>(&self, row: &'a Row, column: &str) -> &'a Value {
        &row.values[self.spec.table.position(column).unwrap_or_else(|| panic!("no column {column}"))]
    }

    /// The value as text: JSON as it is spelled, nothing for null.
    pub(crate) fn text(&self, row: &Row, column: &str) -> String {
        match self.value(row, column) {
            Value::Text(text) => text.clone(),
            Value::Json(json) => json.as_str().to_owned(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// The row whose column holds the text.
    pub(crate) fn row(&self, column: &str, text: &str) -> &Row {
        let found: Vec<&Row> = self.rows.iter().filter(|row| self.text(row, column) == text).collect();
        assert_eq!(found.len(), 1, "rows with {column} = {text:?} in {}", self.spec.name);
        found[0]
    }
}

/// All streams by name.
pub(crate) type Streams = BTreeMap<String, Stream>;

pub(crate) fn read(source: &impl Source) -> Result<Streams> {
    read_within(source, BatchLimits::default())
}

pub(crate) fn read_within(source: &impl Source, limits: BatchLimits) -> Result<Streams> {
    let specs = block_on(source.streams())?;
    read_only(source, specs, limits)
}

/// Reads the streams asked for, and sees that each comes once, in order, with its end.
pub(crate) fn read_only(source: &impl Source, specs: Vec<StreamSpec>, limits: BatchLimits) -> Result<Streams> {
    let mut batches = source.read(ReadRequest { streams: specs.clone(), limits });
    let mut found = Streams::new();
    for spec in specs {
        let mut stream = Stream {
            spec: spec.clone(),
            rows: Vec::new(),
            rejects: Vec::new(),
            dead: Vec::new(),
            set_aside: Vec::new(),
            batches: 0,
        };
        loop {
            let batch = block_on(batches.next()).expect("a stream ends with its mark")?;
            assert_eq!(batch.stream, spec.name);
            stream.batches += 1;
            stream.rejects.extend(batch.rejects);
            for record in batch.records {
                let coercer = Coercer::new(Arc::clone(&spec.table), Arc::clone(record.schema()));
                match coercer.row(record) {
                    Ok(stored) => {
                        stream.set_aside.extend(stored.set_aside.iter().map(ToString::to_string));
                        stream.rows.push(stored.row);
                    }
                    Err(letter) => stream.dead.push(letter),
                }
            }
            if batch.last {
                break;
            }
        }
        let earlier = found.insert(spec.name.to_string(), stream);
        assert!(earlier.is_none(), "two streams are named {}", spec.name);
    }
    assert!(block_on(batches.next()).is_none(), "nothing comes after the last stream");
    Ok(found)
}

pub(crate) fn fixture(path: &str) -> SourceFile {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let project = root.join(path.split('/').next().expect("a project"));
    SourceFile::new(&project, root.join(path))
}

pub(crate) fn read_fixture(path: &str, layout: JsonLayout) -> Streams {
    let streams = read(&JsonSource::new(fixture(path), layout)).unwrap_or_else(|error| panic!("{error}"));
    for stream in streams.values() {
        assert!(stream.dead.is_empty() && stream.rejects.is_empty(), "{path}: {}", stream.spec.name);
    }
    streams
}

/// A folder that is gone after the test, with files that nobody writes any more.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> SourceFile {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("made");
        std::fs::write(&path, content).expect("written");
        age(&path);
        SourceFile::new(&self.path(), path)
    }

    pub(crate) fn json(&self, content: impl AsRef<[u8]>, layout: JsonLayout) -> JsonSource {
        JsonSource::new(self.file("file.json", content), layout)
    }
}

/// Makes a file look as if nobody had written it for a while.
pub(crate) fn age(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).expect("there");
    file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).expect("settable");
}
