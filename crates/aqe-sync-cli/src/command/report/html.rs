//! The page: one file, without scripts, that asks for nothing else.

use aqe_sync_core::Timestamp;
use aqe_sync_core::history::RunRecord;
use aqe_sync_core::insight::{Insight, Learned};
use aqe_sync_core::monitor::{EnvironmentMeasures, StreamMeasures, TableMeasures, WINDOW_DAYS};
use maud::{Markup, PreEscaped, html};

use super::{Page, chart};
use crate::output::{age, bytes, count, duration, plain};

/// So many syncs are in the table; all are in the plots.
const RUNS: usize = 30;
/// Nothing is loaded and nothing is run, whatever a name in the hub may be.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Writes the page, without its first lines.
pub(super) fn page(page: &Page) -> String {
    let title = format!("aqe-sync: {}", clean(&page.hub));
    let markup = html! {
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="robots" content="noindex";
                meta name="generator" content=(concat!("aqe-sync ", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (header(page))
                main {
                    (attention(page))
                    (environments(page))
                    (tables(page))
                    (runs(page))
                    @if let Some(insight) = &page.insight { (learned(insight, page.measures.at)) }
                }
                footer {
                    "Made by aqe-sync " (env!("CARGO_PKG_VERSION")) ", " (when(page.measures.at)) ". Recent are "
                    (WINDOW_DAYS) " days. Times are UTC."
                }
            }
        }
    };
    markup.into_string()
}

/// Text from files and databases, in a line, without what steers its direction.
pub(super) fn clean(text: &str) -> String {
    let steers = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().filter(|c| !steers(*c)).collect();
    plain(&text.replace(['\n', '\t'], " "))
}

/// `2026-01-31`.
pub(super) fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// `2026-01-31 12:00`.
pub(super) fn moment(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect::<String>().replace('T', " ")
}

fn when(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (moment(at)) } }
}

/// A moment, and how long before the page that was.
fn ago(at: Option<Timestamp>, now: Timestamp) -> Markup {
    let Some(at) = at else { return html! { "never" } };
    html! { (when(at)) " " span class="quiet" { "(" (age(at, now)) ")" } }
}

/// A figure: what programs read, and what people do.
fn figure(name: &str, value: u64) -> Markup {
    html! { data data-name=(name) value=(value) { (count(value)) } }
}

fn figure_as(name: &str, value: u64, shown: &str) -> Markup {
    html! { data data-name=(name) value=(value) { (shown) } }
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "+" };
    format!("{sign}{}", count(number.unsigned_abs()))
}

fn share(name: &str, value: f64) -> Markup {
    html! { data data-name=(name) value=(value) { (format!("{:.1} %", value * 100.0)) } }
}

/// A table that scrolls by itself where it is wider than the page.
fn wide(label: &str, table: &Markup) -> Markup {
    html! { div class="wide" role="region" tabindex="0" aria-label=(label) { (table) } }
}

fn header(page: &Page) -> Markup {
    let measures = &page.measures;
    let rows: u64 = measures.tables.iter().map(|table| table.rows).sum();
    html! {
        header {
            h1 { bdi { (clean(&page.hub)) } }
            p class="quiet" { "What coding agents learned, as of " (when(measures.at)) ", seen from " bdi { (clean(&page.environment)) } }
            p { span class={ "badge " (page.status.as_str()) } data-status=(page.status.as_str()) { (page.status.as_str()) } }
            dl class="figures" data-of="hub" {
                div { dt { "environments" } dd { (figure("environments", measures.environments.len() as u64)) } }
                div { dt { "records" } dd { (figure("rows", rows)) } }
                div { dt { "conflicts so far" } dd { (figure("conflicts", measures.conflicts)) } }
                div { dt { "dead letters" } dd { (figure("dead_letters", measures.dead_letters)) } }
                div { dt { "size" } dd { (figure_as("bytes", measures.bytes, &bytes(measures.bytes))) } }
                @if let Some(insight) = &page.insight {
                    div { dt { "known to several" } dd { (figure("shared", insight.shared)) } }
                    div { dt { "disputed" } dd { (figure("disputed", insight.disputed)) } }
                }
            }
        }
    }
}

