//! How tables grew.

use std::collections::BTreeMap;

use serde::Serialize;

use super::measure::{added, runs_since};
use crate::Timestamp;
use crate::history::RunRecord;
use crate::overview::Overview;

/// The rows of one table over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Series {
    /// The table.
    pub table: String,
    /// How many rows it had after each run that added or took any, the oldest first; before
    /// the first of them, how many it had before.
    pub points: Vec<(Timestamp, u64)>,
}

/// How many rows each table had after runs that began at a moment or later.
///
/// Counted back from what there is now, by what runs say that they added and took; a run that
/// kept no account of its streams is where that ends.
pub fn rows_over_time(overview: &Overview, runs: &[RunRecord], since: Timestamp) -> Vec<Series> {
    let runs = runs_since(runs, since);
    let number = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    let mut now: BTreeMap<&str, i64> =
        overview.tables.iter().map(|table| (table.table.as_str(), number(table.rows))).collect();
    let mut points: BTreeMap<&str, Vec<(Timestamp, u64)>> = BTreeMap::new();
    let rows = |count: i64| u64::try_from(count).unwrap_or(0);
    for run in runs {
        let Some(streams) = &run.streams else { break };
        let mut changes: BTreeMap<&str, i64> = BTreeMap::new();
        for stream in streams {
            let change = changes.entry(&stream.table).or_default();
            *change = change.saturating_add(added(&stream.counters));
        }
        for (table, change) in changes.into_iter().filter(|(_, change)| *change != 0) {
            let Some(count) = now.get_mut(table) else { continue };
            let of_table = points.entry(table).or_default();
            // What was there before the run that was looked at last is what this one left.
            of_table.pop();
            of_table.push((run.started_at, rows(*count)));
            *count = count.saturating_sub(change);
            of_table.push((run.started_at, rows(*count)));
        }
    }
    let mut series: Vec<Series> = overview
        .tables
        .iter()
        .map(|table| {
            let mut points = points.remove(table.table.as_str()).unwrap_or_default();
            points.reverse();
            Series { table: table.table.clone(), points }
        })
        .collect();
    series.sort_by(|a, b| a.table.cmp(&b.table));
    series
}
