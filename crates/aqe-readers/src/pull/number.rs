//! The number that an agent's file carries in its header: `application_id`, which is
//! written in the transaction that it counts and is no part of the schema.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#application_id>.

use aqe_sync_core::{Error, ErrorKind, Result, SourceName};
use rusqlite::Connection;

use super::notes::lost;
use super::state::{Numbers, PullState, WRAP};
use crate::sqlite::{self, header};
use crate::{SourceFile, stat};

/// `Z` in the highest byte, then 24 bits of the number.
const MARK: u32 = 0x5A00_0000;

/// Where the header has it.
const OFFSET: usize = 68;

/// What a file that pulls wrote to carries; `None` where none did.
///
/// # Errors
/// When another program uses the field.
fn number(file: &SourceName, application_id: u32) -> Result<Option<i64>> {
    match application_id {
        0 => Ok(None),
        id if id & 0xFF00_0000 == MARK => Ok(Some(i64::from(id & 0x00FF_FFFF))),
        other => Err(Error::new(
            ErrorKind::Incompatible,
            format!("the file's application_id is {other:#010x}: another program uses it"),
        )
        .during(format!("pulling into {file}"))
        .advice("pull counts its writes there; leave this file out of the pull with --target")),
    }
}

/// What the file carries, for a transaction that is open.
pub(super) fn read(connection: &Connection, file: &SourceName) -> Result<Option<i64>> {
    let id: i32 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(|error| sqlite::sqlite_error(file, error))?;
    number(file, id.cast_unsigned())
}

/// Writes it, in the transaction that is open.
pub(super) fn write(connection: &Connection, generation: i64) -> rusqlite::Result<()> {
    let bits = u32::try_from(generation.rem_euclid(WRAP)).unwrap_or_default();
    connection.execute_batch(&format!("PRAGMA application_id = {}", (MARK | bits).cast_signed()))
}

/// What a file carries that nobody has open here.
pub(super) fn carried(file: &SourceFile) -> Result<Option<i64>> {
    let failed = |cause| stat::io_error(&file.name, cause);
    let wal = header::wal_header(&file.path).map_err(failed)?;
    if wal.is_some() {
        // The first page may be in there.
        return sqlite::in_snapshot(file, |connection| read(connection, &file.name));
    }
    let bytes = header::start(&file.path, 100).map_err(failed)?;
    let id = bytes.get(OFFSET..OFFSET + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    number(&file.name, id)
}

/// Which entries hold for a file that carries this.
///
/// # Errors
/// When the state knows less than the file says.
pub(super) fn check(state: &PullState, file: &SourceName, marked: Option<i64>) -> Result<Numbers> {
    if marked.is_some() && !state.knows(file)? {
        return Err(lost(file));
    }
    state.numbers(file, marked)?.ok_or_else(|| lost(file))
}
