//! Figures and thresholds of made-up hubs.

use std::time::Duration;

use super::*;
use crate::Timestamp;
use crate::history::{RunRecord, StreamRecord};
use crate::overview::{EnvironmentOverview, ModelOverview, Overview, RunOverview, StreamOverview, TableOverview};
use crate::report::{Counters, Status};

const NOW: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a moment")
}

fn stream(source: &str, last_synced: Option<&str>) -> StreamOverview {
    StreamOverview {
        source: source.into(),
        stream: "events".into(),
        table: "events".into(),
        last_synced: last_synced.map(str::to_owned),
        rows: 7,
    }
}

fn hub(environment: &str, streams: Vec<StreamOverview>) -> Overview {
    let environments = vec![EnvironmentOverview { environment: environment.into(), streams }];
    Overview { environments, ..Overview::default() }
}

/// A run of the environment `e`, so many minutes ago.
fn run(minutes_ago: i64, status: Status, streams: Vec<StreamRecord>) -> RunRecord {
    let mut totals = Counters::default();
    for stream in &streams {
        totals.add(&stream.counters);
    }
    RunRecord {
        run_id: format!("run-{minutes_ago}"),
        environment: "e".into(),
        mode: "incremental".into(),
        status,
        started_at: Timestamp::from_micros(at(NOW).as_micros() - minutes_ago * 60_000_000).expect("a moment"),
        duration_ms: 1_500,
        totals,
        streams: Some(streams),
        errors: None,
    }
}

fn read(source: &str, status: Status, counters: Counters) -> StreamRecord {
    let (stream, table) = ("events".to_owned(), "events".to_owned());
    StreamRecord { source: source.into(), stream, table, status, counters, duration_ms: 250 }
}

fn counted(read: u64, inserted: u64, deleted: u64) -> Counters {
    Counters { read, inserted, unchanged: read - inserted, deleted, ..Counters::default() }
}

fn figures(overview: &Overview, runs: &[RunRecord]) -> EnvironmentMeasures {
    measure(overview, runs, at(NOW)).environments.into_iter().next().expect("an environment")
}

fn levels(overview: &Overview, runs: &[RunRecord], rules: &Rules) -> Vec<(Kind, Level)> {
    let mut levels: Vec<(Kind, Level)> =
        judge(&measure(overview, runs, at(NOW)), rules, None).iter().map(|one| (one.kind, one.level)).collect();
    levels.sort_unstable();
    levels
}

#[test]
fn recent_runs_add_up_and_a_run_that_is_known_twice_counts_once() {
    let mut met = counted(50, 10, 0);
    met.conflicts = 5;
    let runs = [
        run(10, Status::Ok, vec![read("a.db", Status::Ok, counted(100, 40, 4))]),
        run(20, Status::Failed, Vec::new()),
        run(20, Status::Failed, Vec::new()),
        run(30, Status::Ok, vec![read("a.db", Status::Ok, met)]),
        // Eight days ago.
        run(8 * 1_440, Status::Failed, vec![read("a.db", Status::Ok, counted(1_000, 1_000, 0))]),
    ];
    let overview = hub("e", vec![stream("a.db", None)]);
    let one = figures(&overview, &runs);
    assert_eq!((one.runs, one.failed_runs, one.read, one.changed, one.conflicts), (3, 1, 150, 54, 5));
    assert!((one.failure_rate - 1.0 / 3.0).abs() < 1e-12 && (one.records_per_run - 50.0).abs() < 1e-12);
    assert!((one.conflict_rate - 5.0 / 150.0).abs() < 1e-12);
    assert_eq!((one.age_seconds, one.last_status, one.last_duration_ms), (Some(600), Some(Status::Ok), Some(1_500)));
    assert_eq!(one.streams[0].last_duration_ms, Some(250));
}

#[test]
fn tables_grow_by_what_recent_runs_added_less_what_they_deleted() {
    let two = vec![read("a.db", Status::Ok, counted(10, 8, 0)), read("b.db", Status::Ok, counted(5, 1, 3))];
    let runs = [
        run(10, Status::Ok, vec![read("a.db", Status::Ok, counted(3, 0, 9))]),
        run(20, Status::Ok, two),
        run(8 * 1_440, Status::Ok, vec![read("a.db", Status::Ok, counted(1_000, 1_000, 0))]),
    ];
    let table =
        |table: &str, vectors| TableOverview { table: table.into(), rows: 20, tombstones: 2, bytes: 4_096, vectors };
    let overview = Overview { tables: vec![table("events", None), table("patterns", Some(5))], ..hub("e", Vec::new()) };
    let tables = measure(&overview, &runs, at(NOW)).tables;
    assert_eq!((tables[0].growth, tables[0].last_duration_ms, tables[0].coverage), (8 + 1 - 9 - 3, Some(250), None));
    assert_eq!((tables[1].growth, tables[1].last_duration_ms, tables[1].coverage), (0, None, Some(0.25)));
    // Both of its streams were read in that run.
    assert_eq!(measure(&overview, &runs[1..], at(NOW)).tables[0].last_duration_ms, Some(500));
}

