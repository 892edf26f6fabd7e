//! The same file under two names is read once.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::{Discovery, Found, Skipped};
use crate::stat::Stat;

/// Smaller files are not compared: `{}` is no copy of another `{}`.
const COMPARED_FROM: u64 = 4 << 10;

/// Nor are larger ones: every run compares anew, and reading two such files
/// takes longer than the rest of a run in which nothing changed. To read a copy
/// as well costs time once, since its fingerprint is known from then on.
const COMPARED_TO: u64 = 32 << 20;

/// Leaves out what is the same file, or a byte-for-byte copy, of one of higher rank.
pub(super) fn remove(discovery: &mut Discovery) {
    let mut kept: Vec<(Found, Option<Stat>)> = Vec::new();
    for found in discovery.found.drain(..) {
        let stat = Stat::at(&found.file.path).ok();
        let twin = kept.iter().find_map(|(other, other_stat)| {
            let (one, other_stat) = (stat.as_ref()?, other_stat.as_ref()?);
            let relation = if one.same_file(other_stat) {
                "the same file as"
            } else if is_copy(&found, one, other, other_stat) {
                "a byte-for-byte copy of"
            } else {
                return None;
            };
            Some(format!("{relation} {}, which is read once", other.file.name))
        });
        match twin {
            Some(reason) => discovery.skipped.push(Skipped { name: found.file.name, reason }),
            None => kept.push((found, stat)),
        }
    }
    discovery.found = kept.into_iter().map(|(found, _)| found).collect();
}

fn is_copy(one: &Found, one_stat: &Stat, other: &Found, other_stat: &Stat) -> bool {
    one_stat.size == other_stat.size
        && (COMPARED_FROM..=COMPARED_TO).contains(&one_stat.size)
        && one.file.scope == other.file.scope
        && !has_wal(&one.file.path)
        && !has_wal(&other.file.path)
        && same_bytes(&one.file.path, &other.file.path).unwrap_or(false)
}

/// What a WAL holds is not in the file. It lies beside the target of a link.
fn has_wal(path: &Path) -> bool {
    let mut wal = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    wal.push("-wal");
    std::fs::metadata(Path::new(&wal)).is_ok_and(|metadata| metadata.len() > 0)
}

fn same_bytes(one: &Path, other: &Path) -> std::io::Result<bool> {
    const CHUNK: usize = 64 << 10;
    let mut one = BufReader::with_capacity(CHUNK, File::open(one)?);
    let mut other = BufReader::with_capacity(CHUNK, File::open(other)?);
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = one.read(&mut a)?;
        if read == 0 {
            return Ok(other.read(&mut b[..1])? == 0);
        }
        if other.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
            return Ok(false);
        }
    }
}
