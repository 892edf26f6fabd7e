//! claude-flow memories' category, as agentic-qe's own sync derives it.

/// The first of these words that the key holds, case-sensitively, decides.
const WORDS: [(&str, &str); 4] =
    [("adr", "adr-analysis"), ("agent", "agent-patterns"), ("pattern", "patterns"), ("metric", "metrics")];

/// The category of a memory's key.
pub(crate) fn category(key: &str) -> &'static str {
    WORDS.iter().find(|(word, _)| key.contains(word)).map_or("general", |(_, category)| category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_that_a_key_contains_is_its_category() {
        for (key, expected) in [
            ("adr/agent-1", "adr-analysis"),
            ("quadratic", "adr-analysis"),
            ("agent/pattern", "agent-patterns"),
            ("my-pattern-metric", "patterns"),
            ("metrics", "metrics"),
            ("Pattern", "general"),
            ("", "general"),
        ] {
            assert_eq!(category(key), expected, "{key}");
        }
    }
}
