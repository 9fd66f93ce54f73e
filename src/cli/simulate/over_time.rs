//! What happened over time, as a picture: arrivals, servers and misses of each policy.

use super::runs::Runs;
use crate::cli::picture::{bar, row};
use crate::sim::score::Span;

/// Columns of the picture, at most.
const WIDTH: usize = 100;

/// Of the first scenario and the first seed.
pub(super) fn picture(runs: &Runs) -> String {
    let Some(first) = runs.of(0, 0).first() else { return String::new() };
    let each = first.over_time.len().div_ceil(WIDTH).max(1);
    let step_s = match first.over_time.get(..2) {
        Some([one, next]) => (next.from_s - one.from_s) * each as f64,
        _ => return String::new(),
    };
    let arrivals = joined(&first.over_time, each);
    let most = arrivals.iter().map(|span| span.requests).max().unwrap_or(0);
    let seed = runs.seeds[0];
    let mut text =
        format!("\nover time, each column {step_s:.0} s; seed {seed}; misses where they are more than 5 %\n");
    text.push_str(&row("requests", arrivals.iter().map(|span| bar(span.requests, most))));
    for (place, column) in runs.columns.iter().enumerate() {
        let Some(score) = runs.of(0, place).first() else { continue };
        let spans = joined(&score.over_time, each);
        let all = runs.scenarios[0].servers as u64;
        text.push_str(&format!("{}\n", column.name));
        text.push_str(&row("servers", spans.iter().map(|span| bar(span.servers.round() as u64, all))));
        text.push_str(&row("misses", spans.iter().map(misses)));
    }
    text
}

/// A share of the requests; blank where it is small, as it is always somewhere above 0.
fn misses(span: &Span) -> char {
    if span.misses * 20 > span.requests { bar(span.misses, span.requests) } else { ' ' }
}

/// Every `each` of them in one.
fn joined(spans: &[Span], each: usize) -> Vec<Span> {
    let join = |some: &[Span]| Span {
        from_s: some[0].from_s,
        requests: some.iter().map(|span| span.requests).sum(),
        misses: some.iter().map(|span| span.misses).sum(),
        servers: some.iter().map(|span| span.servers).sum::<f64>() / some.len() as f64,
    };
    spans.chunks(each).map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_spans_have_the_sums_and_the_mean_number_of_servers() {
        let span = |from_s, requests, misses, servers| Span { from_s, requests, misses, servers };
        let spans = [span(0.0, 10, 1, 2.0), span(5.0, 30, 0, 4.0), span(10.0, 5, 5, 4.0)];
        assert_eq!(joined(&spans, 2), [span(0.0, 40, 1, 3.0), span(10.0, 5, 5, 4.0)]);
    }
}
