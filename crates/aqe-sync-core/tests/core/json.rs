//! The canonical form: what a document means, whatever its spelling.

use std::fmt::Write as _;

use aqe_sync_core::hash::{ContentHash, content_hash};
use aqe_sync_core::json::{Examined, Unstorable, examine};
use aqe_sync_core::{ColumnType, Json, TableSpec, Value};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::support::cases;

fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        any::<f64>().prop_filter("JSON", |value| value.is_finite()).prop_map(|value| json!(value)),
        "[^\0]{0,6}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
            proptest::collection::btree_map("[^\0]{0,3}", inner, 0..4).prop_map(|object| json!(object)),
        ]
    })
}

/// Small and repeatable choices for spelling the same document differently.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.below(3) {
            out.push([' ', '\n', '\t', '\r'][usize::try_from(self.below(4)).expect("small")]);
        }
    }
}

/// Prints a document with shuffled keys and its own taste in spaces, numbers and escapes.
fn print(value: &serde_json::Value, choices: &mut Choices, out: &mut String) {
    choices.space(out);
    match value {
        serde_json::Value::Number(number) => out.push_str(&respell(&number.to_string(), choices)),
        serde_json::Value::String(text) => print_string(text, choices, out),
        serde_json::Value::Array(list) => {
            out.push('[');
            for (position, member) in list.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                print(member, choices, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            for position in (1..members.len()).rev() {
                members.swap(position, usize::try_from(choices.below(position as u64 + 1)).expect("small"));
            }
            out.push('{');
            for (position, (key, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                choices.space(out);
                print_string(key, choices, out);
                choices.space(out);
                out.push(':');
                print(member, choices, out);
            }
            out.push('}');
        }
        simple => out.push_str(&simple.to_string()),
    }
    choices.space(out);
}

fn print_string(text: &str, choices: &mut Choices, out: &mut String) {
    out.push('"');
    for symbol in text.chars() {
        if choices.below(3) == 0 || symbol < ' ' || matches!(symbol, '"' | '\\') {
            for unit in symbol.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04X}").expect("a string takes it");
            }
        } else {
            out.push(symbol);
        }
    }
    out.push('"');
}

/// The same number, written differently.
fn respell(number: &str, choices: &mut Choices) -> String {
    let (mantissa, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent");
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    match choices.below(4) {
        0 => number.to_owned(),
        1 => format!("{sign}{whole}.{fraction}0E{exponent:+}"),
        2 => format!("{sign}0.{whole}{fraction}e{}", exponent + i32::try_from(whole.len()).expect("short")),
        _ => {
            let digits = format!("{whole}{fraction}");
            let digits = digits.trim_start_matches('0');
            if digits.is_empty() {
                return format!("{sign}0e{exponent}");
            }
            format!("{sign}{digits}0e{}", exponent - i32::try_from(fraction.len()).expect("short") - 1)
        }
    }
}

fn hash(text: &str) -> ContentHash {
    let table = TableSpec::builder("t").key("id", ColumnType::Text).column("document", ColumnType::Json).build();
    let values = [Value::from("1"), Value::Json(Json::from_text(text))];
    content_hash(&table.expect("a table"), &values, None)
}

/// Numbers by their exact value, so that 1 and 1.0 are equal and two large integers are not.
fn means(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Number(number) => {
            let mut out = Vec::new();
            examine(&number.to_string(), &mut out);
            format!("{out:?}")
        }
        serde_json::Value::Array(list) => format!("{:?}", list.iter().map(means).collect::<Vec<_>>()),
        serde_json::Value::Object(object) => {
            format!("{{{:?}}}", object.iter().map(|(key, value)| (key, means(value))).collect::<Vec<_>>())
        }
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn spelling_does_not_change_the_hash(document in document(), seed: u64, other: u64) {
        let printed = |seed| {
            let mut out = String::new();
            print(&document, &mut Choices(seed), &mut out);
            out
        };
        let (one, two) = (printed(seed), printed(other));
        prop_assert_eq!(examine(&one, &mut Vec::new()), Examined::Storable, "{}", one);
        prop_assert_eq!(hash(&one), hash(&two), "{} {}", one, two);
        prop_assert_eq!(hash(&one), hash(&document.to_string()));
    }

    #[test]
    fn documents_that_differ_hash_differently(one in document(), other in document()) {
        prop_assert_eq!(hash(&one.to_string()) == hash(&other.to_string()), means(&one) == means(&other));
    }

    #[test]
    fn examine_accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:0-9eE+. tfnrulasx\\\\-]{0,16}|\\PC{0,8}") {
        agrees(&text)?;
    }

    #[test]
    fn examine_agrees_on_mutations_of_valid_json(
        document in document(), seed: u64, at: prop::sample::Index, with in "[\\[\\]{}\",:0-9eE+.\\\\u\0\u{1}-]{0,2}", cut in 0..3_usize,
    ) {
        let mut text = String::new();
        print(&document, &mut Choices(seed), &mut text);
        let mut symbols: Vec<char> = text.chars().collect();
        let at = at.index(symbols.len());
        let end = (at + cut).min(symbols.len());
        symbols.splice(at..end, with.chars());
        agrees(&symbols.into_iter().collect::<String>())?;
    }

    #[test]
    fn numbers_are_compared_by_value(one: f64, other: f64) {
        prop_assume!(one.is_finite() && other.is_finite());
        let canonical = |number: f64| {
            let mut out = Vec::new();
            examine(&json!(number).to_string(), &mut out);
            out
        };
        prop_assert_eq!(canonical(one) == canonical(other), one.total_cmp(&other).is_eq() || one.abs() + other.abs() <= 0.0);
    }
}

fn agrees(text: &str) -> Result<(), TestCaseError> {
    let oracle = serde_json::from_str::<IgnoredAny>(text);
    let mut out = b"kept".to_vec();
    let examined = examine(text, &mut out);
    let accepted = !matches!(examined, Examined::Invalid(_));
    prop_assert_eq!(accepted, oracle.is_ok(), "{:?}: {:?} {:?}", text, examined, oracle);
    prop_assert!(out.starts_with(b"kept"));
    prop_assert_eq!(out.len() > 4, examined == Examined::Storable);
    if let Examined::Invalid(error) = examined {
        prop_assert!(error.offset <= text.len());
    }
    Ok(())
}

#[test]
fn depth_is_counted_and_its_limit_is_no_crash() {
    let limit = aqe_sync_core::json::MAX_DEPTH;
    for (open, inside, close) in [("[", "", "]"), ("[", "1", "]"), ("{\"a\":", "1", "}")] {
        let nested = |depth: usize| format!("{}{inside}{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(examine(&nested(limit), &mut Vec::new()), Examined::Storable, "{open}{inside}");
        let deeper = examine(&nested(limit + 1), &mut Vec::new());
        assert_eq!(deeper, Examined::Unstorable(Unstorable::TooDeep), "{open}{inside}");
    }
    let objects = format!("{}1{}", "{\"a\":".repeat(1000), "}".repeat(1000));
    assert_eq!(examine(&objects, &mut Vec::new()), Examined::Unstorable(Unstorable::TooDeep));
}

#[test]
fn what_is_unstorable_is_still_hashed_by_its_text() {
    assert_ne!(hash(r#"{"a":1,"a":2}"#), hash(r#"{"a":2,"a":1}"#));
    assert_eq!(hash("not json"), hash("not json"));
}
