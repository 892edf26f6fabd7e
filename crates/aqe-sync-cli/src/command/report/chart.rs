//! Plots as SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aqe_sync_core::Timestamp;
use aqe_sync_core::history::RunRecord;
use aqe_sync_core::insight::{Map, Point};
use aqe_sync_core::monitor::Series;
use aqe_sync_core::report::Status;
use maud::{Markup, html};

use super::Page;
use super::html::{clean, day, moment};
use crate::output::count;

/// A small plot: as wide as a phone shows one, so that its text has its own size there.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 150.0;
/// Where the plot itself lies within.
const LEFT: f64 = 8.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = HEIGHT - 22.0;
/// More runs than that share bars.
const BARS: usize = 60;
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// A map is as wide as a page allows.
const MAP: (f64, f64) = (640.0, 480.0);
/// So many domains have a colour of their own.
const COLOURS: usize = 8;

/// When plots over time begin: a little before the first sync that is shown.
pub(super) fn begin(page: &Page) -> Timestamp {
    let now = page.measures.at.as_micros();
    let first = page.runs.last().map_or(now, |run| run.started_at.as_micros());
    let before = first.saturating_sub((now.saturating_sub(first) / 20).max(MINUTE));
    Timestamp::from_micros(before).unwrap_or(page.since).max(page.since)
}

/// A moment as exact as it has to be told from another one.
fn label(at: Timestamp, first: Timestamp, last: Timestamp) -> String {
    if last.as_micros().saturating_sub(first.as_micros()) < 3 * DAY { moment(at) } else { day(at) }
}

/// How a table grew.
pub(super) fn growth(series: &Series, since: Timestamp, now: Timestamp) -> Markup {
    let most = series.points.iter().map(|(_, rows)| *rows).max().unwrap_or(0);
    let (first, last) = (series.points.first().map_or(0, |(_, rows)| *rows), series.points.last());
    let last = last.map_or(0, |(_, rows)| *rows);
    let whole = (now.as_micros() - since.as_micros()).max(1) as f64;
    let x = |at: Timestamp| {
        let part = (at.as_micros() - since.as_micros()) as f64 / whole;
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    };
    let y = |rows: u64| BOTTOM - share(rows, most) * (BOTTOM - TOP);
    let mut line = format!("M{LEFT:.1} {:.1}", y(first));
    for (at, rows) in &series.points {
        let _ = write!(line, "H{:.1}V{:.1}", x(*at), y(*rows));
    }
    let _ = write!(line, "H{RIGHT:.1}");
    let area = format!("{line}V{BOTTOM:.1}H{LEFT:.1}Z");
    let table = clean(&series.table);
    let said = format!("{table}: {} rows on {}, {} on {}", count(first), moment(since), count(last), moment(now));
    let caption = html! { (table) ": " data value=(last) { (count(last)) } " rows" };
    let inside = html! {
        path class="area" d=(area) {}
        path class="line" d=(line) {}
    };
    framed(&caption, &said, &count(most), Some((since, now)), &inside)
}

/// A plot over time between its axes: what its height stands for above it, its ends below.
fn framed(caption: &Markup, said: &str, height: &str, ends: Option<(Timestamp, Timestamp)>, inside: &Markup) -> Markup {
    html! {
        figure {
            figcaption { (caption) }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
                text x=(LEFT) y="16" { (height) }
                line class="axis" x1=(LEFT) x2=(RIGHT) y1=(TOP) y2=(TOP) {}
                line class="axis" x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
                (inside)
                @if let Some((first, last)) = ends {
                    text x=(LEFT) y=(HEIGHT - 6.0) { (label(first, first, last)) }
                    text x=(RIGHT) y=(HEIGHT - 6.0) text-anchor="end" { (label(last, first, last)) }
                }
            }
        }
    }
}

/// What a bar stands for: one run, or some that followed each other.
struct Bar {
    value: u64,
    status: Status,
    said: String,
}

/// One figure of each run.
pub(super) fn runs(
    title: &str,
    runs: &[RunRecord],
    longest: bool,
    value: &dyn Fn(&RunRecord) -> u64,
    words: &dyn Fn(u64) -> String,
) -> Markup {
    let bars = bars(runs, longest, value, words);
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or(0);
    let step = (RIGHT - LEFT) / bars.len().max(1) as f64;
    let wide = (step * 0.8).min(24.0);
    let all = if longest { most } else { bars.iter().fold(0, |sum, bar| sum + bar.value) };
    let of_all = if longest { "the longest" } else { "in all" };
    let said = format!("{title} of {} syncs: {} {of_all}", count(runs.len() as u64), words(all));
    let caption = html! { (title) ": " (words(all)) " " (of_all) };
    let inside = html! {
        @for (index, bar) in bars.iter().enumerate() {
            @let x = LEFT + step * index as f64 + (step - wide) / 2.0;
            // What is zero is seen to be there.
            @let tall = (share(bar.value, most) * (BOTTOM - TOP)).max(1.0);
            g {
                title { (bar.said) }
                rect class={ "bar " (bar.status.as_str()) } x=(rounded(x)) y=(rounded(BOTTOM - tall))
                    width=(rounded(wide)) height=(rounded(tall)) {}
                @if bar.status == Status::Failed {
                    // Red alone does not say it to everybody.
                    @let (left, right) = (x + wide / 2.0 - 3.0, x + wide / 2.0 + 3.0);
                    @let up = (BOTTOM - tall - 9.0).max(TOP - 8.0);
                    path class="cross" d=(format!("M{left:.1} {up:.1}l6 6M{right:.1} {up:.1}l-6 6")) {}
                }
            }
        }
    };
    let ends = runs.last().zip(runs.first()).map(|(first, last)| (first.started_at, last.started_at));
    framed(&caption, &said, &words(most), ends, &inside)
}

