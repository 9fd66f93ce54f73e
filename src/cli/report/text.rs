//! A summary for people: tables, and latency over time as a picture.

use super::summary::{BackendFigures, CLASS_NAMES, Figures, PERCENTILES, Summary, TIMER_NAMES};
use super::timeline::{BANDS, Cell, band_begin};
use super::when::written;
use crate::cli::output::{flush_right, table};
use crate::cli::picture::{bar, row};

/// From no request to many; see [`SHARES`].
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// All of it.
pub(super) fn text(summary: &Summary) -> String {
    let mut text = head(summary);
    if !summary.backends.is_empty() {
        text.push_str("\nload, on average\n");
        text.push_str(&numbers(&summary.backends, &LOAD, load_row));
        text.push_str("\nhow requests ended: well, or by whose fault\n");
        text.push_str(&numbers(&summary.backends, &ENDS, ends_row));
        text.push_str("\nmilliseconds\n");
        text.push_str(&table(&timers(&summary.backends)));
        text.push_str(&picture(summary));
    }
    text
}

fn head(summary: &Summary) -> String {
    let span = summary.span.map(|(first, last)| format!("{} to {}\n", written(first), written(last)));
    let others = summary.others;
    let mut text = span.unwrap_or_default();
    let (requests, messages, unparsed) = (summary.requests(), others.messages, others.unparsed);
    text.push_str(&format!("{requests} requests, {messages} messages, {unparsed} lines not understood"));
    if others.outside > 0 {
        text.push_str(&format!(", {} requests outside the time asked for", others.outside));
    }
    if others.dropped > 0 {
        text.push_str(&format!(", {} requests of more servers than are counted", others.dropped));
    }
    if others.unparsed > 0 {
        text.push_str(" (parse --failed shows them)");
    }
    text + "\n"
}

const LOAD: [&str; 6] = ["requests", "req/s", "at once", "queued", "5xx", "failed"];

fn load_row(figures: &Figures) -> Vec<String> {
    let somebodys = figures.ended.iter().sum::<u64>().max(1) as f64;
    let mut row = vec![figures.requests.to_string()];
    row.extend([figures.rate, figures.concurrency, figures.queue].map(short));
    row.push(figures.statuses[5].to_string());
    row.push(format!("{:.2} %", 100.0 * figures.failed() as f64 / somebodys));
    row
}

/// [`CLASS_NAMES`], and what HAProxy answered by itself.
const ENDS: [&str; 6] = {
    let [success, server, saturation, client, proxy] = CLASS_NAMES;
    [success, server, saturation, client, proxy, "by itself"]
};

fn ends_row(figures: &Figures) -> Vec<String> {
    figures.ended.iter().chain([&figures.nobodys]).map(u64::to_string).collect()
}

/// With as many digits as are worth reading.
fn short(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.2}") }
}

/// Rows of numbers for all backends and servers, flush right.
fn numbers(backends: &[BackendFigures], heading: &[&str], row: impl Fn(&Figures) -> Vec<String>) -> String {
    let heading = ["backend/server"].iter().chain(heading).map(|&name| name.to_owned());
    let mut rows: Vec<Vec<String>> = vec![heading.collect()];
    for backend in backends {
        rows.push([vec![backend.name.clone()], row(&backend.all)].concat());
        for (server, figures) in &backend.servers {
            rows.push([vec![format!("  {server}")], row(figures)].concat());
        }
    }
    table(&flush_right(rows))
}

fn timers(backends: &[BackendFigures]) -> Vec<Vec<String>> {
    let names = ["backend/server", "timer"].into_iter();
    let heading = names.chain(PERCENTILES.map(|(name, _)| name)).chain(["max", "mean"]);
    let mut rows = vec![heading.map(String::from).collect::<Vec<_>>()];
    for backend in backends {
        rows.extend(timer_rows(&backend.name, &backend.all));
        for (server, figures) in &backend.servers {
            rows.extend(timer_rows(&format!("  {server}"), figures));
        }
    }
    flush_right(rows)
}

/// A row for each timer that happened; the name stands in the first one.
fn timer_rows(name: &str, figures: &Figures) -> Vec<Vec<String>> {
    let timers =
        TIMER_NAMES.iter().zip(&figures.timers).filter_map(|(name, its)| Some((name, its.as_ref()?)));
    let names = [name].into_iter().chain(std::iter::repeat(""));
    let row = |(name, (timer, its)): (&str, (&&str, &super::summary::TimerFigures))| {
        let mut row = vec![name.to_owned(), (*timer).to_owned()];
        row.extend(its.percentiles.iter().chain([&its.max]).map(u32::to_string));
        row.push(short(its.mean));
        row
    };
    names.zip(timers).map(row).collect()
}

/// Rows are octaves of latency, columns are time; the darker, the more of that time's requests.
fn picture(summary: &Summary) -> String {
    let cells = &summary.over_time;
    let count = |band: usize| cells.iter().map(|cell| u64::from(cell.bands[band])).sum::<u64>();
    let seen = (0..BANDS).filter(|&band| count(band) > 0);
    let (Some(low), Some(high)) = (seen.clone().min(), seen.max()) else {
        return String::new();
    };
    let (begin, step) = summary.axis.begin_and_step();
    let mut text = format!("\nTa over time, each column {step} s from {}\n", written(begin));
    for band in (low..=high).rev() {
        let shades = cells.iter().map(|cell| shade(cell, band));
        text.push_str(&row(&format!("{} ms", band_begin(band)), shades));
    }
    let most = cells.iter().map(Cell::requests).max().unwrap_or(0);
    text.push_str(&row("requests", cells.iter().map(|cell| bar(cell.requests(), most))));
    if cells.iter().any(|cell| cell.failed > 0) {
        text.push_str(&row("failed", cells.iter().map(|cell| bar(cell.failed.into(), cell.requests()))));
    }
    text
}

/// From which share of a time's requests on, in percent, the second sign and darker ones stand. Half of a log's
/// requests are seldom in one row.
const SHARES: [u64; 3] = [5, 15, 35];

fn shade(cell: &Cell, band: usize) -> char {
    let (part, whole) = (u64::from(cell.bands[band]), cell.requests());
    let level = usize::from(part > 0) + SHARES.iter().filter(|&share| part * 100 > whole * share).count();
    SHADES[level]
}
