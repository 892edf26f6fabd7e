//! JSON documents as values: what they mean, whatever their spelling.

use aqe_sync_core::json::{Examined, examine};
use aqe_sync_core::{Json, Value, aside};
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target, fixtures};
use serde::de::IgnoredAny;

use crate::files::assert_storable;
use crate::real_values::texts;

fn corpus() -> Corpus {
    let mut corpus = Corpus::new().text().with_past_failures("json_text");
    let documents = texts().into_iter().filter(|text| text.starts_with(['{', '[']) && text.len() < 5_000);
    for text in documents.take(200) {
        corpus = corpus.with_any(text.chars().take(20).collect::<String>(), text);
    }
    for path in fixtures().iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "json")) {
        let bytes = std::fs::read(path).expect("a fixture");
        if bytes.len() < 20_000 {
            corpus = corpus.with_any(path.display().to_string(), bytes);
        }
    }
    corpus.words([
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\u0000",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\\\",
        "1e400",
        "-0.0",
        "1E+2",
        "0.10",
        "null",
        "true",
        "{\"$aqe\":1}",
        "\"a\":1,\"a\":2",
        "[[[[[[[[[[",
        "]]]]]]]]]]",
        "\u{feff}",
        "\t",
        "ü",
    ])
}

#[test]
fn json_text() {
    Target::new("json_text", corpus()).at_least(2_000).share_past(5).run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return Reached::Refused };
        let mut canonical = Vec::new();
        let examined = examine(text, &mut canonical);
        let valid = serde_json::from_str::<IgnoredAny>(text).is_ok();
        match &examined {
            Examined::Invalid(error) => {
                assert!(!valid, "a sound document is refused: {error}");
                assert!(error.offset <= text.len());
            }
            // Depth is counted before the rest is read.
            Examined::Unstorable(aqe_sync_core::json::Unstorable::TooDeep) => {}
            Examined::Unstorable(problem) => assert!(valid, "{problem}, but it is not JSON"),
            Examined::Storable => assert!(valid, "taken, but it is not JSON"),
        }
        assert!(examined == Examined::Storable || canonical.is_empty());
        if !valid {
            return Reached::Refused;
        }
        assert_storable(&Json::from_text(aside::to_json(&Value::Json(Json::from_text(text)))));
        if examined == Examined::Storable {
            means_the_same(text, &canonical);
        }
        Reached::Past
    });
}

fn means_the_same(text: &str, canonical: &[u8]) {
    let meaning = |text: &str| {
        let mut out = Vec::new();
        assert_eq!(examine(text, &mut out), Examined::Storable, "{text}");
        out
    };
    assert!(meaning(&spaced(text)) == canonical, "white space counts in {text}");
    // Written anew, keys are sorted and strings spelled otherwise; numbers only where no digit gets lost.
    let numbers_stay = !text.contains(['.', 'e', 'E', '-']) && longest_number(text) < 18;
    if let (true, Ok(document)) = (numbers_stay, serde_json::from_str::<serde_json::Value>(text)) {
        assert!(meaning(&document.to_string()) == canonical, "spelling counts in {text}");
    }
}

/// White space wherever it may be.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() * 2);
    let (mut in_string, mut escaped) = (false, false);
    for symbol in text.chars() {
        let structural = !in_string && "{}[]:,".contains(symbol);
        if structural {
            spaced.push_str(" \n");
        }
        spaced.push(symbol);
        if structural {
            spaced.push('\t');
        }
        in_string ^= symbol == '"' && !escaped;
        escaped = in_string && symbol == '\\' && !escaped;
    }
    spaced
}

fn longest_number(text: &str) -> usize {
    text.split(|symbol: char| !symbol.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}
