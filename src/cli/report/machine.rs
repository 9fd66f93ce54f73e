//! A summary for programs: JSON and CSV.

use serde_json::{Map, Value, json};

use super::summary::{BackendFigures, CLASS_NAMES, Figures, PERCENTILES, Summary, TIMER_NAMES, TimerFigures};
use super::timeline::band_begin;
use super::when::written;

/// Everything, as one object.
pub(super) fn json(summary: &Summary) -> Value {
    let (first, last) = summary.span.unzip();
    json!({
        "from": first.map(written),
        "to": last.map(written),
        "requests": summary.requests(),
        "messages": summary.others.messages,
        "unparsed": summary.others.unparsed,
        "outside": summary.others.outside,
        "dropped": summary.others.dropped,
        "backends": summary.backends.iter().map(backend).collect::<Value>(),
        "over_time": over_time(summary),
    })
}

fn backend(backend: &BackendFigures) -> Value {
    let servers = backend.servers.iter().map(|(name, its)| figures("server", name, its));
    let mut value = figures("backend", &backend.name, &backend.all);
    value["servers"] = servers.collect();
    value
}

fn figures(kind: &str, name: &str, figures: &Figures) -> Value {
    let mut value = Map::new();
    value.insert(kind.into(), name.into());
    value.insert("requests".into(), figures.requests.into());
    let ended = CLASS_NAMES.iter().zip(figures.ended).map(|(name, count)| ((*name).into(), count.into()));
    value.insert("ended".into(), Value::Object(ended.collect()));
    value.insert("nobodys".into(), figures.nobodys.into());
    let statuses = (0..).zip(figures.statuses).filter(|&(_, count)| count > 0);
    let statuses = statuses.map(|(digit, count)| (status_name(digit), Value::from(count)));
    value.insert("statuses".into(), Value::Object(statuses.collect()));
    value.insert("rate".into(), rounded(figures.rate));
    value.insert("concurrency".into(), rounded(figures.concurrency));
    value.insert("queue".into(), rounded(figures.queue));
    let timers = TIMER_NAMES.iter().zip(&figures.timers);
    let timers = timers.map(|(name, its)| ((*name).into(), its.as_ref().map_or(Value::Null, timer)));
    value.insert("timers".into(), Value::Object(timers.collect()));
    Value::Object(value)
}

fn timer(figures: &TimerFigures) -> Value {
    let mut value = Map::new();
    value.insert("count".into(), figures.count.into());
    value.insert("mean".into(), rounded(figures.mean));
    for ((name, _), ms) in PERCENTILES.iter().zip(figures.percentiles) {
        value.insert((*name).into(), ms.into());
    }
    value.insert("max".into(), figures.max.into());
    Value::Object(value)
}

/// `2xx`, or `none`.
fn status_name(digit: u8) -> String {
    if digit == 0 { "none".into() } else { format!("{digit}xx") }
}

/// For each cell how many requests had at least so many milliseconds, and less than the next.
fn over_time(summary: &Summary) -> Value {
    let (begin, step) = summary.axis.begin_and_step();
    let cells = (0..).zip(&summary.over_time).map(|(at, cell): (i64, _)| {
        let bands = cell.bands.iter().enumerate().filter(|&(_, &count)| count > 0);
        let bands = bands.map(|(band, &count)| (band_begin(band).to_string(), Value::from(count)));
        json!({
            "from": written(begin + at * step),
            "requests": cell.requests(),
            "failed": cell.failed,
            "at_least_ms": Value::Object(bands.collect()),
        })
    });
    json!({ "seconds": step, "cells": cells.collect::<Value>() })
}

/// Three digits behind the point are more than anybody reads.
fn rounded(number: f64) -> Value {
    ((number * 1000.0).round() / 1000.0).into()
}

/// A row for each backend (its `server` is empty) and each server.
pub(super) fn csv(summary: &Summary) -> String {
    let mut heading: Vec<String> = vec!["backend".into(), "server".into(), "requests".into()];
    heading.extend(CLASS_NAMES.map(|name| format!("ended_{name}")));
    heading.push("nobodys".into());
    heading.extend((0..=5).map(status_name));
    heading.extend(["rate", "concurrency", "queue"].map(String::from));
    for timer in TIMER_NAMES {
        heading.extend(["count", "mean"].map(|what| format!("{timer}_{what}")));
        heading.extend(PERCENTILES.map(|(what, _)| format!("{timer}_{what}")));
        heading.push(format!("{timer}_max"));
    }
    let mut text = heading.join(",") + "\n";
    for backend in &summary.backends {
        text.push_str(&csv_row(&backend.name, "", &backend.all));
        for (server, figures) in &backend.servers {
            text.push_str(&csv_row(&backend.name, server, figures));
        }
    }
    text
}

/// Names have neither commas nor quotes in them: HAProxy takes letters, digits and `_:.-` only, and
/// what the reader takes is no more.
fn csv_row(backend: &str, server: &str, figures: &Figures) -> String {
    let mut row: Vec<String> = vec![backend.into(), server.into(), figures.requests.to_string()];
    row.extend(figures.ended.iter().map(u64::to_string));
    row.push(figures.nobodys.to_string());
    row.extend(figures.statuses[..=5].iter().map(u64::to_string));
    row.extend([figures.rate, figures.concurrency, figures.queue].map(|number| rounded(number).to_string()));
    for timer in &figures.timers {
        match timer {
            Some(timer) => {
                row.extend([timer.count.to_string(), rounded(timer.mean).to_string()]);
                row.extend(timer.percentiles.iter().map(u32::to_string));
                row.push(timer.max.to_string());
            }
            None => {
                row.push("0".into());
                row.extend(std::iter::repeat_n(String::new(), PERCENTILES.len() + 2));
            }
        }
    }
    row.join(",") + "\n"
}
