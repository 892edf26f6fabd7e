//! What real tools wrote: the cells of the fixtures' databases, the texts of their JSON files.

use std::sync::LazyLock;

use aqe_sync_workspace::fuzz::fixtures;
use arbitrary::{Arbitrary, Unstructured};
use rusqlite::types::{ToSql, ToSqlOutput, Value as Sql, ValueRef};
use rusqlite::{Connection, OpenFlags};

/// A value as SQLite stores it; its text need not be UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// A tag byte, then the number (64 bits), or the length (16 bits) and the bytes.
impl<'a> Arbitrary<'a> for Cell {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let tag = u.arbitrary::<u8>()?;
        let bytes = |u: &mut Unstructured<'a>| {
            let length = usize::from(u.arbitrary::<u16>()?).min(u.len());
            Ok(u.bytes(length)?.to_vec())
        };
        Ok(match tag % 5 {
            0 => Self::Null,
            1 => Self::Int(u.arbitrary()?),
            2 => Self::Real(f64::from_bits(u.arbitrary()?)),
            3 => Self::Text(bytes(u)?),
            _ => Self::Blob(bytes(u)?),
        })
    }
}

impl Cell {
    /// Writes what [`Self::arbitrary`] reads.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |tag: u8, bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
            out.push(tag);
            out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Self::Text(text) => put(3, text),
            Self::Blob(bytes) => put(4, bytes),
            Self::Null => out.push(0),
            Self::Int(number) => {
                out.push(1);
                out.extend(number.to_le_bytes());
            }
            Self::Real(number) => {
                out.push(2);
                out.extend(number.to_bits().to_le_bytes());
            }
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Sql::Null),
            Self::Int(number) => ToSqlOutput::Owned(Sql::Integer(*number)),
            Self::Real(number) => ToSqlOutput::Owned(Sql::Real(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text)),
            Self::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// Rows of every table of every database among the fixtures, the first few of each.
pub(crate) fn rows() -> &'static [Vec<Cell>] {
    static ROWS: LazyLock<Vec<Vec<Cell>>> = LazyLock::new(|| {
        let databases = fixtures().into_iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "db"));
        let mut rows: Vec<_> = databases.filter_map(|path| rows_of(&path).ok()).flatten().collect();
        rows.retain(|row| {
            row.iter().all(|cell| !matches!(cell, Cell::Text(bytes) | Cell::Blob(bytes) if bytes.len() > 9_500))
        });
        assert!(rows.len() > 300, "{} rows in all fixtures", rows.len());
        rows
    });
    &ROWS
}

fn rows_of(path: &std::path::Path) -> rusqlite::Result<Vec<Vec<Cell>>> {
    // A copy: opening a WAL database leaves files beside it.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.db");
    std::fs::copy(path, &copy).expect("copied");
    let connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND sql NOT LIKE '%VIRTUAL%'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rows = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\" LIMIT 8"))?;
        let columns = statement.column_count();
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            rows.push((0..columns).map(|column| row.get_ref(column).map(cell)).collect::<rusqlite::Result<_>>()?);
        }
    }
    Ok(rows)
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(text.to_vec()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

/// The texts of the databases and of the JSON files.
pub(crate) fn texts() -> Vec<String> {
    let cells = rows().iter().flatten().filter_map(|cell| match cell {
        Cell::Text(text) => String::from_utf8(text.clone()).ok(),
        _ => None,
    });
    let mut texts: Vec<String> = cells.collect();
    for path in fixtures().iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "json")) {
        let bytes = std::fs::read(path).expect("a fixture");
        if let Ok(document) = serde_json::from_slice(&bytes) {
            strings(&document, &mut texts);
        }
    }
    texts.sort();
    texts.dedup();
    texts
}

/// All strings in a document that are no keys.
pub(crate) fn strings(document: &serde_json::Value, found: &mut Vec<String>) {
    match document {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(elements) => elements.iter().for_each(|element| strings(element, found)),
        serde_json::Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        _ => {}
    }
}
