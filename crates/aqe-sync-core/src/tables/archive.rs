//! What no table of the catalogue is made for: kept whole, with its origin, until one is.

use crate::conflict::PolicySpec;
use crate::schema::{ColumnType, TableBuilder, TableSpec};

pub(super) fn tables() -> Vec<TableBuilder> {
    let archive = TableSpec::builder("archive_records")
        .key("file", ColumnType::Text)
        .key("part", ColumnType::Text)
        .key("record_key", ColumnType::Text)
        .column("record", ColumnType::Json)
        .policy(PolicySpec::LocalWins);
    vec![archive]
}
