//! The encoder, on ONNX Runtime.
//!
//! The shared library is looked for where `ORT_DYLIB_PATH` says, else by its usual name among the
//! system's libraries. The model is the export that is published beside the weights.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use aqe_sync_core::{Error, ErrorKind, Result};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use crate::DIMENSION;

/// So many texts of one length are computed at once.
const BATCH: usize = 32;

/// Texts by whose vectors an export is known to hold the published weights, and these vectors, as
/// the reference implementation computes them (`tests/reference`).
pub(crate) const PROBES: [&str; 3] = [
    "Wiederhole den fehlgeschlagenen Aufruf mit wachsender Pause, höchstens fünfmal.",
    "SELECT count(*) FROM events WHERE created_at > now() - interval '1 day';",
    ".",
];
const ANSWERS: &[u8] = include_bytes!("probe.f32");

pub(crate) struct Onnx(Mutex<Session>);

impl Onnx {
    pub(crate) fn open(file: &Path) -> Result<Self> {
        let runtime = runtime()?;
        let failed = |what: String| {
            Error::new(ErrorKind::Malformed, format!("{} cannot be used: {what}", file.display()))
                .during("reading the embedding model")
                .advice("fetch the model's files anew, or name another folder with --model-dir")
        };
        // Left alone, it takes one thread for two that share a core.
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let builder = Session::builder(runtime).map_err(|error| failed(error.to_string()))?;
        let mut builder = builder.with_intra_threads(threads).map_err(|error| failed(error.to_string()))?;
        let session = builder.commit_from_file(file).map_err(|error| failed(error.to_string()))?;
        Ok(Self(Mutex::new(session)))
    }

    /// Whether vectors of [`PROBES`] are those of the published weights.
    pub(crate) fn is_published(vectors: &[Vec<f32>]) -> bool {
        let numbers: Vec<f32> =
            ANSWERS.chunks_exact(4).filter_map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes)).collect();
        let near = |(vector, answer): (&Vec<f32>, &[f32])| {
            vector.iter().zip(answer).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() > 0.9999
        };
        vectors.len() == PROBES.len() && vectors.iter().zip(numbers.chunks_exact(DIMENSION)).all(near)
    }

    /// A vector for each list of tokens, in order: those of one length together, so that nothing
    /// is padded.
    pub(crate) fn embed(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|text| texts[*text].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for same in order.chunk_by(|a, b| texts[*a].len() == texts[*b].len()) {
            for batch in same.chunks(BATCH) {
                for (text, vector) in batch.iter().zip(self.run(batch, texts)?) {
                    vectors[*text] = vector;
                }
            }
        }
        Ok(vectors)
    }

    fn run(&self, batch: &[usize], texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let failed = |error: ort::Error| Error::internal(format!("the embedding model failed: {error}"));
        let length = batch.first().map_or(0, |text| texts[*text].len());
        let tokens: Vec<i64> =
            batch.iter().flat_map(|text| texts[*text].iter().map(|token| i64::from(*token))).collect();
        let (mask, types) = (vec![1_i64; tokens.len()], vec![0_i64; tokens.len()]);
        let shape = [batch.len(), length];
        let input = |numbers| TensorRef::from_array_view((shape, numbers)).map_err(failed);
        let (tokens, mask, types) = (input(&tokens[..])?, input(&mask[..])?, input(&types[..])?);
        // Whoever panicked with it left the session as it was.
        let mut session = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inputs = ort::inputs! { "input_ids" => tokens, "attention_mask" => mask, "token_type_ids" => types };
        let outputs = session.run(inputs).map_err(failed)?;
        let (shape, hidden) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        let expected = [batch.len(), length, DIMENSION].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        if shape[..] != expected {
            return Err(Error::new(
                ErrorKind::Malformed,
                format!("the embedding model's output has shape {shape:?}, not {expected:?}"),
            )
            .advice("name a folder with the export of all-MiniLM-L6-v2 that gives its last hidden state"));
        }
        Ok(hidden.chunks_exact(length * DIMENSION).map(mean).collect())
    }
}

/// The mean over tokens, of length one.
fn mean(hidden: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; DIMENSION];
    for token in hidden.chunks_exact(DIMENSION) {
        sum.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
    }
    let length = sum.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in &mut sum {
            *number /= length;
        }
    }
    sum
}

/// The shared library, loaded once: there is one environment in a process.
fn runtime() -> Result<&'static Environment> {
    static LOADED: OnceLock<std::result::Result<Environment, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| {
        let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = if cfg!(windows) {
            "onnxruntime.dll"
        } else if cfg!(target_os = "macos") {
            "libonnxruntime.dylib"
        } else {
            "libonnxruntime.so"
        };
        let path = named.unwrap_or_else(|| PathBuf::from(usual));
        let builder = ort::init_from(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        builder.build().map_err(|error| format!("{}: {error}", path.display()))
    });
    loaded.as_ref().map_err(|what| {
        Error::new(ErrorKind::NotFound, format!("ONNX Runtime cannot be loaded: {what}"))
            .advice("install it and name its shared library in ORT_DYLIB_PATH, or build without the feature ort")
    })
}
