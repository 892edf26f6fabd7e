//! Conversion loses nothing: what went in can be told from columns and `extra`.

use std::sync::Arc;

use aqe_sync_core::aside::{from_base64, vector_from_bytes};
use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::json::{Examined, examine};
use aqe_sync_core::meet::{Contribution, contributions_from_json, contributions_to_json};
use aqe_sync_core::rowjson::{row_from_json, row_to_json};
use aqe_sync_core::{ColumnType, Contributor, Json, Record, Row, Schema, TableSpec, Timestamp, Value};
use proptest::prelude::*;

use crate::support::cases;

pub(crate) fn table_of(kind: ColumnType) -> Arc<TableSpec> {
    TableSpec::builder("t").key("id", ColumnType::Int).column("v", kind).build().expect("a table")
}

/// Converts one value for one column: what the column holds, and `extra`.
pub(crate) fn convert(kind: ColumnType, value: Value) -> (Value, Option<Json>) {
    let schema = Schema::new(["id", "v"]);
    let coercer = Coercer::new(table_of(kind), Arc::clone(&schema));
    let record = Record::new(schema, vec![Value::Int(1), value]);
    let mut row = coercer.row(record).expect("the key is sound").row;
    (row.values.remove(1), row.extra)
}

fn meaning(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match examine(text, &mut out) {
        Examined::Storable => out,
        _ => text.as_bytes().to_vec(),
    }
}

/// Equal to the bit; JSON by its meaning.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => {
            one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
        }
        (Value::Vector(one), Value::Vector(other)) => {
            one.iter().map(|n| n.to_bits()).eq(other.iter().map(|n| n.to_bits()))
        }
        (Value::Json(one), Value::Json(other)) => meaning(one.as_str()) == meaning(other.as_str()),
        (one, other) => one == other,
    }
}

/// Reads a value that was set aside back, knowing what kind of value it was.
fn recall(original: &Value, aside: &serde_json::Value) -> Option<Value> {
    let member = |name: &str| aside.get(name).and_then(serde_json::Value::as_str);
    let base64 = || from_base64(member("base64")?);
    Some(match (member("$aqe"), original) {
        (Some("bytes"), _) | (Some("vector"), Value::Bytes(_)) => Value::Bytes(base64()?),
        (Some("vector"), _) => Value::Vector(vector_from_bytes(&base64()?)?),
        (Some("text"), Value::Text(_)) => Value::Text(String::from_utf8(base64()?).ok()?),
        (Some("text"), Value::Json(_)) => Value::Json(Json::from_text(String::from_utf8(base64()?).ok()?)),
        (Some("text"), _) => Value::RawText(base64()?),
        (Some("float"), _) => Value::Float(member("value")?.parse().ok()?),
        (Some("json"), _) => Value::Json(Json::from_text(member("text")?)),
        (Some("value"), _) => Value::Json(Json::from_text(aside.get("value")?.to_string())),
        (_, Value::Json(_)) => Value::Json(Json::from_text(aside.to_string())),
        (_, Value::Text(_)) => Value::Text(aside.as_str()?.to_owned()),
        (_, Value::Timestamp(_)) => Value::Timestamp(Timestamp::parse(aside.as_str()?)?),
        (_, Value::Bool(_)) => Value::Bool(aside.as_bool()?),
        (_, Value::Int(_)) => Value::Int(aside.as_i64()?),
        (_, Value::Float(_)) => Value::Float(aside.as_f64()?),
        _ => return None,
    })
}

