//! claude-flow memories' category, as agentic-qe's own sync derives it.

/// The first of these words that the key holds, case-sensitively, decides.
const WORDS: [(&str, &str); 4] =
    [("adr", "adr-analysis"), ("agent", "agent-patterns"), ("pattern", "patterns"), ("metric", "metrics")];

/// The category of a memory's key.
pub(crate) fn category(key: &str) -> &'static str {
    WORDS.iter().find(|(word, _)| key.contains(word)).map_or("general", |(_, category)| category)
}