/// Bars of runs that come newest first, the oldest first.
fn bars(
    runs: &[RunRecord],
    longest: bool,
    value: &dyn Fn(&RunRecord) -> u64,
    words: &dyn Fn(u64) -> String,
) -> Vec<Bar> {
    let together = runs.len().div_ceil(BARS).max(1);
    let mut bars = Vec::new();
    for group in runs.chunks(together) {
        let values = group.iter().map(value);
        let value = if longest { values.max().unwrap_or(0) } else { values.fold(0, u64::saturating_add) };
        let worst = |status: Status| group.iter().any(|run| run.status == status);
        let status = if worst(Status::Failed) {
            Status::Failed
        } else if worst(Status::Partial) {
            Status::Partial
        } else {
            Status::Ok
        };
        let (Some(last), Some(first)) = (group.first(), group.last()) else { continue };
        let said = if group.len() == 1 {
            format!("{}, {}, {}: {}", moment(last.started_at), clean(&last.environment), status.as_str(), words(value))
        } else {
            let (from, to) = (moment(first.started_at), moment(last.started_at));
            format!("{} syncs, {from} to {to}, {}: {}", group.len(), status.as_str(), words(value))
        };
        bars.push(Bar { value, status, said });
    }
    bars.reverse();
    bars
}

/// Embeddings on a plane, with names when one points at them.
pub(super) fn map(map: &Map) -> Markup {
    let colours = colours(&map.points);
    let (width, height) = MAP;
    let place = fitted(&map.points);
    let class = |point: &Point| colours.get(point.domain.as_str()).map_or("cx", |(class, _)| class.as_str());
    let others: u64 = map.points.iter().filter(|point| !colours.contains_key(point.domain.as_str())).count() as u64;
    let mut legend: Vec<(&str, &str, u64)> =
        colours.iter().map(|(domain, (class, count))| (*domain, class.as_str(), *count)).collect();
    legend.sort_by(|a, b| a.1.cmp(b.1));
    let said = format!("map of {} embeddings of {}", count(map.points.len() as u64), clean(&map.model));
    html! {
        div class="map" {
            svg viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(said) {
                @for (point, (x, y)) in map.points.iter().zip(&place) {
                    circle class=(class(point)) cx=(rounded(*x)) cy=(rounded(*y)) r="5" {
                        title { (clean(&point.name)) " (" (clean(&point.domain)) ", " (clean(&point.environment)) ")" }
                    }
                }
            }
            ul class="legend" {
                @for (domain, class, number) in &legend {
                    li { (dot(class)) bdi { (clean(domain)) } " " span class="quiet" { (count(*number)) } }
                }
                @if others > 0 {
                    li { (dot("cx")) "others " span class="quiet" { (count(others)) } }
                }
            }
        }
    }
}

fn dot(class: &str) -> Markup {
    html! { svg viewBox="0 0 10 10" aria-hidden="true" { circle class=(class) cx="5" cy="5" r="5" {} } }
}

/// The domains with the most points, each with its colour.
fn colours(points: &[Point]) -> BTreeMap<&str, (String, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for point in points {
        *counts.entry(&point.domain).or_default() += 1;
    }
    let mut domains: Vec<(&str, u64)> = counts.into_iter().collect();
    domains.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let coloured = domains.into_iter().take(COLOURS).enumerate();
    coloured.map(|(index, (domain, count))| (domain, (format!("c{index}"), count))).collect()
}

/// Where points lie in the picture: one scale in both directions, so that distances are true.
fn fitted(points: &[Point]) -> Vec<(f64, f64)> {
    let (width, height) = MAP;
    let range = |part: &dyn Fn(&Point) -> f64| {
        let parts = points.iter().map(part).filter(|part| part.is_finite());
        parts.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), part| (low.min(part), high.max(part)))
    };
    let ((left, right), (low, high)) = (range(&|point| point.x), range(&|point| point.y));
    let scale = ((width - 24.0) / (right - left)).min((height - 24.0) / (high - low));
    let scale = if scale.is_finite() { scale } else { 0.0 };
    let middle = |low: f64, high: f64| if low <= high { f64::midpoint(low, high) } else { 0.0 };
    let (x, y) = (middle(left, right), middle(low, high));
    let place = |point: &Point| (width / 2.0 + (point.x - x) * scale, height / 2.0 - (point.y - y) * scale);
    points.iter().map(place).collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn rounded(number: f64) -> String {
    format!("{number:.1}")
}
