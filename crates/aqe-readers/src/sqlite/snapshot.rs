//! One consistent view of a database, without a trace beside it.
//!
//! | file | how it is read |
//! |---|---|
//! | rollback journal | under SQLite's shared lock, copied by its backup API, so that a producer's write waits for milliseconds only |
//! | the same, left behind by a crash | file and journal copied, rolled back in the copy |
//! | WAL, or a WAL beside a file of the other kind | file, then WAL copied; consistent as long as the WAL's salts stay, since until a WAL restarts it holds every page that a checkpoint may be writing |
//! | WAL, more than [`COPY_LIMIT`] | read in place: through the WAL if there is one with its index, else as immutable, with a look afterwards whether that was true |
//!
//! Opening a WAL database in place would create `-wal` and `-shm` files that
//! belong to whoever runs the sync, which can lock its producer out.

use std::io;
use std::path::Path;
use std::time::Duration;

use aqe_sync_core::{Error, ErrorKind, Result, Retry, SourceName};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::header::{self, Header, Magic, beside};
use crate::SourceFile;
use crate::private::PrivateFolder;
use crate::snapshot::PAUSES;
use crate::stat::{self, Stat};

/// Databases up to this size are copied; 256 MiB take a fraction of a second.
const COPY_LIMIT: u64 = 256 << 20;

/// Copies up to this size are checked page by page.
const CHECK_LIMIT: u64 = 32 << 20;

/// So much of a private copy is mapped into memory.
const MAPPED: i64 = 1 << 30;

/// How long a writer may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// A database as it was at one moment.
pub(super) struct Snapshot {
    pub(super) connection: Connection,
    /// What must still be true of a file that is read in place.
    unchanged: Option<Quiet>,
    /// A private copy goes away with the snapshot.
    _copy: Option<PrivateFolder>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

/// A WAL database that nobody has open.
struct Quiet {
    stat: Stat,
    file: SourceFile,
}

impl Snapshot {
    /// Takes a snapshot; waits a little for a file that is being rewritten.
    pub(super) fn take(file: &SourceFile) -> Result<Self> {
        let mut pauses = PAUSES.iter();
        loop {
            let failure = match attempt(file, pauses.len() == 0) {
                Ok(snapshot) => return Ok(snapshot),
                Err(failure) => failure,
            };
            match (failure, pauses.next()) {
                (Failure::Final(error), _) => return Err(error),
                (Failure::Torn(_), Some(pause)) => std::thread::sleep(*pause),
                (Failure::Torn(what), None) => return Err(torn(&file.name, &what)),
            }
        }
    }

    /// Fails if a file that is read in place changed meanwhile.
    pub(super) fn check(&self) -> Result<()> {
        let Some(Quiet { stat, file }) = &self.unchanged else { return Ok(()) };
        let now = Stat::at(&file.path).map_err(|cause| stat::io_error(&file.name, cause))?;
        let wal = header::wal_header(&file.path).map_err(|cause| stat::io_error(&file.name, cause))?;
        if now == *stat && wal.is_none() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Changed, "another program began to write to it while it was read")
            .during(format!("reading {}", file.name))
            .advice("what was synced before stays in the hub; sync again")
            .retry(Retry::Later))
    }
}

/// Why an attempt failed.
enum Failure {
    /// It looks half-written: another attempt may help.
    Torn(String),
    Final(Error),
}

fn torn(name: &SourceName, what: &str) -> Error {
    Error::new(ErrorKind::Malformed, what)
        .during(format!("reading {name}"))
        .advice(
            "the file may have been caught half-written, or is damaged; what was synced before stays in the hub, \
             the next sync tries again; if it stays so, repair the file or move it away",
        )
        .retry(Retry::Later)
}

fn attempt(file: &SourceFile, last: bool) -> Result<Snapshot, Failure> {
    let path = file.path.as_path();
    let failed = |cause: io::Error| Failure::Final(stat::io_error(&file.name, cause));
    // Header and size are read and closed before SQLite opens the file: on POSIX,
    // closing any descriptor drops the process's locks on it.
    let (opened, before) = stat::open(path, &file.name).map_err(Failure::Final)?;
    drop(opened);
    let bytes = header::start(path, 100).map_err(failed)?;
    match Magic::of(&bytes) {
        Magic::Sqlite => {}
        Magic::Empty => return Err(Failure::Torn("the file is empty (0 bytes)".to_owned())),
        Magic::Encrypted => return Err(Failure::Final(encrypted(&file.name))),
        Magic::Redb | Magic::Unknown => return Err(Failure::Torn("the file is not a SQLite database".to_owned())),
    }
    let Some(header) = Header::parse(&bytes) else {
        return Err(Failure::Torn("the SQLite header is cut off or damaged".to_owned()));
    };
    let wal = header::wal_header(path).map_err(failed)?;
    if let (Some(size), true) = (header.size, wal.is_none() && !beside(path, "-journal").exists())
        && size != before.size
    {
        return Err(Failure::Torn(format!("the file has {} bytes, its header says {size}", before.size)));
    }
    let wal_size = std::fs::metadata(beside(path, "-wal")).map_or(0, |metadata| metadata.len());
    let small = before.size + wal_size <= COPY_LIMIT;
    // Reading through a WAL needs its index beside it, which must not be made here.
    let has_index = beside(path, "-shm").exists();
    // Whatever the header says, SQLite opens a WAL that it finds.
    match (header.wal || wal_size > 0, wal) {
        (true, wal) if small || (wal.is_some() && !has_index) => copy_wal(file, before, wal.as_deref()),
        (true, Some(_)) => in_place(file, "", None),
        (true, None) => in_place(file, "&immutable=1", Some(Quiet { stat: before, file: file.clone() })),
        (false, _) => backup(file, before, last),
    }
}

