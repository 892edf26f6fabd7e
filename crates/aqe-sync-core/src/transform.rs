//! What happens to records between source and sink.

use std::sync::Arc;

use crate::{Record, Result, StreamSpec};

/// Changes, drops or multiplies records on their way.
///
/// Must be deterministic: change detection hashes what comes out of it.
pub trait Transform: Send + Sync {
    /// Handles one record; what is pushed to `out` goes on.
    ///
    /// # Errors
    /// Makes the record a dead letter with the error as its reason.
    fn apply(&self, stream: &StreamSpec, record: Record, out: &mut Vec<Record>) -> Result<()>;
}

/// Sends a record through all transforms, in order.
pub(crate) fn apply_all(transforms: &[Arc<dyn Transform>], stream: &StreamSpec, record: Record) -> Result<Vec<Record>> {
    let mut records = vec![record];
    for transform in transforms {
        let mut out = Vec::new();
        for record in records {
            transform.apply(stream, record, &mut out)?;
        }
        records = out;
    }
    Ok(records)
}
