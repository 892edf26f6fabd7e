//! What a sync would do.

use aqe_sync_core::{Report, StreamReport};

use super::account::name;
use super::{Cell, Colour, Paint, Table, count, counted};

/// Stands above every plan.
pub(crate) const NOTHING_WRITTEN: &str = "dry run: nothing was written";

/// The plan: per stream what would be inserted, updated, deleted, and the rule
/// that would decide each conflict.
pub(crate) fn table(report: &Report, empty_too: bool, paint: Paint) -> String {
    let mut table =
        Table::new(&["source", "table", ">insert", ">update", ">delete", ">dead", ">conflicts", "decided by"]);
    for stream in &report.streams {
        let counters = &stream.counters;
        if !empty_too && !counters.changed_anything() && stream.error.is_none() {
            continue;
        }
        table.row(vec![
            Cell::text(&stream.source),
            Cell::text(name(stream)),
            Cell::number(counters.inserted),
            Cell::number(counters.updated + counters.merged),
            Cell::number(counters.deleted),
            Cell::number(counters.dead_lettered),
            Cell::number(counters.conflicts),
            decided(stream),
        ]);
    }
    if table.is_empty() { String::new() } else { table.draw(paint) }
}

fn decided(stream: &StreamReport) -> Cell {
    if stream.error.is_some() {
        return Cell::text("cannot be synced").colour(Colour::Red);
    }
    let rules = stream.rules.iter().map(|(rule, times)| format!("{rule}: {}", count(*times)));
    Cell::text(rules.collect::<Vec<_>>().join("; "))
}

/// The last line.
pub(crate) fn summary(report: &Report, hub: &str) -> String {
    let totals = &report.totals;
    let parts = [
        (totals.inserted, "insert"),
        (totals.updated + totals.merged, "update"),
        (totals.deleted, "delete"),
        (totals.dead_lettered, "dead letter"),
        (totals.conflicts, "conflict"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, noun)| counted(*number, noun)).collect();
    let plan = if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") };
    format!("a sync would mean: {plan}; hub {hub}")
}

#[cfg(test)]
mod tests {
    use aqe_sync_core::Counters;

    use super::super::account::tests::{report, stream};
    use super::*;

    #[test]
    fn a_plan_names_the_rule_of_every_conflict() {
        let counters = Counters {
            read: 5,
            inserted: 2,
            updated: 1,
            unchanged: 2,
            conflicts: 1,
            deleted: 3,
            ..Counters::default()
        };
        let mut changed = stream("a.db", "events", "events", counters);
        changed.rules.insert("newer_wins".into(), 1);
        let idle = stream("b.db", "t", "t", Counters { read: 9, unchanged: 9, ..Counters::default() });
        let report = report(vec![changed, idle]);
        let text = table(&report, false, Paint::new(false));
        assert!(text.contains("newer_wins: 1") && !text.contains("b.db"), "{text}");
        assert!(table(&report, true, Paint::new(false)).contains("b.db"));
        let line = summary(&report, "h");
        assert_eq!(line, "a sync would mean: 2 inserts, 1 update, 3 deletes, 1 conflict; hub h");
    }
}