#[test]
fn a_stream_is_fresh_by_runs_that_found_it_unchanged_and_not_by_those_in_which_it_failed() {
    let old = || hub("e", vec![stream("a.db", Some("2026-11-16T12:00:00Z"))]);
    let age = |runs: &[RunRecord]| figures(&old(), runs).streams[0].age_seconds;
    assert_eq!(age(&[]), Some(6 * 86_400));
    assert_eq!(age(&[run(5, Status::Ok, Vec::new())]), Some(300), "it was as before");
    assert_eq!(age(&[run(5, Status::Failed, Vec::new())]), Some(6 * 86_400));
    let failing = |source, stream: &str| StreamRecord {
        stream: stream.into(),
        ..read(source, Status::Failed, Counters::default())
    };
    assert_eq!(age(&[run(5, Status::Partial, vec![failing("a.db", "events")])]), Some(6 * 86_400));
    assert_eq!(age(&[run(5, Status::Partial, vec![failing("a.db", "")])]), Some(6 * 86_400), "its source failed");
    assert_eq!(age(&[run(5, Status::Partial, vec![failing("b.db", "events")])]), Some(300), "another one failed");
    let later = [run(5, Status::Partial, vec![failing("a.db", "events")]), run(60, Status::Ok, Vec::new())];
    assert_eq!(age(&later), Some(3_600));
    assert!((figures(&old(), &later).streams[0].failure_rate - 0.5).abs() < 1e-12);
}

#[test]
fn runs_before_the_recent_ones_still_say_when_an_environment_last_finished() {
    let before = RunOverview {
        environment: "e".into(),
        status: "ok".into(),
        started_at: "2026-11-10T12:00:00Z".into(),
        duration_ms: 9,
        ..RunOverview::default()
    };
    let overview = Overview { runs: vec![before], ..hub("e", vec![stream("a.db", None)]) };
    let one = figures(&overview, &[]);
    assert_eq!(
        (one.age_seconds, one.last_status, one.last_duration_ms),
        (Some(12 * 86_400), Some(Status::Ok), Some(9))
    );
    assert_eq!(one.streams[0].age_seconds, Some(12 * 86_400));
    assert_eq!((one.runs, one.failure_rate.to_bits()), (0, 0));
}

#[test]
fn an_environment_whose_every_run_failed_is_known() {
    let one = figures(&Overview::default(), &[run(5, Status::Failed, Vec::new())]);
    assert_eq!((one.environment.as_str(), one.last_finished, one.age_seconds), ("e", None, None));
    assert_eq!(
        levels(&Overview::default(), &[run(5, Status::Failed, Vec::new())], &Rules::default()),
        [(Kind::LastRun, Level::Warning)]
    );
}

#[test]
fn age_warns_after_a_day_and_is_critical_after_three() {
    for (last, expected) in [
        ("2026-11-22T11:59:00Z", Level::Ok),
        ("2026-11-21T12:00:01Z", Level::Ok),
        ("2026-11-21T12:00:00Z", Level::Warning),
        ("2026-11-19T12:00:01Z", Level::Warning),
        ("2026-11-19T12:00:00Z", Level::Critical),
        ("2027-01-01T00:00:00Z", Level::Ok),
    ] {
        let measures = measure(&hub("e", vec![stream("a.db", Some(last))]), &[], at(NOW));
        assert_eq!(worst(&judge(&measures, &Rules::default(), None)), expected, "{last}");
        assert!(judge(&measures, &Rules::default(), Some("other")).is_empty());
    }
}

#[test]
fn duration_and_the_rate_of_failures_have_two_limits_each() {
    let fresh = || hub("e", vec![stream("a.db", Some(NOW))]);
    let lasting = |duration_ms| [RunRecord { duration_ms, ..run(1, Status::Ok, Vec::new()) }];
    let rules = Rules::default();
    assert_eq!(levels(&fresh(), &lasting(299_999), &rules), []);
    assert_eq!(levels(&fresh(), &lasting(300_000), &rules), [(Kind::Duration, Level::Warning)]);
    assert_eq!(levels(&fresh(), &lasting(900_000), &rules), [(Kind::Duration, Level::Critical)]);
    let of = |failed: i64, all: i64| -> Vec<RunRecord> {
        // The last one is well, so that nothing else is found.
        let status = |number| if number > all - failed { Status::Failed } else { Status::Ok };
        (1..=all).map(|number| run(number, status(number), Vec::new())).collect()
    };
    assert_eq!(levels(&fresh(), &of(1, 4), &rules), [], "too few to judge");
    assert_eq!(levels(&fresh(), &of(1, 5), &rules), [(Kind::FailureRate, Level::Critical)]);
    assert_eq!(levels(&fresh(), &of(1, 6), &rules), [(Kind::FailureRate, Level::Warning)]);
    assert_eq!(levels(&fresh(), &of(1, 20), &rules), [(Kind::FailureRate, Level::Warning)]);
    assert_eq!(levels(&fresh(), &of(1, 21), &rules), []);
}