fn attention(page: &Page) -> Markup {
    html! {
        section aria-labelledby="attention" {
            h2 id="attention" { "What needs attention" }
            @if let Some(error) = &page.error {
                ul class="findings" { li class="critical" { span { "Not all could be found out: " (clean(error)) } } }
            }
            @if page.findings.is_empty() {
                p { "No threshold is crossed." }
            } @else {
                ul class="findings" {
                    @for finding in &page.findings {
                        li class=(finding.level.as_str()) data-kind=(finding.kind.as_str()) {
                            strong { (finding.level.as_str()) ": " }
                            span { (clean(&finding.message)) }
                        }
                    }
                }
            }
            @for warning in &page.warnings { p class="warning" { (clean(warning)) } }
        }
    }
}

fn environments(page: &Page) -> Markup {
    let now = page.measures.at;
    let excluded = |name: &str| page.insight.as_ref().is_some_and(|insight| insight.excluded.contains(name));
    let table = html! {
        table {
            caption { "Who syncs with this hub; figures are of the last " (WINDOW_DAYS) " days" }
            thead { tr {
                th scope="col" { "environment" } th scope="col" { "last synced" } th scope="col" { "ended" }
                th scope="col" class="n" { "took" } th scope="col" class="n" { "syncs" } th scope="col" class="n" { "failed" }
                th scope="col" class="n" { "records each" } th scope="col" class="n" { "changed" } th scope="col" class="n" { "conflicts" }
            } }
            tbody { @for one in &page.measures.environments { (environment(one, excluded(&one.environment), now)) } }
        }
    };
    html! {
        section aria-labelledby="environments" {
            h2 id="environments" { "Environments" }
            @if page.measures.environments.is_empty() {
                p { "Nobody has synced yet: run " code { "aqe-sync" } " in a project." }
            } @else {
                (wide("Table of environments", &table))
                details {
                    summary { "All streams" }
                    @for one in &page.measures.environments { (streams(one, now)) }
                }
            }
        }
    }
}

fn environment(one: &EnvironmentMeasures, excluded: bool, now: Timestamp) -> Markup {
    let ended = one.last_status.map_or("", |status| status.as_str());
    html! {
        tr data-environment=(clean(&one.environment)) {
            th scope="row" { bdi { (clean(&one.environment)) } @if excluded { " " span class="quiet" { "(excluded)" } } }
            td { (ago(one.last_finished, now)) }
            td class=(ended) { (ended) }
            td class="n" { @if let Some(took) = one.last_duration_ms { (figure_as("last_duration_ms", took, &duration(took))) } }
            td class="n" { (figure("runs", one.runs)) }
            td class="n" { (figure("failed_runs", one.failed_runs)) " (" (share("failure_rate", one.failure_rate)) ")" }
            td class="n" { data data-name="records_per_run" value=(one.records_per_run) { (format!("{:.0}", one.records_per_run)) } }
            td class="n" { (figure("changed", one.changed)) }
            td class="n" { (figure("conflicts", one.conflicts)) " (" (share("conflict_rate", one.conflict_rate)) ")" }
        }
    }
}

fn streams(one: &EnvironmentMeasures, now: Timestamp) -> Markup {
    let row = |stream: &StreamMeasures| {
        html! {
            tr data-stream=(clean(&stream.stream)) data-source=(clean(&stream.source)) {
                th scope="row" class="long" { bdi { (clean(&stream.source)) } }
                td { bdi { (clean(&stream.stream)) } }
                td { (stream.table) }
                td class="n" { (figure("rows", stream.rows)) }
                td { (ago(stream.last_synced, now)) }
                td class="n" { @if let Some(took) = stream.last_duration_ms { (figure_as("last_duration_ms", took, &duration(took))) } }
                td class="n" { (figure("failed_runs", stream.failed_runs)) }
            }
        }
    };
    let table = html! {
        table {
            thead { tr {
                th scope="col" class="long" { "source" } th scope="col" { "stream" } th scope="col" { "table" }
                th scope="col" class="n" { "rows" } th scope="col" { "synced" } th scope="col" class="n" { "took" } th scope="col" class="n" { "failed" }
            } }
            tbody { @for stream in &one.streams { (row(stream)) } }
        }
    };
    let name = clean(&one.environment);
    html! {
        @if !one.streams.is_empty() {
            h3 { bdi { (name) } }
            (wide(&format!("Streams of {name}"), &table))
        }
    }
}

