//! Walks the rules of `docs/TYPE_MAPPING.md`: document and code cannot drift apart.

use std::sync::Arc;

use aqe_sync_core::coerce::Coercer;
use aqe_sync_core::{ColumnType, Json, Record, Schema, Value};

use crate::conversions::{convert, table_of};
use crate::type_mapping::sections;

/// What a value without a column becomes: nothing but `extra`.
fn convert_unknown(value: Value) -> (Value, Option<Json>) {
    let schema = Schema::new(["id", "w"]);
    let coercer = Coercer::new(table_of(ColumnType::Int), Arc::clone(&schema));
    let row = coercer.row(Record::new(schema, vec![Value::Int(1), value])).expect("a key").row;
    (Value::Null, row.extra)
}

#[test]
fn every_rule_of_the_document_holds() {
    for section in sections() {
        for rule in section.rules {
            let (held, kept) = match section.column {
                Some(kind) => convert(kind, rule.source),
                None => convert_unknown(rule.source),
            };
            let (name, row) = (section.name, rule.row);
            // Debug tells -0.0 from 0.0, and prints NaN.
            assert_eq!(format!("{held:?}"), format!("{:?}", rule.column), "{name}: {row}");
            let field = if section.column.is_some() { "v" } else { "w" };
            let expected = rule.extra.map(|extra| format!("{{\"{field}\":{extra}}}"));
            assert_eq!(kept.as_ref().map(Json::as_str), expected.as_deref(), "{name}: {row}");
        }
    }
}
