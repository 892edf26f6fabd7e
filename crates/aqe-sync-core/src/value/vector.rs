//! Embeddings as sources write them: float32 blobs, JSON arrays.

use crate::Value;
use crate::aside::vector_from_bytes;

/// Reads an embedding from a blob of little-endian float32, a JSON array, or
/// JSON text.
///
/// JSON numbers become the nearest float32: that is what every vector column
/// holds, and the one conversion here that rounds.
///
/// # Errors
/// Says what is wrong: no vector, a length that is no multiple of four, or a
/// component that is not a finite number.
pub fn read(value: &Value) -> Result<Vec<f32>, String> {
    let numbers = match value {
        Value::Vector(numbers) => numbers.clone(),
        Value::Bytes(bytes) => vector_from_bytes(bytes)
            .ok_or_else(|| format!("{} bytes are no whole number of float32 values", bytes.len()))?,
        Value::Text(text) => from_json(text)?,
        Value::Json(json) => from_json(json.as_str())?,
        other => return Err(format!("{} {other} is not a vector", other.type_name())),
    };
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(position) => Err(format!("component {position} of the vector is {}", numbers[position])),
        None => Ok(numbers),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a vector column holds float32: the nearest one is meant")]
fn from_json(text: &str) -> Result<Vec<f32>, String> {
    let numbers: Vec<f64> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON array of numbers: {error}"))?;
    Ok(numbers.into_iter().map(|number| number as f32).collect())
}
