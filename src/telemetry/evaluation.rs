//! An [`Evaluation`] of `policy: model` in words, and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::words::round;
use crate::core::names::Names;
use crate::core::policy::model::{Carried, Evaluation, Limit};
use crate::core::policy::{Part, Span};

/// All its figures: requests a second, seconds, busy workers, servers.
pub fn value(evaluation: &Evaluation) -> Value {
    let carried = evaluation.carried.map(|carried| {
        json!({
            "service_s": carried.service,
            "workers": round(carried.workers),
            "workers_seen": carried.knee,
            "utilization": carried.utilization,
            "carries": round(carried.carries),
            "most_rate": carried.limit.map(round),
        })
    });
    let limit =
        |limit: &Limit| json!({ "limit": limit.key(), "left_s": limit.left().map(|left| left.as_secs()) });
    json!({
        "condition": evaluation.condition.name(),
        "arrivals": round(evaluation.arrivals),
        "backlog": round(evaluation.backlog),
        "server": carried,
        "need_at_once": round(evaluation.need_fast),
        "need": round(evaluation.need_slow),
        "need_of_fewer": round(evaluation.need_in),
        "want": evaluation.want,
        "hold_s": evaluation.hold.as_secs(),
        "limited_by": evaluation.limits.iter().map(limit).collect::<Vec<_>>(),
        "may_add_in_s": evaluation.may_add_in.as_secs(),
        "may_remove_in_s": evaluation.may_remove_in.as_secs(),
    })
}

/// What it knows of the load and of what a server can carry.
pub(super) fn figures(evaluation: &Evaluation, names: &Names) -> Vec<String> {
    let mut figures = Vec::from_iter(evaluation.carried.map(|carried| load(evaluation, &carried)));
    if evaluation.backlog >= 0.5 {
        figures.push(format!("{:.0} requests wait beyond what is usual", evaluation.backlog));
    }
    if let Some(rise) = evaluation.forecast.sudden {
        let (slope, arrivals, within) = (rise.slope, rise.arrivals, Span(evaluation.forecast.within));
        figures.push(format!("arrivals rise by {slope:.1} a second each second: {arrivals:.0} in {within}"));
    }
    let unequal = evaluation.unequal.iter().map(|(server, ratio)| {
        let of = if *ratio < 1.0 { "of " } else { "" };
        format!("{} carries {} {of}what the others do", names.of_server(*server), Part(*ratio))
    });
    figures.extend(unequal);
    if evaluation.lost >= 0.05 {
        figures.push(format!("slow or small servers carry {:.1} servers' worth less", evaluation.lost));
    }
    figures
}

fn load(evaluation: &Evaluation, carried: &Carried) -> String {
    let service = Span(Duration::try_from_secs_f64(carried.service).unwrap_or_default());
    let busy = evaluation.arrivals * carried.service;
    let at_least = if carried.knee { "" } else { "at least " };
    let mut text = format!(
        "{:.1} requests a second x {service} = {busy:.1} busy workers; a server has {at_least}{:.1} and may keep {:.1} busy",
        evaluation.arrivals, carried.workers, carried.carries
    );
    if let Some(limit) = carried.limit {
        text.push_str(&format!(", and answers {limit:.0} requests a second at most"));
    }
    text
}

/// How many servers it takes.
pub(super) fn need(evaluation: &Evaluation) -> Option<String> {
    evaluation.carried?;
    let (want, slow) = (evaluation.want, evaluation.need_slow);
    let at_once = match evaluation.need_fast {
        fast if fast > 0.0 => format!(", {fast:.1} at once"),
        _ => String::new(),
    };
    Some(format!("the load takes {slow:.1} servers{at_once}; wanted within the limits: {want}"))
}

/// When it may add, and when it may take away.
pub(super) fn next_move(evaluation: &Evaluation) -> String {
    let stops = evaluation.limits.iter().find_map(|limit| match limit {
        Limit::NoSpare => Some("when there is one to add".to_owned()),
        Limit::Max(_) => Some("when more are allowed".to_owned()),
        Limit::Unproven(left) => Some(format!("in {}, or when requests are late", Span(*left))),
        _ => None,
    });
    let more = match (stops, evaluation.may_add_in) {
        (Some(when), _) => when,
        (None, left) if left.is_zero() => "as soon as the load asks for it".to_owned(),
        (None, left) => format!("in {} at the earliest", Span(left)),
    };
    let fewer = match evaluation.may_remove_in {
        left if left.is_zero() => "as soon as the load allows it".to_owned(),
        left => format!("in {} at the earliest", Span(left)),
    };
    format!("more servers {more}; fewer {fewer}")
}
