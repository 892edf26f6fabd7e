//! What a redb file says of itself, looked at before redb acts on it.

use std::fs::File;
use std::io::Read as _;

use aqe_sync_core::{ErrorKind, Result};

use super::damaged;
use crate::snapshot::caught;

/// What every redb file begins with.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1a, 0x0a, 0xa9, 0x0d, 0x0a];

/// Where the header's numbers begin, 32 bits each: bytes per page, header pages
/// per region, data pages per region, full regions
/// (<https://github.com/cberner/redb/blob/master/docs/design.md>).
const HEADER_NUMBERS: usize = 12;

/// The header as far as it is looked at.
const HEADER_BYTES: usize = HEADER_NUMBERS + 16;

/// redb makes regions of 4 GiB.
const LARGEST_REGION: u64 = 4 << 30;

/// Sees that the header is redb's, and does not claim more than the file can
/// hold: redb would make room for whatever it claims.
pub(super) fn check_header(copy: &mut File) -> Result<()> {
    let size = copy.metadata().map_err(damaged)?.len();
    let mut header = [0; HEADER_BYTES];
    let read = copy.read_exact(&mut header);
    if !header.starts_with(&MAGIC) {
        return Err(caught(ErrorKind::Malformed, "not a redb file: it begins with other bytes"));
    }
    read.map_err(damaged)?;
    let (_, numbers) = header.split_at(HEADER_NUMBERS);
    let (numbers, _) = numbers.as_chunks::<4>();
    let number = |position: usize| u64::from(u32::from_le_bytes(numbers[position]));
    let (page, region_header, region_data, full_regions) = (number(0), number(1), number(2), number(3));
    let region = page.saturating_mul(region_header.saturating_add(region_data));
    let sound = page.is_power_of_two()
        && page.saturating_mul(region_header) <= size
        && page.saturating_mul(region_data) <= LARGEST_REGION
        && region.saturating_mul(full_regions) <= size;
    if sound { Ok(()) } else { Err(damaged("its header claims more than it holds")) }
}