/// Whether `held` says what `original` said, by the equivalences of the document.
fn says_the_same(original: &Value, held: &Value) -> bool {
    if same(original, held) {
        return true;
    }
    match (original, held) {
        (Value::Int(number), Value::Bool(held)) => *number == i64::from(*held),
        (Value::Bool(value), Value::Int(held)) => i64::from(*value) == *held,
        (Value::Float(number), Value::Int(held)) => number.to_bits() == (*held as f64).to_bits(),
        (Value::Int(number), Value::Float(held)) => number.to_string() == format!("{held:.0}"),
        (Value::Text(text), Value::Bool(held)) => {
            matches!((text.as_str(), held), ("true" | "1", true) | ("false" | "0", false))
        }
        (Value::Text(text), Value::Int(held)) => *text == held.to_string(),
        (Value::Text(text), Value::Float(held)) => text.as_str() == serde_json::json!(held).to_string().as_str(),
        (Value::Text(text), Value::Timestamp(held)) => Timestamp::parse(text) == Some(*held),
        (Value::Int(number), Value::Timestamp(held)) => Timestamp::from_magnitude(*number) == Some(*held),
        (Value::Float(number), Value::Timestamp(held)) => {
            let micros = held.as_micros() as f64;
            [1e6, 1e3, 1.0].iter().any(|unit| (micros / unit).to_bits() == number.to_bits())
        }
        (Value::Text(text), Value::Json(held)) => meaning(text) == meaning(held.as_str()),
        (scalar, Value::Json(held)) if !matches!(scalar, Value::Json(_)) => serde_json::from_str(held.as_str())
            .ok()
            .and_then(|held| recall(scalar, &held))
            .is_some_and(|value| same(scalar, &value)),
        (Value::Json(json), held) => json_says(json.as_str(), held),
        (scalar, Value::Text(held)) => match scalar {
            Value::Int(number) => number.to_string() == *held,
            Value::Bool(value) => value.to_string() == *held,
            Value::Float(number) => held.parse::<f64>().is_ok_and(|held| held.to_bits() == number.to_bits()),
            Value::Timestamp(moment) => Timestamp::parse(held) == Some(*moment),
            _ => false,
        },
        (Value::Bytes(bytes), Value::Vector(held)) => {
            vector_from_bytes(bytes).is_some_and(|read| same(&Value::Vector(read), &Value::Vector(held.clone())))
        }
        (Value::Text(text), Value::Vector(held)) => {
            nearest(text).is_some_and(|read| same(&Value::Vector(read), &Value::Vector(held.clone())))
        }
        _ => false,
    }
}

