//! redb files: read from a copy, damage found before it is read as data.

use aqe_readers::{RedbSource, SourceFile};
use aqe_sync_core::{Deletes, ErrorKind, Retry, Source as _, Value};
use redb::{Database, TableDefinition};

use crate::reading::{Folder, Streams, fixture, read};

const REAL: &str = "agentic-qe-2.8.2/v2/data/ruvector-patterns.db";

fn real() -> Vec<u8> {
    std::fs::read(fixture(REAL).path).expect("there")
}

fn embeddings(streams: &Streams) -> Vec<(String, Value)> {
    let vectors = &streams["vectors"];
    vectors.rows.iter().map(|row| (vectors.text(row, "id"), vectors.value(row, "embedding").clone())).collect()
}

#[test]
fn a_real_file_gives_its_vectors_and_its_configuration() {
    let source = RedbSource::new(fixture(REAL));
    let streams = read(&source).expect("readable");
    assert_eq!(streams.keys().collect::<Vec<_>>(), ["config", "metadata", "vectors"]);
    let vectors = &streams["vectors"];
    assert_eq!(vectors.spec.table.name().as_str(), "patterns");
    assert_eq!(vectors.spec.deletes, Deletes::Ignore);
    let found = embeddings(&streams);
    assert_eq!((found.len(), vectors.set_aside.len()), (20, 0));
    for (id, embedding) in &found {
        let Value::Vector(numbers) = embedding else { panic!("{id}: {embedding}") };
        assert_eq!(numbers.len(), 384);
        assert!(
            numbers.iter().any(|number| *number != 0.0) && numbers.iter().all(|number| number.abs() <= 1.0),
            "{id}"
        );
    }
    let config = &streams["config"];
    assert_eq!(config.texts("record_key"), ["__ruvector_db_config__"]);
    assert!(config.texts("record")[0].contains(r#""dimensions":384"#), "{:?}", config.texts("record"));
    assert_eq!((streams["metadata"].rows.len(), source.notes().len()), (0, 0));
}

#[test]
fn the_file_itself_is_neither_repaired_nor_grown() {
    let folder = Folder::new();
    let file = folder.file("vectors.db", real());
    let look = || {
        let names = std::fs::read_dir(folder.path()).expect("readable").count();
        (
            names,
            std::fs::read(&file.path).expect("there"),
            std::fs::metadata(&file.path).expect("there").modified().ok(),
        )
    };
    let before = look();
    assert_eq!(embeddings(&read(&RedbSource::new(file.clone())).expect("readable")).len(), 20);
    assert!(look() == before);
}

/// Writes a redb file with the crate itself.
fn made(write: impl FnOnce(&redb::WriteTransaction)) -> (Folder, SourceFile) {
    let folder = Folder::new();
    let path = folder.path().join("made.db");
    let database = Database::create(&path).expect("created");
    let writing = database.begin_write().expect("begun");
    write(&writing);
    writing.commit().expect("committed");
    drop(database);
    crate::reading::age(&path);
    let file = SourceFile::new(&folder.path(), path);
    (folder, file)
}

#[test]
fn what_is_no_vector_is_kept_and_never_taken_for_one() {
    let raw: Vec<u8> = std::iter::repeat_n(1.0_f32.to_le_bytes(), 384).flatten().collect();
    let not_finite = [&[2_u8][..], &f32::NAN.to_le_bytes(), &1_f32.to_le_bytes()].concat();
    let (_folder, file) = made(|writing| {
        let mut vectors = writing.open_table(TableDefinition::<&str, &[u8]>::new("vectors")).expect("opened");
        vectors.insert("headless", raw.as_slice()).expect("inserted");
        vectors.insert("nan", not_finite.as_slice()).expect("inserted");
        vectors.insert("short", [1, 0, 0, 128, 63].as_slice()).expect("inserted");
    });
    let streams = read(&RedbSource::new(file)).expect("readable");
    let vectors = &streams["vectors"];
    assert_eq!(vectors.texts("id"), ["headless", "nan", "short"]);
    for row in &vectors.rows {
        assert_eq!(*vectors.value(row, "embedding"), Value::Null);
        assert!(row.extra.is_some());
    }
    assert_eq!(vectors.set_aside.len(), 2, "{:?}", vectors.set_aside);
    let extra = |row: usize| vectors.rows[row].extra.as_ref().map(|json| json.as_str().to_owned()).unwrap_or_default();
    assert!(extra(0).starts_with(r#"{"vector":{"$aqe":"bytes""#) && extra(2).contains(r#""base64""#));
}

#[test]
fn tables_of_other_names_are_archived_and_of_other_types_named() {
    let (_folder, file) = made(|writing| {
        let text = TableDefinition::<&str, &str>::new("notes");
        writing.open_table(text).expect("opened").insert("n", "{\"a\":1}").expect("inserted");
        let bytes = TableDefinition::<&str, &[u8]>::new("blobs");
        writing.open_table(bytes).expect("opened").insert("b", [1, 2].as_slice()).expect("inserted");
        let numbers = TableDefinition::<u64, &str>::new("numbers");
        writing.open_table(numbers).expect("opened").insert(1, "x").expect("inserted");
    });
    let source = RedbSource::new(file);
    let streams = read(&source).expect("readable");
    assert_eq!(streams["notes"].texts("record"), [r#"{"a":1}"#]);
    assert_eq!(streams["notes"].texts("part"), ["notes"]);
    assert_eq!(streams["blobs"].texts("record"), [r#"{"$aqe":"bytes","base64":"AQI="}"#]);
    assert_eq!(streams.len(), 2);
    assert!(source.notes()[0].ends_with("left out tables of types that no reader knows: numbers"));
}

#[test]
fn a_file_that_is_not_redb_is_said_plainly() {
    let folder = Folder::new();
    for (content, message) in [
        (&b""[..], "the file is empty (0 bytes)"),
        (b"redb", "not a redb file"),
        (b"SQLite format 3\0 and more", "not a redb file"),
        (b"redb\x1a\x0a\xa9\x0d\x0a", "not a whole redb file"),
    ] {
        let Err(error) = read(&RedbSource::new(folder.file("a.db", content))) else { panic!("{message}") };
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Malformed, Retry::Later));
        assert!(error.to_string().starts_with("reading a.db: "), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let mut directory = folder.file("d.db/inner", "");
    directory.path = folder.path().join("d.db");
    assert!(read(&RedbSource::new(directory)).is_err_and(|error| error.to_string().contains("a directory")));
}

#[test]
fn a_truncated_file_is_an_error() {
    let folder = Folder::new();
    let whole = real();
    for length in (9..whole.len()).step_by(70_001) {
        let Err(error) = read(&RedbSource::new(folder.file("a.db", &whole[..length]))) else {
            panic!("{length} of {} bytes were read", whole.len());
        };
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Malformed, Retry::Later), "{error}");
    }
}

#[test]
fn a_damaged_file_is_an_error_or_gives_nothing_that_was_not_in_it() {
    let folder = Folder::new();
    let whole = real();
    let truth = embeddings(&read(&RedbSource::new(fixture(REAL))).expect("readable"));
    let mut refused = 0;
    for place in (0..whole.len()).step_by(9_973).chain(0..32) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x5a;
        match read(&RedbSource::new(folder.file("a.db", &damaged))) {
            Ok(streams) => {
                let found = streams.get("vectors").map(|_| embeddings(&streams)).unwrap_or_default();
                assert!(found.iter().all(|vector| truth.contains(vector)), "byte {place} was read as data");
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::Malformed, "byte {place}: {error}");
            }
        }
    }
    assert!(refused > 9, "the magic number alone is nine bytes: {refused}");
}
