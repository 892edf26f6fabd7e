//! Rows of a large batch as binary `COPY`
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format").

use bytes::Bytes;

use super::{Wire, put};

/// So many bytes go to the connection at once.
const CHUNK: usize = 256 << 10;

/// Collects rows into chunks.
#[derive(Debug)]
pub(crate) struct CopyRows {
    bytes: Vec<u8>,
    columns: i16,
}

impl CopyRows {
    pub(crate) fn new(columns: usize) -> Self {
        let mut bytes = Vec::with_capacity(CHUNK + (CHUNK >> 3));
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        // Flags and the length of the header's extension.
        bytes.extend_from_slice(&[0; 8]);
        // A table has at most 1,600 columns.
        Self { bytes, columns: i16::try_from(columns).unwrap_or(i16::MAX) }
    }

    pub(crate) fn begin_row(&mut self) {
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
    }

    pub(crate) fn push(&mut self, value: Wire<'_>) {
        put(value, &mut self.bytes);
    }

    /// What is to be sent, once there is enough of it.
    pub(crate) fn chunk(&mut self) -> Option<Bytes> {
        if self.bytes.len() < CHUNK {
            return None;
        }
        let next = Vec::with_capacity(CHUNK + (CHUNK >> 3));
        Some(std::mem::replace(&mut self.bytes, next).into())
    }

    /// The rest, with the end mark.
    pub(crate) fn finish(mut self) -> Bytes {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes.into()
    }
}
