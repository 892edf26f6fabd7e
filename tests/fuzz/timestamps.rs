//! Moments: text, whole numbers and fractions.

use aqe_sync_core::Timestamp;
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};

use crate::real_values::{Cell, rows, texts};

fn corpus() -> Corpus {
    let corpus = Corpus::new().with_past_failures("timestamps");
    let dated = texts().into_iter().filter(|text| text.len() < 40 && Timestamp::parse(text).is_some());
    let dated: Vec<String> = dated.take(200).collect();
    assert!(dated.len() > 20, "{} moments in all fixtures", dated.len());
    let corpus = dated.into_iter().fold(corpus, |corpus, text| corpus.with(text.clone(), text));
    let numbers = rows().iter().flatten().filter_map(|cell| match cell {
        Cell::Int(number) if *number > 1_000_000_000 => Some(number.to_string()),
        Cell::Real(number) if *number > 1e9 => Some(number.to_string()),
        _ => None,
    });
    let numbers: Vec<String> = numbers.take(100).collect();
    assert!(numbers.len() > 20, "{} moments as numbers in all fixtures", numbers.len());
    let corpus = numbers.into_iter().fold(corpus, |corpus, text| corpus.with_any(text.clone(), text));
    corpus.words([
        "T",
        "Z",
        "z",
        " ",
        "+00:00",
        "-23:59",
        "+1400",
        ".",
        ".000001",
        ".9999999",
        ":60",
        "24:00:00",
        "02-29",
        "0000",
        "9999",
        "0001-01-01",
        "-",
        "\u{2212}",
        "\u{a0}",
        "W",
        "e9",
        "1970-01-01",
    ])
}

#[test]
fn timestamps() {
    Target::new("timestamps", corpus()).at_least(20_000).share_past(5).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(number) = text.parse::<f64>() {
            fraction(number);
        }
        if let Ok(number) = text.parse::<i64>() {
            whole(number);
        }
        let Some(moment) = Timestamp::parse(&text) else { return Reached::Refused };
        shown_reads_back(moment);
        let trimmed = text.trim();
        assert_eq!(Timestamp::parse(trimmed), Some(moment), "white space around it does not count");
        if trimmed.contains(':') {
            assert_near(trimmed, moment);
        }
        Reached::Past
    });
}

fn shown_reads_back(moment: Timestamp) {
    let shown = moment.to_string();
    assert_eq!(shown.len(), 27, "{shown}");
    assert_eq!(Timestamp::parse(&shown), Some(moment), "{shown}");
    assert_eq!(Timestamp::from_micros(moment.as_micros()), Some(moment));
}

fn whole(number: i64) {
    let Some(moment) = Timestamp::from_magnitude(number) else { return };
    shown_reads_back(moment);
    let micros = moment.as_micros();
    let exact = [1, 1_000, 1_000_000].iter().any(|unit| number.checked_mul(*unit) == Some(micros));
    assert!(exact, "{number} became {moment}");
}

fn fraction(number: f64) {
    let Some(moment) = Timestamp::from_fractional(number) else { return };
    shown_reads_back(moment);
    let micros = moment.as_micros() as f64;
    let exact = [1.0, 1e3, 1e6].iter().any(|unit| (micros / unit).to_bits() == number.to_bits());
    assert!(exact, "{number} became {moment}");
}

/// A zone shifts a moment by a day at most: whatever was read, the date is that of the text.
fn assert_near(text: &str, moment: Timestamp) {
    let day = |text: &str| Timestamp::parse(text.get(..10)?);
    let Some(midnight) = day(text) else { return };
    let apart = moment.as_micros().abs_diff(midnight.as_micros());
    assert!(apart <= 2 * 86_400_000_000, "{text} became {moment}");
}
