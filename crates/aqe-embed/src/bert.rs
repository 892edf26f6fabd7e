//! The encoder, on candle: BERT with six layers, as all-MiniLM-L6-v2 is one.
//!
//! The texts of a batch stand one behind the other, so that nothing is padded: what is done to
//! each token alone is one multiplication for all of them, and only attention looks at texts
//! apart, those of one length together. Batches are computed side by side.

use std::collections::HashMap;

use aqe_sync_core::{Error, ErrorKind, Result};
use candle_core::{CpuStorage, D, Device, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use crate::DIMENSION;

const LAYERS: usize = 6;
const HEADS: usize = 12;
const HEAD: usize = DIMENSION / HEADS;
/// What the layer norms of this model add to the variance.
const EPSILON: f32 = 1e-12;
/// About so many tokens are computed at once: few enough for a processor's cache, enough for
/// multiplying to be worth its preparation.
const BATCH_TOKENS: usize = 512;

pub(crate) struct Bert {
    words: Tensor,
    /// Positions, with the type of the first segment added, which all tokens have.
    positions: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Queries, keys and values in one; the queries already divided by the root of a head's size.
    attention: Linear,
    attended: Linear,
    attended_norm: Norm,
    inner: Linear,
    outer: Linear,
    norm: Norm,
}

struct Linear {
    /// Turned, so that a row is multiplied from the left.
    weights: Tensor,
    bias: Tensor,
}

struct Norm {
    scale: Tensor,
    shift: Tensor,
}

/// Tokens of some texts, one behind the other.
#[derive(Default)]
struct Batch {
    /// Which texts they are of, in the order in which they came.
    texts: Vec<usize>,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    /// How many texts of which length follow each other.
    runs: Vec<(usize, usize)>,
}

impl Bert {
    /// Reads weights in safetensors.
    pub(crate) fn load(bytes: &[u8]) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|error| damaged(&error))?;
        Self::of(&Weights(tensors)).map_err(|error| damaged(&error))
    }

    fn of(weights: &Weights) -> candle_core::Result<Self> {
        let types = weights.get("embeddings.token_type_embeddings.weight", (2, DIMENSION))?;
        let positions = weights.get("embeddings.position_embeddings.weight", (512, DIMENSION))?;
        Ok(Self {
            words: weights.get("embeddings.word_embeddings.weight", (30_522, DIMENSION))?,
            positions: positions.broadcast_add(&types.narrow(0, 0, 1)?)?,
            norm: weights.norm("embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|layer| weights.layer(layer)).collect::<candle_core::Result<_>>()?,
        })
    }

    /// A vector for each list of tokens, in order.
    pub(crate) fn embed(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let batches: Vec<Batch> = batches(texts);
        let computed: Vec<Vec<Vec<f32>>> = batches
            .par_iter()
            .map(|batch| self.forward(batch))
            .collect::<candle_core::Result<_>>()
            .map_err(|error| Error::internal(format!("the embedding model failed: {error}")))?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (batch, computed) in batches.iter().zip(computed) {
            for (text, vector) in batch.texts.iter().zip(computed) {
                vectors[*text] = vector;
            }
        }
        Ok(vectors)
    }

    fn forward(&self, batch: &Batch) -> candle_core::Result<Vec<Vec<f32>>> {
        let count = batch.tokens.len();
        let tokens = Tensor::from_slice(&batch.tokens, count, &Device::Cpu)?;
        let positions = Tensor::from_slice(&batch.positions, count, &Device::Cpu)?;
        let sum = (self.words.index_select(&tokens, 0)? + self.positions.index_select(&positions, 0)?)?;
        let mut hidden = self.norm.of(&sum)?;
        for layer in &self.layers {
            hidden = layer.of(&hidden, &batch.runs)?;
        }
        let mut vectors = Vec::with_capacity(batch.texts.len());
        let mut start = 0;
        for (texts, length) in &batch.runs {
            let run = hidden.narrow(0, start, texts * length)?.reshape((*texts, *length, DIMENSION))?;
            vectors.extend(run.mean(1)?.to_vec2::<f32>()?.into_iter().map(normalised));
            start += texts * length;
        }
        Ok(vectors)
    }
}