fn encrypted(name: &SourceName) -> Error {
    Error::new(ErrorKind::Malformed, "the file is encrypted by claude-flow").during(format!("reading {name}")).advice(
        "unset CLAUDE_FLOW_ENCRYPT_AT_REST and let claude-flow rewrite it, or leave it out with [sources] exclude",
    )
}

/// Copies a WAL database with its WAL.
fn copy_wal(file: &SourceFile, before: Stat, wal_before: Option<&[u8]>) -> Result<Snapshot, Failure> {
    let (folder, copy) = private_copy(file, before.size)?;
    if wal_before.is_some() {
        copy_file(&beside(&file.path, "-wal"), &beside(&copy, "-wal"), file)?;
    }
    let failed = |cause: io::Error| Failure::Final(stat::io_error(&file.name, cause));
    let wal_after = header::wal_header(&file.path).map_err(failed)?;
    let after = Stat::at(&file.path).map_err(failed)?;
    let same_wal = wal_after.as_deref() == wal_before;
    // With a WAL that stays, a checkpoint may move its pages into the file meanwhile.
    let sound = same_wal && if wal_before.is_some() { after.same_file(&before) } else { after == before };
    if !sound {
        return Err(Failure::Torn("the file changed while it was copied".to_owned()));
    }
    open_copy(file, folder, &copy, before.size)
}

fn private_copy(file: &SourceFile, size: u64) -> Result<(PrivateFolder, std::path::PathBuf), Failure> {
    let folder = PrivateFolder::new().map_err(|cause| {
        Failure::Final(
            Error::new(ErrorKind::Io, format!("no temporary folder for a copy of {size} bytes ({cause})"))
                .during(format!("reading {}", file.name))
                .advice("make room, or set TMPDIR to a folder with room")
                .caused_by(cause),
        )
    })?;
    let copy = folder.path().join("copy.db");
    copy_file(&file.path, &copy, file)?;
    Ok((folder, copy))
}

fn copy_file(from: &Path, to: &Path, file: &SourceFile) -> Result<(), Failure> {
    match std::fs::copy(from, to) {
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::Torn("a part of the database went away while it was copied".to_owned()));
        }
        Err(cause) => return Err(Failure::Final(stat::io_error(&file.name, cause))),
    }
    // `copy` keeps permissions: the copy of a read-only file must still be usable.
    let writable = std::fs::OpenOptions::new().write(true).open(to).is_ok();
    if !writable && let Ok(metadata) = std::fs::metadata(to) {
        let mut permissions = metadata.permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "a private copy in a private folder")]
        permissions.set_readonly(false);
        // If it cannot be, SQLite says so.
        let _ = std::fs::set_permissions(to, permissions);
    }
    Ok(())
}

fn open_copy(file: &SourceFile, folder: PrivateFolder, copy: &Path, size: u64) -> Result<Snapshot, Failure> {
    let opened = Connection::open(copy).and_then(|connection| {
        // Saves a copy and a system call per page. Only here: a file that another program
        // cuts short while it is mapped ends the process.
        connection.pragma_update(None, "mmap_size", MAPPED)?;
        begin(&connection)?;
        if size <= CHECK_LIMIT {
            check_pages(&connection)?;
        }
        Ok(connection)
    });
    match opened {
        Ok(connection) => Ok(Snapshot { connection, unchanged: None, _copy: Some(folder) }),
        Err(error) => Err(failure(file, error)),
    }
}

