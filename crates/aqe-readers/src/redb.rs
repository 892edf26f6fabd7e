//! Sources over redb files.

use aqe_sync_core::{BatchStream, ReadRequest, Result, Source, SourceName, StreamSpec};

use crate::SourceFile;

/// A redb file of vectors as a source.
#[derive(Debug)]
pub struct RedbSource {
    file: SourceFile,
}

impl RedbSource {
    /// A redb file.
    pub fn new(file: SourceFile) -> Self {
        Self { file }
    }
}

impl Source for RedbSource {
    fn name(&self) -> &SourceName {
        &self.file.name
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        Ok(Vec::new())
    }

    fn read(&self, _request: ReadRequest) -> BatchStream {
        Box::pin(futures::stream::empty())
    }
}
