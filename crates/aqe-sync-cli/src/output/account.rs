//! What a sync did, at a glance.

use std::collections::BTreeSet;

use aqe_sync_core::{Counters, Report, Status, StreamReport};

use super::{Cell, Colour, Paint, Table, Terminal, count, counted, duration};

/// A column of numbers: heading, value, whether it shows even when all are zero.
type Column = (&'static str, fn(&Counters) -> u64, bool);

const COLUMNS: [Column; 9] = [
    (">read", |counters| counters.read, true),
    (">new", |counters| counters.inserted, true),
    (">changed", |counters| counters.updated, true),
    (">same", |counters| counters.unchanged, true),
    (">merged", |counters| counters.merged, true),
    (">superseded", |counters| counters.superseded, false),
    (">deleted", |counters| counters.deleted, false),
    (">conflicts", |counters| counters.conflicts, false),
    (">dead", |counters| counters.dead_lettered, true),
];

/// The table: a line per source and hub table, one per source that did not
/// change, the sums. With `detailed`, a line per stream, and empty ones too.
pub(crate) fn table(report: &Report, detailed: bool, paint: Paint) -> String {
    let shows = |(_, value, always): &&Column| *always || value(&report.totals) > 0;
    let columns: Vec<&Column> = COLUMNS.iter().filter(shows).collect();
    let headings = columns.iter().map(|(name, ..)| *name);
    let headings: Vec<&str> = ["source", "table"].into_iter().chain(headings).chain([">time"]).collect();
    let mut table = Table::new(&headings);
    let mut last = "";
    let lines = lines(report, detailed);
    for stream in &lines {
        let source = if stream.source.as_str() == last { "" } else { stream.source.as_str() };
        last = stream.source.as_str();
        let name = if detailed { name(stream) } else { stream.table.clone() };
        table.row(line(source, &name, stream, &columns));
    }
    if table.is_empty() {
        return String::new();
    }
    let numbers = columns.iter().map(|(_, value, _)| Cell::number(value(&report.totals)));
    let ends = (Cell::text("total"), Cell::right(duration(report.duration_ms)));
    let cells = [ends.0, Cell::text("")].into_iter().chain(numbers).chain([ends.1]);
    table.row(cells.map(|cell| cell.colour(Colour::Bold)).collect());
    table.draw(paint)
}

/// What is worth a line: the streams of one source that go to the same table,
/// or that did not change, together.
fn lines(report: &Report, detailed: bool) -> Vec<StreamReport> {
    let mut lines: Vec<StreamReport> = Vec::new();
    for stream in &report.streams {
        let idle = stream.counters == Counters::default() && stream.status == Status::Ok;
        if idle && !stream.skipped_unchanged && !detailed {
            continue;
        }
        let alike = |line: &&mut StreamReport| {
            let same_table = line.table == stream.table && !detailed;
            line.source == stream.source
                && line.skipped_unchanged == stream.skipped_unchanged
                && (same_table || stream.skipped_unchanged)
        };
        match lines.iter_mut().find(alike) {
            Some(line) => {
                line.counters.add(&stream.counters);
                line.status = line.status.max(stream.status);
                line.duration_ms += stream.duration_ms;
            }
            None => lines.push(stream.clone()),
        }
    }
    lines
}

fn line(source: &str, name: &str, stream: &StreamReport, columns: &[&Column]) -> Vec<Cell> {
    let mut cells = vec![Cell::text(source)];
    if stream.skipped_unchanged {
        cells.push(Cell::text("unchanged").colour(Colour::Dim));
        return cells;
    }
    let name = match stream.status {
        Status::Ok => Cell::text(name),
        Status::Partial => Cell::text(name).colour(Colour::Yellow),
        Status::Failed => Cell::text(format!("{name} failed").trim_start()).colour(Colour::Red),
    };
    cells.push(name);
    cells.extend(columns.iter().map(|(heading, value, _)| {
        let value = value(&stream.counters);
        let cell = Cell::number(value);
        match *heading {
            _ if value == 0 => cell.colour(Colour::Dim),
            ">dead" => cell.colour(Colour::Red),
            ">new" => cell.colour(Colour::Green),
            _ => cell,
        }
    }));
    cells.push(Cell::right(duration(stream.duration_ms)));
    cells
}

/// The hub table, and the stream where it has another name.
pub(super) fn name(stream: &StreamReport) -> String {
    if stream.table == stream.stream.as_str() || stream.stream.as_str().is_empty() {
        stream.table.clone()
    } else {
        format!("{} ({})", stream.table, stream.stream)
    }
}

/// Notes, warnings and errors, each once, with what to do.
pub(crate) fn remarks(report: &Report, terminal: &Terminal) {
    for note in &report.notes {
        terminal.note(note);
    }
    let mut errors = BTreeSet::new();
    for stream in &report.streams {
        for warning in &stream.warnings {
            terminal.warning(warning);
        }
        let counters = &stream.counters;
        let more = counters.dead_lettered.saturating_sub(stream.warnings.len() as u64);
        if more > 0 && stream.warnings.len() >= StreamReport::MAX_WARNINGS {
            let of = format!("{} [{}]", stream.source, stream.stream);
            terminal.warning(&format!("{of}: {} more like these, all in the hub's dead_letters", count(more)));
        }
        // One fault of a source stops all its streams: say it once.
        if let Some(error) = stream.error.as_deref().filter(|error| errors.insert((&stream.source, *error))) {
            let named = error.contains(stream.source.as_str());
            let place = if named { String::new() } else { format!("{}: ", stream.source) };
            terminal.error(&format!("{place}{error}"));
        }
    }
    if let Some(error) = &report.error {
        let said = report.streams.iter().any(|stream| stream.error.as_ref() == Some(error));
        if !said {
            terminal.error(error);
        }
    }
}

/// The last line: all of it in one sentence.
pub(crate) fn summary(report: &Report, hub: &str) -> String {
    let totals = &report.totals;
    let read = report.streams.iter().any(|stream| !stream.skipped_unchanged);
    let mut parts = Vec::new();
    if report.streams.is_empty() {
        parts.push("nothing to sync".to_owned());
    } else if read {
        parts.push(format!("{} read", counted(totals.read, "record")));
        let outcomes = [
            (totals.inserted, "new"),
            (totals.updated, "changed"),
            (totals.unchanged, "unchanged"),
            (totals.merged, "merged"),
            (totals.superseded, "superseded"),
            (totals.deleted, "deleted"),
            (totals.dead_lettered, "dead"),
        ];
        parts.extend(
            outcomes
                .iter()
                .filter(|(number, _)| *number > 0)
                .map(|(number, word)| format!("{} {word}", count(*number))),
        );
    } else {
        parts.push("nothing changed since the last sync".to_owned());
    }
    let attention = report.streams.iter().filter(|stream| stream.status != Status::Ok).count() as u64;
    let mut line = parts.join(", ");
    match report.status {
        Status::Ok => {}
        Status::Partial => {
            let verb = if attention == 1 { "needs" } else { "need" };
            line = format!("{line}; {} {verb} attention, see above", counted(attention, "stream"));
        }
        Status::Failed => line.push_str("; the sync failed, see above"),
    }
    format!("{line}; hub {hub}")
}

#[cfg(test)]
pub(super) mod tests {
    use aqe_sync_core::Mode;

    use super::*;

    pub(in super::super) fn stream(source: &str, name: &str, table: &str, counters: Counters) -> StreamReport {
        let mut stream = StreamReport::new(source.into(), name.into(), table);
        stream.counters = counters;
        stream
    }

    pub(in super::super) fn report(streams: Vec<StreamReport>) -> Report {
        let report = Report::new("e".into(), Mode::Incremental, "h");
        let mut report = Report { duration_ms: 52, streams, ..report };
        report.close();
        report
    }

    fn new(read: u64) -> Counters {
        Counters { read, inserted: read, ..Counters::default() }
    }

    #[test]
    fn a_source_and_its_tables_are_read_at_a_glance() {
        let report = report(vec![
            stream("a.db", "events", "events", new(1_200)),
            stream("a.db", "kv_store", "memory_entries", new(3)),
            stream("a.db", "memory_entries", "memory_entries", new(1)),
            stream("a.db", "patterns", "patterns", new(0)),
        ]);
        let expected = "\
source  table            read    new  changed  same  merged  dead   time
a.db    events          1,200  1,200        0     0       0     0   0 ms
        memory_entries      4      4        0     0       0     0   0 ms
total                   1,204  1,204        0     0       0     0  52 ms";
        assert_eq!(table(&report, false, Paint::new(false)), expected);
        let detailed = table(&report, true, Paint::new(false));
        assert!(detailed.contains("patterns") && detailed.contains("memory_entries (kv_store)"));
        assert_eq!(summary(&report, ".aqe-sync/hub.db"), "1,204 records read, 1,204 new; hub .aqe-sync/hub.db");
    }

    #[test]
    fn unchanged_sources_are_one_line_each_and_rare_columns_show_when_needed() {
        let mut skipped = stream("a.db", "events", "events", Counters::default());
        skipped.skipped_unchanged = true;
        let mut other = skipped.clone();
        other.stream = "patterns".into();
        let gone = Counters { deleted: 2, ..Counters::default() };
        let all_skipped = report(vec![skipped.clone(), other.clone()]);
        let text = table(&all_skipped, false, Paint::new(false));
        assert_eq!(text.matches("unchanged").count(), 1, "{text}");
        assert!(!text.contains("deleted"));
        assert_eq!(summary(&all_skipped, "h"), "nothing changed since the last sync; hub h");
        let text = table(&report(vec![skipped, other, stream("b.db", "t", "t", gone)]), false, Paint::new(false));
        assert!(text.contains("deleted"), "{text}");
    }

    #[test]
    fn a_failed_source_is_a_row_and_the_last_line_says_so() {
        let mut failed = stream("a.db", "", "", Counters::default());
        failed.status = Status::Failed;
        failed.error = Some("reading a.db: locked".into());
        let report = report(vec![failed]);
        assert!(table(&report, false, Paint::new(false)).contains("a.db    failed"));
        assert_eq!(summary(&report, "h"), "0 records read; 1 stream needs attention, see above; hub h");
    }
}