/// Starts the read transaction; the first look at the schema takes the snapshot.
fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The index by which the embeddings of a few hundred thousand records are found has to
    // stay between the pages that are read once; a first load has to stay under 100 MB.
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA cache_size = -24576; BEGIN")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Checks the structure. What a row holds against its table's own constraints,
/// and indexes that only derive from tables, are no reason to read nothing.
fn check_pages(connection: &Connection) -> rusqlite::Result<()> {
    const HARMLESS: [&str; 6] = [
        "NULL value in ",
        "CHECK constraint failed in ",
        "NUMERIC value in ",
        "TEXT value in ",
        "non-",
        "malformed inverted index for ",
    ];
    // Damaged pages come first, so that no number of other remarks hides them.
    let mut statement = connection.prepare("PRAGMA quick_check(100)")?;
    let mut verdicts = statement.query([])?;
    while let Some(row) = verdicts.next()? {
        let verdict: String = row.get(0)?;
        if verdict != "ok" && !HARMLESS.iter().any(|harmless| verdict.starts_with(harmless)) {
            let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(corrupt, Some(verdict)));
        }
    }
    Ok(())
}

/// Copies a database under its own shared lock.
fn backup(file: &SourceFile, before: Stat, last: bool) -> Result<Snapshot, Failure> {
    if hot_journal(file) {
        return roll_back_copy(file, before);
    }
    let folder = PrivateFolder::new().map_err(|cause| {
        Failure::Final(stat::io_error(&file.name, cause).advice("set TMPDIR to a folder with room"))
    })?;
    let copy = folder.path().join("copy.db");
    let copied = (|| {
        let from = Connection::open_with_flags(&file.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        from.busy_timeout(BUSY_TIMEOUT)?;
        // Takes the shared lock before the first page is copied.
        from.execute_batch("BEGIN")?;
        from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let mut to = Connection::open(&copy)?;
        to.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")?;
        rusqlite::backup::Backup::new(&from, &mut to)?.run_to_completion(i32::MAX, Duration::ZERO, None)
    })();
    match copied {
        Ok(()) => {}
        Err(error) if is_crash(&error) && beside(&file.path, "-journal").exists() => {
            return roll_back_copy(file, before);
        }
        Err(error) => return Err(failure(file, error)),
    }
    let after = Stat::at(&file.path).map_err(|cause| Failure::Final(stat::io_error(&file.name, cause)))?;
    // sql.js takes no locks: it overwrites the whole file at any moment. A file
    // that never holds still has a writer that does take locks, or a copy that
    // does not pass the page check.
    let checked = last && before.size <= CHECK_LIMIT;
    if after != before && !checked {
        return Err(Failure::Torn("the file changed while it was copied".to_owned()));
    }
    open_copy(file, folder, &copy, before.size)
}

/// A journal with a valid header and nobody who holds the write lock.
fn hot_journal(file: &SourceFile) -> bool {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let journal = header::start(&beside(&file.path, "-journal"), 8);
    if !journal.is_ok_and(|start| start == MAGIC) {
        return false;
    }
    let writer_alive = Connection::open_with_flags(&file.path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|probe| {
        probe.busy_timeout(Duration::ZERO)?;
        probe.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    });
    // A read-only connection cannot roll back: it fails exactly when the journal is hot.
    writer_alive.is_err_and(|error| is_crash(&error))
}

fn is_crash(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Copies file and journal, and lets SQLite undo the half-done transaction there.
fn roll_back_copy(file: &SourceFile, before: Stat) -> Result<Snapshot, Failure> {
    let (folder, copy) = private_copy(file, before.size)?;
    copy_file(&beside(&file.path, "-journal"), &beside(&copy, "-journal"), file)?;
    let after = Stat::at(&file.path).map_err(|cause| Failure::Final(stat::io_error(&file.name, cause)))?;
    if after != before {
        return Err(Failure::Torn("the file changed while it was copied".to_owned()));
    }
    open_copy(file, folder, &copy, before.size)
}

fn in_place(file: &SourceFile, parameters: &str, unchanged: Option<Quiet>) -> Result<Snapshot, Failure> {
    let uri = format!("file:{}?mode=ro{parameters}", percent_encode(&file.path));
    // One thread at a time uses the connection: no mutex per column needed.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(uri, flags).and_then(|connection| {
        begin(&connection)?;
        Ok(connection)
    });
    match opened {
        Ok(connection) => Ok(Snapshot { connection, unchanged, _copy: None }),
        Err(error) => Err(failure(file, error)),
    }
}

/// A path inside an SQLite URI (<https://www.sqlite.org/uri.html>).
fn percent_encode(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

fn failure(file: &SourceFile, error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Failure::Torn(format!("the database is damaged ({error})"))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Final(
            Error::new(ErrorKind::Locked, "another program has it locked for writing")
                .during(format!("reading {}", file.name))
                .advice(
                    "wait until that program has finished its transaction, or end it, and sync again; \
                     what was synced before stays in the hub",
                )
                .retry(Retry::Later)
                .caused_by(error),
        ),
        _ => Failure::Final(super::sqlite_error(&file.name, error)),
    }
}
