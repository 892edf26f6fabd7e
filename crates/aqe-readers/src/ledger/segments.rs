//! Entries as packed segments.
//!
//! A segment is a blob of 32-byte entries — key hash (16 bytes), local hash (8),
//! content hash (8), all little-endian, 0 for none — with its XXH3 beside it.
//! Later segments win. Loading 500,000 entries reads 16 MB in one sweep, where a
//! row per entry would cost a B-tree look-up each.

use aqe_sync_core::ledger::LedgerEntry;
use aqe_sync_core::{ContentHash, KeyHash, LocalHash};
use rusqlite::{Transaction, params};
use xxhash_rust::xxh3::xxh3_64;

const ENTRY_BYTES: usize = 32;

pub(super) fn add_segment(transaction: &Transaction<'_>, id: i64, entries: &[LedgerEntry]) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let (checksum, blob) = pack(entries);
    transaction
        .prepare_cached(
            "INSERT INTO segments (stream_id, number, checksum, entries) VALUES (?1, \
             (SELECT coalesce(max(number), 0) + 1 FROM segments WHERE stream_id = ?1), ?2, ?3)",
        )?
        .execute(params![id, checksum, blob])
        .map(|_| ())
}

/// A checksum and the blob that it is of.
pub(super) fn pack(entries: &[LedgerEntry]) -> (i64, Vec<u8>) {
    let mut blob = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        blob.extend_from_slice(&entry.key.0.to_le_bytes());
        blob.extend_from_slice(&entry.local.map_or(0, |local| local.0).to_le_bytes());
        blob.extend_from_slice(&entry.content.map_or(0, ContentHash::to_i64).to_le_bytes());
    }
    (checksum(&blob), blob)
}

fn checksum(blob: &[u8]) -> i64 {
    xxh3_64(blob).cast_signed()
}

/// `false` when the blob is not the one that the checksum is of.
pub(super) fn unpack(sum: i64, blob: &[u8], entries: &mut Vec<LedgerEntry>) -> bool {
    if sum != checksum(blob) {
        return false;
    }
    let (chunks, rest) = blob.as_chunks::<ENTRY_BYTES>();
    entries.reserve(chunks.len());
    for chunk in chunks {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&chunk[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let local = word(16);
        entries.push(LedgerEntry {
            key: KeyHash(u128::from(word(0)) | u128::from(word(8)) << 64),
            local: (local != 0).then_some(LocalHash(local)),
            content: ContentHash::from_i64(word(24).cast_signed()),
        });
    }
    rest.is_empty()
}

/// One entry per key, the last one; those without content are gone.
pub(super) fn newest(mut entries: Vec<LedgerEntry>) -> Vec<LedgerEntry> {
    if !entries.is_sorted_by(|a, b| a.key < b.key) {
        // Stable: of equal keys the later segment's comes last.
        entries.sort_by_key(|entry| entry.key);
        entries.reverse();
        entries.dedup_by_key(|entry| entry.key);
        entries.reverse();
    }
    entries.retain(|entry| entry.content.is_some());
    entries
}
