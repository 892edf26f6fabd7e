//! The core as a whole: engine, verification, and the pure parts by properties.

mod abreast;
mod accounts;
mod conflicts;
mod conversions;
mod damage;
mod deletes;
mod diffs;
mod digests;
mod encodings;
mod faults;
mod fleet;
mod fleet_simulation;
mod fleet_source;
mod instances;
mod json;
mod lanes;
mod limits;
mod lost_acknowledgements;
mod lying_sink;
mod mapping;
mod meeting;
mod modes;
mod moments;
mod moving;
mod own_parts;
mod own_source;
mod packs;
mod policies;
mod preferences;
mod records;
mod redaction;
mod reverting;
mod settling;
mod support;
mod testkit;
#[path = "../../../../tests/support/type_mapping.rs"]
#[expect(unreachable_pub, reason = "other crates reach it through the package that it belongs to")]
mod type_mapping;
mod verification;
