//! The core as a whole: engine, verification, and the pure parts by properties.

mod abreast;
mod accounts;
mod conflicts;
mod conversions;
mod deletes;
mod diffs;
mod digests;
mod faults;
mod instances;
mod json;
mod lanes;
mod lost_acknowledgements;
mod lying_sink;
mod mapping;
mod meeting;
mod modes;
mod moments;
mod policies;
mod records;
mod support;
mod testkit;
#[path = "../../../../tests/support/type_mapping.rs"]
#[expect(unreachable_pub, reason = "other crates reach it through the package that it belongs to")]
mod type_mapping;
mod verification;