fn json_says(text: &str, held: &Value) -> bool {
    // Numbers that no double holds are still text.
    if matches!(held, Value::Text(held) if held.trim() == text.trim()) {
        return true;
    }
    let Ok(parsed) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    match (&parsed, held) {
        (serde_json::Value::Null, Value::Null) => true,
        (serde_json::Value::Bool(value), held) => says_the_same(&Value::Bool(*value), held),
        (serde_json::Value::String(value), held) => says_the_same(&Value::Text(value.clone()), held),
        (serde_json::Value::Array(_), Value::Vector(held)) => nearest(text).as_deref() == Some(held),
        (serde_json::Value::Number(number), held) => match number.as_i64() {
            Some(number) => says_the_same(&Value::Int(number), held),
            // Zero is one number in JSON, whatever its sign.
            None if number.as_f64() == Some(0.0) && says_the_same(&Value::Int(0), held) => true,
            None => number.as_f64().is_some_and(|number| says_the_same(&Value::Float(number), held)),
        },
        _ => false,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the one rounding that is meant")]
fn nearest(text: &str) -> Option<Vec<f32>> {
    let numbers: Vec<f64> = serde_json::from_str(text).ok()?;
    Some(numbers.into_iter().map(|number| number as f32).collect())
}

fn any_double() -> impl Strategy<Value = f64> {
    use proptest::num::f64 as doubles;
    prop_oneof![
        doubles::ANY,
        doubles::SUBNORMAL,
        prop::sample::select(vec![
            -0.0,
            0.0,
            1.0,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            9_007_199_254_740_993.0,
            1e15,
            1e16,
            1.7e9
        ]),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::NAN),
    ]
}

fn any_int() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        -2..3_i64,
        Just(i64::MIN),
        Just(i64::MAX),
        Just((1 << 53) + 1),
        1_700_000_000..1_800_000_000_i64
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "[a\0\"\\\\{}\\[\\]1,:. ]{0,8}",
        any_int().prop_map(|number| number.to_string()),
        any_double().prop_map(|number| number.to_string()),
        prop::sample::select(vec![
            "true",
            "0",
            "1",
            "null",
            "",
            "\"quoted\"",
            "{\"a\":1,\"a\":2}",
            "[1,2]",
            "[0.1,1e39]",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "1e999999",
            "2026-01-11 13:01:08",
            "2026-01-11",
            "{\"$aqe\":\"bytes\"}",
            " 1",
            "01",
            "+1",
            "1.0",
            "1e5",
            "NaN",
            "inf",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_json() -> impl Strategy<Value = Json> {
    let valid = any_text().prop_filter("JSON", |text| !matches!(examine(text, &mut Vec::new()), Examined::Invalid(_)));
    prop_oneof![
        valid,
        any_text().prop_map(|text| serde_json::json!(text).to_string()),
        any_text().prop_map(|text| serde_json::json!({"$aqe": text}).to_string()),
        any_int().prop_map(|number| format!(" {number} ")),
        any_double().prop_map(|number| serde_json::json!(number).to_string()),
    ]
    .prop_map(Json::from_text)
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any_int().prop_map(Value::Int),
        any_double().prop_map(Value::Float),
        any_text().prop_map(Value::Text),
        proptest::collection::vec(0x80..=0xff_u8, 1..6)
            .prop_filter("not UTF-8", |bytes| std::str::from_utf8(bytes).is_err())
            .prop_map(Value::RawText),
        proptest::collection::vec(any::<u8>(), 0..10).prop_map(Value::Bytes),
        any_json().prop_map(Value::Json),
        (0..2_000_000_000_000_000_i64)
            .prop_map(|micros| Value::Timestamp(Timestamp::from_micros(micros).expect("in range"))),
        proptest::collection::vec(proptest::num::f32::ANY, 0..4).prop_map(Value::Vector),
    ]
}

fn any_kind() -> impl Strategy<Value = ColumnType> {
    prop::sample::select(vec![
        ColumnType::Bool,
        ColumnType::Int,
        ColumnType::Float,
        ColumnType::Text,
        ColumnType::Bytes,
        ColumnType::Json,
        ColumnType::Timestamp,
        ColumnType::Vector(2),
    ])
}

/// Whether a column of this type may hold the value, in any hub.
fn fits(kind: ColumnType, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Null)
        | (ColumnType::Bool, Value::Bool(_))
        | (ColumnType::Int, Value::Int(_))
        | (ColumnType::Bytes, Value::Bytes(_))
        | (ColumnType::Timestamp, Value::Timestamp(_)) => true,
        (ColumnType::Float, Value::Float(number)) => !number.is_nan(),
        (ColumnType::Text, Value::Text(text)) => !text.contains('\0'),
        (ColumnType::Json, Value::Json(json)) => examine(json.as_str(), &mut Vec::new()) == Examined::Storable,
        (ColumnType::Vector(dimensions), Value::Vector(numbers)) => {
            numbers.len() == usize::from(dimensions) && numbers.iter().all(|number| number.is_finite())
        }
        _ => false,
    }
}

