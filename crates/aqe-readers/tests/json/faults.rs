//! Files that cannot be read now: a plain error, and nothing in their place.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use aqe_readers::{JsonLayout, JsonSource};
use aqe_sync_core::{BatchLimits, Error, ErrorKind, Retry, Source as _};
use futures::executor::block_on;

use crate::reading::{Folder, age, fixture, read, read_only};

fn failure(source: &JsonSource) -> Error {
    match read(source) {
        Ok(streams) => panic!("{:?} were read", streams.keys()),
        Err(error) => error,
    }
}

fn whole_store() -> Vec<u8> {
    std::fs::read(fixture("public-orochi-db-5164db4c-2026-01-17/.claude-flow/memory/store.json").path).expect("there")
}

#[test]
fn a_torn_store_is_said_to_be_torn_and_where() {
    let file = fixture("claude-flow-3.0.0-alpha.179-torn/.claude-flow/memory/store.json");
    let error = failure(&JsonSource::new(file, JsonLayout::Store));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Malformed, Retry::Later));
    let text = error.to_string();
    assert!(text.starts_with("reading .claude-flow/memory/store.json: not valid JSON at line 477 column "), "{text}");
    assert!(
        text.ends_with(
            "the file may have been caught half-written; what was synced before stays in the hub, \
             the next sync tries again; if it stays so, repair the file or move it away"
        ),
        "{text}"
    );
}

#[test]
fn an_empty_file_is_an_error_and_not_an_empty_store() {
    let file = fixture("claude-flow-3.0.0-alpha.179-torn-empty/.claude-flow/memory/store.json");
    let error = failure(&JsonSource::new(file, JsonLayout::Store));
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Malformed, Retry::Later));
    assert!(error.to_string().contains("the file is empty (0 bytes); the file may have been caught"), "{error}");
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    let folder = Folder::new();
    let whole = whole_store();
    let end = whole.trim_ascii_end().len();
    for length in (0..200).chain((200..end).step_by(11)).chain(end - 20..end) {
        let source = folder.json(&whole[..length], JsonLayout::Store);
        assert_eq!(failure(&source).can_retry(), Retry::Later, "cut off at {length}");
    }
    assert_eq!(read(&folder.json(&whole[..end], JsonLayout::Store)).expect("valid")["entries"].rows.len(), 3);
}

#[test]
fn a_list_cut_off_between_its_elements_is_an_error() {
    let folder = Folder::new();
    let path = fixture("public-agentic-qe-repo-6fd4bfe8-2026-01-02/.ruvector/intelligence.json").path;
    let whole = std::fs::read(path).expect("there");
    for length in (1..whole.len() - 2).step_by(2_003) {
        failure(&folder.json(&whole[..length], JsonLayout::Intelligence));
    }
}

#[test]
fn a_writer_at_work_is_never_read_as_less_than_it_writes() {
    let folder = Folder::new();
    let whole = whole_store();
    let file = folder.file("store.json", &whole);
    let done = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (path, done) = (file.path.clone(), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                std::fs::write(&path, &whole).expect("written");
            }
        }
    });
    let source = JsonSource::new(file, JsonLayout::Store);
    for _ in 0..4 {
        match read(&source) {
            Ok(streams) => assert_eq!(streams["entries"].rows.len(), 3),
            Err(error) => assert_eq!(error.can_retry(), Retry::Later, "{error}"),
        }
    }
    done.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
}

#[test]
fn a_read_is_of_what_the_streams_were_found_in() {
    let folder = Folder::new();
    let source = folder.json(whole_store(), JsonLayout::Store);
    let specs = block_on(source.streams()).expect("valid");
    folder.json("{}", JsonLayout::Store);
    let streams = read_only(&source, specs.clone(), BatchLimits::default()).expect("the snapshot is kept");
    assert_eq!(streams["entries"].rows.len(), 3);

    let Err(error) = read_only(&source, specs, BatchLimits::default()) else { panic!("it is gone") };
    assert_eq!((error.kind(), error.can_retry()), (ErrorKind::Changed, Retry::Later));
    assert!(error.to_string().contains("reading file.json: the part entries is no longer there"), "{error}");
}

