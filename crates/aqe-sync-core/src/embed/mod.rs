//! Text to vectors: what is embedded, by which model, and how a hub keeps it.
//!
//! [`text_of`] says which text of a row stands for it, [`fill`] gives every row of a hub the
//! vector of that text and keeps it up to date, and [`VectorHub`] is what a hub has to offer for
//! it. Vectors are derived from rows: losing them loses nothing but the time of computing them.

mod fill;
mod hub;
mod text;

pub use fill::{Filled, Filling, Progress, fill, pending};
pub(crate) use fill::{checked, no_text};
pub use hub::{Candidate, Embedded, Filter, Near, Nearest, Place, Standing, VectorHub, WordHits, Worded};
pub use text::{TextHash, text_of};

use crate::Result;

/// An embedding model.
///
/// ```
/// use aqe_sync_core::{Embedder, Result};
///
/// /// Counts letters: no model, but a vector.
/// struct Letters;
///
/// impl Embedder for Letters {
///     fn dimension(&self) -> usize {
///         26
///     }
///
///     fn model_id(&self) -> &str {
///         "letters/1"
///     }
///
///     fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
///         let count = |text: &str, letter: u8| text.bytes().filter(|byte| *byte == letter).count() as f32;
///         Ok(texts.iter().map(|text| (b'a'..=b'z').map(|letter| count(text, letter)).collect()).collect())
///     }
/// }
/// ```
pub trait Embedder: Send + Sync {
    /// How many numbers a vector has.
    fn dimension(&self) -> usize;

    /// Names the model so that its vectors are never mixed with another's:
    /// name, revision, weights, pooling, normalisation.
    fn model_id(&self) -> &str;

    /// Embeds texts, in order.
    ///
    /// # Errors
    /// When the model fails; no partial result.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}
