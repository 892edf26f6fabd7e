//! The codes of vectors, many to a row of the hub, so that reading all of them is quick.
//!
//! Each place (the rows of one table, environment and model) has its own blocks. In them, entries
//! lie without gaps: what is removed is replaced by the last one.

use aqe_sync_core::{Error, ErrorKind};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::code::{encode, size_of_code};
use super::txn::Failure;

/// Entries of a block.
const BLOCK: usize = 64;
/// Before the code of an entry: the id of its vector.
const ID: usize = 8;

/// The places of one place's entries, while they are changed.
pub(super) struct Slots<'a> {
    connection: &'a Connection,
    place: i64,
    /// How many there are.
    used: u64,
    /// Of how many numbers each vector is; 0 before the first.
    dimension: usize,
}

impl<'a> Slots<'a> {
    pub(super) fn of(connection: &'a Connection, place: i64) -> rusqlite::Result<Self> {
        let sql = "SELECT vectors, dimension FROM vector_places WHERE id = ?1";
        connection
            .prepare_cached(sql)?
            .query_row([place], |row| Ok(Self { connection, place, used: row.get(0)?, dimension: row.get(1)? }))
    }

    /// A new slot.
    pub(super) fn next(&mut self) -> u64 {
        self.used += 1;
        self.used - 1
    }

    /// Writes a vector's code into a slot.
    ///
    /// # Errors
    /// Also when the place's other vectors have another dimension.
    pub(super) fn put(&mut self, slot: u64, id: i64, vector: &[f32]) -> Result<(), Failure> {
        if self.dimension == 0 {
            self.dimension = vector.len();
        }
        if self.dimension != vector.len() {
            let message = format!(
                "vectors of one model have one length: there are {}, this one has {}",
                self.dimension,
                vector.len()
            );
            return Err(Error::new(ErrorKind::Invalid, message)
                .advice("give a model another name when it makes other vectors")
                .into());
        }
        let mut entry = id.to_le_bytes().to_vec();
        entry.extend(encode(vector));
        Ok(self.write(slot, &entry)?)
    }

    /// Frees a slot: the last entry moves there.
    pub(super) fn remove(&mut self, slot: u64) -> rusqlite::Result<()> {
        let Some(last) = self.used.checked_sub(1) else { return Ok(()) };
        if slot != last {
            let entry = self.read(last)?;
            self.write(slot, &entry)?;
            let id = entry.first_chunk().map_or(0, |id| i64::from_le_bytes(*id));
            let sql = "UPDATE vectors SET slot = ?2 WHERE id = ?1";
            self.connection.prepare_cached(sql)?.execute(params![id, slot])?;
        }
        self.used = last;
        if last.is_multiple_of(BLOCK as u64) {
            let sql = "DELETE FROM vector_blocks WHERE place = ?1 AND number = ?2";
            self.connection.prepare_cached(sql)?.execute(params![self.place, last / BLOCK as u64])?;
        }
        Ok(())
    }

    /// Writes down how many there are.
    pub(super) fn finish(self) -> rusqlite::Result<()> {
        let sql = "UPDATE vector_places SET vectors = ?2, dimension = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![self.place, self.used, self.dimension]).map(drop)
    }

    fn write(&self, slot: u64, entry: &[u8]) -> rusqlite::Result<()> {
        let (block, at) = self.locate(slot)?;
        self.blob(block, false)?.write_at(entry, at)
    }

    fn read(&self, slot: u64) -> rusqlite::Result<Vec<u8>> {
        let (block, at) = self.locate(slot)?;
        let mut entry = vec![0; self.size()];
        self.blob(block, true)?.read_at_exact(&mut entry, at)?;
        Ok(entry)
    }

    fn blob(&self, block: i64, read_only: bool) -> rusqlite::Result<rusqlite::blob::Blob<'_>> {
        self.connection.blob_open("main", "vector_blocks", "entries", block, read_only)
    }

    fn size(&self) -> usize {
        ID + size_of_code(self.dimension)
    }

    /// The block of a slot, made if it is not there, and where in it the entry begins.
    fn locate(&self, slot: u64) -> rusqlite::Result<(i64, usize)> {
        let at = usize::try_from(slot % BLOCK as u64).unwrap_or_default() * self.size();
        let find = "SELECT id FROM vector_blocks WHERE place = ?1 AND number = ?2";
        let number = slot / BLOCK as u64;
        let found = self
            .connection
            .prepare_cached(find)?
            .query_row(params![self.place, number], |row| row.get(0))
            .optional()?;
        if let Some(block) = found {
            return Ok((block, at));
        }
        let add = "INSERT INTO vector_blocks (place, number, entries) VALUES (?1, ?2, zeroblob(?3)) RETURNING id";
        let size = BLOCK * self.size();
        let block =
            self.connection.prepare_cached(add)?.query_row(params![self.place, number, size], |row| row.get(0))?;
        Ok((block, at))
    }
}

/// All entries of places.
pub(super) struct Blocks<'a> {
    place: rusqlite::CachedStatement<'a>,
    blocks: rusqlite::CachedStatement<'a>,
}

impl<'a> Blocks<'a> {
    pub(super) fn of(connection: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            place: connection.prepare_cached("SELECT vectors, dimension FROM vector_places WHERE id = ?1")?,
            blocks: connection.prepare_cached("SELECT entries FROM vector_blocks WHERE place = ?1 ORDER BY number")?,
        })
    }

    /// Looks at the id and the code of every vector of a place.
    pub(super) fn each(&mut self, place: i64, mut look: impl FnMut(i64, &[u8])) -> rusqlite::Result<()> {
        let (mut left, dimension): (usize, usize) =
            self.place.query_row([place], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut rows = self.blocks.query([place])?;
        while let Some(row) = rows.next()? {
            let entries = row.get_ref(0)?.as_blob()?;
            for entry in entries.chunks_exact(ID + size_of_code(dimension)).take(left.min(BLOCK)) {
                if let Some((id, code)) = entry.split_first_chunk() {
                    look(i64::from_le_bytes(*id), code);
                }
            }
            left = left.saturating_sub(BLOCK);
        }
        Ok(())
    }
}
