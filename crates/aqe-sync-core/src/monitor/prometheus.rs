//! Figures in Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), version 0.0.4.

use std::fmt::{Display, Write as _};

use super::judge::{Finding, worst};
use super::measure::{EnvironmentMeasures, Measures, StreamMeasures, TableMeasures};
use crate::Timestamp;
use crate::overview::ModelOverview;

/// A metric: its name, what it says, and its value for one thing, if that has one.
struct Gauge<T>(&'static str, &'static str, fn(&T) -> Option<String>);

const ENVIRONMENTS: &[Gauge<EnvironmentMeasures>] = &[
    Gauge("aqe_sync_last_success_timestamp_seconds", "When the last sync began that did not fail.", |one| {
        one.last_finished.map(seconds)
    }),
    Gauge("aqe_sync_last_duration_seconds", "How long the last sync took.", |one| one.last_duration_ms.map(millis)),
    Gauge("aqe_sync_last_status", "How the last sync ended: 0 ok, 1 in part, 2 failed.", |one| {
        one.last_status.map(|status| (status as u8).to_string())
    }),
    Gauge("aqe_sync_recent_runs", "Syncs of the last 7 days.", |one| some(one.runs)),
    Gauge("aqe_sync_recent_failed_runs", "Syncs of the last 7 days that failed.", |one| some(one.failed_runs)),
    Gauge("aqe_sync_recent_failure_ratio", "Share of the syncs of the last 7 days that failed.", |one| {
        some(one.failure_rate)
    }),
    Gauge("aqe_sync_recent_records", "Records read in the last 7 days.", |one| some(one.read)),
    Gauge("aqe_sync_recent_records_per_run", "Records read in a sync, on average.", |one| some(one.records_per_run)),
    Gauge("aqe_sync_recent_changed_rows", "Rows changed in the last 7 days.", |one| some(one.changed)),
    Gauge("aqe_sync_recent_conflicts", "Records of the last 7 days that met another version.", |one| {
        some(one.conflicts)
    }),
    Gauge("aqe_sync_recent_conflict_ratio", "Share of the records read that met another version.", |one| {
        some(one.conflict_rate)
    }),
];

const STREAMS: &[Gauge<StreamMeasures>] = &[
    Gauge("aqe_sync_stream_rows", "Live rows whose content is from the stream.", |one| some(one.rows)),
    Gauge(
        "aqe_sync_stream_last_success_timestamp_seconds",
        "When the stream was last in the hub as it is at its source.",
        |one| one.last_synced.map(seconds),
    ),
    Gauge("aqe_sync_stream_last_duration_seconds", "How long the stream took when it was last read.", |one| {
        one.last_duration_ms.map(millis)
    }),
    Gauge("aqe_sync_stream_recent_failure_ratio", "Share of the syncs of 7 days in which the stream failed.", |one| {
        some(one.failure_rate)
    }),
];

const TABLES: &[Gauge<TableMeasures>] = &[
    Gauge("aqe_sync_table_rows", "Live rows.", |one| some(one.rows)),
    Gauge("aqe_sync_table_tombstones", "Rows that are gone from their sources.", |one| some(one.tombstones)),
    Gauge("aqe_sync_table_size_bytes", "What the table takes on disk, with its indexes.", |one| some(one.bytes)),
    Gauge("aqe_sync_table_vectors", "Rows that have a vector.", |one| one.vectors.and_then(some)),
    Gauge("aqe_sync_table_vector_coverage_ratio", "Share of the live rows that have a vector.", |one| {
        one.coverage.and_then(some)
    }),
    Gauge("aqe_sync_table_recent_growth_rows", "Rows added in 7 days, less those deleted.", |one| some(one.growth)),
    Gauge("aqe_sync_table_last_duration_seconds", "How long the table's streams took when last read.", |one| {
        one.last_duration_ms.map(millis)
    }),
];

const MODELS: &[Gauge<ModelOverview>] = &[
    Gauge("aqe_sync_vectors", "Vectors of an embedding model.", |one| some(one.vectors)),
    Gauge("aqe_sync_index_recall_ratio", "Share of the nearest vectors that the hub's index finds.", |one| {
        one.recall.and_then(some)
    }),
];

/// Writes all figures. Names follow <https://prometheus.io/docs/practices/naming/>: base units,
/// which are in the name.
pub fn prometheus(measures: &Measures, findings: &[Finding]) -> String {
    let mut page = Page(String::new());
    let environments = &measures.environments;
    page.gauges(ENVIRONMENTS, environments.iter().map(|one| (vec![("environment", one.environment.as_str())], one)));
    let streams = environments.iter().flat_map(|one| {
        one.streams.iter().map(|stream| {
            let labels = vec![
                ("environment", one.environment.as_str()),
                ("source", stream.source.as_str()),
                ("stream", stream.stream.as_str()),
                ("table", stream.table.as_str()),
            ];
            (labels, stream)
        })
    });
    page.gauges(STREAMS, streams);
    page.gauges(TABLES, measures.tables.iter().map(|one| (vec![("table", one.table.as_str())], one)));
    page.gauges(MODELS, measures.models.iter().map(|one| (vec![("model", one.model.as_str())], one)));
    page.hub(measures, findings);
    page.0
}

/// A figure that is always there.
#[expect(clippy::unnecessary_wraps, reason = "as the gauges take it")]
fn some(value: impl Display) -> Option<String> {
    Some(value.to_string())
}

struct Page(String);

/// The labels of a sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Page {
    /// Metrics with a sample for each of some things.
    fn gauges<'a, T: 'a>(&mut self, gauges: &[Gauge<T>], things: impl Iterator<Item = (Labels<'a>, &'a T)>) {
        let things: Vec<_> = things.collect();
        for Gauge(name, help, value) in gauges {
            self.metric(name, "gauge", help);
            for (labels, thing) in &things {
                if let Some(value) = value(thing) {
                    self.sample(name, labels, value);
                }
            }
        }
    }

    fn hub(&mut self, measures: &Measures, findings: &[Finding]) {
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            self.metric(name, kind, help);
            self.sample(name, &[], value);
        };
        one("aqe_sync_conflicts_total", "counter", "Entries of the log of conflicts.", measures.conflicts);
        one("aqe_sync_dead_letters", "gauge", "Records that could not be stored.", measures.dead_letters);
        one("aqe_sync_hub_size_bytes", "gauge", "What the hub takes on disk.", measures.bytes);
        one("aqe_sync_health", "gauge", "0 ok, 1 warning, 2 critical.", worst(findings) as u64);
        let name = "aqe_sync_threshold_crossed";
        self.metric(name, "gauge", "Thresholds that are crossed: 1 warning, 2 critical.");
        for finding in findings {
            let mut labels = vec![("kind", finding.kind.as_str())];
            labels.extend(finding.environment.as_deref().map(|environment| ("environment", environment)));
            labels.extend(finding.stream.as_deref().map(|stream| ("stream", stream)));
            self.sample(name, &labels, finding.level as u8);
        }
    }

    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&'static str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            let before = if position == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

/// Seconds since 1970, with their fraction.
fn seconds(moment: Timestamp) -> String {
    decimal(moment.as_micros(), 6)
}

fn millis(duration: u64) -> String {
    decimal(i64::try_from(duration).unwrap_or(i64::MAX), 3)
}

/// A whole number with its last digits behind the point: exact, as a float is not always.
fn decimal(number: i64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    let (sign, number) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
    let (whole, fraction) = (number / unit, number % unit);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{fraction:0width$}", width = digits as usize);
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

/// A label's text: backslash, quote and line feed are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
