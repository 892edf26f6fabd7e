//! How a hub is doing: one set of figures, the thresholds that they cross, and their forms for
//! other programs.
//!
//! [`measure`] makes the figures of what a hub and its history tell; [`judge`] says which of
//! them need attention; [`prometheus`] writes them for monitoring. All of them are pure: whoever
//! shows a figure takes it from [`Measures`], so that it is the same everywhere.

mod judge;
mod measure;
mod prometheus;
mod rules;
mod series;
#[cfg(test)]
mod tests;

pub use judge::{Finding, Kind, Level, judge, worst};
pub use measure::{
    EnvironmentMeasures, Measures, RECENT_RUNS, StreamMeasures, TableMeasures, WINDOW_DAYS, measure, since,
};
pub use prometheus::prometheus;
pub use rules::{Limit, Rules, StreamRules, Thresholds, parse_span};
pub use series::{Series, rows_over_time};