#[test]
fn a_stream_that_fails_again_and_again_is_found_while_its_environment_goes_on() {
    let failing = || vec![read("a.db", Status::Failed, Counters::default())];
    let mut runs: Vec<RunRecord> = (2..=5).map(|ago| run(ago, Status::Partial, failing())).collect();
    runs.push(run(1, Status::Ok, Vec::new()));
    let found = levels(&hub("e", vec![stream("a.db", Some(NOW))]), &runs, &Rules::default());
    assert_eq!(found, [(Kind::FailureRate, Level::Critical)]);
}

#[test]
fn streams_have_thresholds_of_their_own_where_those_are_said() {
    let two = || hub("e", vec![stream("a.db", Some("2026-11-22T09:00:00Z")), stream("b.db", Some(NOW))]);
    let seconds =
        |warning, critical| Limit { warning: Duration::from_secs(warning), critical: Duration::from_secs(critical) };
    let own = Thresholds { age: seconds(3_600, 86_400), ..Thresholds::default() };
    let rules = |pattern: &str| Rules {
        streams: vec![StreamRules { pattern: pattern.into(), thresholds: own }],
        ..Rules::default()
    };
    assert_eq!(levels(&two(), &[], &Rules::default()), []);
    let found = judge(&measure(&two(), &[], at(NOW)), &rules("a.*"), None);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].level, found[0].stream.as_deref()), (Level::Warning, Some("a.db [events]")));
    assert_eq!(levels(&two(), &[], &rules("b.db")), []);
    // Laxer ones count as well.
    let lax = Thresholds { age: seconds(1_000_000, 2_000_000), ..Thresholds::default() };
    let lax = Rules { streams: vec![StreamRules { pattern: "*".into(), thresholds: lax }], ..Rules::default() };
    assert_eq!(levels(&hub("e", vec![stream("a.db", Some("2026-11-12T12:00:00Z"))]), &[], &lax), []);
}

#[test]
fn dead_letters_and_a_bad_index_warn() {
    let model = |recall| ModelOverview { model: "m".into(), vectors: 9, recall };
    let fresh = |dead_letters, recall| Overview {
        dead_letters,
        models: vec![model(recall)],
        ..hub("e", vec![stream("a.db", Some(NOW))])
    };
    let rules = Rules::default();
    assert_eq!(levels(&fresh(0, Some(0.95)), &[], &rules), []);
    assert_eq!(levels(&fresh(0, None), &[], &rules), []);
    assert_eq!(levels(&fresh(0, Some(0.9)), &[], &rules), [(Kind::Recall, Level::Warning)]);
    assert_eq!(levels(&fresh(2, None), &[], &rules), [(Kind::DeadLetters, Level::Warning)]);
}

#[test]
fn metrics_have_every_figure_in_base_units_and_escaped_labels() {
    let mut overview = hub("a\"b\\c\nd", vec![stream("a.db", Some("2026-11-22T11:59:59.5Z"))]);
    overview.tables =
        vec![TableOverview { table: "events".into(), rows: 7, tombstones: 1, bytes: 4_096, vectors: Some(7) }];
    (overview.conflicts, overview.dead_letters, overview.bytes) = (3, 1, 8_192);
    let runs = [run(1, Status::Ok, vec![read("a.db", Status::Ok, counted(4, 2, 0))])];
    let measures = measure(&overview, &runs, at(NOW));
    let page = prometheus(&measures, &judge(&measures, &Rules::default(), None));
    for line in [
        r#"aqe_sync_stream_last_success_timestamp_seconds{environment="a\"b\\c\nd",source="a.db",stream="events",table="events"} 1795348799.5"#,
        r#"aqe_sync_last_duration_seconds{environment="e"} 1.5"#,
        r#"aqe_sync_recent_runs{environment="e"} 1"#,
        r#"aqe_sync_table_size_bytes{table="events"} 4096"#,
        r#"aqe_sync_table_vector_coverage_ratio{table="events"} 1"#,
        r#"aqe_sync_table_recent_growth_rows{table="events"} 2"#,
        "aqe_sync_conflicts_total 3",
        "aqe_sync_dead_letters 1",
        "aqe_sync_hub_size_bytes 8192",
        "aqe_sync_health 1",
        r#"aqe_sync_threshold_crossed{kind="dead_letters"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    let mut described = std::collections::BTreeSet::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            assert!(described.insert(name.split(' ').next().expect("a name")), "{line}: twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(
                described.contains(name) && line.rsplit(' ').next().expect("a value").parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
}
