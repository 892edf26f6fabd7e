//! Vectors agree with those of the reference implementation.
//!
//! These tests need the model: its folder is named by `AQE_TEST_MODEL`. Without it they say so
//! and are skipped, unless `AQE_TEST_REQUIRE_ALL` is set.
#![cfg(any(feature = "candle", feature = "ort"))]

use std::path::PathBuf;

use aqe_embed::{DIMENSION, MiniLm, ModelFolder};
use aqe_sync_core::Embedder as _;

fn model() -> Option<MiniLm> {
    let Some(folder) = std::env::var_os("AQE_TEST_MODEL").map(PathBuf::from) else {
        assert!(std::env::var_os("AQE_TEST_REQUIRE_ALL").is_none(), "AQE_TEST_MODEL names no folder");
        eprintln!("skipped: AQE_TEST_MODEL names no folder with the model");
        return None;
    };
    Some(MiniLm::open(&ModelFolder::find(Some(&folder)).expect("the model")).expect("it opens"))
}

fn reference() -> Vec<(String, Vec<f32>)> {
    let texts: Vec<String> = serde_json::from_str(include_str!("reference/texts.json")).expect("texts");
    let numbers: Vec<f32> = include_bytes!("reference/vectors.f32")
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
        .collect();
    assert_eq!((texts.len(), numbers.len()), (200, 200 * DIMENSION));
    texts.into_iter().zip(numbers.chunks_exact(DIMENSION).map(<[f32]>::to_vec)).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn two_hundred_texts_agree_with_the_reference() {
    let Some(model) = model() else { return };
    let reference = reference();
    let texts: Vec<&str> = reference.iter().map(|(text, _)| text.as_str()).collect();
    let vectors = model.embed(&texts).expect("vectors");
    assert_eq!(vectors.len(), texts.len());
    for ((text, expected), vector) in reference.iter().zip(&vectors) {
        let (similarity, length) = (cosine(expected, vector), cosine_length(vector));
        let shown: String = text.chars().take(60).collect();
        assert!(similarity >= 0.9999, "{similarity}: {shown:?}");
        assert!((length - 1.0).abs() < 1e-5, "length {length}: {shown:?}");
    }
}

fn cosine_length(vector: &[f32]) -> f64 {
    vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn a_text_has_the_same_vector_in_any_company() {
    let Some(model) = model() else { return };
    let reference = reference();
    let texts: Vec<&str> = reference.iter().map(|(text, _)| text.as_str()).collect();
    let together = model.embed(&texts).expect("vectors");
    for position in (0..texts.len()).step_by(17) {
        let alone = model.embed(&[texts[position]]).expect("a vector").remove(0);
        assert!(cosine(&alone, &together[position]) > 0.999_999, "{position}");
    }
    assert_eq!(model.embed(&[]).expect("nothing"), Vec::<Vec<f32>>::new());
}

#[test]
fn the_model_names_its_weights_and_its_dimension() {
    let Some(model) = model() else { return };
    assert_eq!(model.model_id(), "all-MiniLM-L6-v2@53aa51172d14/mean/l2/256");
    assert_eq!(model.dimension(), DIMENSION);
}
