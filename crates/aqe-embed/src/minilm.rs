//! The model as an embedder.

use aqe_sync_core::{Embedder, Error, ErrorKind, Result};

use crate::DIMENSION;
use crate::folder::{ModelFile, ModelFolder};
use crate::tokens::Tokens;

#[cfg(not(feature = "ort"))]
use crate::bert::Bert;
#[cfg(feature = "ort")]
use crate::onnx::Onnx;

/// all-MiniLM-L6-v2: 384 numbers of length one, from the first 256 tokens.
///
/// Its [identity](Embedder::model_id) names the weights, so that vectors of other weights are
/// never compared with its own. Texts of similar length are computed together, without padding.
/// A text without any token beyond its ends (an empty one) has a vector like any other.
pub struct MiniLm {
    tokens: Tokens,
    backend: Backend,
    id: String,
}

enum Backend {
    #[cfg(not(feature = "ort"))]
    Candle(Bert),
    #[cfg(feature = "ort")]
    Onnx(Onnx),
}

impl MiniLm {
    /// Reads the model, with ONNX Runtime where the feature `ort` is on, else in pure Rust.
    ///
    /// # Errors
    /// When its files cannot be read or are damaged, or ONNX Runtime is not there.
    pub fn open(folder: &ModelFolder) -> Result<Self> {
        let (tokenizer, _) = folder.read(ModelFile::TOKENIZER)?;
        let tokens = Tokens::parse(&tokenizer)?;
        #[cfg(feature = "ort")]
        let (backend, hash) = {
            let onnx = Onnx::open(&folder.file(ModelFile::ONNX))?;
            let hash = known(&onnx, &tokens)?.map_or_else(|| folder.read(ModelFile::ONNX).map(|(_, hash)| hash), Ok)?;
            (Backend::Onnx(onnx), hash)
        };
        #[cfg(not(feature = "ort"))]
        let (backend, hash) = {
            let (weights, hash) = folder.read(ModelFile::WEIGHTS)?;
            (Backend::Candle(Bert::load(&weights)?), hash)
        };
        Ok(Self { tokens, backend, id: identity(&hash) })
    }
}

/// The hash of the published weights, where an export of them answers as they do: so vectors of
/// both back ends are those of one model.
#[cfg(feature = "ort")]
fn known(onnx: &Onnx, tokens: &Tokens) -> Result<Option<String>> {
    let probes: Vec<Vec<u32>> = crate::onnx::PROBES.iter().map(|text| tokens.of(text)).collect::<Result<_>>()?;
    let published = Onnx::is_published(&onnx.embed(&probes)?);
    Ok(ModelFile::WEIGHTS.sha256.filter(|_| published).map(str::to_owned))
}

/// How the model is named beside every vector: name, the beginning of its weights' SHA-256,
/// pooling, normalisation, tokens looked at.
fn identity(hash: &str) -> String {
    let hash = hash.get(..12).unwrap_or(hash);
    format!("all-MiniLM-L6-v2@{hash}/mean/l2/{}", crate::MAX_TOKENS)
}

impl Embedder for MiniLm {
    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn model_id(&self) -> &str {
        &self.id
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| self.tokens.of(text)).collect::<Result<_>>()?;
        let vectors = match &self.backend {
            #[cfg(not(feature = "ort"))]
            Backend::Candle(bert) => bert.embed(&tokens)?,
            #[cfg(feature = "ort")]
            Backend::Onnx(onnx) => onnx.embed(&tokens)?,
        };
        if vectors.iter().flatten().any(|number| !number.is_finite()) {
            return Err(Error::new(ErrorKind::Malformed, "the embedding model computes numbers that are none")
                .advice("its weights are damaged: fetch them anew"));
        }
        Ok(vectors)
    }
}
