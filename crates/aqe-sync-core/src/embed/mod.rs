//! Text to vectors.

use crate::Result;

/// An embedding model.
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
