//! Text to vectors for `aqe-sync`: [`MiniLm`] is all-MiniLM-L6-v2 as an
//! [`Embedder`](aqe_sync_core::Embedder), on the CPU, without Python.
//!
//! - [`ModelFolder`] finds the model's files: where somebody says, or in the cache of this
//!   machine. With the feature `download`, `Download` fetches them, checked.
//! - [`MiniLm`] opens them. The feature `candle` (the default) computes in pure Rust, the
//!   feature `ort` on ONNX Runtime, whose shared library is looked for when it is used.
//!
//! What is computed is what
//! [sentence-transformers](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) computes:
//! the first 256 tokens of a text, the mean over them, of length one. 384 numbers.
//!
//! ```no_run
//! use aqe_embed::{MiniLm, ModelFolder};
//! use aqe_sync_core::Embedder as _;
//!
//! let model = MiniLm::open(&ModelFolder::find(None)?)?;
//! let vectors = model.embed(&["retry with backoff", "wait and try again"])?;
//! let similarity: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
//! assert!(similarity > 0.5);
//! # Ok::<_, aqe_sync_core::Error>(())
//! ```
#![deny(missing_docs, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(any(feature = "candle", feature = "ort")), allow(dead_code, unused_imports))]

#[cfg(all(feature = "candle", not(feature = "ort")))]
mod bert;
#[cfg(feature = "download")]
mod download;
mod folder;
#[cfg(any(feature = "candle", feature = "ort"))]
mod minilm;
#[cfg(feature = "ort")]
mod onnx;
mod tokens;

#[cfg(feature = "download")]
pub use download::{Download, Fetching};
pub use folder::{ModelFile, ModelFolder};
#[cfg(any(feature = "candle", feature = "ort"))]
pub use minilm::MiniLm;

/// How many numbers a vector of all-MiniLM-L6-v2 has.
pub const DIMENSION: usize = 384;

/// So many tokens of a text are looked at, the two that mark its ends included.
pub const MAX_TOKENS: usize = 256;

/// How the published model is named beside its vectors: see
/// [`model_id`](aqe_sync_core::Embedder::model_id).
pub const PUBLISHED: &str = "all-MiniLM-L6-v2@53aa51172d14/mean/l2/256";
