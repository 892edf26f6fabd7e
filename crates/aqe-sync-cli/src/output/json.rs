//! Results for programs.

use serde::Serialize;

use crate::exit::Failure;

/// One object, indented.
///
/// # Errors
/// When a value cannot be written as JSON: a defect.
pub(crate) fn object<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("cannot write the result as JSON: {error}")))
}
