//! Texts per second: `AQE_TEST_MODEL=FOLDER cargo bench -p aqe-embed --bench rate -- [TEXTS] [ROUNDS]`.
//!
//! Texts of about sixty tokens, all of them in one call, as `aqe-sync embed` does it, and one
//! by one, as a search does it.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::PathBuf;
use std::time::Instant;

use aqe_embed::{MiniLm, ModelFolder};
use aqe_sync_core::Embedder as _;

const WORDS: [&str; 24] = [
    "retry", "flaky", "test", "with", "backoff", "when", "the", "database", "is", "locked", "and", "wait", "for",
    "each", "worker", "before", "checking", "coverage", "of", "login", "page", "mock", "session", "token",
];

fn main() {
    let arguments: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let texts = arguments.first().copied().unwrap_or(256);
    let rounds = arguments.get(1).copied().unwrap_or(5);
    let Some(folder) = std::env::var_os("AQE_TEST_MODEL").map(PathBuf::from) else {
        println!("AQE_TEST_MODEL names no folder with the model: nothing was measured");
        return;
    };
    let begun = Instant::now();
    let model = MiniLm::open(&ModelFolder::find(Some(&folder)).expect("the model")).expect("it opens");
    println!("opened {} in {:.0} ms", model.model_id(), begun.elapsed().as_secs_f64() * 1000.0);
    let texts: Vec<String> = (0..texts).map(|text| sentence(text as u64)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for _ in 0..rounds {
        let begun = Instant::now();
        model.embed(&texts).expect("vectors");
        let rate = texts.len() as f64 / begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let single = texts.len().min(64);
        for text in &texts[..single] {
            model.embed(&[text]).expect("a vector");
        }
        println!("{rate:.0} texts/s together, {:.0} one by one", single as f64 / begun.elapsed().as_secs_f64());
    }
}

/// Between 36 and 76 words, one in ten of which is two tokens.
fn sentence(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0)
    };
    let length = 36 + next() % 41;
    (0..length).map(|_| WORDS[next() % WORDS.len()]).collect::<Vec<_>>().join(" ")
}