fn tables(page: &Page) -> Markup {
    let embeds = !page.measures.models.is_empty();
    let row = |table: &TableMeasures| {
        html! {
            tr data-table=(table.table) {
                th scope="row" { (table.table) }
                td class="n" { (figure("rows", table.rows)) }
                td class="n" { data data-name="growth" value=(table.growth) { (signed(table.growth)) } }
                td class="n" { (figure("tombstones", table.tombstones)) }
                td class="n" { (figure_as("bytes", table.bytes, &bytes(table.bytes))) }
                td class="n" { @if let Some(coverage) = table.coverage.filter(|_| embeds) { (share("coverage", coverage)) } }
                td class="n" { @if let Some(took) = table.last_duration_ms { (figure_as("last_duration_ms", took, &duration(took))) } }
            }
        }
    };
    let table = html! {
        table {
            caption { "Growth is of the last " (WINDOW_DAYS) " days" }
            thead { tr {
                th scope="col" { "table" } th scope="col" class="n" { "rows" } th scope="col" class="n" { "growth" } th scope="col" class="n" { "deleted" }
                th scope="col" class="n" { "size" } th scope="col" class="n" { "embedded" } th scope="col" class="n" { "took" }
            } }
            tbody { @for table in &page.measures.tables { (row(table)) } }
        }
    };
    let begin = chart::begin(page);
    let (grown, still): (Vec<_>, Vec<_>) = page.rows_over_time.iter().partition(|series| !series.points.is_empty());
    html! {
        section aria-labelledby="rows" {
            h2 id="rows" { "Rows" }
            @if page.measures.tables.is_empty() { p { "The hub holds nothing yet." } } @else { (wide("Table of tables", &table)) }
            @if !grown.is_empty() {
                h3 { "Over time" }
                div class="charts" { @for series in grown { (chart::growth(series, begin, page.measures.at)) } }
            }
            @if !still.is_empty() {
                p class="quiet" {
                    "As they were since " (day(page.since)) ": "
                    (still.iter().map(|series| series.table.as_str()).collect::<Vec<_>>().join(", "))
                }
            }
        }
    }
}

fn runs(page: &Page) -> Markup {
    let runs = &page.runs;
    let row = |run: &RunRecord| {
        html! {
            tr data-run=(clean(&run.run_id)) {
                th scope="row" { (when(run.started_at)) }
                td { bdi { (clean(&run.environment)) } }
                td { (clean(&run.mode)) }
                td class=(run.status.as_str()) { (run.status.as_str()) }
                td class="n" { (figure("read", run.totals.read)) }
                td class="n" { (figure("changed", run.changed())) }
                td class="n" { (figure("conflicts", run.totals.conflicts)) }
                td class="n" { (figure("dead_lettered", run.totals.dead_lettered)) }
                td class="n" { (figure_as("duration_ms", run.duration_ms, &duration(run.duration_ms))) }
                td class="long" { @if let Some(errors) = &run.errors { (clean(errors)) } }
            }
        }
    };
    let table = html! {
        table {
            @if runs.len() > RUNS { caption { "The last " (RUNS) " of " (count(runs.len() as u64)) } }
            thead { tr {
                th scope="col" { "began" } th scope="col" { "environment" } th scope="col" { "mode" } th scope="col" { "ended" }
                th scope="col" class="n" { "read" } th scope="col" class="n" { "changed" } th scope="col" class="n" { "conflicts" }
                th scope="col" class="n" { "dead letters" } th scope="col" class="n" { "took" } th scope="col" class="long" { "what failed" }
            } }
            tbody { @for run in runs.iter().take(RUNS) { (row(run)) } }
        }
    };
    html! {
        section aria-labelledby="syncs" {
            h2 id="syncs" { "Syncs" }
            @if runs.is_empty() {
                p { "None since " (day(page.since)) "." }
            } @else {
                div class="charts" {
                    (chart::runs("Duration", runs, true, &|run| run.duration_ms, &duration))
                    (chart::runs("Changed rows", runs, false, &RunRecord::changed, &count))
                    (chart::runs("Conflicts", runs, false, &|run| run.totals.conflicts, &count))
                    (chart::runs("Failed streams", runs, false, &failures, &count))
                }
                (wide("Table of syncs", &table))
            }
        }
    }
}