#[test]
fn bytes_that_are_not_utf8_are_named_with_their_place() {
    let folder = Folder::new();
    let mut text = whole_store();
    let place = text.windows(5).position(|window| window == b"value").expect("a value");
    text[place] = 0xff;
    let error = failure(&folder.json(text, JsonLayout::Store));
    assert!(error.to_string().contains(&format!("not UTF-8 at byte {place}")), "{error}");
}

#[test]
fn more_than_one_document_is_no_document() {
    let folder = Folder::new();
    for text in ["{}{}", "{} x", "[1,]", "nul", "\u{feff}{}", "{\"a\":\"\n\"}", "NaN"] {
        let error = failure(&folder.json(text, JsonLayout::Archive));
        assert!(error.to_string().contains("not valid JSON at line "), "{error}");
    }
}

#[test]
fn a_directory_a_missing_file_and_a_pipe_are_said_plainly() {
    let folder = Folder::new();
    let file = folder.file("store.json/inner", "");
    let mut directory = file.clone();
    directory.path = folder.path().join("store.json");
    let error = failure(&JsonSource::new(directory, JsonLayout::Store));
    assert!(error.to_string().contains("it is a directory where a file should be"), "{error}");

    let mut missing = file.clone();
    missing.path = folder.path().join("nothing.json");
    let source = JsonSource::new(missing, JsonLayout::Store);
    assert_eq!(failure(&source).kind(), ErrorKind::NotFound);
    assert!(block_on(source.fingerprint()).is_err());

    let mut pipe = file;
    pipe.path = folder.path().join("pipe");
    if Command::new("mkfifo").arg(&pipe.path).status().is_ok_and(|status| status.success()) {
        let error = failure(&JsonSource::new(pipe, JsonLayout::Store));
        assert!(error.to_string().contains("a pipe or a device"), "{error}");
    }
}

/// The superuser may read everything: then this test runs itself again as nobody.
#[cfg(unix)]
#[test]
fn a_file_without_read_permission_is_said_plainly() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    const HANDED_ON: &str = "AQE_TEST_UNREADABLE";
    let check = |path: &Path| {
        let mut file = fixture("public-orochi-db/x.json");
        file.path = path.to_owned();
        let error = failure(&JsonSource::new(file, JsonLayout::Store));
        assert_eq!((error.kind(), error.can_retry()), (ErrorKind::PermissionDenied, Retry::Never));
        assert!(error.to_string().contains("no permission to read it"), "{error}");
    };
    if let Some(path) = std::env::var_os(HANDED_ON) {
        return check(Path::new(&path));
    }
    let folder = Folder::new();
    let path = folder.file("store.json", whole_store()).path;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).expect("settable");
    if std::fs::read(&path).is_err() {
        return check(&path);
    }
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("settable");
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", "faults::a_file_without_read_permission_is_said_plainly"]).env(HANDED_ON, &path);
    // Where nobody may not run this program there is nothing to see.
    if let Ok(output) = again.uid(NOBODY).gid(NOBODY).current_dir("/").output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn reading_leaves_the_file_and_its_folder_as_they_were() {
    let folder = Folder::new();
    let file = folder.file("store.json", whole_store());
    let look = || {
        let listing = std::fs::read_dir(folder.path()).expect("readable");
        let names: Vec<_> = listing.map(|entry| entry.expect("an entry").file_name()).collect();
        let metadata = std::fs::metadata(&file.path).expect("there");
        let bytes = std::fs::read(&file.path).expect("readable");
        (names, metadata.modified().expect("known"), metadata.permissions(), bytes)
    };
    let before = look();
    let source = JsonSource::new(file.clone(), JsonLayout::Store);
    read(&source).expect("valid");
    block_on(source.fingerprint()).expect("there");
    assert_eq!(look(), before);
}

#[test]
fn a_fingerprint_changes_with_the_file_and_settles_when_it_is_quiet() {
    let folder = Folder::new();
    let source = folder.json("{}", JsonLayout::Archive);
    let look = || block_on(source.fingerprint()).expect("there").expect("always");
    let first = look();
    assert!(first.settled);
    assert_eq!(look(), first);
    std::fs::write(folder.path().join("file.json"), "[]").expect("written");
    assert_ne!(look().bytes, first.bytes);

    let touched = std::fs::File::options().write(true).open(folder.path().join("file.json")).expect("there");
    touched.set_modified(SystemTime::now()).expect("settable");
    let fresh = look();
    age(&folder.path().join("file.json"));
    assert!(look().settled && look().bytes != fresh.bytes);
}
