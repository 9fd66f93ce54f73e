//! All of it for programs.

use serde_json::{Map, Value, json};

use super::figures::Figures;
use super::runs::Runs;
use crate::sim::score::Score;

/// One object.
pub(super) fn json(runs: &Runs) -> Value {
    let scenarios = (0..runs.scenarios.len()).map(|place| scenario(runs, place));
    let means = runs.columns.iter().enumerate();
    let means =
        means.map(|(place, column)| json!({ "policy": column.name, "figures": figures(&runs.means(place)) }));
    json!({
        "seeds": runs.seeds,
        "scenarios": scenarios.collect::<Value>(),
        "means": means.collect::<Value>(),
    })
}

fn scenario(runs: &Runs, place: usize) -> Value {
    let scenario = &runs.scenarios[place];
    json!({
        "scenario": scenario.name,
        "about": scenario.about,
        "length_s": scenario.length_s,
        "servers": scenario.servers,
        "target_ms": scenario.target_ms,
        "policies": (0..runs.columns.len()).map(|column| policy(runs, place, column)).collect::<Value>(),
    })
}

fn policy(runs: &Runs, place: usize, column: usize) -> Value {
    let (all, head) = (runs.of(place, column), &runs.columns[column]);
    let each = all.iter().zip(&runs.seeds).map(|(score, &seed)| one(runs, score, seed));
    let mut value = json!({
        "policy": head.name,
        "figures": figures(&runs.figures(place, column)),
        "runs": each.collect::<Value>(),
    });
    if let Some(note) = head.note() {
        value["note"] = note.into();
    }
    value
}

/// A run; over time where there are not too many of them.
fn one(runs: &Runs, score: &Score, seed: u64) -> Value {
    let mut value =
        json!({ "seed": seed, "requests": score.requests, "figures": figures(&Figures::of(score)) });
    if runs.scenarios.len() == 1 {
        let spans = score.over_time.iter().map(|span| {
            json!({
                "from_s": span.from_s,
                "requests": span.requests,
                "misses": span.misses,
                "servers": rounded(span.servers, 2),
            })
        });
        value["over_time"] = spans.collect();
    }
    value
}

fn figures(figures: &Figures) -> Value {
    let name = |name: &str| name.replace(" %", "_percent").replace(' ', "_");
    let named = figures.named().into_iter();
    Value::Object(
        named.map(|(key, digits, value)| (name(key), rounded(value, digits + 2))).collect::<Map<_, _>>(),
    )
}

/// As many digits as mean something.
fn rounded(value: f64, digits: usize) -> Value {
    let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(0));
    ((value * scale).round() / scale).into()
}
