//! Tables: one scenario with all its figures, or all scenarios with four each.

use super::over_time::picture;
use super::runs::Runs;
use crate::cli::output::{flush_right, table};

/// What a cell has.
const CELL: &str = "misses % / server time ÷ least possible / moves / worst stretch s";

/// One scenario: a row for each policy, and what happened over time.
pub(super) fn of_one(runs: &Runs) -> String {
    let scenario = &runs.scenarios[0];
    let mut text = format!("{}: {}\n{}\n\n", scenario.name, scenario.about, setting(runs));
    let names = runs.figures(0, 0).named().map(|(name, ..)| name.to_owned());
    let mut rows = vec![[vec!["policy".to_owned()], names.to_vec()].concat()];
    for (place, column) in runs.columns.iter().enumerate() {
        let figures = runs.figures(0, place).named();
        let cells = figures.map(|(_, digits, value)| format!("{value:.digits$}"));
        rows.push([vec![column.name.clone()], cells.to_vec()].concat());
    }
    text.push_str(&table(&flush_right(rows)));
    text.push_str(&notes(runs));
    text.push_str(&picture(runs));
    text
}

/// What was played, in a line.
fn setting(runs: &Runs) -> String {
    let scenario = &runs.scenarios[0];
    let seeds = match runs.seeds[..] {
        [seed] => format!("seed {seed}"),
        _ => format!("means of {} seeds", runs.seeds.len()),
    };
    format!(
        "{:.0} s, {} of {} servers at start, target {} ms for 95 %; {seeds}",
        scenario.length_s, scenario.serving_at_start, scenario.servers, scenario.target_ms
    )
}

/// All scenarios: a row each, a column for each policy.
pub(super) fn of_all(runs: &Runs) -> String {
    format!("{CELL}\n\n{}{}", table(&flush_right(rows(runs))), notes(runs))
}

/// The same as Markdown.
pub(super) fn markdown(runs: &Runs) -> String {
    let rows = rows(runs);
    let written = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let heading: String = rows.first().map(written).unwrap_or_default();
    let line = "|---".repeat(runs.columns.len() + 1) + "|\n";
    let body: String = rows.iter().skip(1).map(written).collect();
    format!("{CELL}; {}\n\n{heading}{line}{body}{}", seeds(runs), notes(runs))
}

fn seeds(runs: &Runs) -> String {
    match runs.seeds[..] {
        [seed] => format!("seed {seed}"),
        _ => format!("means of {} seeds", runs.seeds.len()),
    }
}

fn rows(runs: &Runs) -> Vec<Vec<String>> {
    let columns = || 0..runs.columns.len();
    let names = runs.columns.iter().map(|column| column.name.clone());
    let mut rows = vec![["scenario".to_owned()].into_iter().chain(names).collect::<Vec<_>>()];
    for (place, scenario) in runs.scenarios.iter().enumerate() {
        let cells = columns().map(|column| runs.figures(place, column).cell());
        rows.push([scenario.name.clone()].into_iter().chain(cells).collect());
    }
    if runs.scenarios.len() > 1 {
        let means = columns().map(|column| runs.means(column).cell());
        rows.push(["mean".to_owned()].into_iter().chain(means).collect());
    }
    rows
}

fn notes(runs: &Runs) -> String {
    let notes: Vec<String> = runs.columns.iter().filter_map(super::Column::note).collect();
    if notes.is_empty() { String::new() } else { format!("\n{}\n", notes.join("\n")) }
}