/// As `jsonb` gives a document back: keys sorted, no signed zeros, other spaces.
fn through_jsonb(text: &str) -> String {
    fn walk(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Number(number) if number.is_f64() && number.as_f64() == Some(0.0) => {
                *value = serde_json::json!(0.0);
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(walk),
            serde_json::Value::Object(object) => object.values_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value: serde_json::Value = serde_json::from_str(text).expect("storable");
    walk(&mut value);
    serde_json::to_string_pretty(&value).expect("JSON")
}

proptest! {
    #![proptest_config(cases(2048))]

    #[test]
    fn every_value_is_recoverable_from_its_column_or_from_extra(kind in any_kind(), value in any_value()) {
        let (held, extra) = convert(kind, value.clone());
        prop_assert!(fits(kind, &held), "{:?}", held);
        let Some(extra) = extra else {
            prop_assert!(says_the_same(&value, &held), "{:?} became {:?}", value, held);
            return Ok(());
        };
        prop_assert_eq!(examine(extra.as_str(), &mut Vec::new()), Examined::Storable, "{}", extra.as_str());
        let members: serde_json::Value = serde_json::from_str(&through_jsonb(extra.as_str())).expect("JSON");
        if members["v"]["$aqe"] == "plain" {
            let text: String = serde_json::from_str(match &held { Value::Json(json) => json.as_str(), _ => "" }).expect("a string");
            prop_assert_eq!(Value::Text(text), value);
            return Ok(());
        }
        prop_assert!(held.is_null());
        let recalled = recall(&value, &members["v"]);
        prop_assert!(recalled.as_ref().is_some_and(|recalled| same(recalled, &value)), "{:?} is {:?} in {}", value, recalled, extra.as_str());
    }

    #[test]
    fn what_no_column_is_for_is_recoverable_from_extra(value in any_value()) {
        let schema = Schema::new(["id", "unknown"]);
        let coercer = Coercer::new(table_of(ColumnType::Int), Arc::clone(&schema));
        let row = coercer.row(Record::new(schema, vec![Value::Int(1), value.clone()])).expect("a key").row;
        let Some(extra) = row.extra else {
            prop_assert!(value.is_null());
            return Ok(());
        };
        let members: serde_json::Value = serde_json::from_str(&through_jsonb(extra.as_str())).expect("JSON");
        let recalled = recall(&value, &members["unknown"]);
        prop_assert!(recalled.as_ref().is_some_and(|recalled| same(recalled, &value)), "{:?} in {}", value, extra.as_str());
    }

    #[test]
    fn rows_survive_as_json_even_where_jsonb_spells_it_anew(kind in any_kind(), value in any_value()) {
        let table = table_of(kind);
        let (held, extra) = convert(kind, value);
        let row = Row::new(&table, vec![Value::Int(1), held], extra);
        let text = row_to_json(&table, &row);
        prop_assert_eq!(row_from_json(&table, &text).expect("just written").hash, row.hash);
        let contributor = Contributor { source: "a.db".into(), stream: "t".into() };
        let contribution = Contribution { contributor, priority: -3, row };
        let column = contributions_to_json(&table, std::slice::from_ref(&contribution)).expect("writable").expect("one");
        let read = contributions_from_json(&table, &through_jsonb(column.as_str())).expect("just written");
        prop_assert_eq!(read[0].row.hash, contribution.row.hash, "{}", column.as_str());
        prop_assert_eq!(&read[0].contributor, &contribution.contributor);
    }
}

#[test]
fn field_names_that_repeat_lose_nothing() {
    let schema = Schema::new(["id", "v", "v", "w", "w"]);
    let coercer = Coercer::new(table_of(ColumnType::Int), Arc::clone(&schema));
    let values = vec![Value::Int(1), Value::Int(2), Value::Int(3), Value::Int(4), Value::Int(5)];
    let record = Record::new(schema, values).with_extra(vec![("v".to_owned(), Value::Int(6))]);
    let row = coercer.row(record).expect("a key").row;
    assert_eq!(row.values[1], Value::Int(2));
    assert_eq!(row.extra.expect("the rest").as_str(), r#"{"v":3,"w":4,"w#2":5,"v#2":6}"#);
}

#[test]
fn a_key_may_come_as_an_extra_field() {
    let schema = Schema::new(["v"]);
    let coercer = Coercer::new(table_of(ColumnType::Int), Arc::clone(&schema));
    let record = Record::new(schema, vec![Value::Int(2)]).with_extra(vec![("id".to_owned(), Value::Int(1))]);
    let row = coercer.row(record).expect("a key").row;
    assert_eq!((row.values, row.extra), (vec![Value::Int(1), Value::Int(2)], None));
}

#[test]
fn a_deep_document_with_a_mark_of_its_own_is_wrapped() {
    let deep = format!(r#"{{"$aqe":"bytes","deep":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let text = aqe_sync_core::aside::to_json(&Value::Json(Json::from_text(deep.as_str())));
    assert_eq!(text, format!(r#"{{"$aqe":"value","value":{deep}}}"#));
}

#[test]
fn what_is_no_json_is_not_taken_for_null_or_false() {
    for (kind, text) in
        [(ColumnType::Int, "nope"), (ColumnType::Bool, "fax"), (ColumnType::Text, "n\0"), (ColumnType::Text, "1\0")]
    {
        let (held, extra) = convert(kind, Value::Json(Json::from_text(text)));
        assert!(held.is_null() && extra.is_some(), "{text:?} became {held:?}");
    }
}