/// Texts of similar length together, the longest first, so that nobody waits for a long one at
/// the end.
fn batches(texts: &[Vec<u32>]) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|text| std::cmp::Reverse(texts[*text].len()));
    let mut batches: Vec<Batch> = Vec::new();
    for text in order {
        let length = texts[text].len();
        let full = batches.last().is_none_or(|batch| batch.tokens.len() + length > BATCH_TOKENS);
        if full {
            batches.push(Batch::default());
        }
        // There is one by now.
        let Some(batch) = batches.last_mut() else { continue };
        batch.texts.push(text);
        batch.tokens.extend_from_slice(&texts[text]);
        batch.positions.extend((0..).take(length));
        match batch.runs.last_mut() {
            Some((texts, same)) if *same == length => *texts += 1,
            _ => batch.runs.push((1, length)),
        }
    }
    batches
}

/// Of length one; a vector of zeros stays what it is.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in &mut vector {
            *number /= length;
        }
    }
    vector
}

impl Layer {
    fn of(&self, hidden: &Tensor, runs: &[(usize, usize)]) -> candle_core::Result<Tensor> {
        let mixed = self.attention.of(hidden, &Add)?;
        let mut attended = Vec::with_capacity(runs.len());
        let mut start = 0;
        for (texts, length) in runs {
            attended.push(attention(&mixed.narrow(0, start, texts * length)?, *texts, *length)?);
            start += texts * length;
        }
        let attended = self.attended.of(&Tensor::cat(&attended, 0)?, &Add)?;
        let hidden = self.attended_norm.of(&(attended + hidden)?)?;
        let inner = self.inner.of(&hidden, &AddGelu)?;
        let outer = self.outer.of(&inner, &Add)?;
        self.norm.of(&(outer + hidden)?)
    }
}

/// Attention of texts that have the same length.
fn attention(mixed: &Tensor, texts: usize, length: usize) -> candle_core::Result<Tensor> {
    // (texts, length, 3 × heads × head) to (3, texts, heads, length, head).
    let parts = mixed.reshape((texts, length, 3, HEADS, HEAD))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let (queries, keys, values) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
    let weights = candle_nn::ops::softmax_last_dim(&queries.matmul(&keys.t()?)?)?;
    weights.matmul(&values)?.transpose(1, 2)?.contiguous()?.reshape((texts * length, DIMENSION))
}

impl Linear {
    fn of(&self, hidden: &Tensor, finish: &impl InplaceOp2) -> candle_core::Result<Tensor> {
        let product = hidden.matmul(&self.weights)?;
        product.inplace_op2(&self.bias, finish)?;
        Ok(product)
    }
}

impl Norm {
    fn of(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        candle_nn::ops::layer_norm(hidden, &self.scale, &self.shift, EPSILON)
    }
}

/// Adds the bias to each row.
struct Add;

/// Adds the bias to each row, and takes the Gaussian error linear unit of it
/// (<https://arxiv.org/abs/1606.08415>, the exact form).
struct AddGelu;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<()> {
        each_row(rows, rows_layout, bias, bias_layout, |number, bias| number + bias)
    }
}

impl InplaceOp2 for AddGelu {
    fn name(&self) -> &'static str {
        "add-bias-gelu"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<()> {
        each_row(rows, rows_layout, bias, bias_layout, |number, bias| gelu(number + bias))
    }
}

fn each_row(
    rows: &mut CpuStorage,
    rows_layout: &Layout,
    bias: &CpuStorage,
    bias_layout: &Layout,
    finish: impl Fn(f32, f32) -> f32,
) -> candle_core::Result<()> {
    let (Some((start, end)), Some((bias_start, bias_end))) =
        (rows_layout.contiguous_offsets(), bias_layout.contiguous_offsets())
    else {
        candle_core::bail!("rows and their bias have to be contiguous")
    };
    let (CpuStorage::F32(rows), CpuStorage::F32(bias)) = (rows, bias) else {
        candle_core::bail!("rows and their bias have to be float32")
    };
    let bias = &bias[bias_start..bias_end];
    for row in rows[start..end].chunks_exact_mut(bias.len()) {
        for (number, bias) in row.iter_mut().zip(bias) {
            *number = finish(*number, *bias);
        }
    }
    Ok(())
}

/// `x · Φ(x)`.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function by formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical
/// Functions: wrong by 1.5e-7 at most, and short enough for a compiler to compute several at
/// once, which makes a third of the whole.
fn erf(x: f32) -> f32 {
    let absolute = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * absolute);
    let series = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_72) * t + 0.254_829_6) * t;
    (1.0 - series * exp_of_negative(-absolute * absolute)).copysign(x)
}

