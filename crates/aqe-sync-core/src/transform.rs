//! What happens to records between source and sink.

use std::sync::Arc;

use crate::{DeadLetter, Record, Result, StreamSpec};

/// Changes, drops or multiplies records on their way.
///
/// Must be deterministic: change detection hashes what comes out of it.
pub trait Transform: Send + Sync {
    /// Handles one record; what is pushed to `out` goes on.
    ///
    /// # Errors
    /// Makes the record a dead letter with the error as its reason.
    fn apply(&self, stream: &StreamSpec, record: Record, out: &mut Vec<Record>) -> Result<()>;

    /// Handles a record that is kept as a dead letter: one that a transform stopped is kept
    /// as it was before all of them.
    fn letter(&self, letter: DeadLetter) -> DeadLetter {
        letter
    }

    /// A number, if exactly one record comes out for each that goes in, and depends on
    /// nothing but that record and the number: then a record that is as it was at the last
    /// sync under the same number is not even transformed. It changes whenever any record
    /// could be transformed differently.
    fn in_place(&self) -> Option<u64> {
        None
    }

    /// What is worth knowing about a run, once it is over: for people.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
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

/// One number for transforms that are all [`Transform::in_place`]; zero for none at all.
pub(crate) fn in_place(transforms: &[Arc<dyn Transform>]) -> Option<u64> {
    transforms.iter().try_fold(0, |all: u64, transform| Some(all.rotate_left(7) ^ transform.in_place()?.max(1)))
}

/// Sends a dead letter through all transforms, in order.
pub(crate) fn letter(transforms: &[Arc<dyn Transform>], letter: DeadLetter) -> DeadLetter {
    transforms.iter().fold(letter, |letter, transform| transform.letter(letter))
}