/// Streams of a run that failed; a run that failed as a whole has one at least.
fn failures(run: &RunRecord) -> u64 {
    use aqe_sync_core::report::Status;
    let streams = run.streams.iter().flatten().filter(|stream| stream.status == Status::Failed).count() as u64;
    if run.status == Status::Failed { streams.max(1) } else { streams }
}

fn learned(insight: &Insight, now: Timestamp) -> Markup {
    let nothing = insight.records == 0;
    html! {
        section aria-labelledby="learned" {
            h2 id="learned" { "What was learned" }
            @if nothing {
                p { "Nothing that could be shown yet." }
            } @else {
                p {
                    (count(insight.records)) " records say something, "
                    (count(insight.shared)) " of them in several environments; these disagree on " (count(insight.disputed)) "."
                }
            }
            @if !insight.lately.is_empty() { (list("Learned lately", &insight.lately, now)) }
            @if !insight.most_used.is_empty() { (list("Most used", &insight.most_used, now)) }
            @if !insight.most_disputed.is_empty() { (list("Most disputed", &insight.most_disputed, now)) }
        }
        @if !insight.maps.is_empty() {
            section aria-labelledby="maps" {
                h2 id="maps" { "Map of meanings" }
                p class="quiet" {
                    "Each point is a record; what means alike lies close together. Of each model the two directions in which "
                    "its embeddings differ most are shown. Point at one for its name."
                }
                @for map in &insight.maps {
                    h3 { bdi { (clean(&map.model)) } }
                    p class="quiet" {
                        (count(map.points.len() as u64)) " of " (count(map.vectors)) " records, " (map.dimensions)
                        " dimensions, of whose variance the map shows " (format!("{:.0} %", map.explained * 100.0))
                    }
                    (chart::map(map))
                }
            }
        }
    }
}

fn list(title: &str, records: &[Learned], now: Timestamp) -> Markup {
    let agreement = |one: &Learned| match (one.environments, one.agreeing) {
        (1, _) => html! { "only " bdi { (clean(&one.winner)) } },
        (all, agreeing) if all == agreeing => html! { "all " (all) " agree" },
        (all, agreeing) => html! { (agreeing) " of " (all) " agree; " bdi { (clean(&one.winner)) } " wins" },
    };
    let row = |one: &Learned| {
        html! {
            tr data-key=(clean(&one.key)) {
                th scope="row" class="long" { bdi { (clean(&one.name)) } }
                td { @if let Some(domain) = &one.domain { bdi { (clean(domain)) } } }
                td { (one.table) }
                td class="n" { @if let Some(uses) = one.uses { data data-name="uses" value=(uses) { (uses) } } }
                td class="n" { @if let Some(sure) = one.confidence { data data-name="confidence" value=(sure) { (format!("{sure:.2}")) } } }
                td { (agreement(one)) }
                td { @if one.created.is_some() { (ago(one.created, now)) } }
            }
        }
    };
    let table = html! {
        table {
            thead { tr {
                th scope="col" class="long" { "record" } th scope="col" { "domain" } th scope="col" { "table" } th scope="col" class="n" { "uses" }
                th scope="col" class="n" { "confidence" } th scope="col" { "environments" } th scope="col" { "made" }
            } }
            tbody { @for one in records { (row(one)) } }
        }
    };
    html! {
        h3 { (title) }
        (wide(&format!("Table of what was {}", title.to_lowercase()), &table))
    }
}

#[cfg(test)]
mod tests {
    use aqe_sync_core::monitor::Level;

    use super::*;
    use crate::command::report::Page;
    use crate::facts::Facts;

    fn empty(hub: &str) -> Page {
        let facts = Facts::none();
        Page {
            hub: hub.to_owned(),
            environment: "e".to_owned(),
            status: Level::Ok,
            findings: Vec::new(),
            since: facts.measures.at,
            measures: facts.measures,
            runs: Vec::new(),
            rows_over_time: Vec::new(),
            insight: None,
            warnings: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        let text = page(&empty("</title><script>alert(1)</script>\"'&\u{0}\u{202e}evil"));
        assert!(text.contains("&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;"), "{text}");
        assert!(!text.contains("<script") && !text.contains('\u{0}') && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn a_page_asks_for_nothing_from_elsewhere() {
        let text = page(&empty("h"));
        for word in ["http:", "https:", "src=", "@import", "url(", "<link"] {
            assert!(!text.contains(word), "{word}");
        }
    }
}