/// `eˣ` for `x ≤ 0`, wrong by a few units of the last place; 0 where it is less than 2⁻¹²⁶.
fn exp_of_negative(x: f32) -> f32 {
    /// Added to a small number, it leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts: the first has few bits, so that its product is exact.
    let rest = (x - whole * 0.693_359_4) + whole * 2.121_944_4e-4;
    let power = ((((1.388_888_9e-3 * rest + 8.333_334e-3) * rest + 4.166_666_8e-2) * rest + 0.166_666_67) * rest + 0.5)
        * rest
        * rest
        + rest
        + 1.0;
    let exponent = shifted.to_bits().wrapping_add(127).wrapping_shl(23);
    power * f32::from_bits(exponent)
}

struct Weights(HashMap<String, Tensor>);

impl Weights {
    fn get(&self, name: &str, shape: impl Into<candle_core::Shape>) -> candle_core::Result<Tensor> {
        let shape = shape.into();
        match self.0.get(name) {
            Some(tensor) if tensor.shape() == &shape => tensor.to_dtype(candle_core::DType::F32),
            Some(tensor) => candle_core::bail!("{name} has shape {:?}, not {shape:?}", tensor.shape()),
            None => candle_core::bail!("{name} is missing"),
        }
    }

    fn norm(&self, name: &str) -> candle_core::Result<Norm> {
        let scale = self.get(&format!("{name}.weight"), DIMENSION)?;
        Ok(Norm { scale, shift: self.get(&format!("{name}.bias"), DIMENSION)? })
    }

    fn linear(&self, name: &str, from: usize, to: usize) -> candle_core::Result<Linear> {
        let weights = self.get(&format!("{name}.weight"), (to, from))?.t()?.contiguous()?;
        Ok(Linear { weights, bias: self.get(&format!("{name}.bias"), to)? })
    }

    fn layer(&self, number: usize) -> candle_core::Result<Layer> {
        let within = |part: &str| format!("encoder.layer.{number}.{part}");
        let part = |name: &str| self.linear(&within(&format!("attention.self.{name}")), DIMENSION, DIMENSION);
        let (queries, keys, values) = (part("query")?, part("key")?, part("value")?);
        let scale = 1.0 / (HEAD as f64).sqrt();
        let attention = Linear {
            weights: Tensor::cat(&[&(queries.weights * scale)?, &keys.weights, &values.weights], D::Minus1)?,
            bias: Tensor::cat(&[&(queries.bias * scale)?, &keys.bias, &values.bias], D::Minus1)?,
        };
        Ok(Layer {
            attention,
            attended: self.linear(&within("attention.output.dense"), DIMENSION, DIMENSION)?,
            attended_norm: self.norm(&within("attention.output.LayerNorm"))?,
            inner: self.linear(&within("intermediate.dense"), DIMENSION, 4 * DIMENSION)?,
            outer: self.linear(&within("output.dense"), 4 * DIMENSION, DIMENSION)?,
            norm: self.norm(&within("output.LayerNorm"))?,
        })
    }
}

fn damaged(error: &candle_core::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("the weights are not those of all-MiniLM-L6-v2: {error}"))
        .during("reading the embedding model")
        .advice("fetch the model's files anew, or name another folder with --model-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_right_to_six_digits() {
        // Values of Abramowitz and Stegun, table 7.1.
        for (x, expected) in
            [(0.0, 0.0), (0.1, 0.112_462_9), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3)]
        {
            assert!((erf(x) - expected).abs() < 1e-6, "{x}: {}", erf(x));
            assert!((erf(-x) + expected).abs() < 1e-6, "-{x}");
        }
        for step in 0..2_000 {
            let x = -(step as f32) * 0.05;
            let (fast, exact) = (exp_of_negative(x), x.exp());
            assert!((fast - exact).abs() <= exact * 1e-6 + 1e-37, "{x}: {fast} {exact}");
        }
        assert_eq!((gelu(f32::MIN_POSITIVE) > 0.0, gelu(-50.0), gelu(50.0)), (true, 0.0, 50.0));
        assert!(gelu(f32::NAN).is_nan());
    }

    #[test]
    fn batches_hold_each_text_once_and_pad_nothing() {
        let texts: Vec<Vec<u32>> = (0..300_usize).map(|text| vec![7; 2 + text * 7 % 255]).collect();
        let batches = batches(&texts);
        let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.texts.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
        for batch in &batches {
            let lengths: Vec<usize> = batch.texts.iter().map(|text| texts[*text].len()).collect();
            assert_eq!(lengths.iter().sum::<usize>(), batch.tokens.len());
            let runs: Vec<usize> =
                batch.runs.iter().flat_map(|(texts, length)| std::iter::repeat_n(*length, *texts)).collect();
            assert_eq!(runs, lengths);
            assert!(batch.tokens.len() <= BATCH_TOKENS);
        }
    }
}
