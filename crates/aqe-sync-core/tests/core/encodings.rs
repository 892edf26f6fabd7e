//! Hashes are those of the documented encoding: every hub and every file remembers them.

use aqe_sync_core::hash::{content_hash, fields_hash, key_hash};
use aqe_sync_core::{ColumnType, Json, TableSpec, Timestamp, Value};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::support::note::table;

/// A length and so many bytes.
fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short");
    [&length.to_le_bytes(), bytes].concat()
}

/// Every kind of value with its encoding.
fn values() -> Vec<(Value, Vec<u8>)> {
    let tagged = |tag: &[u8], payload: &[u8]| [tag, payload].concat();
    // An object of one member: a name, and a number by its digits and power of ten.
    let canonical = [b"{\"".as_slice(), &counted(b"a"), b"#", &counted(b"15e-1"), b"}"].concat();
    let moment = Timestamp::from_micros(5).expect("in range");
    vec![
        (Value::Null, b"0".to_vec()),
        (Value::Bool(true), b"b\x01".to_vec()),
        (Value::Int(-2), tagged(b"i", &(-2_i64).to_le_bytes())),
        (Value::Float(-0.0), tagged(b"f", &(-0.0_f64).to_bits().to_le_bytes())),
        (Value::from("é"), tagged(b"t", &counted("é".as_bytes()))),
        (Value::RawText(vec![0xff]), tagged(b"r", &counted(&[0xff]))),
        (Value::Bytes(vec![1, 2]), tagged(b"y", &counted(&[1, 2]))),
        (Value::Json(Json::from_text("{ \"a\": 1.50 }")), tagged(b"j", &counted(&canonical))),
        (Value::Json(Json::from_text("[1,")), tagged(b"J", &counted(b"[1,"))),
        (Value::Timestamp(moment), tagged(b"s", &5_i64.to_le_bytes())),
        (Value::Vector(vec![0.5]), [b"v\x01\0\0\0".as_slice(), &0.5_f32.to_bits().to_le_bytes()].concat()),
    ]
}

#[test]
fn a_key_is_hashed_by_its_values_in_order() {
    let (values, bytes): (Vec<Value>, Vec<Vec<u8>>) = values().into_iter().unzip();
    for (value, bytes) in values.iter().zip(&bytes) {
        assert_eq!(key_hash(std::slice::from_ref(value)).0, xxh3_128(bytes), "{value:?}");
    }
    assert_eq!(key_hash(&values).0, xxh3_128(&bytes.concat()));
}

#[test]
fn content_is_hashed_by_the_columns_that_hold_something_in_the_order_of_their_names() {
    let columns = TableSpec::builder("t").key("id", ColumnType::Text).column("b", ColumnType::Json);
    let table = table(columns.column("a", ColumnType::Int).column("c", ColumnType::Int));
    let json = Json::from_text("[]");
    let row = ["k".into(), Value::Json(json.clone()), Value::Int(1), Value::Null];
    let list = [b"j".as_slice(), &counted(b"[]")].concat();
    let named = |name: &str, value: &[u8]| [&counted(name.as_bytes()), value].concat();
    let a = named("a", &[b"i".as_slice(), &1_i64.to_le_bytes()].concat());
    let id = named("id", &[b"t".as_slice(), &counted(b"k")].concat());
    let bytes = [a, named("b", &list), id].concat();
    let number = |bytes: &[u8]| xxh3_64(bytes).cast_signed();
    assert_eq!(content_hash(&table, &row, None).to_i64(), number(&bytes));
    assert_eq!(content_hash(&table, &row, Some(&json)).to_i64(), number(&[bytes, list].concat()));
}

#[test]
fn an_id_made_of_fields_is_hashed_by_those_that_hold_something() {
    let (json, text) = (Value::Json(Json::from_text("[1.0]")), Value::from("x"));
    let bytes = [counted(b"one"), b"J".to_vec(), counted(b"[1.0]"), counted(b"three"), b"t".to_vec(), counted(b"x")];
    assert_eq!(fields_hash([("one", &json), ("two", &Value::Null), ("three", &text)]), xxh3_64(&bytes.concat()));
}
