//! Text to tokens.

use aqe_sync_core::{Error, ErrorKind, Result};
use tokenizers::{Tokenizer, TruncationParams};

use crate::MAX_TOKENS;

/// No token is longer than this many bytes of text, by far: what is beyond so many of them
/// cannot be among the first [`MAX_TOKENS`], and need not be looked at. White space is not
/// counted.
const LONGEST_TOKEN: usize = 100 * 4;

/// The model's tokenizer: no padding, the first [`MAX_TOKENS`] tokens.
pub(crate) struct Tokens(Tokenizer);

impl Tokens {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |error: tokenizers::Error| {
            Error::new(ErrorKind::Malformed, format!("the model's tokenizer cannot be used: {error}"))
                .advice("fetch the model's files anew")
        };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(wrong)?;
        // As published it pads to 128 and cuts at 128.
        tokenizer.with_padding(None);
        let cut = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(cut)).map_err(wrong)?;
        Ok(Self(tokenizer))
    }

    /// The tokens of a text, its two ends included.
    pub(crate) fn of(&self, text: &str) -> Result<Vec<u32>> {
        let text = beginning(text);
        let encoded = self.0.encode(text, true);
        let encoded = encoded.map_err(|error| Error::internal(format!("a text has no tokens: {error}")))?;
        Ok(encoded.get_ids().to_vec())
    }
}

/// As much of a text as can make a difference. A word that is longer than a hundred
/// characters is one unknown token, so that the length of text alone says nothing; the
/// number of words does.
fn beginning(text: &str) -> &str {
    if text.len() <= MAX_TOKENS * LONGEST_TOKEN {
        return text;
    }
    let mut words = 0;
    let mut inside = false;
    for (position, letter) in text.char_indices() {
        let space = letter.is_whitespace();
        words += usize::from(inside && space);
        inside = !space;
        if words >= MAX_TOKENS {
            return &text[..position];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_leaves_more_words_than_are_looked_at() {
        let short = "word ".repeat(1000);
        assert_eq!(beginning(&short), short);
        let long = "word ".repeat(100_000);
        assert_eq!(beginning(&long), "word ".repeat(MAX_TOKENS).trim_end());
        let one = "x".repeat(1_000_000);
        assert_eq!(beginning(&one), one);
    }
}
