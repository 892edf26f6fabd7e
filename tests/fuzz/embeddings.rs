//! Embeddings: float32 blobs and JSON arrays.

use std::sync::Arc;

use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::{ColumnType, Record, Schema, TableSpec, Value, aside, vector};
use aqe_sync_workspace::fuzz::{Corpus, Reached, Target};

use crate::real_values::{Cell, rows, texts};

fn corpus() -> Corpus {
    let corpus = Corpus::new().with_past_failures("embeddings");
    let blobs: Vec<_> = rows()
        .iter()
        .flatten()
        .filter_map(|cell| match cell {
            Cell::Blob(bytes) if bytes.len() >= 64 && bytes.len() % 4 == 0 => Some(bytes),
            _ => None,
        })
        .take(40)
        .collect();
    assert!(blobs.len() > 5, "{} embeddings as blobs in all fixtures", blobs.len());
    let corpus = blobs.into_iter().enumerate().fold(corpus, |corpus, (number, bytes)| {
        corpus.with(format!("blob {number}"), [b"b".as_slice(), bytes].concat())
    });
    let arrays: Vec<_> =
        texts().into_iter().filter(|text| text.starts_with('[') && text.contains("0.")).take(40).collect();
    assert!(arrays.len() > 5, "{} embeddings as text in all fixtures", arrays.len());
    let corpus = arrays
        .into_iter()
        .enumerate()
        .fold(corpus, |corpus, (number, text)| corpus.with_any(format!("array {number}"), format!("t{text}")));
    corpus.with("short", "t[0.5,-1]").words(["[", "]", ",", "1e39", "-0", "null", "1e-50", "\u{0}\u{0}\u{80}\u{7f}"])
}

#[test]
fn embeddings() {
    Target::new("embeddings", corpus()).at_least(5_000).share_past(10).run(|bytes| {
        let Some((form, bytes)) = bytes.split_first() else { return Reached::Refused };
        let value = if *form % 2 == 0 {
            Value::Bytes(bytes.to_vec())
        } else {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        };
        let read = vector::read(&value);
        coerced(&value, read.as_ref().ok());
        let Ok(numbers) = read else { return Reached::Refused };
        assert!(numbers.iter().all(|number| number.is_finite()));
        let blob = aside::vector_to_bytes(&numbers);
        if let Value::Bytes(bytes) = &value {
            assert_eq!(&blob, bytes, "bit by bit");
        }
        let back = vector::read(&Value::Bytes(blob.clone())).expect("its own bytes");
        assert_eq!(aside::vector_to_bytes(&back), blob);
        Reached::Past
    });
}

/// A vector of the column's dimensions is its value; any other is kept whole beside it.
fn coerced(value: &Value, numbers: Option<&Vec<f32>>) {
    let fitting = numbers.and_then(|numbers| u16::try_from(numbers.len()).ok()).filter(|dimensions| *dimensions > 0);
    for dimensions in [fitting, Some(384)].into_iter().flatten() {
        let table = TableSpec::builder("t").key("id", ColumnType::Text).column("e", ColumnType::Vector(dimensions));
        let table = table.build().expect("a table");
        let schema = Schema::new(["id", "e"]);
        let record = Record::new(Arc::clone(&schema), vec![Value::from("k"), value.clone()]);
        let row = Coercer::new(table, schema).row(record).expect("a sound key").row;
        match (&row.values[1], numbers) {
            (Value::Vector(kept), Some(numbers)) => {
                assert_eq!(aside::vector_to_bytes(kept), aside::vector_to_bytes(numbers));
                assert_eq!(kept.len(), usize::from(dimensions));
            }
            (Value::Null, _) => kept_beside(value, row.extra.as_ref().expect("kept beside").as_str()),
            (other, _) => panic!("{other} in a column of vectors"),
        }
    }
}

fn kept_beside(value: &Value, extra: &str) {
    let extra: serde_json::Value = serde_json::from_str(extra).expect("an object");
    let kept = &extra["e"];
    match value {
        Value::Bytes(bytes) => {
            let base64 = kept["base64"].as_str().and_then(aside::from_base64);
            assert_eq!(base64.as_ref(), Some(bytes), "{kept}");
        }
        Value::Text(text) if text.contains('\0') => {
            let base64 = kept["base64"].as_str().and_then(aside::from_base64);
            assert_eq!(base64.as_deref(), Some(text.as_bytes()), "{kept}");
        }
        other => assert_eq!(kept.as_str(), other.as_text()),
    }
}
