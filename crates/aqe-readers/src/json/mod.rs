//! Sources over JSON files.

use aqe_sync_core::{BatchStream, ReadRequest, Result, Source, SourceName, StreamSpec};

use crate::SourceFile;

/// Which tool's JSON it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLayout {
    /// claude-flow 3.x `memory/store.json`.
    Store,
    /// claude-flow 1.x and 2.0 `memory/memory-store.json`.
    MemoryStore,
    /// claude-flow 3.x `daemon-state.json`.
    DaemonState,
    /// claude-flow `metrics/*.json`.
    Metrics,
    /// ruvector `intelligence.json`.
    Intelligence,
    /// A file that nobody has a mapping for: kept in `archive_records`.
    Archive,
}

/// A JSON file as a source.
#[derive(Debug)]
pub struct JsonSource {
    file: SourceFile,
    layout: JsonLayout,
}

impl JsonSource {
    /// A file with its layout.
    pub fn new(file: SourceFile, layout: JsonLayout) -> Self {
        Self { file, layout }
    }
}

impl Source for JsonSource {
    fn name(&self) -> &SourceName {
        &self.file.name
    }

    async fn streams(&self) -> Result<Vec<StreamSpec>> {
        let _ = self.layout;
        Ok(Vec::new())
    }

    fn read(&self, _request: ReadRequest) -> BatchStream {
        Box::pin(futures::stream::empty())
    }
}
